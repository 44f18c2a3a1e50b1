"""Measures of predicted probabilities; pure, numpy only.

`y` is 0/1 [n], `p` is P(y = 1) [n]; a measure that needs both classes raises
ValueError when `y` holds one.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]
SMALLEST = float(np.finfo(np.float32).eps)  # probabilities are float32: clip there


class Difference(NamedTuple):
    """ROC AUC of two models on the same rows, and the interval of the difference."""

    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    confidence: float


def roc_auc(y: ArrayLike, p: ArrayLike) -> float:
    """Return the area under the ROC curve: P(score of a 1 > score of a 0), ties half.

    Mann and Whitney (1947), Annals of Mathematical Statistics 18(1).
    """
    truth, scores = _arrays(y, p)
    ones = int(truth.sum())
    zeros = len(truth) - ones
    rank_sum = _midranks(scores)[truth == 1].sum()
    return float((rank_sum - ones * (ones + 1) / 2) / (ones * zeros))


def delong(
    y: ArrayLike, champion: ArrayLike, challenger: ArrayLike, confidence: float = 0.95
) -> Difference:
    """Return challenger minus champion in ROC AUC, with DeLong's paired interval.

    DeLong et al. (1988), Biometrics 44(3); midranks as in Sun and Xu (2014), IEEE
    Signal Processing Letters 21(11). O(n log n), a normal approximation.
    """
    truth, first = _arrays(y, champion)
    _, second = _arrays(y, challenger)
    parts = [_placements(truth, scores) for scores in (first, second)]
    areas = [float(ones.mean()) for ones, _ in parts]
    difference = areas[1] - areas[0]
    variance = sum(
        float(np.var(b - a, ddof=1)) / len(a) if len(a) > 1 else 0.0
        for a, b in zip(parts[0], parts[1], strict=True)
    )
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * variance**0.5
    low, high = difference - reach, difference + reach
    return Difference(areas[0], areas[1], difference, low, high, confidence)


def average_precision(y: ArrayLike, p: ArrayLike) -> float:
    """Return the precision averaged over the recall steps, equal scores as one step."""
    truth, scores = _arrays(y, p)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(truth[order])[last]
    precision = hits / (np.flatnonzero(last) + 1)
    return float(np.sum(np.diff(hits, prepend=0.0) * precision) / truth.sum())


def log_loss(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean negative log likelihood, in nats; p is clipped at float32 eps."""
    truth, scores = np.asarray(y, float), np.asarray(p, float)
    scores = np.clip(scores, SMALLEST, 1 - SMALLEST)
    return float(-np.mean(truth * np.log(scores) + (1 - truth) * np.log1p(-scores)))


def brier(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean squared error of the probability; Brier (1950)."""
    return float(np.mean((np.asarray(p, float) - np.asarray(y, float)) ** 2))


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
    truth, scores = np.asarray(y, float), np.asarray(p, float)
    place = np.minimum((scores * bins).astype(int), bins - 1)
    found = []
    for number in np.unique(place):
        here = place == number
        found.append(
            {
                "low": float(number / bins),
                "high": float((number + 1) / bins),
                "rows": int(here.sum()),
                "predicted": float(scores[here].mean()),
                "observed": float(truth[here].mean()),
            }
        )
    return found


def calibration_error(y: ArrayLike, p: ArrayLike, bins: int = 10) -> float:
    """Return the mean distance of predicted and observed over bins, by their rows."""
    parts = calibration(y, p, bins)
    rows = sum(part["rows"] for part in parts)
    gaps = (p["rows"] * abs(p["predicted"] - p["observed"]) for p in parts)
    return float(sum(gaps) / rows)


def _arrays(y: ArrayLike, p: ArrayLike) -> tuple[Vector, Vector]:
    """Return both as float64 vectors; both classes and finite scores are needed."""
    truth, scores = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if truth.shape != scores.shape or truth.ndim != 1:
        raise ValueError(
            f"y is {truth.shape} and p is {scores.shape}; both must be [n]."
        )
    if not np.isfinite(scores).all():
        raise ValueError("A score is not a finite number.")
    if not 0 < truth.sum() < len(truth):
        raise ValueError("All rows are of one class; this measure needs both.")
    return truth, scores


def _midranks(values: Vector) -> Vector:
    """Return ranks from 1, equal values sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Vector = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def _placements(truth: Vector, scores: Vector) -> tuple[Vector, Vector]:
    """Return, for each 1, the share of 0s below it; for each 0, of 1s above it."""
    ones, zeros = scores[truth == 1], scores[truth == 0]
    both = _midranks(np.concatenate([ones, zeros]))
    above = (both[: len(ones)] - _midranks(ones)) / len(zeros)
    below = 1 - (both[len(ones) :] - _midranks(zeros)) / len(ones)
    return above, below
