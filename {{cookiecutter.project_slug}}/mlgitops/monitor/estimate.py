"""Estimates the headline before labels come, from the model's probabilities; pure.

A calibrated model that says 0.3 is right about 0.3 of such rows, so what its answers
promise is what labels would show: as long as only the inputs have moved. When the
meaning of the inputs changes, the estimate does not see it; so it is compared with
the truth once labels have come, and the error is kept. A predicted number promises
nothing of its own error, so there is no estimate for a regression.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlgitops.monitor.measure import BINARY, Measure

CALIBRATED = 0.05  # mean distance of said and seen, up to which a promise is believed


class Estimate(NamedTuple):
    """What the answers promise in the window and on the holdout, and what came."""

    window: float
    holdout: float  # promised, so that both have the same bias
    promised: float | None = None  # on the rows that have a label by now
    came: float | None = None  # the truth on those rows

    @property
    def fell(self) -> float:
        """How far the promise is below that of the holdout."""
        return self.holdout - self.window


def expected_auc(probability: Any) -> float | None:
    """Return the ROC AUC that calibrated probabilities [n] promise; None if undefined.

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
    window: Any, holdout: Any, truth: Any, measure: Measure = BINARY
) -> Estimate | None:
    """Return the estimate for a window's probabilities [n], or None: not calibrated.

    ``truth`` are the holdout's labels.
    """
    error = measure.calibration(truth, holdout)
    if error is None or error > CALIBRATED:
        return None
    now, then = (measure.expected(p, expected_auc) for p in (window, holdout))
    return None if now is None or then is None else Estimate(now, then)
