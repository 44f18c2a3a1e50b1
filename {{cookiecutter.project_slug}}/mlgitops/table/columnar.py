"""The one reading of a file: into columns of values, of which all else is asked.

A file of text is slow to read again and again: it is read once, into a Parquet file in
the scratch folder. A value that is not as its column's style says is null there, and
its text stands beside it. Columns that begin with plain numbers only are read as such
by the file's own reader, which is faster and stops at a value that is none: then the
file is read once more, as texts.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from mlgitops.table.engine import Table, quoted
from mlgitops.table.formats import Style

CELLS = 6_000_000  # of a group of rows, which is held in memory
MOST, FEWEST = 122_880, 2_048  # rows of a group


def odd(column: str) -> str:
    """Return where the texts of a column are that are not as its style says."""
    return f"odd_{column}"


def stored(
    table: Table,
    styles: Sequence[Style],
    plain: Sequence[bool],
    path: Path,
    numbers: Collection[int] = (),
) -> Table:
    """Return the table with values in place of texts, but for its `plain` columns.

    The reader of the file is to read the columns `numbers` itself.

    Raises:
        duckdb.Error: a value of these is not a number, or the file cannot be read.
    """
    values, parts, beside = ["*"], [], []
    for number, (style, as_text) in enumerate(zip(styles, plain, strict=True)):
        column, value = f"c{number}", f"v{number}"
        if as_text or number in numbers:
            parts.append(column)
            continue
        values.append(f"{style.sql(column)} as {value}")
        parts.append(f"{value} as {column}")
        parts.append(f"case when {value} is null then {column} end as {odd(column)}")
        beside.append(number)
    relation = table.relation
    if numbers and table.numbers:
        relation = f"({table.numbers(numbers)})"
    inner = f"select {', '.join(values)} from {relation}"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.run(
        "Reading",
        f"copy (select {', '.join(parts)} from ({inner})) to {quoted(path)} "
        f"(format parquet, compression snappy, {grouped(len(parts))})",
    )
    relation = f"read_parquet({quoted(path)})"
    return replace(table, relation=relation, odd=frozenset(beside))


def grouped(columns: int) -> str:
    """Return the option that bounds how much of a wide table is held in memory."""
    return f"row_group_size {max(FEWEST, min(MOST, CELLS // columns))}"
