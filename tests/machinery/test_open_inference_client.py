"""NVIDIA's client of the Open Inference Protocol, where it is installed.

The template's own test installs it by a lock with hashes and runs this; elsewhere
these tests are skipped. What the server answers is tested in test_open_inference.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from machinery import described, tiny
from machinery.test_open_inference import ROWS

client = pytest.importorskip("tritonclient.http")
VERSION = "v1.0.0"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("model")
    tiny.version(folder)
    with tiny.server(folder, "--version", VERSION) as (port, _):
        yield port


@pytest.fixture
def server(port: int) -> Iterator[Any]:
    connected = client.InferenceServerClient(f"127.0.0.1:{port}")
    yield connected
    connected.close()


def inputs(binary: bool) -> list[Any]:
    """Return the rows as the client's tensors; NaN and "" are missing."""
    tensors = []
    for name in ROWS[0]:
        values: list[Any] = [row[name] for row in ROWS]
        if name in ("distance", "temp"):
            array = np.array([np.nan if v is None else v for v in values])
            tensor = client.InferInput(name, [len(ROWS)], "FP64")
        else:
            array = np.array([v or "" for v in values], dtype=object)
            tensor = client.InferInput(name, [len(ROWS)], "BYTES")
        # The client writes NaN into JSON, which is none: numbers go behind it.
        tensor.set_data_from_numpy(array, binary or array.dtype != object)
        tensors.append(tensor)
    return tensors


@pytest.mark.parametrize("binary", [True, False])
def test_the_client_gets_the_predictions_of_predict(
    server: Any, port: int, binary: bool
) -> None:
    expected = tiny.call(port, "/predict", {"rows": ROWS})[1]["predictions"]
    named = ("id", "probability", "decision")
    wanted = [client.InferRequestedOutput(name, binary) for name in named]
    found = server.infer(
        "flights", inputs(binary), VERSION, outputs=wanted, request_id="7"
    )
    assert found.get_response()["id"] == "7"
    scores = found.as_numpy("probability")
    assert scores.dtype == np.float32
    assert scores.tolist() == [p["probability"] for p in expected]
    assert found.as_numpy("decision").tolist() == [p["decision"] for p in expected]
    ids = [i.decode() if isinstance(i, bytes) else i for i in found.as_numpy("id")]
    assert ids == [p["id"] for p in expected]


def test_the_client_finds_the_server_and_the_model_ready(server: Any) -> None:
    assert server.is_server_live() and server.is_server_ready()
    assert server.is_model_ready("flights") and not server.is_model_ready("other")
    assert server.is_model_ready("flights", VERSION)
    assert server.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    found = server.get_model_metadata("flights", VERSION)
    assert found["versions"] == [VERSION]
    assert {tensor["name"] for tensor in found["inputs"]} == set(ROWS[0])


def test_the_client_says_what_the_server_refuses(server: Any) -> None:
    tensor = client.InferInput("carrier", [1], "FP32")
    tensor.set_data_from_numpy(np.array([1], np.float32))
    with pytest.raises(client.InferenceServerException, match="'carrier' must be text"):
        server.infer("flights", [tensor])
    with pytest.raises(client.InferenceServerException, match="compressed|gzip"):
        server.infer("flights", inputs(True), request_compression_algorithm="gzip")


def test_the_page_shows_what_works(tmp_path: Path) -> None:
    """The block of docs/serving.md that sends tensors."""
    page = Path(__file__).parents[2] / "docs" / "serving.md"
    block = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)[1]
    contract = Path("contract.yaml").read_text(encoding="utf-8")
    folder = described.version(tmp_path, contract)
    names: dict[str, Any] = {}
    with tiny.server(folder) as (port, _):
        exec(block.replace("127.0.0.1:8080", f"127.0.0.1:{port}"), names)
    assert names["probabilities"].tolist() == [0.25, 0.25]
