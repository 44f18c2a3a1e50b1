"""Rows reach the child that scores them, whatever text a category holds."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlgitops.judge import columns

ODD = ["", "a", "a\0", "\0", "é", "e\u0301", "𝛼", "\ud800", "x" * 5000, "a"]


def texts(values: list[str]) -> "NDArray[np.object_]":
    """Return a column of text."""
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(-1, 1)


def returned(folder: Path, table: columns.Columns) -> columns.Columns:
    """Write and read a table."""
    columns.write(folder / "rows.npz", table)
    found, _ = columns.read(folder / "rows.npz")
    return found


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    """Each text to the last byte; numbers and the columns' names as they are."""
    numbers = np.arange(len(ODD), dtype=np.float32).reshape(-1, 1)
    numbers[3] = np.nan
    table = {"shop": texts(ODD), "price / é": numbers, "names": texts(ODD[::-1])}
    found = returned(tmp_path, table)
    assert list(found) == list(table)
    for name, column in table.items():
        assert found[name].dtype == column.dtype and found[name].shape == column.shape
    assert found["shop"].ravel().tolist() == ODD
    assert found["names"].ravel().tolist() == ODD[::-1]
    assert found["price / é"].tobytes() == numbers.tobytes()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(), max_size=5), min_size=1, max_size=9))
def test_any_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("text")
    assert returned(folder, {"a": texts(values)})["a"].ravel().tolist() == values


def test_a_batch_is_bounded_in_rows_and_in_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(columns, "ROWS", 4)
    monkeypatch.setattr(columns, "TEXT", 10)
    table = {"a": texts(["é"] * 6 + ["x" * 50, "", "ab"]), "b": texts(["y"] * 9)}
    columns.write(tmp_path / "rows.npz", table)
    _, size = columns.read(tmp_path / "rows.npz")
    assert size.tolist() == [3] * 6 + [51, 1, 3]
    parts = [(part.start, part.stop) for part in columns.batches(size)]
    assert parts == [(0, 3), (3, 6), (6, 7), (7, 9)]
    rows = columns.batches(np.zeros(9, np.int64))
    assert [(part.start, part.stop) for part in rows] == [(0, 4), (4, 8), (8, 9)]


PREDICT = """\
import sys
from pathlib import Path
import numpy as np
from onnx import TensorProto, helper
from machinery.judged import CONTRACT
from mlgitops.judge import sandbox
from mlgitops.judge.evaluation import Model, predict
from mlgitops.pipeline.contract import Contract

node = helper.make_node(
    "LabelEncoder", ["shop"], ["probability"], domain="ai.onnx.ml",
    keys_strings=["a", "b"], values_floats=[0.25, 0.75], default_float=0.5,
)
graph = helper.make_graph(
    [node], "g",
    [helper.make_tensor_value_info("shop", TensorProto.STRING, [None, 1])],
    [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])],
)
opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
folder = Path(sys.argv[1])
(folder / "model.onnx").write_bytes(model.SerializeToString())
manifest = {"columns": ["shop"], "model": {"file": "model.onnx"}}
rows = np.array(["a", "b"] * 20_000, object).reshape(-1, 1)
long = rows.copy()
long[7] = "x" * 50_000
every = np.full(rows.shape, "y" * 50_000, object)
sandbox.allow_growth(1_000_000_000)
for table in (rows, long, every):
    p = predict(Model(folder, manifest), [{"shop": table}], Contract.parse(CONTRACT))
    print(len(p), round(p.mean(), 4), p[7])
"""


def test_one_long_text_among_many_rows_takes_little_memory(tmp_path: Path) -> None:
    """Padded to the longest, 40,000 rows of up to 50 kB would take 8 GB."""
    command = (sys.executable, "-c", PREDICT, str(tmp_path))
    env = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [
        "40000 0.5 0.75",
        "40000 0.5 0.5",
        "40000 0.5 0.5",
    ]
    largest = max(file.stat().st_size for file in tmp_path.iterdir())
    assert largest < 1_000_000
