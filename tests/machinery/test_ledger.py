"""The ledger grows, never changes, and survives writers that race."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from machinery.world import git, sha
from mlgitops import git as commits
from mlgitops.git import GitError, complete, push
from mlgitops.ledger import SPEC, Ledger, LedgerError, lock_path


@pytest.fixture
def clones(tmp_path: Path) -> list[Path]:
    """Give two clones of one bare repository with a commit on main."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    folders = []
    for name in ("one", "two"):
        git("clone", "-q", "origin", name, cwd=tmp_path)
        folders.append(tmp_path / name)
    git("commit", "-q", "--allow-empty", "-m", "start", cwd=folders[0])
    git("push", "-q", "origin", "HEAD:main", cwd=folders[0])
    return folders


def verdict(seq: int, passed: bool = True) -> dict[str, object]:
    """Give the part of a verdict that the ledger itself reads."""
    return {"seq": seq, "passed": passed, "lock_sha256": f"lock{seq}"}


def test_an_absent_ledger_is_empty(clones: list[Path]) -> None:
    """A repository before its first verdict has no champion."""
    ledger = Ledger(clones[0])
    assert (ledger.seq, ledger.paths(), ledger.champion()) == (0, [], None)


def test_records_come_back_in_order(clones: list[Path]) -> None:
    """What one clone appends, another reads, oldest first."""
    for passed in (True, False):
        Ledger(clones[0]).append(
            lambda seq, ok=passed: {f"verdicts/aa/{seq:08d}-7.json": verdict(seq, ok)},
            "a verdict",
        )
    other = Ledger(clones[1])
    assert [record["passed"] for record in other.verdicts("aa")] == [True, False]
    assert other.verdicts("bb") == []


def test_a_record_is_never_replaced(clones: list[Path]) -> None:
    """Only release.json may change; every other path is refused the second time."""
    ledger = Ledger(clones[0])
    ledger.append({"verdicts/aa/1.json": {"seq": 0}}, "first")
    with pytest.raises(LedgerError, match="never replaced"):
        ledger.append({"verdicts/aa/1.json": {"seq": 1}}, "second")
    for version in ("v1.0.0", "v1.1.0"):
        release = {"version": version, "state": "confirmed"}
        ledger.append({"environments/production/release.json": release}, version)
    champion = Ledger(clones[1]).champion()
    assert champion is not None
    assert champion["version"] == "v1.1.0"


def test_a_failed_release_is_no_champion(clones: list[Path]) -> None:
    """A release that never answered does not count as production."""
    path = "environments/production/release.json"
    Ledger(clones[0]).append({path: {"state": "failed"}}, "failed")
    assert Ledger(clones[1]).champion() is None


def test_what_a_recipe_builds_is_found(clones: list[Path]) -> None:
    """Its verdicts oldest first, and the one that its newest release is by."""
    ledger, own = Ledger(clones[0]), {"recipe": "r", "manifest_sha256": "m"}
    assert ledger.on_recipe("r") == [] and ledger.released("r") is None
    records = [own, {**own, "recipe": "s"}, {**own, "manifest_sha256": None}, own]
    for seq, record in enumerate(records):
        ledger.append({f"verdicts/m/{seq}.json": {**record, "seq": seq}}, "verdict")
    assert [v["seq"] for v in Ledger(clones[1]).on_recipe("r")] == [0, 3]
    assert Ledger(clones[1]).on_recipe("s")[0]["path"] == "verdicts/m/1.json"
    for seq, number in ((4, 0), (5, 3), (6, 1)):
        record = {"verdict": f"verdicts/m/{number}.json", "seq": seq}
        path = f"environments/production/history/{seq:08d}.json"
        ledger.append({path: record}, "release")
    newest = Ledger(clones[1]).released("r")
    assert newest is not None and newest["seq"] == 3
    assert Ledger(clones[1]).released("t") is None


def test_records_are_read_by_one_process(
    clones: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project has thousands of them in the end, and each part asks for all."""
    ledger, run, commands = Ledger(clones[0]), commits._bytes, list[str]()
    many = {f"verdicts/m/{seq}.json": {"recipe": "r", "seq": seq} for seq in range(50)}
    ledger.append(many, "verdicts")

    def count(args: tuple[str, ...], *rest: Any) -> bytes:
        commands.append(args[0])
        return run(args, *rest)

    monkeypatch.setattr(commits, "_bytes", count)
    assert [v["seq"] for v in ledger.on_recipe("r")] == list(range(50))
    assert commands == ["ls-tree", "cat-file"]
    with pytest.raises(GitError, match=r"has no verdicts/m/50\.json"):
        commits.show_all(str(ledger.commit), ["verdicts/m/50.json"], clones[0])


def test_a_lock_is_the_one_that_its_name_says(clones: list[Path]) -> None:
    ledger, data = Ledger(clones[0]), b"stages: {}\n"
    good, bad = sha(data), "f" * 64
    ledger.append({lock_path(good): data, lock_path(bad): data}, "locks")
    assert Ledger(clones[1]).lock(good) == data
    with pytest.raises(LedgerError, match="other bytes than its name says"):
        ledger.lock(bad)
    with pytest.raises(LedgerError, match="has no locks/0000"):
        ledger.lock("0" * 64)


def test_racing_writers_lose_nothing(clones: list[Path]) -> None:
    """Two clones that write at once: every record lands, each with its own seq."""

    def write(number: int) -> int:
        ledger = Ledger(clones[number % 2])
        return ledger.append(
            lambda seq: {f"monitoring/{seq:08d}.json": {"seq": seq, "by": number}},
            f"record {number}",
        )

    with ThreadPoolExecutor(2) as pool:
        seqs = [
            seq for pair in ((0, 1), (2, 3), (4, 5)) for seq in pool.map(write, pair)
        ]
    assert sorted(seqs) == list(range(6))
    ledger = Ledger(clones[0])
    written = [ledger.read(path) for path in ledger.paths("monitoring/")]
    assert sorted(r["by"] for r in written if r) == list(range(6))


@pytest.mark.parametrize("there", [True, False])
def test_one_fetch_brings_history_and_ledger(
    clones: list[Path], tmp_path: Path, there: bool
) -> None:
    """Where one commit was checked out; before the first verdict it is no error."""
    git("commit", "-q", "--allow-empty", "-m", "more", cwd=clones[0])
    git("push", "-q", "origin", "HEAD:main", "HEAD:storage", cwd=clones[0])
    if there:
        Ledger(clones[0]).append({"verdicts/aa/00000000-7.json": verdict(0)}, "one")
    place = tmp_path / "runner"
    origin = f"file://{tmp_path}/origin"
    git("clone", "-q", "--depth=1", "--no-tags", origin, str(place), cwd=tmp_path)
    complete("main", SPEC, cwd=place)
    assert git("rev-list", "--count", "origin/main", cwd=place) == "2"
    assert ("origin/ledger" in git("branch", "-r", cwd=place)) == there
    assert "origin/storage" not in git("branch", "-r", cwd=place)
    assert len(Ledger(place).verdicts("aa")) == there


def test_without_origin_it_says_so(tmp_path: Path) -> None:
    """A repository that was never pushed has no ledger to write."""
    git("init", "-q", cwd=tmp_path)
    with pytest.raises(LedgerError, match="no remote"):
        Ledger(tmp_path).append({"a.json": {}}, "nothing")


def test_what_the_remote_refuses_is_no_lost_race(clones: list[Path]) -> None:
    """Its own words come back at once: trying again would never help."""
    origin = Path(git("remote", "get-url", "origin", cwd=clones[0]))
    hook = origin / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'GH013: Repository rule violations' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(GitError, match="GH013"):
        push("HEAD:refs/heads/x", cwd=clones[0])


def test_a_file_is_shown_whatever_its_name_and_bytes_are(tmp_path: Path) -> None:
    """And what is absent, or a folder's path in another form, is None."""
    files = {"a": b"", "in/b": b"x\ny\n\n", "a blob": b"\x00\xff", "new\nline": b"1"}
    git("init", "-q", cwd=tmp_path)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    git("add", "-A", cwd=tmp_path)
    tree = git("write-tree", cwd=tmp_path)
    assert {n: commits.show(tree, n, tmp_path) for n in files} == files
    for name in ("b", "./a", "in//b", "in/../a", "", "c blob", "0" * 40 + " blob 3"):
        assert commits.show(tree, name, tmp_path) is None, name
    assert commits.show("0" * 40, "a", tmp_path) is None
