"""What a cluster costs and gains on this machine: `make cluster`.

A search of 12 settings by 3 folds, and a file that `make score` predicts, each in this
process and on Dask with a scheduler and 1 or 2 workers on loopback, which this program
starts and ends. Every way has to give the same: the scores of each fold, the bytes of
the predictions. `empty run` is what a run waits for where there is nothing to compute.

Two cores cannot show how it scales: with 2 workers the program itself, the scheduler
and the workers share them. What it shows is the price, and from how long a fit on a
cluster of more cores would pay. ROWS= and SCORED= choose other sizes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.cost import PYTHON, Page, project
from benchmarks.score import chunks, contract, fit, write

ROWS = int(os.environ.get("ROWS", "20000"))  # that a search fits on
SCORED = int(os.environ.get("SCORED", "500000"))
WORKERS = (0, 1, 2)  # 0 is this process
DEPTHS = (7, 15, 31, 63)
STEPS = (0.05, 0.1, 0.2)
FOLDS = 3
MEMORY = "2GB"


@contextmanager
def cluster(home: Path, workers: int) -> Iterator[str]:
    """Yield the address of a scheduler with so many workers."""
    port = 18_786 + workers
    address = f"tcp://127.0.0.1:{port}"
    quiet: dict[str, Any] = {
        "cwd": home,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    host = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    own = ("--nthreads", "1", "--memory-limit", MEMORY, "--no-dashboard")
    own += ("--dashboard-address", "127.0.0.1:0")
    dask = (PYTHON, "-m", "dask")
    commands = [(*dask, "scheduler", *host)]
    commands += [(*dask, "worker", address, "--no-nanny", *own)] * workers
    started = [subprocess.Popen(command, **quiet) for command in commands]
    try:
        yield address
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def search(address: str) -> tuple[object, float]:
    """Return the scores of every trial, and how many seconds they took."""
    import numpy as np
    import pandas as pd

    from mlgitops.cluster.backend import opened
    from mlgitops.cluster.shipment import locked
    from mlgitops.pipeline import data
    from mlgitops.pipeline.contract import Contract
    from mlgitops.search import score
    from mlgitops.search.trial import named

    frame = pd.concat([t.to_pandas() for t in chunks(ROWS, 2)], ignore_index=True)
    chance = 1 / (1 + np.exp(-frame["n0"].fillna(0) - (frame["k1"] == "b1") * 2))
    frame["y"] = (np.random.default_rng(3).random(len(frame)) < chance).astype("int8")
    terms = Contract.parse(contract())
    checked = data.check(frame, terms)
    rows = score.divide(checked, terms, FOLDS, 1)
    name = "hist_gradient_boosting"
    columns = [*contract()["columns"]]
    section = {"seed": 1, "estimator": name, "columns": columns, "threshold": 0.5}
    section |= {"parity": 1e-4, name: {"max_iter": 100}}
    path = f"train.{name}"
    settings = [(depth, step) for depth in DEPTHS for step in STEPS]
    trials = [
        named({f"{path}.max_leaf_nodes": depth, f"{path}.learning_rate": step})
        for depth, step in settings
    ]
    section[name] |= {"max_leaf_nodes": 31, "learning_rate": 0.1}
    start = time.perf_counter()
    with opened("dask" if address else "local", locked("pipeline")) as backend:
        task = score.Task({"train": section}, rows)
        folds = backend.over(score.score_fold, task)
        begun = [folds(score.fits(trial, rows)) for trial in trials]
        found = []
        for trial, each in zip(trials, begun, strict=True):
            made = score.make(trial, task.params, rows, begun=each)
            if made.problem:
                raise SystemExit(made.problem)
            found.append(made.scores)
    return found, time.perf_counter() - start


def scored(address: str, source: Path, version: Path) -> tuple[object, float]:
    """Return the bytes of the predictions, and how many seconds they took."""
    from mlgitops.batch.job import Job

    out = source.with_name("scores.parquet")
    start = time.perf_counter()
    Job(source, out, version, backend="dask" if address else "local").run()
    seconds = time.perf_counter() - start
    found = out.read_bytes()
    out.unlink()
    return found, seconds


def empty(address: str) -> float:
    """Return the seconds of a run without anything to compute."""
    from mlgitops.cluster.backend import opened

    start = time.perf_counter()
    with opened("dask" if address else "local", []) as backend:
        list(backend.over(pow, 2)([3]))
    return time.perf_counter() - start


def measure(home: Path, page: Page) -> None:
    """Say what each way takes, and stop where one gives something else."""
    source, version = home / "rows.parquet", home / "version"
    write(source, chunks(SCORED))
    fit(version, "hist_gradient_boosting")
    searches, files = [], []
    cores = len(os.sched_getaffinity(0))
    page.say(f"{cores} cores, load {os.getloadavg()[0]:.1f}")
    page.say(f"search: {ROWS:,} rows, {len(DEPTHS) * len(STEPS)} trials, {FOLDS} folds")
    page.say(f"score: {SCORED:,} rows")
    page.say("")
    page.say(f"{'':12}{'empty run':>12}{'search':>12}{'score':>12}  seconds")
    for count in WORKERS:
        with cluster(home, count) if count else _here() as address:
            os.environ["DASK_SCHEDULER_ADDRESS"] = address
            idle = empty(address)
            found, seconds = search(address)
            file, took = scored(address, source, version)
        searches.append(found)
        files.append(file)
        name = f"{count} worker{'s' if count > 1 else ''}" if count else "local"
        page.say(f"{name:12}{idle:>12.2f}{seconds:>12.1f}{took:>12.1f}")
    if any(found != searches[0] for found in searches):
        raise SystemExit("a search on the cluster found something else")
    if any(file != files[0] for file in files):
        raise SystemExit("predictions of the cluster have other bytes")
    page.say("")
    page.say("the same scores of every fold, the same bytes of every prediction")


@contextmanager
def _here() -> Iterator[str]:
    """Yield no address: this process."""
    yield ""


def main() -> None:
    """Measure in a repository of its own and write the page."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that workers end, too
    page = Page("cluster.md", "A cluster of Dask beside one process", "make cluster")
    with TemporaryDirectory(prefix="cluster-") as name:
        home = Path(name)
        folder = project(home / "project")
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        measure(home, page)
    page.write()


if __name__ == "__main__":
    main()
