"""ROC AUC of two models on the same rows, with DeLong's interval."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pipeline.metrics.binary import Vector, arrays, midranks


class Difference(NamedTuple):
    """ROC AUC of two models on the same rows, and the interval of the difference."""

    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    confidence: float


def delong(
    y: ArrayLike, champion: ArrayLike, challenger: ArrayLike, confidence: float = 0.95
) -> Difference:
    """Return challenger minus champion in ROC AUC, with DeLong's paired interval.

    DeLong et al. (1988), Biometrics 44(3); midranks as in Sun and Xu (2014), IEEE
    Signal Processing Letters 21(11). O(n log n), a normal approximation.
    """
    truth, first = arrays(y, champion)
    _, second = arrays(y, challenger)
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


def _placements(truth: Vector, scores: Vector) -> tuple[Vector, Vector]:
    """Return, for each 1, the share of 0s below it; for each 0, of 1s above it."""
    ones, zeros = scores[truth == 1], scores[truth == 0]
    both = midranks(np.concatenate([ones, zeros]))
    above = (both[: len(ones)] - midranks(ones)) / len(zeros)
    below = 1 - (both[len(ones) :] - midranks(zeros)) / len(ones)
    return above, below
