"""Answers the judge's requests with the server's own code, in a process with limits.

    python -m mlgitops.judge.serve FOLDER SAMPLE RESULT NOTE SLOW_MS TOLERANCE

FOLDER holds the version, SAMPLE (.json) rows as a client sends them. Each of them, and
each row at the edges of the contract (`mlgitops.judge.edges`), is predicted alone, then
in batches of several sizes, shuffled and repeated: it has to get the same prediction.
RESULT (.json) is what the judge reads (`mlgitops.judge.evaluation` `Served`); NOTE says
what is being asked, should this process not survive it.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from mlgitops.judge import edges, operators
from mlgitops.judge.edges import Case, Row
from mlgitops.judge.sandbox import allow_growth, confine, leave
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.serving.model import Model, ModelError
from mlgitops.serving.predictions import Scores
from mlgitops.serving.rows import RowError
from mlgitops.serving.verify import VerifyError

MEMORY = 1_000_000_000  # bytes that the answer to one request may take
SECONDS = 30.0  # that the answer to one request may take
BUDGET = 10.0  # seconds of rows alone, and of batches; a fast model needs one
FEWEST = 250  # rows that are asked alone whatever that takes, unless too many are slow
AGAIN = 3  # times that a slow row is asked again: a busy machine is not the model's
SLOW = 5  # slow rows that are enough
LARGEST = 1_000  # rows of a request, as the server allows
BATCHES = {1: 50, 2: 30, 3: 30, 7: 20, 16: 10, 100: 4}  # rows of one: how many of these
Array = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
BLANK = b" " * 200


class Problem(Exception):
    """Why the version cannot serve: the check that failed and one sentence."""

    def __init__(self, check: str, reason: object) -> None:
        """`reason` may be the error that says it."""
        super().__init__(str(reason).rstrip("."))
        self.check = check


@dataclass
class Server:
    """A loaded version, asked with a limit of time and a note of what is asked."""

    model: Model
    note: int  # a file's descriptor
    tolerance: float
    cases: list[Case] = field(default_factory=list)
    alone: list[Scores] = field(default_factory=list)  # of the cases, in their order
    slow: list[tuple[float, str]] = field(default_factory=list)  # ms, and the row

    @contextmanager
    def asked(self, name: str) -> Iterator[None]:
        """Note what is asked, and end this process if the answer takes too long."""
        os.pwrite(self.note, name.encode(errors="replace")[:200].ljust(200), 0)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.pwrite(self.note, BLANK, 0)

    def ask(self, rows: Sequence[Row], name: str) -> Scores:
        """Return the predictions of a request.

        Raises:
            Problem: the server would answer with an error.
        """
        with self.asked(name):
            try:
                return self.model.predict(rows)
            except (RowError, ModelError) as error:
                reason = str(error).removeprefix("row 0: ")
                raise Problem("predictions", f"{name}: {reason}") from error

    def ask_alone(self, slow_ms: float) -> None:
        """Ask row by row; keep the predictions, and which rows are slow each time."""
        until = time.perf_counter() + BUDGET
        for case in self.cases:
            enough = len(self.alone) >= FEWEST or len(self.slow) >= SLOW
            if enough and time.perf_counter() > until:
                break
            times: list[float] = []
            tries = 1 + AGAIN * (len(self.slow) < SLOW)
            while len(times) < tries and min(times, default=np.inf) > slow_ms:
                start = time.perf_counter()
                prediction = self.ask([dict(case.row)], case.name)
                times.append((time.perf_counter() - start) * 1000)
            self.alone.append(prediction)
            if len(times) == tries > 1 and min(times) > slow_ms:
                self.slow.append((min(times), case.name))

    def ask_batches(self, sample: int) -> float:
        """Ask in batches; return the largest difference to the predictions alone.

        Raises:
            Problem: the difference is too large.
        """
        random, count = np.random.default_rng(1), len(self.alone)
        orders = (np.arange(count), random.permutation(count))
        batches = [o[n : n + LARGEST] for o in orders for n in range(0, count, LARGEST)]
        batches += [np.repeat(random.integers(count), 50) for _ in range(5)]
        batches += [np.repeat(random.permutation(count)[:50], 2)]
        for size, times in BATCHES.items():
            order = np.resize(random.permutation(count), size * times)
            batches += [*order.reshape(times, size)]
            # Rows of the holdout only, as most requests are.
            batches += [random.permutation(min(sample, count))[:size] for _ in range(2)]
        until, worst = time.perf_counter() + BUDGET, 0.0
        for batch in batches:
            if time.perf_counter() < until:
                worst = max(worst, self._difference(batch))
        return worst

    def _difference(self, batch: Array) -> float:
        """Return the largest difference of a batch's predictions to those alone."""
        size = f"a batch of {len(batch)}" if len(batch) > 1 else "the same once more"
        name = f"{size} with {self.cases[batch[0]].name}"
        predictions = self.ask([dict(self.cases[index].row) for index in batch], name)
        expected = np.concatenate([self.alone[index] for index in batch])
        gaps = np.abs(predictions.astype(np.float64) - expected) / self._scale
        worst = gaps.reshape(len(batch), -1).max(axis=1)
        if not worst.max() <= self.tolerance:
            case, gap = self.cases[batch[int(worst.argmax())]], worst.max()
            raise Problem(
                "serving",
                f"{case.name} gets one prediction alone, and another, {gap:.3g} off, "
                f"in {size} (limit {self.tolerance:g}): the model must not depend on "
                "other rows, their number, their order or chance",
            )
        return float(worst.max())

    @cached_property
    def _scale(self) -> float:
        """The unit of a difference: 1 for probabilities, else the largest value."""
        if self.model.output != "value":
            return 1.0
        return max(float(np.abs(p).max()) for p in self.alone) or 1.0


def serve(
    folder: Path, sample: Path, note: int, slow_ms: float, tolerance: float
) -> dict[str, object]:
    """Return what the judge reads: predictions of the sample, and what was slow.

    Raises:
        Problem: the version cannot serve.
    """
    try:
        file = operators.read((folder / "model.onnx").read_bytes())
        operators.check(file)
    except ValueError as error:
        raise Problem("model_file", error) from error
    try:
        server = Server(Model(folder), note, tolerance)
        allow_growth(MEMORY)
        with server.asked("its golden rows"):
            server.model.check_golden()
        contract = Contract.parse(server.model.contract)
    except (VerifyError, ModelError, ContractError) as error:
        reason = f"a server of this version would never get ready: {error}"
        raise Problem("serving", reason) from error
    rows = [edges.complete(r, contract) for r in json.loads(sample.read_bytes())]
    cases = [
        Case(f"row {n} of the holdout's sample", row) for n, row in enumerate(rows)
    ]
    constants = operators.constants(file)
    cases += edges.cases(contract, server.model.inputs, rows, constants)
    server.cases = cases
    server.ask_alone(slow_ms)
    difference = server.ask_batches(len(rows))
    return {
        "predictions": np.concatenate(server.alone[: len(rows)]).tolist(),
        "difference": difference,
        "asked": len(server.alone),
        "slowest": max(server.slow, default=(0.0, "")),
    }


def main() -> None:
    """Confine this process, then serve; whatever is wrong is written as the result."""
    confine()
    folder, sample, result, note, slow_ms, tolerance = sys.argv[1:7]
    descriptor = os.open(note, os.O_CREAT | os.O_WRONLY)
    limits = (float(slow_ms), float(tolerance))
    try:
        found = serve(Path(folder), Path(sample), descriptor, *limits)
    except Problem as problem:
        found = {"check": problem.check, "reason": str(problem)[:500]}
    except Exception as error:  # the runtime's errors have no common class
        lines = str(error).strip().splitlines() or [type(error).__name__]
        found = {"check": "serving", "reason": lines[0][:300]}
    Path(result).write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    main()
