"""The team's own metrics, of `model/metrics.py`: known by name, never believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[[Any, Any], float]


def functions() -> dict[str, Function]:
    """Return the team's functions of y and a prediction by name; higher is better."""
    from model.metrics import METRICS

    return dict(METRICS)


def guarded(name: str, function: Function) -> Function:
    """Return the function, so that it gives a finite number or raises ValueError."""

    def value(y: Any, prediction: Any) -> float:
        try:
            found = float(function(y, prediction))
        except Exception as error:  # a stranger's function may raise anything
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise ValueError(f"model/metrics.py: {name} raised {why}") from error
        if not np.isfinite(found):
            raise ValueError(f"model/metrics.py: {name} gave {found}, no number")
        return found

    return value
