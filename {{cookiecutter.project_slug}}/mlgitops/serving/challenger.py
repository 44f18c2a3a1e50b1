"""The process of a challenger that answers requests for nobody (`shadow.py`).

It reads bodies of requests from standard input, predicts their rows as a server would,
and appends lines to a log of its own. The lines hold no columns of the row: the
champion's line with the same id has those that may be kept. It lives on its share of
one core, at the lowest priority, and is the first to go where memory is short.
"""

import argparse
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from mlgitops import prediction_log
from mlgitops.prediction_log import Value
from mlgitops.serving import room
from mlgitops.serving.appending import append
from mlgitops.serving.model import Model, ModelError
from mlgitops.serving.rows import RowError, metadata
from mlgitops.serving.shadow import LENGTH, Counts
from mlgitops.serving.verify import VerifyError

DIE = 1  # PR_SET_PDEATHSIG of prctl: a signal when the server ends, however it ends
BURST_SECONDS = 0.5  # of CPU that an idle time may be saved up for
REQUEST_SECONDS = 10  # of CPU for one request; the kernel ends the process beyond
SLICE_SECONDS = 0.05  # of a pause, so that a stop ends it


class Request(msgspec.Struct):
    """The body of a request, as the server has it."""

    rows: list[dict[str, Value]]


class Budget:
    """Pauses after each request, so that the process takes its share of a core."""

    def __init__(self, share: float) -> None:
        """Begin now: what loading the version took does not count."""
        self.share, self.ended = share, False
        self._since, self._used = time.monotonic(), time.process_time()

    def pause(self) -> None:
        """Wait until the share covers what was used; not once the server stops."""
        while not self.ended and (seconds := self._excess() / self.share) > 0.001:
            time.sleep(min(seconds, SLICE_SECONDS))

    def _excess(self) -> float:
        """Return how many seconds of CPU were used beyond the share."""
        clock, used = time.monotonic(), time.process_time()
        excess = (used - self._used) - self.share * (clock - self._since)
        if excess < -BURST_SECONDS:  # idle for long: not all of it is saved up
            self._since, self._used = clock, used + BURST_SECONDS
        return excess

    def end(self, *_: object) -> None:
        """Pause no more."""
        self.ended = True


class Scorer:
    """Predicts, logs and counts."""

    def __init__(
        self,
        model: Model,
        version: str | None,
        log: Path,
        counts: Counts,
        max_bytes: int = 0,
    ):
        """`log` is a folder of its own, with `max_bytes` at most (0: any number)."""
        self.max_bytes = max_bytes
        self.model, self.version, self.log, self.counts = model, version, log, counts
        self.numbers = [0, 0, 0, 0]  # by `shadow.NAMES`
        self._decode = msgspec.json.Decoder(Request).decode
        self._encode = msgspec.json.Encoder().encode

    def score(self, ids: Sequence[object], body: bytes) -> None:
        """Predict the rows of a request; count them as what became of them."""
        outcome, reason = self._outcome(ids, body)
        self.numbers[outcome] += len(ids)
        self.counts.numbers = (*self.numbers, int(time.process_time() * 1000))
        if reason:
            sha256 = self.model.manifest_sha256
            self.counts.tell(manifest_sha256=sha256, state="ready", reason=reason[:500])

    def _outcome(self, ids: Sequence[object], body: bytes) -> tuple[int, str]:
        """Return the index of `shadow.NAMES` for a request, and what was wrong."""
        try:
            lines = self._lines(ids, self._decode(body).rows)
        except RowError as error:
            return 1, f"rows are refused: {error}"
        except Exception as error:  # whatever a version does is counted
            return 2, f"rows failed: {error}"
        day = datetime.now(UTC).date().isoformat()
        try:
            if not self._append(self.log / prediction_log.file_name(day), lines):
                return 3, f"lines are not written: {self.log} has its most bytes"
        except OSError as error:
            return 3, f"lines are not written: {error}"
        return 0, ""

    def _append(self, path: Path, lines: bytes) -> bool:
        """Append lines where there is room; OSError. Each worker has a challenger."""
        if not self.max_bytes:
            append(path, lines)
            return True
        self.log.mkdir(parents=True, exist_ok=True)
        with room.alone(self.log):
            there_is = room.size(self.log) + len(lines) <= self.max_bytes
            if there_is:
                append(path, lines)
            return there_is

    def _lines(self, ids: Sequence[object], rows: list[dict[str, Value]]) -> bytes:
        """Return a line for each row."""
        model, logged_at = self.model, datetime.now(UTC).isoformat()
        names = (model.manifest_sha256, self.version, logged_at)
        lines, before = [], time.process_time()
        predictions = model.predictions(rows, ids)
        cpu_ms = round((time.process_time() - before) * 1000 / max(len(rows), 1), 4)
        for index, (row, prediction) in enumerate(zip(rows, predictions, strict=True)):
            _, moment = metadata(index, row, model.id, model.time)
            line = prediction_log.line(prediction, moment, *names, {})
            lines.append(self._encode({**line, "cpu_ms": cpu_ms}) + b"\n")
        return b"".join(lines)


def messages(file: IO[bytes]) -> Iterator[tuple[list[Any], bytes]]:
    """Yield (ids, body) until the end of a file."""
    decode = msgspec.msgpack.Decoder(tuple[list[str], bytes]).decode
    while len(head := file.read(LENGTH.size)) == LENGTH.size:
        (length,) = LENGTH.unpack(head)
        if len(message := file.read(length)) < length:
            return
        yield decode(message)


def give_way() -> None:
    """Be the last to run, the first to be ended, and never outlive the server."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # until there is something to end
    ctypes.CDLL(None).prctl(DIE, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both
    os.nice(19)
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError as error:
        print(f"shadow: oom_score_adj: {error}", file=sys.stderr)


def limit_cpu() -> None:
    """Let the kernel end this process if one request takes too much."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(time.process_time()) + REQUEST_SECONDS
    if hard == resource.RLIM_INFINITY or soft <= hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def load(folder: Path, expected: str | None) -> Model:
    """Return the verified version; VerifyError or ModelError says what is wrong."""
    model = Model(folder, expected)
    model.check_golden()
    return model


def parse() -> argparse.Namespace:
    """Parse the command line, which `shadow.Challenger` writes."""
    parser = argparse.ArgumentParser("python -m mlgitops.serving.challenger")
    add = parser.add_argument
    add("--model", type=Path, required=True)
    add("--log", type=Path, required=True)
    add("--share", type=float, required=True)
    add("--counts", type=int, required=True)
    add("--max-bytes", type=int, default=0)
    add("--version")
    add("--expect")
    return parser.parse_args()


def main() -> None:
    """Score what comes until the server closes standard input."""
    options, parent = parse(), os.getppid()
    give_way()
    if os.getppid() != parent:
        return
    counts = Counts(options.counts)
    try:
        model = load(options.model, options.expect)
    except (VerifyError, ModelError) as error:
        print(f"shadow: not ready: {error}", file=sys.stderr)
        counts.tell(manifest_sha256=None, state="failed", reason=str(error)[:500])
        return
    scorer = Scorer(model, options.version, options.log, counts, options.max_bytes)
    budget = Budget(options.share)
    signal.signal(signal.SIGTERM, budget.end)
    counts.tell(manifest_sha256=model.manifest_sha256, state="ready", reason="")
    for ids, body in messages(sys.stdin.buffer):
        limit_cpu()
        scorer.score(ids, body)
        budget.pause()


if __name__ == "__main__":
    main()
