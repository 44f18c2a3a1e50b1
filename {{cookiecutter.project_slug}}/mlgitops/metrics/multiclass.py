"""Metrics of class probabilities; pure, scikit-learn's where it has them.

`y` is the class's index [n], from 0 to k - 1; `p` is [n, k]. The decision is the
class of the largest probability, the first of equal ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlgitops.metrics import binary

Vector = NDArray[np.float64]
Labels = NDArray[np.int64]


def roc_auc_macro(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean over classes of the ROC AUC of one class against the rest.

    Provost and Domingos (2000); raises ValueError when `y` lacks a class.
    """
    truth, scores = arrays(y, p)
    return float(np.mean(_one_vs_rest(truth, scores)))


def roc_auc_weighted(y: ArrayLike, p: ArrayLike) -> float:
    """Return the same mean, each class weighted by its rows."""
    truth, scores = arrays(y, p)
    rows = rows_of_classes(truth, scores)
    return float(np.average(_one_vs_rest(truth, scores), weights=rows))


def log_loss(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean negative log likelihood, in nats; p is clipped at float32 eps."""
    truth, scores = arrays(y, p)
    own = scores[np.arange(len(truth)), truth]
    return float(-np.mean(np.log(np.clip(own, binary.SMALLEST, 1))))


def brier(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean over rows of the summed squared errors, 0 to 2; Brier (1950)."""
    return float(np.mean(losses(y, p)))


def losses(y: ArrayLike, p: ArrayLike) -> Vector:
    """Return the summed squared errors of each row, whose mean is the Brier score."""
    truth, scores = arrays(y, p)
    own = scores[np.arange(len(truth)), truth]
    return np.asarray((scores**2).sum(axis=1) - own**2 + (1 - own) ** 2)


def accuracy(y: ArrayLike, p: ArrayLike) -> float:
    """Return the share of rows whose decision is their class."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(*_decisions(y, p)))


def f1_macro(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean F1 of the classes that are true or decided for some row."""
    from sklearn.metrics import f1_score

    return float(f1_score(*_decisions(y, p), average="macro"))


def f1_weighted(y: ArrayLike, p: ArrayLike) -> float:
    """Return the mean F1 of the classes, each weighted by its rows."""
    from sklearn.metrics import f1_score

    return float(f1_score(*_decisions(y, p), average="weighted"))


def calibration_error(y: ArrayLike, p: ArrayLike, bins: int = 10) -> float:
    """Return the calibration error of the largest probability: top label.

    Guo et al. (2017), ICML 70.
    """
    return binary.calibration_error(*top(y, p), bins)


def top(y: ArrayLike, p: ArrayLike) -> tuple[Vector, Vector]:
    """Return whether each decision is right, 0/1 [n], and its probability [n]."""
    truth, scores = arrays(y, p)
    right: Vector = (scores.argmax(axis=1) == truth).astype(np.float64)
    largest: Vector = scores.max(axis=1)
    return right, largest


def confusion_matrix(y: ArrayLike, p: ArrayLike, k: int) -> list[list[int]]:
    """Return the counts [k][k]: a row per true class, a column per decision."""
    from sklearn.metrics import confusion_matrix

    truth, scores = arrays(y, p)
    if scores.shape[1] != k:
        raise ValueError(f"p has {scores.shape[1]} classes, expected {k}.")
    counts = confusion_matrix(truth, scores.argmax(axis=1), labels=range(k))
    return [[int(count) for count in row] for row in counts]


def arrays(y: ArrayLike, p: ArrayLike) -> tuple[Labels, Vector]:
    """Return class indices and finite float64 probabilities, or raise ValueError."""
    truth, scores = np.asarray(y), np.asarray(p, np.float64)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not len(truth):
        raise ValueError(
            f"y is {truth.shape} and p is {scores.shape}; they must be [n] and [n, k]."
        )
    if not np.isfinite(scores).all():
        raise ValueError("A score is not a finite number.")
    labels = truth.astype(np.int64)
    if labels.min() < 0 or labels.max() >= scores.shape[1] or (labels != truth).any():
        raise ValueError(f"A class is not an index from 0 to {scores.shape[1] - 1}.")
    return labels, scores


def rows_of_classes(truth: Labels, scores: Vector) -> Labels:
    """Return the rows of each class [k]; ValueError where a class has none."""
    rows = np.bincount(truth, minlength=scores.shape[1])
    if not rows.all():
        raise ValueError("Not every class has a row; this metric needs all.")
    return rows


def _one_vs_rest(truth: Labels, scores: Vector) -> list[float]:
    """Return the ROC AUC of each class against the rest."""
    rows_of_classes(truth, scores)
    return [binary.roc_auc(truth == k, scores[:, k]) for k in range(scores.shape[1])]


def _decisions(y: ArrayLike, p: ArrayLike) -> tuple[Labels, Labels]:
    """Return class indices, and those of the largest probabilities."""
    truth, scores = arrays(y, p)
    return truth, scores.argmax(axis=1)
