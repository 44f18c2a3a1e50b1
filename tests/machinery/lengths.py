"""How long, how often and with which variants a proof plays: one setting for all.

Without PROOF a small share. `PROOF=1` plays all of it: 100 ends, 1,000 swaps, a minute
without a sink, half an hour of requests; `PROOF=1 PROOF_SHARE=0.1` a tenth of each.

What shows once more what another test shows, on another table or by another way, has
its turn every third day; `PROOF=1` plays all, `PROOF_TURN=n` those of another day.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

PROOF = bool(os.environ.get("PROOF"))
SHARE = float(os.environ.get("PROOF_SHARE", "1"))
DAY = str(datetime.now(UTC).timetuple().tm_yday)
TURN = int(os.environ.setdefault("PROOF_TURN", DAY))  # the same in all processes
DAYS = 3  # in which each variant has its turn
Variant = TypeVar("Variant")


def seconds(whole: float, here: float) -> float:
    """Return how long to play: `here` in every run of the tests."""
    return max(whole * SHARE, here) if PROOF else here


def times(whole: int, here: int) -> int:
    """Return how often to play."""
    return max(round(whole * SHARE), here) if PROOF else here


def turn(
    variants: Iterable[Variant],
    kind: Callable[[Variant], object] = lambda _: None,
    days: int = DAYS,
) -> list[Variant]:
    """Return the variants that have their turn: of each kind a share, at least one."""
    kinds = defaultdict[object, list[Variant]](list)
    for each in variants:
        kinds[kind(each)].append(each)
    return [
        each
        for group in kinds.values()
        for place, each in enumerate(group)
        if PROOF or (place - TURN) % min(days, len(group)) == 0
    ]


def said() -> str:
    """Return which variants are played, for people to read."""
    if PROOF:
        return "variants: all"
    return f"variants: turn {TURN % DAYS + 1} of {DAYS} (PROOF=1 plays all)"
