"""The one reading of a file: into columns of values, of which all else is asked.

A file of text is slow to read again and again: it is read once, into a Parquet file in
the scratch folder. A value that is not as its column's style says is null there, and
its text stands beside it. Columns that begin with plain numbers only are read as such
by the file's own reader, which is faster and stops at a value that is none: then the
file is read once more, as texts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlgitops.table.engine import NULLS, Table, filled, quoted
from mlgitops.table.look import Look

CELLS = 6_000_000  # of a group of rows, which is held in memory
MOST, FEWEST = 122_880, 2_048  # rows of a group


@dataclass(frozen=True)
class Values:
    """SQL for the columns of a table, as values c0, c1, ... with odd texts beside."""

    columns: dict[str, str]  # expressions, by the name that each is to have
    relation: str  # that they are selected from
    odd: frozenset[int]  # columns with their odd texts beside them

    @property
    def sql(self) -> str:
        """The query for all of them."""
        columns = ", ".join(f"{sql} as {name}" for name, sql in self.columns.items())
        return f"select {columns} from {self.relation}"


@dataclass(frozen=True)
class Noted:
    """What a Parquet file's own notes say of a column: exact, and free to read."""

    filled: int  # values
    low: float | None  # None as well where the writer notes no ends, as with NaN
    high: float | None


def values(relation: str, look: Look, numbers: Collection[int]) -> Values:
    """Return the values of a relation of texts, in which `numbers` are read already."""
    inner, columns, beside = ["*"], {}, []
    for n, (style, as_text) in enumerate(zip(look.styles, look.plain, strict=True)):
        column, value = f"c{n}", f"v{n}"
        if as_text or n in numbers:
            columns[column] = column
            continue
        inner.append(f"{style.sql(column)} as {value}")
        columns[column] = value
        text = filled(column)
        columns[odd(column)] = f"case when {value} is null then {text} end"
        if style.iso:
            columns[zoned(column)] = style.zoned(column)
        beside.append(n)
    source = f"(select {', '.join(inner)} from {relation})"
    return Values(columns, source, frozenset(beside))


def stored(table: Table, look: Look, path: Path, numbers: Collection[int]) -> Table:
    """Return the table with values in place of texts, but for its `plain` columns.

    The reader of the file is to read the columns `numbers` itself.

    Raises:
        duckdb.Error: a value of these is not a number, or the file cannot be read.
    """
    found = values(as_read(table, numbers), look, numbers)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.run(
        "Reading",
        f"copy ({found.sql}) to {quoted(path)} "
        f"(format parquet, compression snappy, {grouped(len(found.columns))})",
    )
    return replace(table, relation=f"read_parquet({quoted(path)})", odd=found.odd)


def as_read(
    table: Table, numbers: Collection[int], nulls: Sequence[str] = NULLS
) -> str:
    """Return the relation of a file whose reader reads some columns as numbers.

    It looks for some of NULLS only; the others are no values of texts all the same.
    """
    if not (numbers and table.numbers):
        return table.relation
    relation = f"({table.numbers.sql(numbers, nulls)})"
    if not (left := [text for text in NULLS if text not in nulls]):
        return relation
    names = [f"c{n}" for n in range(len(table.names))]
    columns = [
        name if n in numbers else f"{_without(name, left)} as {name}"
        for n, name in enumerate(names)
    ]
    return f"(select {', '.join(columns)} from {relation})"


def _without(column: str, nulls: Sequence[str]) -> str:
    """Return the expression for a text that is not one of these."""
    # Not `in (...)`: with a long list, DuckDB lets rows lose their order.
    none = " or ".join(f"{column} = {quoted(text)}" for text in nulls)
    longest = max(map(len, nulls))
    short = f"strlen({column}) <= {longest}"
    return f"case when {short} and ({none}) then null else {column} end"


def noted(path: Path) -> dict[str, Noted]:
    """Return what the writer of a file noted of each column.

    Only of fractions are there ends, as a long text may be cut.
    """
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return {
        name: _together([group.column(index).statistics for group in groups])
        for index, name in enumerate(metadata.schema.names)
    }


def _together(pieces: Sequence[Any]) -> Noted:
    """Return the notes of a column, from those of its groups of rows.

    Adding 0 takes the sign of a zero, which the notes do not tell from another.
    """
    filled = sum(piece.num_values for piece in pieces)
    some = [piece for piece in pieces if piece.num_values]
    exact = all(p.has_min_max and isinstance(p.min, float) for p in some)
    if not (some and exact):
        return Noted(filled, None, None)
    low, high = min(p.min for p in some), max(p.max for p in some)
    return Noted(filled, low + 0.0, high + 0.0)


def odd(column: str) -> str:
    """Return where the texts of a column are that are not as its style says."""
    return f"odd_{column}"


def zoned(column: str) -> str:
    """Return where it stands which times of a column name their zone."""
    return f"zoned_{column}"


def group_rows(columns: int) -> int:
    """Return how many rows of so many columns are held in memory together."""
    return max(FEWEST, min(MOST, CELLS // columns))


def grouped(columns: int) -> str:
    """Return the option that bounds how much of a wide table is held in memory."""
    return f"row_group_size {group_rows(columns)}"
