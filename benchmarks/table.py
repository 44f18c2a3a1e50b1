"""What `make data` of a CSV costs beside DuckDB alone on the same file: `make table`.

The file has 55 columns. `PROOF=1` makes it 2 GB (2 M rows); `ROWS=` any other size.
Each in processes of its own, the first two with the same memory limit:

    read   DuckDB: every value typed, its columns' maxima taken, nothing written
    write  DuckDB: the same, written to one Parquet file compressed with zstd
    track  the sha256 of the CSV, and `dvc add` of the Parquet file: its md5 and a copy

`make data` reads, types, counts, looks for ids, duplicates, leakage, fits a quick
model, draws a page, writes its Parquet file and does what `track` does. The goal: at
most 3 times the CPU seconds of `read`, within 2 GB of memory. A run on few rows comes
first, so that Python has compiled everything.
"""

from __future__ import annotations

import os
import shutil
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cost import PYTHON, Cost, Page, csv, project, run

ROWS = int(os.environ.get("ROWS", "2000000" if os.environ.get("PROOF") else "200000"))
RUNS, FEW = 2, 1_000
KINDS = ["number"] * 42 + ["count"] * 4 + ["area"] * 4 + ["gap", "member"]
FACTOR, PEAK = 3, 2_000
BASE = """
import duckdb, sys
path, kind = sys.argv[1:]
connection = duckdb.connect()
connection.execute("set memory_limit = '1GB'")
source = f"read_csv('{path}')"
sql = f"copy (from {source}) to 'base.parquet' (format parquet, compression zstd)"
if kind == "read":
    names = [row[0] for row in connection.execute(f"describe from {source}").fetchall()]
    maxima = ", ".join(f"max({name})" for name in names)
    sql = f"select {maxima} from {source}"
connection.execute(sql).fetchall()
"""
TRACK = """
import hashlib, pathlib, subprocess, sys
file = pathlib.Path(sys.argv[1])
with file.open("rb") as stream:
    hashlib.file_digest(stream, "sha256")
dvc = (sys.executable, "-m", "dvc")
subprocess.run([*dvc, "add", "--no-relink", f"data/{file.stem}.parquet"], check=True)
"""


def measured(file: Path, folder: Path) -> dict[str, Cost]:
    """Return the costs of the two bases and of `make data`, one after the other."""
    home, apart = project(folder / "project"), project(folder / "apart")
    found = {
        kind: run((PYTHON, "-c", BASE, str(file), kind), apart)
        for kind in ("read", "write")
    }
    options = (f"--file={file}", "--target=churned")
    found["make data"] = run((PYTHON, "-m", "mlgitops", "data", *options), home)
    shutil.copy(home / "data" / f"{file.stem}.parquet", apart / "data")
    found["track"] = run((PYTHON, "-c", TRACK, str(file)), apart)
    return found


def main() -> None:
    """Print what each costs, and the ratios; write benchmarks/table.md."""
    proof = "PROOF=1" if os.environ.get("PROOF") else f"ROWS={ROWS}"
    title = "`make data` beside DuckDB alone"
    page, runs = Page("table.md", title, f"make table {proof}"), []
    with TemporaryDirectory(prefix="table-") as name:
        file = Path(name, "customers.csv")
        csv(file, ROWS, KINDS)
        size = file.stat().st_size / 1e9
        page.say(f"{ROWS:,} rows, {len(KINDS) + 3} columns, {size:.2f} GB of CSV")
        few = Path(name, "few", file.name)
        few.parent.mkdir()
        csv(few, FEW, KINDS)
        measured(few, few.parent)
        for number in range(RUNS):
            folder = Path(name, str(number))
            folder.mkdir()
            runs.append(measured(file, folder))
    page.say(f"{'':10} {'CPU s':>7} {'wall s':>7} {'peak MB':>8}")
    cpu = {}
    for kind in runs[0]:
        costs = [found[kind] for found in runs]
        cpu[kind] = statistics.mean(cost.cpu for cost in costs)
        wall = statistics.mean(cost.wall for cost in costs)
        peak = max(cost.peak for cost in costs)
        page.say(f"{kind:10} {cpu[kind]:>7.1f} {wall:>7.1f} {peak:>8,.0f}")
    for kind in ("read", "write"):
        page.say(f"{cpu['make data'] / cpu[kind]:.2f} times the CPU of {kind}")
    without = cpu["make data"] - cpu["track"]
    page.say(f"{without / cpu['read']:.2f} times that of read, without track")
    page.say(f"goal: {FACTOR} times the CPU of read, {PEAK:,} MB (mean of {RUNS} runs)")
    page.write()


if __name__ == "__main__":
    main()
