"""Metrics of predicted numbers, scikit-learn's where it has them; `y`, `p` are [n]."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics as sk

Vector = NDArray[np.float64]


def rmse(y: ArrayLike, p: ArrayLike) -> float:
    """Return the root of the mean squared error, in the target's unit."""
    return float(sk.root_mean_squared_error(*arrays(y, p)))


def mae(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean absolute error, in the target's unit."""
    return float(sk.mean_absolute_error(*arrays(y, p)))


def r2(y: ArrayLike, p: ArrayLike) -> float:
    """Return 1 - squared error / variance; ValueError when `y` is one number."""
    truth, values = arrays(y, p)
    if not truth.var() > 0:
        raise ValueError("The target has one value in all rows; this metric needs two.")
    return float(sk.r2_score(truth, values))


def losses(y: ArrayLike, p: ArrayLike) -> Vector:
    """Return the squared error of each row in variances of `y`; 1 - its mean is R2."""
    truth, values = arrays(y, p)
    variance = truth.var()
    if not variance > 0:
        raise ValueError("The target has one value in all rows; this metric needs two.")
    return np.asarray((values - truth) ** 2 / variance)


def pinball(y: ArrayLike, p: ArrayLike, quantile: float = 0.5) -> float:
    """Return the mean pinball loss at a quantile; at 0.5, half of the MAE.

    Koenker and Bassett (1978), Econometrica 46(1).
    """
    return float(sk.mean_pinball_loss(*arrays(y, p), alpha=quantile))


def residuals(y: ArrayLike, p: ArrayLike, bins: int = 10) -> list[dict[str, float]]:
    """Summarise the residuals y - p in bins of the prediction with about equal rows.

    Per bin: limits of p, rows, mean residual, and its 10 % and 90 % quantiles.
    """
    truth, values = arrays(y, p)
    order = np.argsort(values, kind="stable")
    summaries = []
    for part in np.array_split(order, min(bins, len(order))):
        rest = truth[part] - values[part]
        low, high = np.quantile(rest, [0.1, 0.9])
        summaries.append(
            {
                "low": float(values[part[0]]),
                "high": float(values[part[-1]]),
                "rows": len(part),
                "mean": float(rest.mean()),
                "p10": float(low),
                "p90": float(high),
            }
        )
    return summaries


def arrays(y: ArrayLike, p: ArrayLike) -> tuple[Vector, Vector]:
    """Return both as float64 vectors of finite numbers, or raise ValueError."""
    truth, values = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if truth.shape != values.shape or truth.ndim != 1 or not len(truth):
        raise ValueError(
            f"y is {truth.shape} and p is {values.shape}; both must be [n]."
        )
    if not (np.isfinite(truth).all() and np.isfinite(values).all()):
        raise ValueError("A target or a prediction is not a finite number.")
    return truth, values
