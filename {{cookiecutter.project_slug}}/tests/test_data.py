"""Your rows fit your contract; skipped where the data is not here (make pull)."""

import pandas as pd

from mlgitops.pipeline.data import check, split
from mlgitops.testing import Project
from model.prepare import prepare


def test_rows_fit_the_contract(rows: pd.DataFrame, project: Project) -> None:
    """The fixture has checked them: names, types, ranges, categories, unique ids."""
    assert len(rows) and project.contract.target in rows


def test_prepare_leaves_clean_rows_as_they_are(
    rows: pd.DataFrame, project: Project
) -> None:
    """Rows from production come in the contract's columns, and are prepared again."""
    some = project.sample(rows)
    before = some.copy()
    pd.testing.assert_frame_equal(check(prepare(some), project.contract), before)
    pd.testing.assert_frame_equal(some, before)  # its argument is not changed


def test_training_and_holdout_have_enough_rows(
    rows: pd.DataFrame, project: Project
) -> None:
    """The split also refuses a window without one of the classes."""
    train, holdout = split(rows, project.contract, project.prepare)
    assert len(holdout) >= project.params["gates"]["holdout"]["min_rows"]
    assert len(train) >= len(holdout) / 4  # with fewer the model knows too little


def test_each_column_of_the_model_varies(rows: pd.DataFrame, project: Project) -> None:
    """A column with one value teaches nothing: it is often a broken join."""
    train, _ = split(rows, project.contract, project.prepare)
    for name in project.train.columns:
        assert train[name].nunique(dropna=False) > 1, name
