"""What a task is: its target, what a model answers, what that is called; pure.

`TASKS[contract.task]` is looked up by everything that would otherwise ask which task it
is. The measures of a task are in `mlgitops.metrics`, what the judge makes of them in
`mlgitops.judge.tasks`. `classes` are those of contract.yaml, empty for other tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops.pipeline.schema import is_number

if TYPE_CHECKING:
    import pandas as pd

Classes = Sequence[str]
Array = np.ndarray


class Binary:
    """The target is 0 or 1; a model answers P(1), and decides 1 from a threshold on."""

    name = "binary"
    output = "probability"  # an answer's name: in ONNX, golden rows, /predict, the log
    kind = "classifier"  # of estimator
    wrong = "neither 0 nor 1"  # said of a target that is refused
    needs: tuple[str, ...] = ("threshold",)  # what only this task has to be told

    def typed(self, values: pd.Series) -> pd.Series:
        """Return the target in its type; what cannot be cast is missing."""
        import pandas as pd

        return pd.to_numeric(values, errors="coerce").astype("float32")

    def allowed(self, values: pd.Series, classes: Classes) -> pd.Series:
        """Tell of each target whether the task knows it."""
        return values.isin([0, 1])

    def lacking(self, values: pd.Series, classes: Classes) -> str:
        """Say what a window lacks to be learnt from or judged on, or nothing."""
        return "" if values.nunique() == 2 else "not both values"

    def truth(self, values: pd.Series, classes: Classes) -> Array:
        """Return the target as the measures take it, [n]."""
        return np.asarray(values)

    def fitted(self, pipeline: Any, table: pd.DataFrame) -> Array:
        """Return what a fitted pipeline answers, as the exported file does."""
        return np.asarray(pipeline.predict_proba(table)[:, 1])

    def order(self, answers: Array) -> Array:
        """Return a number for each answer, so that like answers are neighbours."""
        return answers

    def scale(self, answers: Array) -> float:
        """Return what a difference of answers is small or large against."""
        return 1.0

    def plain(self, answers: Array, classes: Classes) -> list[Any]:
        """Return answers as JSON holds them."""
        return [float(answer) for answer in answers]

    def about(self, values: pd.Series) -> str:
        """Say in a few words what a target is like."""
        return f"{values.mean():.1%} {values.name}"


class Multiclass(Binary):
    """The target is one of the contract's classes; a model answers P of each."""

    name = "multiclass"
    output = "probabilities"
    wrong = "not a class it knows"
    needs = ("classes",)

    def typed(self, values: pd.Series) -> pd.Series:
        """Return classes as text: 3 and 3.0 are the class "3"."""
        return values.where(values.notna() & (values != ""), None).map(_word)

    def allowed(self, values: pd.Series, classes: Classes) -> pd.Series:
        """Tell of each target whether it is a class of the contract."""
        return values.isin(classes)

    def lacking(self, values: pd.Series, classes: Classes) -> str:
        """Name a class without a row."""
        here = set(values)
        absent = next((name for name in classes if name not in here), None)
        return "" if absent is None else f'no row of class "{absent}"'

    def truth(self, values: pd.Series, classes: Classes) -> Array:
        """Return each class's place in the contract's list."""
        places = {name: place for place, name in enumerate(classes)}
        return np.asarray(values.map(places), np.int64)

    def fitted(self, pipeline: Any, table: pd.DataFrame) -> Array:
        """Return the probabilities, [n, k], in the contract's order."""
        return np.asarray(pipeline.predict_proba(table))

    def order(self, answers: Array) -> Array:
        """Return the likeliest class, and how sure it is."""
        return np.asarray(answers.argmax(axis=1) + answers.max(axis=1) / 2)

    def plain(self, answers: Array, classes: Classes) -> list[Any]:
        """Return a probability for each class by its name."""
        return [dict(zip(classes, map(float, row), strict=True)) for row in answers]

    def about(self, values: pd.Series) -> str:
        """Name the commonest class and its share."""
        shares = values.value_counts(normalize=True)
        return f"{shares.iloc[0]:.1%} {values.name} {shares.index[0]}"


class Regression(Binary):
    """The target is a number, and so is the answer."""

    name = "regression"
    output = "value"
    kind = "regressor"
    wrong = "not finite"
    needs = ()

    def typed(self, values: pd.Series) -> pd.Series:
        """Return numbers as float64: a target is not fed to a model."""
        import pandas as pd

        return pd.to_numeric(values, errors="coerce").astype("float64")

    def allowed(self, values: pd.Series, classes: Classes) -> pd.Series:
        """Tell of each target whether it is finite."""
        return values.abs() < np.inf

    def lacking(self, values: pd.Series, classes: Classes) -> str:
        """Refuse a target that never varies."""
        return "" if values.nunique() > 1 else "not two values"

    def fitted(self, pipeline: Any, table: pd.DataFrame) -> Array:
        """Return the predicted numbers."""
        return np.asarray(pipeline.predict(table))

    def scale(self, answers: Array) -> float:
        """Return the largest answer: float32 keeps so many digits of it, no more."""
        return float(np.abs(answers).max()) or 1.0

    def about(self, values: pd.Series) -> str:
        """Say the mean and the spread."""
        return f"{values.name} {values.mean():.4g} ± {values.std():.4g}"


TASKS: dict[str, Binary] = {
    task.name: task for task in (Binary(), Multiclass(), Regression())
}


def _word(value: Any) -> Any:
    """Return a class as text."""
    number = is_number(value) or isinstance(value, np.number)
    return value if value is None else f"{value:g}" if number else str(value)
