"""How far two columns are apart, the way Evidently counts it, in numpy; pure.

The template's ``test_monitor_calibrate.py`` holds both against Evidently's own numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
SMALLEST = 0.001  # standard deviation below which Evidently divides by this


def wasserstein(reference: Any, current: Any) -> float:
    """Return the area between both distribution functions, in standard deviations.

    Numbers, [n] and [m]; NaN is left out. The standard deviation is the reference's.
    Vallender (1974), Theory of Probability and its Applications 18(4).
    """
    first, second = _sorted(reference), _sorted(current)
    both = np.sort(np.concatenate([first, second]), kind="stable")
    steps = np.diff(both)
    left = np.searchsorted(first, both[:-1], "right") / len(first)
    right = np.searchsorted(second, both[:-1], "right") / len(second)
    return float(np.abs(left - right) @ steps) / spread(first)


def spread(values: Vector) -> float:
    """Return the standard deviation that a distance is divided by."""
    return max(float(np.std(values)), SMALLEST)


def jensenshannon(reference: Any, current: Any) -> Any:
    """Return the Jensen-Shannon distance of rows of counts, natural logarithm.

    Both are [..., k] counts of the same k categories; returns [...]. Lin (1991), IEEE
    Transactions on Information Theory 37(1); the distance is its square root.
    """
    p = reference / reference.sum(-1, keepdims=True)
    q = current / current.sum(-1, keepdims=True)
    middle = (p + q) / 2
    return np.sqrt(np.maximum(_relative(p, middle) + _relative(q, middle), 0) / 2)


def counts(reference: Any, current: Any) -> tuple[Vector, Vector]:
    """Return how often each category is on both sides; None and NaN are left out."""
    import pandas as pd

    sides = [pd.Series(side).dropna() for side in (reference, current)]
    codes, known = pd.factorize(pd.concat(sides))
    split = len(sides[0])
    first = np.bincount(codes[:split], minlength=len(known)).astype(float)
    second = np.bincount(codes[split:], minlength=len(known)).astype(float)
    return first, second


def _sorted(values: Any) -> Vector:
    """Return the values that are there, sorted."""
    found = np.asarray(values)
    return np.sort(found[~np.isnan(found)]).astype(np.float64)


def _relative(p: Any, q: Any) -> Any:
    """Return the relative entropy of rows; 0 log 0 is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * np.log(p / q), 0).sum(-1)
