"""Estimates the primary metric before labels come, from the probabilities; pure.

A calibrated model that says 0.3 is right about 0.3 of such rows, so what its
probabilities imply is what labels would show, as long as only the inputs have changed.
When the meaning of the inputs changes, the estimate does not see it; so it is compared
with the labels once they have come, and the error is kept. A predicted number says
nothing about its own error, so there is no estimate for a regression.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlgitops.monitor.evidence import Estimate
from mlgitops.monitor.primary_metric import PrimaryMetric

CALIBRATED = 0.05  # calibration error up to which an estimate is believed


def expected_auc(probability: Any) -> float | None:
    """Return the ROC AUC that calibrated probabilities [n] imply; None if undefined.

    The chance that a random 1 is ranked above a random 0, where row i is a 1 with
    probability p_i; equal scores count half. O(n log n).
    """
    p, count = np.unique(np.asarray(probability, np.float64), return_counts=True)
    ones, zeros = p * count, (1 - p) * count
    below = np.cumsum(zeros) - zeros
    alone = (p * (1 - p) * count).sum()  # a row is never compared with itself
    ranked = (ones * (below + zeros / 2)).sum() - alone / 2
    pairs = ones.sum() * zeros.sum() - alone
    return float(ranked / pairs) if pairs > 0 else None


def estimate(
    window: Any, holdout: Any, truth: Any, metric: PrimaryMetric
) -> Estimate | None:
    """Return the estimate for a window's probabilities [n]; None if not calibrated.

    ``truth`` are the holdout's labels.
    """
    error = metric.calibration(truth, holdout)
    if error is None or error > CALIBRATED:
        return None
    current, past = (metric.expected(p, expected_auc) for p in (window, holdout))
    return None if current is None or past is None else Estimate(current, past)
