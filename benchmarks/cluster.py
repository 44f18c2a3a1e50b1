"""From which size a cluster pays, on this machine: `make cluster`.

Three things that run there, each in one process and on Dask with 1, 2 and 4 workers on
loopback, which this program starts and ends: a search of 4 settings by 3 folds, a file
that `make score` predicts, and the monitor's scan of a shipped log, with ten times the
rows each time up to `ROWS=` (a million; 100 million with `PROOF=1`), of a search up to
a hundredth of it, whose fits cost a hundred times what predictions do. Every way has to
give the same: the scores of each fold, the bytes of the predictions, the entries and
counts of the log. Each run is a process of its own, on workers that have run this code
before; what the first one waits for is measured with an empty run. Writes cluster.md
and cluster.svg: seconds, CPU seconds and memory, here and of the workers; and into
docs/cluster.md from which size a cluster was sooner.

Workers of the same machine share its cores with the program and the scheduler: more of
them than cores show what they cost, not what they gain. What machines of their own
would give is extrapolated from the CPU seconds, and named so.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from benchmarks import curves, shipped
from benchmarks.cost import PYTHON, project
from benchmarks.score import chunks, contract, fit, write

FARTHEST = 100_000_000
LARGEST = int(
    os.environ.get("ROWS", FARTHEST if os.environ.get("PROOF") else 1_000_000)
)
SMALLEST = 10_000
SEARCHED = 100  # times fewer rows of a search
DISK = {"score": 330, "scan": 120}  # bytes of a row: the file, or its parts
WORKERS = (0, 1, 2, 4)  # 0 is one process
NAMES = {0: "local", 1: "1 worker", 2: "2 workers", 4: "4 workers"}
TASKS = {"search": "a search", "score": "`make score`", "scan": "the monitor's scan"}
DEPTHS = (15, 31)
STEPS = (0.05, 0.1)
FOLDS = 3
KINDS = ["number", "price", "price", "count", "area", "gap", "member"]
NOISE = 0.05  # of the seconds: a busy machine takes so much more or less
MEMORY = "2GB"
HERE = Path(__file__).parent
DOCS = HERE.parent / "docs" / "cluster.md"
BEGIN, END = "<!-- make cluster -->\n", "<!-- end -->\n"
SOONER = "## From which size it was sooner than one process"


@dataclass(frozen=True)
class Run:
    """What one run took, and a hash of what it gave."""

    seconds: float
    here: float  # CPU seconds of the process
    there: float  # CPU seconds of the workers
    memory: float  # MB, of the process
    worker: float  # MB, of the largest worker with its child
    digest: str


Runs = dict[tuple[str, int, int], Run]  # by task, rows and workers


@contextmanager
def cluster(home: Path, workers: int) -> Iterator[tuple[str, list[int]]]:
    """Yield the address of a scheduler, and the ids of so many workers."""
    port = 18_786 + workers
    address = f"tcp://127.0.0.1:{port}"
    quiet: dict[str, Any] = {
        "cwd": home,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    if not workers:
        yield "", []
        return
    host = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    own = ("--nthreads", "1", "--memory-limit", MEMORY, "--no-dashboard")
    own += ("--dashboard-address", "127.0.0.1:0")
    dask = (PYTHON, "-m", "dask")
    commands = [(*dask, "scheduler", *host)]
    commands += [(*dask, "worker", address, "--no-nanny", *own)] * workers
    started = [subprocess.Popen(command, **quiet) for command in commands]
    try:
        yield address, [process.pid for process in started[1:]]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def search(rows: int, backend_name: str) -> tuple[bytes, float]:
    """Return the scores of every trial, and how many seconds they took."""
    import numpy as np
    import pandas as pd

    from mlgitops.cluster.backend import opened
    from mlgitops.cluster.shipment import locked
    from mlgitops.pipeline import data
    from mlgitops.pipeline.contract import Contract
    from mlgitops.search import score
    from mlgitops.search.trial import named

    frame = pd.concat([t.to_pandas() for t in chunks(rows, 2)], ignore_index=True)
    chance = 1 / (1 + np.exp(-frame["n0"].fillna(0) - (frame["k1"] == "b1") * 2))
    frame["y"] = (np.random.default_rng(3).random(len(frame)) < chance).astype("int8")
    terms = Contract.parse(contract())
    checked = data.check(frame, terms)
    divided = score.divide(checked, terms, FOLDS, 1)
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
    with opened(backend_name, locked("pipeline")) as backend:
        task = score.Task({"train": section}, divided)
        folds = backend.over(score.score_fold, task)
        begun = [folds(score.fits(trial, divided)) for trial in trials]
        found = []
        for trial, each in zip(trials, begun, strict=True):
            made = score.make(trial, task.params, divided, begun=each)
            if made.problem:
                raise SystemExit(made.problem)
            found.append(made.scores)
    return repr(found).encode(), time.perf_counter() - start


def scored(source: Path, version: Path, backend: str) -> tuple[bytes, float]:
    """Return the bytes of the predictions, and how many seconds they took."""
    from mlgitops.batch.job import Job

    out = source.with_name("scores.parquet")
    start = time.perf_counter()
    Job(source, out, version, backend=backend).run()
    seconds = time.perf_counter() - start
    with out.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    out.unlink()
    return digest, seconds


def scanned(folder: Path, backend: str) -> tuple[bytes, float]:
    """Return the entries and counts of a log, and how many seconds they took."""
    from mlgitops import settings
    from mlgitops.monitor import scan, window

    scan.FEW = 0
    limits = settings.monitor(settings.load(Path("params.yaml").read_bytes()))
    start = time.perf_counter()
    log = window.read_log(str(folder), limits, shipped.DAYS, backend=backend)
    seconds = time.perf_counter() - start
    digest = hashlib.sha256()
    for entry in log.entries:
        digest.update(repr(entry).encode())
    digest.update(repr((sorted(log.counts.items()), log.share)).encode())
    return digest.digest(), seconds


def empty(backend_name: str) -> tuple[bytes, float]:
    """Return the seconds of a run without anything to compute."""
    from mlgitops.cluster.backend import opened

    start = time.perf_counter()
    with opened(backend_name, []) as backend:
        list(backend.over(pow, 2)([3]))
    return b"", time.perf_counter() - start


def alone(task: str, rows: int, home: Path, backend: str) -> None:
    """Do one of them in this process, and print what it took as JSON."""
    os.chdir(home / "project")
    sys.path.insert(0, str(home / "project"))
    begun = time.process_time()
    if task == "empty":
        digest, seconds = empty(backend)
    elif task == "search":
        digest, seconds = search(rows, backend)
    elif task == "score":
        digest, seconds = scored(home / f"{rows}.parquet", home / "version", backend)
    else:
        digest, seconds = scanned(home / f"log-{rows}", backend)
    found = {"seconds": seconds, "here": time.process_time() - begun}
    found |= {"memory": peak(os.getpid())}
    print(json.dumps({**found, "digest": hashlib.sha256(digest).hexdigest()}))


def run(task: str, rows: int, home: Path, address: str, workers: list[int]) -> Run:
    """Return what a run took, in a process of its own."""
    processes = [pid for worker in workers for pid in family(worker)]
    for pid in processes:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # its peak starts anew
    before = sum(map(cpu, processes))
    command = (PYTHON, "-W", "ignore", "-m", "benchmarks.cluster", task, str(rows))
    command += (str(home), "dask" if address else "local")
    alike = {"OMP_NUM_THREADS": "1"}  # as tasks have: a fit does not share the cores
    environment = {**os.environ, **alike, "DASK_SCHEDULER_ADDRESS": address}
    done = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    of_workers = [[*family(worker)] for worker in workers]
    there = sum(cpu(pid) for pids in of_workers for pid in pids) - before
    worker = max((sum(map(peak, pids)) for pids in of_workers), default=0.0)
    facts = json.loads(done.stdout.splitlines()[-1])
    return Run(there=there, worker=worker, **facts)


def family(pid: int) -> Iterator[int]:
    """Yield a process and those that it has started."""
    yield pid
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        for child in (thread / "children").read_text().split():
            yield from family(int(child))


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def peak(pid: int) -> float:
    """Return the largest size of a process, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def sizes(task: str) -> list[int]:
    """Return the rows that a task is measured with."""
    largest = max(LARGEST // SEARCHED if task == "search" else LARGEST, SMALLEST)
    steps = [SMALLEST * 10**n for n in range(9)]
    return [*(rows for rows in steps if rows < largest), largest]


def made(home: Path, task: str, rows: int) -> str:
    """Write what a task reads; return why it is left out, where it is."""
    free, needed = shutil.disk_usage(gettempdir()).free, rows * DISK.get(task, 0)
    if needed > 0.9 * free:
        return (
            f"{TASKS[task]} of {rows:,} rows is not measured: it would take about "
            f"{needed / 1e9:,.0f} GB of disk, and {free / 1e9:,.0f} GB are free"
        )
    if task == "score":
        write(home / f"{rows}.parquet", chunks(rows))
    if task == "scan":
        shipped.write(home / f"log-{rows}", rows, KINDS, "a" * 64)
    return ""


def measure(home: Path) -> tuple[Runs, list[str]]:
    """Return what every run took, and what was left out.

    Raises:
        SystemExit: a way gave something else than the first.
    """
    fit(home / "version", "hist_gradient_boosting")
    known, left_out = list[tuple[str, int]](), list[str]()
    for task in TASKS:
        for rows in sizes(task):
            if reason := made(home, task, rows):
                left_out.append(reason)
                break
            known.append((task, rows))
    runs: Runs = {}
    for count in WORKERS:
        with cluster(home, count) as (address, workers):
            for task, rows in [("empty", 0), *known]:
                found = runs[task, rows, count] = run(
                    task, rows, home, address, workers
                )
                if found.digest != runs[task, rows, 0].digest:
                    raise SystemExit(f"{task} of {rows:,} rows: {count} differ")
                print(f"{NAMES[count]:10} {task:8} {rows:>12,} {found.seconds:>8.1f} s")
    return runs, left_out


def table(runs: Runs) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| | rows | where | s | CPU s here | of workers | MB here | a worker |"]
    lines.append("|---|---:|---|---:|---:|---:|---:|---:|")
    for (task, rows, count), r in sorted(runs.items(), key=_order):
        name, size = TASKS.get(task, "an empty run"), f"{rows:,}" if rows else ""
        there = f"{r.there:,.1f}" if count else ""
        worker = f"{r.worker:,.0f}" if count else ""
        cells = f"{r.seconds:,.1f} | {r.here:,.1f} | {there} | {r.memory:,.0f}"
        lines.append(f"| {name} | {size} | {NAMES[count]} | {cells} | {worker} |")
    return lines


def _order(item: tuple[tuple[str, int, int], Run]) -> tuple[int, int, int]:
    task, rows, count = item[0]
    return ["empty", *TASKS].index(task), rows, count


def pays(runs: Runs, task: str) -> list[str]:
    """Return from which measured size on each number of workers is sooner."""
    lines = []
    for count in WORKERS[1:]:
        of = sorted(rows for name, rows, n in runs if (name, n) == (task, count))
        first = None
        for rows in reversed(of):
            local = runs[task, rows, 0].seconds
            if runs[task, rows, count].seconds >= (1 - NOISE) * local:
                break
            first = rows
        where = f"from {first:,} rows on" if first else f"at no size up to {of[-1]:,}"
        if first == of[-1]:
            where = f"at {first:,} rows, no more were measured"
        lines.append(f"{NAMES[count]} {where}")
    return lines


def farther(runs: Runs, task: str) -> str:
    """Return what workers with cores of their own would take: extrapolated.

    The process here works beside the workers, so that it takes at least its own CPU
    seconds, and at least a share of theirs. Seconds of 100 million rows follow from the
    two largest sizes.
    """
    few, many = sorted({rows for name, rows, _ in runs if name == task})[-2:]

    def at(rows: int, count: int, what: str) -> float:
        low, high = (float(getattr(runs[task, n, count], what)) for n in (few, many))
        return high + max(high - low, 0.0) * (rows - many) / (many - few)

    cells = []
    for rows in (many,) if task == "search" else (many, FARTHEST):
        here, there = at(rows, 1, "here"), at(rows, 1, "there")
        likely = [f"{max(here, there / count):,.0f}" for count in (1, 4, 16)]
        cells.append(f"{rows:,} | {at(rows, 0, 'seconds'):,.0f} | {' | '.join(likely)}")
    return "\n".join(f"| {TASKS[task]} | {cell} |" for cell in cells)


def page(runs: Runs, left_out: list[str], load: float) -> str:
    """Return cluster.md."""
    cores, most = len(os.sched_getaffinity(0)), max(WORKERS)
    searched = [task for task in TASKS if len(sizes(task)) > 1]
    lines = [
        "# A cluster of Dask beside one process",
        "",
        f"Written by `make cluster ROWS={LARGEST}` on {cores} cores at load"
        f" {load:.1f},",
        "which the program, the scheduler and all workers share:",
        f"{most} workers on {cores} cores show what more workers cost, not",
        "what they gain. Workers have run this code before; the empty run is the",
        "first, and has nothing to compute. Each way gave the same: the scores of",
        "every fold, the bytes of every prediction, the entries and counts of the log.",
        "",
        SOONER,
        "",
        *(f"- {TASKS[task]}: {'; '.join(pays(runs, task))}." for task in TASKS),
        *(f"- {reason}." for reason in left_out),
        "",
        "![Seconds by rows, in one process and on workers](cluster.svg)",
        "",
        "## Extrapolated, not measured: workers with cores of their own",
        "",
        "At least the CPU seconds of the process here, and at least those of the",
        "workers divided by their number, without a network; more rows by the two",
        "largest sizes.",
        "",
        "| | rows | local s | 1 worker | 4 workers | 16 workers |",
        "|---|---:|---:|---:|---:|---:|",
        *(farther(runs, task) for task in searched),
        "",
        "## Measured",
        "",
        *table(runs),
    ]
    return "\n".join(lines) + "\n"


def chart(runs: Runs) -> str:
    """Return an SVG: the seconds of each task along the rows."""
    panels = []
    for task, name in TASKS.items():
        along: dict[str, dict[int, float]] = {NAMES[count]: {} for count in WORKERS}
        for (kind, rows, count), found in runs.items():
            if kind == task:
                along[NAMES[count]][rows] = found.seconds
        panels.append(curves.Panel(f"{name.replace('`', '')}, s", along))
    return curves.chart(panels)


def quoted() -> str:
    """Return what docs/cluster.md says of the page: its command, and what pays."""
    text = (HERE / "cluster.md").read_text(encoding="utf-8")
    (command,) = re.findall(
        r"`make cluster ROWS=\d+` on \d+ cores at load [\d.]+", text
    )
    said = text.partition(SOONER)[2].partition("![")[0].strip()
    return f"{BEGIN}\nWith {command}, sooner than one process was:\n\n{said}\n\n{END}"


def quote() -> None:
    """Write it into docs/cluster.md."""
    text = DOCS.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    DOCS.write_text(f"{before}{quoted()}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> None:
    """Measure in a repository of its own and write both files."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that workers end, too
    with TemporaryDirectory(prefix="cluster-") as name:
        home = Path(name)
        sys.path.insert(0, str(project(home / "project")))
        load = os.getloadavg()[0]
        print(f"load {load:.1f}")
        runs, left_out = measure(home)
    (HERE / "cluster.md").write_text(page(runs, left_out, load), encoding="utf-8")
    (HERE / "cluster.svg").write_text(chart(runs), encoding="utf-8")
    quote()


if __name__ == "__main__":
    if sys.argv[1:]:
        alone(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
    else:
        main()
