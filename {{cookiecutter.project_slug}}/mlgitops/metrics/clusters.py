"""The variance of means when rows of one entity belong together; pure.

`clusters` is the number of each row's entity, int [n], or None where every row stands
for itself. Rows of one entity are then summed before they are squared: Obuchowski
(1997), Biometrics 53(2) for ROC areas; of a plain mean it is the cluster-robust
sandwich.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Codes = NDArray[np.int64]


class Spread(NamedTuple):
    """A variance, and the degrees of freedom that it is known with."""

    variance: float
    freedom: float = float("inf")

    def reach(self, confidence: float) -> float:
        """Return how far a two-sided interval reaches from its middle."""
        return quantile(confidence, self.freedom) * math.sqrt(self.variance)


def variances(
    values: Vector, groups: Codes, count: int, clusters: Codes | None = None
) -> tuple[Vector, Codes]:
    """Return each group's variance of the mean of its values, and what it rests on.

    `groups` [n] are whole numbers below `count`; it rests on rows or entities [count].
    Of less than two nothing is known, and 0 is said.
    """
    sums, of, _ = _sums(values, groups, count, clusters)
    number = np.bincount(of, minlength=count)
    squares = np.bincount(of, sums**2, count)
    return squares * number / np.maximum(number - 1, 1), number


def spread(values: Vector, groups: Codes, clusters: Codes | None = None) -> Spread:
    """Return the variance of the sum of the groups' means of their values.

    By rows the groups are independent. An entity may have rows in several of them;
    the degrees of freedom are those of Satterthwaite (1946), Biometrics Bulletin 2(6).
    """
    count = int(groups.max()) + 1
    own, number = variances(values, groups, count, clusters)
    if clusters is None:
        return Spread(float(own.sum()))
    sums, _, entity = _sums(values, groups, count, clusters)
    whole, entities = np.bincount(entity, sums), len(np.unique(entity))
    shared = float(np.sum(whole**2) - np.sum(sums**2))
    variance = float(own.sum()) + shared * entities / max(entities - 1, 1)
    rests = float(np.sum(own**2 / np.maximum(number - 1, 1)))
    return Spread(variance, float(own.sum()) ** 2 / rests if rests else float("inf"))


def quantile(confidence: float, freedom: float = float("inf")) -> float:
    """Return how many standard errors a two-sided interval reaches: Student's t."""
    if freedom == float("inf"):
        return NormalDist().inv_cdf(0.5 + confidence / 2)
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + confidence / 2))


def _sums(
    values: Vector, groups: Codes, count: int, clusters: Codes | None
) -> tuple[Vector, Codes, Codes]:
    """Return the parts that a group's mean is the sum of, less that mean.

    One part for each row, or for each entity in each group: its size, group and entity.
    """
    rows = np.maximum(np.bincount(groups, minlength=count), 1)
    means = np.bincount(groups, values, count) / rows
    rest = (values - means[groups]) / rows[groups]
    if clusters is None:
        return rest, groups, groups
    pairs, place = np.unique(clusters * count + groups, return_inverse=True)
    sums = np.asarray(np.bincount(place, rest), np.float64)
    return sums, pairs % count, pairs // count
