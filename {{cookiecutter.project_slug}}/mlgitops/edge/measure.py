"""Say how large the edge bundle is, and how soon it answers after a cold start.

    python -m mlgitops edge-measure [FOLDER] [RUNS]

Builds the bundle of a folder (build/ by default), starts it anew several times, and
prints the fastest, the middle and the slowest start, up to the first answer.
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
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "run.py"], cwd=bundle, input=rows, capture_output=True
        )
        if done.returncode:
            raise SystemExit(done.stderr.decode().strip())
        found.append(time.perf_counter() - began)
    return sorted(found)


def main(arguments: list[str] | None = None) -> None:
    """Build, start, print."""
    arguments = sys.argv[1:] if arguments is None else arguments
    folder = Path(arguments[0] if arguments else "build")
    runs = int(arguments[1]) if arguments[1:] else 5
    with TemporaryDirectory() as name:
        place = Path(name)
        try:
            golden = load_manifest(folder / "manifest.json")["golden"]
            build(folder, place / "bundle.zip")
        except (VerifyError, OSError) as error:
            raise SystemExit(f"refused: {error}") from None
        with zipfile.ZipFile(place / "bundle.zip") as file:
            file.extractall(place / "bundle")
        size = (place / "bundle.zip").stat().st_size / 1e6
        rows = json.dumps({"rows": [golden[0]["row"]]}).encode()
        found = starts(place / "bundle", rows, runs)
    print(
        f"the bundle is {size:.2f} MB; from start to answer: {found[0]:.2f} s at best, "
        f"{statistics.median(found):.2f} s in the middle of {runs}, {found[-1]:.2f} s"
    )
