"""Talks to GitHub's REST API through ``gh``, and to a running workflow."""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from textwrap import shorten
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlencode

from mlgitops import git

BOT = "github-actions[bot]"  # writes what workflows write with their own token
P = ParamSpec("P")
R = TypeVar("R")
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before the next try, if GitHub asks for no more
LONGEST = 120.0  # seconds: the longest pause that it may ask for
UNTOLD = 60.0  # seconds: what it documents for a limit that names no time
BROKE_OFF = re.compile(r"connection reset|timeout|\bEOF\b")


class GitHubError(Exception):
    """A call of GitHub failed: ``status`` is its HTTP status, 0 without a response.

    ``pause`` is how many seconds later it may work, None if it would fail again.
    """

    def __init__(self, status: int, sentence: str, pause: float | None = None) -> None:
        """Keep the status with the message."""
        super().__init__(sentence)
        self.status, self.pause = status, pause

    @property
    def passing(self) -> bool:
        """Whether it is worth a pause: GitHub fails for the moment."""
        return self.pause is not None and self.pause <= LONGEST

    @property
    def limited(self) -> bool:
        """Whether a limit of requests refused it: then nothing was done."""
        return self.passing and self.status in (403, 429)


def repeated(function: Callable[P, R]) -> Callable[P, R]:
    """Call a function again where GitHub failed for the moment, a few times.

    For what first looks what is there: the call that failed may have had its effect.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return _repeat(lambda: function(*args, **kwargs), lambda error: error.passing)

    return call


def _repeat(call: Callable[[], R], again: Callable[[GitHubError], bool]) -> R:
    """Call until it works, at most once more than there are pauses."""
    for pause in PAUSES:
        try:
            return call()
        except GitHubError as error:
            if not again(error):
                raise
            time.sleep(max(pause, error.pause or 0.0))
    try:
        return call()
    except GitHubError as error:
        error.pause = None  # nobody tries again
        raise


def repo() -> str:
    """Return ``owner/name`` of this repository.

    Raises:
        GitHubError: neither GITHUB_REPOSITORY nor `origin` names it.
    """
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return name
    url = git.run("remote", "get-url", "origin", check=False)
    prefix = r"(?:\w+://[^/]+/|[\w.-]+@[\w.-]+:)"  # https://host/ or git@host:
    if match := re.fullmatch(prefix + r"([^/:]+/[^/]+?)(?:\.git)?/?", url):
        return match[1]
    problem = "there is no `origin`, so the repository is not on GitHub"
    if url:
        problem = f"`origin` is {url}, which is not on GitHub"
    fix = "run `gh repo create`, or set origin's address"
    raise GitHubError(0, f"{problem}: {fix}")


def api(
    path: str,
    method: str = "GET",
    fields: Mapping[str, object] | None = None,
    *,
    raw: bool = False,
    data: bytes | None = None,
    accept: str = "application/vnd.github+json",
    content_type: str = "application/octet-stream",
) -> Any:
    """Call the API and return its JSON, or the response's bytes with ``raw``.

    ``path`` is relative to this repository unless it begins with ``/`` or
    ``https://``; a GET turns ``fields`` into its query. Where GitHub fails for the
    moment, it is called again; a POST only where a limit refused it, as another failure
    leaves open what it did: see ``repeated``.

    Raises:
        GitHubError: with GitHub's status and message.
    """
    if fields and method == "GET":
        path, fields = f"{path}?{urlencode(fields)}", None
    command = ["gh", "api", _url(path), "--method", method, "--include"]
    command += ["-H", f"Accept: {accept}"]
    if fields is not None:
        data, content_type = json.dumps(fields).encode(), "application/json"
    if data is not None:
        command += ["--input", "-", "-H", f"Content-Type: {content_type}"]
    post = method == "POST"
    body = _repeat(
        lambda: _call(command, method, path, data),
        lambda error: error.limited if post else error.passing,
    )
    return body if raw else json.loads(body or b"null")


def _call(command: list[str], method: str, path: str, data: bytes | None) -> bytes:
    """Call ``gh`` once and return the response's body.

    Raises:
        GitHubError: with GitHub's status and message.
    """
    try:
        done = subprocess.run(command, input=data, capture_output=True)
    except FileNotFoundError as error:
        raise GitHubError(0, "`gh` is not on PATH: run `make setup`") from error
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    if done.returncode:
        lines = head.decode(errors="replace").splitlines()[1:]
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        message = done.stderr.decode(errors="replace").strip()
        raise _error(method, path, message, headers)
    return body


def pages(path: str, fields: Mapping[str, object] | None = None) -> list[Any]:
    """Return all pages of a list."""
    items: list[Any] = []
    for number in range(1, 100):
        query = {**(fields or {}), "per_page": 100, "page": number}
        page = api(path, fields=query)
        items += page
        if len(page) < 100:
            break
    return items


def variables() -> dict[str, str]:
    """Return the variables that workflows see: the repository's own come first."""
    listed = entries("actions/variables", "variables")
    try:
        shared = entries("actions/organization-variables", "variables")
    except GitHubError as error:
        if error.status != 404:  # it belongs to a person
            raise
        shared = []
    return {str(entry["name"]): str(entry["value"]) for entry in (*shared, *listed)}


def remove(path: str) -> None:
    """Delete something; what is gone already counts as deleted."""
    try:
        api(path, "DELETE", raw=True)
    except GitHubError as error:
        if error.status != 404:
            raise


def entries(
    path: str, key: str, fields: Mapping[str, object] | None = None
) -> list[Any]:
    """Return all entries of a list that GitHub counts, whatever its pages hold."""
    found: list[Any] = []
    for number in range(1, 100):
        query = {**(fields or {}), "per_page": 100, "page": number}
        page = api(path, fields=query) or {}
        found += page.get(key) or []
        if not page.get(key) or len(found) >= int(page.get("total_count") or 0):
            break
    return found


def marked(item: Mapping[str, Any], marker: str) -> bool:
    """Tell whether a workflow wrote this comment or issue, with this marker.

    Anybody can write the marker, and would then keep what a workflow has to say.
    """
    author = (item.get("user") or {}).get("login")
    return author == BOT and str(item.get("body") or "").startswith(marker)


@repeated
def sticky_comment(number: int, marker: str, body: str) -> str:
    """Write the one comment of the workflows with ``marker``; return its address.

    If two runs wrote the first one at once, the older stays.
    """
    text = {"body": f"{marker}\n{body}"}
    first = _comment(number, marker)
    if first is None:
        made = api(f"issues/{number}/comments", "POST", text)
        first = _comment(number, marker) or made
        if first["id"] == made["id"]:
            return str(made["html_url"])
        remove(f"issues/comments/{made['id']}")
    path = f"issues/comments/{first['id']}"
    return str(api(path, "PATCH", text)["html_url"])


def _comment(number: int, marker: str) -> dict[str, Any] | None:
    """Return the oldest comment of the workflows with ``marker``, or None."""
    for comment in pages(f"issues/{number}/comments"):
        if marked(comment, marker):
            return dict(comment)
    return None


@repeated
def announce(marker: str, title: str, body: str, news: Iterable[str]) -> str:
    """Open the one issue that carries ``marker``, or update it; return its address.

    An issue that somebody closed is opened again only by ``news`` that it lacks.
    """
    text = f"{marker}\n{body}"
    if issue := _issue(marker):
        known = all(each in issue["body"] for each in news)
        if known and (issue.get("state") == "closed" or issue["body"] == text):
            return str(issue["html_url"])
        fields = {"body": text, "state": "open"}
        return str(api(f"issues/{issue['number']}", "PATCH", fields)["html_url"])
    fields = {"title": title, "body": text}
    return str(api("issues", "POST", fields)["html_url"])


@repeated
def close_issue(marker: str, reason: str) -> None:
    """Close the issue that carries ``marker``, with the reason, if it is open."""
    issue = _issue(marker)
    if issue and issue.get("state") != "closed":
        path = f"issues/{issue['number']}"
        api(path, "PATCH", {"state": "closed"})
        api(f"{path}/comments", "POST", {"body": reason})


def _issue(marker: str) -> dict[str, Any] | None:
    """Return the issue whose text begins with ``marker``, open or closed, or None."""
    for issue in pages("issues", {"state": "all"}):
        is_pull = "pull_request" in issue  # GitHub lists them among the issues
        if not is_pull and marked(issue, marker):
            return dict(issue)
    return None


def to_default(pull: Mapping[str, Any]) -> bool:
    """Tell whether a pull request is to the default branch, the one that deploys."""
    base = pull["base"]
    return bool(base["ref"] == base["repo"]["default_branch"])


def brief(description: str) -> str:
    """Return a description in the 140 letters that GitHub takes, cut between words."""
    brief = shorten(description, 140, placeholder="…")
    return brief if brief != "…" else f"{description[:139]}…"  # one long word


@repeated
def status(sha: str, context: str, state: str, description: str, url: str = "") -> None:
    """Set a commit status: pending, success, failure or error."""
    fields = {"context": context, "state": state, "description": brief(description)}
    api(f"statuses/{sha}", "POST", {**fields, "target_url": url or run_url()})


def page_url(path: str) -> str:
    """Return the address of a page of this repository, for people."""
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    return f"{server}/{repo()}/{path}"


def run_url() -> str:
    """Return the address of this workflow run, or nothing outside of one."""
    run = os.environ.get("GITHUB_RUN_ID", "")
    return page_url(f"actions/runs/{run}") if run else ""


def output(**values: str) -> None:
    """Set outputs for later steps and jobs; a value may have newlines."""
    end = uuid.uuid4().hex
    for key, value in values.items():
        _append("GITHUB_OUTPUT", f"{key}<<{end}\n{value}\n{end}\n")


def summary(markdown: str) -> None:
    """Add to the job's summary; without a job, print it."""
    if not _append("GITHUB_STEP_SUMMARY", markdown + "\n"):
        print(markdown)


def tell(sentence: str) -> None:
    """Print how a command ended; in a job, add it to the summary as well."""
    print(sentence)
    _append("GITHUB_STEP_SUMMARY", sentence + "\n")


def event() -> dict[str, Any]:
    """Return the event that started this workflow run, or an empty mapping."""
    path = os.environ.get("GITHUB_EVENT_PATH", "")
    return dict(json.loads(Path(path).read_bytes())) if path else {}


def fail(sentence: str) -> SystemExit:
    """Return the exit with this message; in a workflow, annotate the run with it."""
    if os.environ.get("GITHUB_ACTIONS"):
        print(f"::error::{sentence}".replace("\n", " "), file=sys.stdout, flush=True)
    return SystemExit(sentence)


def _url(path: str) -> str:
    """Return what ``gh api`` takes."""
    if path.startswith(("/", "https://", "http://")):
        return path.lstrip("/")
    return f"repos/{repo()}/{path}"


def _error(
    method: str, path: str, message: str, headers: Mapping[str, str]
) -> GitHubError:
    """Turn gh's error message into an error with the status."""
    code = re.search(r"HTTP (\d{3})", message)
    status = int(code[1]) if code else 0
    problem = f"GitHub refused {method} {path}: {message}"
    pause = _pause(status, message, headers)
    if pause is not None and pause > LONGEST:
        problem += f"; run this again in {pause / 60:.0f} minutes"
    if "gh auth login" in message or status == 401:
        problem = "you are not logged in to GitHub: type `gh auth login`"
    return GitHubError(status, problem, pause)


def _pause(status: int, message: str, headers: Mapping[str, str]) -> float | None:
    """Return how long GitHub wants one to wait; None if waiting does not help.

    As documented under "Rate limits for the REST API".
    """
    if status >= 500 or (not status and BROKE_OFF.search(message)):
        return 0.0
    if status not in (403, 429):
        return None
    if headers.get("retry-after", "").isdecimal():
        return float(headers["retry-after"])
    if headers.get("x-ratelimit-remaining") == "0":
        return max(0.0, float(headers.get("x-ratelimit-reset", 0)) - time.time())
    limited = status == 429 or "rate limit" in message.lower()
    return UNTOLD if limited else None


def _append(variable: str, text: str) -> bool:
    """Append to the file that an environment variable names; False without one."""
    path = os.environ.get(variable)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    return bool(path)
