"""Metrics of P(y = 1); pure, scikit-learn's where it has them.

scikit-learn is imported where a metric is computed: it takes a second, and whoever
reads the settings needs only the names.

`y` is 0/1 [n], `p` is P(y = 1) [n]; a metric that needs both classes raises
ValueError when `y` holds one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]
SMALLEST = float(np.finfo(np.float32).eps)  # probabilities are float32: clip there


def roc_auc(y: ArrayLike, p: ArrayLike) -> float:
    """Return the area under the ROC curve: P(score of a 1 > score of a 0), ties half.

    Mann and Whitney (1947), Annals of Mathematical Statistics 18(1).
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*arrays(y, p)))


def roc_curve(y: ArrayLike, p: ArrayLike, points: int) -> list[list[float]]:
    """Return at most `points` [false, true positive rate] pairs, from 0, 0 to 1, 1."""
    from sklearn import metrics

    false_rates, true_rates, _ = metrics.roc_curve(
        *arrays(y, p), drop_intermediate=False
    )
    steps = np.stack([false_rates, true_rates], axis=1)
    even = np.linspace(0, 2, points)  # along the curve, x + y runs from 0 to 2
    indices = np.searchsorted(steps.sum(axis=1), even).clip(0, len(steps) - 1)
    return [[float(x), float(y)] for x, y in steps[np.unique(indices)]]


def average_precision(y: ArrayLike, p: ArrayLike) -> float:
    """Return the precision averaged over the recall steps, equal scores as one step."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*arrays(y, p)))


def log_loss(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean negative log likelihood, in nats; p is clipped at float32 eps."""
    from sklearn.metrics import log_loss

    truth, scores = vectors(y, p)
    scores = np.clip(scores, SMALLEST, 1 - SMALLEST)
    return float(log_loss(truth, scores, labels=[0, 1]))


def brier(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean squared error of the probability; Brier (1950)."""
    return float(np.mean(losses(y, p)))


def losses(y: ArrayLike, p: ArrayLike) -> Vector:
    """Return the squared error of each row, whose mean is the Brier score."""
    truth, scores = vectors(y, p)
    return np.asarray((scores - truth) ** 2)


def confusion(y: ArrayLike, p: ArrayLike, threshold: float) -> dict[str, float | None]:
    """Return the four counts, precision and recall of the decision p >= threshold.

    Precision is None when nothing is predicted, recall is None without a 1.
    """
    from sklearn.metrics import confusion_matrix

    decided = np.asarray(p) >= np.float32(threshold)
    counts = confusion_matrix(np.asarray(y) == 1, decided, labels=[False, True])
    (true_negative, false_positive), (false_negative, true_positive) = counts.tolist()
    predicted, actual = true_positive + false_positive, true_positive + false_negative
    return {
        "true_positive": true_positive,
        "false_positive": false_positive,
        "false_negative": false_negative,
        "true_negative": true_negative,
        "precision": true_positive / predicted if predicted else None,
        "recall": true_positive / actual if actual else None,
    }


def calibration(y: ArrayLike, p: ArrayLike, bins: int) -> list[dict[str, float]]:
    """Return per bin of equal width: limits, rows, mean predicted, share observed."""
    truth, scores = vectors(y, p)
    bin_of = np.clip((scores * bins).astype(int), 0, bins - 1)
    rows = np.bincount(bin_of, minlength=bins)
    sums = [np.bincount(bin_of, part, bins) for part in (scores, truth)]
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


def arrays(y: ArrayLike, p: ArrayLike) -> tuple[Vector, Vector]:
    """Return both as float64 vectors, or raise ValueError without a 0 or a 1."""
    truth, scores = vectors(y, p)
    if not 0 < truth.sum() < len(truth):
        raise ValueError("All rows are of one class; this metric needs both.")
    return truth, scores


def vectors(y: ArrayLike, p: ArrayLike) -> tuple[Vector, Vector]:
    """Return both as float64 vectors [n] of finite numbers, or raise ValueError."""
    truth, scores = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if truth.shape != scores.shape or truth.ndim != 1 or not len(truth):
        raise ValueError(
            f"y is {truth.shape} and p is {scores.shape}; both must be [n]."
        )
    if not (np.isfinite(truth).all() and np.isfinite(scores).all()):
        raise ValueError("A target or a prediction is not a finite number.")
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
