"""Fields of objects are columns; what has no such form is said, never lost silently."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from machinery import tables
from mlgitops.table import source
from mlgitops.table.engine import read

pytest.importorskip("duckdb")  # the group `data`


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a new repository."""
    monkeypatch.chdir(tables.copy(tmp_path / "new"))


def objects(count: int = 300) -> list[dict[str, Any]]:
    """Return rows with objects in them, of which some are missing, and a list."""
    frame = tables.frame(count)
    rows = zip(frame["x"].to_list(), frame["y"].to_list(), strict=True)
    return [
        {
            "user": None
            if n % 50 == 7
            else {"x": x, "home": {"the city": "ab"[n % 2]}},
            "tags": ["a", "b"][: n % 3],
            "y": y,
        }
        for n, (x, y) in enumerate(rows)
    ]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows in the form that the name says."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        feather.write_feather(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "feather"])
def test_fields_of_objects_are_columns(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = objects()
    assert not tables.make(write(Path(f"../events.{kind}"), rows), "y")
    columns = tables.contract()["columns"]
    assert columns["user.x"]["type"] == "number" and columns["user.x"]["missing"]
    assert columns["user.home.the city"]["categories"] == ["a", "b"]
    said = capsys.readouterr().out
    assert "fields of objects are columns: user.x, user.home.the city" in said
    assert "lists are read as one text each, such as [a, b]: tags; DROP='tags'" in said
    made = tables.table()["user.x"]
    assert made.isna().sum() == 6
    assert made[0] == rows[0]["user"]["x"]


def test_a_file_without_them_says_nothing_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"x": row["y"] + n, "y": row["y"]} for n, row in enumerate(objects())]
    assert not tables.make(write(Path("../plain.jsonl"), rows), "y")
    said = capsys.readouterr().out
    assert "objects" not in said and "lists" not in said


def test_a_text_among_numbers_has_no_quotes_of_json() -> None:
    rows = [{"m": "abc" if n % 2 else 5, **row} for n, row in enumerate(objects())]
    assert not tables.make(write(Path("../mixed.jsonl"), rows), "y")
    assert tables.contract()["columns"]["m"]["categories"] == ["5", "abc"]


def test_a_field_with_the_name_of_a_column_is_refused() -> None:
    rows = [{"user.x": 1, **row} for row in objects()]
    refusal = tables.make(write(Path("../twice.jsonl"), rows), "y")
    assert "user.x" in refusal and "Rename one of them" in refusal


def test_fields_that_differ_in_case_only_are_refused_in_one_sentence() -> None:
    rows = [{"a": {"b": {"size": 1, "Size": 2}}, **row} for row in objects()]
    refusal = tables.make(write(Path("../twins.jsonl"), rows), "y")
    assert "size and Size differ only in the case of letters" in refusal


def test_both_spellings_of_a_field_are_named() -> None:
    """DuckDB names the second one only, which may be in small letters."""
    rows = [{"a": [{"Size": 1, "size": 2}], **row} for row in objects()]
    refusal = tables.make(write(Path("../twins.jsonl"), rows), "y")
    assert "size and Size differ only in the case of letters" in refusal


def test_keys_that_differ_in_case_only_are_refused_wherever_they_stand() -> None:
    """DuckDB calls the second one X_1, and each column is half empty."""
    rows = [{"x": 1.5 * n, "X_1": n, **row} for n, row in enumerate(objects())]
    path = Path("../late.jsonl")
    assert not tables.make(write(path, rows), "y"), "the control: a key of that name"
    late = [{"X": row.pop("x"), **row} if n > 90 else row for n, row in enumerate(rows)]
    refusal = tables.make(write(path, late), "y", force=True)
    assert "x differ only in the case of letters" in refusal and "rename" in refusal


def test_fields_that_differ_in_case_only_are_refused_wherever_they_stand() -> None:
    rows = [
        {"a": {"Size" if n > 90 else "size": n}, **r} for n, r in enumerate(objects())
    ]
    refusal = tables.make(write(Path("../late.jsonl"), rows), "y")
    assert "size and Size differ only in the case of letters" in refusal


def test_dates_of_json_are_read_as_they_are_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """DuckDB would take 01-02-2024 05:00:00 PM for the second of January, unsaid."""
    days = [f"{n % 12 + 1:02}-{n % 28 + 1:02}-2024 05:00:00 PM" for n in range(120)]
    rows = [
        {"on": {"day": day}, "iso": f"2024-01-{n % 28 + 1:02}", **row}
        for n, (day, row) in enumerate(zip(days, objects(), strict=False))
    ]
    assert not tables.make(write(Path("../dated.jsonl"), rows), "y", split="random")
    assert "written as %m-%d-%Y %I:%M:%S %p" in capsys.readouterr().out
    assert str(tables.table()["iso"].max())[:10] == "2024-01-28"


def test_dates_in_a_map_are_as_they_are_written() -> None:
    """An object with so many keys is a map to DuckDB, whose text has the dates."""
    rows = [
        {"seen": {f"k{n}": f"{n % 12 + 1:02}-{n % 28 + 1:02}-2024 05:00:00 PM"}, **row}
        for n, row in enumerate(objects())
    ]
    path = write(Path("../maps.jsonl"), rows)
    table = read(source.find(path), Path("../scratch"))
    texts = table.connection.execute(f"select {table.column('seen')} from source")
    assert texts.fetchone() == ("{k0='01-01-2024 05:00:00 PM'}",)
