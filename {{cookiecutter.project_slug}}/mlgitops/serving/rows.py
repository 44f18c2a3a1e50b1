"""Strict rows: what a request may hold, by the contract; numpy only.

A type that is not the contract's, NaN, infinity, an unknown column and a missing
required one are refused, and so is a text that is much longer than any category. A
category never seen in training gets a prediction unless the contract says `unknown:
refuse`, and so does a number outside the contract's range: the monitor reports that the
data changed.
"""

import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from mlgitops import prediction_log
from mlgitops.prediction_log import max_text
from mlgitops.serving.reasons import Reason, RefusedError
from mlgitops.serving.words import words

MOMENT = re.compile(  # of a datetime; what else Python reads, a table does not
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
UNKNOWN = ("predict", "refuse")  # what a category gets that training never saw
MAX_ID = 200  # characters of a row's id
WHOLE = 2**24  # up to here each whole number has its own float32
NUMBERS = frozenset({int, float})
TYPES: dict[str, tuple[frozenset[type], str]] = {  # in JSON, and in words
    "number": (NUMBERS, "a number"),
    "integer": (NUMBERS, "a whole number"),
    "boolean": (frozenset({bool}), "true or false"),
    "category": (frozenset({str}), "text"),
    "datetime": (frozenset({str}), "a time as text, such as 2013-04-01T12:00:00Z"),
    "text": (frozenset({str}), "text"),
}
Rows = Sequence[Mapping[str, Any]]
Array = np.ndarray[tuple[int, ...], np.dtype[Any]]
JSON_TYPES = {bool: "true or false", str: "text", int: "a number", float: "a number"}


class RowError(RefusedError):
    """A row that the contract does not allow: one sentence for the caller."""


class Column(NamedTuple):
    """One column of the contract."""

    name: str
    type: str
    missing: bool
    max_text: int  # characters of a category or a text
    allowed: frozenset[str] | None = None  # categories, where others are refused


def columns(contract: Mapping[str, Any]) -> dict[str, Column]:
    """Return the columns of a parsed contract by name; ValueError if it is broken."""
    parsed: dict[str, Column] = {}
    for name, column in dict(contract["columns"]).items():
        kind, categories = column["type"], column.get("categories") or ()
        if kind not in TYPES:
            raise ValueError(f"column '{name}' has the unknown type '{kind}'")
        longest = column.get("max_length") or max_text(categories)
        unknown = column.get("unknown", contract.get("unknown", "predict"))
        if unknown not in UNKNOWN:
            raise ValueError(f"column '{name}' has unknown: '{unknown}'")
        strict = kind == "category" and unknown == "refuse"
        allowed = frozenset(map(str, categories)) if strict else None
        parsed[name] = Column(name, kind, bool(column["missing"]), longest, allowed)
    return parsed


def inputs(
    rows: Rows,
    schema: Mapping[str, Column],
    names: Sequence[str],
    timed: bool = True,
) -> dict[str, Array]:
    """Check every row against the contract and return the named columns as arrays.

    Numbers, integers and booleans become float32 of shape [rows, 1] with NaN for
    missing, datetimes float64, seconds since 1970, categories objects with "" for
    missing, texts the same with their words, joined by spaces. Where the contract has
    no time (`timed`), no row has one. Raises RowError.
    """
    names_of_row = [name for name in prediction_log.metadata(schema, timed) if name]
    allowed = schema.keys() | {*names_of_row}
    for index, row in enumerate(rows):
        if not row.keys() <= allowed:
            unknown = min(map(repr, row.keys() - allowed))
            raise RowError(
                Reason.UNKNOWN_FIELD,
                f"row {index} has the unknown column {unknown[:80]}; "
                f"allowed are {', '.join((*names_of_row, *schema))}.",
            )
    values = {name: [row.get(name) for row in rows] for name in schema}
    return arrays(values, schema, names)


def arrays(
    values: Mapping[str, Sequence[Any]],
    schema: Mapping[str, Column],
    names: Sequence[str],
) -> dict[str, Array]:
    """Check the values of each column, [rows], and return the arrays of `inputs`."""
    checked = {name: _array(values[name], column) for name, column in schema.items()}
    return {name: checked[name] for name in names}


def all_metadata(
    rows: Rows, id_name: str, time_name: str
) -> tuple[tuple[str | int, ...], tuple[datetime | None, ...]]:
    """Return the ids and the times of rows, as `metadata` does; RowError."""
    if len(rows) > 1 and not any(id_name in row or time_name in row for row in rows):
        text = os.urandom(16 * len(rows)).hex()
        ids = tuple(text[n : n + 32] for n in range(0, len(text), 32))
        return ids, (None,) * len(rows)
    pairs = [metadata(n, row, id_name, time_name) for n, row in enumerate(rows)]
    return tuple(row_id for row_id, _ in pairs), tuple(time for _, time in pairs)


def metadata(
    index: int, row: Mapping[str, Any], id_name: str, time_name: str
) -> tuple[str | int, datetime | None]:
    """Return a row's id (a new one if it has none) and its event time in UTC.

    Where the contract has no time, no row has one. Raises RowError.
    """
    row_id = row.get(id_name)
    if type(row_id) is float and row_id.is_integer():
        row_id = int(row_id)  # as JSON has one kind of number: 7.0 is 7
    time = row.get(time_name) if time_name else None
    if row_id is None:
        row_id = os.urandom(16).hex()
    elif type(row_id) not in (str, int) or not 0 < len(str(row_id)) <= MAX_ID:
        raise RowError(
            Reason.OUT_OF_CONTRACT if type(row_id) is str else Reason.WRONG_TYPE,
            f"row {index}: '{id_name}' must be text of 1 to {MAX_ID} characters.",
        )
    if time is None:
        return row_id, None
    try:
        moment = datetime.fromisoformat(time)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        if not prediction_log.EARLIEST < moment < prediction_log.LATEST:
            raise ValueError("beyond what the log holds")
    except (TypeError, ValueError, OverflowError):
        raise RowError(
            Reason.OUT_OF_CONTRACT,
            f"row {index}: '{time_name}' must be an ISO 8601 time from 1700 to 2200, "
            "e.g. 2013-04-01T12:00:00Z.",
        ) from None
    return row_id, moment


def _array(values: Sequence[Any], column: Column) -> Array:
    """Return the values of one column as an array of shape [rows, 1]."""
    allowed = TYPES[column.type][0] | {type(None)}
    kinds = set(map(type, values))
    if not kinds <= allowed:
        raise _type_error(values, column, allowed)
    if not column.missing and (type(None) in kinds or "" in values):
        index = next(i for i, value in enumerate(values) if value in (None, ""))
        sentence = f"row {index} lacks the column '{column.name}'."
        raise RowError(Reason.MISSING_FIELD, sentence)
    if column.type in ("category", "text"):
        texts = ["" if value is None else value for value in values]
        for index, text in enumerate(texts):
            if len(text) > column.max_text:
                raise RowError(
                    Reason.OUT_OF_CONTRACT,
                    f"row {index}: column '{column.name}' has {len(text)} characters; "
                    f"at most {column.max_text} are allowed.",
                )
        _check_category(texts, column)
        texts = [*map(words, texts)] if column.type == "text" else texts
        return np.array(texts, dtype=object).reshape(-1, 1)
    if column.type == "datetime":
        moments = [seconds(n, text, column.name) for n, text in enumerate(values)]
        return np.array(moments, dtype=np.float64).reshape(-1, 1)
    if column.type == "integer":
        _check_whole(values, column)
    with np.errstate(over="ignore"):
        try:
            numbers = [np.nan if value is None else value for value in values]
            array = np.array(numbers, dtype=np.float64).astype(np.float32)
        except OverflowError:
            array = np.full(len(values), np.inf, dtype=np.float32)
    for index in np.flatnonzero(~np.isfinite(array)).tolist():
        if values[index] is not None:
            raise RowError(
                Reason.NOT_FINITE,
                f"row {index}: column '{column.name}' is not a finite 32-bit number.",
            )
    return array.reshape(-1, 1)


def _check_category(texts: Sequence[str], column: Column) -> None:
    """Refuse a category that the contract does not list, where it says so."""
    if column.allowed is None:
        return
    for index, text in enumerate(texts):
        if text and text not in column.allowed:
            raise RowError(
                Reason.OUT_OF_CONTRACT,
                f"row {index}: column '{column.name}' has the unknown value "
                f"{text[:80]!r}; contract.yaml lists what is allowed "
                "(unknown: refuse).",
            )


def _check_whole(values: Sequence[Any], column: Column) -> None:
    """Refuse a number with a fraction, and one whose last digits would be lost."""
    for index, value in enumerate(values):
        if value is None:
            continue
        if value % 1:
            raise RowError(
                Reason.WRONG_TYPE,
                f"row {index}: column '{column.name}' must be a whole number, not "
                f"{value}.",
            )
        if not -WHOLE <= value <= WHOLE:
            raise RowError(
                Reason.OUT_OF_CONTRACT,
                f"row {index}: column '{column.name}' must be a whole number from "
                f"-{WHOLE} to {WHOLE}.",
            )


def seconds(index: int, text: str | None, name: str) -> float:
    """Return a time as seconds since 1970, UTC where it does not say; NaN for None."""
    if text is None:
        return np.nan
    try:
        if not MOMENT.fullmatch(text):
            raise ValueError("not as a table reads it")
        return (prediction_log.moment(text) - EPOCH) // MICROSECOND / 1_000_000
    except (ValueError, OverflowError):
        raise RowError(
            Reason.OUT_OF_CONTRACT,
            f"row {index}: column '{name}' must be an ISO 8601 time from 1700 to 2200, "
            "e.g. 2013-04-01T12:00:00Z.",
        ) from None


def _type_error(
    values: Sequence[object], column: Column, allowed: frozenset[type]
) -> RowError:
    """Return the error for the first value of a wrong type."""
    index = next(i for i, value in enumerate(values) if type(value) not in allowed)
    expected = TYPES[column.type][1]
    actual = JSON_TYPES.get(type(values[index]), "a list or an object")
    return RowError(
        Reason.WRONG_TYPE,
        f"row {index}: column '{column.name}' must be {expected}, not {actual}.",
    )
