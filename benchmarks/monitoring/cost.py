"""What a verdict costs, against rows, and beside a plain Evidently run.

Each measurement is a process of its own, so that peak memory is its own too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from ops.monitor.reference import Reference
from pipeline.contract import Contract

from benchmarks.monitoring.data import settings
from benchmarks.monitoring.look import evidence, evidently

NUMBERS, CATEGORIES = 14, 6
MOVED = ("n3", "n7", "c2")


def table(rows: int, seed: int, moved: bool) -> pd.DataFrame:
    """Return made-up rows of 20 columns; three of them may have moved."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for at in range(NUMBERS):
        shift = 0.4 if moved and f"n{at}" in MOVED else 0.0
        found[f"n{at}"] = rng.normal(shift, 1, rows).astype("float32")
    words = np.array([f"w{i}" for i in range(12)], dtype=object)
    for at in range(CATEGORIES):
        most = 5 if moved and f"c{at}" in MOVED else 12
        found[f"c{at}"] = words[rng.integers(0, most, rows)]
    found["probability"] = rng.beta(2, 5, rows)
    found["late"] = (rng.random(rows) < found["probability"]).astype("int8")
    found["time"] = pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(
        np.linspace(0, 28 * 86_400, rows).astype("int64"), unit="s"
    )
    return pd.DataFrame(found)


def contract() -> Contract:
    """Return the contract of those rows."""
    numbers = {f"n{i}": {"type": "number", "missing": True} for i in range(NUMBERS)}
    words = [f"w{i}" for i in range(12)]
    kinds = {"type": "category", "missing": True, "categories": words}
    columns = numbers | {f"c{i}": kinds for i in range(CATEGORIES)}
    words_ = {"name": "x", "task": "binary", "id": "id", "time": "time"}
    return Contract.parse({**words_, "target": "late", "columns": columns})


def once(kind: str, rows: int) -> dict[str, Any]:
    """Measure one run in this process: seconds, MB beyond the data, columns found."""
    past, now = table(rows, 0, False), table(rows, 1, True)
    if kind == "evidently":
        evidently(now.head(100), past.head(100), contract())  # imports are not counted
    else:
        evidence(now.head(500), _version(past.head(1000)), settings(block_days=0))
    before = peak()
    begun = time.perf_counter()
    if kind == "evidently":
        found = evidently(now, past, contract())
    else:
        seen = evidence(now, _version(past), settings(block_days=0))
        found = [drift.column for drift in seen.columns if drift.found]
    seconds = time.perf_counter() - begun
    after = peak()
    return {
        "seconds": seconds,
        "peak MB": after,
        "more MB": after - before,  # beyond what the two tables needed
        "columns": sorted(found),
    }


def peak() -> float:
    """Return the largest resident size of this process so far, in MB."""
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def against_rows(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return seconds and memory of both, by rows."""
    found = []
    for rows in sizes:
        pair = {kind: _child(kind, rows) for kind in ("ours", "evidently")}
        ours, theirs = pair["ours"], pair["evidently"]
        entry = {
            "rows": rows,
            "seconds": ours["seconds"],
            "Evidently, seconds": theirs["seconds"],
            "times faster": theirs["seconds"] / ours["seconds"],
            "peak MB": ours["peak MB"],
            "Evidently, peak MB": theirs["peak MB"],
            "beyond the tables, MB": ours["more MB"],
            "Evidently, beyond": theirs["more MB"],
            "same columns": ours["columns"] == theirs["columns"] == sorted(MOVED),
        }
        print(entry, flush=True)
        found.append(entry)
    return found


def long_log(rows: int, folder: Path | None = None) -> dict[str, Any]:
    """Write a partitioned log of so many rows, and time the window read from it."""
    with TemporaryDirectory(dir=folder) as name:
        block = 100_000
        lines = _lines(block)
        for part in range(rows // block):
            day = Path(name, f"predictions-2020-01-{part % 28 + 1:02}.jsonl")
            with day.open("ab") as file:
                file.write(lines.replace(b"@@@@", b"%04d" % part))
        size = sum(path.stat().st_size for path in Path(name).iterdir())
        code = (
            "import json, sys, time\n"
            "from benchmarks.monitoring.data import settings\n"
            "from ops.monitor.window import frame, read_log\n"
            "from benchmarks.monitoring.cost import contract, peak\n"
            "begun = time.perf_counter()\n"
            "log = read_log(sys.argv[1], settings()['monitor'], days=28)\n"
            "table = frame(log.rows, {}, contract())\n"
            "print(json.dumps({'seconds': time.perf_counter() - begun,"
            " 'peak MB': peak(),"
            " 'lines counted': log.counts['lines'], 'rows looked at': len(table)}))\n"
        )
        told = subprocess.run(
            (sys.executable, "-c", code, name), check=True, capture_output=True
        )
    entry = {"rows": rows, "GB": size / 1e9, **json.loads(told.stdout)}
    print(entry, flush=True)
    return entry


def _lines(rows: int) -> bytes:
    """Return log lines whose ids hold a place for the number of the part."""
    some = table(rows, 0, False)
    names = [n for n in some if n[0] in "nc"]
    found = []
    for at, row in enumerate(some.to_dict("records")):
        given = {n: round(row[n], 4) if n[0] == "n" else row[n] for n in names[:8]}
        line = {
            "id": f"@@@@-{at:06}",
            "time": row["time"].isoformat(),
            "manifest_sha256": "a" * 64,
            "probability": round(row["probability"], 6),
            "row": given,
        }
        found.append(json.dumps(line))
    return ("\n".join(found) + "\n").encode()


def _version(past: pd.DataFrame) -> Reference:
    """Return a reference of those rows."""
    cut = len(past) * 3 // 4
    known = contract()
    manifest = {"columns": list(known.columns)}
    even = dict.fromkeys(known.columns, 1 / len(known.columns))
    name = f"cost {len(past)}"
    return Reference("v1", name, manifest, known, past[:cut], past[cut:], even)


def _child(kind: str, rows: int) -> dict[str, Any]:
    """Measure in a fresh process, without its cache of thresholds."""
    code = (
        "import json, sys; from benchmarks.monitoring.cost import once; "
        "print(json.dumps(once(sys.argv[1], int(sys.argv[2]))))"
    )
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            (sys.executable, "-W", "ignore", "-c", code, kind, str(rows)),
            check=True,
            capture_output=True,
            cwd=folder,
        )
    return dict(json.loads(done.stdout.decode().splitlines()[-1]))
