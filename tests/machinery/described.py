"""Versions of any contract, with a model that says the same of each row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import yaml
from onnx import TensorProto, helper

from machinery import tiny

AWKWARD = """\
name: awkward
task: binary
id: key
time: moment
target: y
sensitive: [born]
columns:
  id: {type: integer, min: 0, max: 9, missing: false}
  time: {type: category, categories: [now, "<b>later</b>"], missing: true}
  "a b'\\"\\\\/<script>&amp;{x}": {type: number, min: -1, max: 1, missing: false}
  "":  {type: number, min: 0, max: 1.5, missing: true}
  __proto__: {type: boolean, missing: false}
  "größe\\n`漢字`": {type: boolean, missing: true}
  kind: {type: category, categories: ["$(id)", "'", "é"], missing: false}
  whole: {type: integer, min: -5, max: 5, missing: true}
  seen: {type: datetime, missing: false}
  born: {type: datetime, missing: true}
  note: {type: text, max_length: 40, missing: false}
  more: {type: text, max_length: 5, missing: true}
"""
VALUES = {  # of a golden row
    "number": 0.5,
    "integer": 3,
    "boolean": True,
    "datetime": "2020-02-29T12:00:00Z",
    "text": 'it\'s "quoted" \\ $(id) `id` </script> é',
}
TYPES = {"category": TensorProto.STRING, "text": TensorProto.STRING}
TYPES["datetime"] = TensorProto.DOUBLE
OUTPUTS: dict[str, dict[str, Any]] = {  # by task: what a manifest has of its own
    "binary": {"threshold": 0.3},
    "multiclass": {"classes": ["none", "some 'x'", "<b>"]},
    "regression": {},
}
PREDICTED: dict[str, Any] = {"binary": 0.25, "regression": -2.5}
PREDICTED["multiclass"] = {"none": 0.25, "some 'x'": 0.5, "<b>": 0.25}
BESIDE = {"method": "least ambiguous sets", "coverage": 0.9, "rows": 100}
ABSTAINS = {**BESIDE, "by_class": False, "abstain": True}
INTERVALS: dict[str, dict[str, Any]] = {
    "binary": {**ABSTAINS, "quantile": [0.2, 0.2]},
    "multiclass": {**ABSTAINS, "quantile": [0.2, 0.2, 0.2]},
    "regression": {
        **BESIDE,
        "method": "absolute residual",
        "quantile": 1.5,
        "by_class": False,
        "abstain": False,
    },
}
SAID: dict[str, dict[str, Any]] = {  # beside the prediction of a golden row
    "binary": {"set": [0, 1]},
    "multiclass": {"set": OUTPUTS["multiclass"]["classes"]},
    "regression": {"interval": [-4.0, -1.0]},
}


def model(columns: dict[str, Any], output: str, values: list[float]) -> bytes:
    """Return a model of these columns that predicts `values` for each row."""
    node = helper.make_node
    shape = [None, 1]
    inputs = [
        helper.make_tensor_value_info(
            f"c{number}", TYPES.get(column["type"], TensorProto.FLOAT), shape
        )
        for number, column in enumerate(columns.values())
    ]
    width = len(values)
    nodes = [
        node("Shape", ["c0"], ["shape"], start=0, end=1),
        node("Concat", ["shape", "one"], ["size"], axis=0),
        node("Expand", ["values", "size"], [output]),
    ]
    constants = [
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("values", TensorProto.FLOAT, [1, width], values),
    ]
    out = helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, width])
    graph = helper.make_graph(nodes, "constant", inputs, [out], constants)
    imports = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def version(
    folder: Path, text: str = AWKWARD, task: str = "binary", intervals: bool = False
) -> Path:
    """Write a version of a contract into a folder; return the folder."""
    contract = yaml.safe_load(text)
    columns = contract["columns"]
    predicted = PREDICTED[task]
    name = {"binary": "probability", "multiclass": "probabilities"}.get(task, "value")
    values = [*predicted.values()] if isinstance(predicted, dict) else [predicted]
    data = model(columns, name, values)
    row = {
        name: (entry.get("categories") or [None])[0] or VALUES[entry["type"]]
        if entry["type"] != "text"
        else VALUES["text"][: entry["max_length"]]
        for name, entry in columns.items()
    }
    golden = {"row": row, name: predicted} | (SAID[task] if intervals else {})
    manifest = {
        "schema": 1,
        "name": contract["name"],
        "task": task,
        "model": {"file": "model.onnx", "sha256": tiny.sha256(data)},
        "contract": tiny.contract_hashes(text),
        "columns": list(columns),
        "code": {"sha256": "0" * 64},
        "requirements": {"sha256": "1" * 64},
        "golden": [golden],
        **OUTPUTS[task],
        **({"intervals": INTERVALS[task]} if intervals else {}),
    }
    manifest["model"]["bytes"] = len(data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(data)
    (folder / "contract.yaml").write_text(text, encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(manifest, sort_keys=True))
    return folder


def flat(prediction: dict[str, Any]) -> dict[str, Any]:
    """Return a prediction of the server with one entry for each column."""
    columns: dict[str, Any] = {}
    for name, value in prediction.items():
        if name == "interval":
            columns |= {"interval.low": value[0], "interval.high": value[1]}
        elif name == "set":
            columns[name] = json.dumps(value, ensure_ascii=False)
        elif isinstance(value, dict):
            columns |= {f"{name}.{key}": number for key, number in value.items()}
        else:
            columns[name] = value
    return columns
