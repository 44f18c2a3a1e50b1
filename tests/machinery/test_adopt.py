"""`make adopt` takes only a lock that CI built and judged for this very commit."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from machinery.judged import WHO, Hub, Record, git
from mlgitops.commands import adopt
from mlgitops.ledger import Ledger

LOCK = b"stages: {train: {outs: []}}\n"


class Desk:
    """An author's clone with a branch that is a pull request."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        git("init", "-q", "--bare", "-b", "main", "origin", cwd=home)
        git("clone", "-q", str(home / "origin"), "clone", cwd=home)
        self.home, self.clone = home, home / "clone"
        git("switch", "-q", "-c", "change", cwd=self.clone)
        git("commit", "-q", "--allow-empty", "-m", "x", cwd=self.clone)
        git("push", "-q", "origin", "change", cwd=self.clone)
        repo = {"full_name": "o/r", "clone_url": str(home / "fork")}
        head = {"ref": "change", "sha": git("rev-parse", "HEAD", cwd=self.clone)}
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("dvc.lock", LOCK)
        self.pull: Record = {
            "number": 7,
            "head": {**head, "repo": repo},
            "base": {
                "ref": "main",
                "repo": {"full_name": "o/r", "default_branch": "main"},
            },
        }
        self.hub = Hub(self.pull, data.getvalue())
        self.hub.plug(patch, home / "event.json")
        patch.chdir(self.clone)

    def verdict(self, **changes: Any) -> None:
        """Let the ledger know what the judge said."""
        import hashlib

        record = {
            "lock_sha256": hashlib.sha256(LOCK).hexdigest(),
            "passed": True,
            "head_sha": self.pull["head"]["sha"],
            "summary": "ROC AUC is too low.",
            **changes,
        }
        ledger = Ledger(self.clone)
        ledger.append(
            lambda seq: {f"verdicts/m/{seq:08d}-1.json": {**record, "seq": seq}}, "v"
        )


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Give a desk."""
    return Desk(tmp_path, monkeypatch)


def test_the_judged_lock_is_committed_and_pushed_once(desk: Desk) -> None:
    desk.verdict()
    assert "judges it again" in adopt.adopt(7)
    pushed = git("show", "change:dvc.lock", cwd=desk.home / "origin")
    assert pushed.encode() == LOCK.strip()
    assert git("log", "-1", "--format=%s") == "adopt the lock that CI built"
    desk.pull["head"]["sha"] = desk.hub.run["head_sha"] = git("rev-parse", "HEAD")
    desk.verdict(head_sha=desk.pull["head"]["sha"])
    assert "already committed" in adopt.adopt(7)
    assert git("rev-list", "--count", "HEAD") == "2"


def test_of_a_fork_the_lock_goes_to_the_fork(desk: Desk) -> None:
    git("clone", "-q", "--bare", "origin", "fork", cwd=desk.home)
    desk.pull["head"]["repo"]["full_name"] = "eve/r"
    desk.verdict()
    adopt.adopt(7)
    head = git("rev-parse", "HEAD")
    assert git("rev-parse", "change", cwd=desk.home / "fork") == head
    assert git("rev-parse", "change", cwd=desk.home / "origin") != head


def test_of_a_deleted_fork_nothing_is_pushed(desk: Desk) -> None:
    """Its branch may be called main, as the one of origin that deploys."""
    git("push", "-q", "origin", "change:main")
    git("switch", "-q", "-c", "main")
    git("commit", "-q", "--allow-empty", "-m", "a proposal")
    desk.pull["head"] |= {"ref": "main", "sha": git("rev-parse", "HEAD"), "repo": None}
    desk.hub.run["head_sha"] = desk.pull["head"]["sha"]
    desk.verdict(head_sha=desk.pull["head"]["sha"])
    before = git("ls-remote", "origin", "main")
    with pytest.raises(SystemExit, match="the fork of pull request 7 was deleted"):
        adopt.adopt(7)
    assert git("ls-remote", "origin", "main") == before
    assert not Path("dvc.lock").exists()


def test_to_another_base_nothing_is_pushed(desk: Desk) -> None:
    """The branch of such a pull request may be main itself."""
    desk.pull["base"]["ref"] = "release"
    desk.verdict()
    with pytest.raises(SystemExit, match="7 is to release"):
        adopt.adopt(7)


def test_another_pull_request_with_the_same_lock_changes_nothing(desk: Desk) -> None:
    """Nor do other bytes that somebody uploaded with it."""
    desk.verdict(manifest_sha256="m" * 64)
    desk.verdict(manifest_sha256="m" * 64, head_sha="0" * 40, passed=False)
    desk.verdict(manifest_sha256=None, passed=False)
    assert "judges it again" in adopt.adopt(7)


def test_a_lock_without_a_verdict_is_refused(desk: Desk) -> None:
    with pytest.raises(SystemExit, match="has not judged"):
        adopt.adopt(7)
    assert not Path("dvc.lock").exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"passed": False}, "did not pass: ROC AUC is too low"),
        ({"head_sha": "0" * 40}, "another commit"),
        ({"lock_sha256": "0" * 64}, "has not judged"),
    ],
)
def test_another_verdict_is_refused(change: Record, why: str, desk: Desk) -> None:
    desk.verdict(**change)
    with pytest.raises(SystemExit, match=why):
        adopt.adopt(7)
    assert not Path("dvc.lock").exists()


def test_the_newest_verdict_decides(desk: Desk) -> None:
    desk.verdict()
    desk.verdict(passed=False)
    with pytest.raises(SystemExit, match="did not pass"):
        adopt.adopt(7)


def test_another_commit_than_the_pull_requests_is_refused(desk: Desk) -> None:
    git("commit", "-q", "--allow-empty", "-m", "y")
    with pytest.raises(SystemExit, match="git switch change"):
        adopt.adopt(7)


def test_no_artifact_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.hub.run["path"] = ".github/workflows/other.yml"
    with pytest.raises(SystemExit, match="has not run"):
        adopt.adopt(7)


@pytest.mark.parametrize("word", ["", "x", "-1"])
def test_a_number_is_asked_for(word: str) -> None:
    command = [sys.executable, "-m", "mlgitops", "adopt", word]
    here = Path.cwd()
    env = {**os.environ, **WHO}
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
