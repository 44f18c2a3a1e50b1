"""PART= and HOLDOUT=: a column of the table says which rows are held out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from machinery import tables
from mlgitops.pipeline import data, sides
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.settings import Prepare

pytest.importorskip("duckdb")  # the group `data`


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a new repository."""
    monkeypatch.chdir(tables.copy(tmp_path / "new"))


def made(values: list[object], **given: str) -> str:
    """Run `make data` on a table with a column `fold`; return what a refusal says."""
    fold = np.resize(np.array(values, object), 400)
    path = Path("..", "table.csv")
    tables.frame(400, fold=fold).to_csv(path, index=False)
    return tables.make(path, "y", part="fold", **given)


@pytest.mark.parametrize(
    ("values", "given", "held"),
    [
        (["train", "train", "test"], {}, ["test"]),
        (["fit", "fit", "Validation"], {}, ["Validation"]),
        ([1, 2, 3, 4], {"holdout": "4"}, ["4"]),
        (["a", "b", "c", "d"], {"holdout": "c,d", "split": "column"}, ["c", "d"]),
    ],
)
def test_its_values_decide(
    values: list[object], given: dict[str, str], held: list[str]
) -> None:
    assert not made(values, **given)
    rules = tables.params("binary")["prepare"]
    assert rules == {"split": "column", "holdout": held}
    assert tables.contract()["part"] == "fold"
    assert "fold" not in tables.contract()["columns"]
    contract = Contract.read(Path("contract.yaml").read_bytes())
    rows = data.check(tables.table(), contract)
    prepare = Prepare(split="column", holdout=tuple(held))
    expected = pd.Series(np.resize(np.array(values, object), 400)).astype(str)
    found = sides.held_out(rows, contract, prepare)
    assert found.sum() == expected.isin(held).sum() > 0


@pytest.mark.parametrize(
    ("values", "given", "sentence"),
    [
        (["a", "b"], {}, "HOLDOUT=b"),
        (["train", "test"], {"holdout": "tests"}, "Did you mean test"),
        (["train", "test"], {"holdout": "train,test"}, "no row would train"),
        (["train"], {}, "1 different values"),
        ([f"p{n}" for n in range(90)], {}, "more than 20"),
        (["train", "test"], {"split": "random"}, "Leave one of them out"),
        (["train", None, "test"], {}, "have no value"),
    ],
)
def test_what_cannot_decide_is_refused(
    values: list[object], given: dict[str, str], sentence: str
) -> None:
    refusal = made(values, **given)
    assert "nothing was written" in refusal and sentence in refusal


def test_a_part_without_one_of_the_classes_is_refused() -> None:
    frame = tables.frame(400)
    frame["fold"] = np.where(frame["y"] == 1, "train", "test")
    path = Path("..", "table.csv")
    frame.to_csv(path, index=False)
    assert "held out rows have none" in tables.make(path, "y", part="fold")


@pytest.mark.parametrize("given", [{"split": "column"}, {"holdout": "test"}])
def test_what_needs_a_part_is_refused_without_one(given: dict[str, str]) -> None:
    path = Path("..", "table.csv")
    tables.frame(400).to_csv(path, index=False)
    assert "PART=column" in tables.make(path, "y", **given)
