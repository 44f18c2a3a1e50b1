"""Two models on the same rows: differences with paired intervals; arrays in, out.

A difference is challenger minus champion. `groups` [n] number the rows' groups (one
customer's rows, one aircraft's), where rows of one group depend on each other.
"""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlgitops import metrics
from mlgitops.judgement import McNemar
from mlgitops.metrics.groups import quantile, spread

Array = np.ndarray
Vector = NDArray[np.float64]
Codes = NDArray[np.int64]

STEPS, CLOSE = 50, 1e-6  # the search for an end of an interval
LEAST_P = 1e-12  # the resolution of a p-value by group


class Interval(NamedTuple):
    """A difference with its interval, and the method that gave the interval."""

    difference: float
    low: float
    high: float
    method: str


class Pair(NamedTuple):
    """The predictions of two models on the same rows, and the interval's confidence."""

    y: Array
    champion: Array
    challenger: Array
    confidence: float
    groups: Codes | None = None


def mean_difference(
    champion: Array, challenger: Array, confidence: float, groups: Codes | None = None
) -> Interval:
    """Return the difference of two means over the same rows [n], with its interval.

    The central limit theorem for the mean of paired differences, corrected for their
    skewness.
    """
    gaps = np.asarray(challenger, np.float64) - champion
    mean = float(gaps.mean())
    if len(gaps if groups is None else np.unique(groups)) < 2:
        return Interval(mean, -math.inf, math.inf, "paired mean")
    one_stratum = np.zeros(len(gaps), np.int64)
    ends = spread(gaps, one_stratum, groups).ends(mean, confidence)
    return Interval(mean, *ends, "paired mean")


def ratio_of_means(
    part: Array, whole: Array, confidence: float, groups: Codes | None = None
) -> Interval:
    """Return the ratio of two means over the same rows [n], with its interval.

    It holds the ratios r by which the mean of `part - r * whole` may be 0: Fieller
    (1954), Journal of the Royal Statistical Society B 16(2). Where the mean of `whole`,
    which is above 0 here, may be 0 as well, every ratio may be: the ends are infinite.
    """
    mean = float(whole.mean())
    ratio = float(part.mean()) / mean

    def end(side: int) -> float:
        found = ratio
        for _ in range(STEPS):
            _, *ends, _ = mean_difference(found * whole, part, confidence, groups)
            step = float(ends[side]) / mean
            found += step
            if abs(step) <= CLOSE * abs(found - ratio) or not math.isfinite(step):
                return found
        return (-math.inf, math.inf)[side]

    return Interval(ratio, end(0), end(1), "ratio of paired means")


def row_mean(losses: Callable[[Array, Array], Array], pair: Pair) -> Interval:
    """Compare two models by a metric that is the mean of `losses(y, p)` [n]."""
    champion, challenger = (losses(pair.y, p) for p in pair[1:3])
    return mean_difference(champion, challenger, pair.confidence, pair.groups)


def analytic(
    paired: Callable[..., metrics.Difference], method: str, pair: Pair
) -> Interval:
    """Compare two models by a metric whose interval has a formula: `paired(*pair)`."""
    result = paired(*pair)
    return Interval(result.difference, result.low, result.high, method)


def mcnemar(champion: Array, challenger: Array, groups: Codes | None = None) -> McNemar:
    """Test two models' correct decisions (bool [n]) where only one of them is correct.

    The exact two-sided test of McNemar (1947), Psychometrika 12(2). With groups it is
    the sign-flip test of each group's wins minus its losses.
    """
    from scipy.special import bdtr  # scipy.stats would take a second to import

    losses, wins = (
        int((champion & ~challenger).sum()),
        int((~champion & challenger).sum()),
    )
    if groups is None:
        p = min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))
    else:
        gains = challenger.astype(np.float64) - champion
        p = _sign_flip(np.asarray(np.bincount(groups, gains), np.float64))
    return McNemar(losses, wins, p)


def _sign_flip(gains: Vector) -> float:
    """Return how often whole numbers [k] with random signs sum to at least this much.

    Exact, as the product of the numbers' characteristic functions.
    """
    sizes, counts = np.unique(np.abs(gains[gains != 0]), return_counts=True)
    largest = int(np.dot(sizes, counts))
    angles = 2 * np.pi * np.arange(2 * largest + 1) / (2 * largest + 1)
    transform = np.ones(2 * largest + 1)
    for size, count in zip(sizes, counts, strict=True):
        transform *= np.cos(size * angles) ** count
    chances = np.fft.ifft(transform).real
    sums = np.minimum(np.arange(2 * largest + 1), np.arange(2 * largest + 1, 0, -1))
    p = chances[sums >= abs(round(gains.sum()))].sum()
    return float(np.clip(p, LEAST_P, 1.0))


def difference_of_shares(
    hits: Vector, rows: Vector, confidence: float
) -> tuple[Vector, Vector, Vector]:
    """Return the first minus the second share, hits/rows [2, k], with both ends [k].

    Newcombe (1998), Statistics in Medicine 17(8), method 10: from the score intervals
    of Wilson, so that it holds for few rows and for shares near 0 and 1.
    """
    z = quantile(confidence)
    p, q = hits / rows
    (p_low, p_high), (q_low, q_high) = _wilson(p, rows[0], z), _wilson(q, rows[1], z)
    low = p - q - np.sqrt((p - p_low) ** 2 + (q_high - q) ** 2)
    high = p - q + np.sqrt((p_high - p) ** 2 + (q - q_low) ** 2)
    return p - q, low, high


def _wilson(p: Vector, rows: Vector, z: float) -> tuple[Vector, Vector]:
    """Return the ends of Wilson's score interval of shares of so many rows."""
    center = (p + z**2 / (2 * rows)) / (1 + z**2 / rows)
    reach = np.sqrt(p * (1 - p) / rows + z**2 / (4 * rows**2)) * z / (1 + z**2 / rows)
    return center - reach, center + reach


def difference_of_means(
    sums: Vector, rows: Vector, squares: Vector, pairs: Codes, confidence: float
) -> tuple[Vector, Vector, Vector]:
    """Return the difference of the means of two samples, with both ends [k].

    `pairs` [2, k] are indices of samples; Welch (1947).
    """
    means = sums / rows
    variance = np.maximum(squares / rows - means**2, 0) / np.maximum(rows - 1, 1)
    gap = means[pairs[0]] - means[pairs[1]]
    reach = quantile(confidence) * np.sqrt(variance[pairs].sum(axis=0))
    return gap, gap - reach, gap + reach


def smallest(low: float, high: float, confidence: float, power: float = 0.8) -> float:
    """Return the smallest true difference that these rows show with this power.

    From the width of an interval: (z_confidence + z_power) standard errors.
    """
    error = (high - low) / 2 / quantile(confidence)
    return (quantile(confidence) + NormalDist().inv_cdf(power)) * error


def holm(p: Vector) -> Vector:
    """Return p-values [k] adjusted for their number.

    Holm (1979), Scandinavian Journal of Statistics 6(2).
    """
    order = np.argsort(p)
    steps = p[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
