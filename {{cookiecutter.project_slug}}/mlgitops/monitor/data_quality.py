"""Finds rows that break the contract, and columns that have lost their values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlgitops.monitor.evidence import Unlisted
from mlgitops.monitor.wording import shown
from mlgitops.pipeline.contract import Column, Contract

if TYPE_CHECKING:
    import pandas as pd

UNLISTED = "not in contract.yaml"  # stands for each category that the contract lacks
EXAMPLES = 3  # of them that are named
EMPTY = 0.99  # share of missing values from which a column counts as empty
FEWEST = 100  # rows that show whether a column still has values
EXACT = 2.0**24  # up to here each whole number has its own float32
TOGETHER = 0.999  # rank correlation from which a number is one of time
MICROSECONDS = 1e6  # of a second
LOGGED: dict[str, tuple[set[type], str]] = {  # by column type: what a log has
    "number": ({int, float}, "numbers"),
    "integer": ({int, float}, "whole numbers"),
    "boolean": ({bool}, "true or false"),
    "category": ({str}, "text"),
    "datetime": ({str}, "ISO 8601 times"),
    "text": ({str}, "text"),
}
FILLED = 0.5  # share of missing values up to which it had values in the reference


class Checked(NamedTuple):
    """Rows that keep the contract, how many did not, and what breaks it most often."""

    valid: pd.DataFrame
    broken: int
    worst: str
    unknown: dict[str, Unlisted]  # by column, categories that the contract lacks
    rounded: dict[str, int]  # rows by column whose number is beyond float32's digits


def quarantine(table: pd.DataFrame, contract: Contract, min_group: int = 1) -> Checked:
    """Type the contract's columns and set aside the rows that break it.

    A category that the contract does not list is not broken: the server accepts it. It
    is counted in ``unknown``, and stays in ``valid``; so does a number that the model
    sees rounded (``rounded``). There `UNLISTED` stands for all such categories: no
    distance to a reference without them changes, and 100,000 of them take no room.
    A category of fewer than ``min_group`` rows is not named: it may be a person's.
    """
    import pandas as pd

    bad = pd.Series(False, index=table.index)
    typed, violations = {}, dict[str, int]()
    unknown, rounded = dict[str, Unlisted](), dict[str, int]()
    for name, column in contract.columns.items():
        values, reasons = _typed(table[name], column)
        typed[name] = values
        for reason, rows in reasons.items():
            if rows.any():
                count = int(rows.sum())
                rule = f'column "{name}": {count:,} of {len(table):,} rows {reason}'
                violations[rule] = count
            bad |= rows
        if column.type == "category":
            unlisted = values.notna() & ~values.isin(column.categories)
            if unlisted.any():
                unknown[name] = _unlisted(values[unlisted], min_group)
                typed[name] = values.mask(unlisted, UNLISTED)
        elif column.type == "number" and (count := _rounded(table[name], values)):
            rounded[name] = count
    valid = table.assign(**typed)[~bad].reset_index(drop=True)
    worst = max(violations, key=lambda rule: violations[rule], default="")
    return Checked(valid, int(bad.sum()), worst, unknown, rounded)


def known_categories(table: pd.DataFrame, contract: Contract) -> pd.Series:
    """Return which rows hold only categories that the contract lists."""
    import pandas as pd

    listed = pd.Series(True, index=table.index)
    for name, column in contract.columns.items():
        if column.type == "category":
            listed &= table[name].isna() | table[name].isin(column.categories)
    return listed


def emptied_columns(
    table: pd.DataFrame, reference: pd.DataFrame, contract: Contract
) -> list[str]:
    """Return the columns that are (all but) empty now and were not in the reference.

    Now is the newest tenth of the rows: a window whose data has just broken is still
    full of yesterday's values.
    """
    newest = table.tail(max(len(table) // 10, FEWEST))
    return [
        name
        for name in contract.columns
        if missing_share(newest[name]) >= EMPTY
        and missing_share(reference[name]) <= FILLED
    ]


def clocks(rows: pd.DataFrame, contract: Contract) -> list[str]:
    """Return the numbers that grow with time, such as a timestamp or an order's number.

    Time is that of the events, or of the arrival where they have none. Such numbers
    drift in every window, and a model has never been fitted on the values that it is
    asked about.
    """
    time = rows[contract.time]
    return [
        name
        for name, column in contract.columns.items()
        if column.type in ("number", "integer")
        and rows[name].nunique() > FEWEST
        and abs(rows[name].corr(time.astype("int64"), method="spearman")) > TOGETHER
    ]


def missing_share(values: pd.Series) -> float:
    """Return the share of values that are missing: None, NaN or empty."""
    return float((values.isna() | (values == "")).mean()) if len(values) else 0.0


def _unlisted(values: pd.Series, min_group: int) -> Unlisted:
    """Return how many values there are, how many distinct ones, and the commonest."""
    counts = values.value_counts()
    common = counts.index[counts >= min_group]
    examples = tuple(shown(str(value)) for value in common[:EXAMPLES])
    return Unlisted(len(values), len(counts), examples)


def _rounded(logged: pd.Series, numbers: pd.Series) -> int:
    """Return how many numbers are so large that float32 merges them with others."""
    large = numbers.abs() >= EXACT
    exact = numbers[large].astype("float64")
    return int((logged[large].astype("float64") != exact).sum())


def _typed(values: pd.Series, column: Column) -> tuple[pd.Series, dict[str, Any]]:
    """Return a column with its type, and the rows that break each of its rules."""
    import pandas as pd

    empty = values.isna() | (values == "")
    types = values[~empty].map(type)
    allowed, noun = LOGGED[column.type]
    wrong = pd.Series(False, index=values.index)
    wrong[types.index] = ~types.isin(allowed)
    if column.type == "integer":
        numbers = values.where(~empty & ~wrong, None).astype("float64")
        wrong |= numbers.notna() & (numbers % 1 != 0)
    if column.type == "datetime":
        typed = _times(values.where(~empty & ~wrong, None))
        wrong |= ~empty & typed.isna()
    reasons = {f"are not {noun}": wrong}
    if not column.missing:
        reasons["are missing"] = empty
    kept = values.where(~empty & ~wrong, None)
    if column.type == "category":
        return kept.astype("str").where(kept.notna(), None), reasons
    if column.type == "text":
        texts = kept.astype("str").where(kept.notna(), None)
        longer = texts.str.len() > column.max_length if kept.notna().any() else wrong
        return texts, reasons | {
            f"are longer than {column.max_length:,} characters": longer
        }
    if column.type == "boolean":
        return kept.astype("float32"), reasons
    if column.type == "datetime":
        seconds = typed.astype("int64") / MICROSECONDS
        outside = typed.notna() & ~seconds.between(column.min, column.max)
        return typed, reasons | {f"are outside {_bounds(column)}": outside}
    numbers = kept.astype("float64").astype("float32")
    outside = numbers.notna() & ~numbers.between(column.min, column.max)
    outside |= np.isinf(numbers)
    reasons[f"are outside {_bounds(column)}"] = outside
    return numbers, reasons


def _times(texts: pd.Series) -> pd.Series:
    """Return ISO 8601 texts as times in UTC; NaT where one is none."""
    import pandas as pd

    times = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
    return times.astype("datetime64[us, UTC]")


def _bounds(column: Column) -> str:
    """Return the bounds of a column of numbers or times in words."""
    if column.type == "integer":
        return f"{column.min:.0f} to {column.max:.0f}"
    if column.type != "datetime":
        return f"{column.min:g} to {column.max:g}"
    dates = [
        f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
        if np.isfinite(seconds)
        else "any time"
        for seconds in (column.min, column.max)
    ]
    return " to ".join(dates)
