"""What `make data` of a CSV costs beside DuckDB alone on the same file: `make table`.

The file has 55 columns. `PROOF=1` makes it 2 GB (2 M rows); `ROWS=` any other size.
Two bases, each a process of its own with the same memory limit:

    read   every value typed, its columns' maxima taken, nothing written
    write  the same, written to one Parquet file compressed as `make data` does

`make data` reads, types, counts, looks for ids, duplicates, leakage, fits a quick
model, draws a page, writes that Parquet file and has DVC hash it. The goal: at most 3
times the CPU seconds of `read`, within 2 GB of memory.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.cost import PYTHON, Cost, Page, csv, project, run

ROWS = int(os.environ.get("ROWS", "2000000" if os.environ.get("PROOF") else "200000"))
RUNS = 2
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


def measured(file: Path, folder: Path) -> dict[str, Cost]:
    """Return the costs of the two bases and of `make data`, one after the other."""
    home = project(folder / "project")
    found = {
        kind: run((PYTHON, "-c", BASE, str(file), kind), folder / "project")
        for kind in ("read", "write")
    }
    options = (f"--file={file}", "--target=churned")
    found["make data"] = run((PYTHON, "-m", "mlgitops", "data", *options), home)
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
    page.say(f"goal: {FACTOR} times the CPU of read, {PEAK:,} MB (mean of {RUNS} runs)")
    page.write()


if __name__ == "__main__":
    main()
