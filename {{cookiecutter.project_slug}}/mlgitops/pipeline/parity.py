"""Compares the exported model with the fitted one; predicts golden rows; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import inputs
from mlgitops.pipeline.fitting import Inputs, score, table
from mlgitops.pipeline.golden import UNKNOWN, rows
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

EARLY = -58_060_800.5  # half a second before the leap day of 1968


def awkward(arrays: Inputs) -> Inputs:
    """Return the rows, each with one column blank or of a value that is seldom.

    That is an unknown category, or a time before 1970.
    """
    turn = np.arange(len(next(iter(arrays.values()))))
    changed = {}
    for index, (name, array) in enumerate(arrays.items()):
        changed[name] = array.copy()
        affected = turn % len(arrays) == index
        odd = turn[affected] // len(arrays) % 2
        if array.dtype == object:
            changed[name][affected, 0] = np.where(odd, UNKNOWN, "")
        elif array.dtype == np.float64:  # a time
            changed[name][affected, 0] = np.where(odd, EARLY, np.nan)
        else:
            changed[name][affected, 0] = np.nan
    return changed


def parity(
    pipeline: Pipeline, model: bytes, arrays: Inputs, name: str
) -> dict[str, float]:
    """Compare the exported model with the fitted one, on plain and awkward rows.

    Differences of values are relative to the largest value.
    """
    difference, count, task = 0.0, 0, TASKS[name]
    for rows_in in (arrays, awkward(arrays)):
        expected = task.fitted(pipeline, table(rows_in))
        exported = score(model, rows_in, task.output)
        gap = float(np.abs(expected - exported).max()) / task.scale(expected)
        difference = float(np.maximum(difference, gap))  # NaN stays NaN
        count += len(exported)
    return {"rows": count, "max_difference": difference}


def demand(proof: Mapping[str, float], limit: float) -> None:
    """Raise ContractError when the exported model differs by more than `limit`."""
    if not proof["max_difference"] <= limit:
        raise ContractError(
            "The predictions of the ONNX file differ from the fitted model's by up to "
            f"{proof['max_difference']:g}, limit {limit:g} (train.parity); "
            "choose an estimator or columns that convert exactly."
        )


def golden(
    model: bytes, frame: pd.DataFrame, contract: Contract, columns: Sequence[str]
) -> list[dict[str, object]]:
    """Return the golden rows with the model's predictions."""
    import pandas as pd

    task, records = TASKS[contract.task], rows(frame, contract)
    written = inputs(pd.DataFrame(records, dtype=object), contract, columns)
    predictions = score(model, written, task.output)
    return [
        {"row": row, task.output: prediction}
        for row, prediction in zip(
            records, task.plain(predictions, contract.classes), strict=True
        )
    ]
