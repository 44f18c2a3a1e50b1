"""A sheet of Excel or LibreOffice as CSV, which is then read as any other.

The library reads values, no formulas, charts or macros, and holds one sheet in memory,
which has at most 1,048,576 rows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

from mlgitops.pipeline.schema import one_line
from mlgitops.table.problem import TableError

SUFFIXES = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
FULL = 0.5  # of a line's cells: the first such line has the columns' names
LINES = 50  # among which it is looked for


def as_csv(file: Path, target: Path, column: str = "") -> tuple[Path, list[str]]:
    """Write a sheet as CSV; return the copy, and what was read.

    It is the first one with this column; without one, the first that has rows.

    Raises:
        TableError: the file is not a workbook, has no rows, or cannot be read here.
    """
    try:
        import python_calamine
    except ImportError:
        advice = "type `make setup`, or save the sheet as CSV"
        raise TableError(
            f"{file} needs the package python-calamine: {advice}"
        ) from None
    try:
        book = python_calamine.CalamineWorkbook.from_path(str(file))
        filled = [n for n in book.sheet_names if book.get_sheet_by_name(n).height > 1]
        chosen, lines = _chosen(book, filled, column)
    except python_calamine.CalamineError as error:
        problem = one_line(str(error))
        advice = "save the sheet as CSV"
        raise TableError(f"{file} cannot be read: {problem}; {advice}") from error
    if not lines:
        raise TableError(f"{file} has no sheet with rows")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(map(_written, lines))
    sentence = f"{file.name}: the sheet {one_line(chosen)}"
    if others := [name for name in filled if name != chosen]:
        names = ", ".join(map(one_line, others))
        sentence += f" (not {names}: save what you mean as a file of its own)"
    return target, [sentence]


def _chosen(
    book: Any, names: Sequence[str], column: str
) -> tuple[str, Sequence[Sequence[Any]]]:
    """Return the sheet to read, and its rows from the columns' names on."""
    for name in names:
        rows = _from_names(list(book.get_sheet_by_name(name).iter_rows()))
        if column in [" ".join(text.split()) for text in _written(rows[0])]:
            return name, rows
    if not names:
        return "", ()
    return names[0], _from_names(list(book.get_sheet_by_name(names[0]).iter_rows()))


def _from_names(rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Return the rows from the columns' names on, without titles above and empty rows.

    Of a sheet all rows are as wide as the widest.
    """
    width = max((len(row) for row in rows), default=0)
    for number, row in enumerate(rows[:LINES]):
        if sum(value != "" for value in row) >= FULL * width:
            return [each for each in rows[number:] if any(v != "" for v in each)]
    return rows


def _written(row: Sequence[Any]) -> Iterator[str]:
    """Yield a row's values as CSV has them: 3 for 3.0, and dates as ISO 8601."""
    for value in row:
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            yield str(int(value))
        elif isinstance(value, timedelta):  # a cell of hours: seconds, as a number
            yield f"{value.total_seconds():g}"
        elif isinstance(value, date | time):  # a datetime is a date
            yield value.isoformat()
        else:
            yield str(value)
