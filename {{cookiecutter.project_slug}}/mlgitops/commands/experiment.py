"""Trains with a grid of settings and compares the results: `make experiment`.

Each trial runs in a folder of its own with `dvc exp run --temp` and is recorded beside
the current commit; the working tree stays as it is. DVC has no switch that keeps its
run-cache out of an experiment, so a trial is a hint: what counts is what CI builds.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlgitops import git, settings
from mlgitops.commands.expected import expected_errors
from mlgitops.metrics import METRICS
from mlgitops.pipeline.contract import Contract

SHOWN = "log_loss|calibration_error|rmse|mae|train[.]"  # beside the primary metric
ADVICE = """\
To propose one: .venv/bin/dvc exp apply NAME, commit params.yaml on a branch, open a
pull request. To forget all: .venv/bin/dvc exp remove --all-commits."""


def trials(grid: Mapping[str, Sequence[object]]) -> Iterator[tuple[str, list[str]]]:
    """Yield (name, settings) for every combination of the grid's values."""
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        parts = [f"{path.split('.')[-1]}-{value}" for path, value in chosen.items()]
        yield ".".join(parts), [f"{path}={value}" for path, value in chosen.items()]


def recorded(name: str) -> bool:
    """Tell whether this commit has the trial already."""
    head = git.run("rev-parse", "HEAD")
    ref = f"refs/exps/{head[:2]}/{head[2:]}/{name}"
    return git.run("for-each-ref", ref) != ""


def experiment(grid: Mapping[str, Sequence[object]], primary: str) -> None:
    """Run the trials that this commit lacks, then print the table of all of them."""
    if git.run("status", "--porcelain", "--untracked-files=no"):
        raise SystemExit(
            "experiment: there are changes that are not committed, so a trial would "
            "not say what it compares with; commit them, then type make experiment."
        )
    for name, chosen in trials(grid):
        if not recorded(name):
            options = [argument for setting in chosen for argument in ("-S", setting)]
            dvc("exp", "run", "--quiet", "--temp", "--name", name, *options)
    sort = ("--sort-by", primary, "--sort-order", "desc")
    shown = f"^(?!Experiment|{primary}|{SHOWN})"
    drop = ("--hide-workspace", "--only-changed", "--drop", shown)
    dvc("exp", "show", "--no-pager", "--md", *sort, *drop)
    print(ADVICE)


def dvc(*args: str) -> None:
    """Run dvc with this interpreter's programs first; its failure ends the command."""
    programs = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": programs + os.pathsep + os.environ.get("PATH", "")}
    if subprocess.run([sys.executable, "-m", "dvc", *args], env=env).returncode:
        raise SystemExit(f"experiment: dvc {' '.join(args)} failed; see above.")


def main() -> None:
    """Read the grid and run it."""
    with expected_errors("experiment: ", OSError):
        grid = settings.experiment(settings.load(Path("params.yaml").read_bytes()))
        contract = Contract.read(Path("contract.yaml").read_bytes())
        experiment(grid, METRICS[contract.task][0].key)
