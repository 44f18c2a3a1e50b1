"""The prediction log: one JSON line per prediction, in its file before the response.

A request hands over its lines and waits until they are written, so that `kill -9`
loses none. One thread appends them: what has come meanwhile in one write, complete
lines only, under a file lock (the old and the new server share a folder while traffic
is switched). The file is that of the day of writing, whatever time a request names.

Where a write fails or takes longer than `wait`, responses do not wait until the log has
caught up: the lines are kept up to a bound and tried again, beyond it they are dropped.
What a crash loses then is counted (`losses.py`) and stated at the next start. So each
line is in the file once, still queued, or counted as dropped or lost. As soon as the
disk takes it, the count is in a file beside the log, for the monitor (`_record`).
"""

import asyncio
import contextlib
import hashlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from mlgitops.prediction_log import UNLOGGED, Unlogged, file_name
from mlgitops.serving.appending import append, let_go
from mlgitops.serving.losses import Losses
from mlgitops.serving.room import Room

MAX_QUEUE = 32_000_000  # bytes of lines kept while the disk is slow or full
WAIT_SECONDS = 0.5  # that a response waits for its lines
APPEND_BYTES = 4_000_000  # about as much goes into one append
RETRY_SECONDS = 0.5  # pause after a failed append
FLUSH_SECONDS = 10.0  # at stop: how long to go on trying
ID = re.compile(rb'\{"id": ?("(?:[^"\\]|\\.)*")')  # of a line: it is first
ROOM_SECONDS = 1.0  # between two looks at the size of the folder
IDLE_SECONDS = 1.0  # without lines: then the file is closed, as a shipper may delete it
TURN_SECONDS = 0.0002  # of the writer, while responses do not wait for it


class Waiter(Protocol):
    """Who waits for lines to be written: a future, say."""

    def done(self) -> bool:
        """Return whether nobody waits any more."""

    def set_result(self, result: None, /) -> None:
        """Go on: they are written, or it takes too long."""

    def set_exception(self, error: BaseException, /) -> None:
        """Go on with an error."""


class Batch:
    """The lines of requests that came in one turn of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin without lines."""
        self.loop, self.size, self.count = loop, 0, 0
        self.lines: list[bytes] = []  # `count` of them; several may be together
        self.waiters: list[Waiter] = []
        self.late = False  # it was not written in time
        self.early = 0  # lines whose responses did not wait
        self.timer: asyncio.TimerHandle | None = None

    def release(self) -> None:
        """Let the responses go that wait."""
        if self.timer is not None:
            self.timer.cancel()
        release(self.waiters)
        self.waiters.clear()


class PredictionLog:
    """Appends lines to `<folder>/predictions-<day>.jsonl`."""

    def __init__(
        self,
        folder: Path | str,
        wait: float = WAIT_SECONDS,
        max_queue: int = MAX_QUEUE,
        max_bytes: int = 0,
        sample: float = 1.0,
        writers: int = 1,
    ) -> None:
        """Start the writer; `wait` is in seconds, `max_queue` in bytes.

        `max_bytes` of files may lie in the folder (0: any number), whoever writes
        there: so many `writers` at least. Of rows, the share `sample` is logged, by the
        hash of their ids.
        """
        self.folder, self.wait, self.max_queue = Path(folder), wait, max_queue
        self.max_bytes, self.sample = max_bytes, sample
        self.left_out = 0  # rows that are not of the sample
        self.full = False  # lines were dropped as the folder has too many bytes
        self._ceiling = 0.0 if max_bytes else inf  # of `_accepted_bytes`, for that
        self.writers = writers
        self._room: Room | None = None
        self.accepted = self.written = self.dropped = 0
        self.lost = 0  # by earlier servers in this folder
        self._recorded = 0  # of those lost and dropped
        self._since = 0.0  # when responses began to be sent without their lines
        self._accepted_bytes = self._written_bytes = 0
        self._unwritten = 0  # lines whose responses were sent before
        self._behind = False  # responses do not wait
        self._batch: Batch | None = None  # of this turn of the event loop
        self._queue: SimpleQueue[Batch | None] = SimpleQueue()
        self._losses: Losses | None = None
        self._storing = threading.Lock()
        self._stop_at: float | None = None
        self._day, self._file = 0, self.folder
        self._thread = threading.Thread(target=self._run, name="prediction-log")
        self._thread.daemon = True
        self._thread.start()
        if max_bytes:
            if not self._look():  # a disk that is full or away: lines are kept
                self._ceiling = max_bytes
            watch = threading.Thread(target=self._watch, name="prediction-log-room")
            watch.daemon = True
            watch.start()

    async def write(self, lines: list[bytes], count: int = 0) -> None:
        """Return when whole lines are written, or when a response should not wait."""
        waiter = asyncio.get_running_loop().create_future()
        self.put(lines, [waiter], count or len(lines))
        await waiter

    def put(
        self,
        lines: list[bytes],
        waiters: list[Waiter],
        count: int,
        last: bool = False,
    ) -> None:
        """Write whole lines; whoever waits is let go then, or earlier if too slow.

        There are `count` of them; several may be together. Others that come in this
        turn of the event loop are written with them, unless these are the `last`.
        """
        if self.sample < 1:
            each = b"".join(lines).splitlines(keepends=True)
            lines = sampled(each, self.sample)
            self.left_out += count - len(lines)
            count = len(lines)
        size = sum(map(len, lines))
        crowded = self._accepted_bytes + size > self._ceiling
        queued = self._accepted_bytes - self._written_bytes
        if crowded or queued + size > self.max_queue:
            self.full |= crowded
            self._since = self._since or time.time()
            self.dropped += count
            self._store()
            release(waiters)
            return
        self.accepted += count
        self._accepted_bytes += size
        batch = self._batch
        if batch is None:
            loop = asyncio.get_running_loop()
            batch = self._batch = Batch(loop)
            if not last:
                loop.call_soon(self._submit)
        batch.lines += lines
        batch.size += size
        batch.count += count
        if self._behind:
            self._send_early(batch, count)
            release(waiters)
        else:
            batch.waiters += waiters
        if last:
            self._submit()

    def state(self) -> dict[str, int]:
        """Return how many lines are written, queued, dropped, and lost earlier."""
        return {
            "written": self.written,
            "queued": self.accepted - self.written,
            "dropped": self.dropped,
            "lost": self.lost,
        } | ({"left_out": self.left_out} if self.sample < 1 else {})

    def close(self) -> None:
        """Write what is queued, for a bounded time; count and report lost lines."""
        self._stop_at = time.monotonic() + FLUSH_SECONDS
        self._queue.put(None)
        self._thread.join(FLUSH_SECONDS + 5)
        self.dropped += self.accepted - self.written
        self.accepted, self._unwritten = self.written, 0
        self._store()
        if self._losses is not None:
            self._losses.close()
        if self._room is not None:
            self._room.close()
        if self.dropped:
            print(f"prediction log: {self.dropped} lines dropped", file=sys.stderr)

    def _submit(self) -> None:
        """Hand the lines of this turn to the writer."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        batch.timer = batch.loop.call_later(self.wait, self._late, batch)
        self._queue.put(batch)
        if self._behind:  # a loop that never idles can keep the interpreter for itself
            time.sleep(TURN_SECONDS)

    def _late(self, batch: Batch) -> None:
        """Let the responses of a batch go before it is written."""
        self._behind = batch.late = True
        self._send_early(batch, batch.count - batch.early)
        batch.release()

    def _done(self, batches: list[Batch]) -> None:
        """Let the responses of written batches go."""
        for batch in batches:
            batch.release()
            self._unwritten -= batch.early
        if not batches[-1].late or self.accepted == self.written:
            self._behind = False
        if not self._unwritten and not self.unrecorded:
            self._since = 0.0
        self._store()

    def _send_early(self, batch: Batch, count: int) -> None:
        """Count lines whose responses are sent before they are written."""
        self._since = self._since or time.time()
        batch.early += count
        self._unwritten += count
        self._store()

    @property
    def unrecorded(self) -> int:
        """How many lines are lost or dropped, and in no file yet."""
        return self.lost + self.dropped - self._recorded

    def _store(self) -> None:
        """Keep the numbers where a crash leaves them."""
        if self._losses is None:
            return
        with self._storing:  # or an older number would replace a newer one
            self._losses.store(self._unwritten, self.unrecorded, self._since)

    def _count_losses(self) -> None:
        """Begin to count losses; without the folder there is nowhere to do so."""
        try:
            losses = Losses(self.folder)
        except OSError:
            return
        self.lost, self._losses = losses.before, losses
        self._since = losses.since or self._since
        self._store()
        if self.lost:
            print(
                f"prediction log: earlier servers lost {self.lost} lines of responses "
                f"that they sent while {self.folder} could not be written",
                file=sys.stderr,
            )

    def _record(self) -> None:
        """Write down beside the log what it lost; OSError where that cannot be."""
        if not (count := self.unrecorded):
            return
        now = datetime.now(UTC)
        since = datetime.fromtimestamp(self._since, UTC)
        path = self.folder / file_name(now.date().isoformat(), UNLOGGED)
        append(path, f"{Unlogged(count, since, now).line()}\n".encode())
        self._recorded += count
        self._store()

    def _watch(self) -> None:
        """Look whether there is room, until the end; not in the event loop."""
        before = False
        while self._stop_at is None:
            full, self.full = self.full, False
            if full and not before:
                print(
                    f"prediction log: {self.folder} has {self.max_bytes} bytes "
                    "that nobody has shipped; further lines are dropped",
                    file=sys.stderr,
                )
            before = full
            time.sleep(ROOM_SECONDS)
            if self._stop_at is None:
                self._look()

    def _look(self) -> bool:
        """See how much room the folder has, and claim a share of it, if that works.

        What was claimed before is given back one look after the ceiling was lowered: a
        request may just have passed under the higher one.
        """
        try:
            if self._room is None:
                self._room = Room(self.folder, self.max_bytes, self.writers)
            written = self._written_bytes
            held = max(int(self._ceiling), self._accepted_bytes) - written
            self._ceiling = written + self._room.share(held)
        except OSError:  # a disk that is away, say
            return False
        return True

    def _run(self) -> None:
        """Append batches until there are no more, or no time."""
        self._count_losses()
        with contextlib.suppress(OSError):  # with the next batch, then
            self._record()
        last = False
        while not last:
            batches = [self._next()]
            size = batches[0].size if batches[0] else 0
            for _ in range(self._queue.qsize()):  # what came meanwhile, and no more
                if not batches[-1] or size >= APPEND_BYTES:
                    break
                batches.append(self._queue.get())
                size += batches[-1].size if batches[-1] else 0
            last = batches[-1] is None
            if not self._write([batch for batch in batches if batch]):
                break
        else:
            with contextlib.suppress(OSError):  # or at the next start
                self._record()
        let_go()

    def _next(self) -> Batch | None:
        """Wait for a batch; the file stays open while one follows another."""
        try:
            return self._queue.get(timeout=IDLE_SECONDS)
        except Empty:
            let_go()
            return self._queue.get()

    def _write(self, batches: list[Batch]) -> bool:
        """Append the lines of batches, trying again; return whether that was done."""
        data = b"".join(line for batch in batches for line in batch.lines)
        while data and not self._append(data):
            if self._stop_at is not None and time.monotonic() > self._stop_at:
                return False
            for batch in batches:
                _call(batch, self._late, batch)
            time.sleep(RETRY_SECONDS)
        self.written += sum(batch.count for batch in batches)
        self._written_bytes += len(data)
        if batches:
            _call(batches[0], self._done, batches)
        return True

    def _path(self) -> Path:
        """Return today's file."""
        if self._day != (day := int(time.time() // 86_400)):
            today = datetime.fromtimestamp(day * 86_400, UTC).date()
            self._day, self._file = day, self.folder / file_name(today.isoformat())
        return self._file

    def _append(self, data: bytes) -> bool:
        """Append to today's file; return whether that worked, and print why not."""
        if self._losses is None:
            self._count_losses()
        try:
            append(self._path(), data)
        except OSError as error:
            print(f"prediction log: {error}; trying again", file=sys.stderr)
            return False
        with contextlib.suppress(OSError):  # with the next batch, then
            self._record()
        return True


def release(waiters: Iterable[Waiter]) -> None:
    """Let go whoever waits."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


def _call(batch: Batch, function: Callable[..., None], *arguments: object) -> None:
    """Call a function in the event loop, unless that has ended."""
    with contextlib.suppress(RuntimeError):  # it is closed
        batch.loop.call_soon_threadsafe(function, *arguments)


def sampled(lines: list[bytes], share: float) -> list[bytes]:
    """Return the lines of a share of all ids, always the same; each says the share.

    The hash is not the one by which the monitor thins a log.
    """
    kept, limit = [], share * 2**64
    for line in lines:
        name = match[1] if (match := ID.match(line)) else line
        hashed = hashlib.blake2b(name, digest_size=8, person=b"sample").digest()
        if int.from_bytes(hashed, "big") < limit:
            kept.append(line.rstrip()[:-1] + b',"sample":%r}\n' % share)
    return kept
