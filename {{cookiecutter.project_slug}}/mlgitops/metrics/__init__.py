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

from mlgitops.metrics import binary, multiclass, regression, team
from mlgitops.metrics.binary import (
    average_precision,
    brier,
    calibration,
    calibration_error,
    confusion,
    log_loss,
    roc_auc,
    roc_curve,
)
from mlgitops.metrics.multiclass import confusion_matrix
from mlgitops.metrics.paired import (
    Difference,
    delong,
    delong_macro,
    delong_weighted,
    paired_r2,
)
from mlgitops.metrics.regression import residuals

__all__ = [
    "LOSSES",
    "METRICS",
    "PAIRED",
    "Difference",
    "Metric",
    "average_precision",
    "brier",
    "calibration",
    "calibration_error",
    "confusion",
    "confusion_matrix",
    "delong",
    "delong_macro",
    "delong_weighted",
    "log_loss",
    "of",
    "residuals",
    "roc_auc",
    "roc_curve",
]


class Metric(NamedTuple):
    """One metric: `value(y, p)` returns a number or raises ValueError."""

    key: str
    label: str
    better: Literal["higher", "lower"]
    value: Callable[[ArrayLike, ArrayLike], float]


METRICS: dict[str, tuple[Metric, ...]] = {
    "binary": (
        Metric("roc_auc", "ROC AUC", "higher", binary.roc_auc),
        Metric(
            "average_precision", "Average precision", "higher", binary.average_precision
        ),
        Metric("log_loss", "Log loss", "lower", binary.log_loss),
        Metric("brier", "Brier score", "lower", binary.brier),
        Metric(
            "calibration_error", "Calibration error", "lower", binary.calibration_error
        ),
    ),
    "multiclass": (
        Metric("roc_auc_macro", "ROC AUC, macro", "higher", multiclass.roc_auc_macro),
        Metric(
            "roc_auc_weighted",
            "ROC AUC, weighted",
            "higher",
            multiclass.roc_auc_weighted,
        ),
        Metric("log_loss", "Log loss", "lower", multiclass.log_loss),
        Metric("brier", "Brier score", "lower", multiclass.brier),
        Metric("accuracy", "Accuracy", "higher", multiclass.accuracy),
        Metric("f1_macro", "F1, macro", "higher", multiclass.f1_macro),
        Metric("f1_weighted", "F1, weighted", "higher", multiclass.f1_weighted),
        Metric(
            "calibration_error",
            "Calibration error",
            "lower",
            multiclass.calibration_error,
        ),
    ),
    "regression": (
        Metric("r2", "R²", "higher", regression.r2),
        Metric("rmse", "RMSE", "lower", regression.rmse),
        Metric("mae", "MAE", "lower", regression.mae),
        Metric("pinball", "Pinball loss", "lower", regression.pinball),
    ),
}
PAIRED: dict[str, Callable[..., Difference]] = {
    "binary": delong,
    "multiclass": delong_macro,
    "regression": paired_r2,
}
LOSSES: dict[str, tuple[Callable[[ArrayLike, ArrayLike], binary.Vector], str]] = {
    "binary": (binary.losses, "Brier score"),
    "multiclass": (multiclass.losses, "Brier score"),
    "regression": (regression.losses, "squared error in variances of the target"),
}


def of(task: str) -> tuple[Metric, ...]:
    """Return every metric of a task: those above, then the team's (model/metrics.py).

    Raises:
        ValueError: a name of the team's is taken, or is none.
    """
    known = {metric.key for metric in METRICS[task]}
    functions = team.functions()
    for name in functions:
        if name in known or not name.isidentifier():
            why = "is a metric already" if name in known else "is no plain name"
            raise ValueError(f"model/metrics.py: {name!r} {why}; choose another name")
    return METRICS[task] + tuple(
        Metric(name, name.replace("_", " "), "higher", team.guarded(name, function))
        for name, function in functions.items()
    )
