"""Which columns are compared for those of the contract: numbers and categories; pure.

A boolean is compared as a category of true and false. A time always moves on: compared
as it is, it would drift in every window. Compared instead are its hour of the day and
its weekday (both UTC, as the model sees them), and how many days it is after the event.
Where rows have no time of an event, the training data have nothing that corresponds to
the arrival of a request; then the other columns of times are compared by their days
after the first of them.

What comes after this (`drift`, `slices`, Evidently) knows numbers and categories only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlgitops.monitor.reference import Reference, free
from mlgitops.pipeline.contract import Column, Contract

if TYPE_CHECKING:
    import pandas as pd

CATEGORIES = {
    "boolean": ("false", "true"),
    "hour": tuple(f"{hour:02}" for hour in range(24)),
    "weekday": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
}
AS_IT_IS = ("number", "integer", "category")
DAY = 86_400  # seconds
ROOM = 0.5  # days that whole weeks may be shorter or longer
MANY = 28 - ROOM  # days that show each weekday about as often, whole weeks or not


class Part(NamedTuple):
    """What is compared of a column: all of it, or one aspect of a time."""

    name: str  # as it is shown
    kind: str  # of `AS_IT_IS` or `CATEGORIES`, or "days"


def parts(original: Contract, name: str) -> list[Part]:
    """Return what is compared of one column of the contract."""
    kind = original.columns[name].type
    if kind != "datetime":
        return [Part(name, kind)]
    shown = {kind: f"{name} ({kind})" for kind in ("hour", "weekday")}
    if (start := first_time(original)) != name:
        shown["days"] = f"{name} (days after {start})"
    return [Part(free(text, original), kind) for kind, text in shown.items()]


def first_time(original: Contract) -> str:
    """Return the column that days are counted from: the event's, or the first one."""
    return original.time or next(iter(original.kind("datetime", [*original.columns])))


def contract(original: Contract, weekdays: bool = True) -> Contract:
    """Return the contract of the compared columns, perhaps without weekdays."""
    columns = {
        part.name: _column(part, column)
        for name, column in original.columns.items()
        for part in parts(original, name)
        if weekdays or part.kind != "weekday"
    }
    return replace(original, columns=columns)


def table(rows: pd.DataFrame, original: Contract) -> pd.DataFrame:
    """Return checked rows with the compared columns beside the contract's."""
    made = {
        part.name: _values(rows, original, name, part)
        for name in original.columns
        for part in parts(original, name)
        if part.kind not in AS_IT_IS
    }
    return rows.assign(**made)


def reference(known: Reference, weekdays: bool = True) -> Reference:
    """Return a version with the compared columns, by which its rows are compared."""
    compared, importance = contract(known.contract, weekdays), dict[str, float]()
    for name, weight in known.importance.items():
        pieces = [p for p in names(known.contract, [name]) if p in compared.columns]
        importance |= {piece: weight / len(pieces) for piece in pieces}
    train, holdout = (table(t, known.contract) for t in (known.train, known.holdout))
    return replace(
        known, contract=compared, train=train, holdout=holdout, importance=importance
    )


def names(original: Contract, columns: Iterable[str]) -> list[str]:
    """Return the names of what is compared of these columns."""
    known = [name for name in columns if name in original.columns]
    return [part.name for name in known for part in parts(original, name)]


def show_weekdays(times: pd.Series) -> bool:
    """Return whether rows of these times have each weekday about as often."""
    days = (times.max() - times.min()).total_seconds() / DAY
    return bool(days >= MANY or (0 < days and abs(days - 7 * round(days / 7)) <= ROOM))


def _column(part: Part, column: Column) -> Column:
    """Return a column that is compared."""
    if part.kind in CATEGORIES:
        return Column("category", column.missing, CATEGORIES[part.kind])
    if part.kind == "days":
        return Column("number", column.missing)
    kind = "number" if column.type == "integer" else column.type
    return replace(column, type=kind)


def _values(rows: pd.DataFrame, original: Contract, name: str, part: Part) -> pd.Series:
    """Return the values of one compared column."""
    import pandas as pd

    values = rows[name]
    if part.kind == "days":
        since = values - rows[first_time(original)]
        return (since.dt.total_seconds() / DAY).astype("float32")
    codes = values
    if part.kind != "boolean":
        codes = values.dt.hour if part.kind == "hour" else values.dt.weekday
    texts = np.array(CATEGORIES[part.kind], dtype=object)
    picked = texts[codes.fillna(0).to_numpy(np.int64)]
    return pd.Series(picked, rows.index, dtype=object).where(values.notna(), None)
