"""The server under a hostile client: memory, files and time are bounded, others served.

Floods last about a second each here; the bounds are those of a real process. How bytes
are cut into packets is played on the protocol itself, with a transport that only notes.
"""

import asyncio
import contextlib
import functools
import http.client
import json
import os
import random
import resource
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from machinery import tiny
from mlgitops.serving.app import App
from mlgitops.serving.connection import Bounds, Connection, Connections
from mlgitops.serving.direct import Direct
from mlgitops.serving.model import Model

SECONDS = 0.6  # of a flood
BUSY = 60  # seconds that a busy machine may take for anything
REQUESTS_OF_DAYS = 60 if os.environ.get("PROOF") else 10  # each with 1,000 event days
GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
H2C = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
)
BODY = json.dumps({"rows": [tiny.ROW | {"id": "a"}]}).encode()


def post(body: bytes = BODY, headers: bytes = b"", length: bytes = b"") -> bytes:
    size = length or b"%d" % len(body)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\n%sContent-Length: %s\r\n\r\n"
    return head % (headers, size) + body


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny.version(folder)
    return folder


@pytest.fixture(scope="module")
def app(model: Path) -> App:
    """Return the application with a model, for what is played on the protocol."""
    return App(Model(model))


@contextlib.contextmanager
def honest(port: int) -> Iterator[None]:
    """Ask on meanwhile; fail where a request has no prediction."""
    stop, statuses = threading.Event(), list[int]()

    def ask() -> None:
        while not stop.is_set():
            try:
                statuses.append(tiny.call(port, "/predict", BODY)[0])
            except (OSError, http.client.HTTPException):
                statuses.append(0)
            stop.wait(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(BUSY)
    assert statuses and set(statuses) == {200}, statuses


class Process:
    """A server, and how much memory it takes."""

    def __init__(self, port: int, pid: int, errors: Path) -> None:
        self.port, self.status, self.errors = port, Path(f"/proc/{pid}/status"), errors
        self.pid = pid

    def memory(self, name: str = "VmRSS") -> float:
        (line,) = [t for t in self.status.read_text().split("\n") if name in t]
        return int(line.split()[1]) / 1000

    @contextlib.contextmanager
    def bounded(self, limit: float) -> Iterator[None]:
        """Fail when it grows by more megabytes, or leaves an honest client waiting."""
        assert tiny.call(self.port, "/predict", BODY)[0] == 200
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the peak begins here
        before = self.memory()
        with honest(self.port):
            yield
        growth = self.memory("VmHWM") - before
        print(f"{before:.0f} MB before, {growth:.0f} MB more at the peak")
        assert growth < limit
        assert tiny.call(self.port, "/predict", BODY)[0] == 200


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    errors = tmp_path_factory.mktemp("errors") / "errors"
    with tiny.server(model, errors=errors) as (port, process):
        yield Process(port, process.pid, errors)


def pour(port: int, first: bytes, block: bytes, seconds: float = SECONDS) -> int:
    """Send a block again and again without reading; return how many bytes went."""
    sent, end = 0, time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(seconds / 4)
        with contextlib.suppress(OSError):
            client.sendall(first)
            while time.monotonic() < end:
                with contextlib.suppress(TimeoutError):  # it may read on later
                    sent += client.send(block)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return sent


def test_trailers_without_end_are_cut(server: Process) -> None:
    """2,970 MB in 11 s, once."""
    with server.bounded(30):
        first = CHUNKED + b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
        assert pour(server.port, first, b"a:\r\n" * 20_000) < 10_000_000


@pytest.mark.slow
def test_other_endless_requests_are_cut(server: Process) -> None:
    with server.bounded(30):
        chunk = CHUNKED + b"1"
        assert pour(server.port, chunk, b";extension=1" * 9_000) < 10_000_000
        assert pour(server.port, CHUNKED, b"1\r\n \r\n" * 20_000) < 10_000_000
        assert pour(server.port, b"", b"\r\n" * 50_000) < 10_000_000
        many = b"GET /info HTTP/1.1\r\n"
        assert pour(server.port, many, b"a:\r\n" * 20_000) < 10_000_000


@pytest.mark.slow
def test_responses_that_nobody_reads_stop_the_reading(server: Process) -> None:
    """2,042 MB, once."""
    with server.bounded(30):
        assert pour(server.port, b"", GET * 5_000, seconds=4) < 30_000_000
    with server.bounded(60):
        rows = json.dumps({"rows": [tiny.ROW] * 1_000}).encode()
        assert pour(server.port, b"", post(rows)) < 30_000_000


def test_silent_connections_do_not_keep_others_out(server: Process) -> None:
    """2,100 of them: each request had 503, and nobody left."""
    most = Bounds().connections + 300
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < most + 200:
        pytest.skip(f"{hard} open files are too few for {most} connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most + 200), hard))
    with contextlib.ExitStack() as stack, server.bounded(60):
        for number in range(most):
            address = ("127.0.0.1", server.port)
            stack.enter_context(socket.create_connection(address, BUSY))
            if number % 200 == 0:
                assert tiny.call(server.port, "/predict", BODY)[0] == 200
        assert tiny.call(server.port, "/predict", BODY)[0] == 200


@pytest.mark.slow
def test_bodies_that_do_not_end_hold_little_together(server: Process) -> None:
    """200 of nearly a megabyte each: the bound of all together is less."""
    with contextlib.ExitStack() as stack, server.bounded(190):
        for _ in range(200):
            address = ("127.0.0.1", server.port)
            client = stack.enter_context(socket.create_connection(address, BUSY))
            with contextlib.suppress(OSError):
                client.sendall(post(b" " * 950_000, length=b"1000000"))
        assert tiny.call(server.port, "/predict", BODY)[0] == 200


@pytest.mark.parametrize("digits", [b"0" * 5_000 + b"%d" % len(BODY), b"9" * 5_000])
def test_a_length_of_many_digits_is_no_failure(server: Process, digits: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), BUSY) as client:
        client.sendall(post(length=digits))
        expected = b"HTTP/1.1 200" if digits[:1] == b"0" else b"HTTP/1.1 400"
        assert client.recv(1_000).startswith(expected)
    assert "Traceback" not in server.errors.read_text()


# Slow clients


@functools.cache
def configured(app: App) -> uvicorn.Config:
    """Return uvicorn's settings; who had a response may be silent for long."""
    config = uvicorn.Config(
        app, lifespan="off", ws="none", log_level="warning", timeout_keep_alive=600
    )
    config.load()
    return config


@contextlib.asynccontextmanager
async def listening(
    app: App, **bounds: Any
) -> AsyncIterator[tuple[tuple[str, int], Connections]]:
    """Serve in this event loop, with other bounds; those of time are long."""
    long = {"seconds": 600, "send_seconds": 600}
    connections = Connections(Bounds(**(long | bounds)), Direct(app))
    config = configured(app)
    state, loop = ServerState(), asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: connections.connect(config, state, {}), "127.0.0.1", 0
    )
    small = (socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)  # the kernel keeps little
    listener.sockets[0].setsockopt(*small)
    try:
        yield listener.sockets[0].getsockname()[:2], connections
    finally:
        listener.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, as a busy machine takes its time."""
    async with asyncio.timeout(BUSY):
        while not condition():
            await asyncio.sleep(0.01)


async def closed(reader: asyncio.StreamReader) -> None:
    """Wait until the server leaves."""
    with contextlib.suppress(ConnectionError):
        while await asyncio.wait_for(reader.read(100_000), BUSY):
            pass


def is_left(reader: asyncio.StreamReader) -> bool:
    """Tell whether the server left, or said something before."""
    return reader.at_eof() or bool(reader._buffer)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "first", [b"", b"G", GET[:-1], GET + GET[:5], post()[:-1]], ids=repr
)
def test_who_sends_nothing_or_half_is_left(first: bytes) -> None:
    async def wait() -> float:
        async with listening(App(None, "none"), seconds=0.2) as (address, _):
            began = time.monotonic()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(first)
            await closed(reader)
            writer.close()
            return time.monotonic() - began

    assert 0.2 < asyncio.run(wait()) < 9


def test_who_had_a_response_may_be_silent_for_longer() -> None:
    async def wait() -> bytes:
        async with listening(App(None, "none"), seconds=0.5) as (address, _):
            reader, writer = await asyncio.open_connection(*address)
            for _ in range(2):
                writer.write(GET)
                found = await reader.readuntil(b'ok"}')
                await asyncio.sleep(1)
            writer.close()
            return found

    assert asyncio.run(wait()).startswith(b"HTTP/1.1 200")


def test_who_takes_no_response_is_left() -> None:
    async def wait() -> int:
        bounds = {"seconds": 0.2, "send_seconds": 0.4}
        async with listening(App(None, "none"), **bounds) as (address, connections):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, address)
            with contextlib.suppress(TimeoutError, ConnectionError):
                await asyncio.wait_for(loop.sock_sendall(client, GET * 20_000), 0.3)
            held = connections.held
            await until(lambda: not connections.open)
            client.close()
            return held

    assert asyncio.run(wait()) < 2_000_000


def test_the_longest_silent_one_leaves_when_there_are_too_many() -> None:
    async def wait() -> tuple[list[bool], int]:
        app = App(None, "none")
        async with listening(app, connections=5) as (address, connections):
            busy = await asyncio.open_connection(*address)
            busy[1].write(GET)
            await busy[0].readuntil(b'ok"}')
            silent = [await asyncio.open_connection(*address) for _ in range(8)]
            await until(lambda: sum(is_left(reader) for reader, _ in silent) >= 4)
            busy[1].write(GET)
            await asyncio.wait_for(busy[0].readuntil(b'ok"}'), BUSY)
            left = [is_left(reader) for reader, _ in silent]
            for _, writer in [busy, *silent]:
                writer.close()
            return left, len(connections.open)

    left, still = asyncio.run(wait())
    assert left == [True] * 4 + [False] * 4 and still == 5


def test_who_takes_no_response_leaves_when_there_are_too_many() -> None:
    async def wait() -> bytes:
        async with listening(App(None, "none"), connections=2) as (address, group):
            loop, clients, sending = asyncio.get_running_loop(), [], []
            for _ in range(2):
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
                client.setblocking(False)
                await loop.sock_connect(client, address)
                sends = loop.sock_sendall(client, GET * 20_000)
                sending.append(asyncio.create_task(sends))
                clients.append(client)
            await until(
                lambda: (
                    [bool(connection.unsent) for connection in group.open] == [True] * 2
                    and not group.arriving
                    and not group.idle
                )
            )
            for task in sending:
                task.cancel()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(GET)
            found = await asyncio.wait_for(reader.read(100), BUSY)
            for client in (*clients, writer):
                client.close()
            return found

    assert asyncio.run(wait()).startswith(b"HTTP/1.1 200")


def test_where_all_have_a_response_coming_the_next_one_is_told_to_come_again() -> None:
    begun = list[Any]()

    class Busy(App):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            begun.append(scope)
            await asyncio.Event().wait()  # for ever

    async def wait() -> bytes:
        async with listening(Busy(None), connections=2) as (address, _):
            clients = [await asyncio.open_connection(*address) for _ in range(2)]
            for _, writer in clients:
                writer.write(GET)
            await until(lambda: len(begun) == 2)
            clients.append(await asyncio.open_connection(*address))
            found = await asyncio.wait_for(clients[2][0].read(200), BUSY)
            for _, writer in clients:
                writer.close()
            return found

    found = asyncio.run(wait())
    assert found.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in found


def test_who_holds_most_leaves_when_all_hold_too_much(app: App) -> None:
    async def wait() -> list[bool]:
        async with listening(app, total=200_000) as (address, connections):
            clients = []
            sizes = (50_000, 90_000, 40_000, 50_000)
            together = (50_000, 140_000, 180_000, 140_000)
            for size, held in zip(sizes, together, strict=True):
                clients.append(await asyncio.open_connection(*address))
                clients[-1][1].write(post(b" " * size, length=b"100000"))
                await until(lambda: held <= connections.held < held + 1_000)  # noqa: B023
            found = await asyncio.wait_for(clients[1][0].read(100), BUSY)
            assert found.startswith(b"HTTP/1.1 503") and b"retry-after" in found
            gone = [reader is clients[1][0] or is_left(reader) for reader, _ in clients]
            for _, writer in clients:
                writer.close()
            await until(lambda: connections.held == 0)
            return gone

    assert asyncio.run(wait()) == [False, True, False, False]


# Packets


class Notes(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.ended, self.reading = bytearray(), False, True

    def write(self, data: Any) -> None:
        self.out += data

    def close(self) -> None:
        self.ended = True

    abort = close

    def is_closing(self) -> bool:
        return self.ended

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        pass


async def play(app: App, packets: list[bytes]) -> tuple[list[int], bool]:
    """Return the statuses of all responses, and whether the connection is closed."""
    connections = Connections(Bounds(), Direct(app))
    protocol = connections.connect(configured(app), ServerState(), {})
    transport = Notes()
    protocol.connection_made(transport)
    for packet in packets:
        protocol.data_received(packet)
    async with asyncio.timeout(BUSY):
        await asyncio.sleep(0)
        while protocol.responding or (protocol.buffer and not transport.ended):
            await asyncio.sleep(0)
    statuses = [int(part[:3]) for part in transport.out.split(b"HTTP/1.1 ")[1:]]
    ended = transport.ended
    protocol.connection_lost(None)
    assert connections.held == 0 and not connections.open
    return statuses, ended


def cut(data: bytes, rng: random.Random, pieces: int) -> list[bytes]:
    """Cut bytes at random into pieces."""
    cuts = sorted(rng.sample(range(1, len(data)), min(pieces, len(data)) - 1))
    pairs = zip([0, *cuts], [*cuts, len(data)], strict=True)
    return [data[start:end] for start, end in pairs]


SMUGGLED = post(GET * 2, b"Connection: upgrade\r\nUpgrade: x\r\n")
REQUESTS = {
    "GET": (GET, 200),
    "POST": (post(), 200),
    "h2c, as Java's client sends it": (post(headers=H2C), 200),
    "in capitals": (post(headers=H2C.upper()), 200),
    "websocket": (
        GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        200,
    ),
    "requests in the body of an upgrade": (SMUGGLED, 400),
    "requests in a body": (post(GET * 2), 400),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_one_request_wherever_it_is_cut(app: App, name: str) -> None:
    request, status = REQUESTS[name]

    async def all_cuts() -> None:
        for at in range(1, len(request)):
            found = await play(app, [request[:at], request[at:]])
            assert found == ([status], False), request[:at]
        assert await play(app, [bytes([b]) for b in request]) == ([status], False)

    asyncio.run(all_cuts())


def test_pipelined_requests_are_answered_in_order_however_they_are_cut(
    app: App,
) -> None:
    rng = random.Random(0)

    async def trials() -> None:
        for _ in range(100):
            chosen = rng.choices(list(REQUESTS.values()), k=rng.randint(1, 12))
            data = b"".join(request for request, _ in chosen)
            packets = cut(data, rng, rng.randint(1, 20))
            found = await play(app, packets)
            assert found == ([status for _, status in chosen], False), packets

    asyncio.run(trials())


CHUNK = CHUNKED + b"%x\r\n%s\r\n0\r\nChecksum: 1\r\n\r\n" % (len(BODY), BODY)
ALONE = {
    "chunked, with a trailer": ([CHUNK], [200], False),
    "chunked, then another later": ([CHUNK, GET], [200, 200], False),
    "chunked, with another in its last packet": ([CHUNK + GET * 9], [200], True),
    "an upgrade there": ([CHUNK + SMUGGLED], [200], True),
    "CONNECT": ([b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n" + GET], [400], True),
    "a line break for a name": ([GET[:-2] + b"X: y\n\r\n\r\n"], [400], True),
    "TLS": ([b"\x16\x03\x01\x02\x00\x01"], [400], True),
    "two lengths": ([post(headers=b"Content-Length: 5\r\n")], [400], True),
    "length and chunks": (
        [post(headers=b"Transfer-Encoding: chunked\r\n")],
        [400],
        True,
    ),
    "a negative length": ([post(length=b"-5")], [400], True),
    "101 headers": ([GET[:-2] + b"a: b\r\n" * 100 + b"\r\n"], [431], True),
    "100 headers": ([GET[:-2] + b"a: b\r\n" * 99 + b"\r\n"], [200], False),
    "a long header": ([GET[:-2] + b"a: %s\r\n\r\n" % (b"b" * 70_000)], [431], True),
    "empty lines before": ([b"\r\n\r\n" + GET], [200], False),
}


@pytest.mark.parametrize("name", ALONE)
def test_odd_requests(app: App, name: str) -> None:
    packets, statuses, ended = ALONE[name]
    assert asyncio.run(play(app, packets)) == (statuses, ended)


def test_what_waits_for_its_turn_is_not_read(app: App) -> None:
    """One request is parsed, the others stay bytes, and no more are taken."""

    async def look() -> tuple[int, bool]:
        config = configured(app)
        protocol = Connections(Bounds()).connect(config, ServerState(), {})
        transport = Notes()
        protocol.connection_made(cast(asyncio.Transport, transport))
        protocol.data_received(GET * 5_000)
        assert isinstance(protocol, Connection) and not protocol.pipeline
        return len(protocol.buffer), transport.reading

    assert asyncio.run(look()) == (len(GET) * 4_999, False)


# Values


@pytest.mark.slow
def test_event_days_make_no_files(model: Path, tmp_path: Path) -> None:
    """60 requests with 60,000 days left 52,960 files and dropped honest rows."""
    log, first = tmp_path / "log", date(1900, 1, 1)
    with tiny.server(model, "--log", str(log)) as (port, process):
        for number in range(REQUESTS_OF_DAYS):
            days = [first + timedelta(days=1000 * number + n) for n in range(1000)]
            times = [day.isoformat() for day in days]
            rows = [tiny.ROW | {"time": time, "id": time} for time in times]
            assert tiny.call(port, "/predict", {"rows": rows})[0] == 200
            honest = {"rows": [tiny.ROW | {"id": f"honest-{number}"}]}
            assert tiny.call(port, "/predict", honest)[0] == 200
        assert tiny.call(port, "/info")[1]["log"]["dropped"] == 0
        process.terminate()
        process.wait(120)
    records = tiny.logged(log)
    assert len(records) == REQUESTS_OF_DAYS * 1001 and len(list(log.iterdir())) <= 2
    honest = sum(record["id"].startswith("honest") for record in records)
    assert honest == REQUESTS_OF_DAYS


def test_a_text_much_longer_than_any_category_is_refused_and_counted(
    server: Process,
) -> None:
    before = tiny.call(server.port, "/info")[1]["refused"]
    rows = [tiny.ROW, tiny.ROW | {"carrier": "x" * 50_000}]
    status, answer = tiny.call(server.port, "/predict", {"rows": rows})
    assert status == 422
    assert answer["error"] == (
        "row 1: column 'carrier' has 50000 characters; at most 256 are allowed."
    )
    rows[1]["carrier"] = "ü" * 256
    assert tiny.call(server.port, "/predict", {"rows": rows})[0] == 200
    assert tiny.call(server.port, "/info")[1]["refused"] == before + 1
