"""Rows at the edges of a contract: what a client may send and data seldom hold.

Each of a model's columns in turn is missing, at its minimum and maximum, at values
between them and at those that the model itself compares with; each category, and some
that are unknown; true and false; leap days and the ends of years; texts of odd
characters, of one, and of as many as are allowed. The other columns are those of rows
of the holdout.
"""

import math
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import NamedTuple

import numpy as np

from mlgitops.pipeline.contract import Column, Contract
from mlgitops.prediction_log import MAX_TEXT, max_text

Value = float | str | bool | None
Row = dict[str, Value]
UNKNOWN = (
    "unknown",
    "é 漢字 🚀",
    " ",
    "x" * MAX_TEXT,
)  # categories that no contract holds
TEXTS = (  # what other programs read in other ways, or take long to read
    ".",
    "\0",
    "a",
    "A.b,C!d",
    "\r\n \t\u2028",
    "\ud83d half a character",
    "e\u0301 \u00e9 E\u0300",
    "\u0130\u0131 \u1e9e\u00df \ufb01 \u03a3\u03c2 \u01c5",
    "\u6f22\u5b57\u304b\u306a \ud55c\uad6d \u0e44\u0e17\u0e22",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0645\u0631\u062d\u0628\u0627",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f44d\U0001f3fd\u2764\ufe0f",
    "a" + "\u0301" * 300,
)
REPEATED = ("a ", "a", "The words of a text. ", "\u6f22", "\u0301\u0315")
SHARED = 50  # words of the model that a text is made of
SPACED = 33  # numbers from the minimum to the maximum
WHOLE = 200  # the most whole numbers between them of which each is tried
MOST = 200_000  # rows of which one column is at one of its values,
FEWEST = 50  # or this many values of each column
TURNS = (  # of the calendar, where arithmetic of times goes wrong
    "1899-12-31T23:59:59.999999",
    "1900-03-01",
    "1969-12-31T23:59:59.999999",
    "1970-01-01",
    "2000-02-29",
    "2000-12-31T23:59:59.999999",
    "2024-02-29",
    "2024-12-31",
    "2025-03-01",
)
YEAR = 366 * 86_400  # seconds
RANDOM = 200  # rows of which every column is anywhere in its range


class Case(NamedTuple):
    """A row, and what is special about it."""

    name: str
    row: Mapping[str, Value]


def complete(row: Row, contract: Contract) -> Row:
    """Return a row with what the contract does not allow to be missing."""
    return {
        name: row[name]
        if row.get(name) is not None
        else None
        if column.missing
        else _any(column)
        for name, column in contract.columns.items()
    }


def cases(
    contract: Contract,
    names: Sequence[str],
    sample: Sequence[Row],
    constants: tuple[list[float], list[str]],
) -> Iterator[Case]:
    """Yield the rows at the edges of the named columns, made of the sample's rows."""
    # What a case changes is kept beside the row, so a wide table takes little memory.
    others = cycle([ChainMap({}, row) for row in sample])
    lows: Row = {}
    highs: Row = {}
    for name in names:
        column = contract.columns[name]
        values = _values(column, [row[name] for row in sample], constants)
        values = _some(values, max(FEWEST, MOST // len(names)))
        lows[name], highs[name] = values[0], values[-1]
        for value in values:
            shown = f"{value:.9g}" if type(value) is float else repr(value)[:60]
            yield Case(f"a row with {name} = {shown}", next(others) | {name: value})
        if column.missing:
            yield Case(f"a row without {name}", next(others) | {name: None})
        if column.type == "category" and column.unknown == "predict":
            for text in UNKNOWN:
                words = f"a row with the unknown {name} {text[:20]!r}"
                yield Case(words, next(others) | {name: text})
    missing: Row = {n: None for n in names if contract.columns[n].missing}
    kinds = {n: contract.columns[n].type for n in names}
    unknown: Row = {
        n: UNKNOWN[0]
        for n in names
        if kinds[n] == "category" and contract.columns[n].unknown == "predict"
    }
    for words, changed in (
        ("every column at its minimum", lows),
        ("every column at its maximum", highs),
        ("every column missing that may be", missing),
        ("every category unknown", unknown),
    ):
        yield Case(f"a row with {words}", next(others) | changed)
    random = np.random.default_rng(0)
    for number in range(RANDOM):
        row = {
            n: _random(contract.columns[n], (lows[n], highs[n]), random) for n in lows
        }
        words = f"a row with columns drawn from the contract (number {number})"
        yield Case(words, next(others) | row)


def _values(
    column: Column, seen: Sequence[Value], constants: tuple[list[float], list[str]]
) -> Sequence[Value]:
    """Return values of a column that the contract allows, the extremes first and last.

    Where the contract has no limit, that is as far beyond the data as they reach.
    """
    numbers, texts = constants
    if column.type == "category":
        own, longest = column.categories, max_text(column.categories)
        if column.unknown == "refuse":  # so that none of them reaches the model
            return own
        return [*own, *(t for t in texts if t and t not in own and len(t) <= longest)]
    if column.type == "text":
        return _texts(column.max_length, texts)
    if column.type == "boolean":
        return [False, True]
    if column.type == "datetime":
        spaced = np.linspace(column.min, column.max, SPACED).tolist()
        turns = [datetime.fromisoformat(t).replace(tzinfo=UTC) for t in TURNS]
        moments = (n for n in numbers if abs(n) > YEAR)  # others are of other columns
        inside = {*(t.timestamp() for t in turns), *moments}
        inside = {t for t in inside if column.min < t < column.max}
        return [_time(moment) for moment in sorted({*spaced, *inside})]
    present = [float(v) for v in seen if isinstance(v, int | float)] or [0.0]
    span = (max(present) - min(present)) or 1.0
    low = column.min if math.isfinite(column.min) else min(present) - span
    high = column.max if math.isfinite(column.max) else max(present) + span
    low, high = max(low, -3e38), min(high, 3e38)
    spaced = np.linspace(low, high, SPACED)
    whole = np.round(spaced)
    if high - low <= WHOLE:
        whole = np.arange(math.ceil(low), math.floor(high) + 1.0)
    limits = np.array(sorted(n for n in numbers if low <= n <= high))
    between = (limits[1:] + limits[:-1]) / 2
    every = np.concatenate([spaced, whole, limits, between]).astype(np.float32)
    every = every[(every >= low) & (every <= high)]
    if column.type == "integer":
        return [int(v) for v in np.unique(np.round([low, *every, high]))]
    return [float(v) for v in np.unique([np.float32(low), *every, np.float32(high)])]


def _texts(longest: int, words: Sequence[str]) -> Sequence[Value]:
    """Return texts of so many characters or fewer, the shortest first."""
    known = [str(word) for word in _some(words, SHARED) if word]
    long = [(text * longest)[:longest] for text in REPEATED]
    every = [*TEXTS, *known, " ".join(known), " ".join(known).upper(), *long]
    cut = {text[:longest] for text in every} - {""}
    return sorted(cut, key=lambda text: (len(text), text))


def _some(values: Sequence[Value], most: int) -> Sequence[Value]:
    """Return the values, or so many of them, spread evenly, with first and last."""
    if len(values) <= most:
        return values
    return [values[n] for n in np.linspace(0, len(values) - 1, most).astype(int)]


def _any(column: Column) -> Value:
    """Return a value that a column may have."""
    if column.type == "category":
        return column.categories[0]
    if column.type == "text":
        return TEXTS[0]
    least = next(n for n in (column.min, column.max, 0.0) if math.isfinite(n))
    return _typed(column, least)


def _random(
    column: Column, ends: tuple[Value, Value], random: np.random.Generator
) -> Value:
    """Return a value anywhere in a column's range."""
    if column.missing and random.random() < 0.1:
        return None
    if column.type == "category":
        return str(random.choice(column.categories))
    if column.type == "text":
        text = " ".join(TEXTS)[: column.max_length]
        return text[: random.integers(1, len(text) + 1)]
    low, high = (column.min, column.max) if column.type == "datetime" else ends
    assert isinstance(low, int | float) and isinstance(high, int | float)
    return _typed(column, low + (high - low) * random.random())


def _typed(column: Column, number: float) -> Value:
    """Return a number as a request has it in this column."""
    if column.type == "datetime":
        return _time(number)
    if column.type == "boolean":
        return number >= 0.5
    if column.type == "integer":
        return round(number)
    return float(np.float32(number))


def _time(seconds: float) -> str:
    """Return seconds since 1970 as a request says a time."""
    micro = timedelta(microseconds=round(seconds * 1e6))
    return (datetime(1970, 1, 1, tzinfo=UTC) + micro).isoformat()
