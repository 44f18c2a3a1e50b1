"""A segment as Parquet: each line as it was logged, beside what is looked for.

The column `line` is the line itself, byte for byte, so that who reads parts reads what
a server wrote. A line that is none (torn by a crash, not UTF-8, too long) goes to a
part of its own, as bytes, with its size.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlgitops.prediction_log import LONGEST, parse, parse_unlogged
from mlgitops.shipping.segments import Line

BATCH = 20_000  # lines in memory, and of a row group
IN_MEMORY = 32_000_000  # bytes of a part; a larger one is put together on the disk
NAMES = ("id", "time", "logged_at", "manifest_sha256", "version")
ENTRIES = pa.schema(
    [
        *((name, pa.string()) for name in NAMES),
        ("line", pa.string()),
        ("size", pa.int32()),  # characters of the line; earlier parts lack it
    ]
)
UNREADABLE = pa.schema([("line", pa.binary()), ("size", pa.int64())])
COUNTS = pa.schema([("line", pa.string())])

Row = tuple[object, ...]  # a value for each column


@dataclass
class Part:
    """A Parquet file that is being written; no file where it has no rows."""

    schema: pa.Schema
    rows: int = 0
    file: IO[bytes] | None = None
    writer: Any = None

    def add(self, rows: list[Row]) -> None:
        """Write a row group."""
        if not rows:
            return
        if self.writer is None:
            self.file = SpooledTemporaryFile(max_size=IN_MEMORY)
            self.writer = pq.ParquetWriter(self.file, self.schema, compression="zstd")
        columns = zip(zip(*rows, strict=True), self.schema.types, strict=True)
        arrays = [pa.array(values, kind) for values, kind in columns]
        self.writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema))
        self.rows += len(rows)

    def close(self) -> None:
        """Write the rest, and go to the file's beginning."""
        if self.writer is not None and self.file is not None:
            self.writer.close()
            self.file.seek(0)


def entries(lines: Iterable[Line]) -> tuple[Part, Part]:
    """Return the entries of the log among lines, and the lines that are none."""
    return _sorted(lines, ENTRIES, _entry)


def counts(lines: Iterable[Line]) -> tuple[Part, Part]:
    """Return the counts of what was not logged, and the lines that are none."""
    return _sorted(lines, COUNTS, _count)


def _sorted(
    lines: Iterable[Line],
    schema: pa.Schema,
    row_of: Callable[[str], Row | None],
) -> tuple[Part, Part]:
    good, bad = Part(schema), Part(UNREADABLE)
    pending: tuple[list[Row], list[Row]] = ([], [])
    for line in lines:
        row = None
        if line.size < LONGEST and line.data.endswith(b"\n"):
            try:
                row = row_of(line.data.decode())
            except UnicodeError:
                row = None
        if row is None:
            pending[1].append((line.data, line.size))
        else:
            pending[0].append(row)
        for part, rows in zip((good, bad), pending, strict=True):
            if len(rows) >= BATCH or (part is bad and len(rows) >= 32):
                part.add(rows)
                rows.clear()
    for part, rows in zip((good, bad), pending, strict=True):
        part.add(rows)
        part.close()
    return good, bad


def _entry(text: str) -> Row | None:
    """Return the row of an entry's line."""
    entry = parse(text)
    if entry is None:
        return None
    time = entry.time and entry.time.isoformat()
    logged_at, sha256 = entry.logged_at, entry.manifest_sha256
    version = None if entry.version is None else str(entry.version)  # a line's own
    return entry.id, time, logged_at, sha256, version, text, len(text)


def _count(text: str) -> Row | None:
    """Return the row of a count's line."""
    return None if parse_unlogged(text) is None else (text,)
