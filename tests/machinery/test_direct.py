"""What answers most requests without ASGI: the same bytes, counts and lines as with it.

Each conversation is played twice, once for the application alone. What is not a plain
request for predictions has to go to the application in both.
"""

import asyncio
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from uvicorn.server import ServerState

from machinery import tiny
from machinery.test_floods import Notes, configured
from mlgitops.prediction_log import line
from mlgitops.serving import busy
from mlgitops.serving.access import Tokens
from mlgitops.serving.app import App
from mlgitops.serving.appending import append, let_go
from mlgitops.serving.connection import Bounds, Connections
from mlgitops.serving.direct import Cycle, Direct
from mlgitops.serving.lines import lines
from mlgitops.serving.log import PredictionLog
from mlgitops.serving.model import Model, ModelError, _parse
from mlgitops.serving.routes import Limits
from mlgitops.serving.verify import VerifyError

ROW = tiny.ROW | {"id": "a", "time": "2013-04-01T23:30:00Z"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    tiny.version(folder)
    return Model(folder)


def request(body: Any, start: str = "POST /predict HTTP/1.1", *headers: str) -> bytes:
    """Return a request; a body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps({"rows": body}).encode()
    lines = (start, "host: a", *headers, f"content-length: {len(data)}", "", "")
    return "\r\n".join(lines).encode() + data


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse nothing because this machine is slow; some tests set another bound."""
    monkeypatch.setattr(busy, "SECONDS", 60.0)


async def play(app: App, taker: Direct | None, packets: list[bytes]) -> bytes:
    """Return all that a client gets on one connection."""
    state = ServerState()
    state.default_headers = [(b"date", b"today")]
    connections = Connections(Bounds(), taker)
    protocol = connections.connect(configured(app), state, {})
    transport = Notes()
    protocol.connection_made(transport)
    for packet in packets:
        protocol.data_received(packet)
    async with asyncio.timeout(60):  # an explanation takes a thread, and its time
        while protocol.responding or (protocol.buffer and not transport.ended):
            await asyncio.sleep(0 if app.log is None else 0.001)
    protocol.connection_lost(None)
    assert connections.held == 0
    return bytes(transport.out) + b"closed" * transport.ended


class Noted(Direct):
    """Notes how many requests it answered."""

    answered = 0

    def head(self, state: ServerState) -> bytes:
        self.answered += 1
        return super().head(state)


def both(
    model: Model, packets: list[bytes], change: Callable[[App], None] = lambda _: None
) -> tuple[int, bytes]:
    """Return how many were answered directly, and what was; the same as by ASGI."""
    played = []
    for direct, app in ((False, App(model)), (True, App(model))):
        change(app)
        taker = Noted(app)
        got = asyncio.run(play(app, taker if direct else None, packets))
        counts = app.counts
        facts = (counts.responses, counts.rows, counts.unknown, counts.outside)
        facts += (counts.reasons,)
        played.append((got, facts, app.refused, sum(counts.durations)))
    assert played[0] == played[1]
    return taker.answered, played[0][0]


PLAIN = {
    "one row": [request([ROW])],
    "three rows, unknown values": [
        request([ROW, ROW | {"carrier": "??"}, ROW | {"distance": 1e6}])
    ],
    "two on one connection": [request([ROW]), request([ROW | {"id": "b"}])],
    "two in one packet": [request([ROW]) + request([ROW | {"id": "b"}])],
    "a type with parameters": [
        request([ROW], "POST /predict HTTP/1.1", "content-type: application/json; a=b")
    ],
    "half characters, late": [request([ROW])[:90], request([ROW])[90:]],
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_requests_get_what_the_application_says(model: Model, name: str) -> None:
    packets = PLAIN[name]
    number, got = both(model, packets)
    responses = got.split(b"HTTP/1.1 200 OK\r\ndate: today\r\n")
    late = name == "half characters, late"  # its body is not there with its head
    assert number == (0 if late else b"".join(packets).count(b"POST"))
    assert len(responses) == b"".join(packets).count(b"POST") + 1


ODD = {
    "not JSON": [request(b"{")],
    "no rows": [request([])],
    "too many rows": [request([ROW] * 1_001)],
    "an unknown column": [request([ROW | {"x": 1}])],
    "a wrong type": [request([ROW, ROW | {"distance": "far"}])],
    "a bad id": [request([ROW | {"id": ""}])],
    "a bad time": [request([ROW | {"time": "soon"}])],
    "another path": [request([ROW], "POST /explain HTTP/1.1")],
    "with a query": [request([ROW], "POST /predict?a=b HTTP/1.1")],
    "another method": [request([ROW], "PUT /predict HTTP/1.1")],
    "HTTP/1.0": [request([ROW], "POST /predict HTTP/1.0")],
    "the last one": [request([ROW], "POST /predict HTTP/1.1", "connection: close")],
    "who expects": [request([ROW], "POST /predict HTTP/1.1", "expect: 100-continue")],
    "Arrow": [
        request(
            b"x",
            "POST /predict HTTP/1.1",
            "content-type: application/vnd.apache.arrow.stream",
        )
    ],
    "gzip": [
        request([ROW], "POST /predict HTTP/1.1", "content-encoding: gzip"),
    ],
    "chunked": [
        b"POST /predict HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\n\r\n"
    ],
    "nothing": [b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"],
    "a large body": [request(b" " * 70_000)],
}


@pytest.mark.parametrize("name", ODD)
def test_all_others_go_to_the_application(model: Model, name: str) -> None:
    number, got = both(model, ODD[name])
    assert number == 0 and got.startswith(b"HTTP/1.1 ")


def guard(app: App) -> None:
    """Want a token."""
    app.tokens = Tokens.__new__(Tokens)
    app.tokens.check = lambda _: None  # type: ignore[method-assign, assignment]


def drain(app: App) -> None:
    """Stop."""
    app.draining = True


def coerce(app: App) -> None:
    """Read texts as numbers."""
    app.coerce = True


def shade(app: App) -> None:
    """Have a challenger beside it."""
    app.shadow = object()  # type: ignore[assignment]


class Beside:
    """A canary without a row."""

    async def replace(self, *_: object) -> None:
        """Replace nothing."""


def try_out(app: App) -> None:
    """Have a canary."""
    app.canary = Beside()  # type: ignore[assignment]


@pytest.mark.parametrize("change", [guard, drain, coerce, shade, try_out])
def test_what_needs_the_application_gets_it(
    model: Model, change: Callable[[App], None]
) -> None:
    number, got = both(model, [request([ROW])], change)
    assert number == 0 and got.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("limits", [Limits(bytes=50), Limits(rows=1)])
def test_the_limits_of_a_server_hold_without_asgi(model: Model, limits: Limits) -> None:
    def bound(app: App) -> None:
        app.limits = limits

    number, got = both(model, [request([ROW, ROW])], bound)
    assert number == 0 and got.startswith(b"HTTP/1.1 413")


def test_a_model_that_fails_is_answered_by_the_application(
    model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ModelError("it broke")

    def break_it(_: App) -> None:
        monkeypatch.setattr(model, "_scores", fail)

    number, got = both(model, [request([ROW])], break_it)
    assert number == 0 and got.startswith(b"HTTP/1.1 500")


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("rest", ["", "half", "body"])
def test_who_ends_only_its_own_part_gets_its_responses(
    model: Model, direct: bool, rest: str
) -> None:
    """As its rows are logged; then the connection closes, whatever is left of it."""
    more = {"": b"", "half": b"POST /pre", "body": request([ROW])[:-9]}[rest]

    async def ask() -> tuple[bytes, bool]:
        app = App(model)
        connections = Connections(Bounds(), Direct(app) if direct else None)
        protocol = connections.connect(configured(app), ServerState(), {})
        transport = Notes()
        protocol.connection_made(transport)
        protocol.data_received(request([ROW]) * 2 + more)
        assert protocol.eof_received(), "it stays"
        async with asyncio.timeout(60):
            while not transport.ended:
                await asyncio.sleep(0)
        got = bytes(transport.out), transport.ended
        protocol.connection_lost(None)
        await asyncio.sleep(0)
        return got

    got, ended = asyncio.run(ask())
    assert got.count(b"200 OK") == 2 and ended


def test_who_ends_before_its_request_is_whole_leaves(model: Model) -> None:
    for packet in (b"", b"POST /pre", request([ROW])[:-9]):

        async def leave(packet: bytes = packet) -> bool:
            connections = Connections(Bounds(), None)
            protocol = connections.connect(configured(App(model)), ServerState(), {})
            protocol.connection_made(Notes())
            protocol.data_received(packet)
            stays = protocol.eof_received()
            protocol.connection_lost(None)
            await asyncio.sleep(0)
            return stays

        assert not asyncio.run(leave())


def test_what_comes_too_late_is_refused_at_once(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not asked for a second time, which would double the load."""
    monkeypatch.setattr(busy, "SECONDS", -1.0)
    asked = list[object]()

    def note(app: App) -> None:
        assert app.turn is not None
        ask = app.turn.ask
        app.turn.ask = lambda request: (  # type: ignore[method-assign]
            asked.append(request) or ask(request)  # type: ignore[func-returns-value]
        )

    number, got = both(model, [request([ROW])], note)
    assert number == 0 and got.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in got
    assert len(asked) == 2, "once without ASGI, once with it"


def test_an_idle_connection_keeps_nothing_of_its_last_request(model: Model) -> None:
    """Its rows take ten times the bytes that were counted."""
    packet = request([tiny.ROW] * 300)

    async def rest() -> float:
        app = App(model)
        connections, idle = Connections(Bounds(), Direct(app)), list[object]()
        for number in range(11):
            protocol = connections.connect(configured(app), ServerState(), {})
            transport = Notes()
            protocol.connection_made(transport)
            protocol.data_received(packet)
            async with asyncio.timeout(60):
                while protocol.responding or not transport.out:
                    await asyncio.sleep(0)
            transport.out.clear()
            idle.append(protocol)
            if not number:  # the first one loads what all use
                tracemalloc.start()
        assert connections.held == 0
        return tracemalloc.get_traced_memory()[0] / 10

    try:
        assert asyncio.run(rest()) < len(packet)
    finally:
        tracemalloc.stop()


def test_the_lines_of_the_log_are_the_same_and_first(
    model: Model, tmp_path: Path
) -> None:
    lines = []
    for direct in (False, True):
        folder = tmp_path / str(direct)

        async def ask(folder: Path = folder, direct: bool = direct) -> None:
            app = App(model, version="v1")
            app.log = PredictionLog(folder)
            for number in range(5):
                row = ROW | {"id": str(number), "seat": "a"}
                taker = Direct(app) if direct else None
                await play(app, taker, [request([row])])
                found = tiny.logged(folder)
                assert len(found) == number + 1, "not there with the response"
            app.log.close()

        asyncio.run(ask())
        lines.append([line | {"logged_at": 0} for line in tiny.logged(folder)])
    assert lines[0] == lines[1] and len(lines[0]) == 5 and "seat" not in lines[0][0]


def test_who_leaves_before_the_response_costs_nothing(model: Model) -> None:
    async def leave() -> tuple[bytes, int]:
        app = App(model)
        connections = Connections(Bounds(), Direct(app))
        protocol = connections.connect(configured(app), ServerState(), {})
        transport = Notes()
        protocol.connection_made(transport)
        protocol.data_received(request([ROW]))
        assert isinstance(protocol.cycle, Cycle)
        protocol.connection_lost(None)
        async with asyncio.timeout(60):
            while not app.counts.rows:
                await asyncio.sleep(0)
        await asyncio.sleep(0.01)  # a response would follow at once
        return bytes(transport.out), app.counts.rows

    assert asyncio.run(leave()) == (b"", 1)


def test_a_server_that_stops_closes_after_the_response(model: Model) -> None:
    async def stop() -> tuple[bytes, bool]:
        app = App(model)
        connections = Connections(Bounds(), Direct(app))
        protocol = connections.connect(configured(app), ServerState(), {})
        transport = Notes()
        protocol.connection_made(transport)
        protocol.data_received(request([ROW]))
        protocol.shutdown()
        async with asyncio.timeout(60):
            while not transport.ended:
                await asyncio.sleep(0)
        return bytes(transport.out), transport.ended

    got, ended = asyncio.run(stop())
    assert b"connection: close" in got and b'"probability"' in got and ended


# The file of the log


def test_an_append_follows_the_name_of_its_file(tmp_path: Path) -> None:
    """Whatever a shipper, an operator or another server did since the last one."""
    path = tmp_path / "log" / "p.jsonl"
    append(path, b"1\n")
    path.rename(path.with_name("taken.jsonl"))
    append(path, b"2\n")
    assert path.read_bytes() == b"2\n"
    path.unlink()
    path.parent.joinpath("taken.jsonl").unlink()
    path.parent.rmdir()
    append(path, b"3\n")
    with path.open("ab") as other:
        other.write(b'4\n{"half')
    append(path, b"5\n")
    assert path.read_bytes() == b"3\n4\n5\n"
    append(tmp_path / "q.jsonl", b"6\n")
    append(path, b"7\n")
    assert path.read_bytes() == b"3\n4\n5\n7\n"
    let_go()
    append(path, b"8\n")
    assert path.read_bytes() == b"3\n4\n5\n7\n8\n"
    let_go()


@pytest.mark.parametrize(
    "prediction",
    [
        {"probability": 0.25, "decision": True, "set": [1]},
        {"probabilities": {"a": 0.5, 'b"': 0.5}, "class": None},
        {"value": 1e-30, "interval": [0.0, 1.0]},
    ],
)
def test_lines_of_many_rows_are_those_of_each(prediction: dict[str, Any]) -> None:
    named = [{"id": 7} | prediction, {"id": "\n\u2028\x85ü"} | prediction]
    times = [None, datetime(2026, 11, 29, 12, tzinfo=UTC)]
    rows = [{}, {"class": "a\rb", "x": None, "y": 2.5}]
    each = [
        msgspec.json.encode(line(p, time, "sha", None, "now", row)) + b"\n"
        for p, time, row in zip(named, times, rows, strict=True)
    ]
    assert b"".join(lines(named, times, "sha", None, "now", rows)) == b"".join(each)


# The start


def test_a_server_loads_no_command_line_of_uvicorn_and_the_package_stays_whole() -> (
    None
):
    code = (
        "import sys, mlgitops.serving.__main__\n"
        "names = 'click', 'multiprocessing', 'numpy.random', 'prometheus_client'\n"
        "print([name for name in names if name in sys.modules])\n"
        "import uvicorn\n"
        "print(uvicorn.run.__module__, uvicorn.Config is not None, uvicorn.server)\n"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded, whole = ran.stdout.splitlines()
    assert loaded == "[]" and whole.startswith("uvicorn.main True <module")


def test_a_contract_reads_the_same_in_c() -> None:
    odd = (
        "a: [1, 010, 1.0, 12:30, yes, NO, ~, 'x', \"\\u00fc\", 2013-04-01]\nü: |\n  b\n"
    )
    for text in (Path("contract.yaml").read_text(), tiny.CONTRACT, odd):
        assert _parse(text.encode()) == yaml.safe_load(text)
    with pytest.raises(VerifyError):
        _parse(b"a: [")
