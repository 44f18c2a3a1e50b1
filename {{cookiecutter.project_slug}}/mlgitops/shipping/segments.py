"""What a server has logged, taken from it piece by piece; nothing is read twice.

A segment is a file of the log that the shipper has renamed, under the lock with which
servers append: they go on in a new file, and nobody writes to this one again. Its name
says its day and when it was taken, and is that of the part that it becomes. So a
shipper that is killed begins again with the same segments and the same names. The file
of a run of `make score` has a name of its own, which stays: a run that was killed
writes it again.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from mlgitops.prediction_log import LONGEST, PATTERN, SEGMENT, UNLOGGED, file_name


class Line(NamedTuple):
    """A line of a segment; of one that is too long, the beginning."""

    data: bytes
    size: int


def take(folder: Path) -> list[Path]:
    """Return the segments of a log, oldest first, after making one of each file."""
    for pattern in (PATTERN, UNLOGGED):
        for path in sorted(folder.glob(pattern)):
            if path.is_file():
                _rename(path, pattern)
    return sorted(folder.glob(file_name("*", SEGMENT)))


def lines(segment: Path) -> Iterator[Line]:
    """Yield the lines that are not empty, of a bounded size each."""
    with segment.open("rb") as file:
        while data := file.readline(LONGEST):
            size = len(data)
            while not data.endswith(b"\n") and (rest := file.readline(LONGEST)):
                size += len(rest)
                if rest.endswith(b"\n"):
                    break
            if data.strip():
                yield Line(data, size)


def _rename(path: Path, pattern: str) -> None:
    """Make a file of the log a segment, while nobody appends to it."""
    day = path.name.removeprefix(pattern.split("*")[0]).removesuffix(".jsonl")
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_size:
            name = f"{pattern.split('-')[0]}-{day}"
            if len(day) == len("2026-01-02"):  # of a server, which goes on in a new one
                moment = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
                name += f"-{moment}-{uuid.uuid4().hex[:12]}"
            path.rename(path.with_name(file_name(name, SEGMENT)))
