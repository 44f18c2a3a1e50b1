"""What the cost of a request depends on: rows, columns, connections, log, workers.

    python -m benchmarks.serving.shape REPOSITORY

REPOSITORY is a generated one with a version in build/. `python -m
benchmarks.serving.compare` prints the same figures below those of the peers. A server
has the first core, `wrk` the second; with two workers the server has both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.serving import bulk, core
from benchmarks.serving.core import Speed, free, speed, started

ROWS = (1, 10, 100, 1_000)
COLUMNS = (5, 20, 80)
HEAD = (
    f"{'':<34}{'requests/s':>11}{'rows/s':>10}{'CPU us':>9}{'p50 ms':>8}{'p99 ms':>8}"
)


def measured(
    python: str,
    folder: Path,
    body: str,
    options: tuple[str, ...] = (),
    cores: str = "0",
) -> Speed:
    """Return what a server in a folder does with 16 connections."""
    with TemporaryDirectory() as name:
        script, port = Path(name, "post.lua"), free()
        script.write_text(core.LUA.replace("{body}", body))
        command = ["-m", "mlgitops.serving", "--model=build", f"--port={port}"]
        command += ["--drain=0", *(o.format(log=f"{name}/log") for o in options)]
        with started(command, folder, port, cores, python) as process:
            speed(script, port, process, 16)  # warms it up
            return speed(script, port, process, 16)


def line(name: str, found: Speed, rows: int = 1) -> str:
    """Return a line of the table."""
    return (
        f"{name:<34}{found.rate:>11,.0f}{found.rate * rows:>10,.0f}{found.cpu:>9.0f}"
        f"{found.p50:>8.2f}{found.p99:>8.2f}"
    )


def bodies(repository: Path) -> dict[int, str]:
    """Return a request with each number of rows, all like the first golden row."""
    (row,) = json.loads(core.body(repository))["rows"]
    return {n: json.dumps({"rows": [row | {"id": str(i)} for i in range(n)]})
            for n in ROWS}  # fmt: skip


def by_columns(python: str, columns: int) -> Speed:
    """Return the speed of a linear model with so many columns, a quarter of text."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "build").mkdir()
        (folder / "mlgitops").symlink_to(bulk.TEMPLATE / "mlgitops")
        texts = max(1, columns // 4)
        names = bulk.named(columns - texts, texts)
        bulk.version(folder / "build", *names)
        row = dict.fromkeys(names[0], 0.5) | dict.fromkeys(names[1], "north")
        asked = json.dumps({"rows": [{"id": "a", **row}]})
        return measured(python, folder, asked, ("--log={log}",))


def table(repository: Path, python: str = sys.executable) -> list[str]:
    """Return the lines of the table."""
    asked, log = bodies(repository), ("--log={log}",)
    lines = [HEAD]
    for rows, text in asked.items():
        name = f"rows of a request: {rows:,}"
        lines.append(line(name, measured(python, repository, text, log), rows))
    for columns in COLUMNS:
        lines.append(line(f"columns: {columns}", by_columns(python, columns)))
    lines.append(line("log off", measured(python, repository, asked[1])))
    for workers in (1, 2):
        options = (*log, f"--workers={workers}")
        found = measured(python, repository, asked[1], options, "0,1")
        lines.append(line(f"workers, beside wrk on two cores: {workers}", found))
    return lines


def main() -> None:
    """Print the table."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m benchmarks.serving.shape REPOSITORY")
    print(*table(Path(sys.argv[1]).resolve()), sep="\n")


if __name__ == "__main__":
    main()
