"""The Open Inference Protocol: the answers of /predict, in tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from machinery import tiny
from machinery.asked import Answer, ask, logged
from mlgitops.serving.app import App
from mlgitops.serving.model import Model

PATH = "/v2/models/flights"
ROWS: list[dict[str, Any]] = [
    {"id": "a", "time": "2013-04-01T23:30:00-04:00"} | tiny.ROW | {"seat": None},
    {
        "id": "b",
        "time": None,
        "carrier": "ü",
        "distance": 7e3,
        "temp": None,
        "seat": "a",
    },
    {
        "id": "c",
        "time": None,
        "carrier": "AA",
        "distance": 5,
        "temp": 0.1,
        "seat": "odd",
    },
]
TYPES = {"distance": "FP64", "temp": "FP64"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    tiny.version(folder)
    return Model(folder)


@pytest.fixture
def app(model: Model) -> App:
    return App(model, version="v1.0.0")


def tensors(rows: list[dict[str, Any]] = ROWS) -> list[dict[str, Any]]:
    """Return rows as tensors in JSON."""
    found = []
    for name in rows[0]:
        data = [row[name] for row in rows]
        tensor = {"name": name, "shape": [len(rows)], "data": data}
        found.append(tensor | {"datatype": TYPES.get(name, "BYTES")})
    return found


def changed(name_: str, **fields: Any) -> dict[str, Any]:
    """Return a request in which one tensor is another; None removes a field."""
    found = []
    for tensor in tensors():
        if tensor["name"] == name_:
            tensor = {k: v for k, v in (tensor | fields).items() if v is not None}
        found.append(tensor)
    return {"inputs": found}


def binary(request: dict[str, Any], *data: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a request with tensors behind its JSON: body and headers."""
    text = json.dumps(request).encode()
    headers = {"inference-header-content-length": str(len(text))}
    return text + b"".join(data), headers


def outputs(answer: Answer) -> dict[str, list[Any]]:
    assert answer.status == 200, answer.body
    return {output["name"]: output["data"] for output in answer.json["outputs"]}


def as_tensors(predictions: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [p[name] for p in predictions] for name in predictions[0]}


def test_predictions_counts_and_lines_are_those_of_predict(
    model: Model, tmp_path: Path
) -> None:
    seen, found = {}, {}
    for path, body in (
        ("/predict", {"rows": ROWS}),
        (f"{PATH}/infer", {"inputs": tensors(), "id": "7"}),
    ):
        app, folder = (
            App(model, version="v1.0.0"),
            tmp_path / path[1:].replace("/", "-"),
        )
        found[path] = logged(app, folder, path, body)
        lines = [{**line, "logged_at": None} for line in tiny.logged(folder)]
        counts = app.counts
        assert counts.responses == {(path, 200): 1}
        odd = (+counts.unknown, +counts.outside)
        seen[path] = (lines, counts.rows, *odd, sum(counts.durations))
    (expected, answer), (first, second) = found.values(), seen.values()
    assert first == second and len(first[0]) == first[1] == 3
    assert outputs(answer) == as_tensors(expected.json["predictions"])
    said = answer.json
    assert (said["model_name"], said["model_version"]) == ("flights", "v1.0.0")
    assert said["id"] == "7"
    assert said["parameters"] == {"manifest_sha256": model.manifest_sha256}
    assert {o["name"]: (o["datatype"], o["shape"]) for o in said["outputs"]} == {
        "id": ("BYTES", [3]),
        "probability": ("FP32", [3]),
        "decision": ("BOOL", [3]),
    }


def test_a_version_has_paths_of_its_own(app: App) -> None:
    one = outputs(ask(app, f"{PATH}/versions/v1.0.0/infer", {"inputs": tensors()}))
    assert one == outputs(ask(app, f"{PATH}/infer", {"inputs": tensors()}))
    assert ask(app, f"{PATH}/versions/v2/infer", {"inputs": tensors()}).status == 404


def test_tensors_behind_the_json_are_those_in_it(app: App) -> None:
    expected = outputs(ask(app, f"{PATH}/infer", {"inputs": tensors()}))
    inputs, data = [], []
    for tensor in tensors():
        values = tensor.pop("data")
        if tensor["datatype"] == "BYTES":
            texts = [(value or "").encode() for value in values]
            data.append(b"".join(struct.pack("<I", len(t)) + t for t in texts))
        else:
            data.append(
                np.array([np.nan if v is None else v for v in values]).tobytes()
            )
        inputs.append(tensor | {"parameters": {"binary_data_size": len(data[-1])}})
    request = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    answer = ask(app, f"{PATH}/infer", *binary(request, *data))
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    said, rest = json.loads(answer.body[:length]), answer.body[length:]
    sizes = [output["parameters"]["binary_data_size"] for output in said["outputs"]]
    assert sizes == [3 * 5, 3 * 4, 3] and len(rest) == sum(sizes)
    assert rest[:15] == b"".join(b"\1\0\0\0" + i.encode() for i in expected["id"])
    scores = np.frombuffer(rest[15:27], "<f4").tolist()
    assert scores == expected["probability"]
    assert [bool(byte) for byte in rest[27:]] == expected["decision"]


SAME = [
    changed("distance", datatype="FP32"),
    changed("distance", datatype="INT64", data=[1400, 7000, 5]),
    changed("distance", shape=[3, 1]),
    changed("distance", shape=[3, 1], data=[[1400], [7e3], [5]]),
    changed("seat", data=["", "a", "odd"]),
]


@pytest.mark.parametrize("body", SAME)
def test_a_tensor_may_be_written_in_other_ways(body: Any, app: App) -> None:
    expected = outputs(ask(app, f"{PATH}/infer", {"inputs": tensors()}))
    assert outputs(ask(app, f"{PATH}/infer", body)) == expected


def test_outputs_are_those_that_are_wanted(app: App) -> None:
    body = {"inputs": tensors(), "outputs": [{"name": "decision"}]}
    assert [*outputs(ask(app, f"{PATH}/infer", body))] == ["decision"]


def text(old: str, new: str) -> bytes:
    """Return a request with a part replaced."""
    body = json.dumps({"inputs": tensors()})
    assert old in body
    return body.replace(old, new, 1).encode()


REFUSED = [
    (400, changed("distance", name="distanze"), "'distanze' is unknown; allowed are"),
    (400, changed("distance", name="temp"), "two inputs are called 'temp'"),
    (400, changed("distance", data=[1, 2]), "'distance' has 2 values"),
    (400, changed("seat", shape=[4]), "'seat' has another number of rows"),
    (400, changed("distance", shape=[1, 3]), "shape of input 'distance'"),
    (400, changed("distance", shape=[3, 1], data=[[1, 2], [3], [4]]), "its shape"),
    (400, changed("distance", datatype="BF16"), "'distance' has the datatype 'BF16'"),
    (400, changed("distance", datatype="INT64"), "'distance' is not INT64"),
    (400, changed("distance", data=["1", "2", "3"]), "'distance' is not FP64"),
    (400, changed("distance", data=[True, 2, 3]), "row 0: input 'distance'"),
    (400, changed("distance", data=[1, 10**400, 3]), ""),
    (400, changed("distance", datatype="UINT8", data=[1, 2, 300]), "'distance'"),
    (400, changed("distance", datatype="BYTES", data=["a"] * 3), "must be a number"),
    (400, changed("distance", data=[1, None, 3]), "row 1 lacks the column 'distance'"),
    (400, changed("distance", data=None), "'distance' has no data"),
    (400, changed("distance", data=[1, 1e39, 2]), "'distance' is not a finite"),
    (400, changed("carrier", data=["a", "b", "c" * 300]), "column 'carrier' has 300"),
    (400, changed("id", data=["a", "b", "x" * 201]), "'id' must be"),
    (400, changed("time", data=["yesterday", None, None]), "'time' must be"),
    (400, changed("temp", parameters={"shared_memory_region": "x"}), "parameter 'shar"),
    (
        400,
        changed("temp", parameters={"binary_data_size": 8}),
        "in the JSON and behind",
    ),
    (400, text("1400", "NaN"), "row 0: input 'distance' is not a finite number"),
    (400, text("7000.0", "-Infinity"), "row 1: input 'distance' is not a finite"),
    (400, text("0.1", "1e999"), "row 2: input 'temp' is not a finite number"),
    (400, text("[1400, 7000.0, 5]", "[[1], [NaN], [2]]"), "row 1: input 'distance'"),
    (400, text('"BYTES"', "NaN"), "not a request of the protocol"),
    (400, {"inputs": []}, "no inputs"),
    (400, {"rows": []}, "not a request of the protocol"),
    (400, b"{", "not a request of the protocol"),
    (400, {"inputs": tensors(), "outputs": [{"name": "score"}]}, "'score' is unknown"),
    (413, {"inputs": tensors([ROWS[0]] * 1_001)}, "1001 rows; 1 to 1000"),
    (413, b" " * 1_000_001, "more than 1000000 bytes"),
]


@pytest.mark.parametrize(("status", "body", "noun"), REFUSED)
def test_a_request_that_is_not_allowed_gets_a_sentence_that_names_the_input(
    status: int, body: Any, noun: str, app: App, tmp_path: Path
) -> None:
    answer = logged(app, tmp_path, f"{PATH}/infer", body)
    assert answer.status == status and noun in answer.json["error"], answer.body
    assert list(answer.json) == ["error"] and answer.json["error"].endswith(".")
    assert not tiny.logged(tmp_path) and not app.counts.rows and app.refused == 1


def behind(datatype: str, size: object, shape: int = 1) -> dict[str, Any]:
    """Return a request with one tensor behind the JSON."""
    tensor = {"name": "carrier", "datatype": datatype, "shape": [shape]}
    return {"inputs": [tensor | {"parameters": {"binary_data_size": size}}]}


@pytest.mark.parametrize(
    ("request_", "data"),
    [
        (behind("BYTES", 6), b"\2\0\0\0UA?"),
        (behind("BYTES", 9), b"\2\0\0\0UA"),
        (behind("BYTES", -1), b"\2\0\0\0UA"),
        (behind("BYTES", True), b"\2"),
        (behind("BYTES", 6), b"\xff\xff\xff\xffUA"),
        (behind("BYTES", 7), b"\2\0\0\0UA?"),
        (behind("BYTES", 6), b"\2\0\0\0\xff\xff"),
        (behind("BYTES", 6, 2**62), b"\2\0\0\0UA"),
        (behind("FP64", 7), b"1234567"),
        (behind("BOOL", 1), b"\2"),
    ],
)
def test_odd_bytes_behind_the_json_are_refused(
    request_: dict[str, Any], data: bytes, app: App
) -> None:
    answer = ask(app, f"{PATH}/infer", *binary(request_, data))
    assert answer.status in (400, 413) and answer.json["error"].endswith(".")
    assert any(word in answer.json["error"] for word in ("carrier", "behind", "rows"))


@pytest.mark.parametrize("length", ["-1", "99999", "9" * 5_000, "x", "1e3"])
def test_an_odd_length_of_the_json_is_refused(length: str, app: App) -> None:
    headers = {"inference-header-content-length": length}
    answer = ask(app, f"{PATH}/infer", {"inputs": tensors()}, headers)
    assert answer.status == 400 and "inference-header" in answer.json["error"]


def test_a_compressed_body_is_refused(app: App) -> None:
    headers = {"content-encoding": "gzip"}
    answer = ask(app, f"{PATH}/infer", {"inputs": tensors()}, headers)
    assert answer.status == 415 and "gzip" in answer.json["error"]


def test_the_server_and_its_model_are_described(app: App) -> None:
    def get(path: str) -> Any:
        answer = ask(app, path, method="GET")
        assert answer.status == 200, answer.body
        return answer.json

    assert get("/v2")["extensions"] == ["binary_tensor_data"]
    assert get("/v2/health/live") == {"live": True}
    assert get("/v2/health/ready") == {"ready": True}
    assert get(f"{PATH}/ready") == {"name": "flights", "ready": True}
    found = get(PATH)
    assert found == get(f"{PATH}/versions/v1.0.0")
    assert (found["name"], found["versions"]) == ("flights", ["v1.0.0"])
    datatypes = {tensor["name"]: tensor["datatype"] for tensor in found["inputs"]}
    assert datatypes == {
        "carrier": "BYTES",
        "distance": "FP64",
        "temp": "FP64",
        "seat": "BYTES",
        "id": "BYTES",
        "time": "BYTES",
    }
    assert [tensor["name"] for tensor in found["outputs"]] == [
        "id",
        "probability",
        "decision",
    ]


def test_without_a_model_nothing_is_ready() -> None:
    app = App(None, "the model is missing.")
    assert ask(app, "/v2/health/live", method="GET").status == 200
    answer = ask(app, "/v2/health/ready", method="GET")
    assert (answer.status, answer.json) == (503, {"error": "the model is missing."})


def test_a_server_that_stops_is_not_ready(app: App) -> None:
    app.draining = True
    for path in ("/v2/health/ready", f"{PATH}/ready"):
        assert ask(app, path, method="GET").status == 503


def test_a_version_that_abstains_says_so_in_text(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A truth value cannot be missing: false would be a decision."""
    intervals = {"quantile": [0.0, 0.0], "abstain": True}
    monkeypatch.setitem(model.manifest, "intervals", intervals)
    app = App(model)
    answer = outputs(ask(app, f"{PATH}/infer", {"inputs": tensors()}))
    assert answer["decision"] == ["", "", ""] and answer["set"] == ["[0, 1]"] * 3
    said = ask(app, PATH, method="GET").json["outputs"]
    assert {o["name"]: o["datatype"] for o in said}["decision"] == "BYTES"
