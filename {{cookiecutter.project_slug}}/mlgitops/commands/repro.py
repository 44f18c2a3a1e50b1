"""Runs the stages whose inputs changed, with DVC: `make repro`.

DVC ends with advice that is wrong here: to commit dvc.lock, and to push what was built.
A pull request is built by CI, so those lines are left out and the next step is printed.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator

ADVICE = (
    "To track the changes with git, run:",
    "\tgit add ",
    "To enable auto staging, run:",
    "\tdvc config core.autostage true",
)
DONE = "Use `dvc push`"  # what it says last, where a stage ran
NEXT = (
    "build/ holds the model. Next: make validate. "
    "Leave dvc.lock out of commits: CI builds the model again."
)


def main() -> None:
    """Run `dvc repro` with the arguments given; exit as it does."""
    command = (sys.executable, "-m", "dvc", "repro", "--no-run-cache", *sys.argv[1:])
    # Unbuffered, so that a line of a stage is seen when it is written.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    try:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as dvc:
            assert dvc.stdout is not None
            for line in without_advice(dvc.stdout):
                print(line, end="", flush=True)
    except KeyboardInterrupt:  # DVC got it, too, and has ended its stage
        raise SystemExit(130) from None
    if dvc.returncode:
        raise SystemExit(dvc.returncode)


def without_advice(lines: Iterable[str]) -> Iterator[str]:
    """Yield DVC's lines but its advice; where stages ran, the next step instead."""
    blank = ""
    for line in lines:
        if line.startswith(DONE):
            yield f"{blank}{NEXT}\n"
        elif not line.strip():
            blank = line
        elif not line.startswith(ADVICE):
            yield blank + line
            blank = ""
