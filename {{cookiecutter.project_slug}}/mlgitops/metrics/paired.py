"""The headline of two models on the same rows, with the interval of its difference.

`groups` are the rows' entities, as `mlgitops.metrics.groups` takes them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mlgitops.metrics import multiclass, regression
from mlgitops.metrics.binary import Vector, arrays, midranks
from mlgitops.metrics.groups import Codes, Spread, spread


class Difference(NamedTuple):
    """The primary metric of two models on the same rows, and their difference."""

    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    confidence: float


def delong(
    y: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    confidence: float = 0.95,
    groups: Codes | None = None,
) -> Difference:
    """Return challenger minus champion in ROC AUC, with DeLong's paired interval.

    DeLong et al. (1988), Biometrics 44(3); midranks as in Sun and Xu (2014), IEEE
    Signal Processing Letters 21(11). O(n log n), a normal approximation.
    """
    truth, first = arrays(y, champion)
    _, second = arrays(y, challenger)
    parts = [_placements(truth, scores) for scores in (first, second)]
    areas = [float(ones.mean()) for ones, _ in parts]
    gaps = np.empty(len(truth))
    for label, before, after in zip((1, 0), *parts, strict=True):
        gaps[truth == label] = after - before
    variance = spread(gaps, truth.astype(np.int64), groups)
    return _interval(areas[0], areas[1], variance, confidence)


def delong_macro(
    y: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    confidence: float = 0.95,
    groups: Codes | None = None,
) -> Difference:
    """Return the difference in macro ROC AUC, of classes y [n] and P [n, k], as DeLong.

    The macro mean is a sum over rows too: each row counts in the area of its own class
    and, as one of the rest, in those of the others. Its variance is that of the rows'
    parts, class by class; of two classes it is DeLong's.
    """
    return _classes(y, champion, challenger, confidence, groups, False)


def delong_weighted(
    y: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    confidence: float = 0.95,
    groups: Codes | None = None,
) -> Difference:
    """Return the same with each class weighted by its rows."""
    return _classes(y, champion, challenger, confidence, groups, True)


def _classes(
    y: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    confidence: float,
    groups: Codes | None,
    weighted: bool,
) -> Difference:
    """Return the difference of a mean of the classes' areas."""
    truth, first = multiclass.arrays(y, champion)
    _, second = multiclass.arrays(y, challenger)
    rows = np.bincount(truth, minlength=first.shape[1])
    if not rows.all():
        raise ValueError("Not every class has a row; this metric needs all.")
    share = rows / len(truth) if weighted else np.full(len(rows), 1 / len(rows))
    parts = [_parts(truth, scores, rows, share) for scores in (first, second)]
    areas = [float(area) for area, _ in parts]
    variance = spread(parts[1][1] - parts[0][1], truth, groups)
    return _interval(areas[0], areas[1], variance, confidence)


def paired_r2(
    y: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    confidence: float = 0.95,
    groups: Codes | None = None,
) -> Difference:
    """Return the difference in R2: the mean of paired differences of squared errors.

    The spread of `y` on these rows is taken as given, as both models meet it.
    """
    first, second = (regression.losses(y, p) for p in (champion, challenger))
    variance = spread(first - second, np.zeros(len(first), np.int64), groups)
    r2s = 1 - float(first.mean()), 1 - float(second.mean())
    return _interval(*r2s, variance, confidence)


def _interval(
    champion: float, challenger: float, variance: Spread, confidence: float
) -> Difference:
    """Return the difference of two metrics with its interval."""
    gap, reach = challenger - champion, variance.reach(confidence)
    return Difference(champion, challenger, gap, gap - reach, gap + reach, confidence)


def _parts(
    truth: multiclass.Labels, scores: Vector, rows: multiclass.Labels, share: Vector
) -> tuple[float, Vector]:
    """Return the mean area, classes weighted by share [k], and each row's part."""
    parts, areas = np.zeros(len(truth)), []
    for index, count in enumerate(rows.tolist()):
        own = truth == index
        ones, zeros = _placements(own.astype(np.float64), scores[:, index])
        areas.append(float(ones.mean()))
        parts[own] += ones * share[index]
        rest = len(truth) - count
        parts[~own] += zeros * (rows[truth[~own]] / rest) * share[index]
    return float(np.dot(areas, share)), parts


def _placements(truth: Vector, scores: Vector) -> tuple[Vector, Vector]:
    """Return, for each 1, the share of 0s below it; for each 0, of 1s above it."""
    ones, zeros = scores[truth == 1], scores[truth == 0]
    ranks = midranks(np.concatenate([ones, zeros]))
    below = (ranks[: len(ones)] - midranks(ones)) / len(zeros)
    above = 1 - (ranks[len(ones) :] - midranks(zeros)) / len(ones)
    return below, above
