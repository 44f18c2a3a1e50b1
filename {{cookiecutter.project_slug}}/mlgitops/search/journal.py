"""Keeps what a search has found, so that it goes on where it was stopped.

A line per trial in build/search.jsonl, written to the disk when it is made: whatever
ends the program, a trial that was made is not made again. Its key says what the scores
depend on: rows, settings, code, packages and folds.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mlgitops.metrics import Difference
from mlgitops.pipeline.manifest import sha256
from mlgitops.pipeline.settings import Params
from mlgitops.search.trial import Trial, changed, digest, fitted_section
from mlgitops.space import ROWS

FILE = Path("build", "search.jsonl")
CONFIRM = "confirm"  # what the rows kept apart said of a choice
CODE = ("mlgitops/metrics", "mlgitops/pipeline", "mlgitops/search", "model")
FILES = ("contract.yaml", "requirements/pipeline.txt")


def depends(rows: bytes, params: Params, folds: int) -> str:
    """Return the sha256 of all that every score depends on, beside its settings."""
    package = Path(__file__).parents[2]
    folders = [Path("" if n == "model" else package, n) for n in CODE]
    code = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    files = [*code, *(path for path in map(Path, FILES) if path.is_file())]
    return digest(
        {
            "rows": sha256(rows),
            "files": [sha256(path.read_bytes()) for path in files],
            "folds": [folds, params["train"]["seed"]],
        }
    )


@dataclass
class Journal:
    """What was found with these rows, this code and these folds, by key."""

    rows: str  # sha256 of the training rows
    depends: str
    params: Params
    resource: str = ROWS
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def read(self) -> None:
        """Read what earlier runs found; a line that was cut off is no entry."""
        if not FILE.is_file():
            return
        for line in FILE.read_bytes().splitlines():
            try:
                entry = json.loads(line)
                self.entries[entry["key"]] = entry
            except (ValueError, KeyError, TypeError):
                continue

    def key(self, trial: Trial, kind: str = "trial") -> str:
        """Return what a trial's scores depend on, as a sha256."""
        section = fitted_section(changed(self.params, trial.changes))
        part = None if trial.part == 1 else [self.resource, trial.part]
        other: object = None
        if kind == CONFIRM:  # which settings it was compared with, and the confidence
            confidence = (self.params.get("gates") or {}).get("confidence")
            other = [fitted_section(self.params), confidence]
        return digest([self.depends, section, part, kind, other])

    def trial(self, trial: Trial) -> Trial | None:
        """Return a trial as it was made, or None."""
        if not (entry := self.entries.get(self.key(trial))):
            return None
        names = ("seconds", "problem")
        found = {name: entry[name] for name in names}
        return replace(trial, scores=tuple(entry["scores"]), **found)

    def difference(self, trial: Trial) -> Difference | None:
        """Return what the rows kept apart said of a trial, or None."""
        entry = self.entries.get(self.key(trial, CONFIRM))
        return Difference(**entry["difference"]) if entry else None

    def looks(self) -> int:
        """Return how many choices these rows were asked about."""
        return sum(
            "difference" in entry and entry["rows"] == self.rows
            for entry in self.entries.values()
        )

    def add(self, trial: Trial) -> None:
        """Keep a trial that was made."""
        self._write(self.key(trial), asdict(trial))

    def add_difference(self, trial: Trial, found: Difference) -> None:
        """Keep what the rows kept apart said."""
        key = self.key(trial, CONFIRM)
        self._write(key, {"name": trial.name, "difference": found._asdict()})

    def _write(self, key: str, entry: dict[str, Any]) -> None:
        """Append a line, after one that was cut off too, and wait for the disk."""
        entry = {"key": key, "rows": self.rows, **entry}
        self.entries[key] = entry
        line = f"\n{json.dumps(entry, sort_keys=True)}\n"
        with FILE.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
