"""Strict rows: what a request may hold, by the contract; numpy only.

A type that is not the contract's, NaN, infinity, an unknown column and a missing
required one are refused. A category never seen in training and a number outside the
contract's range are answered: the monitor is the one to say that the feed changed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

BESIDE = frozenset({"id", "time"})  # what a row may carry beside its columns
Rows = Sequence[Mapping[str, Any]]


class RowError(Exception):
    """A row that the contract does not allow: one sentence for the caller."""


class Column(NamedTuple):
    """One column of the contract."""

    name: str
    number: bool
    missing: bool


def columns(contract: Mapping[str, Any]) -> dict[str, Column]:
    """Return the columns of a parsed contract by name; ValueError if it is broken."""
    found: dict[str, Column] = {}
    for name, given in dict(contract["columns"]).items():
        if given["type"] not in ("number", "category"):
            raise ValueError(f"column '{name}' has the unknown type '{given['type']}'")
        if name in BESIDE:
            raise ValueError(f"a column cannot be called '{name}'")
        found[name] = Column(name, given["type"] == "number", bool(given["missing"]))
    return found


def feeds(
    rows: Rows, known: Mapping[str, Column], wanted: Sequence[str]
) -> dict[str, np.ndarray[Any, Any]]:
    """Check every row against the contract and return the wanted columns as arrays.

    Numbers become float32 of shape [rows, 1] with NaN for missing, categories
    objects of shape [rows, 1] with "" for missing. Raises RowError.
    """
    allowed = known.keys() | BESIDE
    for at, row in enumerate(rows):
        if not row.keys() <= allowed:
            extra = sorted(map(repr, row.keys() - allowed))[0]
            names = ", ".join(known)
            raise RowError(
                f"row {at} has the unknown column {extra[:80]}; "
                f"allowed are id, time, {names}."
            )
    arrays = {name: _array(rows, column) for name, column in known.items()}
    return {name: arrays[name] for name in wanted}


def _array(rows: Rows, column: Column) -> np.ndarray[Any, Any]:
    """Return one column of the rows as an array of shape [rows, 1]."""
    values = [row.get(column.name) for row in rows]
    kinds = set(map(type, values))
    expected: set[type] = {int, float} if column.number else {str}
    if not kinds <= expected | {type(None)}:
        raise _refusal(values, column, expected)
    if not column.missing and (type(None) in kinds or "" in values):
        at = next(at for at, value in enumerate(values) if value in (None, ""))
        raise RowError(f"row {at} lacks the column '{column.name}'.")
    if not column.number:
        return np.array(
            [["" if value is None else value] for value in values], dtype=object
        )
    with np.errstate(over="ignore"):
        try:
            numbers = [np.nan if value is None else value for value in values]
            array = np.array(numbers, dtype=np.float64).astype(np.float32)
        except OverflowError:
            array = np.full(len(values), np.inf, dtype=np.float32)
    finite = np.isfinite(array)
    if not finite.all():
        for at in np.flatnonzero(~finite).tolist():
            if values[at] is not None:
                raise RowError(
                    f"row {at}: column '{column.name}' is not a finite 32-bit number."
                )
    return array.reshape(-1, 1)


def _refusal(values: list[Any], column: Column, expected: set[type]) -> RowError:
    """Return the sentence for the first value of a wrong type."""
    at, value = next(
        (at, value)
        for at, value in enumerate(values)
        if value is not None and type(value) not in expected
    )
    need = "a number" if column.number else "text"
    given = {bool: "true or false", str: "text", int: "a number", float: "a number"}
    return RowError(
        f"row {at}: column '{column.name}' must be {need}, "
        f"not {given.get(type(value), 'a list or an object')}."
    )
