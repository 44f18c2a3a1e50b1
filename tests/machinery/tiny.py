"""A tiny real version for the tests of the server and of what deploys it."""

import hashlib
import http.client
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import yaml
from onnx import TensorProto, helper

ROOT = Path.cwd()
CARRIERS = {"AA": -0.5, "B6": 0.25, "UA": 0.75}
CONTRACT = """\
name: flights
task: binary
id: flight_id
time: scheduled_departure
target: late
sensitive: [seat]
columns:
  carrier: {type: category, categories: [AA, B6, UA], missing: false}
  distance: {type: number, min: 0, max: 6000, missing: false}
  temp: {type: number, min: -60, max: 130, missing: true}
  seat: {type: category, categories: [a, b], missing: true}
"""
ROW = {"carrier": "UA", "distance": 1400, "temp": 40.5}


def expected(row: dict[str, Any], slope: float = 0.001) -> float:
    """Return what the tiny model should answer, in float64."""
    temp = 0.0 if row.get("temp") is None else row["temp"]
    z = slope * row["distance"] + 0.01 * temp + CARRIERS.get(row["carrier"], 0.0)
    return 1 / (1 + math.exp(-(z - 2)))


def onnx_bytes(slope: float = 0.001) -> bytes:
    """Return a logistic regression over one category and two numbers."""
    node = helper.make_node
    constants = {"slope": slope, "warm": 0.01, "base": -2.0, "zero": 0.0}
    graph = helper.make_graph(
        [
            node(
                "LabelEncoder",
                ["carrier"],
                ["effect"],
                domain="ai.onnx.ml",
                keys_strings=list(CARRIERS),
                values_floats=list(CARRIERS.values()),
                default_float=0.0,
            ),
            node("IsNaN", ["temp"], ["absent"]),
            node("Where", ["absent", "zero", "temp"], ["known"]),
            node("Mul", ["distance", "slope"], ["far"]),
            node("Mul", ["known", "warm"], ["heat"]),
            node("Sum", ["effect", "far", "heat", "base"], ["z"]),
            node("Sigmoid", ["z"], ["probability"]),
        ],
        "tiny",
        [
            helper.make_tensor_value_info("carrier", TensorProto.STRING, [None, 1]),
            helper.make_tensor_value_info("distance", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("temp", TensorProto.FLOAT, [None, 1]),
        ],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor(name, TensorProto.FLOAT, [1], [value])
            for name, value in constants.items()
        ],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def sha256(data: bytes) -> str:
    """Return the sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def contract_hashes(text: str) -> dict[str, str]:
    """Return what a manifest says of its contract."""
    plain = json.dumps(yaml.safe_load(text), indent=1, default=str)
    return {"sha256": sha256(text.encode()), "json_sha256": sha256(plain.encode())}


def version(folder: Path, slope: float = 0.001, **changes: Any) -> str:
    """Write a whole version into a folder and return its manifest's sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx_bytes(slope)
    rows: list[dict[str, Any]] = [
        {"carrier": carrier, "distance": distance, "temp": temp, "seat": None}
        for carrier in ("AA", "UA", "??")
        for distance, temp in ((200, 30.0), (2500.0, None))
    ]
    manifest = {
        "schema": 1,
        "name": "flights",
        "task": "binary",
        "model": {
            "file": "model.onnx",
            "sha256": sha256(model),
            "bytes": len(model),
        },
        "contract": contract_hashes(CONTRACT),
        "threshold": 0.3,
        "columns": ["carrier", "distance", "temp"],
        "code": {"sha256": "0" * 64},
        "requirements": {"sha256": "1" * 64},
        "golden": [{"row": row, "probability": expected(row, slope)} for row in rows],
    } | changes
    (folder / "model.onnx").write_bytes(model)
    (folder / "contract.yaml").write_text(CONTRACT)
    text = json.dumps(manifest, sort_keys=True, indent=2) + "\n"
    (folder / "manifest.json").write_text(text)
    return sha256(text.encode())


def call(
    port: int, path: str, body: Any = None, method: str | None = None
) -> tuple[int, dict[str, Any]]:
    """Send one request on its own connection; bytes are sent as they are."""
    data = body
    if body is not None and not isinstance(body, bytes):
        data = json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(
            method or ("GET" if body is None else "POST"),
            path,
            data,
            {"Connection": "close"},
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@contextmanager
def server(
    folder: Path,
    *options: str,
    errors: Path | None = None,
    shared: int | None = None,
    code: Path = ROOT,
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run a real server process on a free port; ends it whatever happens."""
    stream = errors.open("w") if errors else subprocess.DEVNULL
    command = [sys.executable, "-m", "mlgitops.serving"]
    command += ["--port", "0", "--drain", "0.3"]
    process = subprocess.Popen(
        [*command, "--model", str(folder), *options],
        cwd=code,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stream,
        pass_fds=() if shared is None else (shared,),
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+)$", process.stdout.readline().strip())
        assert found, "the server did not say where it listens"
        yield int(found[1]), process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        if errors:
            stream.close()  # type: ignore[union-attr]


def logged(folder: Path) -> list[dict[str, Any]]:
    """Return every record of a prediction log; fails on a torn line."""
    return [
        json.loads(line)
        for path in sorted(folder.glob("predictions-*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
