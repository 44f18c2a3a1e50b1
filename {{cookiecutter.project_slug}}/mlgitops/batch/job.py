"""One run of batch scoring: an input, a version, an output."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Generator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from mlgitops.batch.addresses import (
    AddressError,
    named,
    place,
    remote,
    remove,
    send,
)
from mlgitops.batch.part import PACKAGES, Part, Slice, Version, score_part
from mlgitops.batch.parts import OutputError, Parts
from mlgitops.batch.score import Columns, Refused, Scored
from mlgitops.batch.tables import Input, InputError
from mlgitops.cluster.backend import ClusterError, opened
from mlgitops.prediction_log import PATTERN, file_name
from mlgitops.serving.model import Model, ModelError
from mlgitops.serving.verify import VerifyError

ROWS = 50_000  # of a part: a killed run does at most these again
AHEAD = 2  # parts that a cluster has for each of its threads: one waits
EVERY = 0.5  # seconds between two states of the progress
OUTS = (".parquet", ".csv")
SCRATCH = Path("build", "score")  # for what goes to an address
INSIDE = "OUT={} is inside IN={}, and would be read next time: name another folder"


class ScoreError(Exception):
    """The rows cannot be scored: one sentence."""


class Job:
    """One input, one version, one output."""

    def __init__(
        self,
        source: Path | str,
        out: Path | str,
        folder: Path,
        log: Path | str | None = None,
        bad: str = "keep",
        version: str | None = None,
        backend: str = "local",
    ) -> None:
        """Load the version and find the rows; `backend` says where they are scored.

        Raises:
            ScoreError, InputError, AddressError: with what to type next.
            VerifyError, ModelError: the version is not as it was judged.
        """
        self.source, self.address, self.log_address = str(source), str(out), ""
        self.out = _here(self.source, self.address)
        self.log = None if log is None else Path(log)
        if log is not None and remote(str(log)):
            self.log_address, self.log = str(log), _scratch(str(log)) / "log"
        self.bad, self.version, self.scored = bad, version, 0
        self.backend, self.folder = backend, folder
        self.model = Model(folder)
        self.model.check_golden()
        self.input = Input(self.source)
        self.named = _named(self.model, self.input.names)
        if log is not None and not self.named.id:
            raise ScoreError(
                f"the log needs a column with an id of each row, such as "
                f"{self.model.id}, by which labels find it: add one, or leave LOG= out"
            )
        self.state = {
            "input": self.input.mark,
            "manifest_sha256": self.model.manifest_sha256,
            "rows": ROWS,
            "logged": self.log is not None and [_log_name(log), version],
        }

    def run(self) -> str:
        """Score the rows that no earlier run did; return what was done.

        Raises:
            ScoreError, InputError, OutputError, ClusterError: with what to type next.
        """
        print(_said(self.model, self.input.names, self.named), file=sys.stderr)
        parts = Parts(self.out, self.state, self.log)
        if self.bad == "stop" and (earlier := parts.first_refused()):
            raise self._stopped(earlier, parts)
        progress = Progress(parts.done * ROWS, self.input.about())
        with closing(self._scored(parts.done * ROWS)) as found:  # and its cluster
            for scored, logged, end in found:
                if scored.refused and self.bad == "stop":
                    raise self._stopped(scored.refused[0], parts)
                parts.add(scored.table(self.model), scored.refused, logged)
                progress.show(end)
        digest = hashlib.sha256(json.dumps(self.state).encode()).hexdigest()
        first = parts.first_refused()
        self.scored = parts.total.scored
        total, refused = parts.total, parts.finish(digest[:12], self._columns())
        manifest = self.model.manifest_sha256[:12]
        sentence = f"{self.address}: {total.scored:,} predictions of version {manifest}"
        if not total.scored and not total.refused:
            sentence += f", as {self.source} has no rows: only its columns"
        if repeated := parts.repeated_ids:
            have = "has" if repeated == 1 else "have"
            sentence += f"; {repeated:,} {have} the id of another row"
        where, repeated_there = self._sent(refused)
        if parts.repeated or repeated_there:
            sentence += "; the log had these rows already, and has them once"
        if refused:
            without = "row has" if total.refused == 1 else "rows have"
            sentence += f"; {total.refused:,} {without} none, see {where}"
        if total.refused and not total.scored:
            row, reason = first or Refused(0, "")
            raise ScoreError(f"{sentence}; the first is row {row}: {reason}")
        return sentence

    def _scored(self, start: int) -> Generator[Part, None, None]:
        """Yield the predictions of the rows from `start` on, a part at a time."""
        columns = dict.fromkeys([*self.model.columns, *filter(None, self.named)])
        logged = self.log is not None
        facts = (self.model, self.folder, self.named, logged, self.version)
        with opened(self.backend, PACKAGES) as backend:
            parts = backend.over(score_part, Version(*facts), AHEAD)
            yield from parts(
                Slice(batch, datetime.now(UTC).isoformat())
                for batch in self.input.batches(columns, ROWS, start)
            )

    def _sent(self, refused: Path | None) -> tuple[str, bool]:
        """Send what was written here to its address.

        Returns where refused rows are, and whether the log there had these rows.

        The log goes first, and what was written here goes last, so that a run that is
        stopped meanwhile does the same again.

        Raises:
            AddressError: a file did not arrive.
        """
        repeated = False
        if self.log is not None and self.log_address:
            for path in sorted(self.log.glob(PATTERN)):
                folder = self.log_address.rstrip("/")
                again = file_name(f"*-{path.stem.rpartition('-')[2]}")
                earlier = named(folder, again)
                repeated |= earlier is not None
                send(path, f"{folder}/{earlier or path.name}")
                path.unlink()
        if not remote(self.address):
            return str(refused), repeated
        where = f"{self.address}.refused.jsonl"
        if refused is not None:
            send(refused, where)
        else:  # those of an earlier run are not refused rows of these predictions
            remove(where)
        send(self.out, self.address)
        shutil.rmtree(self.out.parent)
        return where, repeated

    def _columns(self) -> pa.Schema:
        """Return the columns of predictions, by that of a golden row."""
        row = self.model.manifest["golden"][0]["row"]
        scores = self.model.predict([row])
        return (
            Scored(pa.chunked_array([[""]]), [None], scores, [0], [])
            .table(self.model)
            .schema
        )

    def _stopped(self, refused: Refused, parts: Parts) -> ScoreError:
        """Return the error that ends a run at a row without a prediction."""
        again = "Correct it"
        if parts.done:
            again += f" and remove {parts.folder}, as the rows will be others"
        else:
            parts.forget()
        return ScoreError(
            f"row {refused.row} of {self.source}: {refused.reason} {again}; or without "
            "BAD=stop, rows without a prediction go to a file of their own"
        )


class Progress:
    """How far a run is, on a terminal."""

    def __init__(self, start: int, total: int | None) -> None:
        """Begin; about `total` rows are to be scored, or nobody knows how many."""
        self.first, self.total = start, total
        self.began = self.shown = time.monotonic()
        if start:
            print(f"going on after {start:,} rows of an earlier run", file=sys.stderr)

    def show(self, rows: int) -> None:
        """Say how many rows are done, how fast, and how long the rest takes."""
        now = time.monotonic()
        if now - self.shown < EVERY or not sys.stderr.isatty():
            return
        self.shown = now
        rate = (rows - self.first) / (now - self.began)
        line = f"{rows:,} rows, {rate:,.0f} in a second"
        if self.total:
            bar = "█" * min(round(20 * rows / self.total), 20)
            left = max(self.total - rows, 0) / max(rate, 1)
            line = f"[{bar:20}] {line}, about {left:,.0f} s left"
        print(f"\r{line:70}", end="\r", file=sys.stderr, flush=True)


def _here(source: str, out: str) -> Path:
    """Return where predictions are written on this machine.

    Raises:
        ScoreError: OUT is no file that can be written, or would be read as IN.
    """
    if not out.lower().endswith(OUTS):
        raise ScoreError(f"OUT={out} has to end in {' or '.join(OUTS)}")
    if remote(out) or remote(source):
        there, rows = place(out), place(source)
        if there == rows:
            raise ScoreError(f"OUT={out} is IN, and would be written over")
        if there[0] == rows[0] and there[1].startswith(f"{rows[1].rstrip('/')}/"):
            raise ScoreError(INSIDE.format(out, source))
        return _scratch(out) / out.rpartition("/")[2] if remote(out) else Path(out)
    path, read = Path(out), Path(source)
    if path.resolve() == read.resolve() or (path.exists() and path.samefile(read)):
        raise ScoreError(f"OUT={out} is IN, and would be written over")
    if read.is_dir() and path.resolve().is_relative_to(read.resolve()):
        raise ScoreError(INSIDE.format(out, source))
    return path


def _scratch(address: str) -> Path:
    """Return the folder of this machine for what goes to an address."""
    return SCRATCH / hashlib.sha256(address.encode()).hexdigest()[:12]


def _log_name(log: Path | str | None) -> str:
    """Return the log as no other one is called."""
    return str(log) if remote(str(log)) else str(Path(str(log)).resolve())


def _named(model: Model, names: list[str]) -> Columns:
    """Return how the input names a row's id and time: as the contract, or a request."""
    found = []
    for role, request in (("id", model.id), ("time", model.time)):
        candidates = (str(model.contract.get(role) or ""), request)
        found.append(next((name for name in candidates if name in names), ""))
    return Columns(*found)


def _said(model: Model, names: list[str], named: Columns) -> str:
    """Return which columns are used and which not.

    Raises:
        ScoreError: the model needs a column that the input does not have.
    """
    lacking = [n for n, c in model.columns.items() if n not in names and not c.missing]
    if lacking:
        raise ScoreError(
            f"the input has no column {', '.join(lacking)}, which contract.yaml "
            f"demands; it has {', '.join(names)[:300]}"
        )
    sentences = []
    if empty := [name for name in model.columns if name not in names]:
        sentences.append(f"missing in every row: {', '.join(empty)}")
    if other := [n for n in names if n not in model.columns and n not in named]:
        sentences.append(f"left out, as contract.yaml has no such input: {other}")
    if not named.id:
        sentences.append("there is no id: a row's id is its number, from 0")
    return "; ".join(sentences) or "every column is one of contract.yaml"


ERRORS = (
    ScoreError,
    AddressError,
    InputError,
    OutputError,
    VerifyError,
    ModelError,
    ClusterError,
    OSError,
)
