"""A look at the first rows of a table: how the values of each column are written."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from mlgitops.table.engine import Table
from mlgitops.table.formats import (
    NUMBER,
    TEXT,
    Style,
    are_plain,
    bares,
    prefers_comma,
    sign,
    style,
)

PEEK = 5_000  # rows whose values are looked at one by one, to see how they are written
CELLS = 500_000  # values that are looked at so: of a wide table, fewer rows
FRACTION = re.compile(r"[.,]0*[1-9]\d?$|\.\d*[1-9]\d*$")  # not that of 1,200 or 3.0
HEAD = "head"  # where the first rows are, as texts
IDLIKE = re.compile(
    r"(^|[^a-z])(id|ids|key|uuid|guid|nr|no|number|index|code)\.?$|"
    r"^(?!.*(paid|bid|valid|grid|fluid|liquid|acid|humid|solid|covid)$).*[a-z]id$|"
    r"(id|row|seq|case|order|account|acct|cust|patient|person|rec)_?(no|nr|num|number)$",
    re.I,
)


@dataclass(frozen=True)
class Look:
    """What the first rows say of every column, by its number."""

    first: tuple[tuple[str, ...], ...]  # their values, without missing ones and blanks
    styles: tuple[Style, ...]
    plain: tuple[bool, ...]  # kept as texts
    fraction: tuple[bool, ...]  # numbers of which one has a fraction: it stays a number
    numbers: tuple[int, ...]  # the file's reader is to read these itself
    forced: frozenset[int]  # a person gave their types

    @property
    def others(self) -> list[int]:
        """The columns that are not known for numbers with fractions."""
        return [n for n, fraction in enumerate(self.fraction) if not fraction]

    def as_texts(self, mistaken: Collection[int]) -> Look:
        """Return the look for a table whose other rows are not like the first."""
        wrong = [n in mistaken for n in range(len(self.styles))]
        styles = zip(self.styles, wrong, strict=True)
        return replace(
            self,
            styles=tuple(TEXT if bad else written for written, bad in styles),
            plain=tuple(p or b for p, b in zip(self.plain, wrong, strict=True)),
            fraction=tuple(
                f and not b for f, b in zip(self.fraction, wrong, strict=True)
            ),
            numbers=(),
        )


def look(table: Table, forced: Mapping[str, str], texts: Collection[str]) -> Look:
    """Return how the first rows are written; they stay in the temporary table HEAD.

    `forced` are the types that a person gave; `texts` are columns whose texts count.
    """
    names = table.names
    rows = min(PEEK, max(PEEK // 5, CELLS // len(names)))
    table.connection.execute(
        f"create or replace temp table {HEAD} as from {table.relation} limit {rows}"
    )
    head = table.connection.execute(f"from {HEAD}").fetchall()
    every = zip(*head, strict=True) if head else [()] * len(names)
    first = tuple(tuple(v for v in values if v and v.strip()) for values in every)
    comma = prefers_comma(first)
    styles = tuple(
        _style(values, forced.get(name, ""), comma)
        for name, values in zip(names, first, strict=True)
    )
    plain = tuple(
        written.kind == "text"
        or name in texts
        or forced.get(name) == "boolean"
        or len(set(values)) <= 2
        or IDLIKE.search(name) is not None
        for name, written, values in zip(names, styles, first, strict=True)
    )
    fraction = tuple(
        written.kind == "number" and not as_text and any(map(FRACTION.search, values))
        for written, as_text, values in zip(styles, plain, first, strict=True)
    )
    given = frozenset(n for n, name in enumerate(names) if name in forced)
    numbers = _numbers(table, styles, plain, first)
    return Look(first, styles, plain, fraction, numbers, given)


def _numbers(
    table: Table,
    styles: Collection[Style],
    plain: Collection[bool],
    first: Sequence[tuple[str, ...]],
) -> tuple[int, ...]:
    """Return the columns whose first values are plain numbers, all of them."""
    if table.numbers is None:
        return ()
    columns = enumerate(zip(styles, plain, first, strict=True))
    return tuple(
        n
        for n, (written, as_text, values) in columns
        if written == NUMBER and not as_text and are_plain(values)
    )


def _style(values: Collection[str], forced: str, comma: bool) -> Style:
    """Return how a column is written, or how a person says it is."""
    if forced in ("category", "text"):
        return TEXT
    if "%" in forced:
        return Style("date", forced)
    found = style(list(values), comma)
    wanted = {"datetime": "date", "unix": "number"}.get(forced, "number")
    if forced in ("", "boolean") or found.kind == wanted:
        return found
    if forced in ("number", "integer") and (symbol := sign([*values])):
        bare = bares([*values], symbol)
        written = style(bare, comma or prefers_comma([bare]))  # 05 alone is a code
        return replace(written if written.kind == "number" else NUMBER, sign=symbol)
    return Style(wanted)
