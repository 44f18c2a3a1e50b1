"""Writes files anew without some of their lines or rows, whatever their size.

A file is looked through first, and where nothing of it goes, nobody touches it. What
stays is written beside it, and takes its place whole. No more than a batch of it is in
memory.
"""

from __future__ import annotations

import csv
import fcntl
import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlgitops.prediction_log import LONGEST
from mlgitops.shipping.sink import BLOCK, Sink, SinkError

GZIP = b"\x1f\x8b"  # how such a file begins, whatever its name
Write = Callable[[bytes], object]
# Copies what stays from a file, up to a position of it; returns how many lines go.
Copy = Callable[[IO[bytes], Write, int | None], int]
Stays = Callable[[pa.RecordBatch], list[bool]]


class EraseError(Exception):
    """Rows could not be removed: one sentence."""


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Say which file it is that cannot be read."""
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, zlib.error, csv.Error) as error:
        raise EraseError(f"{path} cannot be read: {error}") from error


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Say which file it is that cannot be written; it was read before."""
    try:
        yield
    except (SinkError, OSError, ValueError) as error:
        raise EraseError(f"{path} cannot be written: {error}") from error


def opened(source: str, path: str) -> IO[bytes]:
    """Open a file of a source."""
    if "://" not in source:
        return Path(path).open("rb")
    stream: IO[bytes] = Sink(source).system.open(path, "rb")
    return stream


def unpacked(file: IO[bytes]) -> IO[bytes]:
    """Return the text of a file that may be compressed."""
    if not _is_packed(file):
        return file
    text: Any = gzip.GzipFile(fileobj=file)
    return text  # type: ignore[no-any-return]


def text(source: str, path: str, copy: Copy, grows: bool = False) -> int:
    """Write a file of text anew; return how many lines went.

    One that `grows` is copied while others append to it; they wait for the rest only.

    Raises:
        EraseError: it cannot be read or written, and is as it was.
    """
    grows = grows and "://" not in source
    with reading(path), opened(source, path) as file:
        size = os.fstat(file.fileno()).st_size if grows else 0
        end = size if size and not _is_packed(file) else None
        if not copy(unpacked(file), _drop, end):  # to what is there by now: it grows
            return 0
    with writing(path):
        if "://" in source:
            with opened(source, path) as file, TemporaryFile() as target:
                went = _packed_alike(file, target, copy)
                target.seek(0)
                Sink(source).write(path, target)
            return went
        while (count := _text_here(Path(path), copy, grows)) is None:
            continue
        return count


def rows(source: str, path: str, stays: Stays, columns: list[str], batch: int) -> int:
    """Write a Parquet file anew; return how many rows went.

    `columns` are those by which `stays` tells; so many rows of a `batch` are in memory.

    Raises:
        EraseError: it cannot be read or written, and is as it was.
    """
    with reading(path), opened(source, path) as file:
        if all(all(stays(rows)) for rows in batches(file, batch, columns)):
            return 0
    with writing(path), opened(source, path) as file:
        if "://" not in source:
            with _beside(Path(path)) as target:
                went = _filtered(file, target, stays, batch)
                _replace(target, Path(path))
            return went
        with TemporaryFile() as target:
            went = _filtered(file, target, stays, batch)
            target.seek(0)
            Sink(source).write(path, target)
        return went


def batches(
    file: IO[bytes], size: int, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a Parquet file, however large its row groups are."""
    parquet = pq.ParquetFile(file, buffer_size=BLOCK)
    yield from parquet.iter_batches(size, columns=columns)


def _drop(_: bytes) -> None:
    """Write nothing."""


def _is_packed(file: IO[bytes]) -> bool:
    """Tell whether a file is compressed; it is at its beginning before and after."""
    packed = file.read(len(GZIP)) == GZIP
    file.seek(0)
    return packed


def _packed_alike(file: IO[bytes], target: IO[bytes], copy: Copy) -> int:
    """Copy what stays of a whole file, compressed as it is; return what went."""
    if not _is_packed(file):
        return copy(file, target.write, None)
    with gzip.GzipFile(fileobj=target, mode="wb", filename="", mtime=0) as packed:
        return copy(unpacked(file), packed.write, None)


def _text_here(path: Path, copy: Copy, grows: bool) -> int | None:
    """Write a file of this machine anew; None where another took its place meanwhile.

    A server waits for the lock, and opens the new file then.
    """
    with path.open("rb") as file, _beside(path) as target:
        first = end = 0
        if grows and not _is_packed(file):
            end = _whole_lines(file)
            first = copy(file, target.write, end)
            if file.tell() != end:  # behind the last whole line, as one is too long
                first = end = 0
                target.seek(0)
                target.truncate()
        fcntl.flock(file, fcntl.LOCK_EX)
        if not _is(file, path):
            return None
        file.seek(0, os.SEEK_END)  # what was read ahead may have been cut off since
        file.seek(end)
        if end:
            went = first + copy(file, target.write, None)
        else:
            went = _packed_alike(file, target, copy)
        _replace(target, path)
        return went


def _whole_lines(file: IO[bytes]) -> int:
    """Return where the last whole line of a file ends by now."""
    size = os.fstat(file.fileno()).st_size
    start = max(0, size - LONGEST)
    file.seek(start)
    end = start + file.read(size - start).rfind(b"\n") + 1
    file.seek(0)
    return end


def _filtered(file: IO[bytes], target: IO[bytes], stays: Stays, batch: int) -> int:
    """Copy the rows that stay; return how many went."""
    went = 0
    parquet = pq.ParquetFile(file, buffer_size=BLOCK)
    with pq.ParquetWriter(target, parquet.schema_arrow, compression="zstd") as writer:
        for rows in parquet.iter_batches(batch):
            kept = stays(rows)
            went += kept.count(False)
            if any(kept):
                writer.write_batch(rows.filter(pa.array(kept)))
    return went


@contextmanager
def _beside(path: Path) -> Iterator[IO[bytes]]:
    """Yield a new file beside another; what is not put in its place is deleted.

    Its lock is held meanwhile: two runs that write one file would put a mixture of
    both in place.

    Raises:
        EraseError: another run writes it just now.
    """
    part = _part(path)
    with open(part, "wb", opener=_kept) as target:
        if not _alone(target, part):
            raise EraseError(
                f"another run writes {path} anew just now: type the same command again "
                "when it has ended"
            )
        target.truncate()
        try:
            yield target
        finally:
            if _is(target, part):
                part.unlink()


def _part(path: Path) -> Path:
    """Return where the file is written that takes another's place."""
    return path.with_name(f".{path.name}.part")


def _kept(path: str, flags: int) -> int:
    """Open a file to write it, and leave what it has until its lock is held."""
    return os.open(path, flags & ~os.O_TRUNC, 0o600)


def _alone(file: IO[bytes], path: Path) -> bool:
    """Tell whether the lock of the file of that name is held here now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return _is(file, path)  # else another run has just put it in its place


def _is(file: IO[bytes], path: Path) -> bool:
    """Tell whether an open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _replace(part: IO[bytes], path: Path) -> None:
    """Put the file beside another in its place, with its owner and rights."""
    before = path.stat()
    part.flush()
    os.fsync(part.fileno())
    if os.geteuid() == 0:
        os.fchown(part.fileno(), before.st_uid, before.st_gid)
    os.fchmod(part.fileno(), stat.S_IMODE(before.st_mode))
    _part(path).replace(path)
