"""PART= and HOLDOUT=: a column of the table says which rows are held out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

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


@pytest.mark.parametrize(
    ("role", "rules"),
    [
        ("part: fold", {"split": "column", "holdout": ["c", "d"]}),
        ("entity: fold", {"split": "group", "holdout_share": 0.2, "seed": 1}),
        ("entity: fold", {"split": "random", "holdout_share": 0.2, "seed": 1}),
    ],
)
def test_what_was_written_by_hand_stays(role: str, rules: dict[str, object]) -> None:
    """A later run asks contract.yaml and params.yaml, not only the options."""
    path = Path("..", "table.csv")
    fold = np.resize(np.array(list("abcdefghijkl")), 400)
    tables.frame(400, fold=fold).to_csv(path, index=False)
    assert not tables.make(path, "y")
    contract, params = Path("contract.yaml"), Path("params.yaml")
    document = yaml.safe_load(contract.read_text(encoding="utf-8"))
    del document["columns"]["fold"]
    document |= dict([role.split(": ")])
    contract.write_text(yaml.safe_dump(document), encoding="utf-8")
    document = yaml.safe_load(params.read_text(encoding="utf-8"))
    document["prepare"], document["train"]["columns"] = rules, ["x"]
    params.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert not tables.make(path, "y", force=True)
    assert role in contract.read_text(encoding="utf-8")
    assert tables.params("binary")["prepare"] == rules
