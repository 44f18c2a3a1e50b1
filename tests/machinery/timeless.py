"""Made-up production without a time of events, with a column of every type.

A contract, the version that was trained on it, rows as they arrive, the log's lines.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pandas as pd
import yaml
from onnx import TensorProto, helper

from machinery import tiny, traffic
from mlgitops import prediction_log
from mlgitops.monitor import reference
from mlgitops.monitor.reference import Reference
from mlgitops.pipeline.contract import Contract

TEXT = """\
name: renewals
task: binary
id: key
target: renewed
columns:
  plan: {type: category, categories: [basic, plus], missing: false}
  age: {type: integer, min: 0, max: 120, missing: false}
  paid: {type: boolean, missing: true}
  spend: {type: number, min: 0, max: 10000, missing: false}
  joined: {type: datetime, min: 2010-01-01, max: 2030-12-31, missing: false}
  seen: {type: datetime, missing: true}
"""
CONTRACT = Contract.read(TEXT)
COLUMNS = list(CONTRACT.columns)
START = pd.Timestamp("2024-01-01", tz="UTC")  # of production
PARAMS: dict[str, Any] = {
    **traffic.PARAMS,
    "prepare": {"split": "random", "holdout_share": 0.3, "seed": 1},
    "train": {
        "seed": 1,
        "estimator": "logistic_regression",
        "columns": ["plan", "age", "paid", "spend"],
        "threshold": 0.5,
        "parity": 1e-5,
        "logistic_regression": {"max_iter": 500},
    },
    "monitor": {**traffic.SECTION, "block_days": 7},
}


def rows(
    count: int, day: float = 0, days: float = 28, seed: int = 0, **change: float
) -> pd.DataFrame:
    """Return checked rows that arrive in these days of production, with a true label.

    `older` moves ages, `unpaid` turns paid, `later` moves the hour of joining,
    `inverted` turns what the columns mean.
    """
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.uniform(day, day + days, count)) * 86_400
    arrival = START + pd.to_timedelta(seconds.round(), unit="s")
    joined = (arrival - pd.to_timedelta(rng.exponential(200, count), unit="D")).floor(
        "D"
    )
    hour = np.clip(rng.normal(12 + change.get("later", 0), 2.5, count), 0, 23.9)
    joined += pd.to_timedelta((hour * 3600).round(), unit="s")
    seen = arrival - pd.to_timedelta((rng.exponential(3, count) * 86_400).round(), "s")
    age = np.clip(rng.normal(45, 12, count).round() + change.get("older", 0), 0, 120)
    paid = (rng.random(count) < 0.8).astype(float)
    paid = 1 - paid if change.get("unpaid") else paid
    plan = rng.integers(0, 2, count)
    spend = rng.gamma(2, 100, count)
    table = {
        "key": [f"{seed}-{day}-{number}" for number in range(count)],
        "plan": np.array(["basic", "plus"], dtype=object)[plan],
        "age": age.astype("float32"),
        "paid": np.where(rng.random(count) < 0.05, np.nan, paid).astype("float32"),
        "spend": spend.astype("float32"),
        "joined": pd.Series(joined).astype("datetime64[us, UTC]"),
        "seen": pd.Series(seen)
        .where(rng.random(count) > 0.1)
        .astype("datetime64[us, UTC]"),
    }
    z = logit(table)
    sign = -1 if change.get("inverted") else 1
    table["renewed"] = (rng.random(count) < 1 / (1 + np.exp(-sign * z))).astype("int8")
    table["arrival"] = pd.Series(arrival)
    table["probability"] = 1 / (1 + np.exp(-z))
    return pd.DataFrame(table)


def logit(table: dict[str, Any]) -> Any:
    """Return what the model puts out before its sigmoid."""
    paid = np.nan_to_num(table["paid"])
    plus = (np.asarray(table["plan"]) == "plus").astype(float)
    return 0.06 * (table["age"] - 45) + 1.5 * paid + plus - 1.5


def model() -> bytes:
    """Return the same as ONNX; `joined` is an input that moves nothing much."""
    node, floats = helper.make_node, {"slope": 0.06, "base": -4.2, "due": 1.5}
    floats |= {"little": 1e-12, "none": 0.0}
    nodes = [
        node(
            "LabelEncoder",
            ["plan"],
            ["plus"],
            domain="ai.onnx.ml",
            keys_strings=["basic", "plus"],
            values_floats=[0.0, 1.0],
            default_float=0.0,
        ),
        node("IsNaN", ["paid"], ["unknown"]),
        node("Where", ["unknown", "none", "paid"], ["known"]),
        node("Mul", ["known", "due"], ["pays"]),
        node("Mul", ["age", "slope"], ["years"]),
        node("Cast", ["joined"], ["when"], to=TensorProto.FLOAT),
        node("Mul", ["when", "little"], ["date"]),
        node("Sum", ["plus", "pays", "years", "date", "base"], ["z"]),
        node("Sigmoid", ["z"], ["probability"]),
    ]
    kinds = {"plan": TensorProto.STRING, "joined": TensorProto.DOUBLE}
    inputs = [
        helper.make_tensor_value_info(
            name, kinds.get(name, TensorProto.FLOAT), [None, 1]
        )
        for name in ("plan", "age", "paid", "joined")
    ]
    output = helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, [1], [value])
        for name, value in floats.items()
    ]
    graph = helper.make_graph(nodes, "renewals", inputs, [output], constants)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def build(folder: Path) -> None:
    """Write a version with its training data into `build/`, and the settings beside."""
    build = folder / "build"
    build.mkdir(parents=True)
    past = rows(9000, -120, 120, seed=100).drop(columns=["arrival", "probability"])
    past = past.sort_values("key", ignore_index=True)  # no order tells a time
    train, holdout = past.iloc[:6000], past.iloc[6000:]
    for name, table in (("train", train), ("holdout", holdout)):
        table.reset_index(drop=True).to_parquet(build / f"{name}.parquet")
    data = tiny.sha256((build / "train.parquet").read_bytes())
    (build / "model.onnx").write_bytes(model())
    manifest = {
        "schema": 1,
        "name": "renewals",
        "task": "binary",
        "model": {
            "file": "model.onnx",
            "sha256": tiny.sha256(model()),
            "bytes": len(model()),
        },
        "contract": tiny.contract_hashes(TEXT),
        "data": {"train_sha256": data},
        "threshold": 0.5,
        "columns": ["plan", "age", "paid", "joined"],
        "code": {"sha256": "0" * 64},
        "requirements": {"sha256": "1" * 64},
        "golden": [{"row": {"plan": "plus", "age": 40}, "probability": 0.5}],
    }
    (build / "manifest.json").write_text(json.dumps(manifest))
    (folder / "contract.yaml").write_text(TEXT)
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS))


@functools.cache
def version() -> Reference:
    """Return the version as the monitor loads it; it is made once."""
    with TemporaryDirectory() as folder:
        build(Path(folder))
        return reference.load(Path(folder, "build"), "v1.0.0")


def lines(table: pd.DataFrame, sha256: str, **logged: Any) -> list[str]:
    """Return the log's lines of rows, as the server writes them; `logged` replaces."""
    made = []
    for index, row in enumerate(table.to_dict("records")):
        sent = {name: _sent(row[name], CONTRACT.columns[name].type) for name in COLUMNS}
        sent |= {n: v(index, sent[n]) if callable(v) else v for n, v in logged.items()}
        fields = prediction_log.line(
            {"id": row["key"], "probability": row["probability"], "decision": True},
            None,
            sha256,
            "v1.0.0",
            row["arrival"].isoformat(),
            sent,
        )
        made.append(json.dumps(fields))
    return made


def write(folder: Path, table: pd.DataFrame, **logged: Any) -> str:
    """Append rows to a log's folder and return it as a source."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / prediction_log.file_name("2024-01-01")).open("a") as file:
        sha256 = version().manifest_sha256
        file.writelines(line + "\n" for line in lines(table, sha256, **logged))
    return str(folder)


def label(path: Path, table: pd.DataFrame) -> str:
    """Write the labels of rows and return the file as a source."""
    table.rename(columns={"key": "id"})[["id", "renewed"]].to_csv(path, index=False)
    return str(path)


def _sent(value: Any, kind: str) -> Any:
    """Return a value as a request has it in JSON."""
    if value is None or value != value:
        return None
    kinds = {"boolean": bool, "integer": int, "number": float}
    return value.isoformat() if kind == "datetime" else kinds.get(kind, str)(value)
