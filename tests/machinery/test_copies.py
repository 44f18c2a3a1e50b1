"""Rows of the holdout that stand in the training table again are found, and rows that
are alike by nature are not taken for copies.
"""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from machinery.judged import CONTRACT, contract, rows
from mlgitops import settings
from mlgitops.judge import copies
from mlgitops.judge.copies import Copies
from mlgitops.pipeline import data
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.settings import Prepare

DAYS = Prepare(split="time", holdout_days=14, train_days=90)
INPUTS = ["shop", "price"]
NARROW = {**CONTRACT, "columns": {"shop": CONTRACT["columns"]["shop"]}}


def parts(task: str = "binary") -> tuple[pd.DataFrame, pd.DataFrame, Contract]:
    """Return rows to train on, rows held out, and their contract."""
    terms = Contract.parse(contract(task))
    return *data.split(data.check(rows(task=task), terms), terms, DAYS), terms


def put_back(
    held: pd.DataFrame, share: float = 1.0, noise: float = 0.0, times: int = 1
) -> pd.DataFrame:
    """Return copies of rows under other ids, two weeks and more before them."""
    random = np.random.default_rng(1)
    kept = held[: round(share * len(held))]
    parts = []
    for n in range(times):
        copy = kept.assign(
            order=[f"c{n}-{i}" for i in range(len(kept))],
            placed=kept["placed"] - pd.Timedelta(days=15 + n),
        )
        for name in ("price", "age"):
            moved = random.normal(scale=noise, size=len(kept)) if noise else 0
            copy[name] = (copy[name] + moved).astype("float32")
        parts.append(copy)
    return pd.concat(parts)


def found(
    train: pd.DataFrame, held: pd.DataFrame, terms: Contract, known: bool = False
) -> Copies | None:
    """Return what is found of these tables; main may know the natural rows."""
    main = train[~train[terms.id].astype(str).str.startswith("c")]
    inputs = [name for name in INPUTS if name in terms.columns]
    return copies.find(train, held, terms, inputs, main if known else None)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("noise", [0, 1e-3])
@pytest.mark.parametrize("times", [1, 2])
def test_a_holdout_that_was_put_back_is_refused(
    task: str, noise: float, times: int
) -> None:
    train, held, terms = parts(task)
    added = pd.concat([train, put_back(held, noise=noise, times=times)])
    seen = found(added, held, terms, known=times > 1)
    assert seen and seen.sure and seen.shared > 0.8 * len(held)
    check = copies.check(seen)
    assert not check.passed and check.id == "holdout_unseen"
    assert check.value > check.limit
    assert times == 1 or "as c" in check.reason, "one that main has not"


def test_neither_new_ids_nor_a_small_last_block_hide_copies() -> None:
    train, held, terms = parts()
    added = pd.concat([train, put_back(held)])
    renamed = added.assign(order=[f"x{n}" for n in range(len(added))])
    seen = copies.find(renamed, held, terms, INPUTS, train)
    assert seen and seen.sure
    oldest = train.sort_values(terms.time, ignore_index=True)
    rest = len(oldest) % len(held) - 1  # then the last block is one row
    odd = oldest.iloc[max(rest, 0) :]
    assert len(odd) % len(held) == 1
    twin = odd.iloc[:1].assign(order="twin", placed=odd[terms.time].iloc[5])
    tables = [odd, put_back(held), twin]
    seen = copies.find(pd.concat(tables), held, terms, INPUTS, odd)
    assert seen and seen.sure


def test_columns_that_the_model_does_not_read_hide_nothing() -> None:
    train, held, terms = parts()
    copy = put_back(held)
    copy["age"] = np.random.default_rng(2).normal(size=len(copy)).astype("float32")
    seen = found(pd.concat([train, copy]), held, terms)
    assert seen and seen.sure


def test_a_text_among_numbers_hides_no_copies() -> None:
    """A proposal's own table may hold anything."""
    train, held, terms = parts()
    added = pd.concat([train, put_back(held, noise=1e-3)]).astype({"price": object})
    added.iloc[0, added.columns.get_loc("price")] = "boo"
    seen = found(added, held, terms)
    assert seen and seen.sure


def test_rows_of_nobody_may_all_be_of_one_entity() -> None:
    """Nothing says whose they are: that is no reason to look at none."""
    train, held, terms = parts()
    own = replace(terms, entity="customer")
    added = pd.concat([train, put_back(held)]).assign(customer=None)
    held = held.assign(customer=None)
    assert copies.find(added, held, own, INPUTS, None, "group")


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_part_of_it_is_a_caution(share: float) -> None:
    train, held, terms = parts()
    seen = found(pd.concat([train, put_back(held, share)]), held, terms)
    assert seen and not seen.sure
    assert f"{seen.shared:,} of {len(held):,} different rows" in copies.sentence(seen)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_rows_of_nobody_are_no_copies(task: str) -> None:
    assert found(*parts(task)) is None


def test_few_categories_repeat_by_nature() -> None:
    """Every row of the holdout has hundreds of twins."""
    terms = Contract.parse(NARROW)
    table = data.check(rows().drop(columns=["price", "age"]), terms)
    assert found(*data.split(table, terms, DAYS), terms) is None


def test_customers_who_come_again_repeat_by_nature() -> None:
    table, random = rows(), np.random.default_rng(4)
    own = random.integers(0, 800, len(table))
    for name in ("price", "age"):
        table[name] = random.normal(size=800)[own].astype("float32")
    table["shop"] = np.array(["a", "b", "c"])[own % 3]
    table["returned"] = (own % 5 == 0).astype("int8")
    terms = Contract.parse(CONTRACT)
    assert found(*data.split(data.check(table, terms), terms, DAYS), terms) is None


def test_a_sensor_that_fails_copies_nothing() -> None:
    """Off since a day before the split: many rows alike, and a few in training."""
    table = rows()
    off = table["placed"] > table["placed"].max() - pd.Timedelta(days=15)
    table.loc[off, ["price", "age"]] = 0
    terms = Contract.parse(CONTRACT)
    assert found(*data.split(data.check(table, terms), terms, DAYS), terms) is None


def flights() -> tuple[pd.DataFrame, Contract, list[str], Prepare]:
    """Return the example's rows of all months, with contract, inputs and windows."""
    terms = Contract.read(Path("contract.yaml").read_bytes())
    params = settings.load(Path("params.yaml").read_bytes())
    files = ("data/flights.parquet", "example/later.parquet")
    table = pd.concat([pd.read_parquet(file) for file in files])
    inputs = list(settings.train(params, terms.task).columns)
    return data.check(table, terms), terms, inputs, settings.prepare(params)


@pytest.mark.slow
def test_flights_repeat_by_nature_in_any_month() -> None:
    """The same airline, airports and minute each week; a year of it."""
    table, terms, inputs, days = flights()
    ends = pd.date_range(*table[terms.time].quantile([0.3, 1.0]), periods=5)
    for end in ends:
        past = table[table[terms.time] <= end]
        train, held = data.split(past, terms, days)
        assert copies.find(train, held, terms, inputs, None) is None, end


@pytest.mark.slow
def test_flights_put_back_are_refused() -> None:
    table, terms, inputs, days = flights()
    train, held = data.split(table[: len(table) // 3], terms, days)
    copy = held.assign(
        **{
            terms.id: "c" + held[terms.id].astype(str),
            terms.time: held[terms.time] - pd.Timedelta(days=20.5),
        }
    )
    seen = copies.find(pd.concat([train, copy]), held, terms, inputs, train)
    assert seen and seen.sure


@pytest.mark.parametrize("by_group", [False, True])
def test_values_are_looked_at_a_share_at_a_time(
    by_group: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the numbers of all at once, and in less memory."""
    random, peaks = np.random.default_rng(0), []
    keys = random.integers(0, 60_000, 120_000).astype(np.uint64)
    keys *= np.uint64(0x9E3779B97F4A7C15)
    own = random.random(100_000) < 0.9
    blocks = copies._blocks(random.permutation(100_000), own, 20_000)
    groups = random.integers(0, 3_000, 100_000) if by_group else None
    told = []
    for parts in (copies._parts, at_once):
        monkeypatch.setattr(copies, "_parts", parts)
        tracemalloc.start()
        told.append(copies._compare(keys, 20_000, blocks, own, groups))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert told[0] == told[1]
    (shared, values, natural, _), (held, copy) = told[0]
    assert 0 < shared < values and 0 < natural < 1
    assert keys[held] == keys[20_000 + copy] and not own[copy]
    assert peaks[0] < peaks[1] / 2


def at_once(keys: copies.Keys) -> Iterator[copies.Codes]:
    """Yield the positions of all keys together."""
    yield np.arange(len(keys))


def test_numbers_have_the_same_codes_in_any_order() -> None:
    """With steps so small that the last digit of a mean would show."""
    random = np.random.default_rng(0)
    numbers = pd.Series(random.lognormal(size=9_999)).mask(random.random(9_999) < 0.1)
    order = random.permutation(len(numbers))
    codes = copies._codes(numbers, 1e-15)
    assert len(set(codes)) > 8_000
    again = copies._codes(numbers[order], 1e-15)
    assert (again == codes[order]).all()
