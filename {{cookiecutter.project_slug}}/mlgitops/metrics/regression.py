"""Measures of predicted numbers; pure, numpy only. `y` and `p` are [n]."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


def rmse(y: ArrayLike, p: ArrayLike) -> float:
    """Return the root of the mean squared error, in the target's unit."""
    truth, values = arrays(y, p)
    return float(np.sqrt(np.mean((values - truth) ** 2)))


def mae(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean absolute error, in the target's unit."""
    truth, values = arrays(y, p)
    return float(np.mean(np.abs(values - truth)))


def r2(y: ArrayLike, p: ArrayLike) -> float:
    """Return 1 - squared error / variance; ValueError when `y` is one number."""
    truth, values = arrays(y, p)
    spread = np.sum((truth - truth.mean()) ** 2)
    if not spread > 0:
        raise ValueError("All rows have one target; this measure needs two.")
    return float(1 - np.sum((values - truth) ** 2) / spread)


def losses(y: ArrayLike, p: ArrayLike) -> Vector:
    """Return the squared error of each row in variances of `y`; 1 - its mean is R2."""
    truth, values = arrays(y, p)
    variance = truth.var()
    if not variance > 0:
        raise ValueError("All rows have one target; this measure needs two.")
    return np.asarray((values - truth) ** 2 / variance)


def pinball(y: ArrayLike, p: ArrayLike, quantile: float = 0.5) -> float:
    """Return the mean pinball loss at a quantile; at 0.5, half of the MAE.

    Koenker and Bassett (1978), Econometrica 46(1).
    """
    truth, values = arrays(y, p)
    under = truth - values
    return float(np.mean(np.maximum(quantile * under, (quantile - 1) * under)))


def residuals(y: ArrayLike, p: ArrayLike, bins: int = 10) -> list[dict[str, Any]]:
    """Return per bin of the prediction, of about equal rows: what y - p is like.

    Limits of p, rows, mean of y - p, and its 10 % and 90 % quantiles.
    """
    truth, values = arrays(y, p)
    order = np.argsort(values, kind="stable")
    found = []
    for part in np.array_split(order, min(bins, len(order))):
        rest = truth[part] - values[part]
        low, high = np.quantile(rest, [0.1, 0.9])
        found.append(
            {
                "low": float(values[part[0]]),
                "high": float(values[part[-1]]),
                "rows": len(part),
                "mean": float(rest.mean()),
                "p10": float(low),
                "p90": float(high),
            }
        )
    return found


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
