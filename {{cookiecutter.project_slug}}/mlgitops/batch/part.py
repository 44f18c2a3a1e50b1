"""Scores one part of the rows, in this process or on a worker; pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pyarrow as pa

from mlgitops.batch.score import Columns, Scored, lines, score
from mlgitops.batch.tables import Batch
from mlgitops.serving.model import Model
from mlgitops.serving.verify import CONTRACT, MANIFEST, contract_path

PACKAGES = ("msgspec", "numpy", "onnxruntime", "pyarrow", "pyyaml")  # of a prediction


@dataclass(frozen=True)
class Version:
    """What all parts share: a version, how rows name their id, and what is logged."""

    model: Model
    folder: Path
    named: Columns
    logged: bool
    name: str | None  # of the version, for the log

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Return its files, from which a worker verifies and loads it again."""
        file = str(self.model.manifest["model"]["file"])
        files = {
            MANIFEST: (self.folder / MANIFEST).read_bytes(),
            CONTRACT: contract_path(self.folder).read_bytes(),
            file: (self.folder / file).read_bytes(),
        }
        sha256 = self.model.manifest_sha256
        return _loaded, (files, sha256, tuple(self.named), self.logged, self.name)


class Slice(NamedTuple):
    """Some rows, and when they were scored: an ISO 8601 time for the log."""

    batch: Batch
    time: str

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Return these rows alone: a pickle of a slice has all that was read."""
        start, rows, table = self.batch
        sent = pa.BufferOutputStream()
        with pa.ipc.new_stream(sent, table.schema) as stream:
            stream.write_table(table)
        return _sliced, (start, rows, sent.getvalue().to_pybytes(), self.time)


class Part(NamedTuple):
    """What a slice gives: predictions, lines of the log, and the row after its last."""

    scored: Scored
    logged: bytes
    end: int


def score_part(version: Version, rows: Slice) -> Part:
    """Return the predictions of a slice of the rows."""
    batch, logged = rows.batch, b""
    scored = score(version.model, batch, version.named)
    if version.logged:
        facts = (version.name, version.named, rows.time)
        logged = lines(version.model, batch, scored, *facts)
    return Part(scored, logged, batch.start + batch.rows)


def _sliced(start: int, rows: int, data: bytes, time: str) -> Slice:
    """Return rows on a worker."""
    return Slice(Batch(start, rows, pa.ipc.open_stream(data).read_all()), time)


def _loaded(
    files: dict[str, bytes],
    sha256: str,
    named: tuple[str, str],
    logged: bool,
    name: str | None,
) -> Version:
    """Return a version on a worker, where these are the bytes that were reviewed.

    Raises:
        VerifyError, ModelError: they are not, or it answers otherwise there.
    """
    with TemporaryDirectory() as home:
        folder = Path(home)
        for file, data in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
        model = Model(folder, sha256)
    model.check_golden()
    return Version(model, folder, Columns(*named), logged, name)
