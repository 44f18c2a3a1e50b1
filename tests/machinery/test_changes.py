"""What differs from the champion's data is counted, and rewriting is pointed out."""

import numpy as np
import pandas as pd
import pytest

from machinery.judged import CONTRACT, rows
from machinery.test_compare import evaluation, good
from mlgitops import report
from mlgitops.judge import changes
from mlgitops.judge import rows as judged_rows
from mlgitops.judgement import Judgement, RowChanges
from mlgitops.pipeline import data
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.settings import Prepare


def found(old: pd.DataFrame, new: pd.DataFrame) -> Judgement:
    """Return what the part finds between two tables."""
    contract = Contract.parse(CONTRACT)
    evaluated = evaluation(good, good)
    evaluated.champion_rows, evaluated.rows = (
        data.check(table, contract) for table in (old, new)
    )
    evaluated.same_data = False
    changes.add(evaluated)
    return evaluated.judgement


def test_newer_rows_are_added_and_older_ones_fall_out_without_a_word() -> None:
    whole = rows(1000)
    seen = found(whole[:800], whole[200:])
    assert seen.changes.rows == RowChanges(
        champion=800,
        challenger=800,
        added=200,
        added_inside=0,
        removed=200,
        removed_inside=0,
        changed=0,
    )
    assert seen.cautions == []


def test_rewritten_and_missing_history_is_a_caution() -> None:
    old = rows(1000)
    new = old.drop(index=range(500, 510)).copy()
    new.loc[:2, "returned"] = 1 - new.loc[:2, "returned"]
    seen = found(old, new)
    assert seen.changes.rows.changed == 3
    assert seen.changes.rows.removed_inside == 10
    rewritten, missing = seen.cautions
    assert "3 rows (such as o0-0 of 2025-01-01)" in rewritten
    assert "10 rows (such as o0-500 of 2025-01-21)" in missing


def test_rows_that_come_in_between_are_a_caution_and_late_labels_are_named() -> None:
    """What the monitor proposes may have some: labels that came late."""
    whole = rows(1000)
    old = whole[:800].drop(index=[100, 790, 795])
    seen = found(old, whole[50:])
    assert seen.changes.rows.added == 203 and seen.changes.rows.added_inside == 3
    (caution,) = seen.cautions
    assert "3 rows (such as o0-100 of 2025-01-05)" in caution
    assert "2 in its last 14 days" in caution and "Older ones: 1" in caution
    late = found(whole[:800].drop(index=[790, 795]), whole[50:])
    (caution,) = late.cautions
    assert "2 in its last 14 days, as late labels are" in caution
    assert "older" not in caution
    before = found(whole[100:800], whole[50:])
    assert "50 rows (such as o0-50 of" in before.cautions[0], "older than all"


def thin(times: list[float]) -> list[str]:
    """Return what is said of rows at these days."""
    contract = Contract.parse(CONTRACT)
    table = rows(len(times))
    table["placed"] = pd.Timestamp("2025-01-01", tz="UTC") + pd.to_timedelta(
        times, unit="D"
    )
    days = Prepare(split="time", holdout_days=14, train_days=90)
    table = data.check(table, contract)
    _, held = data.split(table, contract, days)
    return judged_rows.thin_end(table, held, contract, days)


def test_a_few_rows_that_move_the_split_are_a_caution() -> None:
    evenly = list(np.linspace(0, 40, 1200))
    assert thin(evenly) == []
    (caution,) = thin([*evenly, 46.5])
    assert "The last 3.5 of the 14 days held out have 1 row of 2" in caution
    assert "o0-1200 of 2025-02-16" in caution and "195 rows" in caution
    assert len(thin([*evenly, 43, 44, 45, 46.5])) == 1


def test_weekends_and_snapshots_move_no_split() -> None:
    days = [day + part / 60 for day in range(60) for part in range(24) if day % 7 < 5]
    assert thin(days) == []
    monday = [day for day in days if day < 56] + [56.0]
    assert thin(monday) == []
    assert thin([float(week) for week in range(0, 60, 7) for _ in range(200)]) == []


def test_a_column_that_moved_is_measured_and_new_categories_are_named() -> None:
    old, new = rows(1000), rows(1000, seed=1)
    old["shop"] = old["shop"].replace("c", "b")
    new["price"] = new["price"] + 1
    new.loc[:99, "age"] = None
    by = {c.column: c for c in found(old, new).changes.columns}
    assert by["price"].distance == pytest.approx(1, abs=0.1)
    assert by["shop"].new == ["c"] and by["shop"].distance > 0.1
    assert by["age"].missing[1] - by["age"].missing[0] > 0.05


def test_values_of_a_hidden_column_are_not_written() -> None:
    contract = Contract.parse({**CONTRACT, "sensitive": ["shop"]})
    evaluated = evaluation(good, good)
    old = rows(1000)
    old["shop"] = old["shop"].replace("c", "b")
    evaluated.contract, evaluated.same_data = contract, False
    evaluated.champion_rows, evaluated.rows = (
        data.check(old, contract),
        data.check(rows(1000), contract),
    )
    changes.add(evaluated)
    shop = evaluated.judgement.changes.columns[0]
    assert shop.new == [] and shop.new_count == 1


@pytest.mark.parametrize(
    ("same", "words"), [(True, "the same table"), (False, "Not known")]
)
def test_the_same_and_the_unknown_are_said(same: bool, words: str) -> None:
    evaluated = evaluation(good, good)
    evaluated.same_data = same
    changes.add(evaluated)
    facts = report.Facts(state="ready", verdict="x", judgement=evaluated.judgement)
    assert words in report.render(facts)


def test_the_report_shows_them() -> None:
    old, new = rows(1000), rows(1000, seed=1)
    seen = found(old, new)
    facts = report.Facts(
        state="ready", verdict="x", judgement=seen, cautions=seen.cautions
    )
    body = report.render(facts)
    assert "1,000 rows became 1,000: 1,000 added, 1,000 removed, 0 changed" in body
    assert "price" in body and "Gone from the period" in body
