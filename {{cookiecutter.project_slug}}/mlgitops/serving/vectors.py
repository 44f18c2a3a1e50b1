"""Columns of rows as numpy has them, checked as a request's rows are (`rows.py`).

Numbers are checked all at once. Where that finds something wrong, the column's values
go through `rows.arrays`, which says what: there is one set of rules, and one sentence
for each.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlgitops import prediction_log
from mlgitops.serving.metrics import Counts
from mlgitops.serving.model import Model
from mlgitops.serving.predictions import TASKS, Prediction
from mlgitops.serving.reasons import Reason
from mlgitops.serving.rows import (
    TYPES,
    WHOLE,
    Array,
    Column,
    RowError,
    arrays,
    metadata,
)

ROWS = 1_000  # of one run of the model, and of one write to the log
KINDS = {  # of values, by the type in the contract
    "number": {"number"},
    "integer": {"number"},
    "boolean": {"true or false"},
    "category": {"text"},
    "text": {"text"},
    "datetime": {"a time", "text"},
}
MISSING = "nothing"  # the kind of a column that has no value at all
BLANK = {"number": "f4", "integer": "f4", "boolean": "f4", "datetime": "f8"}
Times = list[datetime | None]


class Vector(NamedTuple):
    """The values of one column, [n], and which of them are there."""

    kind: str  # one of KINDS, or MISSING
    values: Array  # numbers, bools, texts as objects, or datetime64[us]
    valid: Array | None = None  # bool [n]; None where all are

    def part(self, start: int, end: int) -> list[Any]:
        """Return the values of some rows as a JSON body has them."""
        values = self.values[start:end]
        if self.kind == "a time":
            values = np.datetime_as_string(values, "us").astype(object)
        listed: list[Any] = values.tolist()
        if self.valid is None:
            return listed
        valid = self.valid[start:end].tolist()
        return [value if ok else None for value, ok in zip(listed, valid, strict=True)]


class Table(NamedTuple):
    """Rows that came as columns."""

    rows: int
    columns: Mapping[str, Vector]


class Scored(NamedTuple):
    """Rows with their predictions."""

    table: Table
    times: Times
    predictions: list[Prediction]

    def parts(self) -> Iterator[tuple[int, int]]:
        """Yield where each part of at most `ROWS` rows begins and ends."""
        for start in range(0, self.table.rows, ROWS):
            yield start, min(start + ROWS, self.table.rows)

    def rows(self, start: int, end: int, hidden: Set[str]) -> Iterator[Any]:
        """Yield some rows as a log has them, without some columns, to be encoded."""
        names = tuple(name for name in self.table.columns if name not in hidden)
        if not names:
            return repeat({}, end - start)
        parts = [self.table.columns[name].part(start, end) for name in names]
        return map(record(names), *parts)


@lru_cache(maxsize=16)
def record(names: tuple[str, ...]) -> Callable[..., Any]:
    """Return what makes a row with these names: if it can, faster than a dict."""
    fields = [f"value_{n}" for n in range(len(names))]
    renamed = dict(zip(fields, names, strict=True))
    try:
        return msgspec.defstruct("Row", fields, rename=renamed, gc=False)
    except ValueError:  # a name has a quote, say
        return lambda *values: dict(zip(names, values, strict=True))


def missing(rows: int) -> Vector:
    """Return a column without a value."""
    return Vector(MISSING, np.zeros(rows, np.int8), np.zeros(rows, np.bool_))


def allowed(model: Model) -> list[str]:
    """Return the names of the columns that a request may have."""
    return [*(name for name in (model.id, model.time) if name), *model.columns]


def score(model: Model, table: Table) -> Scored:
    """Return the predictions of rows that pass the checks; RowError if one does not."""
    ids, times = _metadata(model, table)
    feeds = {
        name: checked(table.columns.get(name) or missing(table.rows), column)
        for name, column in model.columns.items()
    }
    fields: list[Prediction] = []
    for start in range(0, table.rows, ROWS):
        part = {name: feeds[name][start : start + ROWS] for name in model.inputs}
        try:
            scores = model.predict_arrays(part, min(ROWS, table.rows - start))
        except RowError as error:
            raise RowError(error.reason, _later(str(error), start)) from None
        fields += TASKS[model.task].predictions(scores, model.manifest)
    named = [{"id": i, **field} for i, field in zip(ids, fields, strict=True)]
    return Scored(table, times, named)


def outputs(
    predictions: Sequence[Prediction],
) -> list[tuple[str, str, list[Any]]]:
    """Return each output's name, its type (text, bool or numpy's), and its values.

    These are the columns that `make score` writes: classes and the ends of an interval
    have one each, a set is its list as JSON.
    """
    columns: list[tuple[str, str, list[Any]]] = []
    for name in predictions[0]:
        values: list[Any] = [prediction[name] for prediction in predictions]
        if name == "id":
            columns.append((name, "text", [*map(str, values)]))
        elif name == "interval":  # as the server computes it, beyond float32
            for end, index in (("low", 0), ("high", 1)):
                columns.append((f"{name}.{end}", "<f8", [v[index] for v in values]))
        elif name == "set":
            texts = [json.dumps(value, ensure_ascii=False) for value in values]
            columns.append((name, "text", texts))
        elif isinstance(values[0], dict):
            columns += [
                (f"{name}.{key}", "<f4", [value[key] for value in values])
                for key in values[0]
            ]
        elif name in ("decision", "class"):
            kind = "bool" if name == "decision" else "text"
            columns.append((name, kind, values))
        else:
            columns.append((name, "<f4", values))
    return columns


def unseen(counts: Counts, table: Table) -> tuple[Counter[str], Counter[str]]:
    """Return how many values of each column training never saw, as JSON rows count."""
    unknown, outside = Counter[str](), Counter[str]()
    for name, categories in counts.known.items():
        if (vector := table.columns.get(name)) and vector.kind == "text":
            texts = Counter(vector.part(0, table.rows))
            odd = texts.keys() - categories - {None, ""}
            unknown[name] += sum(texts[text] for text in odd)
    for name, (low, high) in counts.ranges.items():
        if (vector := table.columns.get(name)) and vector.kind == "number":
            far = ~((low <= vector.values) & (vector.values <= high))
            outliers = far if vector.valid is None else far & vector.valid
            outside[name] += int(outliers.sum())
    return unknown, outside


def _later(sentence: str, start: int) -> str:
    """Return a sentence about a row of a part with the row's number among all."""
    return re.sub(r"^row (\d+)", lambda m: f"row {int(m[1]) + start}", sentence)


def _metadata(model: Model, table: Table) -> tuple[list[str | int], Times]:
    """Return each row's id, a new one if it has none, and its time."""
    named = {n: table.columns[n] for n in (model.id, model.time) if n in table.columns}
    if not named:
        text = os.urandom(16 * table.rows).hex()
        return [text[n : n + 32] for n in range(0, len(text), 32)], [None] * table.rows
    for name, vector in named.items():
        kinds = {"text", MISSING, "number" if name == model.id else "a time"}
        is_float = name == model.id and vector.values.dtype.kind == "f"
        if vector.kind not in kinds or is_float:
            needed = "text or a whole number" if name == model.id else "a time or text"
            sentence = f"the column '{name}' must be {needed}."
            raise RowError(Reason.WRONG_TYPE, sentence)
    parts = [vector.part(0, table.rows) for vector in named.values()]
    rows = (
        dict(zip(named, values, strict=True)) for values in zip(*parts, strict=True)
    )
    pairs = [metadata(n, row, model.id, model.time) for n, row in enumerate(rows)]
    return [i for i, _ in pairs], [time for _, time in pairs]


def checked(vector: Vector, column: Column) -> Array:
    """Return a column as the model gets it, [rows, 1]; RowError if it is refused."""
    if vector.kind != MISSING and vector.kind not in KINDS[column.type]:
        expected = TYPES[column.type][1]
        sentence = f"column '{column.name}' must be {expected}, not {vector.kind}."
        raise RowError(Reason.WRONG_TYPE, sentence)
    array = None
    if vector.kind == MISSING and column.missing and column.type in BLANK:
        return np.full((len(vector.values), 1), np.nan, BLANK[column.type])
    if vector.kind in ("number", "true or false"):
        array = _numbers(vector, column)
    elif vector.kind == "a time":
        array = _seconds(vector, column)
    if array is not None:
        return array.reshape(-1, 1)
    values = {column.name: vector.part(0, len(vector.values))}
    return arrays(values, {column.name: column}, [column.name])[column.name]


def _numbers(vector: Vector, column: Column) -> Array | None:
    """Return float32 [n], NaN for missing; None where a value is not allowed."""
    wide = vector.values.astype(np.float64, copy=False)
    present = _present(vector, column)
    if present is None:
        return None
    with np.errstate(over="ignore"):
        array = wide.astype(np.float32)
    if not (np.isfinite(array) | ~present).all():
        return None
    if column.type == "integer":
        numbers = wide[present]
        if (numbers % 1).any() or (np.abs(numbers) > WHOLE).any():
            return None
    array[~present] = np.nan
    return array


def _seconds(vector: Vector, column: Column) -> Array | None:
    """Return float64 seconds since 1970 [n]; None where a value is not allowed."""
    present = _present(vector, column)
    if present is None:
        return None
    first, last = (
        np.datetime64(bound.replace(tzinfo=None), "us")
        for bound in (prediction_log.EARLIEST, prediction_log.LATEST)
    )
    numbers = vector.values[present]
    if not ((first < numbers) & (numbers < last)).all():
        return None
    seconds = vector.values.astype(np.int64) / 1_000_000  # exact below 2**53
    seconds[~present] = np.nan
    return seconds


def _present(vector: Vector, column: Column) -> Array | None:
    """Return which values are there; None where one is missing and may not be."""
    if vector.valid is None:
        return np.ones(len(vector.values), np.bool_)
    return vector.valid if column.missing or vector.valid.all() else None
