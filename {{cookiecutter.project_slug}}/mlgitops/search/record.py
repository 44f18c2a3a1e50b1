"""Records trials as DVC experiments: `dvc exp show`, `dvc exp apply NAME`.

An experiment of DVC is a commit on top of the one that it is compared with, under
refs/exps. It is made here by git alone, in some 40 ms: `dvc exp run` takes seconds,
runs the stages and scores the holdout, and `dvc exp save` changes the working tree.
"""

from __future__ import annotations

import json
from pathlib import Path

from mlgitops import git
from mlgitops.pipeline import settings
from mlgitops.pipeline.schema import SettingsError
from mlgitops.search.outcome import Row
from mlgitops.search.trial import changed, rewritten

FILE = Path("build", "search.json")  # dvc.yaml lists it among its metrics
AUTHOR = "experiment"


def scores(row: Row, metric: str) -> bytes:
    """Return the metrics of a trial as JSON."""
    found = {
        metric: row.trial.mean,
        "standard_error": row.trial.standard_error,
        "difference": row.difference,
        "difference_low": row.low,
        "difference_high": row.high,
        "folds": len(row.trial.scores),
        "seconds": round(row.trial.seconds, 2),
    }
    return json.dumps({"cross_validation": found}, indent=2).encode() + b"\n"


class Experiments:
    """Those of the commit that is checked out."""

    def __init__(self) -> None:
        """Read which there are."""
        head = git.run("rev-parse", "HEAD")
        self.head, self.prefix = head, f"refs/exps/{head[:2]}/{head[2:]}/"
        refs = git.run("for-each-ref", "--format=%(refname)", self.prefix)
        self.names = {ref.removeprefix(self.prefix) for ref in refs.splitlines()}
        self.source = Path("params.yaml").read_text(encoding="utf-8")

    def record(self, row: Row, metric: str) -> None:
        """Record a trial, unless it is recorded.

        Raises:
            SettingsError: params.yaml cannot be changed as the trial says.
        """
        if row.trial.name in self.names:
            return
        text = rewritten(self.source, row.trial.changes)
        before = settings.load(self.source)
        if settings.load(text) != changed(before, row.trial.changes):
            paths = " and ".join(row.trial.changes)
            raise SettingsError(
                f"params.yaml: {paths} cannot be changed where it stands: write it on "
                "one line of its own, such as `name: value`"
            )
        files = {"params.yaml": text.encode(), FILE.as_posix(): scores(row, metric)}
        message = f"make experiment: {row.trial.name}"
        commit = git.commit(files, message, AUTHOR, self.head)
        git.run("update-ref", f"{self.prefix}{row.trial.name}", commit)
        self.names.add(row.trial.name)
