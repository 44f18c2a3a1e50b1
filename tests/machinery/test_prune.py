"""`make prune` retires by rule; what the ledger, a tag, a branch or we name stays."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from machinery.world import World, git, roll_out, world
from mlgitops import lock, settings, storage
from mlgitops.commands import prune as command
from mlgitops.commands import rollback
from mlgitops.commands.prune import prune
from mlgitops.judge import publish
from mlgitops.ledger import Ledger
from mlgitops.pipeline.schema import SettingsError
from mlgitops.release import ReleaseError
from mlgitops.retention import rule
from mlgitops.retention.rule import Kept
from mlgitops.settings import Retention
from mlgitops.store import named, objects, owner
from mlgitops.store.objects import Objects

NOW = datetime(2026, 6, 1, tzinfo=UTC)
RULES = Retention(versions=2, days=30)


def version(number: int, days: float) -> Kept:
    """Return a version that last served so many days ago."""
    last = NOW - timedelta(days=days)
    return Kept(f"m{number}", (1, number, 0), f"flights@v1.{number}.0", last)


def retired(*versions: Kept, used: tuple[str, ...] = ()) -> list[str]:
    """Return the manifests that retire."""
    return [v.manifest_sha256 for v in rule.retiring(versions, used, RULES, NOW)]


def test_the_rule() -> None:
    old = [version(n, 400 - n) for n in range(5)]
    assert retired(*old) == ["m0", "m1", "m2"], "the newest two stay"
    assert retired(*old, used=("m1",)) == ["m0", "m2"], "an environment runs it"
    assert retired(*old[:2], version(2, 29), *old[3:]) == ["m0", "m1"], "it served"
    unmerged = replace(old[0], number=(), manifest_sha256="p")
    assert retired(unmerged, *old[3:]) == ["p"]
    assert retired(*old[3:]) == []


def test_where_an_environment_would_go_back_to_stays() -> None:
    assert rule.in_use([["a", "b", "c"], ["a"]]) == {"a", "b", "c"}
    assert rule.in_use([["a", "b", "c", "c"], []]) == {"b", "c"}
    assert rule.in_use([["a", "b", "a"]]) == {"a", "b"}, "rolled back: the next is b"


def keep(here: World) -> None:
    """Bring what CI built into storage, as objects of DVC."""
    for file in here.objects.iterdir():
        put(here, file.name, file.read_bytes())


def put(here: World, md5: str, data: bytes) -> Path:
    """Put an object into storage, two days ago."""
    path = here.home / "store/files/md5" / md5[:2] / md5[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    moment = time.time() - 2 * 86_400
    os.utime(path, (moment, moment))
    return path


def held() -> set[str]:
    """Return the objects in storage."""
    return set(objects.here().listing().sizes)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a world with four releases of production, the oldest a year old."""
    home = tmp_path_factory.mktemp("grown")
    with pytest.MonkeyPatch.context() as patch, world(home, patch) as made:
        (made.clone / ".dvc").mkdir()
        config = "['remote \"storage\"']\n    url = ../../store\n"
        (made.clone / ".dvc/config").write_text(config)
        params = json.loads((made.clone / "params.yaml").read_text())
        params["retention"] = {"versions": 2, "days": 30}
        (made.clone / "params.yaml").write_text(json.dumps(params))
        for text in ("one", "two", "three", "four"):
            made.judged(text)
            roll_out()
        keep(made)
        yield made


@pytest.fixture
def here(
    grown: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Stand in a twin of that world."""
    with world(tmp_path, monkeypatch, like=grown) as made:
        later = datetime.now(UTC) + timedelta(days=365)
        monkeypatch.setattr(command.plan, "newest", lambda last: later)
        yield made


def outputs(here: World, tag: str) -> set[str]:
    """Return the objects of a version."""
    found = lock.at(tag, here.clone)
    assert found
    return {out.md5 for out in found.outs}


def test_old_versions_leave_storage_and_nothing_else(here: World) -> None:
    before = held()
    lines = prune()
    assert [line.split(",")[0] for line in lines[:2]] == [
        "retire flights@v1.0.0",
        "retire flights@v1.1.0",
    ]
    assert held() == before and "APPLY=1" in lines[-1], "only said so"
    assert not Ledger().retired()
    assert "deleted 4 objects" in prune(apply=True)[-1]
    gone = outputs(here, "flights@v1.0.0") | outputs(here, "flights@v1.1.0")
    assert len(gone) == 4 and held() == before - gone
    assert {r["version"] for r in Ledger().retired().values()} == {
        "flights@v1.0.0",
        "flights@v1.1.0",
    }
    assert prune(apply=True) == ["deleted 0 objects, 0.0 MB"], "once"
    with pytest.raises(ReleaseError, match="v1.0.0 was retired on 2.*newer version"):
        rollback.rollback("production", "v1.0.0", "why not")


def test_killed_between_ledger_and_storage_it_goes_on(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Objects, "remove", killed)
        prune(apply=True)
    assert len(Ledger().retired()) == 2 and len(held()) == 8
    assert "deleted 4 objects" in prune(apply=True)[-1]


def test_what_a_branch_names_stays(here: World) -> None:
    """Also one that this clone never fetched."""
    one = here.clone / "data"
    data = b"an older table"
    md5 = hashlib.md5(data).hexdigest()
    put(here, md5, data)
    one.mkdir()
    pointer = f"outs:\n- md5: {md5}\n  size: {len(data)}\n  path: t.parquet\n"
    (one / "t.parquet.dvc").write_text(pointer)
    git("switch", "-q", "-c", "idea")
    git("add", "-A")
    git("commit", "-q", "-m", "idea")
    git("push", "-q", "origin", "idea")
    git("switch", "-q", "main")
    git("branch", "-q", "-D", "idea")
    git("update-ref", "-d", "refs/remotes/origin/idea")
    git("config", "remote.origin.fetch", "+refs/heads/main:refs/remotes/origin/main")
    prune(apply=True)
    assert md5 in held()
    git("push", "-q", "origin", ":idea")
    prune(apply=True)
    assert md5 in held(), "nothing here names it any more: it may be somebody else's"
    prune(apply=True, alone=True)
    assert md5 not in held(), "the control"


def test_work_that_is_only_here_stays(here: World) -> None:
    """A branch that nobody pushed yet, whose data is in storage already."""
    md5 = hashlib.md5(b"my table").hexdigest()
    put(here, md5, b"my table")
    (here.clone / "data").mkdir()
    pointer = f"outs:\n- md5: {md5}\n  size: 8\n  path: t.parquet\n"
    (here.clone / "data/t.parquet.dvc").write_text(pointer)
    git("switch", "-q", "-c", "mine")
    git("add", "-A")
    git("commit", "-q", "-m", "mine")
    git("switch", "-q", "main")
    prune(apply=True, alone=True)
    assert md5 in held()
    git("branch", "-q", "-D", "mine")
    prune(apply=True, alone=True)
    assert md5 not in held(), "the control"


def test_an_open_proposal_that_passed_long_ago_stays(here: World) -> None:
    """Its branch is there, its status is green, and it can be merged any day."""
    before = git("rev-parse", "HEAD")
    manifest = here.model("open")
    git("push", "-q", "origin", "HEAD:open")
    head = git("rev-parse", "HEAD")
    here.verdict(manifest, head_sha=head, time="2025-01-01T00:00:00+00:00")
    keep(here)
    git("reset", "-q", "--hard", before)
    git("push", "-q", "-f", "origin", "main")
    prune(apply=True)
    assert manifest not in Ledger().retired()
    git("push", "-q", "origin", ":open")
    prune(apply=True)
    assert manifest in Ledger().retired(), "the control"


def test_what_failed_is_no_way_back(here: World) -> None:
    """Two releases that were taken back stand between production and its way back."""
    first, second, third, fourth = (
        str(record["manifest_sha256"]) for record in Ledger().history("production")
    )
    release = Ledger().release("production") or {}

    def write(manifest: str, action: str, previous: str) -> None:
        record = {**release, "manifest_sha256": manifest, "action": action}
        record |= {"previous": previous, "time": "2025-01-01T00:00:00+00:00"}
        Ledger().append(
            lambda seq: {
                f"environments/production/history/{seq:08d}.json": {
                    **record,
                    "seq": seq,
                }
            },
            "x",
        )

    write(second, "revert", fourth)
    write(third, "deploy", second)
    write(second, "revert", third)
    prune(apply=True)
    assert first not in Ledger().retired(), "production would go back to it"


def test_what_is_deployed_in_the_meantime_stays(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback between the choice and the record."""
    before, free = held(), command.plan.free

    def slow(*args: object) -> object:
        monkeypatch.setattr(command.plan, "free", free)
        rollback.rollback("production", "v1.0.0", "why not")
        return free(*args)

    monkeypatch.setattr(command.plan, "free", slow)
    with pytest.raises(ReleaseError, match="in use since.*make prune"):
        prune(apply=True)
    assert held() == before and not Ledger().retired()


@pytest.mark.parametrize("text", ["0", "no", "false"])
def test_a_variable_that_says_no_deletes_nothing(
    here: World, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = held()
    monkeypatch.setattr("sys.argv", ["prune"])
    monkeypatch.setenv("APPLY", text)
    with suppress(SystemExit):
        command.main()
    assert held() == before
    monkeypatch.setenv("APPLY", "1")
    command.main()
    assert held() < before, "the control"


def test_what_was_never_named_here_may_be_somebody_elses(here: World) -> None:
    foreign = hashlib.md5(b"foreign").hexdigest()
    put(here, foreign, b"foreign")
    lines = prune(apply=True)
    assert "1 objects that this repository never named" in " ".join(lines)
    assert foreign in held()
    prune(apply=True, alone=True)
    assert foreign not in held()


def test_what_may_be_on_its_way_stays(here: World) -> None:
    """Data that somebody has just pushed, for a branch that is not on origin yet."""
    foreign = hashlib.md5(b"foreign").hexdigest()
    path = put(here, foreign, b"foreign")
    os.utime(path)
    assert "less than a day old" in " ".join(prune(apply=True, alone=True))
    later = time.time() + 365 * 86_400
    os.utime(path, (later, later))  # a clock that is wrong
    prune(apply=True, alone=True)
    assert foreign in held()
    put(here, foreign, b"foreign")
    prune(apply=True, alone=True)
    assert foreign not in held(), "the control"


def test_an_upload_that_broke_off_goes_when_it_is_a_day_old(here: World) -> None:
    """A push was killed; one that goes on is younger. Files of others stay."""
    prune(apply=True)
    before, store, day = held(), here.home / "store", "files/md5/ab"
    broken = [f"{day}/{'c' * 30}{end}" for end in (".moving", ".k3_x.moving")]
    broken.append(f"{day}/{'c' * 30}.{'A' * 22}.tmp")
    young = f"{day}/{'d' * 30}.moving"
    others = [young, "log/part.moving", f"{day}/notes.moving", f"{day}/notes.txt"]
    for name in (*broken, *others):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(b"half")
        moment = time.time() - (3_600 if name == young else 2 * 86_400)
        os.utime(store / name, (moment, moment))
    asked, done = " ".join(prune()), " ".join(prune(apply=True))
    said = "3 unfinished uploads, 0.0 MB"
    assert f"would delete {said}" in asked and f"deleted {said}" in done
    assert [name for name in (*broken, *others) if (store / name).exists()] == others
    assert held() == before and "upload" not in " ".join(prune())


@pytest.mark.parametrize("asked", [True, False])
def test_an_open_proposal_from_a_fork_stays(here: World, asked: bool) -> None:
    """Its head is on no branch of origin; neither its version nor its data goes."""
    before = git("rev-parse", "HEAD")
    table = hashlib.md5(b"a fork's table").hexdigest()
    put(here, table, b"a fork's table")
    (here.clone / "data").mkdir()
    pointer = f"outs:\n- md5: {table}\n  size: 14\n  path: t.parquet\n"
    (here.clone / "data/t.parquet.dvc").write_text(pointer)
    git("add", "-A")
    manifest = here.model("of a fork")
    git("push", "-q", "origin", "HEAD:refs/pull/7/head")
    head = git("rev-parse", "HEAD")
    here.verdict(manifest, head_sha=head, time="2025-01-01T00:00:00+00:00")
    keep(here)
    git("reset", "-q", "--hard", before)
    git("push", "-q", "-f", "origin", "main")
    git("reflog", "expire", "--expire=now", "--all")
    if asked:
        here.hub.kept["pulls"] = [{"number": 7}]
    else:
        here.hub.refused["GET", "pulls"] = 502
    said = " ".join(prune(apply=True, alone=True))
    assert manifest not in Ledger().retired() and table in held()
    assert ("what they name stays" in said) is not asked
    here.hub.kept["pulls"], here.hub.refused = [], {}
    prune(apply=True, alone=True)
    assert manifest in Ledger().retired() and table not in held(), "the control"


@pytest.mark.parametrize("broken", ["<<<<<<< ours\n", "folder"])
def test_what_a_stranger_proposes_cannot_stop_it(here: World, broken: str) -> None:
    """Nor what somebody committed once; a branch that cannot be read still does."""
    before = git("rev-parse", "HEAD")
    if broken == "folder":  # a submodule: neither a file nor nothing
        git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},dvc.lock")
    else:
        (here.clone / "dvc.lock").write_text(broken)
        git("add", "dvc.lock")
    git("commit", "-qm", "a lock that cannot be read")
    git("push", "-q", "origin", "HEAD:refs/pull/9/head", "HEAD:refs/heads/mine")
    here.hub.kept["pulls"] = [{"number": 9}]
    git("reset", "-q", "--hard", before)
    held_before = held()
    with pytest.raises(lock.LockError, match="^refs/remotes/origin/mine: "):
        prune(apply=True)
    assert held() == held_before, "the control"
    revert = git("commit-tree", "-p", "origin/mine", "-m", "back", f"{before}^{{tree}}")
    git("push", "-q", "origin", f"{revert}:refs/heads/mine")
    assert "deleted 4 objects" in prune(apply=True)[-1]


def test_where_another_repository_keeps_objects_nothing_goes(here: World) -> None:
    before = held()
    objects_here = objects.here()
    owner.claim(objects_here)
    other = here.home / "store/repositories/octo/fork"
    other.parent.mkdir()
    other.write_text("octo/fork\n")
    for options in ({}, {"apply": True}, {"apply": True, "alone": True}):
        with pytest.raises(
            storage.StorageError, match="octo/fork keeps objects.*TO="
        ) as e:
            prune(**options)
        assert f"this repository is {owner.name()}: if it was renamed" in str(e.value)
    assert held() == before and not Ledger().retired()
    other.unlink()
    prune(apply=True)
    assert held() < before, "the control"


def test_what_is_judged_while_it_is_deleted_is_sent_again(
    here: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`validate` found it there, and the ledger did not name it yet."""
    tag = lock.at("flights@v1.0.0", here.clone)
    assert tag
    case = SimpleNamespace(built=tag, challenger=tmp_path / "challenger")
    case.challenger.mkdir()
    for out in tag.outs:
        shutil.copyfile(here.objects / out.md5, case.challenger / out.name)
    publish.keep(case)  # type: ignore[arg-type]
    prune(apply=True)
    gone = outputs(here, "flights@v1.0.0")
    assert not gone & held()
    publish.keep(case)  # type: ignore[arg-type]
    assert gone <= held()


def test_an_unreadable_pointer_frees_nothing(here: World) -> None:
    (here.clone / "data").mkdir()
    (here.clone / "data/t.parquet.dvc").write_text("outs:\n- path: t\n  md5: x.dir\n")
    here.commit("a folder")
    before = held()
    with pytest.raises(Exception, match="not a single file"):
        prune(apply=True)
    assert held() == before and not Ledger().retired()


def test_a_version_that_passes_again_is_back(here: World) -> None:
    prune(apply=True)
    first = here.model("one")
    assert first in Ledger().retired()
    later = (datetime.now(UTC) + timedelta(days=365)).isoformat()
    here.verdict(first, time=later)
    keep(here)
    assert first not in Ledger().retired()
    prune(apply=True)
    assert outputs(here, "flights@v1.0.0") <= held()
    assert not outputs(here, "flights@v1.1.0") & held(), "the control"


def test_a_move_of_storage_misses_nothing_of_a_retired_version(here: World) -> None:
    gone = outputs(here, "flights@v1.0.0")
    assert gone <= named.everywhere().keys(), "the control"
    prune(apply=True)
    assert not gone & named.everywhere().keys()
    assert named.everywhere().keys() <= held()


def test_a_push_in_the_meantime_is_told(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = Objects.remove

    def slow(self: Objects, *gone: Collection[str]) -> None:
        remove(self, *gone)
        here.judged("one")

    monkeypatch.setattr(Objects, "remove", slow)
    with pytest.raises(storage.StorageError, match="make push"):
        prune(apply=True)


def test_a_copy_without_the_ledger_deletes_nothing(here: World) -> None:
    """A fork of main only: its settings name the storage of the original."""
    before = held()
    git("push", "-q", "origin", ":ledger")
    git("push", "-q", "origin", *(f":{tag}" for tag in here.tags()))
    with pytest.raises(ReleaseError, match="no ledger"):
        prune(apply=True, alone=True)
    assert held() == before


def test_without_a_rule_nothing_happens(here: World) -> None:
    params = json.loads(Path("params.yaml").read_text())
    del params["retention"]
    Path("params.yaml").write_text(json.dumps(params))
    with pytest.raises(SettingsError, match="retention"):
        prune(apply=True)


def test_one_version_is_too_few() -> None:
    with pytest.raises(SettingsError, match="versions"):
        settings.retention({"retention": {"versions": 1, "days": 3}})


def test_a_storage_that_cannot_delete_is_told(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = min(outputs(here, "flights@v1.0.0"))
    system = type(objects.here().system)
    rm_file = system.rm_file

    def refuse(self: object, path: str) -> None:
        if path.endswith(refused[2:]):
            raise PermissionError(13, "Permission denied")
        rm_file(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(system, "rm_file", refuse)
        with pytest.raises(storage.StorageError, match="were deleted.*could not be"):
            prune(apply=True)
    assert refused in held()
    prune(apply=True)
    gone = outputs(here, "flights@v1.0.0") | outputs(here, "flights@v1.1.0")
    assert not gone & held()
