"""`make erase` removes a person's rows, and no other byte."""

import fcntl
import gzip
import io
import json
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from machinery.world import git
from mlgitops.commands import erase as command
from mlgitops.ledger import Ledger
from mlgitops.pipeline.contract import Contract
from mlgitops.retention import erase, rewrite
from mlgitops.retention.erase import EraseError
from mlgitops.retention.person import Person, written
from mlgitops.serving.log import append
from mlgitops.shipping.ship import alone, ship

CONTRACT = """\
name: visits
task: binary
id: visit
target: back
entity: patient
columns:
  age: {type: number, missing: false}
  patient: {type: category, categories: [p1, p2, p3], missing: false}
"""
PERSON = Person(frozenset({"v1"}), frozenset({"p2"}), "patient")


def line(row_id: str, patient: str) -> str:
    """Return a line of the log."""
    fields: dict[str, Any] = {"id": row_id, "time": None, "manifest_sha256": "m"}
    fields |= {"version": "v1.0.0", "probability": 0.5, "decision": True}
    fields |= {"logged_at": "2026-05-01T00:00:00+00:00"}
    return json.dumps({**fields, "row": {"age": 3, "patient": patient}}) + "\n"


LINES = [line("v1", "p1"), line("v2", "p2"), line("v3", "p3"), "torn v1\n", "torn\n"]
STAY = [LINES[2], LINES[4]]


@pytest.fixture
def contract() -> Contract:
    return Contract.read(CONTRACT)


def test_a_log_loses_these_lines_only(tmp_path: Path) -> None:
    for name in ("", "shadow/"):
        file = tmp_path / f"{name}predictions-2026-05-01.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(LINES))
        file.chmod(0o640)
    (tmp_path / "predictions-2026-05-02.jsonl").write_text(LINES[2])
    other = tmp_path / "predictions-2026-05-02.jsonl"
    before = other.stat().st_mtime_ns
    packed = tmp_path / "predictions-2026-04-30.jsonl.gz"
    packed.write_bytes(gzip.compress("".join(LINES).encode()))
    assert erase.log(str(tmp_path), PERSON) == 9
    for name in ("", "shadow/"):
        file = tmp_path / f"{name}predictions-2026-05-01.jsonl"
        assert file.read_text() == "".join(STAY)
        assert file.stat().st_mode & 0o777 == 0o640, "the server goes on writing"
    assert gzip.decompress(packed.read_bytes()).decode() == "".join(STAY)
    assert other.stat().st_mtime_ns == before
    assert erase.log(str(tmp_path), PERSON) == 0
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("address", ["memory://erase/log", "folder"])
def test_shipped_parts_lose_them_too(address: str, tmp_path: Path) -> None:
    log, target = tmp_path / "log", address
    if address == "folder":
        target = str(tmp_path / "shipped")
    log.mkdir()
    (log / "predictions-2026-05-01.jsonl").write_text("".join(LINES))
    ship(log, target)
    assert erase.log(target, PERSON) == 3
    assert erase.log(target, PERSON) == 0
    from mlgitops.production_data import lines

    found = sorted(text.strip() for text in lines(target, "predictions-*.jsonl"))
    assert found == sorted(text.strip() for text in STAY)


def test_what_a_server_logs_meanwhile_is_kept(tmp_path: Path) -> None:
    """It appends under its own lock, to the file that is there then."""
    file = tmp_path / "predictions-2026-05-01.jsonl"
    file.write_text("".join(LINES))
    stop, counted = threading.Event(), [0]

    def write() -> None:
        while not stop.is_set():
            append(file, (line(f"n{counted[0]}", "p3") + LINES[0]).encode())
            counted[0] += 1
            time.sleep(0.001)  # as fast as it can, it would outgrow any reader

    writer = threading.Thread(target=write)
    writer.start()
    removed = 0
    for _ in range(20):
        before = counted[0]
        removed += erase.log(str(tmp_path), PERSON)
        while counted[0] == before and writer.is_alive():  # it has a turn each time
            time.sleep(0.001)
    stop.set()
    writer.join()
    assert removed > 10
    erase.log(str(tmp_path), PERSON)
    text = file.read_text()
    assert text.count('"n') == counted[0] > 0 and '"id": "v1"' not in text


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("id,back\nv1,1\nv3,0\n", "id,back\nv3,0\n"),
        ("visit;back\r\nv1;1\r\nv3;0\r\n", "visit;back\r\nv3;0\r\n"),
        ('back,id,note\n1,v1,"two\nlines"\n0,v3,"v1"\n', 'back,id,note\n0,v3,"v1"\n'),
        ("patient,id,back\np2,v9,1\np3,v3,0\n", "patient,id,back\np3,v3,0\n"),
        ("id,back\nv3,0", "id,back\nv3,0"),
        ("", ""),
    ],
)
def test_labels(tmp_path: Path, contract: Contract, text: str, stays: str) -> None:
    file = tmp_path / "labels.csv"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_bytes(text.encode(encoding))
        erase.labels(str(file), contract, PERSON)
        assert file.read_bytes() == stays.encode(encoding)


def test_a_byte_that_is_no_text_stays(tmp_path: Path, contract: Contract) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(b"id,back,note\nv1,1,x\nv3,0,M\xfcller\n")
    assert erase.labels(str(tmp_path), contract, PERSON) == 1
    assert file.read_bytes() == b"id,back,note\nv3,0,M\xfcller\n"


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("\n\nid,back\nv1,1\nv3,0\n", "\n\nid,back\nv3,0\n"),
        ("id,note\nv1,a\u2028b\nv3,c\u2028d\n", "id,note\nv3,c\u2028d\n"),
        ("id,back\nv3,0\nv1,1", "id,back\nv3,0\n"),
        ("id,back\n7.0,1\n17,0\n", "id,back\n17,0\n"),
    ],
)
def test_labels_as_people_have_them(
    tmp_path: Path, contract: Contract, text: str, stays: str
) -> None:
    for name, packed in (("labels.csv", False), ("labels.txt", True)):
        file = tmp_path / name
        data = text.encode()
        file.write_bytes(gzip.compress(data) if packed else data)
        person = Person(frozenset({"v1", "7"}))
        assert erase.labels(str(file), contract, person) == 1
        read = file.read_bytes()
        assert (gzip.decompress(read) if packed else read).decode() == stays


@pytest.mark.parametrize("name", ["labels.csv", "labels.txt", "log", "empty"])
def test_nothing_found_is_not_nothing_there(
    tmp_path: Path, contract: Contract, name: str
) -> None:
    """A file that it cannot read as the monitor does is told, not passed over."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "labels.csv").write_text("number,back\nv1,1\n")
    (tmp_path / "labels.txt").write_text("number,back\nv1,1\n")
    (tmp_path / "log").mkdir()
    (tmp_path / "log/predictions-2026-05-01.parquet").write_text("v1")
    with pytest.raises(EraseError, match="no column|no file|cannot be read"):
        if name.startswith("labels"):
            erase.labels(str(tmp_path / name), contract, PERSON)
        else:
            erase.log(str(tmp_path / name), PERSON)


def test_what_counts_lost_rows_is_nobodys(tmp_path: Path) -> None:
    count = '{"rows": 7, "since": "2026-05-01T00:00:00+00:00", "until": '
    count += '"2026-05-01T07:00:00+00:00"}\n'
    file = tmp_path / "unlogged-2026-05-01.jsonl"
    file.write_text(count)
    (tmp_path / "predictions-2026-05-01.jsonl").write_text('{"id": "17", "tor\n')
    assert erase.log(str(tmp_path), Person(frozenset({"7", "2026"}))) == 0
    assert file.read_text() == count
    assert erase.log(str(tmp_path), Person(frozenset({"17"}))) == 1, "the control"


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "volume").write_text("".join(LINES))
    link = tmp_path / "predictions-2026-05-01.jsonl"
    link.symlink_to("volume")
    assert erase.log(str(link), PERSON) == 3
    assert link.is_symlink()
    assert (tmp_path / "volume").read_text() == "".join(STAY)


def test_a_shipper_is_not_overtaken(tmp_path: Path) -> None:
    """It has read lines that it is about to send."""
    file = tmp_path / "predictions-2026-05-01.jsonl"
    file.write_text("".join(LINES))
    with alone(tmp_path), pytest.raises(EraseError, match="ships.*nothing was removed"):
        erase.log(str(tmp_path), PERSON)
    assert file.read_text() == "".join(LINES)
    assert erase.log(str(tmp_path), PERSON) == 3, "the control"


def test_an_id_is_written_as_a_request_writes_it() -> None:
    assert (written(7.0), written(7), written(" a "), written(None)) == (
        "7",
        "7",
        "a",
        "",
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a repository with a table, a log and labels."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    git("init", "-q", "--bare", "-b", "main", str(origin))
    git("clone", "-q", str(origin), str(clone))
    monkeypatch.chdir(clone)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "ada@example.com")
    Path("contract.yaml").write_text(CONTRACT)
    Path("data").mkdir()
    rows = {
        "visit": ["v1", "v2", "v3", "v4"],
        "patient": ["p1", "p2", "p3", "p2"],
        "age": [1.0, 2.0, 3.0, 4.0],
        "back": [0, 1, 0, 1],
    }
    pq.write_table(pa.table(rows), "data/visits.parquet")
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("['remote \"storage\"']\n    url = ../../store\n")
    Path("dvc.yaml").write_text(
        "stages: {prepare: {cmd: x, deps: [data/visits.parquet]}}"
    )
    command.storage.add("data/visits.parquet")
    Path("log").mkdir()
    Path("log/predictions-2026-05-01.jsonl").write_text("".join(LINES))
    Path("labels.csv").write_text("id,back\nv1,1\nv4,1\nv3,0\n")
    return clone


def test_a_person_goes_from_everywhere(here: Path) -> None:
    """By the entity: also the ids that labels and log know it by."""
    pointer = Path("data/visits.parquet.dvc").read_text()
    lines = command.erase("v1", "p2", "log", "labels.csv")
    assert pq.read_table("data/visits.parquet").column("visit").to_pylist() == ["v3"]
    assert Path("data/visits.parquet.dvc").read_text() != pointer
    assert Path("labels.csv").read_text() == "id,back\nv3,0\n"
    assert Path("log/predictions-2026-05-01.jsonl").read_text() == "".join(STAY)
    assert "3 rows removed" in lines[0] and "log: 3 lines" in lines[1]
    (path,) = Ledger().paths("erasures/")
    record = Ledger().read(path) or {}
    assert record["rows"] == {"log": 3, "labels": 2, "data": 3}
    text = json.dumps(record)
    assert not any(who in text for who in ("v1", "v4", "p2")), "never whose"
    command.erase("v1", "p2", "log", "labels.csv")
    assert len(Ledger().paths("erasures/")) == 1, "nothing went the second time"


def test_the_entity_is_found_where_only_one_of_both_names_it(here: Path) -> None:
    """Rows that were answered since the data was taken: log or labels know whose."""
    log = Path("log/predictions-2026-05-01.jsonl")
    log.write_text(line("new1", "p2") + line("new3", "p3"))
    Path("labels.csv").write_text("id,back\nnew1,1\nnew3,0\n")
    command.erase("", "p2", "log", "labels.csv")
    assert Path("labels.csv").read_text() == "id,back\nnew3,0\n"
    assert log.read_text() == line("new3", "p3")
    log.write_text(line("new1", "") + line("new3", ""))
    Path("labels.csv").write_text("id,back,patient\nnew1,1,p2\nnew3,0,p3\n")
    command.erase("", "p2", "log", "labels.csv")
    assert log.read_text() == line("new3", "")


@pytest.mark.parametrize(
    ("served", "lost"), [(True, "labels"), (True, "log"), (False, "labels")]
)
def test_killed_in_between_it_finds_the_rest(
    here: Path, served: bool, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Path("log/predictions-2026-05-01.jsonl")
    log.write_text(line("new1", "p2" if served else ""))
    with_entity = "id,back,patient\nnew1,1,p2\n"
    Path("labels.csv").write_text("id,back\nnew1,1\n" if served else with_entity)
    if not served:
        text = CONTRACT.rpartition("  patient")[0]
        Path("contract.yaml").write_text(text)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(erase, lost, killed)
        command.erase("", "p2", "log", "labels.csv")
    command.erase("", "p2", "log", "labels.csv")
    assert log.read_text() == ""
    assert Path("labels.csv").read_text() in ("id,back\n", "id,back,patient\n")


def test_a_row_without_an_id_is_not_everybodys(here: Path) -> None:
    rows = {"visit": [None, "v2", None, "v4"], "patient": ["p2", "p1", "p3", "p3"]}
    pq.write_table(pa.table(rows), "data/visits.parquet")
    Path("labels.csv").write_text("id,back\n,1\nv3,0\n")
    log = Path("log/predictions-2026-05-01.jsonl")
    log.write_text("".join(STAY) + "torn\n")
    command.erase("", "p2", "log", "labels.csv")
    left = pq.read_table("data/visits.parquet").column("patient").to_pylist()
    assert left == ["p1", "p3", "p3"]
    assert Path("labels.csv").read_text() == "id,back\n,1\nv3,0\n"
    assert log.read_text() == "".join(STAY) + "torn\n"


def test_a_name_with_a_comma_is_one_name(here: Path) -> None:
    rows = {"visit": ["v1", "v2", "v3"], "patient": ["Lee, Ann", "Lee", "Ann"]}
    pq.write_table(pa.table(rows), "data/visits.parquet")
    command.erase("", "Lee, Ann", "", "")
    assert pq.read_table("data/visits.parquet").column("visit").to_pylist() == [
        "v2",
        "v3",
    ]


def test_killed_before_the_pointer_is_written_it_writes_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointer = Path("data/visits.parquet.dvc").read_text()

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(command.storage, "add", killed)
        command.erase("v1", "", "", "")
    (path,) = Ledger().paths("erasures/")
    assert (Ledger().read(path) or {})["rows"]["data"] == 1, "what went is recorded"
    assert Path("data/visits.parquet.dvc").read_text() == pointer, "the control"
    command.erase("v1", "", "", "")
    assert Path("data/visits.parquet.dvc").read_text() != pointer


def test_a_table_of_another_kind_is_told_before_anything_goes(here: Path) -> None:
    Path("data/visits.parquet").rename("data/visits.csv")
    Path("data/visits.parquet.dvc").unlink()
    Path("dvc.yaml").write_text("stages: {prepare: {cmd: x, deps: [data/visits.csv]}}")
    command.storage.add("data/visits.csv")
    log = Path("log/predictions-2026-05-01.jsonl").read_text()
    with pytest.raises(EraseError, match="not a Parquet file, and nothing"):
        command.erase("v1", "p2", "log", "labels.csv")
    assert Path("log/predictions-2026-05-01.jsonl").read_text() == log


def test_what_was_not_looked_at_is_said(here: Path) -> None:
    lines = command.erase("v1", "", "", "")
    assert lines[1:3] == [
        "log: not looked at: name it",
        "labels: not looked at: name it",
    ]


@pytest.mark.parametrize(
    ("ids", "entity", "change", "sentence"),
    [
        ("", "", "", "nobody was named"),
        ("", "p2", "entity: patient\n", "has no `entity`"),
        ("v1", "", "nowhere", "does not exist"),
    ],
)
def test_refusals(
    here: Path, ids: str, entity: str, change: str, sentence: str
) -> None:
    Path("contract.yaml").write_text(CONTRACT.replace(change or "\0", ""))
    before = Path("data/visits.parquet").read_bytes()
    with pytest.raises(EraseError, match=sentence):
        command.erase(ids, entity, "nowhere", "")
    assert Path("data/visits.parquet").read_bytes() == before


def test_a_table_that_is_not_here_is_told(here: Path) -> None:
    Path("data/visits.parquet").unlink()
    with pytest.raises(EraseError, match="make pull"):
        command.erase("v1", "", "", "")


def test_a_write_that_fails_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "predictions-2026-05-01.jsonl"
    file.write_text("".join(LINES))

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rewrite.os, "fsync", full)
    with pytest.raises(EraseError, match="cannot be written.*No space"):
        erase.log(str(tmp_path), PERSON)
    assert file.read_text() == "".join(LINES)
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


def test_a_damaged_gzip_is_told(tmp_path: Path) -> None:
    file = tmp_path / "predictions-2026-05-01.jsonl.gz"
    buffer = io.BytesIO(gzip.compress(b"x" * 999))
    file.write_bytes(buffer.getvalue()[:-9])
    with pytest.raises(EraseError, match="cannot be read"):
        erase.log(str(tmp_path), PERSON)


def test_a_file_is_never_in_memory_whole(
    tmp_path: Path, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log, its compressed twin, a shipped part, labels and a table of one row group."""
    monkeypatch.setattr(erase, "ROWS", 1_000)
    monkeypatch.setattr(erase, "BATCH", 200)
    note = "x" * 3_000
    text = "".join(line(f"n{n}", note) for n in range(1_500)) + LINES[0]
    log = tmp_path / "log/predictions-2026-05-01.jsonl"
    log.parent.mkdir()
    log.write_text(text)
    log.with_name(f"{log.name}.gz").write_bytes(gzip.compress(text.encode(), 1))
    lines = pa.table({"line": text.splitlines(keepends=True)})
    pq.write_table(lines, log.with_suffix(".parquet"), use_dictionary=False)
    labelled = "".join(f"n{n},1,{note}\n" for n in range(1_500))
    (tmp_path / "labels.csv").write_text(f"id,back,note\n{labelled}v1,1,x\n")
    ids = [f"n{n}" for n in range(40_000)] + ["v1"]
    table = pa.table({"visit": ids, "patient": [note[:99] + i for i in ids]})
    pq.write_table(table, tmp_path / "t.parquet", use_dictionary=False)
    size = table.nbytes  # the file of it is compressed
    del lines, table, ids, labelled
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        assert erase.log(str(log.parent), PERSON) == 3
        assert erase.labels(str(tmp_path / "labels.csv"), contract, PERSON) == 1
        assert erase.table(tmp_path / "t.parquet", contract, PERSON) == 1
        python = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
    assert python < 3_500_000 < len(text)
    assert (pool.max_memory() or 0) < 3_500_000 < size
    left = text.removesuffix(LINES[0])
    assert log.read_text() == left
    assert gzip.open(log.with_name(f"{log.name}.gz"), "rt").read() == left
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 40_000


@pytest.mark.parametrize("at", ["begin", "cut", "end", "nowhere"])
def test_a_line_that_is_too_long_goes_by_any_piece(tmp_path: Path, at: str) -> None:
    """Zeros that a crash left, say, with a line behind them."""
    size = erase.LONGEST
    blank = b"\0" * (size - 3)
    text = {"begin": b"v1 ", "cut": blank + b" v1", "end": blank * 2 + b" v1"}
    file = tmp_path / "predictions-2026-05-01.jsonl"
    long = text.get(at, b"nobody ") + b" " + blank
    file.write_bytes(LINES[2].encode() + long + b"\n" + LINES[2].encode())
    removed = erase.log(str(tmp_path), PERSON)
    assert removed == (at != "nowhere")
    left = b"" if removed else long + b"\n"
    assert file.read_bytes() == LINES[2].encode() + left + LINES[2].encode()


def test_labels_without_lines_are_told(
    tmp_path: Path, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase, "LONGEST", 50)
    (tmp_path / "labels.csv").write_text("id,back\nv1," + "1" * 50 + "\n")
    with pytest.raises(EraseError, match="a line of it has 50 characters"):
        erase.labels(str(tmp_path), contract, PERSON)


def test_a_server_waits_for_the_newest_lines_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It appends while what was there before is copied."""
    file = tmp_path / "predictions-2026-05-01.jsonl"
    file.write_text("".join(LINES))
    without, calls = erase._without, []

    def slow(source: Any, write: Any, until: int | None, person: Person) -> int:
        calls.append(until)
        if len(calls) == 2:  # the first one only looks
            append(file, (line("late", "p3") + LINES[0]).encode())
        return without(source, write, until, person)

    monkeypatch.setattr(erase, "_without", slow)
    assert erase.log(str(tmp_path), PERSON) == 4
    assert len(calls) == 3 and calls[1] == len("".join(LINES))
    assert file.read_text() == "".join(STAY) + line("late", "p3")


def test_two_runs_never_write_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one would put a mixture of both in the log's place."""
    file = tmp_path / "predictions-2026-05-01.jsonl"
    part, text = tmp_path / f".{file.name}.part", "".join(LINES)
    file.write_text(text)
    with part.open("wb", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b"half")
        with pytest.raises(EraseError, match="another run writes .*again"):
            erase.log(str(tmp_path), PERSON)
        assert file.read_text() == text and part.read_bytes() == b"half"
    taken, flock = tmp_path / "taken", fcntl.flock

    def late(target: Any, how: int) -> None:
        part.rename(taken)  # the other run has just put it in its place
        flock(target, how)

    with monkeypatch.context() as patch, pytest.raises(EraseError, match="another run"):
        patch.setattr(rewrite.fcntl, "flock", late)
        erase.log(str(tmp_path), PERSON)
    assert file.read_text() == text and taken.read_bytes() == b"half"
    part.write_bytes(b"what a run that was killed has left, longer than the log" * 99)
    assert erase.log(str(tmp_path), PERSON) == 3, "the control"
    assert file.read_text() == "".join(STAY) and not part.exists()


def test_what_went_before_a_file_that_fails_is_recorded(here: Path) -> None:
    """By the ledger, too: those lines are gone."""
    Path("log/predictions-2026-05-02.jsonl.gz").write_bytes(rewrite.GZIP + b"torn")
    with pytest.raises(EraseError, match="05-02.jsonl.gz cannot be read"):
        command.erase("v1", "", "log", "labels.csv")
    (path,) = Ledger().paths("erasures/")
    rows = (Ledger().read(path) or {})["rows"]
    assert rows["log"] == 2 and rows["labels"] == 1


@pytest.mark.parametrize("size", [9, 4_000, erase.LONGEST + 9])
def test_a_line_that_a_server_cuts_off_meanwhile_takes_no_other_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A crash left it without an end; then the server is back."""
    file = tmp_path / "predictions-2026-05-01.jsonl"
    file.write_bytes((LINES[0] + LINES[2]).encode() + b"\0" * size)
    without, calls = erase._without, []

    def slow(source: Any, write: Any, until: int | None, person: Person) -> int:
        went = without(source, write, until, person)
        calls.append(until)
        if len(calls) == 2:  # all but the newest lines are copied
            append(file, line("late", "p3").encode())
        return went

    monkeypatch.setattr(erase, "_without", slow)
    assert erase.log(str(tmp_path), PERSON) == 1
    assert file.read_text() == LINES[2] + line("late", "p3")


@pytest.mark.parametrize("last", [LINES[0][:-1], LINES[0][:15], "torn v1"])
def test_a_last_line_without_an_end_goes_too(tmp_path: Path, last: str) -> None:
    """No server comes back to the file of a day that is over."""
    file = tmp_path / "predictions-2026-05-01.jsonl"
    file.write_text(LINES[2] + last)
    assert erase.log(str(tmp_path), PERSON) == 1
    assert file.read_text() == LINES[2]
    file.write_text(last)
    assert erase.log(str(tmp_path), PERSON) == 1
    assert file.read_text() == ""
