"""Rows from an Arrow IPC stream that may be hostile; flatbuffers and numpy only.

Every position and length is checked before it is used, by Python itself, by numpy or
here, so that no byte of a stream reads or takes memory beyond the stream's own size.
What a request needs is read: numbers, true and false, texts, times, dictionaries of
these. Compressed, nested and other columns are refused.

The format: https://arrow.apache.org/docs/format/Columnar.html, with the tables of
Message.fbs and Schema.fbs; a number beside a name is the field's position there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from flatbuffers.table import Table as Flat

from mlgitops.serving.reasons import Reason, RefusedError
from mlgitops.serving.rows import Array
from mlgitops.serving.vectors import MISSING, Table, Vector, missing

METADATA = 1_000_000  # bytes of one message's description
MESSAGES = 1_000  # of a stream: each costs as much as some rows
SCHEMA, DICTIONARY, BATCH = 1, 2, 3  # kinds of messages
NULL, INT, FLOAT, UTF8, BOOL, DATE, TIMESTAMP, LARGE_UTF8 = 1, 2, 3, 5, 6, 8, 10, 20
NAMES = {4: "binary", 7: "decimal", 9: "time of day", 11: "interval", 12: "list"}
NAMES |= {13: "struct", 14: "union", 15: "binary", 16: "list", 17: "map"}
NAMES |= {18: "duration", 19: "binary", 21: "list", 22: "run-end encoded"}
NAMES |= {23: "binary view", 24: "string view", 25: "list view", 26: "list view"}
UNITS = ("s", "ms", "us", "ns")
BROKEN = (struct.error, TypeError, ValueError, IndexError, OverflowError)


class ArrowError(RefusedError):
    """The bytes are not a stream that is read here: one sentence."""


class TooManyError(ArrowError):
    """The body has more rows than are allowed."""


class Field(NamedTuple):
    """A column of the stream."""

    name: str
    type: int
    dtype: str  # of its numbers, or of a text's offsets
    kind: str  # as in vectors.py
    dictionary: int | None = None  # its id
    indices: str = ""  # dtype of positions in the dictionary


def read(data: bytes, allowed: Sequence[str], rows: int, size: int) -> Table:
    """Return the rows of a stream.

    `allowed` are the names that a column may have, `rows` how many there may be, and
    `size` how many characters the texts of dictionaries may have when each row has
    its own.

    Raises:
        ArrowError: the stream is not valid, or has what is not read here.
    """
    try:
        return _Reader(allowed, rows, size).read(memoryview(data))
    except BROKEN as error:
        message = str(error)[:100]
        raise ArrowError(
            Reason.MALFORMED, f"the body is not an Arrow IPC stream: {message}."
        ) from None


class _Reader:
    """Reads the messages of one stream, one after the other."""

    def __init__(self, allowed: Sequence[str], rows: int, size: int) -> None:
        self.allowed, self.max_rows, self.left = allowed, rows, size
        self.fields: list[Field] = []
        self.dictionaries: dict[int, Vector] = {}
        self.parts: list[list[Vector]] = []
        self.rows = 0

    def read(self, data: memoryview) -> Table:
        """Return the rows of a whole stream."""
        for number, (kind, flat, body) in enumerate(_messages(data)):
            if (kind == SCHEMA) != (number == 0):
                raise ValueError("it does not begin with its one schema")
            if kind == SCHEMA:
                self.fields = _fields(flat, self.allowed)
            elif kind == DICTIONARY:
                self._add_dictionary(flat, body)
            elif kind == BATCH:
                self._add_batch(flat, body)
            else:
                raise ValueError(f"it has a message of kind {kind}")
        if not self.rows:
            raise ArrowError(
                Reason.MALFORMED,
                f"the body has 0 rows; 1 to {self.max_rows} are allowed.",
            )
        names = [field.name for field in self.fields]
        columns = zip(*self.parts, strict=True)
        return Table(self.rows, dict(zip(names, map(_together, columns), strict=True)))

    def _add_batch(self, flat: Flat, body: memoryview) -> None:
        """Read the rows of one batch."""
        length = _get(flat, 0, "<q")
        self.rows += length
        if not 0 <= length <= self.rows <= self.max_rows:
            raise TooManyError(
                Reason.TOO_LARGE,
                f"the body has too many rows; 1 to {self.max_rows} are allowed.",
            )
        self.parts.append(self._columns(flat, body, self.fields))

    def _add_dictionary(self, flat: Flat, body: memoryview) -> None:
        """Read the values that positions of a column point to."""
        number = _get(flat, 0, "<q")
        if _get(flat, 2, "B"):
            raise ArrowError(
                Reason.MALFORMED,
                "the stream adds to a dictionary: write each one whole.",
            )
        field = next((f for f in self.fields if f.dictionary == number), None)
        if field is None:
            raise ValueError(f"no column has the dictionary {number}")
        batch, plain = _table(flat, 1), [field._replace(dictionary=None)]
        if _get(batch, 0, "<q") > self.max_rows:
            raise ArrowError(
                Reason.TOO_LARGE,
                f"a dictionary may have at most {self.max_rows} values.",
            )
        (self.dictionaries[number],) = self._columns(batch, body, plain)

    def _columns(
        self, flat: Flat, body: memoryview, fields: Sequence[Field]
    ) -> list[Vector]:
        """Return the values of each column of one batch."""
        if _table_or_none(flat, 3) is not None:
            raise ArrowError(
                Reason.MEDIA_TYPE, "the buffers are compressed: send them uncompressed."
            )
        length, nodes, buffers = _get(flat, 0, "<q"), _pairs(flat, 1), _pairs(flat, 2)
        if not 0 <= length <= self.max_rows:
            raise ValueError("a batch has no such length")
        unread = len(body)

        def take() -> memoryview:
            nonlocal unread
            start, count = next(buffers)
            unread -= count  # else many columns could be the same bytes
            if start < 0 or count < 0 or unread < 0 or start + count > len(body):
                raise ValueError("a buffer is not inside its message")
            return body[start : start + count]

        columns = []
        try:
            for field in fields:
                count, nulls = next(nodes)
                if count != length:
                    raise ValueError(f"column '{field.name}' has another length")
                columns.append(self._column(field, length, nulls, take))
        except StopIteration:
            raise ValueError("a batch lacks a column") from None
        return columns

    def _column(
        self, field: Field, length: int, nulls: int, take: Callable[[], memoryview]
    ) -> Vector:
        """Return the values of one column in one batch."""
        if field.dictionary is not None:
            valid = _valid(take(), length, nulls)
            return self._looked_up(
                field, _numbers(take(), field.indices, length), valid
            )
        if field.type == NULL:
            return missing(length)
        valid = _valid(take(), length, nulls)
        if field.kind == "text":
            offsets = _numbers(take(), field.dtype, length + 1 if length else 0)
            return Vector("text", _texts(field.name, offsets, take(), valid), valid)
        if field.type == BOOL:
            return Vector(field.kind, _bits(take(), length), valid)
        values = _numbers(take(), field.dtype, length)
        if field.kind == "a time":
            values = _microseconds(field, values)
        return Vector(field.kind, values, valid)

    def _looked_up(self, field: Field, indices: Array, valid: Array | None) -> Vector:
        """Return the values of a column's dictionary at positions."""
        if field.dictionary not in self.dictionaries:
            raise ValueError(f"the dictionary of column '{field.name}' is missing")
        dictionary = self.dictionaries[field.dictionary]
        used = indices if valid is None else indices[valid]
        if not len(used):
            return missing(len(indices))
        if not 0 <= used.min() <= used.max() < len(dictionary.values):
            raise ValueError(f"column '{field.name}' points beyond its dictionary")
        if dictionary.kind == "text":
            lengths = np.array([*map(len, dictionary.values)])
            self.left -= int(lengths[used].sum())
            if self.left < 0:
                raise ArrowError(
                    Reason.TOO_LARGE,
                    "the texts are too long together; send fewer rows.",
                )
        safe = indices if valid is None else np.where(valid, indices, used[0])
        present = valid
        if dictionary.valid is not None:
            present = (
                dictionary.valid[safe]
                if valid is None
                else dictionary.valid[safe] & valid
            )
        return Vector(dictionary.kind, dictionary.values[safe], present)


def _messages(data: memoryview) -> Iterator[tuple[int, Flat, memoryview]]:
    """Yield each message's kind, its description, and its body."""
    position = number = 0
    while position < len(data):
        mark, length = struct.unpack_from("<Ii", data, position)
        if mark != 0xFFFFFFFF:
            raise ValueError(f"no message begins at byte {position}")
        if length == 0:
            if position + 8 != len(data):
                raise ValueError("bytes follow its end")
            return
        number += 1
        if number > MESSAGES:
            raise ArrowError(
                Reason.TOO_LARGE,
                f"the stream has more than {MESSAGES} messages: send larger batches.",
            )
        start, end = position + 8, position + 8 + length
        if not 0 < length <= METADATA or end > len(data):
            raise ValueError(f"the message at byte {position} has no end")
        flat = data[start:end]
        message = Flat(flat, struct.unpack_from("<I", flat)[0])
        size = _get(message, 3, "<q")
        if not 0 <= size <= len(data) - end:
            raise ValueError(f"the message at byte {position} is cut off")
        yield _get(message, 1, "B"), _table(message, 2), data[end : end + size]
        position = end + size
    raise ArrowError(
        Reason.MALFORMED,
        "the stream has no end, so rows may be lost: close its writer.",
    )


def _fields(schema: Flat, allowed: Sequence[str]) -> list[Field]:
    """Return the columns; ArrowError for one that is not allowed."""
    if _get(schema, 0, "<h"):
        raise ArrowError(
            Reason.MEDIA_TYPE, "the stream is big-endian: send it little-endian."
        )
    fields: list[Field] = []
    for flat in _tables(schema, 1):
        field = _field(flat)
        if field.name not in allowed:
            raise ArrowError(
                Reason.UNKNOWN_FIELD,
                f"the body has the unknown column {field.name[:80]!r}; "
                f"allowed are {', '.join(allowed)}.",
            )
        if field.name in (other.name for other in fields):
            raise ArrowError(
                Reason.MALFORMED, f"two columns are called '{field.name}'."
            )
        fields.append(field)
    return fields


def _field(flat: Flat) -> Field:
    """Return one column's name and type."""
    name, kind = _text(flat, 0), _get(flat, 2, "B")
    dtype, values = _type(kind, _table(flat, 3), name)
    encoding = _table_or_none(flat, 4)
    if encoding is None:
        return Field(name, kind, dtype, values)
    index = _table_or_none(encoding, 1)
    indices = "<i4" if index is None else _type(INT, index, name)[0]
    return Field(name, kind, dtype, values, _get(encoding, 0, "<q"), indices)


def _type(kind: int, flat: Flat, name: str) -> tuple[str, str]:
    """Return a type as numpy has it, and the kind of its values."""
    if kind == INT and (bits := _get(flat, 0, "<i")) in (8, 16, 32, 64):
        return f"<{'i' if _get(flat, 1, 'B') else 'u'}{bits // 8}", "number"
    if kind == FLOAT:
        return ("<f2", "<f4", "<f8")[_get(flat, 0, "<h")], "number"
    if kind == DATE:
        return ("<M8[D]", "<M8[ms]")[_get(flat, 0, "<h", 1)], "a time"
    if kind == TIMESTAMP:
        return f"<M8[{UNITS[_get(flat, 0, '<h')]}]", "a time"
    plain = {NULL: ("", MISSING), BOOL: ("", "true or false")}
    plain |= {UTF8: ("<i4", "text"), LARGE_UTF8: ("<i8", "text")}
    if kind not in plain:
        raise ArrowError(
            Reason.WRONG_TYPE,
            f"column '{name}' is of the Arrow type {NAMES.get(kind, kind)}; a column "
            "may have numbers, bool, utf8, timestamps, or a dictionary of these.",
        )
    return plain[kind]


def _numbers(data: memoryview, dtype: str, length: int) -> Array:
    """Return so many numbers; ValueError where the buffer has fewer."""
    return np.frombuffer(data, dtype, length) if length else np.empty(0, dtype)


def _bits(data: memoryview, length: int) -> Array:
    """Return so many bits as true and false."""
    packed = _numbers(data, "u1", -(-length // 8))
    return np.unpackbits(packed, count=length, bitorder="little").astype(np.bool_)


def _valid(bits: memoryview, length: int, nulls: int) -> Array | None:
    """Return which values are there, None where all are."""
    if not len(bits):
        if nulls > 0:
            raise ValueError("a column with nulls does not say which")
        return None
    flags = _bits(bits, length)
    if nulls not in (-1, length - int(flags.sum())):
        raise ValueError("a column has another number of nulls than it says")
    return None if flags.all() else flags


def _texts(name: str, offsets: Array, data: memoryview, valid: Array | None) -> Array:
    """Return the texts between offsets as objects."""
    texts = np.empty(max(len(offsets) - 1, 0), dtype=object)
    if not len(texts):
        return texts
    if offsets[0] < 0 or offsets[-1] > len(data) or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"the texts of column '{name}' are not in their buffer")
    ends, content = pairwise(offsets.tolist()), bytes(data)
    if content.isascii():
        characters = content.decode("ascii")
        texts[:] = [characters[start:end] for start, end in ends]
        return texts
    present = [True] * len(texts) if valid is None else valid.tolist()
    try:
        texts[:] = [
            content[start:end].decode() if ok else ""
            for (start, end), ok in zip(ends, present, strict=True)
        ]
    except UnicodeDecodeError:
        raise ArrowError(
            Reason.MALFORMED, f"column '{name}' has a text that is not UTF-8."
        ) from None
    return texts


def _microseconds(field: Field, values: Array) -> Array:
    """Return times as datetime64[us]; one beyond what that holds is no time."""
    unit = np.datetime_data(values.dtype)[0]
    limit = {"D": 10**6, "s": 10**11, "ms": 10**14}.get(unit)
    if limit is not None and (np.abs(values.astype(np.int64)) > limit).any():
        raise ArrowError(
            Reason.OUT_OF_CONTRACT,
            f"column '{field.name}' has a time before 1700 or after 2200.",
        )
    return values.astype("M8[us]")


def _together(parts: Sequence[Vector]) -> Vector:
    """Return the values of all batches of one column."""
    if len(parts) == 1:
        return parts[0]
    typed = next((part for part in parts if part.kind != MISSING), parts[0])
    dtype = typed.values.dtype
    values = [
        p.values if p.kind == typed.kind else np.zeros(len(p.values), dtype)
        for p in parts
    ]
    valid = [
        np.ones(len(p.values), bool) if p.valid is None else p.valid for p in parts
    ]
    return Vector(typed.kind, np.concatenate(values), np.concatenate(valid))


def _position(flat: Flat, slot: int) -> int:
    """Return where a table's field lies; 0 where it has its default."""
    offset = flat.Offset(4 + 2 * slot)
    return int(offset) and int(flat.Pos + offset)


def _get(flat: Flat, slot: int, code: str, default: int = 0) -> int:
    """Return a number."""
    position = _position(flat, slot)
    return (
        int(struct.unpack_from(code, flat.Bytes, position)[0]) if position else default
    )


def _text(flat: Flat, slot: int) -> str:
    """Return a text."""
    position = _position(flat, slot)
    return bytes(flat.String(position)).decode() if position else ""


def _table_or_none(flat: Flat, slot: int) -> Flat | None:
    """Return a table within a table, if it is there."""
    position = _position(flat, slot)
    return Flat(flat.Bytes, flat.Indirect(position)) if position else None


def _table(flat: Flat, slot: int) -> Flat:
    """Return a table within a table."""
    table = _table_or_none(flat, slot)
    if table is None:
        raise ValueError("a message lacks a part")
    return table


def _vector(flat: Flat, slot: int) -> tuple[int, int]:
    """Return where a table's vector begins, and its length."""
    offset = flat.Offset(4 + 2 * slot)
    return (int(flat.Vector(offset)), int(flat.VectorLen(offset))) if offset else (0, 0)


def _tables(flat: Flat, slot: int) -> Iterator[Flat]:
    """Yield the tables of a vector."""
    start, length = _vector(flat, slot)
    for position in range(start, start + 4 * length, 4):
        yield Flat(flat.Bytes, flat.Indirect(position))


def _pairs(flat: Flat, slot: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs of 64-bit numbers of a vector."""
    start, length = _vector(flat, slot)
    for position in range(start, start + 16 * length, 16):
        yield struct.unpack_from("<qq", flat.Bytes, position)
