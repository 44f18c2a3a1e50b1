"""The shelf life of a holdout: how many models it has decided on already.

A holdout is known by its data, and by its days whatever the data: one row more or less
makes other data of the same rows, and the luck of the best of many models stays.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from mlgitops.judge.verdict import Case

SHARE = 0.5  # of this holdout's time that another has to cover to count as the same


def uses(case: Case) -> int:
    """Return how many models this holdout has decided on, this one included."""
    if case.data_sha256 is None:
        return 0
    now = case.found.held_out
    used = {
        record.get("manifest_sha256")
        for record in case.ledger.judged()
        if record.get("data_sha256") == case.data_sha256
        or _covers(record.get("held_out"), now)
    }
    return len({*used, case.manifest_sha256} - {None})


def caution(count: int, most: float) -> list[str]:
    """Warn of luck once a holdout has decided on more models than ``most``."""
    if count <= most:
        return []
    return [
        f"**This holdout has decided on {count} models**, more than the {most:g} of "
        "gates.holdout.max_uses: the best of them may be the luckiest. Bring newer "
        "rows before believing a small gain."
    ]


def _covers(then: Sequence[str] | None, now: Sequence[str] | None) -> bool:
    """Tell whether one period, [from, until], covers enough of another."""
    if not then or not now:
        return False
    (start, end), (first, last) = (map(datetime.fromisoformat, p) for p in (then, now))
    shared = min(end, last) - max(start, first)
    return shared > timedelta(0) and shared >= SHARE * (last - first)
