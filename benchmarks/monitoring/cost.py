"""What a verdict costs, against rows, and beside a plain Evidently run.

Both start from the same rows on disk: ours from the log as the server writes it (lines
of JSON) and the reference, Evidently from Parquet, which is read many times faster.
Each measurement is a process of its own, so that peak memory is its own too; imports
are not timed, but their memory counts.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.monitoring.data import settings
from benchmarks.monitoring.look import evidence, evidently
from mlgitops.monitor import data_quality, sample, window
from mlgitops.monitor.reference import Reference
from mlgitops.pipeline.contract import Contract
from mlgitops.settings import monitor

NUMBERS, CATEGORIES = 14, 6
MOVED = ("n3", "n7", "c2")
PART = 100_000  # rows of the log that are made at a time
FILE = 1_000_000  # lines of one partition of a very long log
DISTINCT = 10  # partitions that are written; the others are links to them
MOST = 4 * 2**30  # bytes that reading a very long log may take


def table(rows: int, seed: int, moved: bool) -> pd.DataFrame:
    """Return made-up rows of 20 columns; three of them may have moved."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {"id": np.arange(rows) + seed * 10**9}
    for at in range(NUMBERS):
        shift = 0.4 if moved and f"n{at}" in MOVED else 0.0
        found[f"n{at}"] = rng.normal(shift, 1, rows).round(4).astype("float32")
    words = np.array([f"w{i}" for i in range(12)], dtype=object)
    for at in range(CATEGORIES):
        most = 5 if moved and f"c{at}" in MOVED else 12
        found[f"c{at}"] = words[rng.integers(0, most, rows)]
    found["probability"] = rng.beta(2, 5, rows).round(6)
    found["late"] = (rng.random(rows) < found["probability"]).astype("int8")
    found["time"] = pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(
        np.linspace(0, 28 * 86_400 - 1, rows).astype("int64"), unit="s"
    )
    return pd.DataFrame(found).astype({"id": "str"})


def contract() -> Contract:
    """Return the contract of those rows."""
    numbers = {f"n{i}": {"type": "number", "missing": True} for i in range(NUMBERS)}
    words = [f"w{i}" for i in range(12)]
    kinds = {"type": "category", "missing": True, "categories": words}
    columns = numbers | {f"c{i}": kinds for i in range(CATEGORIES)}
    words_ = {"name": "cost", "task": "binary", "id": "id", "time": "time"}
    return Contract.parse({**words_, "target": "late", "columns": columns})


def ours(folder: Path) -> list[str]:
    """Read the reference and the log, and return the columns that drifted."""
    params = settings(block_days=0, min_labels=10**9)
    log = window.read_log(str(folder), monitor(params), days=28, labelled=False)
    rows = window.frame(log.entries, {}, contract())
    valid = data_quality.quarantine(rows, contract()).valid
    seen = evidence(valid, _version(sample.table(folder / "past.parquet")), params)
    return [drift.column for drift in seen.columns if drift.detected]


def theirs(folder: Path) -> list[str]:
    """Read the same rows, and return the columns that Evidently calls drifted."""
    names = list(contract().columns)
    sides = [pd.read_parquet(folder / f"{n}.parquet")[names] for n in ("now", "past")]
    return evidently(*sides, contract())


def write(folder: Path, rows: int) -> None:
    """Write the reference, and the window both as a log and as a table."""
    folder.mkdir()
    table(rows, 0, False).to_parquet(folder / "past.parquet", index=False)
    now = table(rows, 1, True)
    now.to_parquet(folder / "now.parquet", index=False)
    for start in range(0, rows, PART):
        day = folder / f"predictions-2020-01-{start // PART % 28 + 1:02}.jsonl"
        with day.open("a", encoding="utf-8") as file:
            file.writelines(_lines(now[start : start + PART]))


def measure(kind: str, folder: Path, warm: Path) -> dict[str, Any]:
    """Measure one run in this process: seconds, MB, columns found.

    Seconds of a processor say the same on a machine that has other things to do.
    """
    run = ours if kind == "ours" else theirs
    run(warm)  # imports are not timed
    begun, worked = time.perf_counter(), time.process_time()
    found = run(folder)
    return {
        "seconds": time.perf_counter() - begun,
        "of a processor": time.process_time() - worked,
        "peak MB": peak(),
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
        with TemporaryDirectory() as name:
            warm, folder = Path(name, "warm"), Path(name, "rows")
            write(warm, 1000)
            write(folder, rows)
            pair = {kind: child(kind, folder, warm) for kind in ("ours", "theirs")}
        ours, theirs = pair["ours"], pair["theirs"]
        entry = {
            "rows": rows,
            "seconds": ours["seconds"],
            "Evidently, seconds": theirs["seconds"],
            "times faster": theirs["seconds"] / ours["seconds"],
            "times less work": theirs["of a processor"] / ours["of a processor"],
            "peak MB": ours["peak MB"],
            "Evidently, peak MB": theirs["peak MB"],
            "share of its memory": ours["peak MB"] / theirs["peak MB"],
            "same columns": ours["columns"] == theirs["columns"] == sorted(MOVED),
        }
        print(entry, flush=True)
        found.append(entry)
    return found


def long_log(rows: int) -> dict[str, Any]:
    """Time the verdict on a partitioned log of so many rows, in at most 4 GiB.

    `DISTINCT` partitions are written, and dropped from the system's cache; the rest
    are further names of the same files, which then come from that cache if it is
    large enough.
    """
    with TemporaryDirectory() as name:
        warm, folder = Path(name, "warm"), Path(name, "rows")
        write(warm, 1000)
        folder.mkdir()
        table(FILE, 0, False).to_parquet(folder / "past.parquet", index=False)
        files = max(rows // FILE, 1)
        for number in range(files):
            part = folder / f"predictions-{number:03}.jsonl"
            if number >= DISTINCT:
                os.link(folder / f"predictions-{number % DISTINCT:03}.jsonl", part)
                continue
            with part.open("w", encoding="utf-8") as file:
                for block in range(FILE // PART):
                    file.writelines(_lines(table(PART, 1 + number * 10 + block, True)))
                file.flush()
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
        told = child("ours", folder, warm, MOST)
    entry = {
        "rows": files * FILE,
        "GB": size / 1e9,
        "of them from disk": min(DISTINCT / files, 1.0),
        "seconds": told["seconds"],
        "of a processor": told["of a processor"],
        "peak MB": told["peak MB"],
        "found what moved": told["columns"] == sorted(MOVED),
    }
    print(entry, flush=True)
    return entry


def child(kind: str, folder: Path, warm: Path, most: int | None = None) -> Any:
    """Measure in a fresh process, without its cache of thresholds."""
    code = (
        "import json, pathlib, sys; from benchmarks.monitoring.cost import measure; "
        "print(json.dumps(measure(sys.argv[1], *map(pathlib.Path, sys.argv[2:]))))"
    )

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (most or resource.RLIM_INFINITY,) * 2)

    with TemporaryDirectory() as place:
        done = subprocess.run(
            (sys.executable, "-W", "ignore", "-c", code, kind, folder, warm),
            check=True,
            stdout=subprocess.PIPE,
            cwd=place,
            preexec_fn=bounded,
        )
    return json.loads(done.stdout.decode().splitlines()[-1])


def _lines(rows: pd.DataFrame) -> list[str]:
    """Return the rows as the server logs them."""
    columns = list(contract().columns)
    given = rows[columns].to_json(orient="records", lines=True).splitlines()
    about = zip(
        rows["id"], rows["time"].astype("str"), rows["probability"], given, strict=True
    )
    sha = "a" * 64
    return [
        f'{{"id":"{key}","time":"{when}","manifest_sha256":"{sha}",'
        f'"probability":{said},"row":{row}}}\n'
        for key, when, said, row in about
    ]


def _version(past: pd.DataFrame) -> Reference:
    """Return a reference of those rows."""
    cut = len(past) * 3 // 4
    known = contract()
    manifest = {"columns": list(known.columns)}
    even = dict.fromkeys(known.columns, 1 / len(known.columns))
    name = f"cost {len(past)}"
    return Reference("v1", name, manifest, known, past[:cut], past[cut:], even)
