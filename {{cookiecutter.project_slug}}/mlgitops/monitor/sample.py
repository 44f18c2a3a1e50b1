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
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

LONG = 256 * 2**20  # bytes from which a log on this machine is drawn from, not parsed
BLOCK = 8 * 2**20  # bytes that are counted at a time
LOOK = 4096  # bytes that are read at an offset; more where lines are longer
MAX_ROWS = 200_000  # rows of a table that are kept; more would show no more
BATCH = 65_536  # of them that are read at a time


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
    rng, starts, idle = random.Random(seed), set[tuple[int, int]](), 0  # noqa: S311
    opened = [path.open("rb", buffering=LOOK) for path, _ in files]
    try:
        while idle < 100:
            drawn = rng.randrange(ends[-1])
            index = bisect_right(ends, drawn)
            offset = drawn - (ends[index - 1] if index else 0)
            start, line = _after(opened[index], offset)
            idle += 1
            if line and (index, start) not in starts:
                starts.add((index, start))
                idle = 0
                yield line.decode("utf-8", "replace")
    finally:
        for file in opened:
            file.close()


def table(path: Path, max_rows: int = MAX_ROWS) -> pd.DataFrame:
    """Return a Parquet file's rows in order, at most ``max_rows``, the same each time.

    A longer file is read in pieces, so that memory does not depend on it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        rows = int(file.metadata.num_rows)
        if rows <= max_rows:
            return file.read().to_pandas()
        keep = np.zeros(rows, bool)
        keep[np.random.default_rng(0).choice(rows, max_rows, replace=False)] = True
        parts, start = [], 0
        for batch in file.iter_batches(BATCH):
            chosen = pa.array(keep[start : start + len(batch)])
            parts.append(batch.filter(chosen))
            start += len(batch)
        return pa.Table.from_batches(parts).to_pandas()


def _after(file: BinaryIO, offset: int) -> tuple[int, bytes]:
    """Return the start of the line after an offset and the line.

    After the last line comes the file's first, which begins after no other.
    """
    file.seek(offset)
    file.readline()
    start = file.tell()
    line = file.readline()
    if not line:
        file.seek(start := 0)
        line = file.readline()
    return start, line.removesuffix(b"\n")
