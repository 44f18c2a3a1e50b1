"""Columns of Arrow as the model gets them, and its outputs as columns again.

Each value passes the server's own check (`serving.rows`), a text once however often it
is there. What a check says of a row is found by halves of the batch (`score.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlgitops.batch.tables import CONVERT, Batch, plain
from mlgitops.serving.model import Model
from mlgitops.serving.predictions import TASKS, Scores
from mlgitops.serving.rows import Array, Column, arrays
from mlgitops.serving.vectors import Vector, checked

Feeds = dict[str, Array]
MICROSECONDS = pa.timestamp("us")


def feeds(model: Model, table: pa.Table) -> Feeds:
    """Return the model's inputs, [rows, 1] each; RowError where a row is refused."""
    found: Feeds = {}
    for name, column in model.columns.items():
        if name in table.column_names:
            found[name] = _feed(table[name], column)
        else:
            found[name] = _listed([None] * table.num_rows, column)
    return {name: found[name] for name in model.inputs}


def values(batch: Batch, column: Column) -> list[Any]:
    """Return the values of a column as a request has them."""
    if column.name not in batch.table.column_names:
        return [None] * batch.rows
    return CONVERT.get(column.type, plain)(batch.table[column.name])


def _feed(values: pa.ChunkedArray, column: Column) -> Array:
    """Return one input; RowError where a value is refused."""
    if column.type in ("category", "text"):
        return _texts(values, column)
    make = VECTORS.get(column.type)
    vector = make(values) if make else None
    if vector is not None:
        return checked(vector, column)
    return _listed(CONVERT.get(column.type, plain)(values), column)


def _listed(values: list[Any], column: Column) -> Array:
    """Return one input, checked value by value."""
    return arrays({column.name: values}, {column.name: column}, [column.name])[
        column.name
    ]


def _texts(values: pa.ChunkedArray, column: Column) -> Array:
    """Return texts, each of which is checked once."""
    listed = CONVERT.get(column.type, plain)
    try:
        if pa.types.is_dictionary(values.type):  # whose codes may have no room
            values = values.cast(values.type.value_type)
        values = pc.dictionary_encode(values, null_encoding="mask")
    except pa.ArrowNotImplementedError:  # nested values, which the check refuses
        return _listed(plain(values), column)
    whole = values.unify_dictionaries().combine_chunks()
    texts, indices = listed(pa.chunked_array([whole.dictionary])), whole.indices
    if indices.null_count:
        indices, texts = indices.fill_null(len(texts)), [*texts, None]
    if not texts:
        return np.empty((0, 1), dtype=object)
    array: Array = _listed(texts, column)[indices.to_numpy(zero_copy_only=False)]
    return array


def _number(values: pa.ChunkedArray) -> Vector | None:
    """Return numbers, or texts of numbers; None where that needs a look at each."""
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        try:
            values = pc.utf8_trim_whitespace(values).cast(pa.float64())
        except pa.ArrowInvalid:
            return None
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return None
    if pa.types.is_floating(values.type):
        numbers = values.to_numpy()  # with NaN for none
        missing = np.isnan(numbers)
        return Vector("number", numbers, ~missing if missing.any() else None)
    if not values.null_count:
        return Vector("number", values.to_numpy())
    return _vector("number", pc.fill_null(values, 0), pc.is_valid(values))


def _boolean(values: pa.ChunkedArray) -> Vector | None:
    """Return true and false; None for what may be another spelling of them."""
    if not pa.types.is_boolean(values.type):
        return None
    return _vector("true or false", pc.fill_null(values, False), pc.is_valid(values))


def _moment(values: pa.ChunkedArray) -> Vector | None:
    """Return times; None for texts."""
    if not (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)):
        return None
    zone = values.type.tz if pa.types.is_timestamp(values.type) else None
    micro = values.cast(pa.timestamp("us", zone), safe=False).cast(MICROSECONDS)
    zero = pa.scalar(0, pa.int64()).cast(MICROSECONDS)
    return _vector("a time", pc.fill_null(micro, zero), pc.is_valid(values))


def _vector(kind: str, values: pa.ChunkedArray, valid: pa.ChunkedArray) -> Vector:
    numbers, there = values.to_numpy(), valid.to_numpy()
    return Vector(kind, numbers, None if there.all() else there)


VECTORS: dict[str, Callable[[pa.ChunkedArray], Vector | None]] = {
    "number": _number,
    "integer": _number,
    "boolean": _boolean,
    "datetime": _moment,
}


def outputs(scores: Scores, model: Model) -> Mapping[str, pa.Array]:
    """Return what the server would answer to each row, a column for each output.

    Those by class have a column for each, an interval has one for each end, and a set
    of classes is their list as JSON.
    """
    manifest = model.manifest
    if "intervals" in manifest and model.task != "regression":
        return _sets(scores, model)
    if model.task == "binary":
        reached = scores >= np.float32(manifest["threshold"])
        return {"probability": pa.array(scores), "decision": pa.array(reached)}
    if model.task == "multiclass":
        classes = list(model.classes or ())
        by_class = {
            f"probabilities.{name}": pa.array(scores[:, n])
            for n, name in enumerate(classes)
        }
        names = pa.array(classes, pa.string())
        return {**by_class, "class": names.take(pa.array(scores.argmax(axis=1)))}
    columns = {"value": pa.array(scores)}
    if "intervals" in manifest:  # as the server computes it, beyond float32
        reach, wide = manifest["intervals"]["quantile"], scores.astype(np.float64)
        columns["interval.low"] = pa.array(wide - reach)
        columns["interval.high"] = pa.array(wide + reach)
    return columns


def _sets(scores: Scores, model: Model) -> dict[str, pa.Array]:
    """Return outputs with sets of classes, row by row."""
    rows = TASKS[model.task].predictions(scores, model.manifest)
    columns: dict[str, pa.Array] = {}
    for name in rows[0] if rows else ():
        values: list[Any] = [row[name] for row in rows]
        if name == "set":
            texts = [json.dumps(value, ensure_ascii=False) for value in values]
            columns[name] = pa.array(texts, pa.string())
        elif name == "probabilities":
            for key in values[0]:
                numbers = [value[key] for value in values]
                columns[f"{name}.{key}"] = pa.array(numbers, pa.float32())
        elif name == "probability":
            columns[name] = pa.array(values, pa.float32())
        else:
            kind = pa.bool_() if name == "decision" else pa.string()
            columns[name] = pa.array(values, kind)
    return columns
