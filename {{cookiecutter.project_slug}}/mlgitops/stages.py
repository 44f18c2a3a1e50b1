"""Runs the stages of dvc.yaml one by one, each with no other data than its deps name.

A model that is fitted beside the raw table may have read the rows that it is judged on.
So all data that a stage does not name is taken away while it runs: the files are gone
from the tree, and this process keeps their bytes. Only where the build is: on a laptop
`dvc repro` runs as ever, and gives the same bytes.
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath

from mlgitops import lock
from mlgitops.lock import Stage

# Pulled files are in the workspace, not in DVC's cache: --allow-missing. What a stage
# writes stays out of it too, as another stage would find it there: --no-commit.
OPTIONS = ("--no-run-cache", "--allow-missing", "--no-commit")


class StageError(Exception):
    """`dvc repro` failed; the message says where."""


def reproduce(env: Mapping[str, str]) -> list[str]:
    """Run every stage whose inputs changed; return the names of those that ran.

    Raises:
        StageError: one failed.
    """
    stages, ran = lock.stages(), list[str]()
    with _dvc(env) as repro:
        if not all(stage.plain for stage in stages):
            print("dvc.yaml has templates: each stage sees all data, not only its deps")
            ran += repro((), "")
            return ran
        for stage in order(stages):
            with hidden(unnamed(stage, stages)) as names:
                away = f"; the stage {stage.name} sees only its deps, not {names}"
                only = ("--single-item", stage.name)
                ran += repro(only, away if names else "")
    return ran


def order(stages: Iterable[Stage]) -> list[Stage]:
    """Return the stages so that each comes after those whose outputs it reads.

    Raises:
        StageError: they wait for one another.
    """
    by_name = {stage.name: stage for stage in stages}
    graph = {
        stage.name: [
            other.name
            for other in by_name.values()
            if other is not stage and any(_meets(o, stage.deps) for o in other.outs)
        ]
        for stage in by_name.values()
    }
    try:
        return [by_name[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        names = " and ".join(sorted(set(error.args[1])))
        raise StageError(f"dvc.yaml: the stages {names} wait for each other") from error


def unnamed(stage: Stage, stages: Iterable[Stage]) -> list[Path]:
    """Return the data files, tracked ones and outputs, that a stage does not name."""
    outs = (out for other in stages for out in other.outs)
    own = (*stage.deps, *stage.outs)
    names = sorted({*lock.pointers(), *outs})
    return [Path(name) for name in names if not _meets(name, own)]


@contextmanager
def hidden(paths: Iterable[Path]) -> Iterator[str]:
    """Take files away for a while; yield their names. Their bytes stay open here."""
    kept = {path: path.open("rb") for path in paths if path.is_file()}
    try:
        for path in kept:
            path.unlink()
        yield ", ".join(path.as_posix() for path in kept)
    finally:
        for path, file in kept.items():
            path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            with file, path.open("xb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)


@contextmanager
def _dvc(env: Mapping[str, str]) -> Iterator[Callable[[Iterable[str], str], list[str]]]:
    """Yield `dvc repro` of some stages, with what to say if it fails; DVC loads once.

    It returns the stages that had to run, or raises StageError.
    """
    command = (sys.executable, "-m", "mlgitops.dvc_session")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        env=dict(env),
        stdin=pipe,
        stdout=pipe,
        encoding="utf-8",
        errors="replace",  # a stage may print any bytes
    ) as session:
        yield lambda only, note: _repro(session, only, note)


def _repro(
    session: "subprocess.Popen[str]", only: Iterable[str], note: str
) -> list[str]:
    """Run `dvc repro`; return the stages that had to run.

    Raises:
        StageError: it failed; the message ends with the note.
    """
    assert session.stdin and session.stdout
    token, ran, code = f"{secrets.token_hex()}:", list[str](), ""
    request = "\t".join((token, "repro", *OPTIONS, *only)) + "\n"
    with suppress(BrokenPipeError):  # it has ended: so has its output
        os.write(session.stdin.fileno(), request.encode())
    for line in session.stdout:
        output, ended, code = line.partition(token)  # a stage may end within a line
        print(output, end="", flush=True)
        if match := re.match(r"Running stage '([^']+)'", output):
            ran.append(match[1])
        if ended:
            break
    if code.strip() != "0":
        raise StageError(f"`dvc repro` failed: see the error above{note}")
    return ran


def _meets(path: str, others: Iterable[str]) -> bool:
    """Return whether a path is one of the others, in one of them, or holds one."""
    one = PurePosixPath(path)
    return any(
        one.is_relative_to(other) or PurePosixPath(other).is_relative_to(one)
        for other in others
    )
