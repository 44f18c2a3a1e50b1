"""Data that nobody expects: the judge says one sentence, and never passes it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from machinery.judged import CONTRACT, params, rows
from machinery.test_validate import Bench, linear
from mlgitops.judge import evaluation, sandbox
from mlgitops.pipeline.contract import Contract

pytestmark = pytest.mark.slow
ROOT = Path.cwd()
MONTH = pd.Timedelta(days=30)
WEIRD = [
    "file",
    "names",
    "allow_pickle",
    "arr_0",
    "a|b `c` <d>",
    "x.npy",
    "../y",
    "ü 1",
]
Change = Callable[[pd.DataFrame], pd.DataFrame]


def newest(frame: pd.DataFrame, **columns: object) -> pd.DataFrame:
    """Return the rows with other values in the holdout."""
    later = frame["placed"] > frame["placed"].max() - pd.Timedelta(days=14)
    found = frame.copy()
    for name, value in columns.items():
        found.loc[later, name] = value
    return found


BAD: dict[str, tuple[Change, str]] = {
    "a column is missing": (lambda f: f.drop(columns="price"), 'Column "price"'),
    "a column too many": (lambda f: f.assign(cost=1), 'Column "cost"'),
    "a column with a weird name": (
        lambda f: f.assign(**{"| `x`\n<b>": 1}),
        "is unknown",
    ),
    "one row in the holdout": (
        lambda f: f.assign(
            placed=f["placed"].where(f.index > 0, f["placed"].max() + MONTH)
        ),
        "would be held out alone",
    ),
    "a column that is all missing": (
        lambda f: f.assign(price=np.float32("nan")),
        'Column "price": 6,000 of 6,000 values are missing',
    ),
    "a column that may be missing, and is everywhere": (
        lambda f: f.assign(age=np.float32("nan")),
        'Column "age" is missing in all 6,000 rows',
    ),
    "text where numbers belong": (
        lambda f: f.assign(price="dear"),
        'Column "price": 6,000 of 6,000 values are not numbers',
    ),
    "numbers out of their range": (lambda f: f.assign(price=99.0), "outside -10 to 10"),
    "one class in the holdout": (lambda f: newest(f, returned=0), "not both values"),
    "one row": (lambda f: f.head(1), "not both values"),
    "no row": (lambda f: f.head(0), "0 rows"),
    "no times": (lambda f: f.assign(placed="soon"), 'Column "placed"'),
    "repeated ids": (lambda f: f.assign(order="o"), 'Column "order"'),
    "ten thousand categories": (
        lambda f: f.assign(shop=[f"s{n}" for n in range(len(f))]),
        'Column "shop"',
    ),
    "a string of 100,000 letters": (
        lambda f: f.assign(shop=f["shop"].where(f.index > 0, "x" * 100_000)),
        'Column "shop"',
    ),
    "a target of three values": (lambda f: f.assign(returned=2), 'Column "returned"'),
}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Give a bench whose judge runs as its child, from a project of its own."""
    home = tmp_path / "main"
    home.mkdir()
    for name in ("mlgitops", "model"):
        (home / name).symlink_to(ROOT / name)
    (home / "contract.yaml").write_text(yaml.safe_dump(CONTRACT))
    (home / "params.yaml").write_text(yaml.safe_dump(params(["price"])))
    monkeypatch.chdir(home)
    found = Bench(tmp_path)
    found.put("champion", linear({"price": 1.0}))
    return found


def judged(bench: Bench) -> list[dict[str, object]]:
    """Return the checks that failed, as the child wrote them."""
    sandbox.run("judge", "mlgitops.judge.judge", bench.folder)
    found = json.loads((bench.folder / "judgement.json").read_bytes())["checks"]
    return [check for check in found if not check["passed"]]


def test_good_data_passes(bench: Bench) -> None:
    assert judged(bench) == []


@pytest.mark.parametrize("name", BAD)
def test_bad_data_is_one_sentence_and_never_passes(name: str, bench: Bench) -> None:
    change, words = BAD[name]
    change(rows()).to_parquet(bench.folder / "raw.parquet")
    (check,) = judged(bench)
    why = str(check["reason"])
    assert check["id"] == "data" and words in why, why
    assert len(why) < 400 and "\n" not in why and "Traceback" not in why


def grown(bench: Bench, columns: dict[str, float]) -> None:
    """Let the proposal's contract and data have a column more, its model `columns`."""
    cost = {"type": "number", "min": 0, "max": 9, "missing": False}
    contract = {**CONTRACT, "columns": {**CONTRACT["columns"], "cost": cost}}
    bench.frame = rows().assign(cost=1.0)
    bench.put("challenger", linear(columns), terms=contract)
    bench.frame.to_parquet(bench.folder / "raw.parquet")


def test_a_contract_may_grow_by_a_pull_request(bench: Bench) -> None:
    """The column first, by main's rules for all that main knows; it is said."""
    grown(bench, {"price": 1.0})
    assert judged(bench) == []
    found = json.loads((bench.folder / "judgement.json").read_bytes())
    assert "New in this contract: cost" in found["cautions"][0]


def test_a_model_may_not_use_what_mains_contract_does_not_know(bench: Bench) -> None:
    grown(bench, {"price": 1.0, "cost": 0.0})
    (check,) = judged(bench)
    assert check["id"] == "model_columns"
    assert "propose contract and data first" in str(check["reason"])


def shrunk(bench: Bench, columns: dict[str, float]) -> None:
    """Let the proposal's contract and data have no `age`, its model `columns`."""
    left = {n: c for n, c in CONTRACT["columns"].items() if n != "age"}
    bench.frame = rows().drop(columns="age")
    bench.put("challenger", linear(columns), terms={**CONTRACT, "columns": left})
    bench.frame.to_parquet(bench.folder / "raw.parquet")


def test_a_contract_may_shrink_by_a_pull_request(bench: Bench) -> None:
    """Once no model reads the column; it is judged by main's rules for all others."""
    shrunk(bench, {"price": 1.0})
    rows().to_parquet(bench.folder / "champion" / "raw.parquet")
    assert judged(bench) == []
    found = json.loads((bench.folder / "judgement.json").read_bytes())
    assert "No longer in this contract: age" in found["cautions"][0]
    assert any(check["id"] == "roc_auc.margin" for check in found["checks"])
    assert not any("Nothing is compared" in text for text in found["cautions"])


def test_a_column_that_main_needs_is_not_taken_away(bench: Bench) -> None:
    """Neither the comparison with the champion is escaped, nor a rule of main."""
    shrunk(bench, {"price": 1.0})
    bench.frame = rows()
    bench.put("champion", linear({"price": 1.0, "age": 0.0}))
    (check,) = judged(bench)
    assert check["id"] == "data" and "the champion reads age" in str(check["reason"])
    bench.put("champion", linear({"price": 1.0}))
    rules = {"columns": ["age"], "min_rows": 50, "selection_rate_max": 0.5}
    rules["equalized_odds_max"] = 0.5
    main = {**params(["price"]), "fairness": rules}
    Path("params.yaml").write_text(yaml.safe_dump(main))
    (check,) = judged(bench)
    assert "fairness compares age" in str(check["reason"])
    Path("params.yaml").write_text(yaml.safe_dump(params(["price"])))
    bench.frame = rows()
    bench.put("challenger", linear({"price": 1.0}))
    rows().drop(columns="age").to_parquet(bench.folder / "raw.parquet")
    (check,) = judged(bench)
    assert '"age" is missing' in str(check["reason"]), "its contract still has it"


def test_rows_that_only_the_proposals_contract_allows_wait_for_it(
    bench: Bench,
) -> None:
    """Main's contract judges them: the sentence names the pull request to begin with.

    The contract alone passes: main's own rows keep it.
    """
    shops = [*CONTRACT["columns"]["shop"]["categories"], "new"]
    columns = {**CONTRACT["columns"], "shop": {**CONTRACT["columns"]["shop"]}}
    columns["shop"]["categories"] = shops
    terms = {**CONTRACT, "columns": columns}
    bench.put("challenger", linear({"price": 1.0}), terms=terms)
    bench.frame.to_parquet(bench.folder / "raw.parquet")
    assert judged(bench) == []
    shop = bench.frame["shop"].where(bench.frame.index > 9, "new")
    bench.frame.assign(shop=shop).to_parquet(bench.folder / "raw.parquet")
    (check,) = judged(bench)
    reason = str(check["reason"])
    assert check["id"] == "data" and "10 of 6,000 values" in reason, reason
    assert "Propose contract.yaml first, without the rows" in reason
    assert "correct the data" not in reason


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no table at all" * 100])
def test_a_file_that_is_no_table_is_one_sentence(data: bytes, bench: Bench) -> None:
    (bench.folder / "raw.parquet").write_bytes(data)
    (check,) = judged(bench)
    assert "not a table that can be read" in str(check["reason"])


TRAIN: dict[str, tuple[Change, str]] = {
    "no rows": (lambda f: f.head(0), "holds no rows"),
    "lists": (lambda f: f.assign(price=[[1.0]] * len(f)), "holds lists or records"),
    "no times": (lambda f: f.assign(placed="soon"), "rows of the holdout"),
    "a column too few": (lambda f: f.drop(columns="age"), "has no column age"),
}


@pytest.mark.parametrize("name", TRAIN)
def test_bad_rows_to_learn_from_show_nothing_and_are_refused(
    name: str, bench: Bench
) -> None:
    """An empty table holds no row of the holdout either."""
    change, words = TRAIN[name]
    file = bench.folder / "challenger" / "train.parquet"
    change(pd.read_parquet(file)).to_parquet(file)
    (check,) = judged(bench)
    why = str(check["reason"])
    assert check["id"] == "holdout_unseen" and words in why, why
    assert "\n" not in why and "Traceback" not in why


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    """Those that a file of arrays or Markdown gives a meaning, among others."""
    column = {"type": "number", "missing": False}
    contract = Contract.parse({**CONTRACT, "columns": dict.fromkeys(WEIRD, column)})
    model = linear(dict.fromkeys(WEIRD, 0.1))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    manifest = {"columns": WEIRD, "model": {"file": "model.onnx"}}
    frame = pd.DataFrame({n: [float(p), 0.0] for p, n in enumerate(WEIRD)})
    read = evaluation.Model(tmp_path, manifest)
    inputs = evaluation.inputs(read, frame, contract)
    answers = evaluation.predict(read, [inputs], contract)
    wanted = 1 / (1 + np.exp(1 - 0.1 * frame.sum(axis=1)))
    np.testing.assert_allclose(answers, wanted, atol=1e-6)
