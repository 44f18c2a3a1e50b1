"""Rows a second of JSON, Arrow and Parquet bodies, and single rows beside a bulk body.

    python -m benchmarks.serving.bulk

One server with checks and log on, one client on one connection, both on this machine;
a linear model of 15 numbers and 5 categories, so that the figure is that of the server.
Each round measures every kind of body once; the median of the rounds is printed.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from onnx import TensorProto, helper

TEMPLATE = Path(__file__).parents[2] / "{{cookiecutter.project_slug}}"
SECONDS = float(os.environ.get("SECONDS", "2"))  # of each measurement
ROUNDS = 3
SMALL, LARGE = 1_000, 100_000  # rows of a body
AREAS = ["north", "south", "east", "west"]
JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"


def named(numbers: int, texts: int) -> tuple[list[str], list[str]]:
    """Return names of columns of numbers, and of categories."""
    return [f"number_{n}" for n in range(numbers)], [f"text_{n}" for n in range(texts)]


NUMBERS, TEXTS = named(15, 5)


def graph(numbers: list[str], texts: list[str]) -> bytes:
    """Return a logistic regression over the columns."""
    nodes = [
        helper.make_node(
            "LabelEncoder",
            [name],
            [f"{name}_effect"],
            domain="ai.onnx.ml",
            keys_strings=AREAS,
            values_floats=[-0.5, -0.1, 0.2, 0.4],
        )
        for name in texts
    ]
    terms = [*numbers, *(f"{name}_effect" for name in texts)]
    nodes.append(helper.make_node("Sum", terms, ["z"]))
    nodes.append(helper.make_node("Sigmoid", ["z"], ["probability"]))
    kinds = dict.fromkeys(numbers, TensorProto.FLOAT)
    kinds |= dict.fromkeys(texts, TensorProto.STRING)
    info = helper.make_tensor_value_info
    inputs = [info(name, kind, [None, 1]) for name, kind in kinds.items()]
    output = info("probability", TensorProto.FLOAT, [None, 1])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_graph(nodes, "linear", inputs, [output])
    model = helper.make_model(made, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def sha256(data: bytes) -> str:
    """Return the sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def version(
    folder: Path, numbers: list[str] = NUMBERS, texts: list[str] = TEXTS
) -> None:
    """Write the files of a version."""
    columns: dict[str, Any] = {n: {"type": "number", "missing": False} for n in numbers}
    columns |= {
        n: {"type": "category", "missing": False, "categories": AREAS} for n in texts
    }
    contract = {"name": "linear", "task": "binary", "target": "y", "id": "key"}
    text = yaml.safe_dump(contract | {"columns": columns}, sort_keys=False)
    plain = json.dumps(yaml.safe_load(text), indent=1, default=str)
    row = dict.fromkeys(numbers, 0.0) | dict.fromkeys(texts, "??")
    model = graph(numbers, texts)
    manifest = {
        "schema": 1,
        "name": "linear",
        "task": "binary",
        "model": {"file": "model.onnx", "sha256": sha256(model), "bytes": len(model)},
        "contract": {
            "sha256": sha256(text.encode()),
            "json_sha256": sha256(plain.encode()),
        },
        "threshold": 0.5,
        "columns": [*numbers, *texts],
        "code": {"sha256": "0" * 64},
        "requirements": {"sha256": "1" * 64},
        "golden": [{"row": row, "probability": 0.5}],
    }
    (folder / "model.onnx").write_bytes(model)
    (folder / "contract.yaml").write_text(text)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def table(rows: int) -> pa.Table:
    """Return rows with ids."""
    chance = random.Random(1)  # noqa: S311
    columns: dict[str, Any] = {"id": [f"row-{n}" for n in range(rows)]}
    columns |= {n: [chance.gauss(0, 0.3) for _ in range(rows)] for n in NUMBERS}
    areas = {n: pa.array(chance.choices(AREAS, k=rows)) for n in TEXTS}
    return pa.table(
        columns | {n: area.dictionary_encode() for n, area in areas.items()}
    )


def body(kind: str, rows: pa.Table) -> bytes:
    """Return rows as a body."""
    if kind == JSON:
        return json.dumps({"rows": rows.to_pylist()}).encode()
    out = io.BytesIO()
    if kind == PARQUET:
        pq.write_table(rows, out)
        return out.getvalue()
    with pa.ipc.new_stream(out, rows.schema) as writer:
        writer.write_table(rows)
    return out.getvalue()


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """Run a server with a log; yield its port."""
    command = [sys.executable, "-m", "mlgitops.serving", "--port", "0", "--drain", "0"]
    command += ["--model", str(folder), "--log", str(folder / "log")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command, cwd=TEMPLATE, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+)$", process.stdout.readline().strip())
        assert found is not None
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, data: bytes, kind: str, accept: str = JSON) -> float:
        """Send a body; return the seconds to the whole answer."""
        start = time.perf_counter()
        headers = {"content-type": kind, "accept": accept}
        self.connection.request("POST", "/predict", data, headers)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"the server said {answer.status}: {content[:300]!r}")
        return time.perf_counter() - start

    def rate(self, rows: int, *request: Any) -> float:
        """Send a body again and again; return rows a second."""
        times = [self.ask(*request)]
        while sum(times) < SECONDS:
            times.append(self.ask(*request))
        return rows / statistics.median(times)


def singles(port: int, single: bytes, until: threading.Event | None) -> list[float]:
    """Return the seconds that single rows take, until an event or for `SECONDS`."""
    client, times = Client(port), list[float]()
    end = time.perf_counter() + SECONDS
    while not until.is_set() if until else time.perf_counter() < end:
        times.append(client.ask(single, JSON))
    return times


def beside_bulk(port: int, single: bytes, data: bytes) -> list[float]:
    """Return the seconds that single rows take beside one large body after another."""
    done = threading.Event()

    def send() -> None:
        client, end = Client(port), time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            client.ask(data, ARROW, ARROW)
        done.set()

    thread = threading.Thread(target=send)
    thread.start()
    times = singles(port, single, done)
    thread.join()
    return times


def milliseconds(times: list[float]) -> str:
    """Return p50 and p99 of times in seconds."""
    cut = statistics.quantiles(times, n=100)
    return f"p50 {1_000 * cut[49]:.1f} ms, p99 {1_000 * cut[98]:.1f} ms"


def main() -> None:
    """Measure, and print rows a second and ratios."""
    small, large = table(SMALL), table(LARGE)
    kinds: dict[str, tuple[Any, ...]] = {
        "JSON, 1,000 rows": (SMALL, body(JSON, small), JSON),
        "Arrow, 1,000 rows": (SMALL, body(ARROW, small), ARROW),
        "Arrow both ways, 1,000 rows": (SMALL, body(ARROW, small), ARROW, ARROW),
        "Arrow both ways, 100,000 rows": (LARGE, body(ARROW, large), ARROW, ARROW),
        "Parquet to Arrow, 100,000 rows": (LARGE, body(PARQUET, large), PARQUET, ARROW),
    }
    single = body(JSON, small.slice(0, 1))
    with TemporaryDirectory() as folder:
        version(Path(folder))
        with server(Path(folder)) as port:
            client = Client(port)
            rounds = [
                {name: client.rate(*given) for name, given in kinds.items()}
                for _ in range(ROUNDS)
            ]
            alone = singles(port, single, None)
            beside = beside_bulk(
                port, single, kinds["Arrow both ways, 100,000 rows"][1]
            )
    first = next(iter(kinds))
    for name in kinds:
        rate = statistics.median(found[name] for found in rounds)
        ratio = statistics.median(found[name] / found[first] for found in rounds)
        print(f"{name:32} {rate:10,.0f} rows/s  {ratio:5.1f} times JSON")
    print(f"one row alone: {milliseconds(alone)}")
    print(f"one row beside bodies of 100,000 rows: {milliseconds(beside)}")


if __name__ == "__main__":
    main()
