"""Puts a one-file change on a branch and keeps one pull request open for it.

The commit is made from objects, on top of origin's main: the working tree and its
branch are never touched. Nothing here merges.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from mlgitops import git, github
from mlgitops.monitor.wording import size

PREFIX = "retrain/"
LABEL = "retraining"
MARK = "Monitoring-Record:"  # in the message of every commit that is made here

Pull = dict[str, Any]


class Change(NamedTuple):
    """What is proposed: a branch, the pull request's text, and one file."""

    branch: str
    title: str
    body: str
    message: str
    file: tuple[str, bytes]


class Outcome(NamedTuple):
    """What was done, and to which pull request; action "" is nothing."""

    sentence: str
    action: str = ""  # opened, updated, closed
    number: int = 0
    url: str = ""


@github.repeated
def submit(change: Change, base: str, min_days: float = 0) -> Outcome:
    """Open the pull request or update the open one; return what was done.

    A pull request that a person closed is not opened again for the same branch, one
    on whose branch a person has worked is left alone, and the next one comes no
    sooner than ``min_days`` after the last.
    """
    pull = _oldest_open()
    if pull is None and (reason := _too_soon(change, min_days)):
        return Outcome(reason)
    branch = pull["head"]["ref"] if pull else change.branch
    tip = git.fetch_branch(branch)
    if tip and pull and not _by_monitor(tip, base):
        return Outcome(f"Somebody works on #{pull['number']}: it is left as it is.")
    proposed = git.commit(dict([change.file]), change.message, "monitor", base)
    pushed = _push(branch, tip, proposed)
    if pull is None:
        return _open(change)
    fields = {"title": change.title, "body": change.body}
    number, url = int(pull["number"]), str(pull["html_url"])
    if not pushed and all(pull[name] == value for name, value in fields.items()):
        return Outcome(f"#{number} already proposes this: nothing changed.")
    github.api(f"pulls/{number}", "PATCH", fields)
    return Outcome(f"updated #{number}: {url}", "updated", number, url)


def withdraw(reason: str, base: str) -> Outcome | None:
    """Close the open pull request with a reason; None when there is none to close.

    One on whose branch a person has worked stays open.
    """
    pull = _oldest_open()
    if pull is None:
        return None
    tip = git.fetch_branch(pull["head"]["ref"])
    if tip and not _by_monitor(tip, base):
        return None
    number, url = int(pull["number"]), str(pull["html_url"])
    github.api(f"issues/{number}/comments", "POST", {"body": f"Closed: {reason}"})
    github.api(f"pulls/{number}", "PATCH", {"state": "closed"})
    return Outcome(f"closed #{number}: {reason}", "closed", number, url)


def _proposals(state: str) -> list[Pull]:
    """Return the pull requests of this repository's monitor, newest first."""
    pulls = [
        pull
        for pull in github.pages("pulls", {"state": state})
        if pull["head"]["ref"].startswith(PREFIX)
        and (pull["head"].get("repo") or {}).get("full_name") == github.repo()
    ]
    return sorted(pulls, key=lambda pull: -int(pull["number"]))


def _oldest_open() -> Pull | None:
    """Return the oldest open pull request of this repository's monitor."""
    return next(reversed(_proposals("open")), None)


def _too_soon(change: Change, min_days: float) -> str:
    """Say why there is no new pull request now, or nothing."""
    closed = _proposals("closed")
    for pull in closed:
        if pull["head"]["ref"] == change.branch:
            return f"#{pull['number']} already proposed this and was closed."
    for pull in closed[:1]:
        opened = datetime.fromisoformat(str(pull["created_at"]))
        if datetime.now(UTC) - opened < timedelta(days=min_days):
            return (
                f"#{pull['number']} was opened on {opened:%Y-%m-%d}; the next one may "
                f"follow {size(min_days, 'day')} later (params.yaml: retrain.min_days)."
            )
    return ""


def _by_monitor(tip: str, base: str) -> bool:
    """Return whether the monitor made every commit beyond main."""
    messages = git.run("log", "--format=%B%x00", f"{base}..{tip}").split("\0")
    return all(MARK in message for message in messages if message.strip())


def _push(branch: str, tip: str | None, proposed: str) -> bool:
    """Put a commit on the branch; return False when the branch has it already.

    Another run may have been faster: what it pushed is as good if it is the same.
    """
    if tip and _state(tip) == _state(proposed):
        return False
    lease = f"--force-with-lease=refs/heads/{branch}:{tip or ''}"
    if git.push(lease, f"{proposed}:refs/heads/{branch}"):
        return True
    current = git.fetch_branch(branch)
    if current is None or _state(current) != _state(proposed):
        raise git.GitError(f"another run pushed {branch} meanwhile: run this again")
    return False


def _state(commit_: str) -> str:
    """Return what makes two commits the same proposal: tree and parents."""
    return git.run("log", "-1", "--format=%T %P", commit_)


def _open(change: Change) -> Outcome:
    """Open the pull request; if two runs did so at once, the older one stays."""
    fields = {"title": change.title, "body": change.body, "base": "main"}
    try:
        pull = github.api("pulls", "POST", {**fields, "head": change.branch})
    except github.GitHubError as error:
        if error.status == 422 and re.search("already exists", str(error)):
            return Outcome("Another run has just opened it: nothing left to do.")
        if error.status == 403:
            link = github.page_url(f"pull/new/{change.branch}")
            return Outcome(
                f"This token may not open pull requests; open it yourself: {link}"
            )
        raise
    with suppress(github.GitHubError):  # the branch's name says the same
        github.api(f"issues/{pull['number']}/labels", "POST", {"labels": [LABEL]})
    first = _oldest_open()
    if first and first["number"] < pull["number"]:
        github.api(f"pulls/{pull['number']}", "PATCH", {"state": "closed"})
        return Outcome(f"#{first['number']} was opened at the same time: it stays.")
    number, url = int(pull["number"]), str(pull["html_url"])
    return Outcome(f"opened #{number}: {url}", "opened", number, url)
