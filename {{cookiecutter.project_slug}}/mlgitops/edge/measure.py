"""Measures the size of the edge bundle and its time from start to answer.

    python -m mlgitops edge-measure [FOLDER] [RUNS]

It builds the bundle of a folder (build/ by default), starts it RUNS times (5 by
default), and prints the fastest, the median and the slowest time.
"""

import json
import statistics
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops.edge.build import build
from mlgitops.serving.verify import VerifyError, load_manifest


def starts(bundle: Path, rows: bytes, runs: int) -> list[float]:
    """Return the seconds from each start to its answer, sorted."""
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "run.py"], cwd=bundle, input=rows, capture_output=True
        )
        if process.returncode:
            raise VerifyError(process.stderr.decode(errors="replace").strip())
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)


def main() -> None:
    """Build the bundle, start it several times, print its size and times."""
    arguments = sys.argv[1:]
    folder = Path(arguments[0] if arguments else "build")
    runs = int(arguments[1]) if arguments[1:] else 5
    with TemporaryDirectory() as name:
        scratch = Path(name)
        try:
            golden = load_manifest(folder / "manifest.json")["golden"]
            build(folder, scratch / "bundle.zip")
            with zipfile.ZipFile(scratch / "bundle.zip") as file:
                file.extractall(scratch / "bundle")
            rows = json.dumps({"rows": [golden[0]["row"]]}).encode()
            seconds = starts(scratch / "bundle", rows, runs)
        except (VerifyError, OSError) as error:
            raise SystemExit(f"refused: {error}") from None
        size = (scratch / "bundle.zip").stat().st_size / 1e6
    print(
        f"the bundle has {size:.2f} MB; seconds from start to answer in {runs} runs: "
        f"best {seconds[0]:.2f}, median {statistics.median(seconds):.2f}, worst "
        f"{seconds[-1]:.2f}"
    )
