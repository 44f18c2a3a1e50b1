"""The variance of means when rows of one group depend on each other; pure.

`groups` is the number of each row's group (its entity: one customer, one aircraft), int
[n], or None where rows are independent. Rows of one group are summed before they are
squared: Obuchowski (1997), Biometrics 53(2) for ROC areas; of a plain mean it is the
cluster-robust sandwich estimator.
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
    """A variance, its degrees of freedom, and the skewness of what it is of."""

    variance: float
    freedom: float = float("inf")
    skewness: float = 0.0

    def reach(self, confidence: float) -> float:
        """Return half of the width of a two-sided interval."""
        return quantile(confidence, self.freedom) * math.sqrt(self.variance)

    def ends(self, estimate: float, confidence: float) -> tuple[float, float]:
        """Return the ends of a two-sided interval around a mean of skewed values.

        Where few rows lose much, a sample with too few of them has a mean that is too
        high and a variance that is too low at once. The transformation of Hall (1992),
        Journal of the Royal Statistical Society B 54(1), removes that.
        """
        z, error = quantile(confidence, self.freedom), math.sqrt(self.variance)
        above, below = self._unskewed(z), self._unskewed(-z)
        return estimate - error * above, estimate - error * below

    def _unskewed(self, z: float) -> float:
        """Return Hall's quantile of the studentised mean.

        His 3/a * (cbrt(1 + a*x) - 1), where a is the skewness and x is z - a/6, without
        a division by a, which may be 0 or a rounding error: it is then z.
        """
        x = z - self.skewness / 6
        root = math.cbrt(1 + self.skewness * x)
        return 3 * x / (root**2 + root + 1)


def variances(
    values: Vector, strata: Codes, count: int, groups: Codes | None = None
) -> tuple[Vector, Codes]:
    """Return each stratum's variance of the mean of its values, and the sample size.

    `strata` [n] are whole numbers below `count`; the sample size counts rows, or groups
    where there are any [count]. A variance from fewer than two of them is 0.
    """
    sums, stratum, _ = _sums(values, strata, count, groups)
    return _variances(sums, stratum, count)


def _variances(sums: Vector, stratum: Codes, count: int) -> tuple[Vector, Codes]:
    """Return the same from the terms of the means."""
    size = np.bincount(stratum, minlength=count)
    squares = np.bincount(stratum, sums**2, count)
    return squares * size / np.maximum(size - 1, 1), size


def spread(values: Vector, strata: Codes, groups: Codes | None = None) -> Spread:
    """Return the variance of the sum of the strata's means of their values.

    Independent rows make independent strata. A group may have rows in several of them;
    the degrees of freedom are those of Satterthwaite (1946), Biometrics Bulletin 2(6).
    """
    count = int(strata.max()) + 1
    sums, stratum, group = _sums(values, strata, count, groups)
    own, size = _variances(sums, stratum, count)
    if groups is None:
        return Spread(float(own.sum()), skewness=_skewness(sums))
    totals = np.asarray(np.bincount(group, sums), np.float64)
    present = len(np.unique(group))
    shared = float(np.sum(totals**2) - np.sum(sums**2))
    variance = float(own.sum()) + shared * present / max(present - 1, 1)
    denominator = float(np.sum(own**2 / np.maximum(size - 1, 1)))
    if not denominator:
        return Spread(variance)
    freedom = float(own.sum()) ** 2 / denominator
    return Spread(variance, freedom, _skewness(totals))


def _skewness(terms: Vector) -> float:
    """Return the skewness of a sum of independent terms [k], each centred."""
    size = math.sqrt(float(terms @ terms))
    if not size:
        return 0.0
    terms = terms / size
    return float(terms @ (terms * terms))


def quantile(confidence: float, freedom: float = float("inf")) -> float:
    """Return how many standard errors a two-sided interval reaches: Student's t."""
    if freedom == float("inf"):
        return NormalDist().inv_cdf(0.5 + confidence / 2)
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + confidence / 2))


def _sums(
    values: Vector, strata: Codes, count: int, groups: Codes | None
) -> tuple[Vector, Codes, Codes]:
    """Return the terms whose sum is a stratum's mean, centred at that mean.

    There is one term per row, or per group in each stratum: its value, stratum, group.
    """
    rows = np.maximum(np.bincount(strata, minlength=count), 1)
    means = np.bincount(strata, values, count) / rows
    centred = (values - means[strata]) / rows[strata]
    if groups is None:
        return centred, strata, strata
    pairs, pair = np.unique(groups * count + strata, return_inverse=True)
    sums = np.asarray(np.bincount(pair, centred), np.float64)
    return sums, pairs % count, pairs // count
