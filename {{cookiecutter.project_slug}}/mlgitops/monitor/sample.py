"""Reads what is too long for memory: counts every line of a log, looks at some.

Lines are counted exactly, at the speed of the disk; what is too long to be one is found
on the way. Which lines are parsed is decided by a seeded draw of offsets in all files
together, each byte of the others as likely as another; the line that begins after an
offset is taken. Memory does not depend on the log.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from mlgitops.prediction_log import LONGEST
from mlgitops.production_data import local_files, shipped_files

if TYPE_CHECKING:
    import pandas as pd

LONG = 256 * 2**20  # bytes from which a log on this machine is drawn from, not parsed
BLOCK = 8 * 2**20  # bytes that are counted at a time
LOOK = 4096  # bytes that are read at an offset; more where lines are longer
MAX_ROWS = 200_000  # rows of a table that are kept; more would show no more
BATCH = 65_536  # of them that are read at a time


class Stretch(NamedTuple):
    """Whole lines of a file, none of them too long, from one byte to another."""

    path: Path
    start: int
    end: int


class Scan(NamedTuple):
    """How many lines there are, how many are too long, and where the others are."""

    lines: int
    too_long: int
    stretches: list[Stretch]


def partitions(source: str, pattern: str) -> list[tuple[Path, int]]:
    """Return the files of a folder on this machine and their sizes; none elsewhere.

    None either where one is compressed, or was shipped: it has no offsets to draw.
    """
    if "://" in source or not Path(source).exists():
        return []
    paths = local_files(source, pattern)
    if any(path.suffix == ".gz" for path in paths) or shipped_files(source, pattern):
        return []
    return [(path, size) for path in paths if (size := path.stat().st_size)]


def scan(files: list[tuple[Path, int]]) -> Scan:
    """Return how many lines there are, exactly, and where those to draw from are."""
    lines, too_long, stretches = 0, 0, list[Stretch]()
    for path, _ in files:
        first, line, skipping, base = 0, 0, False, 0  # offsets in the file
        with path.open("rb", buffering=0) as file:
            while block := file.read(BLOCK):
                lines += block.count(b"\n")
                while True:
                    if skipping:
                        if (end := block.find(b"\n", max(line - base, 0))) < 0:
                            break
                        first = line = base + end + 1
                        skipping = False
                    limit = line + LONGEST - base
                    end = block.rfind(b"\n", max(line - base, 0), max(limit, 0))
                    if end >= 0:
                        line = base + end + 1
                    elif limit > len(block):
                        break
                    else:
                        stretches += [Stretch(path, first, line)] * (line > first)
                        too_long, skipping = too_long + 1, True
                base += len(block)
        if not skipping and base > first:
            stretches.append(Stretch(path, first, base))
    return Scan(lines, too_long, stretches)


def draw(stretches: list[Stretch], seed: int = 0) -> Iterator[str]:
    """Yield lines at random offsets; never the same line twice.

    Ends when a hundred offsets in a row bring nothing new: the log is read.
    """
    ends = list(accumulate(stretch.end - stretch.start for stretch in stretches))
    rng, starts, idle = random.Random(seed), set[tuple[int, int]](), 0  # noqa: S311
    paths = {stretch.path for stretch in stretches}
    opened = {path: path.open("rb", buffering=LOOK) for path in paths}
    try:
        while stretches and idle < 100:
            drawn = rng.randrange(ends[-1])
            index = bisect_right(ends, drawn)
            offset = drawn - (ends[index - 1] if index else 0)
            stretch = stretches[index]
            start, line = _after(opened[stretch.path], stretch, offset)
            idle += 1
            if line and (index, start) not in starts:
                starts.add((index, start))
                idle = 0
                yield line.decode("utf-8", "replace")
    finally:
        for file in opened.values():
            file.close()


def table(path: Path, max_rows: int = MAX_ROWS) -> pd.DataFrame:
    """Return a Parquet file's rows in order, at most ``max_rows``, the same each time.

    A longer file is read in pieces, so that memory does not depend on it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mlgitops.pipeline.row_groups import IN_PIECES

    with pq.ParquetFile(path, **IN_PIECES) as file:
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


def count(path: Path) -> int:
    """Return how many rows a Parquet file has."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def values(path: Path, name: str) -> Iterator[list[object]]:
    """Yield all values of a column of a Parquet file, some at a time."""
    import pyarrow.parquet as pq

    from mlgitops.pipeline.row_groups import IN_PIECES

    with pq.ParquetFile(path, **IN_PIECES) as file:
        for batch in file.iter_batches(BATCH, columns=[name]):
            yield batch.to_pandas()[name].tolist()


def _after(file: BinaryIO, stretch: Stretch, offset: int) -> tuple[int, bytes]:
    """Return the start of the line after an offset in a stretch, and the line.

    After the last line comes the stretch's first, which begins after no other.
    """
    file.seek(stretch.start + offset)
    file.readline()
    start = file.tell()
    if start >= stretch.end:
        file.seek(start := stretch.start)
    return start, file.readline().removesuffix(b"\n")
