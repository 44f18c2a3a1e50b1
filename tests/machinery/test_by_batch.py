"""A table that is prepared by batch has the rows, the order and the errors of a whole.

And holds no more than a batch, whatever the table's size.
"""

import json
import sys
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from machinery import test_splits
from machinery.judged import rows
from machinery.test_splits import RULES, TERMS, terms
from mlgitops.pipeline import (
    by_batch,
    data,
    kinds,
    repeated,
    row_groups,
    sorted_runs,
    training_rows,
)
from mlgitops.pipeline import prepare as stage
from mlgitops.pipeline.contract import ContractError

BATCH = 1_000
Clean = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a part of a few hundred rows have several blocks."""
    monkeypatch.setattr(sorted_runs, "LEAST", 7)


def function(clean: Clean, says: object = True) -> Clean:
    """Return a function as model/prepare.py has it, which may say `BY_BATCH`."""
    module = ModuleType("team_prepare")
    if says is not None:
        setattr(module, by_batch.SAYS, says)
    sys.modules[module.__name__] = module

    def prepare(frame: pd.DataFrame) -> pd.DataFrame:
        return clean(frame)

    prepare.__module__ = module.__name__
    return prepare


def same(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as they are."""
    return frame


def prepared(
    folder: Path,
    table: pa.Table | pd.DataFrame,
    split: str,
    batch: int | None = BATCH,
    clean: Clean = same,
    says: object = True,
) -> list[pd.DataFrame]:
    """Run the stage in a folder; return both parts as they are read."""
    folder.mkdir(exist_ok=True)
    (folder / "contract.yaml").write_text(yaml.safe_dump(TERMS[split]))
    section = RULES[split] | ({"batch": batch} if batch else {})
    (folder / "params.yaml").write_text(yaml.safe_dump({"prepare": section}))
    source = folder / "raw.parquet"
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table)
    pq.write_table(table, source, row_group_size=700)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(stage, "clean", function(clean, says))
        patch.setattr(stage.purity, "demand", lambda *_: None)
        outs = [folder / "build" / f"{name}.parquet" for name in ("train", "holdout")]
        stage.prepare(source, *outs)
    assert sorted(p.name for p in (folder / "build").iterdir()) == [
        "holdout.parquet",
        "train.parquet",
    ]
    return [pd.read_parquet(path) for path in outs]


def table(split: str, count: int = 2500) -> pd.DataFrame:
    """Return rows in no order, some of the same time."""
    frame = test_splits.table(split, count)
    if "placed" in frame:
        frame["placed"] = frame["placed"].dt.floor("D")
    return frame.sample(frac=1, random_state=0, ignore_index=True)


@pytest.mark.parametrize("split", RULES)
@pytest.mark.parametrize("order", ["mixed", "sorted"])
def test_both_parts_are_those_of_the_whole_table(
    split: str, order: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same rows in the same order, types, attributes and summary."""
    frame = table(split)
    if order == "sorted":
        frame = frame.sort_values(data.sort_keys(terms(split)), ignore_index=True)
    whole = prepared(tmp_path / "whole", frame, split, None)
    said = capsys.readouterr().out.replace("whole", "batch")
    batch = prepared(tmp_path / "batch", frame, split)
    names = ("train", "holdout")
    for name, one, other in zip(names, whole, batch, strict=True):
        pd.testing.assert_frame_equal(one, other)
        assert one.attrs["split"] == other.attrs["split"] == split
        seen = training_rows.Batches(
            tmp_path / "batch" / "build" / f"{name}.parquet", 99
        )
        assert (seen.count, seen.attrs) == (len(one), one.attrs)
    assert capsys.readouterr().out == said
    files = [tmp_path / "batch" / "build" / f"{n}.parquet" for n in names]
    for path in files:
        sizes = [
            pq.ParquetFile(path).metadata.row_group(n).num_rows
            for n in range(pq.ParquetFile(path).num_row_groups)
        ]
        assert set(sizes[:-1]) <= {BATCH} and sizes[-1] <= BATCH
    assert len(sizes) > 0


def spread(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    """Return the rows with a value in every 600th."""
    frame = frame.copy()
    frame.loc[::600, column] = value
    return frame


BROKEN: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "outside": lambda f: spread(f, "price", 10.5),
    "infinite": lambda f: spread(f, "price", np.inf),
    "missing": lambda f: spread(f, "price", np.nan),
    "category": lambda f: spread(f, "shop", "z"),
    "blank": lambda f: spread(f, "shop", ""),
    "texts": lambda f: f.assign(
        price=spread(f.astype({"price": str}), "price", "x")["price"]
    ),
    "target": lambda f: spread(f, "returned", 2),
    "no target": lambda f: spread(f.astype({"returned": float}), "returned", np.nan),
    "no time": lambda f: spread(f, "placed", pd.NaT),
    "no id": lambda f: spread(f, "order", None),
    "repeated": lambda f: spread(f, "order", "twice"),
    "two pairs": lambda f: f.assign(
        order=f["order"].where(
            f.index % 1100 != 7, f["order"].shift(-1200).fillna("o0-1")
        )
    ),
    "a later column in an earlier batch": lambda f: spread(f, "returned", 2).assign(
        price=f["price"].where(f.index < 2200, 11)
    ),
    "repeated, and a column before": lambda f: spread(
        spread(f, "order", "twice"), "price", 11
    ),
    "a type in the last batch": lambda f: spread(f, "price", 11).assign(
        placed=f["placed"].astype(str).where(f.index < 2400, "soon")
    ),
    "empty column": lambda f: f.assign(age=np.nan),
    "no column": lambda f: f.drop(columns="age"),
    "unknown column": lambda f: f.assign(more=1),
    "no rows": lambda f: f[:0],
    "stray": lambda f: f.assign(
        placed=f["placed"].where(
            f.index % 1200 != 3, pd.Timestamp("2099-01-01", tz="UTC")
        )
    ),
    "one class": lambda f: f.assign(returned=(f["placed"] < "2025-01-20").astype(int)),
    "index": lambda f: f.set_index("order"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_told_as_of_the_whole_table(name: str, tmp_path: Path) -> None:
    """Column, count over all batches, problem, example, advice."""
    frame = BROKEN[name](table("time"))
    said = []
    for batch in (None, BATCH):
        with pytest.raises(ContractError) as refused:
            prepared(tmp_path, frame, "time", batch)
        said.append(str(refused.value))
    assert said[0] == said[1]
    assert list(tmp_path.glob("build/*")) == []


def test_a_repeated_id_is_told_where_rows_have_no_time(tmp_path: Path) -> None:
    """Rows of one id have no order: that is no fault of the function."""
    frame = table("random")
    frame.loc[frame.index % 100 < 2, "order"] = "twice"
    frame["price"] = np.arange(len(frame)) / len(frame)
    for batch in (None, BATCH):
        with pytest.raises(ContractError, match="50 of 2,500 values are repeated"):
            prepared(tmp_path, frame, "random", batch)


@pytest.mark.parametrize("split", ["group", "column"])
def test_a_part_without_a_class_is_told_as_of_the_whole_table(
    split: str, tmp_path: Path
) -> None:
    frame = table(split).assign(returned=0)
    said = []
    for batch in (None, BATCH):
        with pytest.raises(ContractError) as refused:
            prepared(tmp_path, frame, split, batch)
        said.append(str(refused.value))
    assert said[0] == said[1]


ARROW = {  # columns that pandas reads otherwise in a batch without a gap
    "whole numbers": lambda f: f.set_column(
        3, "price", pa.array([None if n == 2400 else n % 9 for n in range(len(f))])
    ),
    "categories": lambda f: f.set_column(
        2, "shop", f.column("shop").dictionary_encode()
    ),
    "types with gaps": lambda f: pa.Table.from_pandas(
        f.to_pandas().assign(
            price=pd.array([None, *range(1, len(f))], "Int64"),
            age=pd.array([None, *[True] * (len(f) - 1)], "boolean"),
        )
    ),
    "no gap": lambda f: f,
}


@pytest.mark.parametrize("name", ARROW)
def test_a_batch_is_typed_as_the_whole_table(name: str, tmp_path: Path) -> None:
    arrow = ARROW[name](pa.Table.from_pandas(table("time"), preserve_index=False))
    pq.write_table(arrow, tmp_path / "raw.parquet", row_group_size=700)
    whole = pd.read_parquet(tmp_path / "raw.parquet")
    batches = list(row_groups.Rows(tmp_path / "raw.parquet", BATCH).batches())
    assert [len(b) for b in batches] == [1000, 1000, 500]
    if name == "categories":
        whole = whole.astype({"shop": "str"})
    for batch in batches:
        assert (batch.dtypes == whole.dtypes).all()
    pd.testing.assert_frame_equal(pd.concat(batches, ignore_index=True), whole)
    # Negative control: as Arrow alone reads them.
    raw = [
        b.to_pandas().dtypes
        for b in pq.ParquetFile(tmp_path / "raw.parquet").iter_batches(BATCH)
    ]
    assert all((r == whole.dtypes).all() for r in raw) == (
        name in ("no gap", "types with gaps")
    )


def test_a_function_has_to_say_that_it_takes_a_part(tmp_path: Path) -> None:
    for says in (None, False, "yes"):
        with pytest.raises(ContractError, match="BY_BATCH = True"):
            prepared(tmp_path, table("time"), "time", says=says)
    assert len(prepared(tmp_path / "whole", table("time"), "time", None, says=None)[0])


DEPENDENT: dict[str, Clean] = {
    "a mean": lambda f: f.assign(price=f["price"].fillna(0) - f["price"].mean()),
    "a row before": lambda f: f.assign(age=f["age"].shift()),
    "duplicates": lambda f: f.drop_duplicates("placed"),
    "a share": lambda f: f.head(len(f) * 9 // 10),
    "a position": lambda f: f.assign(price=(f.index % 7).astype(float)),
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_a_function_that_looks_at_other_rows_is_refused(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ContractError, match="makes other rows of the first 1,000"):
        prepared(tmp_path, table("time"), "time", clean=DEPENDENT[name])


def test_a_function_of_a_row_may_change_and_remove_rows(tmp_path: Path) -> None:
    """Rows of several batches wholly gone are no mistake."""

    def clean(frame: pd.DataFrame) -> pd.DataFrame:
        frame["price"] = frame["price"].clip(-1, 1)
        return frame[
            (frame["shop"] != "b") & (frame["order"].str[3:].astype(int) > 900)
        ]

    frame = table("time").sort_values("order", ignore_index=True)
    frame["order"] = [f"o0-{n}" for n in range(len(frame))]
    whole, batch = (
        prepared(tmp_path, frame, "time", batch, clean) for batch in (None, BATCH)
    )
    for one, other in zip(whole, batch, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_ids_that_share_a_hash_are_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = repeated.hashes
    monkeypatch.setattr(repeated, "hashes", lambda ids: exact(ids) % 200_000)
    frame = table("time")
    assert len(prepared(tmp_path, frame, "time")[0])
    frame.loc[[30, 2400], "order"] = "twice"
    with pytest.raises(ContractError, match=r"2 of 2,500 .*repeated \(such as twice"):
        prepared(tmp_path, frame, "time")


def test_equal_ids_have_one_hash_whatever_their_type() -> None:
    """As Python compares them: 3 is 3.0, and no text."""
    numbers = [0, 3, -7, 2**53 + 2]
    whole = repeated.hashes(pd.Series(numbers))
    for kind in ("float64", "object", "Int64"):
        other = pd.Series(numbers, dtype=kind)
        if kind == "object":
            assert not (repeated.hashes(other.map(str)) == whole).any()
            continue
        assert (repeated.hashes(other) == whole).all(), kind
    small = pd.Series([0, 3, -7, 5])
    assert (repeated.hashes(small.astype("int8")) == repeated.hashes(small)).all()
    parts = [3.5, float("nan"), float("inf"), 2.0**63, 1e300]
    found = np.concatenate([whole, repeated.hashes(pd.Series(parts))])
    assert len(set(found)) == len(found)
    texts = pd.Series(["a", "b"])
    assert (repeated.hashes(texts) == repeated.hashes(texts.astype(object))).all()


def test_an_id_of_another_type_in_a_later_batch_is_found(tmp_path: Path) -> None:
    """The function makes numbers of a batch whole, where they are."""

    def clean(frame: pd.DataFrame) -> pd.DataFrame:
        whole = (frame["order"] % 1 == 0).all()
        return frame.astype({"order": "int64"}) if whole else frame

    frame = table("time").assign(order=np.arange(2500.0))
    frame.loc[2450, "order"] = 2449.5
    assert len(prepared(tmp_path, frame, "time", clean=clean)[0])
    frame.loc[2400, "order"] = 3.0
    with pytest.raises(ContractError, match="2 of 2,500 values are repeated"):
        prepared(tmp_path, frame, "time", clean=clean)


@pytest.mark.parametrize("kind", ["times", "decimals"])
def test_ids_of_two_units_or_scales_are_refused(kind: str, tmp_path: Path) -> None:
    """Their hashes differ where the ids do not: a repeated one would not be seen."""

    def clean(frame: pd.DataFrame) -> pd.DataFrame:
        late = frame["order"].max() >= 1_500
        if kind == "times":
            when = pd.to_datetime(frame["order"], unit="s")
            ids = when.astype("datetime64[ns]" if late else "datetime64[s]")
        else:
            scale = Decimal("0.10" if late else "0.1")
            ids = frame["order"].map(lambda n: Decimal(int(n)) * scale)
        return frame.assign(order=ids)

    frame = table("time").assign(order=np.arange(2500) % 2400)
    with pytest.raises(ContractError, match="values of several types"):
        prepared(tmp_path, frame, "time", clean=clean)
    few = frame.assign(order=np.arange(2500) % 1400)
    with pytest.raises(ContractError, match="values are repeated"):
        prepared(tmp_path, few, "time", clean=clean)


def test_the_order_of_categories_is_that_of_their_values(tmp_path: Path) -> None:
    """Whatever order a file has them in, by batch and at once."""
    names = [f"k{n:04d}" for n in range(2500)]
    kind = pd.CategoricalDtype(names[::-1])
    frame = table("random").assign(order=pd.Series(names).astype(kind))
    for batch in (BATCH, None):
        for part in prepared(tmp_path / str(batch), frame, "random", batch):
            assert part["order"].astype(str).is_monotonic_increasing


def every_other(frame: pd.DataFrame, *values: Callable[[int], object]) -> pd.DataFrame:
    """Return rows whose ids are made by these functions in turn."""
    made = [values[n % len(values)](n) for n in range(len(frame))]
    return frame.assign(order=pd.Series(made, dtype=object))


SEVERAL: dict[str, tuple[str, Clean]] = {  # what is said, of which table
    "numbers and texts": (
        r'"order": of 2,500 values, 1,250 are numbers \(such as 0\) and 1,250 are '
        r"texts \(such as o1\); they need one type .*astype\(str\)",
        lambda f: every_other(f, int, lambda n: f"o{n}"),
    ),
    "bytes and texts": (
        "1,250 are bytes .* 1,250 are texts",
        lambda f: every_other(f, lambda n: b"%d" % n, lambda n: f"o{n}"),
    ),
    "decimals": ("decimals .* numbers", lambda f: every_other(f, Decimal, float)),
    "dates": (
        "dates .* texts",
        lambda f: every_other(
            f, lambda n: date(2025, 1, 1 + n % 28), lambda n: f"o{n}"
        ),
    ),
    "times with and without a zone": (
        r"1,250 are times with a zone \(such as 2025-01-01 00:00:00\+00:00\) and 1,250 "
        "are times without one",
        lambda f: every_other(
            f,
            lambda n: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(n),
            lambda n: datetime(2025, 1, 1) + timedelta(n),
        ),
    ),
    "complex": (
        "2,500 are values of the type complex",
        lambda f: f.assign(order=np.arange(len(f)) + 1j),
    ),
    "lists": (
        "2,500 are values of the type list",
        lambda f: every_other(f, lambda n: [n]),
    ),
    "maps": ("the type dict", lambda f: every_other(f, lambda n: {"n": n})),
    "sets": ("the type set", lambda f: every_other(f, lambda n: {n})),
    "pairs": ("the type tuple", lambda f: every_other(f, int, lambda n: (n,))),
    "large": ("more than 64 bits", lambda f: every_other(f, lambda n: 10**30 + n)),
    "arrays": ("type list", lambda f: every_other(f, lambda n: np.arange(2) + n)),
    "arrays of a number": (
        r"2,500 of 2,500 values are not numbers \(such as \[0, 1\]\)",
        lambda f: f.assign(price=pd.Series([np.arange(2)] * len(f), dtype=object)),
    ),
    "twins": (
        '"price" is in the table twice',
        lambda f: pd.concat([f, f[["price"]]], axis=1),
    ),
    "nothing": ("returns NoneType, not a table", lambda f: None),  # type: ignore
    "a column": ("returns Series, not a table", lambda f: f["price"]),  # type: ignore
    "no such column": (
        r"test_by_batch.py:\d+: prepare\(\) .* fails on this table of 2,500 rows "
        r"\(KeyError: 'nothing'\)",
        lambda f: f[["nothing"]] if "nothing" in f else f["nothing"],  # type: ignore
    ),
    "another type": (
        r"test_by_batch.py:\d+: .*TypeError",
        lambda f: f.assign(shop=f["shop"] + 1),
    ),
    "no time, for compiled pandas": (
        r"test_by_batch.py:\d+: .*DateParseError",
        lambda f: f.assign(placed=pd.to_datetime(f["order"])),
    ),
    "no JSON, for the standard library": (
        r"test_by_batch.py:\d+: .*JSONDecodeError",
        lambda f: f.assign(shop=f["order"].map(json.loads)),
    ),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_whatever_a_table_holds_is_one_sentence(name: str, tmp_path: Path) -> None:
    """What pandas and Arrow raise, half of it no ValueError, names no column."""
    sentence, clean = SEVERAL[name]
    for batch in (None, 10_000):
        with pytest.raises(ContractError, match=sentence):
            prepared(tmp_path, table("time"), "time", batch, clean)


@pytest.mark.parametrize("name", ["numbers and texts", "lists", "another type"])
def test_what_is_told_of_a_batch_names_its_rows(name: str, tmp_path: Path) -> None:
    """Where the counts are those of a batch; here the first is in order."""
    clean = SEVERAL[name][1]

    def late(frame: pd.DataFrame) -> pd.DataFrame:
        return clean(frame) if frame["order"].max() >= BATCH else frame

    frame = table("time").assign(order=np.arange(2500))
    told = "^Rows 1,001 to 2,000: .* (of 1,000 values, |this table of 1,000 rows)"
    with pytest.raises(ContractError, match=told):
        prepared(tmp_path, frame, "time", clean=late)


def test_a_broken_column_is_told_before_ids_of_several_types(tmp_path: Path) -> None:
    def clean(frame: pd.DataFrame) -> pd.DataFrame:
        several = SEVERAL["numbers and texts"][1](frame)
        return several.assign(price=several["price"].astype(str) + "x")

    said = "2,500 of 2,500 values are not numbers"
    for batch in (None, BATCH):
        with pytest.raises(ContractError, match=said):
            prepared(tmp_path, table("time"), "time", batch, clean)


DAYS = [date(1990, 1, 1) + timedelta(days=n) for n in range(2500)]
HELD: dict[str, Callable[[int], object]] = {  # by pandas, as objects
    "whole numbers": int,
    "decimals": Decimal,
    "dates": DAYS.__getitem__,
    "numbers": lambda n: n / 2 if n % 2 else n // 2,
    "times": lambda n: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(n),
    "times without a zone": lambda n: datetime(2025, 1, 1) + timedelta(n),
    "durations": timedelta,
    "bytes": lambda n: b"%d" % n,
}


@pytest.mark.parametrize("batch", [None, BATCH])
@pytest.mark.parametrize("name", HELD)
def test_ids_of_one_type_pass_and_a_repeated_one_is_told(
    name: str, batch: int | None, tmp_path: Path
) -> None:
    """The control: also those that pandas holds as objects."""
    frame = table("time").assign(order=np.arange(2500))

    def clean(frame: pd.DataFrame) -> pd.DataFrame:
        made = [HELD[name](number) for number in frame["order"].tolist()]
        return frame.assign(order=pd.Series(made, frame.index, object))

    assert len(prepared(tmp_path, frame, "time", batch, clean)[0])
    frame.loc[2400, "order"] = 3
    with pytest.raises(ContractError, match="2 of 2,500 values are repeated"):
        prepared(tmp_path, frame, "time", batch, clean)


def test_a_column_without_arrays_stays_as_it_is() -> None:
    """Its numbers too, which as floats would be others."""
    numbers = pd.Series([1, 2.5, 2**53 + 1], dtype=object)
    assert kinds.without_arrays(numbers).tolist()[2] == 2**53 + 1
    beside = pd.Series([np.array([1, 2]), np.array(3), 2**53 + 1], dtype=object)
    assert kinds.without_arrays(beside).tolist() == [[1, 2], 3, 2**53 + 1]


def test_ids_that_nothing_orders_are_one_sentence(tmp_path: Path) -> None:
    def texts(frame: pd.DataFrame) -> pd.DataFrame:
        late = len(frame) < BATCH
        return frame.astype({"order": "str"}) if late else frame

    frame = table("time").assign(order=np.arange(2500))
    with pytest.raises(ContractError, match="values of several types"):
        prepared(tmp_path, frame, "time", clean=texts)


def test_a_file_that_is_not_what_it_says_is_refused(tmp_path: Path) -> None:
    """Two columns of one name; more or fewer rows than its footer has."""
    file = tmp_path / "raw.parquet"
    for count in (2, 4):
        pq.write_table(pa.table({"x": [1, 2, 3]}), file)
        rows = row_groups.Rows(file, BATCH)
        assert len(list(rows.batches())) == 1
        rows._count = count
        with pytest.raises(ValueError, match=f"says that it has {count} rows, and has"):
            list(rows.batches())
    pq.write_table(pa.table([[1], ["b"]], ["x", "x"]), file)
    with pytest.raises(ValueError, match="two columns x"):
        row_groups.Rows(file, BATCH)


def test_categories_of_a_batch_are_merged_as_values(tmp_path: Path) -> None:
    """Arrow gives 200 of them another type than 100, and pandas another order."""
    runs = sorted_runs.Runs(tmp_path, ["order"], BATCH, 2)
    frames = []
    for count in (100, 200):
        names = [f"c{n}" for n in range(count)][::-1]
        kind = pd.CategoricalDtype(names)
        frames.append(pd.DataFrame({"order": names, "shop": names}, dtype=kind))
        frames[-1]["order"] = (frames[-1]["order"].astype(str) + f"-{count}").astype(
            "category"
        )
        runs.add(frames[-1])
    found = pd.concat(list(runs.merged()), ignore_index=True)
    whole = pd.concat([frame.astype(str) for frame in frames])
    pd.testing.assert_frame_equal(found, whole.sort_values("order", ignore_index=True))
    assert sorted(runs.came()) == list(range(300))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is full")
@pytest.mark.parametrize("name", ["ids-0.hashes", "ids-0.arrow", "0.came", "0.arrow"])
def test_a_full_disk_is_told(name: str, tmp_path: Path) -> None:
    """Of the few bytes that are written as a file is closed, too."""
    (tmp_path / name).symlink_to("/dev/full")
    frame = pd.DataFrame({"order": ["a", "b"]})
    with pytest.raises(OSError, match="No space|write|Error"):
        repeated.Ids(tmp_path, BATCH).add(frame["order"])
        sorted_runs.Runs(tmp_path, ["order"], BATCH, 1).add(frame)


def test_so_many_repeated_ids_are_counted_by_their_hashes(tmp_path: Path) -> None:
    frame = table("time")
    frame["order"] = [f"o{n % 1200}" for n in range(len(frame))]
    with pytest.raises(ContractError, match=r"2,500 of 2,500 .* \(such as o0\)"):
        prepared(tmp_path, frame, "time")


def test_a_refusal_leaves_the_files_of_before(tmp_path: Path) -> None:
    """Of a part that is refused at the end, too. A killed stage leaves a folder."""
    before = prepared(tmp_path, table("time"), "time")
    with pytest.raises(ContractError, match="not both values"):
        prepared(tmp_path, BROKEN["one class"](table("time")), "time")
    after = [
        pd.read_parquet(tmp_path / "build" / f"{n}.parquet")
        for n in ("train", "holdout")
    ]
    for one, other in zip(before, after, strict=True):
        pd.testing.assert_frame_equal(one, other)
    left = tmp_path / "build" / "train.scratch"
    for batch in (BATCH, None):
        left.mkdir()
        (left / "0.arrow").write_bytes(b"torn")
        prepared(tmp_path, table("time"), "time", batch)
        assert not left.exists()


class Held:
    """Counts the rows of all tables that are in memory at once, and their most."""

    def __init__(self) -> None:
        self.rows = self.most = 0

    def add(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Count a table until it is gone."""
        self.rows += len(frame)
        self.most = max(self.most, self.rows)
        weakref.finalize(frame, self.drop, len(frame))
        return frame

    def drop(self, rows: int) -> None:
        """Count a table no more."""
        self.rows -= rows


@pytest.mark.parametrize("order", ["mixed", "sorted"])
@pytest.mark.parametrize("least", [7, 125])
def test_memory_is_that_of_a_batch(
    order: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three times the rows no more are in memory; as a whole, all are.

    Nor where there are more parts than are merged at once.
    """
    monkeypatch.setattr(sorted_runs, "LEAST", least)
    read, merge = sorted_runs.Runs._read, sorted_runs.Runs._merge
    most = {}
    for count in (3_000, 9_000):
        frame = rows(count)
        if order == "mixed":
            frame = frame.sample(frac=1, random_state=0, ignore_index=True)
        for batch in (BATCH, None):
            held = Held()

            def counted(*args: Any, held: Held = held) -> pd.DataFrame:
                return held.add(read(*args))

            def merged(*args: Any, held: Held = held) -> Iterator[pd.DataFrame]:
                return map(held.add, merge(*args))

            monkeypatch.setattr(sorted_runs.Runs, "_read", counted)
            monkeypatch.setattr(sorted_runs.Runs, "_merge", merged)
            prepared(tmp_path, frame, "time", batch, held.add)
            most[count, batch] = held.most
    for count in (3_000, 9_000):
        assert most[count, None] == count
        assert BATCH <= most[count, BATCH] <= 2 * BATCH


ROWS = 30  # of a part


def merged_in_passes(folder: Path, parts: int) -> tuple[int, int]:
    """Merge parts in no order; return how many rows were read, and at once."""
    frame = pd.DataFrame({"order": np.random.default_rng(0).permutation(parts * ROWS)})
    runs = sorted_runs.Runs(folder, ["order"], 100, parts)
    seen = list[int]()
    read = runs._read

    def counted(blocks: Any, *args: Any) -> pd.DataFrame:
        rows_read = read(blocks, *args)
        seen.append(len(rows_read))
        return rows_read

    runs._read = counted  # type: ignore[method-assign]
    for start in range(0, len(frame), ROWS):
        runs.add(frame[start : start + ROWS])
    before = sorted(folder.iterdir())
    found = pd.concat(list(runs.merged()), ignore_index=True)
    assert found["order"].tolist() == list(range(len(frame)))
    again = pd.concat(list(runs.merged()), ignore_index=True)
    assert again.equals(found)
    assert sorted(runs.came()) == list(range(len(frame)))
    left = {f.name for f in folder.iterdir()} - {f.name for f in before}
    assert all(name.startswith("merged-") for name in left)
    return sum(seen) // 2, max(seen)


def test_rows_in_no_order_are_read_as_often_as_there_are_passes(
    tmp_path: Path,
) -> None:
    """Twice the parts are twice the rows, or a pass more; a refill is half a batch."""
    for parts, passes in ((7, 1), (8, 2), (49, 2), (50, 3)):
        (tmp_path / str(parts)).mkdir()
        rows_read, refill = merged_in_passes(tmp_path / str(parts), parts)
        assert rows_read == passes * parts * ROWS
        assert refill <= 50


def test_what_was_read_of_a_file_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow keeps all of a file that it reads ahead, unless it is told not to."""
    numbers = np.random.default_rng(0).normal(size=400_000)
    file = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"x": numbers}), file, row_group_size=10_000)

    def most() -> int:
        start, held = pa.total_allocated_bytes(), []
        for _ in row_groups.Rows(file, 10_000).batches():
            held.append(pa.total_allocated_bytes() - start)
        return max(held)

    assert most() < numbers.nbytes / 3
    monkeypatch.setitem(row_groups.IN_PIECES, "pre_buffer", True)
    assert most() > numbers.nbytes / 2
