"""Counts what the prediction log lost, so that the count survives `kill -9`.

Each running log has a small file of its own, mapped into memory: to store a number
costs no call of the system, and what is stored stays when the process is killed. The
file is locked as long as its process lives; the next log in the folder takes over the
numbers of files whose processes are gone. A number stays here until the log's folder
has a line with it (`log.py`).
"""

import contextlib
import fcntl
import mmap
import os
import struct
import time
import uuid
from pathlib import Path

# Responses sent before their lines were written; lost; since when, or 0.
NUMBERS = struct.Struct("<QQd")
PREFIX = "losses-"


class Losses:
    """The numbers of one log; `before` is what earlier ones lost, after `since`."""

    def __init__(self, folder: Path) -> None:
        """Begin to count, and take over what the dead have left; OSError if in vain."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{PREFIX}{uuid.uuid4().hex}"
        hidden = self.path.with_name(f".{self.path.name}")  # until it is locked
        self._file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            os.pwrite(self._file, NUMBERS.pack(0, 0, 0), 0)
            self._memory = mmap.mmap(self._file, NUMBERS.size)
            hidden.rename(self.path)
        except OSError:
            os.close(self._file)
            for path in (hidden, self.path):
                with contextlib.suppress(OSError):
                    path.unlink()
            raise
        self.before, self.since = 0, 0.0
        for path in sorted(folder.glob(f"{PREFIX}*")):
            self._take_over(path)

    def store(self, unwritten: int, lost: int, since: float) -> None:
        """Store how many responses' lines are not written yet, how many lost, when."""
        NUMBERS.pack_into(self._memory, 0, unwritten, lost, since)

    def close(self) -> None:
        """End the count; the file stays where there is something to take over."""
        if not any(NUMBERS.unpack_from(self._memory)[:2]):
            self.path.unlink(missing_ok=True)
        self._memory.close()
        os.close(self._file)

    def _take_over(self, path: Path) -> None:
        """Add the numbers of another log if its process is gone."""
        # taken over, another user's, or not to be read now
        with contextlib.suppress(OSError), path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            numbers = file.read(NUMBERS.size)
            if len(numbers) == NUMBERS.size:
                *counts, since = NUMBERS.unpack(numbers)
                if not 0 < since < time.time():
                    since = time.time()
                self.before += sum(counts)
                if any(counts):
                    self.since = min(self.since or since, since)
                self.store(0, self.before, self.since)
            path.unlink()
