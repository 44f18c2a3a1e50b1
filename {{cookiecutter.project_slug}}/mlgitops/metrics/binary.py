"""Measures of P(y = 1); pure, numpy only.

`y` is 0/1 [n], `p` is P(y = 1) [n]; a measure that needs both classes raises
ValueError when `y` holds one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]
SMALLEST = float(np.finfo(np.float32).eps)  # probabilities are float32: clip there


def roc_auc(y: ArrayLike, p: ArrayLike) -> float:
    """Return the area under the ROC curve: P(score of a 1 > score of a 0), ties half.

    Mann and Whitney (1947), Annals of Mathematical Statistics 18(1).
    """
    truth, scores = arrays(y, p)
    ones = int(truth.sum())
    zeros = len(truth) - ones
    rank_sum = midranks(scores)[truth == 1].sum()
    return float((rank_sum - ones * (ones + 1) / 2) / (ones * zeros))


def roc_curve(y: ArrayLike, p: ArrayLike, points: int = 50) -> list[list[float]]:
    """Return at most `points` [false, true positive rate] pairs, from 0, 0 to 1, 1."""
    truth, scores = arrays(y, p)
    order = np.argsort(-scores)
    last = np.append(np.diff(scores[order]) != 0, True)
    hits = np.append(0, np.cumsum(truth[order])[last])
    false = np.append(0, np.flatnonzero(last) + 1) - hits
    steps = np.stack([false / false[-1], hits / hits[-1]], axis=1)
    wanted = np.linspace(0, 2, points)  # even along the curve: x + y runs from 0 to 2
    kept = np.unique(np.searchsorted(steps.sum(axis=1), wanted).clip(0, len(steps) - 1))
    return [[float(x), float(y)] for x, y in steps[kept]]


def average_precision(y: ArrayLike, p: ArrayLike) -> float:
    """Return the precision averaged over the recall steps, equal scores as one step."""
    truth, scores = arrays(y, p)
    order = np.argsort(-scores)
    last = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(truth[order])[last]
    precision = hits / (np.flatnonzero(last) + 1)
    return float(np.sum(np.diff(hits, prepend=0.0) * precision) / truth.sum())


def log_loss(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean negative log likelihood, in nats; p is clipped at float32 eps."""
    truth, scores = arrays(y, p, both=False)
    scores = np.clip(scores, SMALLEST, 1 - SMALLEST)
    return float(-np.mean(np.where(truth == 1, np.log(scores), np.log1p(-scores))))


def brier(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean squared error of the probability; Brier (1950)."""
    truth, scores = arrays(y, p, both=False)
    return float(np.mean((scores - truth) ** 2))


def losses(y: ArrayLike, p: ArrayLike) -> Vector:
    """Return the squared error of each row, whose mean is the Brier score."""
    truth, scores = arrays(y, p, both=False)
    return np.asarray((scores - truth) ** 2)


def confusion(y: ArrayLike, p: ArrayLike, threshold: float) -> dict[str, Any]:
    """Return the four counts, precision and recall of the decision p >= threshold.

    Precision is None when nothing is predicted, recall is None without a 1.
    """
    truth, decided = np.asarray(y) == 1, np.asarray(p) >= np.float32(threshold)
    hit, false = int(np.sum(truth & decided)), int(np.sum(~truth & decided))
    missed, rest = int(np.sum(truth & ~decided)), int(np.sum(~truth & ~decided))
    return {
        "true_positive": hit,
        "false_positive": false,
        "false_negative": missed,
        "true_negative": rest,
        "precision": hit / (hit + false) if hit + false else None,
        "recall": hit / (hit + missed) if hit + missed else None,
    }


def calibration(y: ArrayLike, p: ArrayLike, bins: int = 10) -> list[dict[str, Any]]:
    """Return per bin of equal width: limits, rows, mean predicted, share observed."""
    truth, scores = arrays(y, p, both=False)
    place = np.clip((scores * bins).astype(int), 0, bins - 1)
    rows = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, part, bins) for part in (scores, truth)]
    return [
        {
            "low": float(number / bins),
            "high": float((number + 1) / bins),
            "rows": int(rows[number]),
            "predicted": float(sums[0][number] / rows[number]),
            "observed": float(sums[1][number] / rows[number]),
        }
        for number in np.flatnonzero(rows)
    ]


def calibration_error(y: ArrayLike, p: ArrayLike, bins: int = 10) -> float:
    """Return the mean distance of predicted and observed over bins, by their rows.

    Naeini, Cooper and Hauskrecht (2015), AAAI 29(1): expected calibration error.
    """
    parts = calibration(y, p, bins)
    rows = sum(part["rows"] for part in parts)
    gaps = (p["rows"] * abs(p["predicted"] - p["observed"]) for p in parts)
    return float(sum(gaps) / rows)


def arrays(y: ArrayLike, p: ArrayLike, both: bool = True) -> tuple[Vector, Vector]:
    """Return the two as float64 vectors of finite numbers; with `both`, 0s and 1s."""
    truth, scores = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if truth.shape != scores.shape or truth.ndim != 1 or not len(truth):
        raise ValueError(
            f"y is {truth.shape} and p is {scores.shape}; both must be [n]."
        )
    if not np.isfinite(scores).all():
        raise ValueError("A score is not a finite number.")
    if both and not 0 < truth.sum() < len(truth):
        raise ValueError("All rows are of one class; this measure needs both.")
    return truth, scores


def midranks(values: Vector) -> Vector:
    """Return ranks from 1, equal values sharing their mean rank."""
    order = np.argsort(values)
    first = np.append(True, np.diff(values[order]) != 0)
    ends = np.append(np.flatnonzero(first)[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(
        (np.append(0, ends[:-1]) + 1 + ends) / 2, np.diff(ends, prepend=0)
    )
    return ranks
