"""The prediction log: one JSON line per answered prediction, written exactly once.

Requests only put lines into a bounded queue; one thread appends them, complete lines
at a time, under a file lock (the old and the new server share a folder while traffic is
switched). A write that fails is undone and tried again: a line is in the file once,
still queued, or counted in `dropped`.
"""

import fcntl
import os
import sys
import threading
import time
from collections import deque
from pathlib import Path

from mlgitops.prediction_log import file_name

MAX_QUEUE = 50_000  # lines kept while the disk is slow or full, some 25 MB
APPEND_LINES = 5_000  # at most in one append
GATHER_SECONDS = 0.02  # lines of so long go into one append
RETRY_SECONDS = 0.5  # pause after a failed append
FLUSH_SECONDS = 10.0  # at stop: how long to go on trying


class PredictionLog:
    """Appends lines to `<folder>/predictions-<day>.jsonl` in the background."""

    def __init__(self, folder: Path | str, max_queue: int = MAX_QUEUE) -> None:
        """Start the writer; the folder is made when the first line is written."""
        self.folder = Path(folder)
        self.max_queue = max_queue
        self.written = 0
        self.dropped = 0
        self._queue: deque[tuple[str, bytes]] = deque()
        self._batch: list[tuple[str, bytes]] = []  # taken, not yet written
        self._wake = threading.Event()
        self._stop_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="prediction-log")
        self._thread.daemon = True
        self._thread.start()

    def put(self, day: str, lines: list[bytes]) -> None:
        """Queue whole lines for a day; count those that find no room."""
        room = max(self.max_queue - self._waiting(), 0)
        self.dropped += max(len(lines) - room, 0)
        self._queue.extend((day, line) for line in lines[:room])
        self._wake.set()

    def state(self) -> dict[str, int]:
        """Return how many lines are written, queued and dropped."""
        return {
            "written": self.written,
            "queued": self._waiting(),
            "dropped": self.dropped,
        }

    def close(self) -> None:
        """Write what is queued, for a bounded time; count and report lost lines."""
        self._stop_at = time.monotonic() + FLUSH_SECONDS
        self._wake.set()
        self._thread.join(FLUSH_SECONDS + 5)
        self.dropped += self._waiting()
        if self.dropped:
            print(f"prediction log: {self.dropped} lines dropped", file=sys.stderr)

    def _waiting(self) -> int:
        return len(self._queue) + len(self._batch)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stop_at is None:
                time.sleep(GATHER_SECONDS)
            while self._queue or self._batch:
                try:
                    self._append_some()
                except OSError as error:
                    if self._stop_at is not None and time.monotonic() > self._stop_at:
                        return
                    print(f"prediction log: {error}; trying again", file=sys.stderr)
                    time.sleep(RETRY_SECONDS)
            if self._stop_at is not None:
                return

    def _append_some(self) -> None:
        """Append the lines of one day of the batch; drop them once written."""
        while self._queue and len(self._batch) < APPEND_LINES:
            self._batch.append(self._queue.popleft())
        day = self._batch[0][0]
        lines = [line for line_day, line in self._batch if line_day == day]
        append(self.folder / file_name(day), b"".join(lines))
        self._batch = [entry for entry in self._batch if entry[0] != day]
        self.written += len(lines)


def append(path: Path, data: bytes) -> None:
    """Append complete lines to a file: all of them, or none and OSError.

    A partial line that a killed writer left at the end is removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = _trim(file)
        try:
            rest, position = memoryview(data), end
            while rest:
                count = os.pwrite(file, rest, position)
                rest, position = rest[count:], position + count
        except OSError:
            os.ftruncate(file, end)
            raise
    finally:
        os.close(file)


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
