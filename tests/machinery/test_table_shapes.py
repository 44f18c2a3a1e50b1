"""Tables of different shape: each gives a contract that is read, or a refusal."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from machinery import tables
from mlgitops.table import formats, look
from mlgitops.table.look import IDLIKE

duckdb = pytest.importorskip("duckdb")  # the group `data`
RANDOM = np.random.default_rng(1)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a new repository."""
    folder = tables.copy(tmp_path / "new")
    monkeypatch.chdir(folder)
    return folder


def csv(frame: pd.DataFrame, name: str = "my_table.csv", **how: object) -> Path:
    """Write a table beside the repository."""
    path = Path("..", name)
    frame.to_csv(path, index=False, **how)
    return path


def people(count: int = 300) -> pd.DataFrame:
    """Return a table with a column of each kind."""
    numbers = np.arange(count)
    return pd.DataFrame(
        {
            "key": [f"p{n}" for n in numbers],
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(numbers * 7, unit="h"),
            "amount": numbers * 12.5 - 100.25,
            "city": np.array(["Zürich", "Genève", "Köln"])[numbers % 3],
            "member": np.array(["yes", "no"])[numbers % 2],
            "visits": numbers % 40,
            "y": np.array(["good", "bad"])[(numbers * 7 % 5 > 2).astype(int)],
        }
    )


def written(separator: str, decimal: str = ".", thousands: str = "") -> str:
    """Return that table as CSV in a dialect."""
    frame = people()
    amounts = frame["amount"].map(lambda v: f"{v:,.2f}" if thousands else f"{v:.2f}")
    swap = str.maketrans({",": thousands, ".": decimal})
    frame["amount"] = amounts.map(lambda text: text.translate(swap))
    return frame.to_csv(index=False, sep=separator)


DIALECTS = {
    "comma.csv": written(",").encode(),
    "semicolon.csv": written(";", ",").encode(),
    "tab.tsv": written("\t").encode(),
    "bar.txt": written("|").encode(),
    "bom.csv": b"\xef\xbb\xbf" + written(",").encode(),
    "utf16.csv": written(",").encode("utf-16"),
    "utf16le.csv": written(";", ",").encode("utf-16-le"),
    "latin1.csv": written(";", ",").encode("latin-1"),
    "crlf.csv": written(",").replace("\n", "\r\n").encode(),
    "thousands.csv": written(",", ".", ",").encode(),
    "thousands_de.csv": written(";", ",", ".").encode(),
    "thousands_ch.csv": written(";", ".", "’").encode(),
    "packed.csv.gz": gzip.compress(written(",").encode()),
}


def expected_of_people() -> None:
    """Check what was written of the table of people."""
    contract, rows = tables.contract(), tables.table()
    types = {name: entries["type"] for name, entries in contract["columns"].items()}
    assert types == {
        "amount": "number",
        "city": "category",
        "member": "boolean",
        "visits": "integer",
    }
    assert contract["columns"]["city"]["categories"] == ["Genève", "Köln", "Zürich"]
    assert (contract["id"], contract["time"]) == ("key", "when")
    pd.testing.assert_series_equal(rows["amount"], people()["amount"])
    assert (rows["y"] == (people()["y"] == "bad")).all()
    assert rows["member"].dtype == bool and rows["member"].sum() == 150
    when = people()["when"].dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    pd.testing.assert_series_equal(rows["when"], when, check_dtype=True)


@pytest.mark.parametrize("name", DIALECTS)
def test_csv_of_any_dialect_gives_the_same_table(name: str) -> None:
    path = Path("..", name)
    path.write_bytes(DIALECTS[name])
    assert not tables.make(path, "y")
    expected_of_people()


@pytest.mark.parametrize("kind", ["parquet", "feather", "jsonl", "folder"])
def test_other_files_give_the_same_table(kind: str) -> None:
    path, frame = Path("..", f"table.{kind}"), people()
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "feather":
        frame.to_feather(path)
    elif kind == "jsonl":
        frame["when"] = frame["when"].astype(str)
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        path.mkdir()
        for number in range(3):
            part = frame.iloc[number * 100 : number * 100 + 100]
            part.to_csv(path / f"{number}.csv", index=False)
    assert not tables.make(path, "y")
    expected_of_people()


def priced(count: int = 400) -> pd.DataFrame:
    """Return columns of numbers that a sheet shows with signs, and the numbers."""
    frame = tables.frame(count)
    share = (RANDOM.normal(size=count) * 20).round(1)
    paid = (RANDOM.gamma(3, 900, count)).round(2)
    frame["share"] = [f"{value} %".replace(".", ",") for value in share]
    frame["paid"] = [
        f"-${v:,.2f}" if n % 9 == 0 else f"${v:,.2f}" for n, v in enumerate(paid)
    ]
    frame["true share"] = share
    frame["true paid"] = np.where(np.arange(count) % 9 == 0, -paid, paid)
    return frame


def test_signs_of_percent_and_currency_can_be_read_as_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are texts at first; the page says what to type, and that is exact."""
    path = csv(priced())
    assert not tables.make(path, "y")
    said = capsys.readouterr().out
    assert "TYPES=share=number" in said and "TYPES=paid=number" in said
    assert not tables.make(path, "y", types="share=number,paid=number", force=True)
    table = tables.table()
    for name in ("share", "paid"):
        assert table[name].to_list() == table[f"true {name}"].to_list()
    assert "with %" in capsys.readouterr().out


SIGNED = {
    "blanks that break no line": (
        ["7,5\u00a0%", "-8\u202f%", "+9 %", "\u00a010%\t"],
        [7.5, -8, 9, 10],
    ),
    "before": (["$1,200.50", "-$3", "$-4", " $\u00a05 "], [1200.5, -3, -4, 5]),
    "after": (["1.234,5 €", "-1.000,25€", "3 €"], [1234.5, -1000.25, 3]),
    "zeros before": (["05 %", "00%", "10 %"], [5, 0, 10]),
    "groups": (["1 234,5 €", "12 €", "-2\u00a0000 €"], [1234.5, 12, -2000]),
}


@pytest.mark.parametrize("kind", SIGNED)
def test_a_number_beside_its_sign_is_exact(kind: str) -> None:
    """Python sees the sign, and DuckDB reads it: neither knows more."""
    texts, numbers = SIGNED[kind]
    written = look._style(texts, "number", False)
    assert written.sign
    ask = f"select {written.sql('v')} from (select unnest(?) as v)"
    assert duckdb.execute(ask, [texts]).fetchall() == [(n,) for n in numbers]
    alone = [bare.replace(written.sign, "") for bare in texts]
    assert {value for (value,) in duckdb.execute(ask, [alone]).fetchall()} == {None}


MIXED = {
    "another currency": "€5.00",
    "no sign": "0.05",
    "in parentheses": "($5.00)",
    "a dash": "\u2212$5.00",
}


@pytest.mark.parametrize("peek", [300, 5_000])
@pytest.mark.parametrize("kind", MIXED)
def test_a_number_with_another_sign_is_not_taken_for_missing(
    kind: str, peek: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the first rows or later: what is lost would be one kind of row."""
    monkeypatch.setattr(look, "PEEK", peek)
    frame = tables.frame(400)
    frame["paid"] = [f"${n}.50" for n in range(400)]
    frame.loc[390:, "paid"] = MIXED[kind]
    said = tables.make(csv(frame), "y", types="paid=number")
    assert "with another sign" in said


def test_words_among_numbers_with_a_sign_are_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The control: TYPES= counts them so, and says how many."""
    frame = tables.frame(400)
    frame["paid"] = [f"${n}.50" for n in range(400)]
    frame.loc[:9, "paid"] = "n.a."
    frame["rate"] = [f"{n % 97}" for n in range(400)]
    frame.loc[390:, "rate"] = "10% off"
    assert not tables.make(csv(frame), "y", types="paid=number,rate=number")
    assert tables.table()["paid"].isna().sum() == 10
    assert tables.table()["rate"].isna().sum() == 10
    assert "a request and `make score` have the number" in capsys.readouterr().out


def test_a_newer_file_in_another_currency_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = tables.frame(400)
    frame["paid"] = [f"€{n}.50" for n in range(400)]
    assert not tables.make(csv(frame), "y", types="paid=number")
    assert "paid: numbers with" not in capsys.readouterr().out, "the control"
    for sign, now in (("$", "with $"), ("", "with no sign")):
        newer = frame.assign(paid=frame["paid"].str.replace("€", sign))
        assert not tables.make(csv(newer), "")
        assert f"paid: numbers with € → {now}" in capsys.readouterr().out


def test_a_target_of_few_numbers_with_a_sign_has_classes() -> None:
    frame = tables.frame(400)
    frame["y"] = [f"{5 * (n % 4)} %" for n in range(400)]
    assert not tables.make(csv(frame), "y", types="y=number")
    assert tables.contract()["classes"] == ["0 %", "10 %", "15 %", "5 %"]


def test_a_word_that_ends_in_id_is_no_id() -> None:
    names = {"paid": 0, "amount_paid": 0, "is valid": 0, "customerid": 1, "orderID": 1}
    names |= {"id": 1, "user_id": 1, "Id": 1, "idea": 0}
    assert {name: bool(IDLIKE.search(name)) for name in names} == names


def test_a_target_with_a_sign_says_what_to_type() -> None:
    path = csv(priced().drop(columns="true paid"))
    assert "TYPES=paid=number" in tables.make(path, "paid")
    assert not tables.make(path, "paid", types="paid=number")
    assert tables.contract()["task"] == "regression"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["7,5 %", "8%"], "%"),
        (["€ 5", "€1.000,50"], "€"),
        (["5 €", "$ 6"], ""),
        (["7 %", "7"], ""),  # one of them a share, perhaps
        (["7 %", "seven %"], ""),
        (["%5%", "6 %"], ""),
        (["5$ 6", "$7"], ""),
        (["7 %", "n.a."], "%"),
        (["7", "8"], ""),
    ],
)
def test_one_sign_stands_beside_each_number(values: list[str], found: str) -> None:
    assert formats.sign(values) == found


def test_settings_follow_from_the_table() -> None:
    assert not tables.make(csv(people()), "y")
    params = tables.params("binary")
    assert params["prepare"]["split"] == "time"
    assert params["prepare"]["holdout_days"] == 18  # a fifth of 87 days, rounded up
    assert params["train"]["threshold"] == 0.4
    assert params["train"]["columns"] == ["amount", "city", "member", "visits"]
    assert params["gates"]["roc_auc"]["min"] >= 0.51
    assert params["gates"]["holdout"]["min_rows"] == 31


def test_awkward_names_stay_as_they_are() -> None:
    numbers = RANDOM.normal(size=(400, 9)).round(3)
    names = [
        "Ship Mode",
        "x/y",
        "2nd_floor",
        "label",
        "time",
        "id",
        "größe",
        "a,b",
        "NO",
    ]
    frame = pd.DataFrame(numbers, columns=names)
    frame['say "hi": {x}'] = RANDOM.choice(["- a", "yes", "010", "12:30", "#"], 400)
    frame["y # z"] = (frame["label"] + RANDOM.normal(size=400) > 0).astype(int)
    assert not tables.make(csv(frame), "y # z", drop='"a,b"')
    contract = tables.contract()
    names.remove("a,b")
    assert list(contract["columns"]) == [*names, 'say "hi": {x}']
    texts = contract["columns"]['say "hi": {x}']["categories"]
    assert texts == ["#", "- a", "010", "12:30", "yes"]
    assert list(tables.table()) == ["row_id", *contract["columns"], "y # z"]
    tables.params("binary")


def test_a_table_of_categories_only() -> None:
    frame = pd.DataFrame(
        {
            name: RANDOM.choice([f"{name}{n}" for n in range(size)], 500)
            for name, size in (("cap", 4), ("gill", 9), ("odor", 3), ("y", 3))
        }
    )
    assert not tables.make(csv(frame), "y")
    contract = tables.contract()
    assert contract["task"] == "multiclass" and contract["classes"] == [
        "y0",
        "y1",
        "y2",
    ]
    assert {e["type"] for e in contract["columns"].values()} == {"category"}
    assert "time" not in contract
    params = tables.params("multiclass")
    assert params["prepare"] == {"split": "random", "holdout_share": 0.2, "seed": 1}
    assert "threshold" not in params["train"]


def test_a_regression_has_no_entry_of_another_task() -> None:
    frame = tables.frame(600, rooms=RANDOM.integers(1, 9, 600))
    frame["y"] = 1000 * frame["rooms"] + 300 * frame["x"]
    assert not tables.make(csv(frame), "y")
    params = tables.params("regression")
    assert "r2" in params["gates"] and "roc_auc" not in params["gates"]
    assert "calibration_error" not in params["gates"]
    assert "ridge" in params["train"] and "logistic_regression" not in params["train"]


def test_large_whole_numbers() -> None:
    """Exact up to 2^24; beyond it a number with a note, an id, or a Unix time."""
    frame = tables.frame(
        small=RANDOM.integers(0, 1000, 400),
        cents=RANDOM.integers(0, 40, 400) * 7_654_321,
        account=2**60 + np.arange(400) * 7919,
        created=1_700_000_000 + np.arange(400) * 3600,
        clock=1_700_000_000 + np.arange(400) % 50 * 3600,
        millis=(1_700_000_000 + RANDOM.integers(0, 9999, 400)) * 1000,
    )
    assert not tables.make(csv(frame), "y", split="random", types="millis=unix")
    columns = tables.contract()["columns"]
    assert columns["small"]["type"] == "integer"
    assert columns["cents"]["type"] == columns["clock"]["type"] == "number"
    assert columns["created"]["type"] == columns["millis"]["type"] == "datetime"
    assert "account" not in columns
    rows = tables.table()
    assert str(rows["millis"].min())[:10] == "2023-11-14"
    assert str(rows["created"].min())[:10] == "2023-11-14"


def test_dates_in_several_forms() -> None:
    days = pd.Timestamp("2024-01-05") + pd.to_timedelta(np.arange(400) % 90, unit="D")
    frame = tables.frame(
        iso=days.strftime("%Y-%m-%dT%H:%M:%S+02:00"),
        german=days.strftime("%d.%m.%Y"),
        american=days.strftime("%m/%d/%Y %I:%M %p"),
        words=days.strftime("%d %b %Y"),
    )
    assert not tables.make(csv(frame), "y", time="german")
    contract, rows = tables.contract(), tables.table()
    assert contract["time"] == "german"
    for name in ("iso", "american", "words"):
        assert contract["columns"][name]["type"] == "datetime"
    assert (rows["german"] == rows["american"]).all()
    assert (rows["german"] - rows["iso"] == pd.Timedelta(hours=2)).all()


def test_missing_values_in_every_column() -> None:
    frame = people(1000).drop(columns=["key", "when"])
    for name in frame.columns[:-1]:
        frame[name] = frame[name].where(RANDOM.random(1000) > 0.6)
    frame["hollow"] = np.nan
    frame["fixed"] = "same"
    frame["marked"] = np.where(
        np.arange(1000) % 9 == 0, "?", (np.arange(1000) % 50) / 7
    )
    assert not tables.make(csv(frame), "y")
    columns = tables.contract()["columns"]
    assert set(columns) == {"amount", "city", "member", "visits", "marked"}
    assert all(entries["missing"] for entries in columns.values())
    assert columns["marked"]["type"] == "number"
    rows = tables.table()
    assert rows["marked"].isna().sum() == 112
    assert set(rows["member"].dropna()) == {0.0, 1.0}


def test_a_wide_table() -> None:
    frame = pd.DataFrame(RANDOM.normal(size=(300, 400)).round(3))
    frame.columns = [f"sensor {n}" for n in range(400)]
    frame["y"] = (frame["sensor 3"] > 0).astype(int)
    assert not tables.make(csv(frame), "y", drop="sensor 3")
    assert len(tables.contract()["columns"]) == 399
    assert len(tables.params("binary")["train"]["columns"]) == 399


def test_one_of_a_thousand() -> None:
    frame = tables.frame(20_000)
    frame["y"] = np.where(np.arange(20_000) % 1000 == 0, "fraud", "fine")
    assert not tables.make(csv(frame), "y")
    assert tables.table()["y"].sum() == 20
    assert tables.params("binary")["train"]["threshold"] == 0.001


def test_rows_of_one_customer_stay_together() -> None:
    customers = RANDOM.integers(0, 60, 900)
    frame = tables.frame(900, customer_id=customers)
    assert not tables.make(csv(frame), "y", group="customer_id")
    contract = tables.contract()
    assert contract["entity"] == "customer_id"
    assert "customer_id" not in contract["columns"]
    assert tables.params("binary")["prepare"]["split"] == "group"
    assert set(tables.table()["customer_id"]) == set(map(str, customers))


def test_sensitive_columns_are_no_inputs() -> None:
    frame = tables.frame(sex=RANDOM.choice(["f", "m"], 400))
    assert not tables.make(csv(frame), "y", sensitive="sex")
    assert tables.contract()["sensitive"] == ["sex"]
    assert tables.params("binary")["train"]["columns"] == ["x"]
    assert "sex" in tables.contract()["columns"]


def test_long_texts_and_codes() -> None:
    words = "the quick brown fox jumps over a lazy dog and runs away from it".split()
    texts = [" ".join(RANDOM.permutation(words)) for _ in range(400)]
    zips = [f"{n % 25:05}" for n in range(400)]
    hashes = [f"{n * 7919:040x}" for n in range(400)]
    names = [f"Ada{n} Lovelace{n}" for n in range(400)]
    frame = tables.frame(note=texts, zip=zips, sha=hashes, person=names)
    assert not tables.make(csv(frame), "y")
    columns = tables.contract()["columns"]
    assert columns["note"] == {"type": "text", "missing": False, "max_length": 200}
    assert not {"sha", "person"} & {*columns}
    assert (
        columns["zip"]["type"] == "category" and "00007" in columns["zip"]["categories"]
    )


def test_a_longer_text_grows_the_contract() -> None:
    words = "the quick brown fox jumps over a lazy dog and runs away from it".split()
    texts = [" ".join(RANDOM.permutation(words)) for _ in range(400)]
    assert not tables.make(csv(tables.frame(note=texts)), "y")
    longer = [*texts[1:], " ".join(words * 9)]
    assert not tables.make(csv(tables.frame(note=longer)), "y", force=True)
    assert tables.contract()["columns"]["note"]["max_length"] == 2_000
    assert not tables.make(csv(tables.frame(note=texts)), "y", force=True)
    assert tables.contract()["columns"]["note"]["max_length"] == 2_000, "it shrank"
    beyond = [*texts[1:], "a long text " * 2_000]
    refused = tables.make(csv(tables.frame(note=beyond)), "y", force=True)
    assert "20,000 are the most" in refused and "DROP='note'" in refused


def test_a_title_above_the_names_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("..", "titled.csv")
    title = "Members of the club\n\n"
    path.write_text(title + written(";", ","), encoding="utf-8")
    assert not tables.make(path, "y")
    expected_of_people()
    assert "skipped" in capsys.readouterr().out
