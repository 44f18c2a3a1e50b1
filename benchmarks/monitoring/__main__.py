"""Runs the parts that are named, or all of them, and writes tables and plots.

python -m benchmarks.monitoring [PART ...] --data FOLDER [--results FOLDER]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.monitoring import cost, data, false_alarms, plot, power, real

RESULTS = Path(__file__).resolve().parents[1] / "results"
PROOF = bool(os.environ.get("PROOF"))
Rows = list[dict[str, Any]]


def main() -> None:
    """Run, write, and say where."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitoring")
    parser.add_argument("parts", nargs="*", help="false-flights, cost, ...; all")
    parser.add_argument("--data", type=Path, required=True, help="where nannyml lies")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    where, windows = args.data.resolve(), 2000 if PROOF else 50
    shares = (windows, 200, 20) if PROOF else (windows, 6, 2)
    parts: dict[str, Callable[[], Rows]] = {
        "false-flights": lambda: false_alarms.by_size(data.flights_pool(), *shares),
        "false-census": lambda: false_alarms.by_size(data.census_pool(where), *shares),
        "weeks": lambda: false_alarms.by_week(*((50, 40) if PROOF else (4, 15))),
        "power": lambda: power.power(data.shuffled_flights(), windows // 10),
        "discrete": lambda: power.discrete(windows // 10),
        "delay": lambda: power.delay(data.shuffled_flights(), windows // 20),
        "real": real.months,
        "census": lambda: real.census_years(data.census(where)),
        "cost": lambda: cost.against_rows((10_000, 100_000, 1_000_000)),
        "long": lambda: [cost.long_log(100_000_000 if PROOF else 2_000_000)],
    }
    results = args.results.resolve()
    results.mkdir(exist_ok=True)
    chosen = args.parts or list(parts)
    with TemporaryDirectory() as folder:
        os.chdir(folder)  # the monitor's cache of thresholds stays here
        for name in chosen:
            rows = parts[name]()
            plot.write(results / f"monitoring-{name}", rows)
    print(f"written to {results}")


if __name__ == "__main__":
    main()
