"""Ships a log once: each line into one part, however often it is begun again."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlgitops.prediction_log import SEGMENT, UNLOGGED
from mlgitops.shipping import parts, segments
from mlgitops.shipping.sink import Sink, SinkError

LOCK = "shipping.lock"
SHADOW = "shadow"  # the folder of a challenger's log, in that of the champion


class ShipError(Exception):
    """The log could not be shipped: one sentence."""


@dataclass
class Shipped:
    """What one run has brought to its sink."""

    lines: int = 0
    unreadable: int = 0
    counts: int = 0  # of what was not logged
    parts: int = 0
    expired: int = 0

    def __str__(self) -> str:
        """Say it in a line."""
        more = f", {self.unreadable:,} that cannot be read" if self.unreadable else ""
        more += f", {self.counts:,} counts of lost rows" if self.counts else ""
        expired = f"; {self.expired:,} old parts deleted" if self.expired else ""
        return f"shipped {self.lines:,} lines{more} in {self.parts:,} parts{expired}"


def ship(folder: Path, address: str, keep_days: int | None = None) -> Shipped:
    """Bring what is logged in a folder to an address, and delete it in the folder.

    Raises:
        ShipError: something stays in the folder, to be tried again.
    """
    if not folder.is_dir():
        raise ShipError(f"{folder} is not a folder with a prediction log")
    shipped = Shipped()
    _ship(folder, address, keep_days, shipped)
    if (shadow := folder / SHADOW).is_dir():  # a challenger's, which the monitor reads
        _ship(shadow, f"{address.rstrip('/')}/{SHADOW}", keep_days, shipped)
    return shipped


def _ship(folder: Path, address: str, keep_days: int | None, shipped: Shipped) -> None:
    """Bring what is in one folder; count it."""
    with alone(folder):
        try:
            taken = segments.take(folder)
            sink = Sink(address)
            for segment in taken:
                _send(segment, sink, shipped)
            if keep_days is not None:
                shipped.expired += sink.expire(keep_days)
        except (OSError, SinkError) as error:
            left = len(list(folder.glob(SEGMENT)))
            files = "file stays" if left == 1 else "files stay"
            raise ShipError(
                f"{error}; {left} {files} in {folder}: when that is mended, run this "
                "again"
            ) from error


def _send(segment: Path, sink: Sink, shipped: Shipped) -> None:
    """Bring a segment to the sink; delete it when its parts were read back there."""
    named = segment.name.removeprefix(SEGMENT.split("*")[0]).removesuffix(".jsonl")
    kind, _, rest = named.partition("-")
    day = rest[: len("2026-01-02")]
    counted = kind == UNLOGGED.split("-")[0]
    sort = parts.counts if counted else parts.entries
    good, bad = sort(segments.lines(segment))
    for end, part in (("-unreadable", bad), ("", good)):
        if part.file is not None:
            with part.file:
                sink.put(day, f"{named}{end}.parquet", part.file)
            shipped.parts += 1
    segment.unlink()
    shipped.unreadable += bad.rows
    if counted:
        shipped.counts += good.rows
    else:
        shipped.lines += good.rows


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep another shipper of the same folder out; ShipError where one is in."""
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise ShipError(f"another process ships {folder} just now") from None
    try:
        yield
    finally:
        os.close(file)
