"""How long a bake takes in process, beside copying the same files: `make benchmark`.

Goal: under a second, so that nobody waits between an answer and a repository.
"""

import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parent.parent
RUNS = 7


def seconds(action: Callable[[Path], object], folder: Path) -> float:
    """Return the median time of ``action`` on fresh folders, in seconds."""
    durations = []
    for number in range(RUNS):
        target = folder / f"{action.__name__}-{number}"
        start = time.perf_counter()
        action(target)
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def main() -> None:
    """Print both medians and their ratio."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        template = folder / "template"
        listed = subprocess.run(
            ("git", "ls-files", "-z"), cwd=ROOT, capture_output=True, check=True
        )
        for file in filter(None, listed.stdout.decode().split("\0")):
            (template / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, template / file)

        def bake(target: Path) -> None:
            """Generate a project with the default answers."""
            cookiecutter(str(template), no_input=True, output_dir=str(target))

        project = folder / "project"
        bake(project)

        def copy(target: Path) -> None:
            """Copy a generated project."""
            shutil.copytree(project, target)

        bake_s, copy_s = seconds(bake, folder), seconds(copy, folder)
    print(f"bake {bake_s * 1000:.0f} ms, copy of the same files {copy_s * 1000:.0f} ms")
    print(f"ratio {bake_s / copy_s:.1f} (median of {RUNS}); goal: a bake under 1000 ms")


if __name__ == "__main__":
    main()
