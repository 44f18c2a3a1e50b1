"""The facts about each column: how many values, of which kind, between which ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlgitops.table.columnar import Noted, noted, odd, stored, values, zoned
from mlgitops.table.draft import NotFiniteError, Pairs, drafted
from mlgitops.table.engine import NULLS, Table, filled
from mlgitops.table.formats import Style, sign
from mlgitops.table.look import HEAD, Look

MOST = 1_500  # columns of one table
MISTAKES = 0.5  # of the values that are written in another way; more is no mistake
DRAFT = "draft.parquet"


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
    zoned: int = 0  # times of ISO 8601 that name their zone
    read: bool = False  # the table holds values, and texts no more

    def sql(self, column: str) -> str:
        """Return the expression for a value, or null."""
        return column if self.read else self.style.sql(filled(column))

    @property
    def missing(self) -> int:
        """How many rows have no value."""
        return self.rows - self.filled

    @property
    def sign(self) -> str:
        """The sign of percent or a currency beside each number; "" is none."""
        return sign(self.first)


@dataclass(frozen=True)
class Answers:
    """What a query, or the notes of a file, say of a column."""

    filled: int
    good: int
    distinct: int
    low: float | None
    high: float | None
    whole: int | None
    length: float | None
    zoned: int | None = None


def of_head(table: Table, look: Look) -> tuple[Table, list[Facts]]:
    """Return the first rows alone, as values, and their facts."""
    found = values(HEAD, look, ())
    head = replace(table, relation=f"({found.sql})", odd=found.odd)
    columns = range(len(table.names))
    rows, answers = _asked(head, look, columns)
    return head, [_entry(table, look, n, rows, answers[n]) for n in columns]


def facts(
    table: Table, look: Look, path: Path, pairs: Pairs = ()
) -> tuple[Table, list[Facts]]:
    """Return the table as columns of values in a file, and the facts of all columns.

    `pairs` are the columns of the typed file to draft in the same reading, if any.
    """
    while True:
        read, found = _read(table, look, path, pairs)
        mistaken = {
            n
            for n, entry in enumerate(found)
            if n not in look.forced and entry.good < MISTAKES * entry.filled
        }
        if not mistaken:
            return read, [_with_odd(read, entry) for entry in found]
        look = look.as_texts(mistaken)  # the first rows were not like the rest


def _read(
    table: Table, look: Look, path: Path, pairs: Pairs
) -> tuple[Table, list[Facts]]:
    """Return the table of values and its facts; read as texts if numbers are none."""
    import duckdb
    import pyarrow as pa

    attempts: list[tuple[str, ...]] = []
    if look.numbers and table.numbers:
        attempts = [*dict.fromkeys((table.numbers.nulls, NULLS))] if pairs else [NULLS]
    for nulls in attempts:
        try:
            if pairs:
                typed = path.with_name(DRAFT)
                read = drafted(table, look, pairs, nulls, path, typed)
            else:
                read = stored(table, look, path, look.numbers)
            found = _facts(read, look, path)
            ends = [end for n in look.numbers for end in (found[n].low, found[n].high)]
            if all(end is None or math.isfinite(end) for end in ends):
                return read, found
        except (duckdb.Error, pa.ArrowException, OSError, NotFiniteError) as error:
            if getattr(error, "errno", None):  # of the disk, and not of Arrow's reader
                raise
            if not _is_spelt(error):
                break
    read = stored(table, look, path, ())  # the texts say which value, in how many rows
    return read, _facts(read, look, path)


def _is_spelt(error: Exception) -> bool:
    """Tell whether a missing value that is written out was read as the number NaN."""
    quoted = (f'"{text}"' for text in NULLS if text)
    return isinstance(error, NotFiniteError) or any(q in str(error) for q in quoted)


def _facts(table: Table, look: Look, path: Path) -> list[Facts]:
    """Return the facts of all columns: of fractions as the files note them."""
    notes = noted(path)
    if draft := table.draft:
        typed = noted(draft.path)
        notes |= {f"c{n}": typed[draft.pairs[at][0]] for n, at in draft.only.items()}
    rows, answers = _asked(table, look, look.others)
    for n, fraction in enumerate(look.fraction):
        if fraction:
            more = notes[odd(f"c{n}")].filled if n in table.odd else 0
            answers[n] = _of_notes(notes[f"c{n}"], more)
    return [_entry(table, look, n, rows, answers[n]) for n in range(len(table.names))]


def _entry(table: Table, look: Look, n: int, rows: int, answers: Answers) -> Facts:
    """Return the facts of one column."""
    return Facts(
        table.names[n],
        rows,
        look.styles[n],
        answers.filled,
        answers.good,
        min(answers.distinct, answers.filled),
        answers.low,
        answers.high,
        answers.whole or 0,
        answers.length or 0.0,
        tuple(list(dict.fromkeys(look.first[n]))[:200]),
        zoned=answers.zoned or 0,
        read=not look.plain[n],
    )


def _of_notes(found: Noted, odd_texts: int) -> Answers:
    """Return what is known of fractions; nothing depends on how many are alike."""
    low, high = found.low, found.high
    if low is None and found.filled:  # values without an order
        low = high = math.nan
    distinct = 1 if low == high else found.filled
    filled = found.filled + odd_texts
    return Answers(filled, found.filled, distinct, low, high, 0, None)


def _asked(
    table: Table, look: Look, columns: Sequence[int]
) -> tuple[int, dict[int, Answers]]:
    """Return how many rows there are, and what one query says of some columns."""
    parts, inner = ["count(*)"], ["1"]
    for n in columns:
        column, style = f"c{n}", look.styles[n]
        text = filled(column) if look.plain[n] else column
        typed = style.sql(text) if look.plain[n] else column
        inner += [f"{typed} as v{n}", f"{text} as t{n}"]
        count = f"count(t{n})"
        if n in table.odd:
            count += f" + count({odd(column)})"
        zone = zoned(column) if n in table.odd else style.zoned(text)
        zones = f"count(v{n}) filter ({zone})" if style.iso else "null"
        parts += [count, *_aggregates(f"v{n}", style), zones]
    relation = f"select *, {', '.join(inner)} from {table.relation}"
    sql = f"select {', '.join(parts)} from ({relation})"
    rows, *cells = table.run("Looking at the columns", sql)[0]
    size = len(Answers.__dataclass_fields__)
    each = (cells[size * at : size * (at + 1)] for at in range(len(columns)))
    return rows, {n: Answers(*few) for n, few in zip(columns, each, strict=True)}


def _aggregates(value: str, written: Style) -> list[str]:
    """Return six expressions: good, distinct, low, high, whole, length."""
    good, distinct = f"count({value})", f"approx_count_distinct({value})"
    if written.kind == "text":
        return [good, distinct, "null", "null", "null", f"avg(length({value}))"]
    if written.kind == "date":
        seconds = f"epoch({value})"
        ends = [f"min({seconds})", f"max({seconds})"]
        return [good, distinct, *ends, "null", "null"]
    ends = [f"min({value})", f"max({value})"]
    whole = f"count(*) filter ({value} = floor({value}))"
    return [good, distinct, *ends, whole, "null"]


def _with_odd(table: Table, entry: Facts) -> Facts:
    """Add a few values that are not written as the others, where there are some."""
    if entry.good == entry.filled:
        return entry
    column = table.column(entry.name)
    text = odd(column) if entry.read else filled(column)
    rows: list[tuple[Any, ...]] = table.connection.execute(
        f"select {text}, count(*) from {table.relation} where {text} is not null "
        f"and {entry.sql(column)} is null group by 1 order by 2 desc, 1 limit 20"
    ).fetchall()
    return replace(entry, odd=tuple(str(r[0]) for r in rows))
