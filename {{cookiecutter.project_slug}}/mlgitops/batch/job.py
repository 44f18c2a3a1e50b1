"""One run of batch scoring: an input, a version, an output."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import pyarrow as pa

from mlgitops.batch.parts import OutputError, Parts, table_of
from mlgitops.batch.score import Columns, Refused, lines, score
from mlgitops.batch.tables import Input, InputError
from mlgitops.serving.model import Model, ModelError
from mlgitops.serving.verify import VerifyError

ROWS = 50_000  # of a part: a killed run does at most these again
EVERY = 0.5  # seconds between two states of the progress
OUTS = (".parquet", ".csv")


class ScoreError(Exception):
    """The rows cannot be scored: one sentence."""


class Job:
    """One input, one version, one output."""

    def __init__(
        self,
        source: Path,
        out: Path,
        folder: Path,
        log: Path | None = None,
        bad: str = "keep",
        version: str | None = None,
    ) -> None:
        """Load the version and find the rows.

        Raises:
            ScoreError, InputError: with what to type next.
            VerifyError, ModelError: the version is not as it was judged.
        """
        if out.suffix.lower() not in OUTS:
            raise ScoreError(f"OUT={out} has to end in {' or '.join(OUTS)}")
        if out.resolve() == source.resolve() or (out.exists() and out.samefile(source)):
            raise ScoreError(f"OUT={out} is IN, and would be written over")
        if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
            problem = f"OUT={out} is inside IN={source}, and would be read next time"
            raise ScoreError(f"{problem}: name another folder")
        self.source, self.out, self.log, self.bad = source, out, log, bad
        self.version = version
        self.model = Model(folder)
        self.model.check_golden()
        self.input = Input(source)
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
            "logged": log is not None and [str(log.resolve()), version],
        }

    def run(self) -> str:
        """Score the rows that no earlier run did; return what was done.

        Raises:
            ScoreError, InputError, OutputError: with what to type next.
        """
        print(_said(self.model, self.input.names, self.named), file=sys.stderr)
        parts = Parts(self.out, self.state, self.log)
        if self.bad == "stop" and (earlier := parts.first_refused()):
            raise self._stopped(earlier, parts)
        progress = Progress(parts.done * ROWS, self.input.rows())
        columns = {n: column.type for n, column in self.model.columns.items()}
        columns |= {name: "category" for name in self.named if name}
        for batch in self.input.batches(columns, ROWS, parts.done * ROWS):
            scored = score(self.model, batch, self.named)
            if scored.refused and self.bad == "stop":
                raise self._stopped(scored.refused[0], parts)
            logged = b""
            if self.log is not None:
                entries = lines(self.model, batch, scored, self.version, self.named)
                logged = b"".join(entries)
            parts.add(scored.predictions, scored.refused, logged)
            progress.show(batch.start + batch.rows)
        digest = hashlib.sha256(json.dumps(self.state).encode()).hexdigest()
        first = parts.first_refused()
        total, refused = parts.total, parts.finish(digest[:12], self._columns())
        manifest = self.model.manifest_sha256[:12]
        sentence = f"{self.out}: {total.scored:,} predictions of version {manifest}"
        if refused:
            sentence += f"; {total.refused:,} rows have none, see {refused}"
        if total.refused and not total.scored:
            row, reason = first or Refused(0, "")
            raise ScoreError(f"{sentence}; the first is row {row}: {reason}")
        return sentence

    def _columns(self) -> pa.Schema:
        """Return the columns of predictions, by that of a golden row."""
        row = self.model.manifest["golden"][0]["row"]
        return table_of(self.model.predictions([row], [""])).schema

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
        """Begin; `total` rows are to be scored, or nobody knows how many."""
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
            bar = "█" * round(20 * rows / self.total)
            left = (self.total - rows) / max(rate, 1)
            line = f"[{bar:20}] {line}, {left:,.0f} s left"
        print(f"\r{line:70}", end="\r", file=sys.stderr, flush=True)


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


ERRORS = (ScoreError, InputError, OutputError, VerifyError, ModelError, OSError)
