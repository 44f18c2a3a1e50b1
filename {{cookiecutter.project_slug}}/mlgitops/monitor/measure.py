"""How performance is measured in production: the headline of each task; pure.

A measure is looked up by task, and knows a table's columns: its truth is the target,
its answers are what the version said. Of numbers, errors are told in the spread of the
version's own holdout, so that a calmer month does not look like a worse model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlgitops import metrics
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
REACH = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Measure:
    """The headline of a task on single samples of rows, higher is better."""

    task: str
    target: str
    classes: tuple[str, ...] = ()
    spread: float = 1.0  # variance of the holdout's target, for numbers

    @property
    def label(self) -> str:
        """Return its name."""
        return metrics.METRICS[self.task][0].label

    def sides(self, table: pd.DataFrame) -> tuple[Array, Array]:
        """Return truth and answers of a table of answered rows with labels."""
        y = TASKS[self.task].truth(table[self.target], self.classes)
        answers = table[TASKS[self.task].output]
        if self.task == "multiclass":
            return y, np.array(answers.tolist(), np.float64)
        return y, answers.to_numpy(np.float64)

    def defined(self, table: pd.DataFrame) -> bool:
        """Tell whether the rows have all that the headline needs."""
        return not TASKS[self.task].lacking(table[self.target], self.classes)

    def value(self, y: Array, p: Array) -> float:
        """Return the headline; that of knowing nothing where it is undefined."""
        if self.task == "regression":
            return float(1 - np.mean((p - y) ** 2) / self.spread)
        try:
            return metrics.METRICS[self.task][0].value(y, p)
        except ValueError:
            return 0.5

    def area(self, table: pd.DataFrame) -> tuple[float, float]:
        """Return the headline and its variance; ValueError where it is undefined."""
        y, p = self.sides(table)
        if self.task == "regression":
            losses = (p - y) ** 2 / self.spread
            return 1 - float(losses.mean()), float(losses.var(ddof=1)) / len(losses)
        # A constant score has an area of one half, and no variance of its own.
        found = metrics.PAIRED[self.task](y, np.zeros(p.shape), p, 0.95)
        return found.challenger, ((found.high - found.difference) / REACH) ** 2

    def expected(self, p: Array, auc: Callable[[Array], float | None]) -> float | None:
        """Return the headline that answers promise by themselves, or None."""
        if self.task == "regression":
            return None
        if self.task == "binary":
            return auc(p)
        found = [auc(p[:, place]) for place in range(p.shape[1])]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if len(known) == len(found) else None

    def calibration(self, y: Array, p: Array) -> float | None:
        """Return the mean distance of what was said and seen; None of numbers."""
        if self.task == "regression":
            return None
        if self.task == "binary":
            return metrics.calibration_error(y, p)
        return metrics.multiclass.calibration_error(y, p)

    def means(self, y: Array, p: Array) -> tuple[float, float]:
        """Return what was predicted and what was observed, on average."""
        if self.task == "multiclass":
            right, top = metrics.multiclass.top(y, p)
            return float(top.mean()), float(right.mean())
        return float(p.mean()), float(y.mean())

    def words(self, predicted: float, observed: float) -> str:
        """Say these means."""
        if self.task == "regression":
            return f"a mean of {observed:.4g} where {predicted:.4g} was predicted"
        what = "of 1s" if self.task == "binary" else "right"
        return f"{observed:.1%} {what} where {predicted:.1%} were predicted"


BINARY = Measure("binary", "")


def of(contract: Contract, holdout: pd.DataFrame) -> Measure:
    """Return the measure of a version, from its contract and its holdout."""
    spread = 1.0
    if contract.task == "regression":
        spread = float(holdout[contract.target].var(ddof=0)) or 1.0
    return Measure(contract.task, contract.target, contract.classes, spread)
