"""One row has one answer, whichever way it comes; a fault stays with its request."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from machinery import tiny
from machinery.test_turn import RUNNER, SCOPE, ask, together
from mlgitops.batch.job import Job
from mlgitops.edge import run
from mlgitops.prediction_log import GOLDEN, parse
from mlgitops.serving import busy, room
from mlgitops.serving import canary as canary_module
from mlgitops.serving.__main__ import named
from mlgitops.serving.__main__ import parse as options
from mlgitops.serving.app import App
from mlgitops.serving.canary import Canary
from mlgitops.serving.challenger import Scorer, messages
from mlgitops.serving.log import PredictionLog
from mlgitops.serving.model import Model
from mlgitops.serving.open_inference import Input, _table
from mlgitops.serving.rows import Column, RowError
from mlgitops.serving.shadow import LENGTH, SIZE, Challenger, Counts, Shadow
from mlgitops.serving.vectors import checked
from mlgitops.serving.verify import distance

BODY = json.dumps({"rows": [tiny.ROW]}).encode()
STEEP = 0.002


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("alike")
    tiny.version(made)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model(folder)


@pytest.fixture
def app(model: Model, tmp_path: Path) -> Iterator[App]:
    made = App(model, version="v1.0.0")
    made.log = PredictionLog(tmp_path / "log")
    yield made
    made.log.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse nothing, and wait for a canary, where this machine is slow."""
    monkeypatch.setattr(busy, "SECONDS", 60.0)
    monkeypatch.setattr(canary_module, "SECONDS", 60.0)


@pytest.mark.parametrize("what", ["log", "together"])
def test_what_fails_in_a_turn_leaves_nobody_waiting(
    what: str, app: App, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Any:
        raise MemoryError("none left")

    async def serve() -> set[int]:
        async with asyncio.timeout(60):
            found = await asyncio.gather(*(ask(app, BODY) for _ in range(3)))
        return {status for status, _ in found}

    with monkeypatch.context() as broken:
        if what == "log":
            broken.setattr(app.log, "put", fail)
        else:
            broken.setattr(model, "rowwise", True)
            broken.setattr(model, "predictions", fail)
        assert RUNNER.run(serve()) == {500}
    assert RUNNER.run(serve()) == {200}


def test_one_that_fails_among_others_fails_alone(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a run of several requests raises, each is tried alone then."""
    predictions = model.predictions

    def several(rows: Any, ids: Any) -> Any:
        if "odd" in ids:
            raise ValueError("of its own")
        return predictions(rows, ids)

    monkeypatch.setattr(model, "rowwise", True)
    monkeypatch.setattr(model, "predictions", several)
    odd = json.dumps({"rows": [tiny.ROW | {"id": "odd"}]}).encode()
    found = together(App(model), [BODY, odd, BODY])
    assert [status for status, _ in found] == [200, 500, 200]


class Pipe:
    """A process that keeps what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.stdin = self

    def write(self, data: bytes) -> None:
        self.data += data

    def flush(self) -> None: ...
    def close(self) -> None: ...


def test_an_id_of_many_digits_does_not_end_the_shadow(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON has whole numbers of any size, which a request may be called by."""
    pipe = Pipe()
    monkeypatch.setattr(
        Shadow, "_start", lambda shadow: setattr(shadow, "_process", pipe)
    )
    shadow = Shadow(Challenger(folder, tmp_path))
    for name in (2**70, 7, "a"):
        shadow.offer([name], BODY)
    shadow._queue.put(None)
    shadow._thread.join(5)
    sizes, rest = [], pipe.data
    while rest:
        (size,) = LENGTH.unpack(rest[: LENGTH.size])
        sizes.append(msgspec.msgpack.decode(rest[LENGTH.size :][:size])[0])
        rest = rest[LENGTH.size + size :]
    assert sizes == [[str(2**70)], ["7"], ["a"]]
    (tmp_path / "sent").write_bytes(pipe.data)
    with (tmp_path / "sent").open("rb") as file:
        assert [ids for ids, _ in messages(file)] == sizes


def test_reasons_are_given_for_what_is_coerced(model: Model) -> None:
    """A row that /predict reads is not refused by the path that explains it."""
    row = {"carrier": "UA", "distance": "1400", "temp": 40.5}
    data = json.dumps({"rows": [row]}).encode()

    async def both(app: App) -> list[tuple[int, Any]]:
        found = []
        for path in ("/predict", "/explain"):
            sent: list[dict[str, Any]] = []

            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": data, "more_body": False}

            async def send(message: dict[str, Any], sent: Any = sent) -> None:
                sent.append(message)

            await app(SCOPE | {"path": path}, receive, send)
            found.append((sent[0]["status"], json.loads(sent[1]["body"])))
        return found

    assert [status for status, _ in RUNNER.run(both(App(model)))] == [422, 422]
    found = RUNNER.run(both(App(model, coerce=True)))
    assert [status for status, _ in found] == [200, 200]
    (predicted,) = found[0][1]["predictions"]
    (explained,) = found[1][1]["explanations"]
    assert explained["prediction"] | {"id": 0} == predicted | {"id": 0}
    assert explained["prediction"]["coerced"] == ["distance"]


@pytest.mark.parametrize(
    ("ids", "named"),
    [([7.0, None, 9.0], ["7", "row-1", "9"]), ([7, 8, 9], ["7", "8", "9"])],
)
def test_whole_ids_of_a_file_are_those_of_a_request(
    ids: list[Any], named: list[str], folder: Path, tmp_path: Path
) -> None:
    """pandas makes 7.0 of 7 where an id is missing; labels know 7.

    In the log a row without an id is not that of the next file, which has a row 1, too.
    """
    frame = pd.DataFrame(
        {"flight_id": ids, **{n: [v] * 3 for n, v in tiny.ROW.items()}}
    )
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    log = tmp_path / "log"
    Job(tmp_path / "rows.parquet", tmp_path / "o.parquet", folder, log).run()
    assert pd.read_parquet(tmp_path / "o.parquet")["id"].tolist() == named
    logged = [line["id"].split("@") for line in tiny.logged(log)]
    assert [first for first, *_ in logged] == named
    assert [bool(moment) for _, *moment in logged] == [each is None for each in ids]


def test_an_id_that_is_no_whole_number_has_no_prediction(
    folder: Path, tmp_path: Path
) -> None:
    frame = pd.DataFrame(
        {"flight_id": [7.5, 8.0], **{n: [v] * 2 for n, v in tiny.ROW.items()}}
    )
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    said = Job(tmp_path / "rows.parquet", tmp_path / "o.parquet", folder).run()
    assert "1 row has none" in said


@pytest.mark.parametrize(
    "odd", [{"id": True}, {"id": "x" * 201}, {"time": "soon"}, {"time": 7}]
)
def test_a_device_refuses_the_ids_and_times_that_a_server_refuses(
    odd: dict[str, Any], model: Model
) -> None:
    data = json.dumps({"rows": [tiny.ROW | odd]}).encode()
    status, body = RUNNER.run(ask(App(model), data))
    with pytest.raises(RowError) as refused:
        run.response(model, [tiny.ROW | odd])
    assert status == 422 and json.loads(body)["error"] == str(refused.value)


def test_a_device_names_rows_as_a_server_does(model: Model) -> None:
    rows = [tiny.ROW | {"id": 7.0}, {**tiny.ROW}]
    first, second = run.response(model, rows)["predictions"]  # type: ignore[misc]
    assert first["id"] == 7 and type(first["id"]) is int
    assert len(second["id"]) == 32


def test_only_rows_that_a_canary_could_have_had_stand_beside_it(
    app: App, model: Model, tmp_path: Path
) -> None:
    """The champion's other lines are of other requests, which are no fair pair."""
    sha256 = tiny.version(tmp_path / "steep", STEEP)
    rows = [tiny.ROW | {"id": f"r{n}"} for n in range(60)]
    data = json.dumps({"rows": rows}).encode()
    inputs = [
        {"name": n, "shape": [1], "datatype": d, "data": [tiny.ROW[n]]}
        for n, d in (("carrier", "BYTES"), ("distance", "FP64"), ("temp", "FP64"))
    ]
    path, tensors = "/v2/models/flights/infer", json.dumps({"inputs": inputs}).encode()

    async def serve() -> None:
        app.canary = canary = Canary(tmp_path / "steep", 0.5, model, "v1.1.0")
        await ask(app, data)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": tensors, "more_body": False}

        async def send(_: dict[str, Any]) -> None: ...

        await app(SCOPE | {"path": path}, receive, send)
        canary.reason = "it has ended."
        await ask(app, data)

    RUNNER.run(serve())
    lines = tiny.logged(tmp_path / "log")
    assert len(lines) == 60 + 1 + 60
    asked, others = lines[:60], lines[60:]
    theirs = [n for n, line in enumerate(asked) if line["manifest_sha256"] == sha256]
    assert 10 < len(theirs) < 50
    for n, line in enumerate(asked):
        entry = parse(json.dumps(line))
        assert entry is not None
        assert entry.beside == (None if n in theirs else sha256)
    assert not any("beside" in line for line in others)


def test_a_canary_logs_no_column_that_its_own_contract_calls_sensitive(
    app: App, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tiny.CONTRACT.replace("[seat]", "[seat, temp]")
    monkeypatch.setattr(tiny, "CONTRACT", text)
    tiny.version(tmp_path / "steep", STEEP)

    async def serve() -> None:
        app.canary = Canary(tmp_path / "steep", 1.0, model)
        await ask(app, BODY)

    RUNNER.run(serve())
    (line,) = tiny.logged(tmp_path / "log")
    assert line["row"] == {"carrier": "UA", "distance": 1400}


def test_a_canary_whose_answers_have_other_fields_answers_nothing(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients read what /openapi.json says, which is the champion's."""
    tiny.version(tmp_path / "plain", STEEP)
    assert Canary(tmp_path / "plain", 0.5, model).model is not None
    intervals = {"quantile": [0.1, 0.1], "abstain": False}
    monkeypatch.setitem(model.manifest, "intervals", intervals)
    canary = Canary(tmp_path / "plain", 0.5, model)
    assert canary.model is None and canary.reason.startswith("its answers have")


@pytest.mark.parametrize("other", ["--shadow", "--canary"])
def test_workers_have_no_challenger(
    other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each would end its own by itself, and an id would get two versions."""
    given = ["--model", "m", "--log", "l", other, "c"]
    assert options(given).workers == 1
    with pytest.raises(SystemExit, match=f"{other} needs one process"):
        options([*given, "--workers", "2"])


@pytest.mark.parametrize(("sent", "kept"), [(2**24 + 1, "FP32"), (2**24 + 1, "FP64")])
def test_a_whole_number_of_a_tensor_is_not_rounded_before_it_is_checked(
    sent: int, kept: str
) -> None:
    """As FP32 it would be the one below, which /predict was not asked for."""
    column = Column("n", "integer", False, 256)
    tensor = Input("n", [1], kept, [sent])
    vector = _table([tensor], b"", ["n"], 9).columns["n"]
    with pytest.raises(RowError, match="must be a whole number from"):
        checked(vector, column)
    small = Input("n", [1], "FP16", [2049])  # whose nearest FP16 is 2048
    assert checked(_table([small], b"", ["n"], 9).columns["n"], column) == 2049


def test_a_deployment_that_asks_for_golden_rows_gets_the_champions(
    app: App, model: Model, tmp_path: Path
) -> None:
    """Else a canary beside it would make the right version look like another one."""
    tiny.version(tmp_path / "steep", STEEP)
    golden = model.manifest["golden"]
    rows = [{"id": GOLDEN.format(n), **e["row"]} for n, e in enumerate(golden)]
    rows.append(tiny.ROW | {"id": "golden-x"})

    async def serve() -> dict[str, Any]:
        app.canary = Canary(tmp_path / "steep", 1.0, model)
        status, body = await ask(app, json.dumps({"rows": rows}).encode())
        assert status == 200
        return dict(json.loads(body))

    *asked, other = RUNNER.run(serve())["predictions"]
    assert distance(golden, asked) < 1e-5
    assert "manifest_sha256" in other and not any("version" in p for p in asked)


def test_the_log_of_a_shadow_has_the_bound_of_the_champions(
    folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it fills the disk on which the champion's lines are to be."""
    file = os.memfd_create("counts")
    os.ftruncate(file, SIZE)
    counts, log = Counts(file), tmp_path / "shadow"
    scorer = Scorer(model, "v2", log, counts, max_bytes=500)
    for _ in range(9):
        scorer.score(["a"], BODY)
    written, *_, unlogged = counts.numbers[:4]
    assert written > 0 and unlogged > 0 and written + unlogged == 9
    assert len(tiny.logged(log)) == written and room.size(log) <= 500
    assert "its most bytes" in counts.status()["reason"]
    monkeypatch.setenv("LOG_MAX_BYTES", "500")
    fields = {"folder": str(folder), "version": "v2", "manifest_sha256": "0" * 64}
    challenger = named(json.dumps(fields).encode(), tmp_path)
    assert challenger is not None and "--max-bytes 500" in " ".join(challenger.command)
