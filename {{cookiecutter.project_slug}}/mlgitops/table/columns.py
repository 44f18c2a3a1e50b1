"""The facts about each column: how many values, of which kind, between which ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mlgitops.table.engine import Table
from mlgitops.table.formats import TEXT, Style, prefers_comma, style

PEEK = 5_000  # rows whose values are looked at one by one, to see how they are written
FRACTION = re.compile(r"[.,]0*[1-9]\d?$|\.\d*[1-9]\d*$")  # not that of 1,200 or 3.0
MOST = 1_500  # columns of one table


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

    @property
    def missing(self) -> int:
        """How many rows have no value."""
        return self.rows - self.filled


def facts(table: Table, forced: dict[str, str]) -> list[Facts]:
    """Return the facts of all columns, in one reading of the whole table.

    `forced` are the types that a person gave.
    """
    names = table.names
    head = table.connection.execute(
        f"select * from {table.relation} limit {PEEK}"
    ).fetchall()
    first = [[str(r[n]) for r in head if r[n] is not None] for n in range(len(names))]
    comma = prefers_comma(first)
    styles = [
        _style(values, forced.get(name, ""), comma)
        for name, values in zip(names, first, strict=True)
    ]
    parts = [
        part
        for n, s in enumerate(styles)
        for part in _aggregates(n, s, fraction=any(map(FRACTION.search, first[n])))
    ]
    values = [f"{s.sql(f'c{n}')} as v{n}" for n, s in enumerate(styles)]
    inner = f"select *, {', '.join(values)} from {table.relation}"  # each is read once
    sql = f"select count(*), {', '.join(parts)} from ({inner})"
    row = table.run("Reading", sql)[0]
    rows, cells = row[0], iter(row[1:])
    found = []
    for name, written, values in zip(names, styles, first, strict=True):
        filled, good, distinct, low, high, whole, length = (
            next(cells) for _ in range(7)
        )
        seen = tuple(list(dict.fromkeys(values))[:200])
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
            seen,
        )
        found.append(entry)
    return [_with_odd(table, entry) for entry in found]


def _style(values: list[str], forced: str, comma: bool) -> Style:
    """Return how a column is written, or how a person says it is."""
    if forced == "category":
        return TEXT
    if "%" in forced:
        return Style("date", forced)
    found = style(values, comma)
    wanted = {"datetime": "date", "unix": "number"}.get(forced, "number")
    if forced in ("", "boolean") or found.kind == wanted:
        return found
    return Style(wanted)


def _aggregates(number: int, written: Style, fraction: bool) -> list[str]:
    """Return seven expressions: filled, good, distinct, low, high, whole, length.

    Numbers with fractions are not told apart: nothing depends on how many there are.
    """
    column, value = f"c{number}", f"v{number}"
    filled = f"count({column})"
    text = written.kind == "text"
    distinct = f"approx_count_distinct({column if text else value})"
    length = f"avg(length({column}))"
    if written.kind == "text":
        return [filled, filled, distinct, "null", "null", "null", length]
    if written.kind == "date":
        seconds = f"epoch({value})"
        ends = [f"min({seconds})", f"max({seconds})"]
        return [filled, f"count({value})", distinct, *ends, "null", "null"]
    ends = [f"min({value})", f"max({value})"]
    if fraction:
        varied = f"case when min({value}) < max({value}) then count({value}) else 1 end"
        return [filled, f"count({value})", varied, *ends, "0", "null"]
    whole = f"count(*) filter ({value} = floor({value}))"
    return [filled, f"count({value})", distinct, *ends, whole, "null"]


def _with_odd(table: Table, entry: Facts) -> Facts:
    """Add a few values that are not written as the others, where there are some."""
    if entry.good == entry.filled:
        return entry
    column = table.column(entry.name)
    rows: list[tuple[Any, ...]] = table.connection.execute(
        f"select {column}, count(*) from {table.relation} where {column} is not null "
        f"and {entry.style.sql(column)} is null group by 1 order by 2 desc, 1 limit 20"
    ).fetchall()
    return Facts(**{**vars(entry), "odd": tuple(str(r[0]) for r in rows)})
