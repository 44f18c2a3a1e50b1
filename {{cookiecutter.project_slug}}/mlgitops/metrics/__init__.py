"""The measures of each task; pure: numpy, and of scipy Student's t alone.

`MEASURES[task]` lists what a model of that task is measured by; the first is the
headline, and higher is better. `PAIRED[task](y, old, new, confidence, clusters)`
compares the headline of two models on the same rows, `LOSSES[task]` is the loss of
each row, and what its mean is called. `y` and `p` are what the task's module says: 0/1
and P(y = 1), the class's index and [n, k] probabilities, or two numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from mlgitops.metrics import binary, multiclass, regression
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
    "MEASURES",
    "PAIRED",
    "Difference",
    "Measure",
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
    "measures",
    "residuals",
    "roc_auc",
    "roc_curve",
]


class Measure(NamedTuple):
    """One number that a model is measured by: `value(y, p)`, or ValueError."""

    key: str
    label: str
    better: str  # "higher" or "lower"
    value: Callable[[Any, Any], float]


MEASURES: dict[str, tuple[Measure, ...]] = {
    "binary": (
        Measure("roc_auc", "ROC AUC", "higher", binary.roc_auc),
        Measure(
            "average_precision", "Average precision", "higher", binary.average_precision
        ),
        Measure("log_loss", "Log loss", "lower", binary.log_loss),
        Measure("brier", "Brier score", "lower", binary.brier),
        Measure(
            "calibration_error", "Calibration error", "lower", binary.calibration_error
        ),
    ),
    "multiclass": (
        Measure("roc_auc_macro", "ROC AUC, macro", "higher", multiclass.roc_auc_macro),
        Measure(
            "roc_auc_weighted",
            "ROC AUC, weighted",
            "higher",
            multiclass.roc_auc_weighted,
        ),
        Measure("log_loss", "Log loss", "lower", multiclass.log_loss),
        Measure("brier", "Brier score", "lower", multiclass.brier),
        Measure("accuracy", "Accuracy", "higher", multiclass.accuracy),
        Measure("f1_macro", "F1, macro", "higher", multiclass.f1_macro),
        Measure("f1_weighted", "F1, weighted", "higher", multiclass.f1_weighted),
        Measure(
            "calibration_error",
            "Calibration error",
            "lower",
            multiclass.calibration_error,
        ),
    ),
    "regression": (
        Measure("r2", "R²", "higher", regression.r2),
        Measure("rmse", "RMSE", "lower", regression.rmse),
        Measure("mae", "MAE", "lower", regression.mae),
        Measure("pinball", "Pinball loss", "lower", regression.pinball),
    ),
}
PAIRED: dict[str, Callable[..., Difference]] = {
    "binary": delong,
    "multiclass": delong_macro,
    "regression": paired_r2,
}
LOSSES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "binary": (binary.losses, "Brier score"),
    "multiclass": (multiclass.losses, "Brier score"),
    "regression": (regression.losses, "squared error in variances of the target"),
}


def measures(task: str, quantile: float = 0.5) -> tuple[Measure, ...]:
    """Return the measures of a task, the pinball loss at this quantile."""
    pinball = partial(regression.pinball, quantile=quantile)
    return tuple(
        m._replace(value=pinball) if m.key == "pinball" else m for m in MEASURES[task]
    )
