"""What reading a shipped log costs the monitor, by columns and by line: `make logs`.

Rows of 20 columns, as a server logs them, in Parquet parts as they are shipped. Each
reading is a process of its own. By line is what the monitor did before: the same code
with its reading of columns switched off, so that both must find the same entries.

Fewer entries than usual are kept in memory, so that a log that is quickly made costs
what each million rows of a very long one does. `ROWS=` sets other sizes.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.cost import TEMPLATE, Page

sys.path.insert(0, str(TEMPLATE))

ROWS = tuple(map(int, os.environ.get("ROWS", "50000,250000").split(",")))
PART = 25_000  # rows of a part, about what a busy server ships in a few minutes
DAYS = 56  # of the log; the window is half of it
WINDOW = 28
KEPT = 5_000  # entries, in place of window.MAX_ENTRIES


def write(folder: Path, rows: int) -> tuple[float, float]:
    """Write a shipped log; return the bytes of a row as logged, and as shipped."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mlgitops.shipping.parts import BATCH, ENTRIES

    rng, logged, start = (
        np.random.default_rng(0),
        0,
        np.datetime64("2026-01-01T00:00:00"),
    )
    for first in range(0, rows, PART):
        count = min(PART, rows - first)
        seconds = (np.arange(first, first + count) * (DAYS * 86_400 / rows)).astype(int)
        times = np.datetime_as_string(start + seconds, unit="s")
        values = np.round(rng.normal(0, 1, (count, 14)), 4).tolist()
        words = rng.integers(0, 12, (count, 6)).tolist()
        answers = np.round(rng.beta(2, 5, count), 6).tolist()
        keys = rng.integers(2**48, size=count).tolist()
        table: list[tuple[Any, ...]] = []
        for n in range(count):
            row_id, when = f"{keys[n]:012x}{first + n}", f"{times[n]}+00:00"
            row = {f"n{i}": value for i, value in enumerate(values[n])}
            row |= {f"c{i}": f"w{word}" for i, word in enumerate(words[n])}
            text = json.dumps(
                {
                    "id": row_id,
                    "time": when,
                    "manifest_sha256": "a" * 64,
                    "version": "v1.0.0",
                    "probability": answers[n],
                    "decision": answers[n] > 0.5,
                    "logged_at": when,
                    "row": row,
                }
            )
            text += "\n"
            logged += len(text)
            table.append((row_id, when, when, "a" * 64, "v1.0.0", text, len(text)))
        day = times[0][:10]
        part = folder / f"day={day}" / f"predictions-{day}-{first:012}.parquet"
        part.parent.mkdir(parents=True, exist_ok=True)
        arrays = zip(zip(*table, strict=True), ENTRIES.types, strict=True)
        columns = [pa.array(values_, kind) for values_, kind in arrays]
        whole = pa.Table.from_arrays(columns, schema=ENTRIES)
        pq.write_table(whole, part, compression="zstd", row_group_size=BATCH)
    shipped = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    return logged / rows, shipped / rows


def read(folder: str, kind: str) -> None:
    """Read the log here, and print what it cost and what was found as JSON."""
    from mlgitops import settings
    from mlgitops.monitor import scan, window

    window.MAX_ENTRIES = KEPT
    if kind == "line":
        scan.has_columns = lambda path: False
    params = settings.load((TEMPLATE / "params.yaml").read_bytes())
    start = time.perf_counter()
    log = window.read_log(folder, settings.monitor(params), WINDOW)
    wall = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    digest = hashlib.sha256(repr(log.entries).encode()).hexdigest()
    found = {"wall": wall, "cpu": used.ru_utime + used.ru_stime}
    found |= {"peak": used.ru_maxrss / 1000, "entries": len(log.entries)}
    print(json.dumps(found | {"digest": digest, "counts": log.counts}))


def cost(folder: Path, kind: str) -> dict[str, Any]:
    """Return what one reading costs, in a process of its own."""
    path = f"{Path(__file__).parents[1]}:{TEMPLATE}"
    command = (
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "benchmarks.logs",
        str(folder),
        kind,
    )
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Read logs of every size both ways; write benchmarks/logs.md."""
    title = "The monitor's reading of a shipped log"
    page = Page("logs.md", title, f"make logs ROWS={','.join(map(str, ROWS))}")
    page.say(f"{'rows':>12} {'by':8} {'wall s':>7} {'CPU s':>7} {'MB':>6} {'kept':>8}")
    before: dict[str, tuple[int, float]] = {}
    slopes, sizes = dict[str, float](), (0.0, 0.0)
    for rows in ROWS:
        with TemporaryDirectory(prefix="logs-") as name:
            sizes, found = write(Path(name), rows), {}
            for kind in ("line", "columns"):
                found[kind] = one = cost(Path(name), kind)
                numbers = f"{one['wall']:>7.1f} {one['cpu']:>7.1f} {one['peak']:>6,.0f}"
                page.say(f"{rows:>12,} {kind:8} {numbers} {one['entries']:>8,}")
                at, cpu = before.get(kind, (0, 0.0))
                slopes[kind] = (one["cpu"] - cpu) / (rows - at) * 1e6
                before[kind] = rows, one["cpu"]
        same = all(
            found["line"][n] == found["columns"][n] for n in ("digest", "counts")
        )
        ratio = found["line"]["cpu"] / found["columns"]["cpu"]
        page.say(f"{rows:>12,} {ratio:.1f} times less CPU; the same entries: {same}")
    each = ", ".join(f"{slopes[kind]:.2f} s by {kind}" for kind in slopes)
    page.say(f"at most {KEPT:,} entries kept, in place of 500,000")
    page.say(f"CPU of each further million rows: {each}")
    page.say(f"bytes of a row: {sizes[0]:.0f} as logged, {sizes[1]:.0f} as shipped")
    page.write()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        read(*sys.argv[1:])
    else:
        main()
