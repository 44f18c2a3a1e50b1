"""The team's own metrics, of `model/metrics.py`: known by name, never believed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

Function = Callable[[np.ndarray, np.ndarray], float]


def functions() -> dict[str, Function]:
    """Return the team's functions of y and a prediction by name; higher is better."""
    from model.metrics import METRICS

    return dict(METRICS)


def guarded(name: str, function: Function) -> Callable[[ArrayLike, ArrayLike], float]:
    """Return the function, so that it gives a finite number or raises ValueError."""

    def value(y: ArrayLike, prediction: ArrayLike) -> float:
        try:
            number = float(function(np.asarray(y), np.asarray(prediction)))
        except Exception as error:  # a team's function may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise ValueError(f"model/metrics.py: {name} raised {reason}") from error
        if not math.isfinite(number):
            raise ValueError(f"model/metrics.py: {name} gave {number}, not a number")
        return number

    return value
