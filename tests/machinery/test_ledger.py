"""The ledger grows, never changes, and survives writers that race."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from machinery.world import git, sha
from mlgitops import git as commits
from mlgitops import ledger as ledgers
from mlgitops.git import GitError, complete, push
from mlgitops.ledger import SPEC, Ledger, LedgerError, lock_path
from mlgitops.release import consistency


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


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the git commands that were started since; to be cleared by the test."""
    started, popen = list[str](), subprocess.Popen

    class Counted(popen):  # type: ignore[type-arg]
        def __init__(self, args: Any, *rest: Any, **options: Any) -> None:
            started.append(args[1])
            super().__init__(args, *rest, **options)

    monkeypatch.setattr(commits.subprocess, "Popen", Counted)
    return started


def test_records_are_read_by_one_process(
    clones: list[Path], commands: list[str]
) -> None:
    """A project has thousands of them in the end, and each part asks for all."""
    ledger = Ledger(clones[0])
    many = {f"verdicts/m/{seq}.json": {"recipe": "r", "seq": seq} for seq in range(50)}
    ledger.append(many, "verdicts")
    commands.clear()
    assert [v["seq"] for v in ledger.on_recipe("r")] == list(range(50))
    assert commands == ["ls-tree", "cat-file"]
    newest = next(ledger.judged(newest_first=True))
    assert (newest["seq"], newest["path"]) == (49, "verdicts/m/49.json")
    assert next(ledger.judged(having="no such text"), None) is None
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


def test_a_commit_starts_as_many_processes_whatever_it_holds(
    clones: list[Path], commands: list[str]
) -> None:
    """Neither its files nor those before it: an append to 100,000 records is one."""
    counts, parent = list[int](), None
    for files in (1, 1, 60):
        some = {f"a/b/{len(counts)}-{n}": b"x" for n in range(files)}
        commands.clear()
        parent = commits.commit(some, "m", "x", parent, clones[0])
        counts.append(len(commands))
    assert counts[1] == counts[2] <= 9
    listed = git("ls-tree", "-r", "--name-only", str(parent), cwd=clones[0])
    assert len(listed.splitlines()) == 62


def test_a_commit_has_the_tree_that_git_itself_would_write(tmp_path: Path) -> None:
    """Whatever modes, names and folders there were before; blobs byte for byte."""
    git("init", "-q", cwd=tmp_path)
    before = {
        "a": b"1",
        "a.b/c": b"2",
        "in/x y/\u00e9": b"3",
        "in/run": b"#!",
        "z/z": b"",
    }
    for name, content in before.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "in/run").chmod(0o755)
    git("add", "-A", cwd=tmp_path)
    git("commit", "-q", "-m", "before", cwd=tmp_path)
    new = {
        "in/x y/new\nline": b"a\r\n\0",
        "a.b/c": b"changed",
        "n/e/w": b"",
        "a0": b"4",
    }
    commit = commits.commit(new, "m", "x", "HEAD", tmp_path)
    for name, content in new.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    git("add", "-A", cwd=tmp_path)
    assert git("rev-parse", f"{commit}^{{tree}}", cwd=tmp_path) == git(
        "write-tree", cwd=tmp_path
    )
    git("fsck", "--strict", commit, cwd=tmp_path)


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../b", "/x", "a//b", "a/", "", ".git/x", "a/.GIT/y", "in", "a/b"],
)
def test_no_commit_has_a_file_where_none_can_be(path: str, tmp_path: Path) -> None:
    """In a folder's place, inside a file, or outside of the repository."""
    git("init", "-q", cwd=tmp_path)
    parent = commits.commit({"a": b"1", "in/b": b"2"}, "m", "x", cwd=tmp_path)
    with pytest.raises(GitError):
        commits.commit({path: b"3"}, "m", "x", parent, tmp_path)


@pytest.fixture
def blocks(clones: list[Path], monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Give a ledger of eight records; from the third on they lie in blocks of two."""
    monkeypatch.setattr(ledgers, "BLOCK", 2)
    ledger = Ledger(clones[0])
    for seq in range(4):
        record = {"seq": 2 * seq, "recipe": "r", "manifest_sha256": "m"}
        path = f"verdicts/m/{2 * seq:08}-7.json"
        ledger.append({path: record, f"locks/{seq}.lock": b"x"}, "verdict")
        release = {"seq": 2 * seq + 1, "verdict": path, "manifest_sha256": "m"}
        names = ("release.json", f"history/{2 * seq + 1:08}.json")
        ledger.append({f"environments/a/{n}": release for n in names}, "release")
    return ledger


def test_later_records_lie_in_blocks_and_are_read_as_before(blocks: Ledger) -> None:
    """So that no folder grows with the ledger; the first ones stay where they are."""
    listed = git("ls-tree", "-r", "--name-only", str(blocks.commit), cwd=blocks.cwd)
    assert [path for path in listed.split() if path.startswith("blocks/00003/")] == [
        "blocks/00003/environments/a/history/00000007.json",
        "blocks/00003/locks/3.lock",
        "blocks/00003/verdicts/m/00000006-7.json",
    ]
    assert "verdicts/m/00000000-7.json" in listed.split()
    for ledger in (blocks, Ledger(blocks.cwd.parent / "two")):
        assert [v["seq"] for v in ledger.verdicts("m")] == [0, 2, 4, 6]
        assert [v["seq"] for v in ledger.on_recipe("r")] == [0, 2, 4, 6]
        assert [v["seq"] for v in ledger.judged(newest_first=True)] == [6, 4, 2, 0]
        assert [r["seq"] for r in ledger.history("a")] == [1, 3, 5, 7]
        assert ledger.environments() == ["a"]
        release = ledger.release("a")
        assert release is not None and release["seq"] == 7
        path = "verdicts/m/00000006-7.json"
        assert (ledger.read(path) or {})["seq"] == 6
        assert ledger.where(path) == f"blocks/00003/{path}"
        assert ledger.read("verdicts/m/00000008-7.json") is None
        assert ledger.paths("locks/") == [f"locks/{n}.lock" for n in range(4)]
    assert list(consistency.rewritten(blocks)) == []


def test_no_block_hides_a_record_that_is_there_or_was_changed(blocks: Ledger) -> None:
    """A name without a number is unique in all blocks; the audit reads into them."""
    for path in ("locks/0.lock", "locks/2.lock", "verdicts/m/00000006-7.json"):
        with pytest.raises(LedgerError, match="never replaced"):
            blocks.append({path: b"y"}, "again")
    path = "blocks/00003/verdicts/m/00000006-7.json"
    commit = commits.commit({path: b"{}"}, "lie", "x", blocks.commit, blocks.cwd)
    late = {"blocks/00009/monitoring/00000005.json": b"{}"}
    commit = commits.commit(late, "lie", "x", commit, blocks.cwd)
    found = list(consistency.rewritten(Ledger.at(commit, blocks.cwd)))
    assert len(found) == 2
    assert f"record {path} was changed" in found[0]
    assert "names commit 5, but is in commit 9" in found[1]


def test_look_ups_start_as_many_processes_whatever_there_is(
    blocks: Ledger, commands: list[str]
) -> None:
    """One to list and one to read, of four records as of 100,000."""
    for look_up in (
        lambda ledger: ledger.releases(),
        lambda ledger: list(ledger.locks([])),
        lambda ledger: ledger.retired(),
        lambda ledger: list(ledger.judged()),
        lambda ledger: ledger.withdrawal("m", "s") if not ledger.releases() else None,
    ):
        ledgers._paths.cache_clear()
        ledgers._records.cache_clear()
        commands.clear()
        look_up(Ledger.at(blocks.commit, blocks.cwd))
        assert len(commands) <= 2


def test_what_a_block_repeats_hides_nothing(blocks: Ledger) -> None:
    """Whoever may push can add to a block: each reader takes what lay there before."""
    verdict, release = "verdicts/m/00000000-7.json", "environments/a/release.json"
    forged = {f"blocks/00002/{path}": b'{"seq": 0}' for path in (verdict, release)}
    forged["blocks/00002/environments/b/release.json"] = b"{}"
    commit = commits.commit(forged, "lie", "x", blocks.commit, blocks.cwd)
    ledger = Ledger.at(commit, blocks.cwd)
    for path in (verdict, release):
        assert ledger.where(path) == path
        assert dict(ledger.each([path]))[path] == ledger.read_bytes(path) != b"{}"
        assert ledger.read(path) == blocks.read(path) != {"seq": 0}
    assert ledger.paths() == blocks.paths() and ledger.environments() == ["a"]


def test_a_name_of_two_lines_gives_nobody_another_files_bytes(tmp_path: Path) -> None:
    git("init", "-q", cwd=tmp_path)
    names = ["a", "x\nHEAD:a", "z"]
    commit = commits.commit({n: n.encode() for n in names}, "m", "x", cwd=tmp_path)
    assert commits.show_all(commit, ["a", "z"], tmp_path) == {"a": b"a", "z": b"z"}
    with pytest.raises(GitError, match="several lines"):
        commits.show_all(commit, names, tmp_path)
