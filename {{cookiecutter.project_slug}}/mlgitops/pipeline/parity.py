"""Compares the exported model with the fitted one; makes golden rows; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import inputs
from mlgitops.pipeline.fitting import Inputs, score, table
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

JsonValue = str | float | None
UNKNOWN = "unknown"  # a category that no contract should hold


def awkward(arrays: Inputs) -> Inputs:
    """Return the rows, each with one column blank or of an unknown category."""
    rows = len(next(iter(arrays.values())))
    turn = np.arange(rows)
    changed = {}
    for index, (name, array) in enumerate(arrays.items()):
        changed[name] = array.copy()
        affected = turn % len(arrays) == index
        odd = turn[affected] // len(arrays) % 2
        is_text = array.dtype == object
        changed[name][affected, 0] = np.where(odd, UNKNOWN, "") if is_text else np.nan
    return changed


def parity(
    pipeline: Pipeline, model: bytes, arrays: Inputs, name: str
) -> dict[str, float]:
    """Compare the exported model with the fitted one, on plain and awkward rows.

    Differences of values are relative to the largest value.
    """
    difference, rows, task = 0.0, 0, TASKS[name]
    for rows_in in (arrays, awkward(arrays)):
        expected = task.fitted(pipeline, table(rows_in))
        exported = score(model, rows_in, task.output)
        gap = float(np.abs(expected - exported).max()) / task.scale(expected)
        difference = float(np.maximum(difference, gap))  # NaN stays NaN
        rows += len(exported)
    return {"rows": rows, "max_difference": difference}


def demand(proof: Mapping[str, float], limit: float) -> None:
    """Raise ContractError when the exported model differs by more than `limit`."""
    if not proof["max_difference"] <= limit:
        raise ContractError(
            "The predictions of the ONNX file differ from the fitted model's by up to "
            f"{proof['max_difference']:g}, limit {limit:g} (train.parity); "
            "choose an estimator or columns that convert exactly."
        )


def golden(
    model: bytes,
    frame: pd.DataFrame,
    contract: Contract,
    columns: Sequence[str],
    rows: int = 18,
) -> list[dict[str, object]]:
    """Return rows with the model's predictions: `rows` spread over its range.

    Two more rows have every optional column blank, and an unknown category.
    """
    import pandas as pd

    task = TASKS[contract.task]
    predictions = score(model, inputs(frame, contract, columns), task.output)
    order = np.argsort(task.order(predictions), kind="stable")
    spread = np.linspace(0, len(order) - 1, rows).round().astype(int)
    chosen = frame.iloc[order[spread]][list(contract.columns)].astype(object)
    blank = chosen.iloc[[rows // 3]].copy()
    blank[[name for name, c in contract.columns.items() if c.missing]] = None
    strange = chosen.iloc[[2 * rows // 3]].copy()
    strange[contract.kind("category", list(contract.columns))[:1]] = UNKNOWN
    records = [
        {name: _plain(value) for name, value in row.items()}
        for row in pd.concat([chosen, blank, strange]).to_dict("records")
    ]
    written = inputs(pd.DataFrame(records, dtype=object), contract, columns)
    predictions = score(model, written, task.output)
    return [
        {"row": row, task.output: prediction}
        for row, prediction in zip(
            records, task.plain(predictions, contract.classes), strict=True
        )
    ]


def _plain(value: JsonValue) -> JsonValue:
    """Return a JSON value: the shortest number that is the same float32, or None."""
    if value is None or value != value:
        return None
    return value if isinstance(value, str) else float(str(np.float32(value)))
