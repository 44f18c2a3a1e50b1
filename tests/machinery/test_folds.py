"""What is chosen inside the training rows is chosen as the split would have it."""

import numpy as np
import pandas as pd
import pytest

from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.folds import SPLIT, Fold, folds

TERMS = Contract.parse(
    {
        "name": "orders",
        "task": "binary",
        "target": "returned",
        "id": "order",
        "time": "at",
        "entity": "customer",
        "columns": {"price": {"type": "number", "min": 0, "max": 9, "missing": False}},
    }
)


def rows(split: str, count: int = 120) -> pd.DataFrame:
    """Return rows of ten customers, one in six returned, three at each time."""
    frame = pd.DataFrame(
        {
            "order": [f"o{n}" for n in range(count)],
            "at": pd.Timestamp("2026-01-01")
            + pd.to_timedelta(np.arange(count) // 3, "D"),
            "customer": [f"c{n % 10}" for n in range(count)],
            "price": 1.0,
            "returned": (np.arange(count) % 6 == 0).astype("float32"),
        }
    )
    frame.attrs[SPLIT] = split
    return frame


def everyone(found: list[Fold]) -> list[int]:
    return sorted(int(n) for fold in found for n in fold.left_out)


@pytest.mark.parametrize("split", ["random", "group", "column"])
def test_each_row_is_left_out_once(split: str) -> None:
    found = folds(rows(split), TERMS, 5, seed=1)
    assert everyone(found) == list(range(120))
    for fold in found:
        assert sorted([*fold.fit, *fold.left_out]) == list(range(120))


def test_by_time_what_is_left_out_comes_later() -> None:
    frame = rows("time").sample(frac=1, random_state=1)
    frame.attrs[SPLIT] = "time"
    found = folds(frame, TERMS, 4, seed=1)
    times = frame["at"].to_numpy()
    for fold in found:
        assert times[fold.fit].max() < times[fold.left_out].min()
    assert len(everyone(found)) == len(set(everyone(found))) == 60


def test_a_group_is_left_out_whole() -> None:
    frame = rows("group")
    for fold in folds(frame, TERMS, 5, seed=1):
        fitted = set(frame["customer"].iloc[fold.fit])
        assert not fitted & set(frame["customer"].iloc[fold.left_out])
        assert frame["customer"].iloc[fold.left_out].nunique() == 2


def test_classes_are_dealt_out_alike() -> None:
    frame = rows("random")
    for fold in folds(frame, TERMS, 5, seed=1):
        assert frame["returned"].iloc[fold.left_out].sum() == 4


@pytest.mark.parametrize("split", ["random", "group", "time"])
def test_the_order_of_rows_moves_none_to_another_fold(split: str) -> None:
    def ids(frame: pd.DataFrame) -> list[set[str]]:
        found = folds(frame, TERMS, 3, seed=2)
        return [set(frame["order"].iloc[fold.left_out]) for fold in found]

    frame = rows(split)
    turned = frame.iloc[::-1]
    turned.attrs = dict(frame.attrs)
    assert ids(frame) == ids(turned)


@pytest.mark.parametrize("split", ["random", "group", "time"])
def test_too_few_for_the_folds(split: str) -> None:
    frame = rows(split, 4)
    frame["customer"], frame["at"] = "one", pd.Timestamp("2026-01-01")
    with pytest.raises(ContractError, match="too few"):
        folds(frame, TERMS, 5, seed=1)
