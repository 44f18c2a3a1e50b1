"""Thresholds of the monitor that tests share: what is drawn from the same is the same.

Each test has a folder of its own, so that the monitor's own cache is of one test; it
would draw the same two thousand windows from the same rows again in the next.
"""

import hashlib
import pickle
from typing import Any

from mlgitops.monitor import null_distribution
from mlgitops.monitor.null_distribution import Thresholds

_draw = null_distribution.thresholds
_drawn = dict[bytes, bytes]()


def thresholds(*given: Any, **named: Any) -> Thresholds:
    """Return the thresholds, from the last time where everything was the same."""
    settings = (null_distribution.DRAWS, null_distribution.MOST_ROWS)
    data = pickle.dumps((settings, given, sorted(named.items())))
    key = hashlib.sha256(data).digest()
    if key not in _drawn:
        _drawn[key] = pickle.dumps(_draw(*given, **named))
    found: Thresholds = pickle.loads(_drawn[key])  # its own: some change what they get
    return found


def share() -> None:
    """Let all tests of this process share them."""
    null_distribution.thresholds = thresholds
