"""Each call of GitHub: what is tried again, after how long, and what is final."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlgitops import git, github
from mlgitops.github import GitHubError
from mlgitops.release import TargetError, deployments, target

# It answers as the real gh does with --include: status, headers, body, exit code.
GH = """#!/usr/bin/env python3
import pathlib, sys
home = pathlib.Path({home!r})
log = home / "calls"
with log.open("a") as file:
    print(" ".join(sys.argv[2:5]), file=file)
number = len(log.read_text().splitlines())
answer = sorted(home.glob("answer-*"))[number - 1].read_bytes().decode()
status, headers, body = answer.split("|", 2)
head = "".join(f"{{line}}\\r\\n" for line in headers.split(",") if line)
sys.stdout.buffer.write(f"HTTP/2.0 {{status}} X\\n{{head}}\\r\\n{{body}}".encode())
if int(status) > 299:
    sys.exit(f"gh: {{body}} (HTTP {{status}})")
"""
OK = ("200", "Content-Type: application/json", '{"number": 1}')


class Scripted:
    """A gh that answers one after the other, and the pauses in between."""

    def __init__(self, home: Path) -> None:
        self.home, self.pauses = home, list[float]()
        program = home / "bin/gh"
        program.parent.mkdir()
        program.write_text(GH.format(home=str(home)))
        program.chmod(0o755)

    def __call__(self, *answers: tuple[str, str, str]) -> None:
        """Set the next answers: status, headers, body."""
        for number, answer in enumerate(answers):
            file = self.home / f"answer-{number:02d}"
            file.write_bytes("|".join(answer).encode())

    @property
    def calls(self) -> list[str]:
        """Return the calls so far."""
        return (self.home / "calls").read_text().splitlines()


@pytest.fixture
def gh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """Put such a gh on PATH."""
    scripted = Scripted(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    monkeypatch.setattr("time.sleep", scripted.pauses.append)
    yield scripted


def failing(status: int, headers: str = "", body: str = "Server Error") -> Any:
    """Return one failing answer."""
    return (str(status), headers or "Date: today", body)


def test_an_answer_is_read_without_its_headers(gh: Scripted) -> None:
    gh(OK, ("200", "Content-Type: application/zip", "PK\r\n\r\nbytes"))
    assert github.api("pulls/1") == {"number": 1}
    assert github.api("zip", raw=True) == b"PK\r\n\r\nbytes"
    assert gh.pauses == []


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_a_failure_of_the_moment_is_tried_again(gh: Scripted, method: str) -> None:
    gh(failing(502), failing(503), OK)
    assert github.api("pulls/1", method) == {"number": 1}
    assert gh.pauses == [1.0, 2.0]


def test_the_tries_are_bounded(gh: Scripted) -> None:
    gh(*[failing(500)] * 9)
    with pytest.raises(GitHubError, match="HTTP 500") as caught:
        github.api("pulls/1")
    assert len(gh.calls) == 1 + len(github.PAUSES)
    assert not caught.value.passing  # nobody above tries again


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422])
def test_a_refusal_is_final(gh: Scripted, status: int) -> None:
    gh(failing(status, body="Resource not accessible by integration"), OK)
    with pytest.raises(GitHubError):
        github.api("pulls/1")
    assert len(gh.calls) == 1 and gh.pauses == []


@pytest.mark.parametrize("status", [403, 429])
def test_retry_after_is_respected_also_for_a_post(gh: Scripted, status: int) -> None:
    gh(failing(status, "Retry-After: 17", "secondary rate limit"), OK)
    assert github.api("issues", "POST", {"title": "x"}) == {"number": 1}
    assert gh.pauses == [17.0]


def test_a_limit_that_names_no_time_waits_a_minute(gh: Scripted) -> None:
    gh(failing(403, body="You have exceeded a secondary rate limit"), OK)
    github.api("pulls/1")
    assert gh.pauses == [60.0]


def test_a_limit_that_lasts_is_told_at_once(
    gh: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    headers = "X-RateLimit-Remaining: 0,X-RateLimit-Reset: 4000"
    gh(failing(403, headers, "API rate limit exceeded"), OK)
    with pytest.raises(GitHubError, match="run this again in 50 minutes"):
        github.api("pulls/1")
    assert gh.pauses == []


def test_a_post_that_may_have_worked_is_not_made_twice(gh: Scripted) -> None:
    gh(failing(502), OK)
    with pytest.raises(GitHubError):
        github.api("issues", "POST", {"title": "x"})
    assert len(gh.calls) == 1


def test_who_looks_first_may_try_again(gh: Scripted) -> None:
    """The comment was written though GitHub answered 502: it is found, not doubled."""
    marker = "<!-- m -->"
    user = {"login": "github-actions[bot]"}
    comment = {"id": 7, "body": f"{marker}\nold", "html_url": "u", "user": user}
    gh(
        ("200", "A: b", "[]"),
        failing(502),
        ("200", "A: b", json.dumps([comment])),
        ("200", "A: b", '{"html_url": "u"}'),
    )
    assert github.sticky_comment(1, marker, "new") == "u"
    methods = [call.split("--method ")[1] for call in gh.calls]
    assert methods == ["GET", "POST", "GET", "PATCH"]


def test_a_link_is_to_the_server_that_runs_the_workflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    monkeypatch.delenv("GITHUB_SERVER_URL", raising=False)
    assert github.page_url("pulls") == "https://github.com/o/r/pulls"
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://octo.ghe.com")
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    assert github.run_url() == "https://octo.ghe.com/o/r/actions/runs/7"
    sources = Path(github.__file__).parent.rglob("*.py")
    texts = {path.name: path.read_text() for path in sources}
    own = re.compile(r"github\.com/(repos/)?\{github\.repo")
    assert not [name for name, text in texts.items() if own.search(text)]


def test_of_two_reports_at_once_the_older_stays(gh: Scripted) -> None:
    """A judge that a push started, and one that a person did: one comment, not two."""
    marker, user = "<!-- m -->", {"login": "github-actions[bot]"}
    seven, nine = (
        {"id": n, "body": f"{marker}\nx", "html_url": f"u{n}", "user": user}
        for n in (7, 9)
    )
    gh(
        ("200", "A: b", "[]"),
        ("200", "A: b", json.dumps(nine)),
        ("200", "A: b", json.dumps([seven, nine])),
        ("204", "A: b", ""),
        ("200", "A: b", json.dumps(seven)),
    )
    assert github.sticky_comment(1, marker, "new") == "u7"
    calls = [call.split(" ")[0].split("/")[-1] for call in gh.calls]
    methods = [call.split("--method ")[1] for call in gh.calls]
    assert methods == ["GET", "POST", "GET", "DELETE", "PATCH"]
    assert calls[-2:] == ["9", "7"]


def test_what_is_gone_already_counts_as_deleted(gh: Scripted) -> None:
    gh(failing(502), failing(404, body="Not Found"))
    github.remove("releases/1")
    assert len(gh.calls) == 2


def test_a_list_that_github_counts_is_read_to_its_end(gh: Scripted) -> None:
    """Variables come 30 at most, though 100 are asked for."""
    names = [{"name": f"N{n}", "value": "x"} for n in range(35)]
    pages = [names[:30], names[30:]]
    gh(*[
        ("200", "A: b", json.dumps({"total_count": 35, "variables": page}))
        for page in pages
    ])  # fmt: skip
    assert github.entries("actions/variables", "variables") == names
    assert len(gh.calls) == 2


def test_a_reviewer_whose_account_is_gone_is_a_ghost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    approved = {"state": "APPROVED", "user": None}
    place = [{"name": "production"}]
    run = {"state": "approved", "user": None, "environments": place}
    monkeypatch.setenv("GITHUB_RUN_ID", "5")
    monkeypatch.setattr(github, "pages", lambda _: [approved])
    monkeypatch.setattr(github, "api", lambda _: [run])
    assert deployments.approvers("production", 7) == ["ghost"]


class Waiting:
    """A clock that goes on when somebody sleeps, and GitHub's reports."""

    def __init__(self, patch: pytest.MonkeyPatch, url: str) -> None:
        self.now, self.asked = 100.0, list[float]()
        patch.setattr("time.monotonic", lambda: self.now)
        patch.setattr("time.sleep", self.sleep)
        patch.setattr(target, "address", lambda _: url)
        patch.setattr(deployments, "reported", self.reported)
        self.report: dict[str, str] | GitHubError = {"state": "", "description": ""}

    def sleep(self, seconds: float) -> None:
        """Go on."""
        self.now += seconds

    def reported(self, _: int) -> dict[str, str]:
        """Count a request, and answer it."""
        self.asked.append(self.now - 100)
        if isinstance(self.report, GitHubError):
            raise self.report
        return self.report


RECORD = {"environment": "production", "version": "v1.0.0", "deployment_id": 1,
          "manifest_sha256": "0" * 64, "server": {"sha256": "1" * 64}}  # fmt: skip


@pytest.mark.parametrize("seconds", [5, 300, 1800, 7200, 86_400])
def test_waiting_costs_at_most_60_requests(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    waiting = Waiting(monkeypatch, "agent")
    with pytest.raises(TargetError, match="did not come up"):
        target.wait(RECORD, [], seconds)
    assert len(waiting.asked) <= 60
    assert waiting.asked[:3] == pytest.approx([0, 1, 2], abs=0.3)
    assert waiting.asked[-1] == pytest.approx(seconds, abs=1.1)  # and at the very end


def test_an_agent_that_reports_is_seen_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting(monkeypatch, "agent")

    def sleep(seconds: float) -> None:
        waiting.now += seconds
        if waiting.now > 130:
            waiting.report = {"state": "success", "description": ""}

    monkeypatch.setattr("time.sleep", sleep)
    assert target.wait(RECORD, [], 300) == "confirmed"
    assert waiting.now < 134


def test_a_limit_of_github_is_no_verdict_on_a_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The agent may have confirmed: the run ends red, and a rerun goes on waiting."""
    waiting = Waiting(monkeypatch, "agent")
    waiting.report = GitHubError(403, "API rate limit exceeded")
    with pytest.raises(GitHubError, match="rate limit"):
        target.wait(RECORD, [], 300)
    assert waiting.now >= 400


def test_without_github_a_target_is_asked_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = Waiting(monkeypatch, "http://host")
    waiting.report = GitHubError(503, "Server Error")
    monkeypatch.setattr(target, "_silent", lambda _: False)
    monkeypatch.setattr(target, "identify", lambda *_: ("it runs another", False))
    with pytest.raises(TargetError, match="it runs another"):
        target.wait(RECORD, [], 10)
    monkeypatch.setattr(target, "identify", lambda *_: ("it runs it", True))
    monkeypatch.setattr(target, "ask_golden", lambda *_: "")
    assert target.wait(RECORD, [], 10) == "confirmed"


@pytest.mark.parametrize(
    ("words", "tries"),
    [
        ("The requested URL returned error: 503", 3),
        ("RPC failed; HTTP 502 curl 22", 3),
        ("fatal: early EOF", 3),
        ("The requested URL returned error: 403", 1),
        ("Could not resolve host: github.com", 1),
    ],
)
def test_git_tries_again_where_the_remote_failed(
    words: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def run(*args: str, cwd: object = ".") -> str:
        calls.append(args[0])
        if len(calls) < 3:
            raise git.GitError(f"git fetch failed: {words}")
        return "done"

    monkeypatch.setattr(git, "run", run)
    monkeypatch.setattr("time.sleep", lambda _: None)
    if tries == 3:
        assert git.remote_run("fetch") == "done"
    else:
        with pytest.raises(git.GitError):
            git.remote_run("fetch")
    assert len(calls) == tries
