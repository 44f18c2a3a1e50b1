"""Output that a killed run leaves whole: parts first, the file of all at the end.

A part has the predictions of a fixed number of rows, the rows refused among them, and
their lines of the log. It counts once its predictions are under their name, which is
the last of its files to get one; so no row is scored twice, or left out.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from mlgitops.batch.repeated import Repeated
from mlgitops.batch.score import Refused
from mlgitops.prediction_log import file_name

STATE = "state.json"
NUMBER = "{:08d}"
BLOCK = 8_000_000  # bytes that are copied at once


class OutputError(Exception):
    """The predictions cannot be written: one sentence."""


class Total(NamedTuple):
    """Rows with a prediction, and without."""

    scored: int = 0
    refused: int = 0


class Parts:
    """The parts of one output, in a folder beside it."""

    def __init__(self, out: Path, state: dict[str, object], log: Path | None) -> None:
        """Begin, or go on where a run with the same state stopped.

        Raises:
            OutputError: the parts are of another input, version or setting, or
                another run is writing them.
        """
        self.out, self.log = out, log
        self.folder = out.with_name(f"{out.name}.parts")
        self.total, self.done = Total(), 0
        self.repeated = False  # the log has these rows of this version already
        self.repeated_ids = 0  # predictions with the id of an earlier row, at the end
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.folder)
        written = self.folder / STATE
        if written.exists() and json.loads(written.read_text()) != state:
            raise OutputError(
                f"{self.folder} has parts of another input, version or setting: remove "
                "the folder to begin anew"
            )
        if not written.exists():
            for path in self.folder.glob("0*"):  # of a run that was killed at its end
                path.unlink()
            _write(written, json.dumps(state).encode())
        self.day = datetime.fromtimestamp(written.stat().st_mtime, UTC).date()
        for path in self._paths():
            facts = _read(path).schema.metadata
            self._count(int(facts[b"scored"]), int(facts[b"refused"]))
        self.done = len(self._paths())

    def add(
        self, predictions: pa.Table, refused: Sequence[Refused], log: bytes
    ) -> None:
        """Write the next part."""
        name = NUMBER.format(self.done)
        rows = [json.dumps(entry._asdict()) + "\n" for entry in refused]
        files = {"refused.jsonl": "".join(rows).encode(), "log.jsonl": log}
        for kind, data in files.items():
            if data:
                _write(self.folder / f"{name}.{kind}", data)
        table = predictions.replace_schema_metadata(
            {"scored": str(predictions.num_rows), "refused": str(len(refused))}
        )
        part = self.folder / f"{name}.part"
        with pa.ipc.new_file(part, table.schema) as file:
            file.write_table(table)
        _sync(part)
        part.replace(self.folder / f"{name}.arrow")
        self.done += 1
        self._count(predictions.num_rows, len(refused))

    def finish(self, name: str, empty: pa.Schema) -> Path | None:
        """Put the parts together; return the file of refused rows, if there are any.

        `name` tells the lines in the log from those of other runs of the day, `empty`
        are the columns where there is no prediction.
        """
        bad = self.out.with_name(f"{self.out.name}.refused.jsonl")
        bad.unlink(missing_ok=True)
        if self.total.refused:
            self._join(bad, "refused.jsonl")
        self._log(name)
        self.repeated_ids = _together(self.out, self._paths(), empty)
        done = self.folder.with_name(f".{self.folder.name}.done")
        shutil.rmtree(done, ignore_errors=True)
        self.folder.replace(done)  # at once: what is half removed has no state
        shutil.rmtree(done)
        return bad if self.total.refused else None

    def first_refused(self) -> Refused | None:
        """Return the first row without a prediction, of those that were written."""
        for path in self._paths():
            refused = path.with_suffix(".refused.jsonl")
            if refused.exists():
                with refused.open(encoding="utf-8") as lines:
                    for line in lines:
                        return Refused(**json.loads(line))
        return None

    def forget(self) -> None:
        """Remove the folder of a run that wrote no part."""
        shutil.rmtree(self.folder)

    def _log(self, name: str) -> None:
        """Move the lines to the prediction log: under the same name when run again.

        That is also the name of another day, on which the same rows were scored.
        """
        if self.log is None:
            return
        self.log.mkdir(parents=True, exist_ok=True)
        path = self.log / file_name(f"{self.day.isoformat()}-{name}")
        earlier = sorted(self.log.glob(file_name(f"*-{name}")))
        self.repeated = bool(earlier)
        self._join(earlier[0] if earlier else path, "log.jsonl")

    def _join(self, path: Path, kind: str) -> None:
        """Write the parts' files of a kind into one."""
        new = path.with_name(f".{path.name}.new")
        with new.open("wb") as out:
            for part in self._paths():
                if (file := part.with_suffix(f".{kind}")).exists():
                    with file.open("rb") as lines:
                        shutil.copyfileobj(lines, out, BLOCK)
        _sync(new)
        new.replace(path)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("*.arrow"))

    def _count(self, scored: int, refused: int) -> None:
        self.total = Total(self.total.scored + scored, self.total.refused + refused)


def _locked(folder: Path) -> IO[bytes]:
    """Return a file that holds the folder for this process, until that ends.

    Raises:
        OutputError: another process has it.
    """
    file = (folder / "lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise OutputError(f"another run is writing {folder}: wait for it") from None
    return file


def _together(out: Path, parts: Sequence[Path], empty: pa.Schema) -> int:
    """Write all parts into one file, which has its name when it is whole.

    Returns how many predictions have an id that an earlier row has: labels find a row
    by its id, so that these cannot be told apart.
    """
    new, repeated = out.with_name(f".{out.name}.new"), Repeated(out.parent)
    found = [
        table.schema.remove_metadata() for table in map(_read, parts) if len(table)
    ]
    schema = pa.unify_schemas(found or [empty], promote_options="permissive")
    with _writer(new, schema, out.suffix.lower() == ".csv") as writer:
        for table in filter(len, map(_read, parts)):
            repeated.add(table["id"])
            writer.write_table(table.cast(schema))
    _sync(new)
    new.replace(out)
    return repeated.count()


def _writer(path: Path, schema: pa.Schema, csv: bool) -> Any:
    """Return what writes tables into one file; a text that repeats is there once."""
    if csv:
        return pa.csv.CSVWriter(str(path), schema)
    texts = [f.name for f in schema if f.type == pa.string() and f.name != "id"]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=texts)


def _read(path: Path) -> pa.Table:
    """Return a part, which is read from the disk where it is looked at."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _write(path: Path, data: bytes) -> None:
    """Write a small file, whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(data)
    _sync(new)
    new.replace(path)


def _sync(path: Path) -> None:
    """Wait until the disk has a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
