"""What differs between the tasks: target, prediction and their names; pure.

Use `TASKS[contract.task]` instead of asking which task it is. The metrics of a task are
in `mlgitops.metrics`, its part of the judge in `mlgitops.judge.tasks`. `classes` are
those of contract.yaml, empty for other tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mlgitops.pipeline.schema import is_number

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

Classes = Sequence[str]
Array = np.ndarray


def _probabilities(pipeline: Pipeline, table: pd.DataFrame) -> Array:
    """Return P of each class, [n, k], in the contract's order."""
    return np.asarray(pipeline.predict_proba(table))


def _numbers(values: pd.Series, dtype: str) -> pd.Series:
    """Return numbers; what cannot be cast is missing."""
    import pandas as pd

    return pd.to_numeric(values, errors="coerce").astype(dtype)


def _class_text(value: object) -> str | None:
    """Return a class as text: 3 and 3.0 are the class "3"."""
    if is_number(value) or isinstance(value, np.number):
        return f"{value:g}"
    return None if value is None else str(value)


def _absent_class(values: pd.Series, classes: Classes) -> str:
    """Return the first class without a row, or nothing."""
    present = set(values)
    absent = (f'no row of class "{name}"' for name in classes if name not in present)
    return next(absent, "")


def _class_indices(values: pd.Series, classes: Classes) -> Array:
    """Return each class's index in the contract's list."""
    indices = {name: index for index, name in enumerate(classes)}
    return np.asarray(values.map(indices), np.int64)


def _class_summary(values: pd.Series) -> str:
    """Return the most common class and its share."""
    shares = values.value_counts(normalize=True)
    return f"{shares.iloc[0]:.1%} {values.name} {shares.index[0]}"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task: its words, and functions of targets [n] and predictions [n] or [n, k]."""

    name: str
    output: str  # the prediction's name in ONNX, golden rows, /predict and the log
    kind: Literal["classifier", "regressor"]  # of estimator
    wrong: str  # the error for an invalid target
    needs: tuple[str, ...]  # entries of the manifest for this task only
    typed: Callable[[pd.Series], pd.Series]  # targets in their type, else missing
    allowed: Callable[[pd.Series, Classes], pd.Series]  # whether each is valid
    lacking: Callable[[pd.Series, Classes], str]  # what a window lacks, or nothing
    truth: Callable[[pd.Series, Classes], Array]  # targets as the metrics take them
    fitted: Callable[[Pipeline, pd.DataFrame], Array]  # predictions, as the file's
    order: Callable[[Array], Array] = lambda p: p  # sorts similar ones side by side
    scale: Callable[[Array], float] = lambda p: 1.0  # the unit of a difference
    plain: Callable[[Array, Classes], list[object]]  # predictions as JSON values
    summary: Callable[[pd.Series], str]  # of targets


BINARY = Task(  # the target is 0 or 1; a model predicts P(1), decides P(1) >= threshold
    name="binary",
    output="probability",
    kind="classifier",
    wrong="neither 0 nor 1",
    needs=("threshold",),
    typed=lambda values: _numbers(values, "float32"),
    allowed=lambda values, classes: values.isin([0, 1]),
    lacking=lambda values, _: "" if values.nunique() == 2 else "not both values",
    truth=lambda values, classes: np.asarray(values),
    fitted=lambda pipeline, table: _probabilities(pipeline, table)[:, 1],
    plain=lambda p, classes: p.astype(float).tolist(),
    summary=lambda values: f"{values.mean():.1%} {values.name}",
)
MULTICLASS = Task(  # the target is a class of the contract; a model predicts P of each
    name="multiclass",
    output="probabilities",
    kind="classifier",
    wrong="not a class of the contract",
    needs=("classes",),
    typed=lambda v: v.where(v.notna() & (v != ""), None).map(_class_text),
    allowed=lambda values, classes: values.isin(classes),
    lacking=_absent_class,
    truth=_class_indices,
    fitted=_probabilities,
    order=lambda p: np.asarray(p.argmax(axis=1) + p.max(axis=1) / 2),
    plain=lambda p, names: [dict(zip(names, row.tolist(), strict=True)) for row in p],
    summary=_class_summary,
)
REGRESSION = Task(  # the target is a number, and so is the prediction
    name="regression",
    output="value",
    kind="regressor",
    wrong="not finite",
    needs=(),
    typed=lambda values: _numbers(values, "float64"),  # it is not an input of the model
    allowed=lambda values, classes: values.abs() < np.inf,
    lacking=lambda values, _: "" if values.nunique() > 1 else "not two values",
    truth=lambda values, classes: np.asarray(values),
    fitted=lambda pipeline, table: np.asarray(pipeline.predict(table)),
    scale=lambda p: float(np.abs(p).max()) or 1.0,  # float32 has a fixed relative error
    plain=lambda p, classes: p.astype(float).tolist(),
    summary=lambda v: f"{v.name} {v.mean():.4g} ± {v.std():.4g}",
)
TASKS = {task.name: task for task in (BINARY, MULTICLASS, REGRESSION)}
