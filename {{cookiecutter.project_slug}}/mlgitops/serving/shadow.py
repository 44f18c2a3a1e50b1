"""Hands the requests that the champion has answered to a challenger beside it.

The challenger runs in a process of its own (`challenger.py`), so that whatever it does,
it cannot touch a response: not by an exception, a crash, a hang, the memory it takes or
the interpreter's lock. A request is handed over after its response was sent. Beyond a
bound of bytes waiting it is skipped and counted.
"""

import contextlib
import mmap
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, NamedTuple

import msgspec

FOLDER = "shadow"  # beside the champion's log, which the monitor reads alone
MAX_QUEUE = 8_000_000  # bytes of bodies that wait for the challenger
DRAIN_SECONDS = 2.0  # at stop: how long it may go on with what waits
SHARE = 0.25  # of one core
SIZE = 4096  # bytes of the shared memory
NUMBERS = struct.Struct("<5Q")  # `NAMES`, then milliseconds of CPU
NAMES = ("rows", "refused", "failed", "unlogged")
LENGTH = struct.Struct("<I")  # before a message, and before the text of `Counts`


class Challenger(NamedTuple):
    """Which version is loaded beside the champion, and what it may cost."""

    model: Path  # folder
    log: Path  # folder of the champion's log
    version: str | None = None
    expected_sha256: str | None = None
    share: float = SHARE
    max_queue: int = MAX_QUEUE
    drain: float = DRAIN_SECONDS
    max_bytes: int = 0  # of its own log; 0: any number

    @property
    def command(self) -> list[str]:
        """Return the command of its process, without the shared memory's number."""
        command = [sys.executable, "-m", "mlgitops.serving.challenger"]
        command += ["--model", str(self.model), "--log", str(self.log / FOLDER)]
        command += ["--share", str(self.share)]
        if self.max_bytes:
            command += ["--max-bytes", str(self.max_bytes)]
        if self.version:
            command += ["--version", self.version]
        if self.expected_sha256:
            command += ["--expect", self.expected_sha256]
        return command


class Counts:
    """What a challenger's process did: memory that outlives it; one process writes."""

    def __init__(self, file: int) -> None:
        """`file` is the number of an open file of `SIZE` bytes."""
        self._memory = mmap.mmap(file, SIZE)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Rows by `NAMES`, then milliseconds of CPU."""
        return NUMBERS.unpack_from(self._memory)

    @numbers.setter
    def numbers(self, numbers: Sequence[int]) -> None:
        NUMBERS.pack_into(self._memory, 0, *numbers)

    def tell(self, **status: object) -> None:
        """Write down its state, as names and values."""
        data = msgspec.json.encode(status)[: SIZE - NUMBERS.size - LENGTH.size]
        start = NUMBERS.size + LENGTH.size
        self._memory[start : start + len(data)] = data
        LENGTH.pack_into(self._memory, NUMBERS.size, len(data))

    def status(self) -> dict[str, Any]:
        """Return its state; nothing while it is being written."""
        (length,) = LENGTH.unpack_from(self._memory, NUMBERS.size)
        start = NUMBERS.size + LENGTH.size
        with contextlib.suppress(msgspec.MsgspecError, UnicodeError):
            return dict(msgspec.json.decode(self._memory[start : start + length]))
        return {}


class Shadow:
    """Feeds a challenger's process and counts; no method raises or waits."""

    def __init__(self, challenger: Challenger) -> None:
        """Start the process; it loads its version while the champion answers."""
        self.challenger = challenger
        self.offered = self._skipped = 0  # rows
        self._accepted = self._sent = 0  # bytes: by the server's thread, by the feeder
        self._stopping = False
        self._queue: SimpleQueue[tuple[Sequence[object], bytes] | None] = SimpleQueue()
        self._counts, self._fault = Counts(-1), ""
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except (OSError, AttributeError) as error:  # no memory; not on Linux
            self._fault = f"it could not be started: {error}."
        self._thread = threading.Thread(target=self._feed, name="shadow", daemon=True)
        self._thread.start()

    def _start(self) -> None:
        """Start the process; it shares its counts with this one."""
        file = os.memfd_create("shadow")
        try:
            os.ftruncate(file, SIZE)
            self._counts = Counts(file)
            command = [*self.challenger.command, "--counts", str(file)]
            stdin, none = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen(
                command, stdin=stdin, stdout=none, pass_fds=(file,)
            )
        finally:
            os.close(file)

    def offer(self, ids: Sequence[object], body: bytes) -> None:
        """Hand over an answered request, or skip it where too much waits."""
        self.offered += len(ids)
        waiting = self._accepted - self._sent
        if self._stopping or waiting + len(body) > self.challenger.max_queue:
            self._skipped += len(ids)
            return
        self._accepted += len(body)
        self._queue.put((ids, body))

    def state(self) -> dict[str, Any]:
        """Return what it is and how many rows it did what with."""
        status = {"manifest_sha256": None, "state": "starting", "reason": ""}
        status |= self._counts.status()
        code = self._process.poll() if self._process else None
        if self._fault:
            status |= {"state": "failed", "reason": self._fault}
        elif code is not None and status["state"] != "failed":
            status |= {"state": "ended", "reason": f"its process ended ({code})."}
        *numbers, milliseconds = self._counts.numbers
        rest = max(0, self.offered - sum(numbers))
        ended = status["state"] in (
            "failed",
            "ended",
        )  # nothing of the rest will follow
        skipped = rest if ended else min(self._skipped, rest)
        return {
            **status,
            "version": self.challenger.version,
            "share": self.challenger.share,
            **dict(zip(NAMES, numbers, strict=True)),
            "skipped": skipped,
            "queued": rest - skipped,
            "cpu_seconds": milliseconds / 1000,
        }

    def close(self) -> None:
        """Let it go on with what waits, for a bounded time; count what is left."""
        self._stopping = True
        self._queue.put(None)
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.terminate()  # it goes on without its pauses
            self._end(self._process)
        self._thread.join(self.challenger.drain)
        if skipped := self.state()["skipped"]:
            total = f"{skipped} of {self.offered} rows were skipped"
            print(f"shadow: {total}", file=sys.stderr)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the process within the bound, then kill it."""
        try:
            process.wait(self.challenger.drain)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _feed(self) -> None:
        """Write request after request into the process's standard input."""
        pipe = self._process.stdin if self._process else None
        while (item := self._queue.get()) is not None:
            ids, body = (
                item  # whole numbers of JSON have any size, those of this have not
            )
            message = msgspec.msgpack.encode(([*map(str, ids)], body))
            if pipe is not None and not _write(
                pipe, LENGTH.pack(len(message)), message
            ):
                pipe = None  # it has ended, and `state` says so
            self._sent += len(body)
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _write(pipe: IO[bytes], *parts: bytes) -> bool:
    """Write to a process, as long as that takes; return whether it took it."""
    try:
        for part in parts:
            pipe.write(part)
        pipe.flush()
    except OSError:
        return False
    return True
