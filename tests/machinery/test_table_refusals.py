"""A table that cannot be used is refused for all its problems at once."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from machinery import tables
from mlgitops.table import typed

duckdb = pytest.importorskip("duckdb")  # the group `data`
WATCHED = ("contract.yaml", "params.yaml", "dvc.yaml", "behaviour.yaml", "data")


def state() -> dict[str, bytes]:
    """Return the files that `make data` writes, with their bytes."""
    paths = [p for name in WATCHED for p in [Path(name), *Path(name).rglob("*")]]
    return {str(p): p.read_bytes() for p in paths if p.is_file()}


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Stand in a new repository, and leave it as it was."""
    monkeypatch.chdir(tables.copy(tmp_path / "new"))
    before = state()
    yield
    assert state() == before


def refusal(frame: pd.DataFrame, target: str = "y", **given: str) -> list[str]:
    """Return the problems of a table, each with what to do."""
    path = Path("..", "table.csv")
    frame.to_csv(path, index=False)
    said = tables.make(path, target, **given)
    assert "nothing was written" in said
    return re.split(r"\n\d+\. ", said)[1:]


def test_all_problems_are_told_at_once() -> None:
    frame = tables.frame(400, age=np.arange(400) % 70, price=np.arange(400) / 7)
    frame = frame.astype(object)
    frame.loc[[3, 9, 11], "age"] = ["abc", "def", "abc"]
    frame.loc[300, "price"] = "much"
    frame.loc[[5, 6], "y"] = None
    frame["key"] = [f"k{n % 399}" for n in range(400)]
    problems = refusal(frame, id="key")
    assert len(problems) == 4
    text = "\n".join(problems)
    assert '"age": 3 of 400 values are not numbers (such as abc, def)' in text
    assert (
        '"price": 1 of 400' in text and "much" in text and "TYPES=price=number" in text
    )
    assert "missing in 2 rows" in text and "UNLABELLED=drop" in text
    assert '"key"' in text and "such as k0" in text


def test_what_a_refusal_offers_is_then_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = tables.frame(400, age=np.arange(400) % 70).astype(object)
    frame.loc[3, "age"], frame.loc[5, "y"] = "abc", None
    assert len(refusal(frame)) == 2
    elsewhere = tables.copy(Path("..", "other").resolve())
    table = Path("..", "table.csv").resolve()
    monkeypatch.chdir(elsewhere)
    assert not tables.make(table, "y", types="age=number", unlabelled="drop")
    rows = tables.table()
    assert len(rows) == 399 and rows["age"].isna().sum() == 1
    monkeypatch.chdir(Path("..", "new"))


def test_names_that_the_file_does_not_have() -> None:
    problems = refusal(tables.frame(), "yy", id="key", drop="x,z", time="x")
    text = "\n".join(problems)
    for name in ('"yy"', '"key"', '"z"'):
        assert name in text
    assert "id you mean y?" in text
    assert "DROP= both name it" in text


def test_a_suggested_name_ends_with_one_mark() -> None:
    (problem,) = refusal(tables.frame(), "yy")
    assert problem.endswith("Did you mean y?")


def test_a_year_as_the_time_is_told_its_format() -> None:
    years = 2000 + np.arange(400) % 20
    (problem,) = refusal(tables.frame(400, year=years), time="year")
    assert problem.endswith("TYPES='year=%Y'.")
    (problem,) = refusal(tables.frame(400, year=years - 1990), time="year")
    assert "year=unix" in problem, "the control"


@pytest.mark.parametrize(
    ("values", "noun"),
    [
        (["a"] * 400, "one value"),
        (["a"] * 395 + ["b"] * 5, "5 rows"),
        ([f"class {n}" for n in range(400)], "more than 50"),
        ([None] * 400, "missing in 400 rows"),
    ],
    ids=["constant", "rare", "many", "none"],
)
def test_a_target_that_cannot_be_learnt(values: list[str], noun: str) -> None:
    frame = tables.frame()
    frame["y"] = values
    assert any(noun in problem for problem in refusal(frame))


@pytest.mark.parametrize(("others", "is_total"), [(9, True), (8, False)])
def test_a_total_is_one_among_ten_values_or_more(others: int, is_total: bool) -> None:
    """Of fewer, as 1, 1 and 2, one is the sum of others by chance; zeros add none."""
    values = [*range(1, others + 1), *[0] * 50]
    total = sum(values)
    listed = ", ".join(f"({value})" for value in [*values, total])
    connection = duckdb.connect()
    found = typed._total(
        lambda _, sql: connection.execute(sql).fetchall(),
        f"(values {listed}) as t(v)",
        "v",
    )
    assert found == (total if is_total else None)


@pytest.mark.parametrize("time", ["", "day"])
def test_a_line_with_the_total_is_no_row(time: str) -> None:
    """A model of it explains that one row, and no other."""
    frame = tables.frame()
    frame["day"] = pd.date_range("2024-01-01", periods=len(frame)).strftime("%Y-%m-%d")
    frame["price"] = (3 * frame["x"] + frame.pop("y") + 20).round(2)
    last = {"day": frame["day"].iloc[-1] if time else None}
    total = pd.DataFrame([{**last, "price": frame["price"].sum()}])
    found = pd.concat([frame, total])
    (problem,) = refusal(found, "price", time=time, types="" if time else "day=text")
    assert "a total" in problem and "take that line out" in problem.casefold()


def test_three_rows() -> None:
    text = "\n".join(refusal(tables.frame(3)))
    assert "3 rows" in text and "100 are the fewest" in text


def test_a_file_without_rows_or_columns() -> None:
    assert "no rows" in refusal(tables.frame(0))[0]
    (problem,) = refusal(tables.frame()[["y"]])
    assert "no column is left" in problem


def test_lines_with_another_number_of_fields() -> None:
    lines = tables.frame().to_csv(index=False).splitlines()
    lines[7] += ",surplus,fields"
    path = Path("..", "broken.csv")
    path.write_text("\n".join(lines), encoding="utf-8")
    said = tables.make(path, "y")
    assert "1 lines cannot" in said and "line 8" in said


def test_names_that_are_repeated_or_absent() -> None:
    path = Path("..", "named.csv")
    path.write_text("a,b,a\n" + "1,2,3\n" * 200, encoding="utf-8")
    assert "2 columns have this name" in tables.make(path, "a")
    path.write_text("1.5,2.5,3\n" * 200, encoding="utf-8")
    assert "first line holds values" in tables.make(path, "a")


def test_files_of_a_folder_that_differ() -> None:
    folder = Path("..", "parts")
    folder.mkdir()
    tables.frame().to_csv(folder / "a.csv", index=False)
    tables.frame(z=1).to_csv(folder / "b.csv", index=False)
    assert "b.csv has also z" in tables.make(folder, "y")


def test_rows_dated_far_ahead() -> None:
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(400), unit="h")
    frame = tables.frame(when=when.astype(str))
    frame.loc[7, "when"] = "2099-01-01"
    (problem,) = refusal(frame)
    assert "1 rows are so much later" in problem and "2099" in problem


def test_an_option_that_is_not_known() -> None:
    for given in ({"task": "classify"}, {"types": "x=words"}, {"split": "rows"}):
        with pytest.raises(Exception, match="known|type"):
            tables.make("../table.csv", "y", **given)


def test_a_file_that_is_not_there_or_cannot_be_read() -> None:
    Path("..", "book.xlsx").write_bytes(b"PK")
    Path("..", "broken.parquet").write_bytes(b"PAR1 and no more")
    for name, noun in (
        ("none.csv", "does not exist"),
        ("book.xlsx", "as CSV"),
        ("broken.parquet", "cannot be read"),
    ):
        with pytest.raises(Exception, match=noun):
            tables.make(f"../{name}", "y")


@pytest.mark.parametrize(("options", "role"), [({}, "id"), ({"time": "day"}, "time")])
def test_an_id_or_a_time_cannot_be_sensitive(
    options: dict[str, str], role: str
) -> None:
    """The log and reports hold both: a wish to hide them is not dropped silently."""
    days = pd.date_range("2024-01-01", periods=400).strftime("%Y-%m-%d")
    frame = tables.frame(user_id=[f"u{n}" for n in range(400)], day=days)
    frame.to_csv("../t.csv", index=False)
    name = "user_id" if role == "id" else "day"
    refusal = tables.make("../t.csv", "y", sensitive=name, **options)
    assert name in refusal and f"it is the {role}" in refusal
