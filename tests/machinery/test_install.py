"""Where a job installs: never where code of a proposal installs on the same runner."""

import os
import shutil
import subprocess
import sys
import threading
import time
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


def installs(home: Path) -> int:
    """Return how often something was installed there."""
    return len((home / "installs").read_text().splitlines())


def test_proposed_and_trusted_code_share_no_environment(job: Job) -> None:
    proposed = job("pull_request")
    events = ("push", "workflow_run", "schedule", "workflow_dispatch")
    trusted = {job(event) for event in events}
    assert len(trusted) == 1 and proposed not in trusted


def test_an_environment_is_made_again_only_for_other_locks(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = job("push").parent
    assert job("push").parent == home and installs(home) == 1
    lock = tmp_path / "ops.txt"
    lock.write_text("other")
    monkeypatch.setattr(install, "lock", lambda _: lock)
    other = job("push").parent
    assert installs(other) == 1
    assert other != home and installs(home) == 1, "a job may still use the first one"
    (other / "installed").unlink()  # the install was cut off
    assert job("push").parent == other and installs(other) == 2


def test_an_environment_that_no_job_used_for_weeks_is_removed(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused, used = job("push").parent, job("pull_request").parent
    weeks_ago = time.time() - 2 * install.UNUSED
    for home in (unused, used):
        os.utime(home / "installed", (weeks_ago, weeks_ago))
    job("pull_request")
    assert used.exists() and not unused.exists()


def test_runners_that_share_a_tool_cache_install_one_after_the_other(
    tmp_path: Path,
) -> None:
    inside, most = [], []

    def one() -> None:
        with install.alone(tmp_path / "cache" / "venv.lock"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


@pytest.mark.parametrize("fails", [True, False])
def test_setup_fails_with_the_reason_why_packages_cannot_be_listed(
    tmp_path: Path, *, fails: bool
) -> None:
    """It would install fewer of them, and say nothing; the control: it goes on."""
    shutil.copy("Makefile", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "uv"):
        program = tmp_path / ".venv" / "bin" / name
        program.write_text(f"#!/bin/sh\ntest {name} = uv || exec {sys.executable} $*\n")
        program.chmod(0o755)
    (tmp_path / "mlgitops").mkdir()
    (tmp_path / "mlgitops" / "__init__.py").touch()
    crash = "import sys\nif '--list' in sys.argv: raise OSError('no such lock')\n"
    (tmp_path / "mlgitops" / "__main__.py").write_text(crash if fails else "")
    command = ("make", "setup", f"PYTHON={sys.executable}")
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert bool(made.returncode) == fails, made.stderr
    assert ("OSError: no such lock" in made.stderr) == fails
