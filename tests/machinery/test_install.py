"""Where a job installs: never where code of a proposal installs on the same runner."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlgitops.commands import install

Job = Callable[[str], Path]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Return a function that installs as a job of an event, and gives its programs."""

    def put(home: Path, files: list[Path]) -> None:
        (home / "bin").mkdir(parents=True, exist_ok=True)
        with (home / "installs").open("a") as log:
            print(*files, file=log)

    def run(event: str) -> Path:
        monkeypatch.setenv("GITHUB_EVENT_NAME", event)
        install.main()
        return Path((tmp_path / "path").read_text().split()[-1])

    monkeypatch.setenv("RUNNER_TOOL_CACHE", str(tmp_path))
    monkeypatch.setenv("GITHUB_PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "argv", ["install", "ops"])
    monkeypatch.setattr(install, "install", put)
    return run


def test_proposed_and_trusted_code_share_no_environment(job: Job) -> None:
    proposed = job("pull_request")
    events = ("push", "workflow_run", "schedule", "workflow_dispatch")
    trusted = {job(event) for event in events}
    assert len(trusted) == 1 and proposed not in trusted


def test_an_environment_is_made_again_only_for_other_locks(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = job("push").parent
    job("push")
    assert len((home / "installs").read_text().splitlines()) == 1
    lock = tmp_path / "ops.txt"
    lock.write_text("other")
    monkeypatch.setattr(install, "lock", lambda _: lock)
    job("push")
    assert len((home / "installs").read_text().splitlines()) == 2
    (home / "locks.sha256").unlink()  # the install was cut off
    job("push")
    assert len((home / "installs").read_text().splitlines()) == 3
