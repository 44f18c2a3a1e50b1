"""Predictions for a batch of columns, and the rows that a request would be refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice, repeat
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlgitops import prediction_log
from mlgitops.batch import columnar
from mlgitops.batch.tables import Batch
from mlgitops.serving.model import Model
from mlgitops.serving.predictions import TASKS, Scores
from mlgitops.serving.rows import EPOCH, MAX_ID, MICROSECOND, RowError, metadata
from mlgitops.serving.vectors import record

ROWS = 4_000  # of one run of the model: more of them leave the processor's cache
TEXT_ROWS = 1_000  # the same where a text makes a row large
LINES = 500  # of the log that are objects at once
ENCODER = msgspec.json.Encoder()
Times = list[datetime | None]


class Refused(NamedTuple):
    """A row without a prediction: its position, and why."""

    row: int
    reason: str


class Scored(NamedTuple):
    """What a batch gives: the model's outputs with ids and times, and rows refused."""

    ids: pa.ChunkedArray  # texts
    times: Times | None  # None: those of their column
    scores: Scores  # of the rows that are kept
    kept: Sequence[int]  # their positions in the batch
    refused: list[Refused]

    def table(self, model: Model) -> pa.Table:
        """Return the predictions as columns that CSV has, too; the id first."""
        return pa.table({"id": self.ids, **columnar.outputs(self.scores, model)})


class Columns(NamedTuple):
    """How the input names a row's id and time; "" where it has none."""

    id: str
    time: str


def score(model: Model, batch: Batch, named: Columns) -> Scored:
    """Return the predictions of the rows that pass the server's checks."""
    ids, times, kept, refused = _identified(batch, named)
    table = batch.table
    if len(kept) < batch.rows:
        table = table.take(pa.array(kept, pa.int64()))
    outputs, wrong = list[Scores](), dict[int, RowError]()
    for start, found in _runs(model, table, 0, len(kept)):
        if isinstance(found, RowError):
            wrong[start] = found
        else:
            outputs.append(found)
    refused += [_refused(batch.start + kept[n], error) for n, error in wrong.items()]
    empty = np.empty((0, len(model.classes or ())), np.float32)
    scores = np.concatenate(outputs) if outputs else _shaped(empty, model)
    if not wrong:
        return Scored(ids, times, scores, kept, sorted(refused))
    good = [n for n in range(len(kept)) if n not in wrong]
    times = times and [times[n] for n in good]
    ids = ids.take(pa.array(good, pa.int64()))
    return Scored(ids, times, scores, [kept[n] for n in good], sorted(refused))


def _shaped(empty: Scores, model: Model) -> Scores:
    """Return no outputs, in the shape that the model's have."""
    return empty if model.classes is not None else empty.reshape(0)


def lines(
    model: Model,
    batch: Batch,
    scored: Scored,
    version: str | None,
    named: Columns,
    logged_at: str,
) -> bytes:
    """Return a line of the prediction log for each row, as the server writes it.

    `logged_at` is an ISO 8601 time.
    """
    if not len(scored.kept):
        return b""
    predictions = TASKS[model.task].predictions(scored.scores, model.manifest)
    facts = (model.manifest_sha256, version, logged_at)
    line = prediction_log.line({"id": "", **predictions[0]}, None, *facts, {})
    times = _times(batch, scored, named.time)
    columns: dict[str, Any] = {
        name: [fields[name] for fields in predictions]
        for name in line.keys() & predictions[0].keys()
    }
    columns["id"] = _log_ids(batch, scored, named.id, logged_at)
    columns["time"] = [time and time.isoformat() for time in times]
    columns["row"] = _rows(model, batch, scored, {*named})
    values = [columns.get(name, repeat(value)) for name, value in line.items()]
    objects = map(record(tuple(line)), *values)
    parts = iter(lambda: ENCODER.encode_lines(list(islice(objects, LINES))), b"")
    return b"".join(parts)


def _log_ids(batch: Batch, scored: Scored, name: str, logged_at: str) -> list[str]:
    """Return the ids of the rows with a prediction; one of a row without is its own.

    Its number alone would be that of a row of the next file, and one of them a
    repetition for all who read the log.
    """
    ids: list[str] = scored.ids.to_pylist()
    if scored.times is None:  # all have one
        return ids
    own = batch.ids(name)
    return [
        known if own[index] is not None else f"{known}@{logged_at}"
        for known, index in zip(ids, scored.kept, strict=True)
    ]


def _rows(
    model: Model, batch: Batch, scored: Scored, names: set[str]
) -> Iterator[Mapping[str, Any]]:
    """Yield the values of each row with a prediction that a log may have."""
    hidden = {*names, *model.contract.get("sensitive", [])}
    shown = tuple(name for name in model.columns if name not in hidden)
    if not shown:
        return repeat({}, len(scored.kept))
    columns = [columnar.values(batch, model.columns[name]) for name in shown]
    if len(scored.kept) < batch.rows:
        columns = [[values[n] for n in scored.kept] for values in columns]
    return map(record(shown), *columns)


def _times(batch: Batch, scored: Scored, name: str) -> Times:
    """Return the times of the rows with a prediction."""
    if scored.times is not None:
        return scored.times
    if name not in batch.table.column_names:
        return [None] * len(scored.kept)
    listed: Times = _utc(batch.table[name]).to_pylist()
    whole = len(scored.kept) == batch.rows
    return listed if whole else [listed[index] for index in scored.kept]


def _identified(
    batch: Batch, named: Columns
) -> tuple[pa.ChunkedArray, Times | None, Sequence[int], list[Refused]]:
    """Return ids, times and positions of the rows whose id and time are allowed.

    Where a look at whole columns says that all are, the times are left in theirs.
    """
    ids, times, kept, refused = list[str](), Times(), list[int](), list[Refused]()
    if batch.rows and _ids_are_sound(batch, named.id) and _times_are(batch, named.time):
        return batch.texts(named.id), None, range(batch.rows), refused
    row_ids = batch.ids(named.id) if named.id else [None] * batch.rows
    moments = batch.times(named.time) if named.time else [None] * batch.rows
    prefix = "row-" if named.id else ""  # beside ids, which may be numbers
    for index, (own, moment) in enumerate(zip(row_ids, moments, strict=True)):
        row_id = f"{prefix}{batch.start + index}" if own is None else own
        row: dict[str, Any] = {"id": row_id, "time": moment}
        try:
            known, time = metadata(0, row, "id", "time")
        except RowError as error:
            refused.append(_refused(batch.start + index, error))
            continue
        kept.append(index)
        ids.append(str(known))
        times.append(time)
    return pa.chunked_array([ids], pa.string()), times, kept, refused


def _ids_are_sound(batch: Batch, name: str) -> bool:
    """Tell whether all values of a column are texts or numbers that may be an id."""
    if name not in batch.table.column_names or batch.table[name].null_count:
        return False
    column = batch.table[name]
    if pa.types.is_integer(column.type):
        return True
    if not pa.types.is_string(column.type):
        return False
    ends = pc.min_max(pc.utf8_length(column)).as_py()
    return bool(0 < ends["min"] <= ends["max"] <= MAX_ID)


def _times_are(batch: Batch, name: str) -> bool:
    """Tell whether each time, if there are any, is one that the log can hold."""
    if name not in batch.table.column_names:
        return True
    if not pa.types.is_timestamp(batch.table[name].type):
        return False
    ends = pc.min_max(_utc(batch.table[name]).cast(pa.int64())).as_py()
    first, last = ends["min"], ends["max"]
    earliest, latest = (
        (bound - EPOCH) // MICROSECOND
        for bound in (prediction_log.EARLIEST, prediction_log.LATEST)
    )
    return first is None or bool(earliest < first <= last < latest)


def _utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return times in UTC, with microseconds, as Python has them."""
    if column.type.tz is None:
        column = column.cast(pa.timestamp("us"), safe=False)
    return column.cast(pa.timestamp("us", "UTC"), safe=False)


def _runs(
    model: Model, table: pa.Table, start: int, end: int
) -> Iterator[tuple[int, Scores | RowError]]:
    """Yield the outputs of runs of rows, or the error of one row, in order.

    Where a row is refused, each half is tried.
    """
    if start == end:
        return
    try:
        scores = _scores(model, columnar.feeds(model, table.slice(start, end - start)))
    except RowError as error:
        if end - start == 1:
            yield start, error
            return
        middle = (start + end) // 2
        yield from _runs(model, table, start, middle)
        yield from _runs(model, table, middle, end)
        return
    yield start, scores


def _scores(model: Model, feeds: columnar.Feeds) -> Scores:
    """Return the model's outputs for checked rows, some rows at a time."""
    texts = any(model.columns[name].type == "text" for name in feeds)
    size, count = TEXT_ROWS if texts else ROWS, len(next(iter(feeds.values())))

    def run(start: int) -> Scores:
        part = {name: array[start : start + size] for name, array in feeds.items()}
        return model.predict_arrays(part, min(size, count - start))

    with ThreadPoolExecutor(_cores()) as pool:  # a run of the model has one thread
        return np.concatenate(list(pool.map(run, range(0, count, size))))


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _refused(row: int, error: RowError) -> Refused:
    """Return a row's refusal without the number that a request gives it."""
    return Refused(row, str(error).removeprefix("row 0").removeprefix(": ").strip())
