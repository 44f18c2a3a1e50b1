"""Strict rows: what a request may hold, by the contract; numpy only.

A type that is not the contract's, NaN, infinity, an unknown column and a missing
required one are refused, and so is a text that is much longer than any category. A
category never seen in training and a number outside the contract's range get a
prediction: the monitor reports that the data changed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlgitops.prediction_log import max_text

METADATA = frozenset({"id", "time"})  # what a row may carry beside its columns
UNTIMED = METADATA - {"time"}  # where the contract has no time
Rows = Sequence[Mapping[str, Any]]
Array = np.ndarray[tuple[int, ...], np.dtype[Any]]
JSON_TYPES = {bool: "true or false", str: "text", int: "a number", float: "a number"}


class RowError(Exception):
    """A row that the contract does not allow: one sentence for the caller."""


class Column(NamedTuple):
    """One column of the contract."""

    name: str
    number: bool
    missing: bool
    max_text: int  # characters of a category


def columns(contract: Mapping[str, Any]) -> dict[str, Column]:
    """Return the columns of a parsed contract by name; ValueError if it is broken."""
    parsed: dict[str, Column] = {}
    for name, column in dict(contract["columns"]).items():
        if column["type"] not in ("number", "category"):
            raise ValueError(f"column '{name}' has the unknown type '{column['type']}'")
        if name in METADATA:
            raise ValueError(f"a column cannot be called '{name}'")
        number, missing = column["type"] == "number", bool(column["missing"])
        longest = max_text(column.get("categories") or ())
        parsed[name] = Column(name, number, missing, longest)
    return parsed


def inputs(
    rows: Rows,
    schema: Mapping[str, Column],
    names: Sequence[str],
    metadata: frozenset[str] = METADATA,
) -> dict[str, Array]:
    """Check every row against the contract and return the named columns as arrays.

    Numbers become float32 of shape [rows, 1] with NaN for missing, categories
    objects of shape [rows, 1] with "" for missing. Raises RowError.
    """
    allowed = schema.keys() | metadata
    for index, row in enumerate(rows):
        if not row.keys() <= allowed:
            unknown = min(map(repr, row.keys() - allowed))
            raise RowError(
                f"row {index} has the unknown column {unknown[:80]}; "
                f"allowed are {', '.join([*sorted(metadata), *schema])}."
            )
    arrays = {name: _array(rows, column) for name, column in schema.items()}
    return {name: arrays[name] for name in names}


def _array(rows: Rows, column: Column) -> Array:
    """Return one column of the rows as an array of shape [rows, 1]."""
    values = [row.get(column.name) for row in rows]
    allowed: set[type] = {type(None), *((int, float) if column.number else (str,))}
    kinds = set(map(type, values))
    if not kinds <= allowed:
        raise _type_error(values, column, allowed)
    if not column.missing and (type(None) in kinds or "" in values):
        index = next(i for i, value in enumerate(values) if value in (None, ""))
        raise RowError(f"row {index} lacks the column '{column.name}'.")
    if not column.number:
        texts = ["" if value is None else value for value in values]
        for index, text in enumerate(texts):
            if len(text) > column.max_text:
                raise RowError(
                    f"row {index}: column '{column.name}' has {len(text)} characters; "
                    f"at most {column.max_text} are allowed."
                )
        return np.array(texts, dtype=object).reshape(-1, 1)
    with np.errstate(over="ignore"):
        try:
            numbers = [np.nan if value is None else value for value in values]
            array = np.array(numbers, dtype=np.float64).astype(np.float32)
        except OverflowError:
            array = np.full(len(values), np.inf, dtype=np.float32)
    for index in np.flatnonzero(~np.isfinite(array)).tolist():
        if values[index] is not None:
            raise RowError(
                f"row {index}: column '{column.name}' is not a finite 32-bit number."
            )
    return array.reshape(-1, 1)


def _type_error(values: list[object], column: Column, allowed: set[type]) -> RowError:
    """Return the error for the first value of a wrong type."""
    index = next(i for i, value in enumerate(values) if type(value) not in allowed)
    expected = "a number" if column.number else "text"
    actual = JSON_TYPES.get(type(values[index]), "a list or an object")
    return RowError(
        f"row {index}: column '{column.name}' must be {expected}, not {actual}."
    )
