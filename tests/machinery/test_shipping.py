"""The log on its way: each line once at the sink, whatever fails; the same verdict."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from machinery import tiny, traffic
from machinery.test_shadow import until
from machinery.traffic import MONITOR, PARAMS, SHA
from mlgitops import production_data
from mlgitops.commands import ship as command
from mlgitops.monitor import caveats, decide, inspect, record, sample
from mlgitops.monitor.window import read_log, read_unlogged
from mlgitops.prediction_log import (
    LONGEST,
    PATTERN,
    UNLOGGED,
    Unlogged,
    file_name,
    line,
    parse,
)
from mlgitops.serving import room
from mlgitops.serving.__main__ import parse as options
from mlgitops.serving.appending import append
from mlgitops.serving.log import PredictionLog, sampled
from mlgitops.shipping import segments
from mlgitops.shipping.ship import ShipError, alone, ship
from mlgitops.shipping.sink import Sink, SinkError

DAY = "2026-01-02"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def entry(number: int | str) -> bytes:
    prediction = {"id": str(number), "probability": 0.5, "decision": True}
    fields = line(prediction, NOW, SHA, "v1", NOW.isoformat(), {"temp": 1})
    return f"{json.dumps(fields)}\n".encode()


def ids(source: Path | str) -> list[str]:
    """Return the ids of a log, in its order; None of a line that is none."""
    found = [parse(each) for each in production_data.lines(str(source), PATTERN)]
    return [each.id if each else "none" for each in found]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of three lines and a count."""
    folder = tmp_path / "log"
    append(folder / file_name(DAY), b"".join(map(entry, range(3))))
    count = f"{Unlogged(7, NOW, NOW).line()}\n".encode()
    append(folder / file_name(DAY, UNLOGGED), count)
    return folder


def test_what_is_shipped_is_read_as_it_was(log: Path, tmp_path: Path) -> None:
    sink = tmp_path / "sink"
    before = [*production_data.lines(str(log), PATTERN)]
    counts = read_unlogged(str(log))
    shipped = ship(log, str(sink))
    assert (shipped.lines, shipped.counts, shipped.parts) == (3, 1, 2)
    assert [*production_data.lines(str(sink), PATTERN)] == before
    assert [*production_data.lines(f"file://{sink}", PATTERN)] == before
    assert read_unlogged(str(sink)) == read_unlogged(f"file://{sink}") == counts
    assert [path.name for path in log.iterdir()] == ["shipping.lock"]
    (part,) = sink.glob(f"day={DAY}/predictions-*.parquet")
    table = pq.read_table(part)
    assert table["id"].to_pylist() == ["0", "1", "2"]
    append(log / file_name(DAY), entry(3))
    assert ship(log, f"file://{sink}").lines == 1
    assert ids(sink) == ["0", "1", "2", "3"]
    assert str(ship(log, str(sink))) == "shipped 0 lines in 0 parts"


def test_a_line_that_cannot_be_read_is_kept_apart(tmp_path: Path) -> None:
    """As bytes, counted, and corrupt to the monitor as it was before."""
    log, sink = tmp_path / "log", tmp_path / "sink"
    log.mkdir()
    odd = [b"{}\n", b"\xff\xfe\n", b"x" * (LONGEST + 5) + b"\n", entry("torn")[:-9]]
    (log / file_name(DAY)).write_bytes(entry(0) + b"\n" + b"".join(odd))
    before = ids(log)
    assert before == ["0", "none", "none", "none", "none"]
    shipped = ship(log, str(sink))
    assert (shipped.lines, shipped.unreadable) == (1, 4)
    assert ", 4 that cannot be read" in str(shipped)
    assert Counter(ids(sink)) == Counter(before)
    (apart,) = sink.glob("day=*/predictions-*-unreadable.parquet")
    rows = pq.read_table(apart).to_pylist()
    assert [row["line"] for row in rows] == [*odd[:2], b"x" * LONGEST, odd[3]]
    assert rows[2]["size"] == LONGEST + 6


def test_the_lines_of_a_scored_file_are_there_once(log: Path, tmp_path: Path) -> None:
    """A run of `make score` that was killed at its end writes its lines again."""
    name, sink = log / file_name(f"{DAY}-0123456789ab"), tmp_path / "sink"
    for _ in range(2):
        name.write_bytes(entry("scored"))
        ship(log, str(sink))
    assert ids(sink) == ["scored", "0", "1", "2"]
    assert len([*sink.glob(f"day={DAY}/predictions-{DAY}-0123456789ab.parquet")]) == 1


def test_whatever_reads_as_an_entry_has_a_row(tmp_path: Path) -> None:
    """A line of another program, or another year: it holds nothing up."""
    fields, log = json.loads(entry(0)), tmp_path / "log"
    odd = [{"version": v} for v in (7, None, [1], {"a": 1}, True, "\u0000", "é")]
    odd += [{"id": v} for v in (None, [1], 10**40, "\u2028", "")]
    odd += [{"logged_at": v} for v in (7, None, "soon")] + [{"row": {"\u0000": "é"}}]
    odd += [{"manifest_sha256": [None]}, {"time": None}, {"more": {"x": [1]}}]
    lines = [json.dumps(fields | change, ensure_ascii=False) + "\n" for change in odd]
    log.mkdir()
    (log / file_name(DAY)).write_text("".join(lines), encoding="utf-8")
    before = lines_of(log)
    shipped = ship(log, str(tmp_path / "sink"))
    assert shipped.lines == len(lines) and lines_of(tmp_path / "sink") == before


class Stop(BaseException):
    """The process ends here."""


def test_killed_anywhere_each_line_is_there_once(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after every step that others can see: the next run makes it good."""
    sink, left = tmp_path / "sink", [0]

    def stopping(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise Stop
            result = function(*arguments, **named)
            left[0] -= 1
            if left[0] == 0:
                raise Stop
            return result

        monkeypatch.setattr(owner, name, wrapped)

    for name in ("rename", "unlink"):
        stopping(Path, name)
    for name in ("makedirs", "mv", "open"):
        stopping(LocalFileSystem, name)
    for step in range(1, 200):
        append(log / file_name(DAY), entry(f"step {step}"))
        left[0] = step
        try:
            ship(log, str(sink))
        except Stop:
            continue
        break
    assert 20 < step < 200
    left[0] = 0
    ship(log, str(sink))
    expected = ["0", "1", "2", *(f"step {n}" for n in range(1, step + 1))]
    assert sorted(ids(sink)) == sorted(expected)
    assert [count.rows for count in read_unlogged(str(sink))] == [7]


def test_a_sink_that_fails_keeps_what_it_did_not_take(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full, down, or giving back other bytes."""
    blocked = tmp_path / "sink"
    blocked.write_text("no folder")
    with pytest.raises(ShipError, match="2 files stay in"):
        ship(log, str(blocked))
    blocked.unlink()
    with pytest.raises(ShipError, match="cannot be opened"):
        ship(log, "no-such-protocol://x/y")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mlgitops.shipping.sink._sha256", lambda _: os.urandom(4).hex())
        with pytest.raises(ShipError, match="other bytes than were sent"):
            ship(log, str(blocked))
    refusal = "Access Denied\nErrorCode:1\nhttps://anna:secret@host/x?sig=secret"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LocalFileSystem, "makedirs", Mock(side_effect=OSError(refusal)))
        with pytest.raises(ShipError) as error:
            ship(log, str(blocked))
    sentence = str(error.value)
    assert "Access Denied ErrorCode:1 https" in sentence and "secret" not in sentence
    assert sentence.endswith(
        f"; 2 files stay in {log}: when that is mended, run this again"
    )
    assert ids(blocked) == []
    append(log / file_name(DAY), entry(3))
    ship(log, str(blocked))
    assert ids(blocked) == ["0", "1", "2", "3"]


def test_a_server_that_waits_for_the_lock_writes_into_the_new_file(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not into the one that was taken: nobody would read it again."""
    path, flock, asked = log / file_name(DAY), fcntl.flock, threading.Event()

    def noted(file: int, how: int) -> None:
        asked.set()  # the file is open by then
        flock(file, how)

    writer = threading.Thread(target=append, args=(path, entry("late")))
    with path.open("rb") as file:
        flock(file, fcntl.LOCK_EX)
        monkeypatch.setattr(fcntl, "flock", noted)
        writer.start()
        assert asked.wait(60)
        writer.join(0.1)
        assert writer.is_alive()
        path.rename(taken := log / "shipping-x.jsonl")
    writer.join(60)
    assert path.read_bytes() == entry("late")
    assert taken.read_bytes() == b"".join(map(entry, range(3)))


def test_two_shippers_do_not_meet(log: Path, tmp_path: Path) -> None:
    with alone(log), pytest.raises(ShipError, match="another process ships"):
        ship(log, str(tmp_path / "sink"))


def test_days_are_kept_as_long_as_the_setting_says(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, now = tmp_path / "sink", datetime.now(UTC)
    clock = type("Clock", (), {"now": lambda _: now})  # it may be midnight soon
    monkeypatch.setattr("mlgitops.shipping.sink.datetime", clock)
    today = now.date()
    days = [today - timedelta(days=n) for n in (0, 30, 31)]
    for day in days:
        append(log / file_name(day.isoformat()), entry(day.isoformat()))
    foreign = sink / f"day={DAY}/notes.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    assert ship(log, str(sink), keep_days=30).expired == 3
    assert ids(sink) == [day.isoformat() for day in (days[1], days[0])]
    assert foreign.exists()


def test_the_command_says_what_it_did(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    given = ["ship", str(log), str(tmp_path / "sink")]
    monkeypatch.setattr(sys, "argv", given)
    command.main()
    assert (
        "shipped 3 lines, 1 counts of lost rows in 2 parts" in capsys.readouterr().out
    )
    for wrong in (["--keep-days", "0"], []):
        monkeypatch.setattr(sys, "argv", ["ship", "nowhere", "x", *wrong])
        with pytest.raises(SystemExit) as error:
            command.main()
        assert error.value.code


KILLER = """
import sys
from mlgitops.shipping.ship import ship
from pathlib import Path
while True:
    ship(Path(sys.argv[1]), sys.argv[2])
"""


def test_kill_9_while_a_server_logs(tmp_path: Path) -> None:
    """A real process, killed again and again, beside one that appends."""
    log, sink = tmp_path / "log", tmp_path / "sink"
    number, stop = [0], threading.Event()

    def write() -> None:
        while not stop.wait(0.001):
            append(log / file_name(DAY), entry(number[0]))
            number[0] += 1

    def parts() -> set[Path]:
        return {*sink.glob("*/*.parquet")}

    def kill(wait: float) -> None:
        before = parts()
        process = subprocess.Popen(
            [sys.executable, "-c", KILLER, str(log), str(sink)], cwd=tiny.ROOT
        )
        until(lambda: process.poll() is not None or parts() > before)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()

    log.mkdir()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for wait in (0.1, 0.25, 0.4):
            kill(wait)
        until(lambda: number[0] > 100)
    finally:
        stop.set()
        writer.join()
    ship(log, str(sink))
    assert number[0] > 100
    assert sorted(map(int, ids(sink))) == list(range(number[0]))


def judge(source: Path | str) -> tuple[Any, record.Record]:
    read = read_log(str(source), MONITOR, days=120)
    found = inspect.inspect(traffic.reference(), read, None, PARAMS)
    decision = decide.decide(found.evidence, MONITOR)
    return decision, record.build("v1", SHA, found, decision, MONITOR)


def test_the_monitor_gives_the_same_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # keeps its cache out of the repository
    log, sink = tmp_path / "log", tmp_path / "sink"
    traffic.write(log, traffic.flights(3000, 80, 28))
    name = log / file_name("2020-01-01")
    text = name.read_text().splitlines(keepends=True)
    name.write_text("".join([*text[:1500], text[7], "{}\n", *text[1500:]]))
    expected = judge(log)
    ship(log, str(sink))
    assert judge(sink) == expected
    there, here = (read_log(f"{a}{sink}", MONITOR) for a in ("file://", ""))
    assert there == here and there.counts == read_log(str(sink), MONITOR).counts


def test_what_was_shipped_counts_beside_a_long_file(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that is too long to parse is drawn from; parts have no offsets to draw."""
    ship(log, str(log))
    append(log / file_name(DAY), entry("new"))
    monkeypatch.setattr(sample, "LONG", 1)
    found = read_log(str(log), MONITOR, by_arrival=True).entries
    assert sorted(each.id for each in found) == sorted(ids(log)) and len(found) == 4


def test_a_disk_has_a_part_before_its_lines_are_deleted(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power cut could take both; an address has no file to wait for."""
    synced, here = list[int](), segments.take(log)
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(len(list(log.iterdir()))))
    ship(log, str(tmp_path / "sink"))
    assert len(synced) == len(here) == 2 and synced[0] > len(list(log.iterdir()))
    append(log / file_name(DAY), entry("later"))
    assert ship(log, "memory://unsynced").lines == 1 and len(synced) == 2


def test_a_folder_that_is_no_day_is_not_deleted(log: Path, tmp_path: Path) -> None:
    part = tmp_path / "sink" / "day=1" / "predictions-mine.parquet"
    part.parent.mkdir(parents=True)
    part.touch()
    assert ship(log, str(tmp_path / "sink"), keep_days=1).expired and part.exists()


def test_the_log_of_a_challenger_is_shipped_too(log: Path, tmp_path: Path) -> None:
    """Or the monitor would not see it there, and nobody would delete it here."""
    append(log / "shadow" / file_name(DAY), entry(0))
    sink = tmp_path / "sink"
    assert ship(log, str(sink)).lines == 4
    assert len(ids(sink)) == 3 and ids(sink / "shadow") == ids(sink)[:1]
    assert not list((log / "shadow").glob("*.jsonl"))


def test_different_shares_in_one_window_are_said() -> None:
    (mixed, _) = caveats.sampled(0.2, {1.0, 0.1})
    assert "from 10.0% to 100.0%" in mixed
    assert len(caveats.sampled(0.1, {0.1})) == 1 and not caveats.sampled(1.0, {1.0})


def test_a_sample_is_known_to_the_monitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are estimated from what the lines themselves say, and the page says so."""
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log"
    traffic.write(log, traffic.flights(4000, 80, 28))
    name = log / file_name("2020-01-01")
    before = name.read_bytes().splitlines(keepends=True)
    kept = sampled(before, 0.5)
    assert kept == sampled(before, 0.5) and 1800 < len(kept) < 2200
    assert [json.loads(each)["sample"] for each in kept] == [0.5] * len(kept)
    some = {json.loads(each)["id"] for each in sampled(before, 0.25)}
    assert some < {json.loads(each)["id"] for each in kept}
    name.write_bytes(b"".join(kept))
    decision, made = judge(log)
    assert decision.decision == "none" and made["window"]["rows"] == 2 * len(kept)
    assert any("50.0% of the rows" in caveat for caveat in made["caveats"])
    name.write_bytes(b"".join(before))
    assert read_log(str(log), MONITOR).sample == 1.0 and not caveats.sampled(1.0)


def test_a_folder_that_nobody_ships_does_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound rows are dropped and counted, until there is room again."""
    monkeypatch.setattr("mlgitops.serving.log.ROOM_SECONDS", 0.01)
    writer = PredictionLog(tmp_path / "log", max_bytes=2000)

    async def play() -> int:
        for number in range(100):
            await writer.write([entry(number)])
            await asyncio.sleep(0.005)
        ship(tmp_path / "log", str(tmp_path / "sink"))
        dropped, taken = writer.dropped, writer.accepted
        async with asyncio.timeout(60):  # there is room from the next look on
            while writer.accepted == taken:
                await writer.write([entry("last")])
                await asyncio.sleep(0.01)
        return dropped

    dropped = asyncio.run(play())
    writer.close()
    assert 50 < dropped < 100 and writer.written == 101 - dropped
    ship(tmp_path / "log", str(tmp_path / "sink"))
    assert len(ids(tmp_path / "sink")) == 101 - dropped
    counted = sum(c.rows for c in read_unlogged(str(tmp_path / "sink")))
    assert counted == writer.dropped


def test_a_disk_that_is_full_at_the_start_loses_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait, as without a bound; nobody knows the room before it can be claimed."""
    monkeypatch.setattr("mlgitops.serving.log.RETRY_SECONDS", 0.01)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        writer = PredictionLog(tmp_path, wait=0.01, max_bytes=5000)
        asyncio.run(writer.write([entry(1)]))
        assert writer.state()["queued"] == 1 and not writer.dropped
        assert not list(tmp_path.glob(f"{room.PREFIX}[0-9a-f]*"))
    writer.close()
    assert (writer.written, writer.dropped) == (1, 0)


def test_the_room_of_a_folder_that_is_shipped_is_known(tmp_path: Path) -> None:
    """A file may go between two looks at it."""
    (tmp_path / "gone.jsonl").symlink_to("nowhere")
    (tmp_path / "here.jsonl").write_bytes(bytes(7))
    assert room.size(tmp_path) == 7


def test_a_folder_has_no_byte_beyond_its_bound(tmp_path: Path) -> None:
    """However much comes between two looks at it."""
    writer = PredictionLog(tmp_path, max_bytes=5000)

    async def play() -> None:
        for number in range(200):
            await writer.write([entry(number)])

    asyncio.run(play())
    writer.close()
    size = sum(path.stat().st_size for path in tmp_path.glob(PATTERN))
    assert 4500 < size <= 5000  # of two files, where it became midnight
    assert writer.written + writer.dropped == 200 and writer.dropped > 100


def test_nor_with_several_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sees what the others have written, and what they still may write."""
    monkeypatch.setattr("mlgitops.serving.log.ROOM_SECONDS", 0.01)
    writers = [PredictionLog(tmp_path, max_bytes=20_000, writers=3) for _ in range(3)]

    async def play() -> None:
        for number in range(300):
            busy = writers if number % 3 else writers[:1]
            await asyncio.gather(*(w.write([entry(number)]) for w in busy))
            await asyncio.sleep(0.001)

    asyncio.run(play())
    for writer in writers:
        writer.close()
    size = sum(path.stat().st_size for path in tmp_path.glob(PATTERN))
    assert 17_000 < size <= 20_000
    assert all(w.written and w.dropped for w in writers)
    assert sum(w.written + w.dropped for w in writers) == 700
    assert not list(tmp_path.glob(f"{room.PREFIX}*"))


def test_a_worker_that_starts_finds_room(tmp_path: Path) -> None:
    """Before the others look again; what a dead one had claimed is free."""
    first = room.Room(tmp_path, 16_000)
    assert first.share(0) == 15_000
    second, third = room.Room(tmp_path, 16_000), room.Room(tmp_path, 16_000)
    assert (second.share(0), third.share(0)) == (500, 250)
    assert first.share(15_000) == 5_000, "the first gives back"
    assert second.share(500) == 375, "when it has used up what it had"
    first.share(5_000)
    assert second.share(500) == 5_000
    os.close(first._file)  # as it was killed
    second.close()
    assert third.share(250) == 15_000
    with pytest.raises(OSError):
        second.share(0)
    third.close()


def test_a_log_of_a_sample_counts_what_it_leaves_out(tmp_path: Path) -> None:
    writer = PredictionLog(tmp_path, sample=0.25)
    asyncio.run(writer.write([entry(number) for number in range(400)]))
    writer.close()
    state = writer.state()
    assert state["written"] + state["left_out"] == 400 and 60 < state["written"] < 140
    assert {parse(each).sample for each in lines_of(tmp_path)} == {0.25}
    for share in ("0", "1.5", "-1", "x", "", "nan", "1e3"):
        with pytest.raises(SystemExit, match="must be above 0 and at most 1"):
            options(["--model", "x", f"--log-sample={share}"])
    with pytest.raises(SystemExit, match="number of bytes"):
        options(["--model", "x", "--log-max-bytes=1GB"])


def test_an_agents_server_takes_the_settings_of_its_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOG_SAMPLE", "0.5")
    monkeypatch.setenv("LOG_MAX_BYTES", "7000")
    made = options(["--model", "x"])
    assert (made.log_sample, made.log_max_bytes) == (0.5, 7000)
    monkeypatch.setenv("LOG_SAMPLE", "half")
    with pytest.raises(SystemExit, match="at most 1"):
        options(["--model", "x"])


def lines_of(source: Path) -> list[str]:
    return [*production_data.lines(str(source), PATTERN)]


def test_a_sink_needs_no_folders_where_there_are_none(log: Path) -> None:
    """And a file is whole there, or not there."""
    assert ship(log, "memory://bucket/log").lines == 3
    sink = Sink("memory://bucket/log")
    assert sink.atomic and len([*sink._parts()]) == 2
    assert ids("memory://bucket/log") == ["0", "1", "2"]
    assert sink.expire(1) == 2
    with pytest.raises(SinkError, match="cannot be opened"):
        Sink("nothing://")


def test_segments_are_taken_once(log: Path) -> None:
    first = segments.take(log)
    assert len(first) == 2 and segments.take(log) == first
