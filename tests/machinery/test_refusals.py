"""Each refusal is counted by its reason, one of a fixed set, never a client's text."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from uvicorn.server import ServerState

from machinery import tiny
from machinery.asked import ask
from machinery.test_direct import ODD, both, play, request
from machinery.test_floods import Notes, configured
from machinery.test_open_inference import PATH, changed, tensors
from machinery.test_serving import REFUSED
from mlgitops.serving import explain, metrics
from mlgitops.serving.access import Tokens
from mlgitops.serving.app import App
from mlgitops.serving.arrow_reader import ArrowError
from mlgitops.serving.busy import BusyError
from mlgitops.serving.connection import Bounds, Connections
from mlgitops.serving.direct import Direct
from mlgitops.serving.metrics import Counts
from mlgitops.serving.model import Model
from mlgitops.serving.open_inference import TensorError
from mlgitops.serving.reasons import Reason, RefusedError
from mlgitops.serving.routes import RefusalError
from mlgitops.serving.rows import RowError

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    tiny.version(folder)
    return Model(folder)


@pytest.fixture
def app(model: Model) -> App:
    return App(model, version="v1.0.0")


def reasons(app: App) -> dict[str, float]:
    """Return the refusals of /metrics that are not 0, by reason."""
    info = {"log": None, "ready": False, "name": None, "version": None}
    text = metrics.text(app.counts, info | {"manifest_sha256": None}).decode()
    refused = 0.0
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for s in family.samples:
            if s.name == "model_refusals_total":
                found[s.labels["reason"]] = s.value
            elif s.name == "model_responses_total" and s.labels["status"] != "200":
                refused += s.value
    assert {*found} == {*Reason}, "each reason is there from the start"
    assert sum(found.values()) == refused
    return {reason: number for reason, number in found.items() if number}


def row(**changes: Any) -> dict[str, Any]:
    """Return a body with one row."""
    return {"rows": [tiny.ROW | changes]}


def text(old: str, new: str) -> bytes:
    """Return a body with a part replaced."""
    return json.dumps(row()).replace(old, new).encode()


ASKED: list[tuple[Reason, str, Any]] = [
    (Reason.MALFORMED, "/predict", b"{"),
    (Reason.MALFORMED, "/predict", {"rows": []}),
    (Reason.MALFORMED, f"{PATH}/infer", {"inputs": []}),
    (Reason.TOO_LARGE, "/predict", {"rows": [tiny.ROW] * 1_001}),
    (Reason.TOO_LARGE, "/explain", b" " * 1_000_001),
    (Reason.UNKNOWN_FIELD, "/predict", row(distanze=1)),
    (Reason.UNKNOWN_FIELD, f"{PATH}/infer", changed("distance", name="distanze")),
    (Reason.MISSING_FIELD, "/predict", row(distance=None)),
    (Reason.MISSING_FIELD, f"{PATH}/infer", changed("distance", data=[1, None, 3])),
    (Reason.WRONG_TYPE, "/predict", row(distance="far")),
    (Reason.WRONG_TYPE, "/explain", row(distance="far")),
    (Reason.WRONG_TYPE, f"{PATH}/infer", changed("distance", datatype="INT64")),
    (Reason.NOT_FINITE, "/predict", text("1400", "NaN")),
    (Reason.NOT_FINITE, "/predict", row(distance=1e39)),
    (Reason.NOT_FINITE, f"{PATH}/infer", changed("distance", data=[1, 1e39, 2])),
    (Reason.OUT_OF_CONTRACT, "/predict", row(carrier="a" * 300)),
    (Reason.OUT_OF_CONTRACT, "/predict", row(time="soon")),
    (Reason.NOT_FOUND, "/nowhere", None),
    (Reason.METHOD, "/predict", None),
]


@pytest.mark.parametrize(("reason", "path", "body"), ASKED)
def test_a_refusal_is_counted_by_its_reason(
    reason: Reason, path: str, body: Any, app: App
) -> None:
    answer = ask(app, path, body, method="GET" if body is None else "POST")
    assert answer.status >= 400 and reasons(app) == {reason: 1}


def test_what_is_answered_is_no_refusal(app: App) -> None:
    assert ask(app, "/predict", row()).status == 200
    assert ask(app, f"{PATH}/infer", {"inputs": tensors()}).status == 200
    assert not reasons(app) and not app.counts.reasons


def encoded(app: App) -> None:
    """Send a compressed body."""
    ask(app, "/predict", b"\x1f\x8b", {"content-encoding": "gzip"})


def without_a_token(app: App) -> None:
    """Send no token."""
    app.tokens = Tokens.__new__(Tokens)
    ask(app, "/predict", row())


def too_often(app: App) -> None:
    """Ask for more reasons than there may be."""
    for _ in range(11):
        ask(app, "/explain", row())


def turned_off(app: App) -> None:
    """Ask for reasons where there are none."""
    settings = explain.Explainer(app, explain.Limits(rate=0)).respond
    app.routes["/explain"] = app.routes["/explain"]._replace(answer=settings)
    ask(app, "/explain", row())


def too_late(app: App) -> None:
    """Wait for others for too long."""
    _in_place_of_a_turn(app, BusyError())


def broken(app: App) -> None:
    """Have a model that fails."""
    _in_place_of_a_turn(app, ValueError("it broke"))


def without_a_value(app: App) -> None:
    """Have a model that has no value for a row."""
    error = RowError(Reason.NO_PREDICTION, "row 0: the model has no value for it.")
    _in_place_of_a_turn(app, error)


def stopping(app: App) -> None:
    """Ask whether a server that stops is ready."""
    app.draining = True
    ask(app, "/health/ready", method="GET")


def empty(app: App) -> None:
    """Have no model."""
    app.model, app.reason = None, "the model is missing."
    ask(app, "/predict", row())


def slowly(app: App) -> None:
    """Send a part of a body only."""
    app.limits = app.limits._replace(seconds=0.01)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(10)
        raise AssertionError

    async def send(_: dict[str, Any]) -> None:
        pass

    scope = {"type": "http", "path": "/predict", "method": "POST", "headers": []}
    asyncio.run(app(scope, receive, send))


def _in_place_of_a_turn(app: App, error: Exception) -> None:
    assert app.turn is not None

    async def fail(*_: object) -> None:
        raise error

    app.turn.predict = fail  # type: ignore[assignment, method-assign]
    ask(app, "/predict", row())


OTHERS: dict[Reason, Callable[[App], None]] = {
    Reason.MEDIA_TYPE: encoded,
    Reason.UNAUTHORIZED: without_a_token,
    Reason.RATE_LIMITED: too_often,
    Reason.TURNED_OFF: turned_off,
    Reason.OVERLOADED: too_late,
    Reason.FAILED: broken,
    Reason.NO_PREDICTION: without_a_value,
    Reason.STOPPING: stopping,
    Reason.NO_MODEL: empty,
    Reason.TOO_SLOW: slowly,
}


@pytest.mark.parametrize("reason", OTHERS)
def test_what_is_no_fault_of_a_row_has_its_reason_too(reason: Reason, app: App) -> None:
    OTHERS[reason](app)
    assert reasons(app) == {reason: 1}


def test_each_reason_is_tried_here() -> None:
    assert {*Reason} == {*OTHERS, *(reason for reason, _, _ in ASKED)}


def all_of(error: type[RefusedError]) -> Iterator[type[RefusedError]]:
    """Yield an error and all that are made of it."""
    yield error
    for narrower in error.__subclasses__():
        yield from all_of(narrower)


def test_no_refusal_can_be_made_without_a_reason() -> None:
    """One that takes no reason, such as BusyError, gives its own."""
    errors = {*all_of(RefusedError)}
    assert {RefusalError, RowError, ArrowError, TensorError, BusyError} <= errors
    for error in errors - {BusyError}:
        parameter = inspect.signature(error).parameters["reason"]
        assert parameter.default is inspect.Parameter.empty, error
        with pytest.raises(TypeError):
            error("a sentence.")  # type: ignore[call-arg]
    assert BusyError().reason is Reason.OVERLOADED


def test_a_response_without_a_reason_would_be_found(app: App) -> None:
    app.counts.responses["/predict", 422] += 1
    with pytest.raises(AssertionError):
        reasons(app)


def test_sums_agree_whatever_is_refused(app: App) -> None:
    for status, body, _ in REFUSED:
        answer = ask(app, "/predict", body)
        assert answer.status == status or len(body) > 20_000 or answer.status == 200
    assert sum(reasons(app).values()) == app.refused


@pytest.mark.parametrize("name", ODD)
def test_the_reason_is_the_same_without_asgi(model: Model, name: str) -> None:
    both(model, ODD[name])


@pytest.mark.parametrize(
    ("packets", "reason"),
    [
        ([b"\x16\x03\x01\x02"], Reason.MALFORMED),
        ([b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000], Reason.TOO_LARGE),
        ([b"GET / HTTP/9\r\n\r\n"], Reason.MALFORMED),
        ([request([])], Reason.MALFORMED),
    ],
)
def test_what_a_connection_refuses_is_counted(
    packets: list[bytes], reason: Reason, app: App
) -> None:
    got = asyncio.run(play(app, Direct(app), packets))
    assert got.startswith(b"HTTP/1.1 4") and reasons(app) == {reason: 1}


def test_who_has_no_room_is_counted_as_overload(app: App) -> None:
    async def crowd() -> None:
        connections = Connections(Bounds(connections=1), Direct(app))
        for _ in range(2):
            new = connections.connect(configured(app), ServerState(), {})
            new.connection_made(Notes())

    asyncio.run(crowd())
    assert reasons(app) == {Reason.OVERLOADED: 1}


def test_a_clients_text_is_no_label(app: App, tmp_path: Path) -> None:
    ask(app, "/predict", row(**{'odd"\n': 1}))
    counts = Counts({})
    counts.refused("other", 400, Reason.MALFORMED)
    assert {*app.counts.reasons, *counts.reasons} <= {*Reason}
