"""A holdout that has decided on many models is known, and it wears out aloud."""

from pathlib import Path
from typing import Any

import pytest

from mlgitops.judge import holdout_reuse
from mlgitops.judge.verdict import Case
from mlgitops.judgement import Judgement
from mlgitops.ledger import Ledger

DATA, DAYS = "d" * 64, ["2013-06-01T00:00:00+00:00", "2013-06-15T00:00:00+00:00"]


class Book(Ledger):
    """A ledger of nothing but the verdicts given."""

    def __init__(self, *records: dict[str, Any]) -> None:
        self.records = list(records)

    def judged(self) -> list[dict[str, Any]]:
        """Return them."""
        return self.records


def verdict(model: str | None, data: str | None, days: Any = None) -> dict[str, Any]:
    """Return what the ledger keeps of a model that was judged."""
    return {"manifest_sha256": model, "data_sha256": data, "held_out": days}


def uses(*records: dict[str, Any], days: Any = DAYS, data: str | None = DATA) -> int:
    """Count for a new model on this data."""
    case: Any = Case(Path(), None, None, {}, Book(*records))  # type: ignore[arg-type]
    case.manifest_sha256, case.judgement = "new", Judgement(held_out=days)
    case.manifest = {"data": {"sha256": data}} if data else None
    return holdout_reuse.uses(case)


def test_each_model_counts_once_and_this_one_too() -> None:
    assert uses() == 1
    assert uses(verdict("a", DATA), verdict("a", DATA), verdict("b", DATA)) == 3
    assert uses(verdict("new", DATA)) == 1
    assert uses(verdict(None, DATA)) == 1, "what was never a version decided nothing"
    assert uses(verdict("a", DATA), data=None) == 0, "nothing was judged"


@pytest.mark.parametrize(
    ("first", "last", "counts"),
    [
        ("2013-06-01", "2013-06-15", True),  # a row more, so other data
        ("2013-06-02", "2013-06-16", True),
        ("2013-06-08", "2013-06-22", True),  # half of the days
        ("2013-06-09", "2013-06-23", False),
        ("2013-05-18", "2013-06-01", False),
        ("2013-01-01", "2013-12-31", True),  # a larger holdout has all of them
        ("2013-06-07", "2013-06-09", False),
    ],
)
def test_other_data_of_the_same_days_is_the_same_holdout(
    first: str, last: str, counts: bool
) -> None:
    days = [f"{day}T00:00:00+00:00" for day in (first, last)]
    assert uses(verdict("a", "e" * 64, days)) == 1 + counts
    assert uses(verdict("a", "e" * 64, days), days=None) == 1


def test_a_verdict_of_before_counts_by_its_data() -> None:
    old = {"manifest_sha256": "a", "data_sha256": DATA}
    assert uses(old) == 2 and uses({**old, "data_sha256": "e" * 64}) == 1


def test_a_worn_holdout_is_a_caution_and_a_fresh_one_is_none() -> None:
    assert holdout_reuse.caution(20, 20) == []
    (said,) = holdout_reuse.caution(21, 20)
    assert "decided on 21 models**, more than the 20 of gates.holdout.max_uses" in said
