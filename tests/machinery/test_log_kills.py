"""What a killed server sent and what it logged: nothing is lost, or it is counted.

Two of thirty kills of each kind here; all of them with PROOF=1.
"""

import asyncio
import fcntl
import random
import resource
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from machinery import tiny
from machinery.lengths import times
from machinery.test_serving import Load, rows
from mlgitops.monitor.window import read_unlogged
from mlgitops.serving.appending import append
from mlgitops.serving.log import PredictionLog
from mlgitops.serving.losses import NUMBERS, Losses

KILLS = times(30, 2)
CALLERS = 4
PATIENT = ("--log-wait", "60")  # seconds: a busy machine writes no line too late


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny.version(folder)
    return folder


def disk(pid: int, full: bool) -> None:
    """Let a process write no further byte into a file, or let it again."""
    soft = 0 if full else resource.RLIM_INFINITY
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))


def recorded(log: Path) -> int:
    """Return how many lines the monitor reads that the log lacks."""
    return sum(count.rows for count in read_unlogged(str(log)))


def lost(log: Path) -> int:
    """Open a log as a server does, and return how many lines earlier ones lost."""
    again = PredictionLog(log)
    again.close()
    return again.lost


def told(model: Path, log: Path) -> int:
    """Start a server and return how many lines it says that earlier ones lost."""
    with tiny.server(model, "--log", str(log)) as (port, process):
        assert tiny.call(port, "/predict", rows(id="after"))[0] == 200
        state = tiny.call(port, "/info")[1]["log"]
        process.terminate()
        assert process.wait(120) == 0
    assert state["dropped"] == 0 and state["written"] == 1
    return int(state["lost"])


def further(port: int) -> None:
    """Wait until the server under load has written lines that it had not before."""

    def written() -> int:
        return int(tiny.call(port, "/info")[1]["log"]["written"])

    before, end = written(), time.monotonic() + 60
    while written() == before:
        assert time.monotonic() < end, "no line is written"
        time.sleep(0.01)


@pytest.mark.slow
def test_f34_killed_under_load_no_response_is_missing_in_the_log(
    model: Path, tmp_path: Path
) -> None:
    chance, total = random.Random(1), 0
    for number in range(KILLS):
        log = tmp_path / f"log{number}"
        with tiny.server(model, "--log", str(log), *PATIENT) as (port, process):
            load = Load(port, callers=CALLERS)
            load.until(1)
            time.sleep(chance.uniform(0.1, 0.4))
            process.send_signal(signal.SIGKILL)
            load.end()
        logged = {record["id"] for record in tiny.logged(log)}
        missing = set(load.answered) - logged
        total += len(load.answered)
        assert load.answered and not missing
        assert lost(log) == 0 and recorded(log) == 0
        assert not list(log.glob("losses-*")), "nothing is left to take over"
        assert not list(log.glob("unlogged-*")), "nor to say"
    print(f"{KILLS} kills, {total} responses, 0 of them not logged")


@pytest.mark.slow
def test_f34_what_a_full_disk_and_a_kill_lose_is_counted_at_the_next_start(
    model: Path, tmp_path: Path
) -> None:
    chance, total, counted = random.Random(2), 0, 0
    for number in range(KILLS):
        log = tmp_path / f"log{number}"
        with tiny.server(model, "--log", str(log), *PATIENT) as (port, process):
            load = Load(port, callers=CALLERS)
            load.until(1)
            time.sleep(chance.uniform(0, 0.2))
            disk(process.pid, full=True)
            load.until(sum(load.answered.values()) + 2 * CALLERS)  # some without lines
            time.sleep(chance.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
            load.end()
        records = [record["id"] for record in tiny.logged(log)]
        assert len(records) == len(set(records))
        missing = len(set(load.answered) - set(records))
        found = lost(log)
        assert missing <= found <= missing + CALLERS
        assert recorded(log) == found
        assert lost(log) == 0 and recorded(log) == found, "it is counted once"
        total, counted = total + missing, counted + found
    assert total
    print(f"{KILLS} kills, {total} responses not logged, {counted} counted as lost")


@pytest.mark.slow
def test_a_disk_that_recovers_has_every_line_once(model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with tiny.server(model, "--log", str(log), *PATIENT) as (port, process):
        load = Load(port, callers=CALLERS)
        load.until(1)
        disk(process.pid, full=True)
        load.until(sum(load.answered.values()) + 2 * CALLERS)
        disk(process.pid, full=False)
        for _ in range(4):  # the first has what was late; then responses wait
            further(port)
        process.send_signal(signal.SIGKILL)  # responses wait again, though all ask on
        load.end()
    logged = [record["id"] for record in tiny.logged(log)]
    assert len(logged) == len(set(logged)) and set(load.answered) <= set(logged)
    assert len(load.lost) <= CALLERS
    assert lost(log) == recorded(log) == 0


@pytest.mark.slow
def test_a_disk_that_hangs_holds_no_response_for_long(
    model: Path, tmp_path: Path
) -> None:
    """Somebody has the file's lock, as a network disk may hang."""
    log = tmp_path / "log"
    options = ("--log", str(log), "--log-wait", "1")
    with tiny.server(model, *options) as (port, process):
        assert tiny.call(port, "/predict", rows(id="first"))[0] == 200
        (path,) = log.glob("predictions-*")
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            began = time.monotonic()
            assert tiny.call(port, "/predict", rows(id="waits"))[0] == 200
            waited = time.monotonic() - began
            for number in range(60):
                assert tiny.call(port, "/predict", rows(id=f"r{number}"))[0] == 200
            assert 0.9 < waited and time.monotonic() - began < 60, "each would wait 1 s"
            assert tiny.call(port, "/info")[1]["log"]["queued"] == 61
            process.send_signal(signal.SIGKILL)
            process.wait(120)
    assert [record["id"] for record in tiny.logged(log)] == ["first"]
    assert told(model, log) == recorded(log) == 61
    (count,) = read_unlogged(str(log))
    assert 0 < (count.until - count.since).total_seconds() < 600


def test_lines_beyond_the_bound_are_dropped_counted_and_carried_over(
    tmp_path: Path,
) -> None:
    async def fill(log: PredictionLog, folder: Path) -> list[dict[str, int]]:
        states = []
        for start in (0, 3, 6):
            lines = [b"%d\n" % number for number in range(start, start + 3)]
            await log.write(lines)
            states.append(log.state())
        folder.unlink()
        async with asyncio.timeout(60):
            while log.state()["queued"]:
                await asyncio.sleep(0.01)
        await log.write([b"9\n"])
        await asyncio.sleep(0)  # in the next turn the writer gets it
        return states

    folder = tmp_path / "log"
    folder.write_text("a file where the folder should be")
    log = PredictionLog(folder, wait=0.1, max_queue=12)
    states = asyncio.run(fill(log, folder))
    log.close()
    states.append(log.state())
    zero = {"lost": 0, "dropped": 0, "written": 0}
    assert states == [
        zero | {"queued": 3},
        zero | {"queued": 6},
        zero | {"queued": 6, "dropped": 3},
        {"written": 7, "queued": 0, "dropped": 3, "lost": 0},
    ]
    files = sorted(folder.glob("predictions-*.jsonl"))  # two of them at midnight
    found = "".join(path.read_text() for path in files)
    assert found.split() == [*map(str, range(6)), "9"]
    assert recorded(folder) == 3 and Losses(folder).before == 0


def test_what_was_dropped_until_the_end_is_carried_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk stays full; the next server with room writes the count down, once."""

    def full(path: Path, data: bytes) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("mlgitops.serving.log.append", full)
    monkeypatch.setattr("mlgitops.serving.log.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("mlgitops.serving.log.FLUSH_SECONDS", 0.1)
    for expected in (0, 3):
        log = PredictionLog(tmp_path, wait=60, max_queue=5)
        asyncio.run(log.write([b"1\n", b"2\n"]))  # until the writer has failed
        asyncio.run(log.write([b"3\n"]))
        assert log.state()["lost"] == expected
        log.close()
    monkeypatch.undo()
    for expected in (6, 0):
        log = PredictionLog(tmp_path)
        log.close()
        assert log.lost == expected and recorded(tmp_path) == 6
    assert [path.name[:8] for path in tmp_path.iterdir()] == ["unlogged"]


def test_a_count_that_cannot_be_written_holds_no_line_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as where a folder has the name of its file."""

    def refuse(_: PredictionLog) -> None:
        raise OSError("is a directory")

    monkeypatch.setattr(PredictionLog, "_record", refuse)
    log = PredictionLog(tmp_path)
    asyncio.run(log.write([b"1\n"]))
    log.close()
    assert log.state() == {"written": 1, "queued": 0, "dropped": 0, "lost": 0}


def test_only_the_dead_are_taken_over(tmp_path: Path) -> None:
    first = Losses(tmp_path)
    first.store(5, 2, 1000.0)
    second = Losses(tmp_path)
    assert second.before == 0, "the first one lives"
    second.close()
    first.close()
    third = Losses(tmp_path)
    assert (third.before, third.since) == (7, 1000.0)
    third.close()
    (tmp_path / "losses-torn").write_bytes(b"1234")
    (tmp_path / "losses-odd").write_bytes(NUMBERS.pack(1, 0, float("nan")))
    last = Losses(tmp_path)
    assert (last.before, last.since) == (8, 1000.0)


def test_half_a_line_of_a_killed_writer_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    for torn in (b"", b'{"a": 1}\n', b'{"a": 1}\n{"b', b"x" * 10_000):
        path.write_bytes(torn)
        append(path, b'{"c": 3}\n')
        whole = torn[: torn.rfind(b"\n") + 1]
        assert path.read_bytes() == whole + b'{"c": 3}\n'


def test_responses_wait_again_after_a_failure_though_requests_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, appends = [OSError("the disk is full")], list[bytes]()
    seen = threading.Event()

    def fail_once(path: Path, data: bytes) -> None:
        if failures:
            raise failures.pop()
        assert seen.wait(60)
        time.sleep(0.005)
        append(path, data)
        appends.append(data)

    monkeypatch.setattr("mlgitops.serving.log.append", fail_once)
    monkeypatch.setattr("mlgitops.serving.log.RETRY_SECONDS", 0.1)

    async def ask(log: PredictionLog) -> tuple[int, int]:
        await log.write([b"first\n"])
        early = log.state()["queued"]
        seen.set()
        async with asyncio.timeout(60):
            while len(appends) < 100:  # there is always one that is not written yet
                writes = [log.write([b"next\n"]) for _ in range(20)]
                await asyncio.wait(map(asyncio.ensure_future, writes), timeout=0.002)
        await log.write([b"last\n"])
        return early, log.state()["queued"]

    log = PredictionLog(tmp_path, wait=60)
    assert asyncio.run(ask(log)) == (1, 0)
    log.close()


def test_requests_of_one_moment_are_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen callers cost one append."""
    appends: list[Any] = []

    def note(path: Path, data: bytes) -> None:
        appends.append(data)
        append(path, data)

    monkeypatch.setattr("mlgitops.serving.log.append", note)

    async def ask(log: PredictionLog) -> None:
        await asyncio.gather(*(log.write([b"%d\n" % n]) for n in range(16)))

    log = PredictionLog(tmp_path)
    asyncio.run(ask(log))
    log.close()
    assert appends == [b"".join(b"%d\n" % n for n in range(16))]
