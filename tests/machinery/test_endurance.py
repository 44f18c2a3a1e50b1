"""What a server stands for a minute or longer: overload, a failing sink, and time.

A second or two of each here, the whole length with PROOF=1 (`lengths.py`).
"""

import asyncio
import contextlib
import errno
import http.client
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fsspec import register_implementation
from fsspec.implementations.local import LocalFileSystem
from uvicorn.server import ServerState

from machinery import tiny
from machinery.dask_cluster import waited
from machinery.lengths import PROOF, seconds
from machinery.test_serving import Load, rows
from mlgitops.monitor.window import read_unlogged
from mlgitops.prediction_log import PATTERN, parse
from mlgitops.production_data import lines
from mlgitops.serving import bulk, busy
from mlgitops.serving.app import App
from mlgitops.serving.connection import Bounds, Connections
from mlgitops.serving.direct import Direct
from mlgitops.serving.model import Model
from mlgitops.serving.routes import RefusalError
from mlgitops.shipping.ship import ShipError, ship

OVERLOAD_SECONDS = seconds(60, 2)
OUTAGE_SECONDS = seconds(60, 1.2)  # of each fault of the sink
SOAK_SECONDS = seconds(1800, 3)
COST = 0.02  # seconds that the slow model takes for a row
ROW = json.dumps(rows()).encode()
REQUEST = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(ROW) + ROW
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny.version(folder)
    return folder


# Four times the capacity


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Arrivals:
    """Requests that come at a rate, whether the earlier ones were answered or not."""

    def __init__(self, rate: float, length: float) -> None:
        self.rate, self.length = rate, length  # a second; seconds
        self.answers = list[tuple[int, float]]()  # status, seconds
        self.idle = list[Connection]()
        self.impatient = 0  # 503 without Retry-After
        self.port = 0

    def run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        loop, tasks = asyncio.get_running_loop(), list[asyncio.Task[None]]()
        began = loop.time()
        for number in range(int(self.rate * self.length)):
            await asyncio.sleep(began + number / self.rate - loop.time())
            tasks.append(asyncio.create_task(self._one()))
        await asyncio.gather(*tasks)
        for _, writer in self.idle:
            writer.close()

    async def _one(self) -> None:
        began = time.perf_counter()
        kept = self.idle.pop() if self.idle else None
        try:
            head, reader, writer = await self._ask(kept)
        except (asyncio.IncompleteReadError, ConnectionError):
            # The server may end a connection that waits: RFC 9112, 9.3.1 and 9.5.
            assert kept, "a new connection has no response"
            head, reader, writer = await self._ask(None)
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
        await reader.readexactly(length)
        status = int(head[9:12])
        self.impatient += status == 503 and b"retry-after: 1" not in head.lower()
        self.answers.append((status, time.perf_counter() - began))
        self.idle.append((reader, writer))

    async def _ask(self, kept: Connection | None) -> tuple[bytes, *Connection]:
        """Return the head of a response, and the connection that has its body."""
        address = ("127.0.0.1", self.port)
        reader, writer = kept or await asyncio.open_connection(*address)
        writer.write(REQUEST)
        return await reader.readuntil(b"\r\n\r\n"), reader, writer

    def p99(self, status: int) -> float:
        """Return the 99th percentile of the seconds until a response of a status."""
        times = sorted(each for found, each in self.answers if found == status)
        return times[int(len(times) * 0.99)]


def overloaded(model: Path, times: float, length: float) -> Arrivals:
    """Ask a slow server, at a multiple of what it can answer."""
    slow = Model(model)
    predict = slow.predictions

    def predictions(rows: Any, ids: Any) -> Any:
        time.sleep(COST * len(rows))
        return predict(rows, ids)

    slow.predictions = predictions  # type: ignore[method-assign]
    arrivals = Arrivals(times / COST, length)
    thread = threading.Thread(target=arrivals.run)

    async def serve() -> None:
        app = App(slow)
        config = uvicorn.Config(app, ws="none", lifespan="off", access_log=False)
        config.load()
        connections, state = Connections(Bounds(), Direct(app)), ServerState()
        loop = asyncio.get_running_loop()
        connect = lambda: connections.connect(config, state, {})  # noqa: E731
        listening = loop.create_server(connect, "127.0.0.1", 0, backlog=config.backlog)
        async with await listening as server:
            arrivals.port = server.sockets[0].getsockname()[1]
            thread.start()
            while thread.is_alive():
                await asyncio.sleep(0.05)

    asyncio.run(serve())
    assert len(arrivals.answers) == int(arrivals.rate * length), "one has no response"
    return arrivals


def test_f32_of_four_times_the_capacity_a_quarter_is_answered_in_time(
    model: Path,
) -> None:
    """The rest is told to come again; what waits does not grow with the minute."""
    asked = overloaded(model, 4, OVERLOAD_SECONDS)
    found = Counter(status for status, _ in asked.answers)
    capacity = OVERLOAD_SECONDS / COST
    slowest = asked.p99(200)
    print(f"{dict(found)} of {capacity:.0f} a quarter, p99 {slowest:.2f} s")
    assert set(found) == {200, 503} and asked.impatient == 0
    assert found[200] > 0.5 * capacity
    assert slowest < 4.5 and asked.p99(503) < 4.5, "it grows: 7 s without the bound"


def test_within_the_capacity_nothing_is_refused(model: Path) -> None:
    asked = overloaded(model, 0.3, 1.0)
    assert {status for status, _ in asked.answers} == {200} and asked.p99(200) < 1.5


def test_tensors_that_come_too_late_in_a_turn_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(busy, "perf_counter", lambda: clock[0])

    async def play() -> None:
        turn = busy.LoopTurn()
        turn.check()
        clock[0] += busy.SECONDS
        turn.check()  # soon after
        clock[0] += 0.01
        with pytest.raises(busy.BusyError) as error:
            turn.check()
        assert error.value.status == 503 and error.value.headers
        await asyncio.sleep(0)
        turn.check()  # another turn

    asyncio.run(play())


def test_a_body_in_bulk_that_waited_too_long_is_refused(model: Path) -> None:
    """Before it is read; a control asks at once."""
    arguments = (
        bulk.READERS[b"application/vnd.apache.arrow.stream"],
        b"",
        Model(model),
    )
    with pytest.raises(busy.BusyError):
        bulk._scored(*arguments, bulk.SIZE, time.perf_counter() - 60)
    with pytest.raises(RefusalError) as error:
        bulk._scored(*arguments, bulk.SIZE, time.perf_counter())
    assert error.value.status == 400


# A sink that is down, slow, full


class Sink(LocalFileSystem):
    """A folder that fails as a test says."""

    protocol = "failing"
    fault = ""

    def _meet(self) -> None:
        if self.fault == "slow":
            time.sleep(0.2)
        elif self.fault:
            number = {"down": errno.ECONNREFUSED, "full": errno.ENOSPC}[self.fault]
            raise OSError(number, os.strerror(number))

    def _open(self, *arguments: Any, **named: Any) -> Any:
        self._meet()
        return super()._open(*arguments, **named)

    def mv(self, *arguments: Any, **named: Any) -> Any:
        self._meet()
        return super().mv(*arguments, **named)


@contextlib.contextmanager
def shipper(log: Path, address: str, failures: list[str]) -> Iterator[None]:
    """Ship again and again, as a timer does."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.1):
            try:
                ship(log, address)
            except ShipError as error:
                failures.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(120)


def size(log: Path) -> int:
    """Return the bytes of a log; 0 where a file was taken in this moment."""
    try:
        return sum(path.stat().st_size for path in log.glob("*.jsonl"))
    except FileNotFoundError:
        return 0


def test_f31_a_sink_that_fails_is_waited_for_within_the_bound(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is answered; each line is at the sink once, or counted as dropped."""
    register_implementation("failing", Sink, clobber=True)
    log, most, largest = tmp_path / "log", 40_000, 0
    address, failures = f"failing://{tmp_path}/sink", list[str]()
    options = ("--log", str(log), "--log-max-bytes", str(most))
    with tiny.server(model, *options) as (port, process):
        load = Load(port, callers=4, pause=0.01)
        with shipper(log, address, failures):
            for fault, told in (("down", "refused"), ("full", "space"), ("slow", "")):
                monkeypatch.setattr(Sink, "fault", fault)
                end = time.monotonic() + OUTAGE_SECONDS
                while (
                    time.monotonic() < end
                    or not any(told in f for f in failures)
                    or largest <= most / 2
                    or not tiny.call(port, "/info")[1]["log"]["dropped"]
                ):
                    assert time.monotonic() < end + 60, (fault, largest, failures[-3:])
                    largest = max(largest, size(log))
                    time.sleep(0.05)
                monkeypatch.setattr(Sink, "fault", "")
                time.sleep(0.3)
        load.end()
        state = tiny.call(port, "/info")[1]["log"]
        process.terminate()
        assert process.wait(120) == 0
    ship(log, address)
    there = [parse(line) for line in lines(str(tmp_path / "sink"), PATTERN)]
    shipped = Counter(entry.id for entry in there if entry)
    counted = sum(each.rows for each in read_unlogged(str(tmp_path / "sink")))
    print(f"{len(load.answered)} answered, {counted} counted, at most {largest} bytes")
    assert load.lost == [] and set(load.answered.values()) == {1}
    assert most / 2 < largest <= most * 1.05
    assert set(shipped) <= set(load.answered) and set(shipped.values()) == {1}
    assert counted == state["dropped"] == len(load.answered) - len(shipped) > 0


# Half an hour


class Process:
    """What a server takes of its machine."""

    def __init__(self, pid: int) -> None:
        self.folder = Path(f"/proc/{pid}")

    def megabytes(self) -> float:
        return int((self.folder / "statm").read_text().split()[1]) * 4096 / 1e6

    def descriptors(self) -> int:
        return len(list((self.folder / "fd").iterdir()))


def strangers(port: int, stop: threading.Event, rounds: list[int]) -> None:
    """Ask for all there is, and for what there is not, each on its own connection.

    After each round its number is in `rounds`.
    """
    asked: list[tuple[str, Any]] = [
        ("/predict", rows(distance="far")),
        ("/predict", b"{"),
        ("/predict", {"rows": [tiny.ROW] * 500}),
        ("/explain", rows()),
        ("/info", None),
        ("/nothing", None),
    ]
    while not stop.is_set():
        for path, body in asked:
            with contextlib.suppress(OSError, http.client.HTTPException):
                tiny.call(port, path, body)
            stop.wait(0.02)
        rounds.append(len(rounds))


def test_memory_and_descriptors_stay_as_they_are(model: Path, tmp_path: Path) -> None:
    """All kinds of requests; the second half takes no more than the first."""
    with tiny.server(model, "--log", str(tmp_path / "log")) as (port, server):
        process, stop = Process(server.pid), threading.Event()
        rounds = list[int]()
        other = threading.Thread(target=strangers, args=(port, stop, rounds))
        other.start()
        load = Load(port, callers=4, pause=0.02)
        time.sleep(SOAK_SECONDS / 2)
        assert waited(lambda: rounds), "each kind has been asked for once"
        load.until(200)
        half = process.megabytes()
        time.sleep(SOAK_SECONDS / 2)
        growth = process.megabytes() - half
        load.end()
        stop.set()
        other.join(120)
        assert waited(lambda: process.descriptors() < 40)
        print(f"{len(load.answered)} answered, {half:.0f} MB, {growth:+.1f} MB then")
        assert load.lost == [] and tiny.call(port, "/health/ready")[0] == 200
        assert growth < (3 if PROOF else 10)
