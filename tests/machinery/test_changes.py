"""What differs from the champion's data is counted, and rewriting is pointed out."""

import pandas as pd
import pytest

from machinery.judged import CONTRACT, rows
from machinery.test_compare import evaluation, good
from mlgitops import report
from mlgitops.judge import changes
from mlgitops.judgement import Judgement, RowChanges
from mlgitops.pipeline import data
from mlgitops.pipeline.contract import Contract


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
    assert ["3 rows", "10 rows"] == [
        line[: line.index(" rows") + 5] for line in seen.cautions
    ]


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
    assert "price" in body and "are gone from the period" in body
