"""Metrics for many weightings of the rows at once, as the bootstrap asks for them.

Each takes weights [r, n], `y` [n] and predictions [n], and returns a value each, [r].
scikit-learn takes one weighting a call: 1,000 of 4,000 rows took it 2.3 s in place of
0.3 s (average precision), and 2.8 s in place of 0.02 s (F1).
"""

import numpy as np

from mlgitops.judge.compare import Array, Vector


def average_precision(weights: Vector, y: Array, p: Array) -> Vector:
    """Return the average precision of probabilities of a 1."""
    order = np.argsort(-p, kind="stable")
    last_of_equals = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))
    ordered = weights[:, order]
    selected = np.cumsum(ordered, axis=1)[:, last_of_equals]
    hits = np.cumsum(ordered * y[order], axis=1)[:, last_of_equals]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(selected > 0, hits / selected, 0.0)
        steps = np.diff(hits, axis=1, prepend=0.0)
        return np.asarray((steps * precision).sum(axis=1) / hits[:, -1])


def calibration_error(weights: Vector, y: Array, p: Array, bins: int = 10) -> Vector:
    """Return the expected calibration error of probabilities of a 1."""
    index = np.clip((p * bins).astype(int), 0, bins - 1)
    in_bin = np.zeros((len(p), bins))
    in_bin[np.arange(len(p)), index] = 1.0
    gaps = weights @ (in_bin * (p - y)[:, None])
    return np.asarray(np.abs(gaps).sum(axis=1) / weights.sum(axis=1))


def f1(weights: Vector, y: Array, decisions: Array, k: int, by_rows: bool) -> Vector:
    """Return the mean F1 of k classes; `y` and the decisions are class indices.

    With `by_rows` each class is weighted by its rows; else the mean is over the classes
    that are true or decided for some row.
    """
    true, decided = (np.eye(k)[np.asarray(i, int)] for i in (y, decisions))
    rows, selected, hits = weights @ true, weights @ decided, weights @ (true * decided)
    with np.errstate(invalid="ignore"):
        scores = 2 * hits / (rows + selected)
    if by_rows:
        return np.asarray(np.nansum(scores * rows, axis=1) / rows.sum(axis=1))
    return np.asarray(np.nanmean(scores, axis=1))
