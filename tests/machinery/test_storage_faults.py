"""Storage that fails: one sentence, nothing wrong left, and the same command again.

A folder and a branch are tried here; what needs a server, in
`tests/test_storage_faults.py` of the template.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from machinery import faulty, storage_cases
from machinery.world import git
from mlgitops import git as machinery_git


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a repository with an origin."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    git("clone", "-q", "origin", "here", cwd=tmp_path)
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / ".dvc").mkdir()
    git("commit", "-q", "--allow-empty", "-m", "start")
    git("push", "-q", "origin", "HEAD:main")
    return tmp_path / "here"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a disk of 20 MB that can be filled, and be made read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder))
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk, on a machine that lets it")
    yield folder
    subprocess.run(("umount", "-l", str(folder)), check=True)


@pytest.mark.slow
def test_a_folder(here: Path, disk: Path) -> None:
    store = disk / "store"

    @contextmanager
    def fail(fault: str, _: int) -> Iterator[None]:
        if fault == "read-only":
            remount(disk, "ro")
        elif fault == "full":
            subprocess.run(("dd", "if=/dev/zero", f"of={disk}/filler", "status=none"))
        else:
            store.rename(disk / "away")
            store.write_text("a file where the folder should be")
        try:
            yield
        finally:
            if fault == "read-only":
                remount(disk, "rw")
            elif fault == "full":
                (disk / "filler").unlink()
            else:
                store.unlink()
                (disk / "away").rename(store)

    ground = faulty.Ground("local", here, here.parent / "other", fail, str(store))
    check([*faulty.play(ground)])


def remount(disk: Path, how: str) -> None:
    """Let a disk be written, or not."""
    subprocess.run(("mount", "-o", f"remount,{how}", str(disk)), check=True)


@pytest.mark.slow
def test_a_branch(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machinery_git, "SILENT", 1)
    monkeypatch.setattr(machinery_git, "PAUSES", ())
    origin = here.parent / "origin"
    silent = socket.create_server(("127.0.0.1", 0))
    breaking = faulty.Proxy(silent.getsockname()[1])
    closed = socket.socket()  # bound, so that nobody else listens there meanwhile
    closed.bind(("127.0.0.1", 0))
    nobody = closed.getsockname()[1]

    @contextmanager
    def fail(fault: str, _: int) -> Iterator[None]:
        hook = origin / "hooks/pre-receive"
        if fault in ("read-only", "full"):
            reason = {"read-only": "permission denied", "full": "quota is used up"}
            hook.write_text(f"#!/bin/sh\necho {reason[fault]} >&2\nexit 1\n")
            hook.chmod(0o755)
        else:
            ports = {"slow": silent.getsockname()[1], "interrupted": breaking.port}
            port = ports.get(fault, nobody)
            breaking.set("interrupted", 50)
            git("remote", "set-url", "origin", f"http://127.0.0.1:{port}/o/r")
        try:
            yield
        finally:
            hook.unlink(missing_ok=True)
            git("remote", "set-url", "origin", str(origin))

    ground = faulty.Ground("branch", here, here.parent / "other", fail, "branch")
    check([*faulty.play(ground)])
    silent.close()
    closed.close()


def check(records: list[dict[str, Any]]) -> None:
    """Look that each case of the table was tried, or is told why not."""
    tried = {(r["fault"], r["operation"]) for r in records}
    assert tried == set(storage_cases.cases())
    assert not [record for record in records if "wrong" in record]
    assert all(record.get("not") or record["sentence"] for record in records)
