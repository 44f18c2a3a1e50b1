"""Counts what the prediction log lost, so that the count survives `kill -9`.

Each running log has a small file of its own, mapped into memory: to store a number
costs no call of the system, and what is stored stays when the process is killed. The
file is locked as long as its process lives; the next log in the folder takes over the
numbers of files whose processes are gone.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import uuid
from pathlib import Path

NUMBERS = struct.Struct("<QQ")  # responses sent before their lines were written; lost
PREFIX = "losses-"


class Losses:
    """The numbers of one log; `before` is what earlier ones in its folder lost."""

    def __init__(self, folder: Path) -> None:
        """Begin to count, and take over what the dead have left; OSError if in vain."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{PREFIX}{uuid.uuid4().hex}"
        hidden = self.path.with_name(f".{self.path.name}")  # until it is locked
        self._file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            os.pwrite(self._file, NUMBERS.pack(0, 0), 0)
            self._memory = mmap.mmap(self._file, NUMBERS.size)
            hidden.rename(self.path)
        except OSError:
            os.close(self._file)
            for path in (hidden, self.path):
                with contextlib.suppress(OSError):
                    path.unlink()
            raise
        self.before = 0
        for path in sorted(folder.glob(f"{PREFIX}*")):
            self._take_over(path)

    def store(self, unwritten: int, lost: int) -> None:
        """Store how many responses' lines are not written yet, and how many lost."""
        NUMBERS.pack_into(self._memory, 0, unwritten, lost)

    def close(self) -> None:
        """End the count; the file stays where there is something to take over."""
        if not any(NUMBERS.unpack_from(self._memory)):
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
                self.before += sum(NUMBERS.unpack(numbers))
                self.store(0, self.before)
            path.unlink()
