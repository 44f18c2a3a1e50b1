"""How many models a holdout has decided on already.

A holdout is known by its data, and by its days whatever the data: one row more or less
makes other data of the same rows, and the luck of the best of many models stays. Where
a hash or a column says which rows are held out, they stay so while data grow: such a
holdout is known by its rule, as long as it had enough of today's rows.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from mlgitops.judge.verdict import Case
from mlgitops.judgement import Judgement
from mlgitops.ledger import Record

SHARE = 0.5  # of this holdout's time, or rows, that another has to cover to count
RULE = ("kind", "seed", "column", "values")  # of a split: which rows it holds out


def uses(case: Case) -> int:
    """Return how many models this holdout has decided on, this one included."""
    if case.data_sha256 is None:
        return 0
    models = {case.manifest_sha256} | {
        verdict.get("manifest_sha256")
        for verdict in case.ledger.judged()
        if verdict.get("data_sha256") == case.data_sha256
        or _covers(verdict.get("held_out"), case.judgement.held_out)
        or _contains(verdict, case.judgement)
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


def _contains(verdict: Record, current: Judgement) -> bool:
    """Tell whether an earlier holdout has enough of this one's rows, by its rule."""
    earlier, split, rows = verdict.get("split"), current.split, current.rows
    if not earlier or split is None or rows is None or split.kind == "time":
        return False
    if any(earlier.get(name) != getattr(split, name) for name in RULE):
        return False
    return bool(verdict.get("rows_held_out", 0) >= SHARE * rows.held_out)


def _covers(earlier: Sequence[str] | None, current: Sequence[str] | None) -> bool:
    """Tell whether one period, [from, until], covers enough of another."""
    if not earlier or not current:
        return False
    (start, end), (first, last) = (
        map(datetime.fromisoformat, period) for period in (earlier, current)
    )
    shared = min(end, last) - max(start, first)
    return shared > timedelta(0) and shared >= SHARE * (last - first)
