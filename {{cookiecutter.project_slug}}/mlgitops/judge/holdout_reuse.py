"""How many models a holdout has decided on already.

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
    models = {case.manifest_sha256} | {
        verdict.get("manifest_sha256")
        for verdict in case.ledger.judged()
        if verdict.get("data_sha256") == case.data_sha256
        or _covers(verdict.get("held_out"), case.judgement.held_out)
    }
    return len(models - {None})


def caution(count: int, limit: float) -> list[str]:
    """Warn of luck once a holdout has decided on more models than the limit."""
    if count <= limit:
        return []
    return [
        f"**This holdout has decided on {count} models**, more than the {limit:g} of "
        "gates.holdout.max_uses: the best of them may be the luckiest. Bring newer "
        "rows before believing a small gain."
    ]


def _covers(earlier: Sequence[str] | None, current: Sequence[str] | None) -> bool:
    """Tell whether one period, [from, until], covers enough of another."""
    if not earlier or not current:
        return False
    (start, end), (first, last) = (
        map(datetime.fromisoformat, period) for period in (earlier, current)
    )
    shared = min(end, last) - max(start, first)
    return shared > timedelta(0) and shared >= SHARE * (last - first)
