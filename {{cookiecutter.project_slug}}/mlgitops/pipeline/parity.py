"""Compares the exported model with the fitted one; predicts golden rows; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import inputs
from mlgitops.pipeline.fitting import Inputs, score, table
from mlgitops.pipeline.golden import UNKNOWN, rows
from mlgitops.pipeline.intervals import golden as of_golden
from mlgitops.pipeline.schema import one_line
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

EARLY = -58_060_800.5  # half a second before the leap day of 1968


def awkward(arrays: Inputs, contract: Contract) -> Inputs:
    """Return the rows, each with one column blank or of a value that is seldom.

    Blank is what the contract lets be missing; seldom are an unknown category and a
    time before 1970, which any request may have.
    """
    turn = np.arange(len(next(iter(arrays.values()))))
    changed = {}
    for index, (name, array) in enumerate(arrays.items()):
        changed[name] = array.copy()
        affected = turn % len(arrays) == index
        odd = turn[affected] // len(arrays) % 2 == 1
        optional, kept = contract.columns[name].missing, array[affected, 0]
        if array.dtype == object:
            blank = np.where(optional, "", kept)
            changed[name][affected, 0] = np.where(odd, UNKNOWN, blank)
        else:
            blank = np.where(optional, np.nan, kept)
            early = array.dtype == np.float64  # a time
            changed[name][affected, 0] = np.where(odd & early, EARLY, blank)
    return changed


def parity(
    pipeline: Pipeline, model: bytes, arrays: Inputs, contract: Contract
) -> dict[str, float]:
    """Compare the exported model with the fitted one, on plain and awkward rows.

    Differences of values are relative to the largest value.
    """
    difference, count = 0.0, 0
    for rows_in in (arrays, awkward(arrays, contract)):
        gaps = _gaps(pipeline, model, rows_in, contract)
        difference = float(np.maximum(difference, gaps.max()))  # NaN stays NaN
        count += len(gaps)
    return {"rows": count, "max_difference": difference}


def demand(proof: Mapping[str, float], limit: float, where: str = "") -> None:
    """Raise ContractError when the exported model differs by more than `limit`.

    `where` says at which row and column.
    """
    if not proof["max_difference"] <= limit:
        raise ContractError(
            "The predictions of the ONNX file differ from the fitted model's by up to "
            f"{proof['max_difference']:g}, limit {limit:g} (train.parity)"
            f"{where and f': {where}'}; "
            "choose an estimator or features that convert exactly, or remove the column"
        )


def where(
    pipeline: Pipeline,
    model: bytes,
    arrays: Inputs,
    contract: Contract,
    limit: float,
    ids: Sequence[object],
) -> str:
    """Say at which row the exported model differs most, and at which column.

    That is the column with which the difference goes: with the value that it has in
    the row that differs least. "" where no row differs by more than the limit.
    """
    task = TASKS[contract.task]
    for rows_in in (arrays, awkward(arrays, contract)):
        gaps = _gaps(pipeline, model, rows_in, contract)
        if bool(np.all(gaps <= limit)):
            continue
        row = int(np.where(np.isnan(gaps), np.inf, gaps).argmax())
        good = int(np.where(np.isnan(gaps), np.inf, gaps).argmin())
        one = {name: array[[row]] for name, array in rows_in.items()}
        fitted = task.fitted(pipeline, table(one))[0]
        exported = score(model, one, task.output)[0]
        guilty = [
            f'"{name}", here {_value(array[row, 0])}'
            for name, array in rows_in.items()
            if bool(
                np.all(
                    _gaps(pipeline, model, {**one, name: array[[good]]}, contract)
                    <= limit
                )
            )
        ]
        column = f"column {guilty[0]}" if guilty else "not because of one column alone"
        numbers = f"{_prediction(exported)}, the fitted model {_prediction(fitted)}"
        return f"row {ids[row]}, {column}: the file predicts {numbers}"
    return ""


def check_features(pipeline: Pipeline, arrays: Inputs, contract: Contract) -> None:
    """Refuse features that the converter gets wrong, by their names.

    Raises:
        ContractError: one is another in the exported file than in scikit-learn.
    """
    if len(pipeline) == 1:
        return  # a pretrained file, which has none
    before, features = pipeline[:-2], pipeline[-2]
    for rows_in in (arrays, awkward(arrays, contract)):
        columns = table(rows_in)
        columns = before.transform(columns) if len(before) else columns
        if names := features.differing(columns):
            raise ContractError(
                f"model/features.py: {', '.join(names[:5])} of the exported file "
                f"differ{'s' if len(names) == 1 else ''} from what the transformers "
                "give; choose transformers that convert to ONNX exactly"
            )


def _gaps(
    pipeline: Pipeline, model: bytes, arrays: Inputs, contract: Contract
) -> np.ndarray:
    """Return how far the file's prediction for each row is from the fitted model's."""
    task = TASKS[contract.task]
    expected = task.fitted(pipeline, table(arrays))
    exported = score(model, arrays, task.output)
    gaps = np.abs(expected - exported) / task.scale(expected)
    return np.asarray(gaps.reshape(len(gaps), -1).max(axis=1))


def _value(value: object) -> str:
    """Return an input as a sentence has it."""
    missing = value == "" or value != value
    return "missing" if missing else one_line(value)


def _prediction(prediction: Any) -> str:
    """Return a prediction as a sentence has it."""
    return ", ".join(f"{number:.6g}" for number in np.ravel(prediction))


def golden(
    model: bytes,
    frame: pd.DataFrame,
    contract: Contract,
    columns: Sequence[str],
    intervals: Mapping[str, Any] | None = None,
) -> list[dict[str, object]]:
    """Return the golden rows with the model's predictions, and what is beside them."""
    import pandas as pd

    task, records = TASKS[contract.task], rows(frame, contract)
    written = inputs(pd.DataFrame(records, dtype=object), contract, columns)
    predictions = score(model, written, task.output)
    beside: list[dict[str, object]] = [{} for _ in records]
    if intervals:
        beside = of_golden(predictions, contract, intervals)
    plain = task.plain(predictions, contract.classes)
    return [
        {"row": row, task.output: prediction, **more}
        for row, prediction, more in zip(records, plain, beside, strict=True)
    ]
