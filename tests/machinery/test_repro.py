"""`make repro` is `dvc repro` without advice that is wrong here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from machinery import process_group
from machinery.judged import git
from mlgitops.commands import repro

ROOT = Path.cwd()


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the one stage."""
    return run_all({"train": {"cmd": command, "outs": ["out"]}}, folder)


def run_all(
    stages: dict[str, dict[str, object]], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run the stages, in a group of processes that can be killed."""
    text = yaml.safe_dump({"stages": stages})
    (folder / "dvc.yaml").write_text(text)
    command = (sys.executable, "-m", "mlgitops", "repro")
    with subprocess.Popen(
        command,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        said, complaint = process.communicate()
    process_group.gone(process.pid)
    return subprocess.CompletedProcess(command, process.returncode, said, complaint)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a repository of DVC."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    Path(".dvc").mkdir()
    Path(".dvc/config").touch()
    return tmp_path


def test_nobody_is_told_to_commit_the_lock_or_to_push(folder: Path) -> None:
    done = run("echo fitted; echo 1 > out", folder)
    assert done.returncode == 0, done.stderr
    assert "Running stage 'train'" in done.stdout and "\nfitted\n" in done.stdout
    for advice in ("git add", "autostage", "dvc push"):
        assert advice not in done.stdout
    assert done.stdout.endswith(f"\n\n{repro.NEXT}\n")
    again = run("echo fitted; echo 1 > out", folder)
    assert "up to date" in again.stdout and repro.NEXT not in again.stdout


def test_what_was_killed_goes_on_with_the_stage_in_which_it_died(folder: Path) -> None:
    """As on a machine that was taken away, and came back with its disk."""
    fit = "echo train >> ran; test -e again || kill -9 0; cp rows out"
    stages: dict[str, dict[str, object]] = {
        "prepare": {"cmd": "echo prepare >> ran; echo 1 > rows", "outs": ["rows"]},
        "train": {"cmd": fit, "deps": ["rows"], "outs": ["out"]},
    }
    assert run_all(stages, folder).returncode == -9
    Path("again").touch()
    done = run_all(stages, folder)
    assert done.returncode == 0, done.stderr
    assert Path("ran").read_text().split() == ["prepare", "train", "train"]
    assert Path("out").read_text() == "1\n"


def test_a_stage_that_fails_fails_the_command(folder: Path) -> None:
    done = run("echo fitted; exit 3", folder)
    assert done.returncode == 255 and "fitted" in done.stdout
    assert "failed to reproduce 'train'" in done.stderr
    assert "Traceback" not in done.stderr and repro.NEXT not in done.stdout
