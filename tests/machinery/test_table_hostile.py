"""Values and names that mislead a reader: each is told or refused, none is guessed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from machinery import tables
from mlgitops.table.alike import alike

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


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["caf\u00e9", "tea", "cafe\u0301"], ["caf\u00e9", "cafe\u0301"]),
        (["price", "price\u200b"], ["price", "price\u200b"]),
        (["a b", "a\u00a0b", "a\tb"], ["a b", "a\u00a0b", "a\tb"]),
        (["\u2764", "\u2764\ufe0f"], ["\u2764", "\u2764\ufe0f"]),
        (["Price", "price", "m2", "m\u00b2"], []),
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
    """Yes and yes with a tab behind it would be two classes of four."""
    assert "'no' and 'no\\t'" in told(words(["", "\t"]))
    said = told(words(["", " ", "\u00a0"]))
    assert "1 is yes" in said, "blanks are no part of a value"


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
    assert "50 of the first 200 different times have no zone: they are read as" in said
    for zone in ("", "Z", "+02:00"):
        assert "no zone" not in told(tables.frame(ROWS, seen=bare + zone))


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
