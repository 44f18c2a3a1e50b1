"""Estimates the primary metric before labels come, from the probabilities; pure.

A calibrated model that says 0.3 is right about 0.3 of such rows, so what its
probabilities imply is what labels would show, as long as only the inputs have changed.
When the meaning of the inputs changes, the estimate does not see it; so it is compared
with the labels once they have come, and the error is kept. A predicted number says
nothing about its own error, so there is no estimate for a regression.
"""

from __future__ import annotations

from mlgitops.monitor.evidence import Estimate
from mlgitops.monitor.primary_metric import Array, PrimaryMetric

CALIBRATED = 0.05  # calibration error up to which an estimate is believed


def estimate(
    window: Array, holdout: Array, truth: Array, metric: PrimaryMetric
) -> Estimate | None:
    """Return the estimate for a window's probabilities [n]; None if not calibrated.

    ``truth`` are the holdout's labels.
    """
    error = metric.calibration(truth, holdout)
    if error is None or error > CALIBRATED:
        return None
    current, past = (metric.expected(p) for p in (window, holdout))
    return None if current is None or past is None else Estimate(current, past)
