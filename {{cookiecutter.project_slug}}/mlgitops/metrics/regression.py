"""Metrics of predicted numbers, scikit-learn's where it has them; `y`, `p` are [n]."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mlgitops.metrics.binary import Vector, vectors


def rmse(y: ArrayLike, p: ArrayLike) -> float:
    """Return the root of the mean squared error, in the target's unit."""
    from sklearn.metrics import root_mean_squared_error

    return float(root_mean_squared_error(*vectors(y, p)))


def mae(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean absolute error, in the target's unit."""
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(*vectors(y, p)))


def r2(y: ArrayLike, p: ArrayLike) -> float:
    """Return 1 - squared error / variance; ValueError when `y` is one number."""
    return 1 - float(losses(y, p).mean())


def losses(y: ArrayLike, p: ArrayLike) -> Vector:
    """Return the squared error of each row in variances of `y`; 1 - its mean is R2."""
    truth, values = vectors(y, p)
    variance = truth.var()
    if not variance > 0:
        raise ValueError("The target has one value in all rows; this metric needs two.")
    return np.asarray((values - truth) ** 2 / variance)


def pinball(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean pinball loss at the median, half of the MAE.

    Koenker and Bassett (1978), Econometrica 46(1).
    """
    from sklearn.metrics import mean_pinball_loss

    return float(mean_pinball_loss(*vectors(y, p)))


def residuals(y: ArrayLike, p: ArrayLike, bins: int) -> list[dict[str, float]]:
    """Summarise the residuals y - p in bins of the prediction with about equal rows.

    Per bin: limits of p, rows, mean residual, and its 10 % and 90 % quantiles.
    """
    truth, values = vectors(y, p)
    order = np.argsort(values, kind="stable")
    return [
        {
            "low": float(values[part[0]]),
            "high": float(values[part[-1]]),
            "rows": len(part),
            "mean": float((truth[part] - values[part]).mean()),
            "p10": float(np.quantile(truth[part] - values[part], 0.1)),
            "p90": float(np.quantile(truth[part] - values[part], 0.9)),
        }
        for part in np.array_split(order, min(bins, len(order)))
    ]
