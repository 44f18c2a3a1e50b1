"""Predictions for a batch of columns, and the rows that a request would be refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from mlgitops import prediction_log
from mlgitops.batch.tables import Batch, Values
from mlgitops.serving.model import Model
from mlgitops.serving.predictions import TASKS, Prediction, Scores
from mlgitops.serving.rows import RowError, metadata

ROWS = 1_000  # of one run of the model where a text makes a row large
ENCODE = msgspec.json.Encoder().encode


class Refused(NamedTuple):
    """A row without a prediction: its position, and why."""

    row: int
    reason: str


class Scored(NamedTuple):
    """What a batch gives: predictions with ids and times, and the rows refused."""

    predictions: list[Prediction]  # with the row's id first
    times: list[datetime | None]
    kept: list[int]  # positions in the batch
    refused: list[Refused]


class Columns(NamedTuple):
    """How the input names a row's id and time; "" where it has none."""

    id: str
    time: str


def score(model: Model, batch: Batch, named: Columns) -> Scored:
    """Return the predictions of the rows that pass the server's checks."""
    refused, kept, ids, times = [], [], list[str | int](), list[datetime | None]()
    for index in range(batch.rows):
        try:
            row_id, time = _metadata(batch, named, index)
        except RowError as error:
            refused.append(_refused(batch.start + index, error))
            continue
        kept.append(index)
        ids.append(row_id)
        times.append(time)
    inputs = {name: batch.values[name] for name in model.columns}
    outputs: list[tuple[int, list[Prediction]]] = []
    wrong: list[tuple[int, RowError]] = []
    for found in _runs(model, inputs, kept):
        (wrong if isinstance(found[1], RowError) else outputs).append(found)  # type: ignore[arg-type]
    failed = {index for index, _ in wrong}
    refused += [_refused(batch.start + kept[n], error) for n, error in wrong]
    fields = [field for _, part in outputs for field in part]
    good = [n for n in range(len(kept)) if n not in failed]
    named_rows = [{"id": ids[n], **f} for n, f in zip(good, fields, strict=True)]
    return Scored(
        named_rows, [times[n] for n in good], [kept[n] for n in good], sorted(refused)
    )


def lines(
    model: Model, batch: Batch, scored: Scored, version: str | None, named: Columns
) -> Iterator[bytes]:
    """Yield a line of the prediction log for each row, as the server writes it."""
    logged_at = datetime.now(UTC).isoformat()
    hidden = {*named, *model.contract.get("sensitive", [])}
    shown = [name for name in model.columns if name not in hidden]
    for index, time, prediction in zip(
        scored.kept, scored.times, scored.predictions, strict=True
    ):
        row = {name: batch.values[name][index] for name in shown}
        facts = (model.manifest_sha256, version, logged_at)
        yield ENCODE(prediction_log.line(prediction, time, *facts, row)) + b"\n"


def _metadata(
    batch: Batch, named: Columns, index: int
) -> tuple[str | int, datetime | None]:
    """Return a row's id and time; without an id, its number in the input."""
    row = {"id": batch.values[named.id][index] if named.id else None}
    prefix = "row-" if named.id else ""  # beside ids, which may be numbers
    row["id"] = f"{prefix}{batch.start + index}" if row["id"] is None else row["id"]
    row["time"] = batch.values[named.time][index] if named.time else None
    return metadata(0, row, "id", "time")


def _runs(
    model: Model, values: Values, kept: Sequence[int]
) -> Iterator[tuple[int, list[Prediction] | RowError]]:
    """Yield the predictions of runs of rows, or the error of one row, in order."""
    chosen = {name: [column[n] for n in kept] for name, column in values.items()}
    size = ROWS if any(c.type == "text" for c in model.columns.values()) else len(kept)
    for start in range(0, len(kept), max(1, size)):
        yield from _halves(model, chosen, start, min(start + size, len(kept)))


def _halves(
    model: Model, values: Mapping[str, list[Any]], start: int, end: int
) -> Iterator[tuple[int, list[Prediction] | RowError]]:
    """Yield predictions, or where a row is refused, those of each half."""
    part = {name: column[start:end] for name, column in values.items()}
    try:
        scores: Scores = model.predict_columns(part)
    except RowError as error:
        if end - start == 1:
            yield start, error
            return
        middle = (start + end) // 2
        yield from _halves(model, values, start, middle)
        yield from _halves(model, values, middle, end)
        return
    yield start, TASKS[model.task].predictions(scores, model.manifest)


def _refused(row: int, error: RowError) -> Refused:
    """Return a row's refusal without the number that a request gives it."""
    return Refused(row, str(error).removeprefix("row 0").removeprefix(": ").strip())
