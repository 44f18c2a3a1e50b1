"""The primary metric of two models on the same rows, with the difference's interval.

Each metric is a sum over rows, so that the variance of a difference is that of the
rows' terms. `groups` are the rows' entities, as `mlgitops.metrics.groups` takes them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mlgitops.metrics import multiclass, regression
from mlgitops.metrics.binary import Vector, arrays, midranks
from mlgitops.metrics.groups import Codes, spread

Terms = tuple[float, Vector]  # a model's metric, and what each row adds to it [n]


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
    confidence: float,
    groups: Codes | None = None,
) -> Difference:
    """Return challenger minus champion in ROC AUC, with DeLong's paired interval.

    DeLong et al. (1988), Biometrics 44(3); midranks as in Sun and Xu (2014), IEEE
    Signal Processing Letters 21(11). O(n log n), a normal approximation.
    """
    models = [arrays(y, p) for p in (champion, challenger)]
    strata = models[0][0].astype(np.int64)
    return _difference([_area(*model) for model in models], strata, confidence, groups)


def delong_macro(
    y: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    confidence: float,
    groups: Codes | None = None,
    weighted: bool = False,
) -> Difference:
    """Return the difference in macro ROC AUC, of classes y [n] and P [n, k], as DeLong.

    The mean over classes is a sum over rows too: each row counts in the area of its own
    class and, as one of the rest, in those of the others. Its variance is that of the
    rows' terms, class by class; of two classes it is DeLong's.
    """
    models = [multiclass.arrays(y, p) for p in (champion, challenger)]
    areas = [_mean_area(*model, weighted) for model in models]
    return _difference(areas, models[0][0], confidence, groups)


def delong_weighted(
    y: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    confidence: float,
    groups: Codes | None = None,
) -> Difference:
    """Return the same with each class weighted by its rows."""
    return delong_macro(y, champion, challenger, confidence, groups, weighted=True)


def paired_r2(
    y: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    confidence: float,
    groups: Codes | None = None,
) -> Difference:
    """Return the difference in R2: the mean of paired differences of squared errors.

    The variance of `y` on these rows is taken as given, as it is one for both models.
    """
    losses = [regression.losses(y, p) for p in (champion, challenger)]
    before, after = (1 - float(loss.mean()) for loss in losses)
    strata = np.zeros(len(losses[0]), np.int64)
    found = spread(losses[0] - losses[1], strata, groups)
    ends = found.ends(after - before, confidence)
    return Difference(before, after, after - before, *ends, confidence)


def _difference(
    models: list[Terms], strata: Codes, confidence: float, groups: Codes | None
) -> Difference:
    """Return the difference of a metric that is a sum of means over strata of rows."""
    (champion, before), (challenger, after) = models
    gap = challenger - champion
    reach = spread(after - before, strata, groups).reach(confidence)
    return Difference(champion, challenger, gap, gap - reach, gap + reach, confidence)


def _mean_area(truth: multiclass.Labels, scores: Vector, weighted: bool) -> Terms:
    """Return the mean over classes of the area of one against the rest."""
    rows = multiclass.rows_of_classes(truth, scores)
    shares = rows / len(truth) if weighted else np.full(len(rows), 1 / len(rows))
    mean, terms = 0.0, np.zeros(len(truth))
    for index, share in enumerate(shares.tolist()):
        own = truth == index
        area, parts = _area(own.astype(np.float64), scores[:, index])
        mean += area * share
        parts[~own] *= rows[truth[~own]] / (len(truth) - rows[index])
        terms += parts * share
    return mean, terms


def _area(truth: Vector, scores: Vector) -> Terms:
    """Return the ROC AUC; for each 1 the share of 0s below it, for each 0 of 1s above.

    The mean of either is the area.
    """
    ones, zeros = scores[truth == 1], scores[truth == 0]
    ranks = midranks(np.concatenate([ones, zeros]))
    below = (ranks[: len(ones)] - midranks(ones)) / len(zeros)
    terms = np.empty(len(truth))
    terms[truth == 1] = below
    terms[truth == 0] = 1 - (ranks[len(ones) :] - midranks(zeros)) / len(ones)
    return float(below.mean()), terms
