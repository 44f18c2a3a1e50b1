"""Time what explains models of wide tables: two real ones of up to 1,000 columns.

Writes benchmarks/wide.md: columns, seconds to train both, CPU seconds of the whole
judge and of what explains (importance and dependence), the largest file that these hand
to a child, and the peak memory of a process. `WIDTHS=100,1000` chooses other widths.
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

import pandas as pd
import yaml

from benchmarks.cost import Page
from benchmarks.validation import project, side, table

WIDTHS = [int(n) for n in os.environ.get("WIDTHS", "100,300,1000").split(",")]
TRAINED, HELD_OUT = 4_000, 2_800  # rows
GOAL = "goal: explain at 1,000 columns within 60 s"
TITLE = "The judge on wide tables"
HEAD = " columns  train s    CPU s explain s  file MB  peak MB"
JUDGE = """
import os, sys
from mlgitops.judge import columns, explain, judge
add, write, sizes = explain.add, columns.write, []
def kept(file, *arguments):
    write(file, *arguments)
    sizes.append(file.stat().st_size)
def timed(evaluation):
    columns.write, before = kept, sum(os.times()[:4])
    add(evaluation)
    columns.write = write
    print(sum(os.times()[:4]) - before, max(sizes), flush=True)
explain.add = timed
judge.main()
"""


def measure(width: int) -> str:
    """Return a row of the table."""
    with TemporaryDirectory(prefix="wide-") as name:
        folder = Path(name)
        home = folder / "project"
        home.mkdir()
        params, columns = project(home, width - 3)
        os.chdir(home)
        sys.path.insert(0, str(home))
        learnt = table(TRAINED, width=width - 3)
        learnt["time"] -= pd.Timedelta(days=20)
        start = time.perf_counter()
        side(folder / "champion", learnt, columns[:6], params)
        side(folder / "challenger", learnt, columns, params)
        trained = time.perf_counter() - start
        params["prepare"]["holdout_days"] = 45
        (home / "params.yaml").write_text(yaml.safe_dump(params))
        frame = table(TRAINED + HELD_OUT, width=width - 3)
        frame.loc[: TRAINED - 1, "time"] -= pd.Timedelta(days=20)
        frame.loc[TRAINED:, "time"] += pd.Timedelta(days=60)
        frame.to_parquet(folder / "raw.parquet")
        before = os.times()
        command = (sys.executable, "-c", JUDGE, str(folder))
        said = subprocess.check_output(command, text=True).split()
        after = os.times()
        found = json.loads((folder / "judgement.json").read_bytes())
        if not said or not found.get("importance"):
            raise SystemExit(f"nothing was explained: {found['checks']}")
        cpu = after.children_user + after.children_system
        cpu -= before.children_user + before.children_system
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
        row = f"{width:>8,} {trained:>8.1f} {cpu:>8.1f} {float(said[0]):>9.1f}"
        return f"{row} {int(said[1]) / 1e6:>8.1f} {peak:>8,.0f}"


def main() -> None:
    """Print the table; write benchmarks/wide.md."""
    widths = os.environ.get("WIDTHS")
    page = Page("wide.md", TITLE, "make wide" + (f" WIDTHS={widths}" if widths else ""))
    page.say(f"{TRAINED:,} rows trained on, {HELD_OUT:,} held out; CPU seconds of")
    page.say("the whole judge, and of importance and dependence (explain)")
    page.say(HEAD)
    for width in WIDTHS:
        page.say(measure(width))
    page.say(GOAL)
    page.write()


if __name__ == "__main__":
    main()
