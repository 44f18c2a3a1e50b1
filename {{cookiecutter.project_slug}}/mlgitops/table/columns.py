"""The facts about each column: how many values, of which kind, between which ends."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlgitops.table.columnar import odd, stored
from mlgitops.table.engine import Table
from mlgitops.table.formats import NUMBER, PLAIN, TEXT, Style, prefers_comma, style

PEEK = 5_000  # rows whose values are looked at one by one, to see how they are written
CELLS = 500_000  # values that are looked at so: of a wide table, fewer rows
FRACTION = re.compile(r"[.,]0*[1-9]\d?$|\.\d*[1-9]\d*$")  # not that of 1,200 or 3.0
MOST = 1_500  # columns of one table
MISTAKES = 0.5  # of the values that are written in another way; more is no mistake
IDLIKE = re.compile(
    r"(^|[^a-z])(id|ids|key|uuid|guid|nr|no|number|index|code)\.?$|[a-z]I[dD]$|"
    r"(id|row|seq|case|order|account|acct|cust|patient|person|rec)_?(no|nr|num|number)$",
    re.I,
)


@dataclass(frozen=True)
class Facts:
    """One column, as it is written."""

    name: str
    rows: int
    style: Style
    filled: int  # values that are not missing
    good: int  # of those, values that are written as `style` says
    distinct: int  # about, where there are many
    low: float | None = None
    high: float | None = None
    whole: int = 0  # numbers without a fraction
    length: float = 0.0  # mean length of a text
    first: tuple[str, ...] = ()  # different values, in the order of the file
    odd: tuple[str, ...] = ()  # values that are not as `style` says
    read: bool = False  # the table holds values, and texts no more

    def sql(self, column: str) -> str:
        """Return the expression for a value, or null."""
        return column if self.read else self.style.sql(column)

    @property
    def missing(self) -> int:
        """How many rows have no value."""
        return self.rows - self.filled


def facts(
    table: Table, forced: dict[str, str], path: Path, texts: Collection[str] = ()
) -> tuple[Table, list[Facts]]:
    """Return the table as columns of values in a file, and the facts of all columns.

    `forced` are the types that a person gave; `texts` are columns whose texts count.
    """
    names = table.names
    rows = min(PEEK, max(PEEK // 5, CELLS // len(names)))
    head = table.connection.execute(
        f"select * from {table.relation} limit {rows}"
    ).fetchall()
    first = [[str(r[n]) for r in head if r[n] is not None] for n in range(len(names))]
    comma = prefers_comma(first)
    styles = [
        _style(values, forced.get(name, ""), comma)
        for name, values in zip(names, first, strict=True)
    ]
    plain = [
        written.kind == "text"
        or name in texts
        or forced.get(name) == "boolean"
        or len(set(values)) <= 2
        or IDLIKE.search(name) is not None
        for name, written, values in zip(names, styles, first, strict=True)
    ]
    numbers = _numbers(table, styles, plain, first)
    while True:
        read, found = _read(table, styles, plain, first, path, numbers)
        numbers = ()
        mistaken = [
            f.name not in forced and f.good < MISTAKES * f.filled for f in found
        ]
        if not any(mistaken):
            return read, [_with_odd(read, entry) for entry in found]
        for number, wrong in enumerate(mistaken):
            if wrong:  # the first rows were not like the rest
                styles[number], plain[number] = TEXT, True


def _numbers(
    table: Table, styles: list[Style], plain: list[bool], first: list[list[str]]
) -> tuple[int, ...]:
    """Return the columns whose first values are plain numbers, all of them."""
    if table.numbers is None:
        return ()
    return tuple(
        n
        for n, (written, as_text) in enumerate(zip(styles, plain, strict=True))
        if written == NUMBER and not as_text and all(map(PLAIN.fullmatch, first[n]))
    )


def _read(
    table: Table,
    styles: list[Style],
    plain: list[bool],
    first: list[list[str]],
    path: Path,
    numbers: tuple[int, ...],
) -> tuple[Table, list[Facts]]:
    """Return the table of values and its facts; read as texts if `numbers` are none."""
    import duckdb

    if numbers:
        try:
            read = stored(table, styles, plain, path, numbers)
            found = _facts(read, styles, plain, first)
            ends = [end for n in numbers for end in (found[n].low, found[n].high)]
            if all(end is None or math.isfinite(end) for end in ends):
                return read, found
        except duckdb.Error:  # the texts say which value, in how many rows
            pass
    read = stored(table, styles, plain, path)
    return read, _facts(read, styles, plain, first)


def _facts(
    table: Table, styles: list[Style], plain: list[bool], first: list[list[str]]
) -> list[Facts]:
    """Return the facts of all columns, in one query."""
    parts, values = [], []
    for n, (written, as_text) in enumerate(zip(styles, plain, strict=True)):
        column = f"c{n}"
        filled = f"count({column})"
        if n in table.odd:
            filled += f" + count({odd(column)})"
        values.append(f"{written.sql(column) if as_text else column} as v{n}")
        fraction = any(map(FRACTION.search, first[n]))
        parts += [filled, *_aggregates(f"v{n}", written, fraction=fraction)]
    inner = f"select *, {', '.join(values)} from {table.relation}"
    sql = f"select count(*), {', '.join(parts)} from ({inner})"
    row = table.run("Looking at the columns", sql)[0]
    rows, cells = row[0], iter(row[1:])
    found = []
    for n, (name, written) in enumerate(zip(table.names, styles, strict=True)):
        filled, good, distinct, low, high, whole, length = (
            next(cells) for _ in range(7)
        )
        entry = Facts(
            name,
            rows,
            written,
            filled,
            good,
            min(distinct, filled),
            low,
            high,
            whole or 0,
            length or 0.0,
            tuple(list(dict.fromkeys(first[n]))[:200]),
            read=not plain[n],
        )
        found.append(entry)
    return found


def _style(values: list[str], forced: str, comma: bool) -> Style:
    """Return how a column is written, or how a person says it is."""
    if forced in ("category", "text"):
        return TEXT
    if "%" in forced:
        return Style("date", forced)
    found = style(values, comma)
    wanted = {"datetime": "date", "unix": "number"}.get(forced, "number")
    if forced in ("", "boolean") or found.kind == wanted:
        return found
    return Style(wanted)


def _aggregates(value: str, written: Style, fraction: bool) -> list[str]:
    """Return six expressions: good, distinct, low, high, whole, length.

    Numbers with fractions are not told apart: nothing depends on how many there are.
    """
    good, distinct = f"count({value})", f"approx_count_distinct({value})"
    if written.kind == "text":
        return [good, distinct, "null", "null", "null", f"avg(length({value}))"]
    if written.kind == "date":
        seconds = f"epoch({value})"
        ends = [f"min({seconds})", f"max({seconds})"]
        return [good, distinct, *ends, "null", "null"]
    ends = [f"min({value})", f"max({value})"]
    if fraction:
        varied = f"case when min({value}) < max({value}) then count({value}) else 1 end"
        return [good, varied, *ends, "0", "null"]
    whole = f"count(*) filter ({value} = floor({value}))"
    return [good, distinct, *ends, whole, "null"]


def _with_odd(table: Table, entry: Facts) -> Facts:
    """Add a few values that are not written as the others, where there are some."""
    if entry.good == entry.filled:
        return entry
    column = table.column(entry.name)
    text = odd(column) if entry.read else column
    rows: list[tuple[Any, ...]] = table.connection.execute(
        f"select {text}, count(*) from {table.relation} where {text} is not null "
        f"and {entry.sql(column)} is null group by 1 order by 2 desc, 1 limit 20"
    ).fetchall()
    return replace(entry, odd=tuple(str(r[0]) for r in rows))
