"""Values and names that mislead a reader: each is told or refused, none is guessed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from machinery import tables
from mlgitops.table.alike import alike
from mlgitops.table.engine import filled
from mlgitops.table.problem import TableError

pytest.importorskip("duckdb")  # the group `data`
ROWS = 400
PATH = Path("..", "table.csv")
Made = Callable[..., str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a new repository."""
    monkeypatch.chdir(tables.copy(tmp_path / "new"))


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Made:
    """Return a function that makes a table and returns what is said."""

    def make(frame: pd.DataFrame, **given: str) -> str:
        frame.to_csv(PATH, index=False)
        refusal = tables.make(PATH, "y", force=True, **given)
        return capsys.readouterr().out + refusal

    return make


def cycled(values: Sequence[str]) -> list[str]:
    """Return a column that repeats some values."""
    return [values[n % len(values)] for n in range(ROWS)]


def words(blanks: Sequence[str]) -> pd.DataFrame:
    """Return a table whose target has blanks around its words."""
    frame = tables.frame(ROWS)
    pairs = zip(frame["y"], cycled(blanks), strict=True)
    return frame.assign(y=[("yes" if y else "no") + blank for y, blank in pairs])


def flag(region: str) -> str:
    """Return the flag of a region: a black one, and letters that are tags."""
    tags = "".join(chr(0xE0000 + ord(letter)) for letter in region)
    return f"\U0001f3f4{tags}\U000e007f"


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["caf\u00e9", "tea", "cafe\u0301"], ["caf\u00e9", "cafe\u0301"]),
        (["price", "price\u200b"], ["price", "price\u200b"]),
        (["a b", "a\u00a0b", "a\tb"], ["a b", "a\u00a0b", "a\tb"]),
        (["\u2764", "\u2764\ufe0f"], ["\u2764", "\u2764\ufe0f"]),
        (["a", "a\u034f"], ["a", "a\u034f"]),
        (["a", "a\u3164", "a\u2066"], ["a", "a\u3164", "a\u2066"]),
        (["e\u200b\u0301", "\u00e9"], ["e\u200b\u0301", "\u00e9"]),
        (["Price", "price", "m2", "m\u00b2"], []),
        (
            [
                "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc",
                "\u0646\u0627\u0645\u0647\u0627\u06cc",
            ],
            [],
        ),
        ([flag("gbeng"), flag("gbsct")], []),
        (["\U0001f468\u200d\U0001f4bb", "\U0001f468\U0001f4bb"], []),
        (["\U0001f44d", "\U0001f44d\U0001f3fd"], []),
    ],
)
def test_what_a_reader_cannot_tell_apart(texts: list[str], found: list[str]) -> None:
    assert alike(texts) == found


def test_names_that_look_alike_are_refused(told: Made) -> None:
    first = np.linspace(0, 1, ROWS).round(3)
    twins = {"price": first, "price\u200b": -first}
    assert "'price' and 'price\\u200b'" in told(tables.frame(ROWS, **twins))
    assert "Written" in told(tables.frame(ROWS, price=first, Price=-first))


def test_classes_that_look_alike_are_refused(told: Made) -> None:
    """Yes, and yes with a sign that nobody sees, would be two classes of four."""
    assert "'no' and 'no\\u200b'" in told(words(["", "\u200b"]))
    said = told(words(["", " ", "\u00a0", "\t", "\u2028"]))
    assert "1 is yes" in said, "blanks are no part of a value"
    assert tables.table()["y"].mean() == tables.frame(ROWS)["y"].mean()


def test_a_target_of_blanks_is_missing(told: Made) -> None:
    frame = words([""])
    frame.loc[::20, "y"] = "  "
    assert "the target is missing in 20 rows" in told(frame)
    assert "1 is yes" in told(frame, unlabelled="drop")
    assert len(tables.table()) == ROWS - 20


def test_a_category_of_blanks_is_missing(told: Made) -> None:
    said = told(tables.frame(ROWS, colour=cycled(["red ", "blue", "  "])))
    assert "blanks at their ends are left out" in said
    colour = tables.contract()["columns"]["colour"]
    assert colour["missing"] and colour["categories"] == ["blue", "red"]
    said = told(tables.frame(ROWS, colour=cycled(["red", "blue"])))
    assert "blanks at their ends" not in said


def test_categories_that_look_alike_are_told(told: Made) -> None:
    said = told(tables.frame(ROWS, drink=cycled(["caf\u00e9", "cafe\u0301", "tea"])))
    assert "categories look alike: 'cafe\\u0301' and 'caf\\xe9'" in said
    assert "look alike" not in told(tables.frame(ROWS, drink=cycled(["a", "b"])))


def test_times_of_which_some_have_no_zone_are_told(told: Made) -> None:
    days = pd.Timestamp("2024-03-01") + pd.to_timedelta(np.arange(ROWS), unit="h")
    bare = days.strftime("%Y-%m-%dT%H:%M:%S")
    zones = pd.Series(cycled(["", "+02:00", "Z", "-0500"]))
    said = told(tables.frame(ROWS, seen=bare + zones))
    assert "100 of 400 times have no zone: they are read as UTC, the others by" in said
    zones = pd.Series(["Z"] * (ROWS - 1) + [""])
    said = told(tables.frame(ROWS, seen=bare + zones))
    assert "1 of 400 times has no zone: it is read as UTC" in said
    for zone in ("", "Z", "+02:00"):
        assert "no zone" not in told(tables.frame(ROWS, seen=bare + zone))


def test_times_without_a_zone_are_counted_to_the_last_row(told: Made) -> None:
    """What is looked at one by one ends long before."""
    rows = 7000
    days = pd.Timestamp("2024-03-01") + pd.to_timedelta(np.arange(rows), unit="min")
    seen = days.strftime("%Y-%m-%d %H:%M:%S.250").to_series(index=range(rows))
    seen[: rows - 3] += "+02:00"
    said = told(tables.frame(rows, seen=seen, part=[n % 2 for n in range(rows)]))
    assert "3 of 7,000 times have no zone" in said
    seen = pd.Series(["2024-03-01T05", "2024-03-01"] * (rows // 2))
    assert "no zone" not in told(tables.frame(rows, seen=seen))


def test_the_form_of_the_time_is_told(told: Made) -> None:
    """The one column of dates is no input: nowhere else is said how it is read."""
    day, month = np.arange(ROWS) % 12 + 1, np.arange(ROWS) // 12 % 12 + 1
    days = [f"{d:02}/{m:02}/2024" for d, m in zip(day, month, strict=True)]
    said = told(tables.frame(ROWS, day=days))
    assert "written as %d/%m/%Y (or %m/%d/%Y: no value tells which)" in said
    assert "[TYPES=day=%m/%d/%Y, or SPLIT=random" in said
    first = tables.table()["day"]
    assert not told(tables.frame(ROWS, day=days), types="day=%m/%d/%Y").count("or %")
    assert (tables.table()["day"] != first).any()


def test_the_unit_of_the_time_is_told(told: Made) -> None:
    said = told(tables.frame(ROWS, ts=1_700_000_000 + np.arange(ROWS) * 3600))
    assert "  time " in said and "seconds since 1970, by size and name" in said


def test_zeros_of_two_spellings_are_one_value(told: Made) -> None:
    said = told(tables.frame(ROWS, w=cycled(["0", "-0", "0.0"]), z=cycled(["0", "-1"])))
    assert "w" not in tables.contract()["columns"] and "w  constant" in said
    assert tables.contract()["columns"]["z"]["min"] <= -1


def test_whole_numbers_have_their_room_on_both_sides(told: Made) -> None:
    """A quarter of the range, rounded outwards: of 1 to 4 that is 5, and not 4."""
    items, debts = cycled(["1", "2", "3", "4"]), cycled(["-4", "-3", "-2", "-1"])
    told(tables.frame(ROWS, items=items, debts=debts))
    columns = tables.contract()["columns"]
    assert (columns["items"]["min"], columns["items"]["max"]) == (0, 5)
    assert (columns["debts"]["min"], columns["debts"]["max"]) == (-5, 0)


BLANK = {  # a value of a row, and of how many rows each one is blank
    "fractions": (lambda n: f"{n * 1.37:.2f}", 4, "number"),
    "whole": (lambda n: str(n % 37 + 3), 4, "integer"),
    "percent": (lambda n: f"{n % 41 + 0.5} %", 4, "number"),
    "dates": (lambda n: f"{n % 28 + 1:02}.{n % 12 + 1:02}.2024", 4, "datetime"),
    "iso": (lambda n: f"2024-{n % 12 + 1:02}-{n % 28 + 1:02}", 10, "datetime"),
    "truth": (lambda n: "true" if n % 3 else "false", 4, "boolean"),
}


@pytest.mark.parametrize("case", BLANK)
@pytest.mark.parametrize("blank", ["  ", "\t"])
def test_blanks_are_missing_in_every_type(case: str, blank: str, told: Made) -> None:
    text, each, kind = BLANK[case]
    column = [blank if n % each == 1 else text(n) for n in range(ROWS)]
    types = "k=number" if case == "percent" else ""
    said = told(tables.frame(ROWS, k=column), split="random", types=types)
    assert "Written" in said and "are not" not in said
    entry = tables.contract()["columns"]["k"]
    assert entry["type"] == kind and entry["missing"]
    assert tables.table()["k"].isna().sum() == ROWS // each
    column[2] = "soon"
    said = told(tables.frame(ROWS, k=column), split="random", types=types)
    first = "soon" in said or tables.contract()["columns"]["k"]["type"] == "category"
    assert first or types, "the control: a text among them is told"


def test_numbers_with_blanks_late_in_the_file_are_read(told: Made) -> None:
    """The reader of the file stops at them, as the first rows have none."""
    rows = 6000
    column = [f"{n * 1.37:.2f}" for n in range(rows - 50)] + ["  "] * 50
    said = told(tables.frame(rows, k=column))
    assert "Written" in said
    assert tables.table()["k"].isna().sum() == 50
    column[-1] = "soon"
    assert "1 of 5,951 values are not numbers" in told(tables.frame(rows, k=column))


def test_white_space_is_the_same_to_sql_and_to_python() -> None:
    import duckdb

    letters = [chr(n) for n in range(1, 0x11000) if not 0xD800 <= n < 0xE000]
    frame = pd.DataFrame({"c": [f"{c}a {c}b{c}" for c in letters] + ["", "a"]})
    connection = duckdb.connect()
    connection.register("given", frame)
    got = connection.execute(f"select {filled('c')} from given").fetchall()
    assert [text for (text,) in got] == [c.strip() or None for c in frame["c"]]


def test_a_category_with_a_tab_is_the_one_without(told: Made) -> None:
    said = told(tables.frame(ROWS, k=cycled(["a", "b", "\t", "c\t", "\tc"])))
    assert "blanks at their ends are left out" in said
    column = tables.contract()["columns"]["k"]
    assert column["categories"] == ["a", "b", "c"] and column["missing"]


@pytest.mark.parametrize("rows", [ROWS, 7000])
def test_a_bare_line_end_in_a_value_is_told_in_a_sentence(
    rows: int, told: Made
) -> None:
    """DuckDB stops at it, wherever it stands; pandas writes it without quotes."""
    words = ["a", "b"] * (rows // 2)
    words[-1] = "c\rd"
    with pytest.raises(TableError, match="cannot be read: a line end inside a value"):
        told(tables.frame(rows, k=words))
    tables.frame(rows, k=words).to_csv(PATH, index=False, quoting=csv.QUOTE_ALL)
    assert not tables.make(PATH, "y", force=True), "the control: in quotes it is read"


def test_long_numbers_that_round_to_one_are_no_constant(told: Made) -> None:
    codes = ["12345678901234567", "12345678901234568"]
    said = told(tables.frame(ROWS, code=cycled(codes)))
    assert "code" in tables.contract()["columns"] and "code  constant" not in said
    assert "digits beyond the seventh are lost" in said


@pytest.mark.parametrize(
    ("texts", "written"),
    [
        (["0", "-0", "1"], "'-0' and '0'"),
        (["0", "-0"], "'-0' and '0'"),
        (["1", "1.0", "0"], "'1' and '1.0'"),
        (["1", "1,0", "2,5", "3"], "'1' and '1,0'"),
    ],
)
def test_classes_that_are_one_number_are_refused(
    texts: list[str], written: str, told: Made
) -> None:
    task = "" if len(texts) < 4 else "multiclass"
    frame = tables.frame(ROWS).assign(y=cycled(texts))
    said = told(frame, task=task)
    assert f"values of the target are one number: {written}" in said


def test_classes_that_are_different_numbers_are_no_spellings(told: Made) -> None:
    for texts in (["0", "1", "2"], ["01", "1", "2"]):
        said = told(tables.frame(ROWS).assign(y=cycled(texts)))
        assert "one number" not in said and "Written" in said
    codes = ["12345678901234567", "12345678901234568"]
    assert "Written" in told(tables.frame(ROWS).assign(y=cycled(codes)))


def test_numbers_of_a_regression_may_look_alike(told: Made) -> None:
    """Blanks between thousands are of two kinds; both are read."""
    pairs = [f"1{blank}{n:03}" for n in range(60) for blank in "\u00a0\u202f"]
    assert "Written" in told(tables.frame(ROWS).assign(y=cycled(pairs)))
    assert tables.contract()["task"] == "regression"
    assert tables.table()["y"].between(1000, 1059).all()
    few = ["1\u00a0000", "1\u202f000", "2\u00a0000"]
    assert "look alike" in told(tables.frame(ROWS).assign(y=cycled(few)))
