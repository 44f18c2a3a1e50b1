"""Reads what is too long for memory: counts every line of a log, looks at some.

Lines are counted exactly, at the speed of the disk. Which lines are parsed is decided
by a seeded draw of offsets in all files together, each byte as likely as another; the
line that begins after an offset is taken. Memory does not depend on the log.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

LONG = 256 * 2**20  # bytes from which a log on this machine is drawn from, not parsed
BLOCK = 8 * 2**20  # bytes that are counted at a time
LOOK = 4096  # bytes after an offset; more where lines are longer
MOST = 200_000  # rows of a table that are kept; more would show no more
PIECE = 65_536  # of them that are read at a time


def partitions(source: str, pattern: str) -> list[tuple[Path, int]]:
    """Return the files of a folder on this machine and their sizes; none elsewhere."""
    folder = Path(source)
    if "://" in source or not folder.exists():
        return []
    paths = [folder] if folder.is_file() else sorted(folder.glob(pattern))
    return [(path, size) for path in paths if (size := path.stat().st_size)]


def count(files: list[tuple[Path, int]]) -> int:
    """Return how many lines there are, exactly."""
    total = 0
    for path, _ in files:
        with path.open("rb", buffering=0) as file:
            while block := file.read(BLOCK):
                total += block.count(b"\n")
    return total


def draw(files: list[tuple[Path, int]], seed: int = 0) -> Iterator[str]:
    """Yield lines at random offsets; never the same line twice.

    Ends when a hundred offsets in a row bring nothing new: the log is read.
    """
    ends = list(accumulate(size for _, size in files))
    rng, seen, idle = random.Random(seed), set[tuple[int, int]](), 0  # noqa: S311
    opened = [cast(BinaryIO, path.open("rb", buffering=0)) for path, _ in files]
    try:
        while idle < 100:
            drawn = rng.randrange(ends[-1])
            index = bisect_right(ends, drawn)
            offset = drawn - (ends[index - 1] if index else 0)
            start, line = _after(opened[index], offset, files[index][1])
            idle += 1
            if line and (index, start) not in seen:
                seen.add((index, start))
                idle = 0
                yield line.decode("utf-8", "replace")
    finally:
        for file in opened:
            file.close()


def table(path: Path, most: int = MOST) -> pd.DataFrame:
    """Return a Parquet file's rows, at most ``most``: the same every time, in order.

    A longer file is read in pieces, so that memory does not depend on it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        rows = int(file.metadata.num_rows)
        if rows <= most:
            return file.read().to_pandas()
        keep = np.zeros(rows, bool)
        keep[np.random.default_rng(0).choice(rows, most, replace=False)] = True
        parts, start = [], 0
        for piece in file.iter_batches(PIECE):
            chosen = pa.array(keep[start : start + len(piece)])
            parts.append(piece.filter(chosen))
            start += len(piece)
        return pa.Table.from_batches(parts).to_pandas()


def _after(file: BinaryIO, offset: int, size: int) -> tuple[int, bytes]:
    """Return the start of the next line and the line; at the end, the file's first."""
    look = LOOK
    while True:
        block = _read(file, offset, look)
        start = block.find(b"\n") + 1
        if not start and offset + look < size:
            look *= 4
            continue
        if not start or offset + start >= size:
            return _first(file, size)
        end = block.find(b"\n", start)
        if end >= 0 or offset + look >= size:
            return offset + start, block[start : end if end >= 0 else None]
        look *= 4


def _first(file: BinaryIO, size: int) -> tuple[int, bytes]:
    """Return the file's first line: it begins after no other."""
    look = LOOK
    while True:
        block = _read(file, 0, look)
        end = block.find(b"\n")
        if end >= 0 or look >= size:
            return 0, block[: end if end >= 0 else None]
        look *= 4


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    """Return bytes of a file from an offset on."""
    file.seek(offset)
    return bytes(file.read(size))
