"""Proof that the exported model answers as the fitted one, and golden rows; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import inputs
from mlgitops.pipeline.fitting import Inputs, score, table
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

UNKNOWN = "unknown"  # a category that no contract should hold


def awkward(arrays: Inputs, unknown: str = UNKNOWN) -> Inputs:
    """Return the rows again, each with one column blank or of an unknown category."""
    rows = len(next(iter(arrays.values())))
    turn = np.arange(rows)
    changed = {}
    for place, (name, array) in enumerate(arrays.items()):
        changed[name] = array.copy()
        here = turn % len(arrays) == place
        if array.dtype == object:
            changed[name][here, 0] = np.where(
                turn[here] // len(arrays) % 2, unknown, ""
            )
        else:
            changed[name][here, 0] = np.nan
    return changed


def parity(
    pipeline: Pipeline, model: bytes, arrays: Inputs, name: str
) -> dict[str, Any]:
    """Compare the exported model with the fitted one, on plain and awkward rows.

    Probabilities differ as they are, values in parts of the largest one.
    """
    difference, rows, task = 0.0, 0, TASKS[name]
    for rows_in in (arrays, awkward(arrays)):
        expected = task.fitted(pipeline, table(rows_in))
        answered = score(model, rows_in, task.output)
        gap = float(np.abs(expected - answered).max()) / task.scale(expected)
        difference = float(np.maximum(difference, gap))  # NaN stays NaN
        rows += len(answered)
    return {"rows": rows, "max_difference": difference}


def demand(proof: Mapping[str, Any], limit: float) -> None:
    """Raise ContractError when the exported model differs by more than `limit`."""
    if not proof["max_difference"] <= limit:
        raise ContractError(
            f"The ONNX file differs from the fitted model by "
            f"{proof['max_difference']:g} (at most {limit:g} is train.parity); "
            "choose an estimator or columns that convert exactly."
        )


def golden(
    model: bytes,
    frame: pd.DataFrame,
    contract: Contract,
    columns: Sequence[str],
    rows: int = 18,
) -> list[dict[str, Any]]:
    """Return rows with the model's answers: `rows` spread over those.

    Two more: one with every column blank that may be, one with an unknown category.
    """
    task = TASKS[contract.task]
    answers = score(model, inputs(frame, contract, columns), task.output)
    order = np.argsort(task.order(answers), kind="stable")
    spread = np.linspace(0, len(order) - 1, rows).round().astype(int)
    chosen = frame.iloc[order[spread]][list(contract.columns)].astype(object)
    blank = chosen.iloc[[rows // 3]].copy()
    blank[[name for name, c in contract.columns.items() if c.missing]] = None
    strange = chosen.iloc[[2 * rows // 3]].copy()
    strange[contract.kind("category", list(contract.columns))[:1]] = UNKNOWN
    records = [
        {name: _plain(value) for name, value in row.items()}
        for part in (chosen, blank, strange)
        for row in part.to_dict("records")
    ]
    answers = score(model, _fed(records, contract, columns), task.output)
    told = task.plain(answers, contract.classes)
    return [
        {"row": row, task.output: answer}
        for row, answer in zip(records, told, strict=True)
    ]


def _fed(
    rows: Sequence[dict[str, Any]], contract: Contract, columns: Sequence[str]
) -> Inputs:
    """Return the arrays for rows as JSON holds them, so that golden rows are that."""
    import pandas as pd

    return inputs(pd.DataFrame(rows, dtype=object), contract, columns)


def _plain(value: Any) -> Any:
    """Return a JSON value: the shortest number that is the same float32, or None."""
    if value is None or value != value:
        return None
    return value if isinstance(value, str) else float(str(np.float32(value)))
