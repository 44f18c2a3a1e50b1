"""Shares the room in a log's folder among all servers and workers that write there.

Each has a small file, locked as long as its process lives, with how many bytes it may
still add: its claim. Claims are made one after the other, under one lock, from what the
folder has by then; so all of them together never exceed its bound. A part of the room
stays unclaimed, for one that starts beside the others.
"""

import contextlib
import fcntl
import os
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path

PREFIX = "room-"
LOCK = "room.lock"
CLAIM = struct.Struct("<Q")  # bytes
UNCLAIMED = 16  # one part in so many of the room


class Room:
    """One process's claim to the room in a folder."""

    def __init__(self, folder: Path, most: int, writers: int = 1) -> None:
        """`most` bytes may lie in the folder; so many `writers` are to come, at least.

        Raises:
            OSError: the folder cannot be made or written.
        """
        self.folder, self.most, self.writers = folder, most, writers
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{PREFIX}{uuid.uuid4().hex}"
        with alone(folder):  # nobody takes it for a dead one's before it is locked
            self._file = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640
            )
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
                os.pwrite(self._file, CLAIM.pack(0), 0)  # or the disk is full
            except OSError:
                os.close(self._file)
                self.path.unlink()
                raise

    def share(self, held: int) -> int:
        """Return how many bytes may be added now, and claim them.

        `held` are bytes that may still come of what was claimed before.

        Raises:
            OSError: the folder cannot be read or written.
        """
        with alone(self.folder):
            others = [*self._others()]
            left = max(self.most - size(self.folder), 0)
            writers = max(len(others) + 1, self.writers)
            fair = (left - left // UNCLAIMED) // writers
            available = max(left - sum(others), 0)
            own = fair if fair <= available else available // 2
            os.pwrite(self._file, CLAIM.pack(max(own, held, 0)), 0)
            return own

    def close(self) -> None:
        """Claim nothing more; a look that is under way ends first."""
        with contextlib.suppress(OSError), alone(self.folder):
            self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1  # `share` is refused from now on

    def _others(self) -> Iterator[int]:
        """Yield the claims of other processes that live; forget those of dead ones."""
        for path in self.folder.glob(f"{PREFIX}*"):
            # just deleted, or another user's
            with contextlib.suppress(OSError), path.open("r+b") as file:
                if path == self.path:
                    continue
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    data = file.read(CLAIM.size)
                    yield CLAIM.unpack(data)[0] if len(data) == CLAIM.size else 0
                else:
                    path.unlink()


def size(folder: Path) -> int:
    """Return how many bytes of lines a folder has; OSError."""
    total = 0
    for file in folder.glob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):  # it was shipped just now
            total += file.stat().st_size
    return total


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep others from the room in a folder meanwhile; OSError."""
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
