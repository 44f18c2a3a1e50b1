"""Puts a one-file change on a branch and keeps one pull request open for it.

The commit is made from objects, on top of origin's main: the working tree and its
branch are never touched. Nothing here merges.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ops import git, github

PREFIX = "retrain/"
LABEL = "retraining"
MARK = "Monitoring-Record:"  # in the message of every commit that is made here
AUTHOR = {
    "GIT_AUTHOR_NAME": "monitor",
    "GIT_AUTHOR_EMAIL": "monitor@localhost",
    "GIT_COMMITTER_NAME": "monitor",
    "GIT_COMMITTER_EMAIL": "monitor@localhost",
}

Pull = dict[str, Any]


class Change(NamedTuple):
    """What is proposed: a branch, the pull request's words, and one file."""

    branch: str
    title: str
    body: str
    message: str
    file: tuple[str, bytes]


def submit(change: Change, base: str) -> str:
    """Open the pull request or update the open one; return what was done.

    A pull request that a person closed is not opened again for the same branch, and
    one on whose branch a person has worked is left alone.
    """
    open_one = _oldest_open()
    if open_one is None:
        owner = github.repo().split("/")[0]
        query = {"state": "closed", "head": f"{owner}:{change.branch}"}
        if done := github.pages("pulls", query):
            return f"#{done[0]['number']} proposed this already and was closed."
    branch = open_one["head"]["ref"] if open_one else change.branch
    tip = git.fetch_branch(branch)
    if tip and open_one and not _ours(tip, base):
        return f"#{open_one['number']} is being worked on: left as it is."
    moved = _push(branch, tip, commit(change, base), base)
    if open_one is None:
        return _open(change)
    words = {"title": change.title, "body": change.body}
    if not moved and all(open_one[name] == word for name, word in words.items()):
        return f"#{open_one['number']} proposes this already: nothing changed."
    github.api(f"pulls/{open_one['number']}", "PATCH", words)
    return f"updated #{open_one['number']}: {open_one['html_url']}"


def commit(change: Change, base: str) -> str:
    """Return a commit on top of ``base`` that changes the one file."""
    path, content = change.file
    with TemporaryDirectory() as folder:
        env = {**AUTHOR, "GIT_INDEX_FILE": str(Path(folder, "index"))}
        git.run("read-tree", base, env=env)
        blob = git.run("hash-object", "-w", "--stdin", data=content)
        entry = f"100644,{blob},{path}"
        git.run("update-index", "--add", "--cacheinfo", entry, env=env)
        tree = git.run("write-tree", env=env)
        return git.run("commit-tree", tree, "-p", base, "-m", change.message, env=env)


def _oldest_open() -> Pull | None:
    """Return the oldest open pull request of this repository's monitor."""
    found = [
        pull
        for pull in github.pages("pulls", {"state": "open"})
        if pull["head"]["ref"].startswith(PREFIX)
        and (pull["head"].get("repo") or {}).get("full_name") == github.repo()
    ]
    return min(found, key=lambda pull: int(pull["number"]), default=None)


def _ours(tip: str, base: str) -> bool:
    """Tell whether every commit beyond main was made here."""
    messages = git.run("log", "--format=%B%x00", f"{base}..{tip}").split("\0")
    return all(MARK in message for message in messages if message.strip())


def _push(branch: str, tip: str | None, made: str, base: str) -> bool:
    """Put the commit on the branch; say False when the branch has it already."""
    if tip and _state(tip) == _state(made):
        return False
    lease = f"--force-with-lease=refs/heads/{branch}:{tip or ''}"
    git.remote_run("push", "-q", lease, "origin", f"{made}:refs/heads/{branch}")
    return True


def _state(commit_: str) -> str:
    """Return what makes two commits the same proposal: tree and parents."""
    return git.run("log", "-1", "--format=%T %P", commit_)


def _open(change: Change) -> str:
    """Open the pull request; if two runs did so at once, the older one stays."""
    fields = {"title": change.title, "body": change.body, "base": "main"}
    try:
        pull = github.api("pulls", "POST", {**fields, "head": change.branch})
    except github.GitHubError as error:
        if error.status == 422 and re.search("already exists", str(error)):
            return "Another run has just opened it: nothing left to do."
        if error.status == 403:
            link = f"https://github.com/{github.repo()}/pull/new/{change.branch}"
            return f"This token may not open pull requests; open it yourself: {link}"
        raise
    with suppress(github.GitHubError):  # the branch's name says the same
        github.api(f"issues/{pull['number']}/labels", "POST", {"labels": [LABEL]})
    first = _oldest_open()
    if first and first["number"] < pull["number"]:
        github.api(f"pulls/{pull['number']}", "PATCH", {"state": "closed"})
        return f"#{first['number']} was opened at the same time: it stays."
    return f"opened #{pull['number']}: {pull['html_url']}"
