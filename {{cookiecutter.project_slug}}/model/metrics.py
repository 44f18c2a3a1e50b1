"""Metrics of your own: each stands in the report, and can be a gate in params.yaml."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# name: function(y, prediction) -> a number, higher is better (return -loss for a loss).
# `y` is [n]; `prediction` is P(1) [n], P of each class [n, k], or the value [n].
# Such as {"accuracy": lambda y, prediction: float(((prediction >= 0.3) == y).mean())}
METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {}
