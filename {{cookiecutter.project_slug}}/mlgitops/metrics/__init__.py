"""The metrics of each task; pure.

`METRICS[task]` lists the metrics of a model; the first is the primary metric, and there
higher is better. `of(task)` has those of `model/metrics.py` after them.
`PAIRED[task](y, champion, challenger, confidence, groups)` compares
the primary metric of two models on the same rows. `LOSSES[task]` is the loss of each
row and the name of its mean. `y` and `p` are, by task, 0/1 and P(y = 1), class indices
[n] and probabilities [n, k], or two numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from numpy.typing import ArrayLike

from mlgitops.metrics import binary, multiclass, paired, regression, team
from mlgitops.metrics.paired import Difference

__all__ = ["LOSSES", "METRICS", "PAIRED", "Difference", "Metric", "of"]

Value = Callable[[ArrayLike, ArrayLike], float]


class Metric(NamedTuple):
    """One metric: `value(y, p)` returns a number or raises ValueError."""

    key: str
    label: str
    better: Literal["higher", "lower"]
    value: Value

    @property
    def leakage_bound(self) -> Literal["min", "max"]:
        """The bound that a model passes only by knowing the answer."""
        return "max" if self.better == "higher" else "min"

    @property
    def quality_bound(self) -> Literal["min", "max"]:
        """The bound that says how good a model has to be."""
        return "min" if self.better == "higher" else "max"


def _metric(label: str, better: Literal["higher", "lower"], value: Value) -> Metric:
    """Return a metric whose key, in params.yaml too, is the name of its function."""
    return Metric(value.__name__, label, better, value)


METRICS: dict[str, tuple[Metric, ...]] = {
    "binary": (
        _metric("ROC AUC", "higher", binary.roc_auc),
        _metric("Average precision", "higher", binary.average_precision),
        _metric("Log loss", "lower", binary.log_loss),
        _metric("Brier score", "lower", binary.brier),
        _metric("Calibration error", "lower", binary.calibration_error),
    ),
    "multiclass": (
        _metric("ROC AUC, macro", "higher", multiclass.roc_auc_macro),
        _metric("ROC AUC, weighted", "higher", multiclass.roc_auc_weighted),
        _metric("Log loss", "lower", multiclass.log_loss),
        _metric("Brier score", "lower", multiclass.brier),
        _metric("Accuracy", "higher", multiclass.accuracy),
        _metric("F1, macro", "higher", multiclass.f1_macro),
        _metric("F1, weighted", "higher", multiclass.f1_weighted),
        _metric("Calibration error", "lower", multiclass.calibration_error),
    ),
    "regression": (
        _metric("R²", "higher", regression.r2),
        _metric("RMSE", "lower", regression.rmse),
        _metric("MAE", "lower", regression.mae),
        _metric("Pinball loss", "lower", regression.pinball),
    ),
}
PAIRED: dict[str, Callable[..., Difference]] = {
    "binary": paired.delong,
    "multiclass": paired.delong_macro,
    "regression": paired.paired_r2,
}
LOSSES: dict[str, tuple[Callable[[ArrayLike, ArrayLike], binary.Vector], str]] = {
    "binary": (binary.losses, "Brier score"),
    "multiclass": (multiclass.losses, "Brier score"),
    "regression": (regression.losses, "squared error in variances of the target"),
}


def of(task: str) -> tuple[Metric, ...]:
    """Return every metric of a task: those above, then the team's (model/metrics.py).

    Raises:
        ValueError: a name of the team's is taken, or is not an identifier.
    """
    keys = {metric.key for metric in METRICS[task]}
    functions = team.functions()
    for name in functions:
        if name in keys or not name.isidentifier():
            problem = "is taken by another metric" if name in keys else "is not a name"
            raise ValueError(f"model/metrics.py: {name!r} {problem}; choose another")
    return METRICS[task] + tuple(
        Metric(name, name.replace("_", " "), "higher", team.guarded(name, function))
        for name, function in functions.items()
    )
