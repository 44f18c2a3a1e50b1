"""How performance is measured in production: the primary metric of each task; pure.

It is looked up by task and knows a table's columns: the truth is the target, beside it
is what the version predicted. Errors of numbers are divided by the variance of the
version's own holdout, so that a calmer month does not look like a worse model.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlgitops import metrics
from mlgitops.monitor.reference import outputs
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.task import TASKS
from mlgitops.rarest import Rarest, rarest

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
REACH = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class PrimaryMetric:
    """The primary metric of a task on single samples of rows, higher is better."""

    task: str
    target: str
    classes: tuple[str, ...] = ()
    variance: float = 1.0  # of the holdout's target, for numbers
    output: str = ""  # the column with predictions, where rows have one of its name

    @property
    def label(self) -> str:
        """Its name."""
        return metrics.METRICS[self.task][0].label

    @property
    def predictions(self) -> str:
        """The column with the predictions, as the model puts them out."""
        return self.output or TASKS[self.task].output

    def truth_and_predictions(self, table: pd.DataFrame) -> tuple[Array, Array]:
        """Return labels and predictions of a table of predicted rows with labels."""
        y = TASKS[self.task].truth(table[self.target], self.classes)
        predictions = table[self.predictions]
        if self.task == "multiclass":
            return y, np.array(predictions.tolist(), np.float64)
        return y, predictions.to_numpy(np.float64)

    def defined(self, table: pd.DataFrame) -> bool:
        """Return whether the rows have all that the metric needs."""
        return not TASKS[self.task].lacking(table[self.target], self.classes)

    def rarest(self, table: pd.DataFrame) -> Rarest:
        """Return the class that the fewest rows have, and how many do."""
        y = TASKS[self.task].truth(table[self.target], self.classes)
        return rarest(y, self.classes)

    def value(self, y: Array, p: Array) -> float:
        """Return the metric; that of a random model where it is undefined."""
        if self.task == "regression":
            return float(1 - np.mean((p - y) ** 2) / self.variance)
        try:
            return metrics.METRICS[self.task][0].value(y, p)
        except ValueError:
            return 0.5

    def with_variance(self, table: pd.DataFrame) -> tuple[float, float]:
        """Return the metric and the variance of this value.

        Raises:
            ValueError: the metric is undefined for these rows.
        """
        y, p = self.truth_and_predictions(table)
        if self.task == "regression":
            losses = (p - y) ** 2 / self.variance
            return 1 - float(losses.mean()), float(losses.var(ddof=1)) / len(losses)
        # A constant score has an area of one half, and no variance of its own.
        pair = metrics.PAIRED[self.task](y, np.zeros(p.shape), p, 0.95)
        return pair.challenger, ((pair.high - pair.difference) / REACH) ** 2

    def expected(self, p: Array) -> float | None:
        """Return the metric that predictions imply by themselves, or None."""
        if self.task == "regression":
            return None
        if self.task == "binary":
            return expected_auc(p)
        values = [expected_auc(p[:, column]) for column in range(p.shape[1])]
        defined = [value for value in values if value is not None]
        return float(np.mean(defined)) if len(defined) == len(values) else None

    def calibration(self, y: Array, p: Array) -> float | None:
        """Return the calibration error; None for numbers."""
        if self.task == "regression":
            return None
        if self.task == "binary":
            return metrics.binary.calibration_error(y, p)
        return metrics.multiclass.calibration_error(y, p)

    def means(self, y: Array, p: Array) -> tuple[float, float]:
        """Return what was predicted and what was observed, on average."""
        if self.task == "multiclass":
            right, top = metrics.multiclass.top(y, p)
            return float(top.mean()), float(right.mean())
        return float(p.mean()), float(y.mean())

    def compare_means(self, predicted: float, observed: float) -> str:
        """Return both means in words."""
        if self.task == "regression":
            return f"mean observed {observed:.4g}, predicted {predicted:.4g}"
        rate = "share of 1s" if self.task == "binary" else "accuracy"
        return f"{rate} observed {observed:.1%}, predicted {predicted:.1%}"


def expected_auc(probability: ArrayLike) -> float | None:
    """Return the ROC AUC that calibrated probabilities [n] imply; None if undefined.

    The chance that a random 1 is ranked above a random 0, where row i is a 1 with
    probability p_i; equal scores count half. O(n log n).
    """
    p, count = np.unique(np.asarray(probability, np.float64), return_counts=True)
    ones, zeros = p * count, (1 - p) * count
    below = np.cumsum(zeros) - zeros
    alone = (p * (1 - p) * count).sum()  # a row is never compared with itself
    ranked = (ones * (below + zeros / 2)).sum() - alone / 2
    pairs = ones.sum() * zeros.sum() - alone
    return float(ranked / pairs) if pairs > 0 else None


def of(contract: Contract, holdout: pd.DataFrame) -> PrimaryMetric:
    """Return the primary metric of a version, from its contract and its holdout."""
    variance = 1.0
    if contract.task == "regression":
        variance = float(holdout[contract.target].var(ddof=0)) or 1.0
    output, _ = outputs(contract)
    return PrimaryMetric(
        contract.task, contract.target, contract.classes, variance, output
    )
