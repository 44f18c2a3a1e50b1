"""Predictions as an Arrow IPC stream; flatbuffers and numpy only."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flatbuffers
import numpy as np

from mlgitops.serving.predictions import Prediction
from mlgitops.serving.vectors import outputs

SCHEMA, BATCH = 1, 3  # kinds of messages, as in arrow_reader.py
FLOAT, UTF8, BOOL = 3, 5, 6
PRECISION = {"<f4": 1, "<f8": 2}
VERSION = 4  # of the format: V5
END = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class Output(NamedTuple):
    """One column: its type, which values are there, and its other buffers."""

    name: str
    type: int
    nulls: int
    buffers: list[bytes]
    dtype: str = ""


def stream(predictions: Sequence[Prediction], facts: Mapping[str, str]) -> bytes:
    """Return predictions, at least one, as a stream; `facts` stand in its schema."""
    columns = [_output(*column) for column in outputs(predictions)]
    buffers = [data for output in columns for data in output.buffers]
    body = b"".join(data + b"\0" * (-len(data) % 8) for data in buffers)
    batch = _batch(columns, len(predictions), len(body))
    return _schema(columns, facts) + batch + body + END


def _output(name: str, kind: str, values: list[Any]) -> Output:
    """Return a column's buffers."""
    present = np.array([value is not None for value in values])
    nulls = len(values) - int(present.sum())
    valid = np.packbits(present, bitorder="little").tobytes() if nulls else b""
    if kind == "text":
        texts = [(value or "").encode() for value in values]
        ends = np.cumsum([0, *map(len, texts)]).astype("<i4")
        return Output(name, UTF8, nulls, [valid, ends.tobytes(), b"".join(texts)])
    if kind == "bool":
        bits = np.packbits(np.array(values, dtype=bool), bitorder="little")
        return Output(name, BOOL, nulls, [valid, bits.tobytes()])
    return Output(name, FLOAT, nulls, [valid, np.array(values, kind).tobytes()], kind)


def _schema(columns: Sequence[Output], facts: Mapping[str, str]) -> bytes:
    """Return the message that names the columns."""
    builder = flatbuffers.Builder(256)
    fields = _offsets(builder, [_field(builder, output) for output in columns])
    pairs = []
    for key, value in facts.items():
        texts = builder.CreateString(key), builder.CreateString(value)
        builder.StartObject(2)
        for slot, text in enumerate(texts):
            builder.PrependUOffsetTRelativeSlot(slot, text, 0)
        pairs.append(builder.EndObject())
    metadata = _offsets(builder, pairs)
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(1, fields, 0)
    builder.PrependUOffsetTRelativeSlot(2, metadata, 0)
    return _message(builder, SCHEMA, builder.EndObject(), 0)


def _field(builder: Any, output: Output) -> int:
    """Add a column's name and type."""
    name = builder.CreateString(output.name)
    builder.StartObject(1)
    if output.dtype:
        builder.PrependInt16Slot(0, PRECISION[output.dtype], 0)
    type_ = builder.EndObject()
    children = _offsets(builder, [])
    builder.StartObject(7)
    builder.PrependUOffsetTRelativeSlot(0, name, 0)
    builder.PrependBoolSlot(1, True, False)
    builder.PrependUint8Slot(2, output.type, 0)
    builder.PrependUOffsetTRelativeSlot(3, type_, 0)
    builder.PrependUOffsetTRelativeSlot(5, children, 0)
    return int(builder.EndObject())


def _batch(columns: Sequence[Output], rows: int, size: int) -> bytes:
    """Return the message that says where in the body each column lies."""
    builder, start, regions = flatbuffers.Builder(256), 0, []
    for data in (data for output in columns for data in output.buffers):
        regions.append((start, len(data)))
        start += len(data) + -len(data) % 8
    buffers = _pairs(builder, regions)
    nodes = _pairs(builder, [(rows, output.nulls) for output in columns])
    builder.StartObject(5)
    builder.PrependInt64Slot(0, rows, 0)
    builder.PrependUOffsetTRelativeSlot(1, nodes, 0)
    builder.PrependUOffsetTRelativeSlot(2, buffers, 0)
    return _message(builder, BATCH, builder.EndObject(), size)


def _message(builder: Any, kind: int, header: int, size: int) -> bytes:
    """Return a whole message, without its body of `size` bytes."""
    builder.StartObject(5)
    builder.PrependInt16Slot(0, VERSION, 0)
    builder.PrependUint8Slot(1, kind, 0)
    builder.PrependUOffsetTRelativeSlot(2, header, 0)
    builder.PrependInt64Slot(3, size, 0)
    builder.Finish(builder.EndObject())
    flat = bytes(builder.Output())
    flat += b"\0" * (-len(flat) % 8)
    return struct.pack("<Ii", 0xFFFFFFFF, len(flat)) + flat


def _offsets(builder: Any, offsets: Sequence[int]) -> int:
    """Add a vector of tables."""
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _pairs(builder: Any, pairs: Sequence[tuple[int, int]]) -> int:
    """Add a vector of pairs of 64-bit numbers."""
    builder.StartVector(16, len(pairs), 8)
    for first, second in reversed(pairs):
        builder.Prep(8, 16)
        builder.PrependInt64(second)
        builder.PrependInt64(first)
    return int(builder.EndVector())
