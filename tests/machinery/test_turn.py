"""Requests in the process: those of one turn, what is coerced, and what is refused."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from machinery import rows as small
from machinery import tiny
from machinery.test_types import COLUMNS, CONTRACT
from mlgitops.serving.app import App
from mlgitops.serving.log import PredictionLog
from mlgitops.serving.model import Model
from mlgitops.serving.routes import Limits
from mlgitops.serving.rows import RowError
from mlgitops.serving.rowwise import rowwise
from mlgitops.testing import Project

EXAMPLES = 10_000 if os.environ.get("PROOF") else 150
RUNNER = asyncio.Runner()  # a loop for all of them: to make one takes time
SCOPE = {"type": "http", "path": "/predict", "method": "POST", "headers": []}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    tiny.version(folder)
    return Model(folder)


async def ask(
    app: App, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> tuple[int, bytes]:
    """Return the status and body of a response to POST /predict."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(SCOPE | {"headers": headers}, receive, send)
    return int(sent[0]["status"]), bytes(sent[1]["body"])


def post(app: App, *rows: dict[str, Any]) -> tuple[int, Any]:
    """Return the status and the parsed response for one request."""
    status, body = RUNNER.run(ask(app, json.dumps({"rows": rows}).encode()))
    return status, json.loads(body)


def together(app: App, bodies: list[bytes]) -> list[tuple[int, bytes]]:
    """Return the responses to requests that arrive in one turn of the loop."""

    async def all_of_them() -> list[tuple[int, bytes]]:
        return list(await asyncio.gather(*(ask(app, body) for body in bodies)))

    return RUNNER.run(all_of_them())


def runs(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of rows of each run of the model."""
    counted: list[int] = []
    scores: Callable[..., Any] = model._scores

    def run(feeds: Any, count: int) -> Any:
        counted.append(count)
        return scores(feeds, count)

    monkeypatch.setattr(model, "_scores", run)
    return counted


def test_requests_of_a_turn_share_a_run_and_each_gets_its_own(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [{"id": f"r{n}", **tiny.ROW, "distance": 10 * n} for n in range(80)]
    rows[7] |= {"distance": "far"}
    rows[9] |= {"id": True}
    bodies = [json.dumps({"rows": [row]}).encode() for row in rows]
    bodies[20] = json.dumps({"rows": [rows[20], tiny.ROW]}).encode()  # not alone
    app = App(model)
    alone = [RUNNER.run(ask(app, body)) for body in bodies]
    for shared in (True, False):
        monkeypatch.setattr(model, "rowwise", shared)
        counted, app = runs(model, monkeypatch), App(model)
        found = together(app, bodies)
        for n, (one, other) in enumerate(zip(found, alone, strict=True)):
            assert n == 20 or one == other, n
        assert [n for n, (status, _) in enumerate(found) if status != 200] == [7, 9]
        assert b"row 0: column 'distance' must be a number" in found[7][1]
        assert app.counts.rows == 79
        # the first run has a row that is refused, so each of its requests is alone
        assert (max(counted) > 2) is shared, counted


def test_each_row_of_a_turn_is_logged_once_in_order(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "rowwise", True)
    rows = [{"id": f"r{n}", "seat": "a", **tiny.ROW} for n in range(30)]
    bodies = [json.dumps({"rows": [row]}).encode() for row in rows]
    app = App(model, version="v1")

    async def serve() -> None:
        app.log = PredictionLog(tmp_path)
        found = await asyncio.gather(*(ask(app, body) for body in bodies))
        assert {status for status, _ in found} == {200}
        assert len(tiny.logged(tmp_path)) == 30  # before the responses
        app.log.close()

    RUNNER.run(serve())
    assert [entry["id"] for entry in tiny.logged(tmp_path)] == [r["id"] for r in rows]
    (row,) = {json.dumps(entry["row"]) for entry in tiny.logged(tmp_path)}
    assert row == json.dumps(tiny.ROW)  # in the order of the request, without the seat


def test_a_model_that_fails_fails_the_requests_and_not_the_next_turn(
    model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    body = json.dumps({"rows": [tiny.ROW]}).encode()
    app = App(model)
    with monkeypatch.context() as broken:
        broken.setattr(model, "_session", None)
        broken.setattr(model, "rowwise", True)
        assert {status for status, _ in together(app, [body] * 3)} == {500}
    assert "ModelError" in capsys.readouterr().err
    assert {status for status, _ in together(app, [body] * 3)} == {200}


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, bytes, Any]:
    """Return a project of all types of columns, a model of trees, and rows."""
    folder = tmp_path_factory.mktemp("typed")
    estimator = "hist_gradient_boosting"
    columns = {"columns": COLUMNS, "parity": 1e-6, "estimator": estimator}
    params = {"train": {**small.settings("binary"), **columns}}
    (folder / "contract.yaml").write_text(CONTRACT)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    project = Project(folder)
    rows = project.made_up_rows(300)
    return project, project.export(project.fit(rows, estimator)), rows


def test_trees_give_a_row_the_same_bits_alone_and_among_others(
    trees: tuple[Project, bytes, Any],
) -> None:
    """That is what `rowwise` promises of the operators it lists."""
    from mlgitops.pipeline import data
    from mlgitops.serving.model import session

    project, model, rows = trees
    assert rowwise(model)
    arrays = data.inputs(rows, project.contract, COLUMNS)
    loaded = session(model)
    names = [node.name for node in loaded.get_inputs()]
    feeds = dict(zip(names, arrays.values(), strict=True))

    def run(chosen: Any) -> np.ndarray[Any, Any]:
        feed = {name: values[chosen] for name, values in feeds.items()}
        return np.asarray(loaded.run(["probability"], feed)[0])

    whole = run(slice(None))
    assert whole.tobytes() == b"".join(
        run(slice(n, n + 1)).tobytes() for n in range(300)
    )
    for size in (2, 3, 17, 64):
        assert run(slice(5, 5 + size)).tobytes() == whole[5 : 5 + size].tobytes()


def test_a_product_of_matrices_or_half_a_file_is_not_rowwise() -> None:
    model = tiny.onnx_bytes()
    assert not rowwise(model)  # Sigmoid
    parsed = onnx.load_from_string(model)
    parsed.graph.node[-1].op_type = "Abs"
    assert rowwise(parsed.SerializeToString())
    assert not rowwise(parsed.SerializeToString()[:-3]) and not rowwise(b"")
    parsed.graph.node[-1].domain = "com.example"
    assert not rowwise(parsed.SerializeToString())
    parsed.graph.node[-1].domain = ""
    parsed.functions.add().name = "Abs"
    assert not rowwise(parsed.SerializeToString())


def test_spellings_are_read_and_told_only_where_that_is_asked_for(
    model: Model, tmp_path: Path
) -> None:
    row = {"carrier": 5, "distance": "1400", "temp": "4.05e1", "seat": None}
    status, refused = post(App(model), row)
    assert status == 422 and "must be text" in refused["error"]
    app = App(model, coerce=True)

    async def logged() -> tuple[int, bytes]:
        app.log = PredictionLog(tmp_path)
        found = await ask(app, json.dumps({"rows": [row, tiny.ROW]}).encode())
        app.log.close()
        return found

    status, body = RUNNER.run(logged())
    first, second = json.loads(body)["predictions"]
    assert first["coerced"] == ["carrier", "distance", "temp"]
    assert second["coerced"] == []
    plain = {"carrier": "5", "distance": 1400, "temp": 40.5, "seat": None}
    (expected,) = post(App(model), plain)[1]["predictions"]
    assert first["probability"] == expected["probability"]
    lines = tiny.logged(tmp_path)
    assert lines[0]["row"] == {"carrier": "5", "distance": 1400, "temp": 40.5}
    assert "coerced" not in lines[0]


@pytest.mark.parametrize("value", ["1,4", "0x1f", " 1", "NaN", "1_0", "", "٣", True])
def test_what_is_no_spelling_is_refused_with_coercion_too(
    model: Model, value: Any
) -> None:
    status, answer = post(App(model, coerce=True), tiny.ROW | {"distance": value})
    assert status == 422 and "'distance'" in answer["error"]


ROW = json.dumps(tiny.ROW)
BODIES = [  # what programs that were not made for this send
    b"",
    b"null",
    b"{}",
    b'"rows"',
    b'{"rows": null}',
    b'{"rows": [null]}',
    b'{"rows": [[]]}',
    b'{"rows": [{}]}',
    b"[" * 50_000,
    b'{"rows": [' + b'{"a":' * 5_000,
    b'{"rows": [{"distance": "\\ud800"}]}',
    b'{"rows": [{"\\ud800": 1}]}',
    b'{"rows": [{"distance": "\xed\xa0\x80"}]}',
    b"\xef\xbb\xbf{}",
    b"\x00" * 100,
    *(
        ROW.replace("1400", text).join(('{"rows": [', "]}")).encode()
        for text in (
            "NaN",
            "-Infinity",
            "1e400",
            "-1e400",
            "9" * 5_000,
            "1" + "0" * 400,
        )
    ),
    *(
        ROW.replace("1400", text).join(('{"rows": [', "]}")).encode()
        for text in ("[]", "{}", "[[1]]", '"x"', "true", "null", '""', "-", "01", "+1")
    ),
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_refusal_is_one_sentence(model: Model, body: bytes) -> None:
    status, answer = RUNNER.run(ask(App(model), body))
    sentence(status, answer)
    assert status != 200


def sentence(status: int, body: bytes) -> None:
    """Check that a response is a prediction, or one sentence about the request."""
    answer = json.loads(body)
    if status == 200:
        assert answer["predictions"]
        return
    assert status in (400, 413, 422), answer
    (text,) = answer.values()
    assert text.endswith(".") and "\n" not in text and "Traceback" not in text
    assert status != 422 or text.startswith(("row ", "the body has 0 rows")), text


@pytest.mark.parametrize("name", [b"gzip", b"BR", b"gzip, identity"])
def test_a_compressed_body_is_refused_by_a_sentence(model: Model, name: bytes) -> None:
    header = ((b"content-encoding", name),)
    status, body = RUNNER.run(ask(App(model), b"\x1f\x8b\x08", header))
    assert status == 415 and name.lower() in body and b"as it is" in body
    plain = json.dumps({"rows": [tiny.ROW]}).encode()
    header = ((b"content-encoding", b"identity"),)
    assert RUNNER.run(ask(App(model), plain, header))[0] == 200


def test_of_a_key_that_comes_twice_the_last_value_counts(model: Model) -> None:
    body = b'{"rows": [' + ROW.replace("1400", '"x", "distance": 7').encode() + b"]}"
    assert RUNNER.run(ask(App(model), body))[0] == 200


def test_a_body_of_200_mb_is_refused_before_it_is_sent(model: Model) -> None:
    async def refused() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            raise AssertionError("the body was read")

        headers = [(b"content-length", b"200000000")]
        await App(model)(SCOPE | {"headers": headers}, receive, send)
        return sent

    sent = RUNNER.run(refused())
    assert sent[0]["status"] == 413 and b"more than 1000000 bytes" in sent[1]["body"]


names = st.sampled_from(["carrier", "distance", "temp", "seat", "id", "time", "x"])
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["UA", "2013-04-01", "", "x" * 300, 10**400, 1400, 40.5]),
)
odd = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=5
)
near = st.fixed_dictionaries({}, optional={n: leaves for n in ("temp", "id", "time")})
requests = st.one_of(
    odd,
    st.fixed_dictionaries({"rows": st.lists(odd, max_size=3)}),
    st.builds(lambda rows: {"rows": rows}, st.lists(near.map(lambda r: tiny.ROW | r))),
    st.builds(lambda row: {"rows": [tiny.ROW | row]}, st.dictionaries(names, leaves)),
)


@pytest.fixture(scope="module")
def apps(model: Model) -> dict[bool, App]:
    """Return servers without and with coercion."""
    return {c: App(model, limits=Limits(rows=5), coerce=c) for c in (False, True)}


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
@given(st.one_of(requests, st.binary(max_size=40)), st.booleans())
def test_whatever_is_asked_is_predicted_or_refused_by_a_sentence(
    apps: dict[bool, App], asked: Any, coerce: bool
) -> None:
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    sentence(*RUNNER.run(ask(apps[coerce], body)))


def test_server_files_and_devices_refuse_an_unknown_category_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the contract says so; `Model.typed` is what an edge bundle has not."""
    text = tiny.CONTRACT.replace(
        "missing: false}", "missing: false, unknown: refuse}", 1
    )
    hashes = tiny.contract_hashes(text)
    tiny.version(tmp_path, contract=hashes)
    (tmp_path / "contract.yaml").write_text(text)
    strict = Model(tmp_path)
    row = {"seat": None} | tiny.ROW
    assert post(App(strict), row)[0] == 200
    status, answer = post(App(strict), row | {"carrier": "ZZ"})
    assert status == 422
    assert "row 0: column 'carrier' has the unknown value 'ZZ'" in answer["error"]
    columns = {name: [value, value] for name, value in row.items()}
    with pytest.raises(RowError, match="row 1: column 'carrier'.*'ZZ'"):
        strict.predict_columns(columns | {"carrier": ["UA", "ZZ"]})
    expected = strict.predict([row])
    monkeypatch.setattr(strict, "typed", None)
    assert strict.predict([row]).tobytes() == expected.tobytes()
    with pytest.raises(RowError, match="row 0: column 'carrier'.*'ZZ'"):
        strict.predict([row | {"carrier": "ZZ"}])
