"""How long and how often a proof plays: one setting for all of the server's.

Without PROOF a small share. `PROOF=1` plays all of it: 100 ends, 1,000 swaps, a minute
without a sink, half an hour of requests; `PROOF=1 PROOF_SHARE=0.1` a tenth of each.
"""

import os

PROOF = bool(os.environ.get("PROOF"))
SHARE = float(os.environ.get("PROOF_SHARE", "1"))


def seconds(whole: float, here: float) -> float:
    """Return how long to play: `here` in every run of the tests."""
    return max(whole * SHARE, here) if PROOF else here


def times(whole: int, here: int) -> int:
    """Return how often to play."""
    return max(round(whole * SHARE), here) if PROOF else here
