"""Appends whole lines to a file: neither readers nor other writers see half of one.

The file stays open from one append to the next of the same thread: what is left are
two calls for the lock, one to see whether the file is still the one of that name, and
the write.
"""

import fcntl
import os
import threading
from pathlib import Path


class _Open(threading.local):
    """The file to which a thread appended last."""

    path: Path | None = None
    file = -1
    identity = (0, 0)  # device and inode
    end = -1  # where its last line ends, if nobody else wrote

    def open(self, path: Path) -> None:
        """Open a file, and its folder if need be."""
        let_go()
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self.file, self.path = os.open(path, flags, 0o640), path
        status = os.fstat(self.file)
        self.identity = status.st_dev, status.st_ino


OPEN = _Open()


def append(path: Path, data: bytes) -> None:
    """Append complete lines to a file: all of them, or none and OSError.

    A partial line that a killed writer left at the end is removed first.
    """
    try:
        size = _lock(path)
        end = size if size == OPEN.end else _trim(OPEN.file)
        try:
            OPEN.end = _write(data, end)
        except OSError:
            os.ftruncate(OPEN.file, end)
            raise
    except BaseException:
        let_go()
        raise
    fcntl.flock(OPEN.file, fcntl.LOCK_UN)


def let_go() -> None:
    """Close the file that this thread has open, if any."""
    if OPEN.path is not None:
        os.close(OPEN.file)
    OPEN.path, OPEN.file, OPEN.end = None, -1, -1


def _lock(path: Path) -> int:
    """Lock the file of this name, not one that a shipper took away; return its size."""
    while True:
        if OPEN.path != path:
            OPEN.open(path)
        fcntl.flock(OPEN.file, fcntl.LOCK_EX)
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) == OPEN.identity:
                return status.st_size
        except FileNotFoundError:
            pass
        let_go()


def _write(data: bytes, position: int) -> int:
    """Write bytes at a position; return where they end."""
    rest = memoryview(data)
    while rest:
        count = os.pwrite(OPEN.file, rest, position)
        rest, position = rest[count:], position + count
    return position


def _trim(file: int) -> int:
    """Cut off a partial line at the end of a file; return where the file ends then."""
    size = end = os.fstat(file).st_size
    while end and os.pread(file, 1, end - 1) != b"\n":
        start = max(0, end - 4096)
        block = os.pread(file, end - start, start)
        end = start + block.rfind(b"\n") + 1
        if end > start:
            break
    if end != size:
        os.ftruncate(file, end)
    return end
