"""What differs between the tasks: target, prediction and their names; pure.

Use `TASKS[contract.task]` instead of asking which task it is. The metrics of a task are
in `mlgitops.metrics`, its part of the judge in `mlgitops.judge.tasks`. `classes` are
those of contract.yaml, empty for other tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlgitops.pipeline.schema import is_number

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

Classes = Sequence[str]
Array = np.ndarray


class Binary:
    """The target is 0 or 1; a model predicts P(1), and decides P(1) >= threshold."""

    name = "binary"
    output = "probability"  # its name in ONNX, golden rows, /predict and the log
    kind = "classifier"  # of estimator
    wrong = "neither 0 nor 1"  # the error for an invalid target
    dtype = "float32"  # of the target while it is checked
    needs: tuple[str, ...] = ("threshold",)  # manifest entries of this task only

    def typed(self, values: pd.Series) -> pd.Series:
        """Return the target in its type; values that cannot be cast are missing."""
        import pandas as pd

        return pd.to_numeric(values, errors="coerce").astype(self.dtype)

    def allowed(self, values: pd.Series, classes: Classes) -> pd.Series:
        """Tell of each value whether it is a valid target."""
        return values.isin([0, 1])

    def lacking(self, values: pd.Series, classes: Classes) -> str:
        """Return what a window lacks for training or judging, or nothing."""
        return "" if values.nunique() == 2 else "not both values"

    def truth(self, values: pd.Series, classes: Classes) -> Array:
        """Return the target as the metrics take it, [n]."""
        return np.asarray(values)

    def fitted(self, pipeline: Pipeline, table: pd.DataFrame) -> Array:
        """Return what a fitted pipeline predicts, shaped as the exported file's."""
        return np.asarray(pipeline.predict_proba(table)[:, 1])

    def order(self, predictions: Array) -> Array:
        """Return a number for each prediction to sort by, similar ones side by side."""
        return predictions

    def scale(self, predictions: Array) -> float:
        """Return the unit of a difference of predictions."""
        return 1.0

    def plain(self, predictions: Array, classes: Classes) -> list[object]:
        """Return predictions as JSON values."""
        return [float(prediction) for prediction in predictions]

    def summary(self, values: pd.Series) -> str:
        """Return a short summary of a target."""
        return f"{values.mean():.1%} {values.name}"


class Multiclass(Binary):
    """The target is one of the contract's classes; a model predicts P of each."""

    name = "multiclass"
    output = "probabilities"
    wrong = "not a class of the contract"
    needs = ("classes",)

    def typed(self, values: pd.Series) -> pd.Series:
        """Return classes as text: 3 and 3.0 are the class "3"."""
        return values.where(values.notna() & (values != ""), None).map(_class_text)

    def allowed(self, values: pd.Series, classes: Classes) -> pd.Series:
        """Tell of each target whether it is a class of the contract."""
        return values.isin(classes)

    def lacking(self, values: pd.Series, classes: Classes) -> str:
        """Return a class without a row."""
        present = set(values)
        absent = next((name for name in classes if name not in present), None)
        return "" if absent is None else f'no row of class "{absent}"'

    def truth(self, values: pd.Series, classes: Classes) -> Array:
        """Return each class's index in the contract's list."""
        indices = {name: index for index, name in enumerate(classes)}
        return np.asarray(values.map(indices), np.int64)

    def fitted(self, pipeline: Pipeline, table: pd.DataFrame) -> Array:
        """Return the probabilities, [n, k], in the contract's order."""
        return np.asarray(pipeline.predict_proba(table))

    def order(self, predictions: Array) -> Array:
        """Return the most likely class plus half of its probability."""
        return np.asarray(predictions.argmax(axis=1) + predictions.max(axis=1) / 2)

    def plain(self, predictions: Array, classes: Classes) -> list[object]:
        """Return a probability for each class by its name."""
        return [dict(zip(classes, map(float, row), strict=True)) for row in predictions]

    def summary(self, values: pd.Series) -> str:
        """Return the most common class and its share."""
        shares = values.value_counts(normalize=True)
        return f"{shares.iloc[0]:.1%} {values.name} {shares.index[0]}"


class Regression(Binary):
    """The target is a number, and so is the prediction."""

    name = "regression"
    output = "value"
    kind = "regressor"
    wrong = "not finite"
    dtype = "float64"  # it is not an input of the model, which takes float32
    needs = ()

    def allowed(self, values: pd.Series, classes: Classes) -> pd.Series:
        """Tell of each target whether it is finite."""
        return values.abs() < np.inf

    def lacking(self, values: pd.Series, classes: Classes) -> str:
        """Refuse a constant target."""
        return "" if values.nunique() > 1 else "not two values"

    def fitted(self, pipeline: Pipeline, table: pd.DataFrame) -> Array:
        """Return the predicted numbers."""
        return np.asarray(pipeline.predict(table))

    def scale(self, predictions: Array) -> float:
        """Return the largest prediction: float32 has a fixed number of its digits."""
        return float(np.abs(predictions).max()) or 1.0

    def summary(self, values: pd.Series) -> str:
        """Return the mean and the standard deviation."""
        return f"{values.name} {values.mean():.4g} ± {values.std():.4g}"


TASKS: dict[str, Binary] = {
    task.name: task for task in (Binary(), Multiclass(), Regression())
}


def _class_text(value: object) -> str | None:
    """Return a class as text."""
    if is_number(value) or isinstance(value, np.number):
        return f"{value:g}"
    return None if value is None else str(value)
