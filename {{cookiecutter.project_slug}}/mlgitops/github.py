"""Talks to GitHub's REST API through ``gh``, and to a running workflow."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any
from urllib.parse import urlencode

from mlgitops import git

BOT = "github-actions[bot]"  # writes what workflows write with their own token


class GitHubError(Exception):
    """A call of GitHub failed: ``status`` is its HTTP status, 0 without a response."""

    def __init__(self, status: int, sentence: str) -> None:
        """Keep the status with the message."""
        super().__init__(sentence)
        self.status = status


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
    ``https://``; a GET turns ``fields`` into its query.

    Raises:
        GitHubError: with GitHub's status and message.
    """
    if fields and method == "GET":
        path, fields = f"{path}?{urlencode(fields)}", None
    command = ["gh", "api", _url(path), "--method", method, "-H", f"Accept: {accept}"]
    if fields is not None:
        data, content_type = json.dumps(fields).encode(), "application/json"
    if data is not None:
        command += ["--input", "-", "-H", f"Content-Type: {content_type}"]
    try:
        done = subprocess.run(command, input=data, capture_output=True)
    except FileNotFoundError as error:
        raise GitHubError(0, "`gh` is not on PATH: run `make setup`") from error
    if done.returncode:
        raise _error(method, path, done.stderr.decode(errors="replace").strip())
    return done.stdout if raw else json.loads(done.stdout or b"null")


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


def marked(item: Mapping[str, Any], marker: str) -> bool:
    """Tell whether a workflow wrote this comment or issue, with this marker.

    Anybody can write the marker, and would then keep what a workflow has to say.
    """
    author = (item.get("user") or {}).get("login")
    return author == BOT and str(item.get("body") or "").startswith(marker)


def sticky_comment(number: int, marker: str, body: str) -> str:
    """Write the one comment of the workflows with ``marker``; return its address."""
    text = {"body": f"{marker}\n{body}"}
    for comment in pages(f"issues/{number}/comments"):
        if marked(comment, marker):
            path = f"issues/comments/{comment['id']}"
            return str(api(path, "PATCH", text)["html_url"])
    return str(api(f"issues/{number}/comments", "POST", text)["html_url"])


def to_default(pull: Mapping[str, Any]) -> bool:
    """Tell whether a pull request is to the default branch, the one that deploys."""
    base = pull["base"]
    return bool(base["ref"] == base["repo"]["default_branch"])


def brief(description: str) -> str:
    """Return a description in the 140 letters that GitHub takes, cut between words."""
    brief = shorten(description, 140, placeholder="…")
    return brief if brief != "…" else f"{description[:139]}…"  # one long word


def status(sha: str, context: str, state: str, description: str, url: str = "") -> None:
    """Set a commit status: pending, success, failure or error."""
    fields = {"context": context, "state": state, "description": brief(description)}
    api(f"statuses/{sha}", "POST", {**fields, "target_url": url or run_url()})


def run_url() -> str:
    """Return the address of this workflow run, or nothing outside of one."""
    run = os.environ.get("GITHUB_RUN_ID", "")
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    return f"{server}/{repo()}/actions/runs/{run}" if run else ""


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


def _error(method: str, path: str, message: str) -> GitHubError:
    """Turn gh's error message into an error with the status."""
    code = re.search(r"HTTP (\d{3})", message)
    status = int(code[1]) if code else 0
    problem = f"GitHub refused {method} {path}: {message}"
    if "gh auth login" in message or status == 401:
        problem = "you are not logged in to GitHub: type `gh auth login`"
    return GitHubError(status, problem)


def _append(variable: str, text: str) -> bool:
    """Append to the file that an environment variable names; False without one."""
    path = os.environ.get(variable)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)
    return bool(path)
