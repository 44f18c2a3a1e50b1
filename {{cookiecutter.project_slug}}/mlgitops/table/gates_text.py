"""The gates that follow from a table: floors above a dummy's value, limits by the rows.

Pure, as all that writes params.yaml.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import yaml

from mlgitops.table.baseline import DUMMY, LEAK, METRIC, WORDS, Baseline
from mlgitops.table.target import Target
from mlgitops.table.typed import Measured
from mlgitops.table.yaml_lines import scalar

CEILING = 0.98  # of the primary metric: above it a column probably has the target


@dataclass(frozen=True)
class Entry:
    """One entry of params.yaml: its path and lines; without lines it is removed."""

    path: tuple[str, ...]
    lines: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()

    @property
    def value(self) -> object:
        """What YAML reads in it."""
        parsed = yaml.safe_load("\n".join(self.lines)) if self.lines else {}
        return parsed.get(self.path[-1])


def gates(measured: Measured, target: Target, found: Baseline) -> list[Entry]:
    """Return the gates: floors above a dummy's value, limits by the number of rows."""
    task, held = target.task, max(1, measured.holdout)
    dummy, metric, words = DUMMY[task], METRIC[task], WORDS[task]
    counts = [c for _, c in target.counts]
    least = max(1.0, min(counts) * held / measured.rows) if counts else held
    reached = found.together if found.together is not None else dummy
    floor = max(dummy + 0.01, math.floor((dummy + reached) / 2 * 100) / 100)
    ceiling = max(CEILING, math.ceil((reached + 1) / 2 * 1000) / 1000)
    if any(score > LEAK[task] for score in found.alone.values()):
        ceiling = CEILING  # a column to look at first
    margin = _limit(0.6, least, 0.01, 0.2)
    others = [p for m in METRIC.values() if m != metric for p in [("gates", m)]]
    primary = (
        f"{metric}: # the primary metric: all three bounds are required",
        f"  min: {number(round(floor, 2))} # the floor: a dummy has {dummy:g}, a quick "
        f"model {reached:.2f} on rows that it did not see",
        f"  max: {number(min(1.0, ceiling))} # the leakage ceiling: above it a column "
        "probably contains the target",
        f"  margin: {number(margin)} # of {words}: {held:,} rows tell no less apart",
    )
    calibration = ("gates", "calibration_error")
    limit = 0.1 if held >= 2000 else min(0.5, round(0.1 + 1.5 / math.sqrt(held), 2))
    some = round_down(held / 2)
    slices = smallest_slice(held)
    value = _limit(1.5, least, 0.03, 0.5)
    entries = [
        Entry(("gates", metric), primary, next(iter(others))),
        *(Entry(path) for path in others),
        Entry(
            calibration,
            ()
            if task == "regression"
            else (
                "calibration_error:",
                f"  max: {number(limit)} # mean distance of probability and observed "
                "share",
            ),
        ),
        Entry(
            ("gates", "holdout"),
            (
                "holdout:",
                f"  min_rows: {some} # half of today's {held:,}: with fewer two models "
                "are hard to tell apart",
                "  max_uses: 20 # models judged on the same rows before the report "
                "warns of overfitting to them",
            ),
        ),
        Entry(
            ("gates", "decision_value"),
            (
                "decision_value: # 0 as the best single decision for all rows, 1 as "
                "perfect",
                f"  margin: {number(value)} # the largest loss against the champion "
                "that the interval may include",
            ),
        ),
        Entry(
            ("gates", "slices"),
            (
                "slices: # every category and quartile of every column",
                f"  min_rows: {slices} # with fewer rows of a slice the interval is "
                "too wide",
                "  margin: 0.01 # a slice fails if the whole interval of its rise in "
                "loss, against the champion, is above this",
            ),
        ),
    ]
    for path, key, limit, reason in (
        ("model_size", "max_mb", 20, "a larger file starts slowly"),
        ("latency", "p99_max_ms", 20, "99th percentile of one row on one core"),
    ):
        lines = (f"{path}:", f"  {key}: {limit} # {reason}")
        entries.append(Entry(("gates", path), lines))
    return entries


def smallest_slice(held: int) -> int:
    """Return the fewest rows of a slice, or a group, that are compared."""
    return max(30, min(300, held // 10))


def _limit(factor: float, rows: float, low: float, high: float) -> float:
    """Return a limit that shrinks with the square root of the rows."""
    return float(f"{min(high, max(low, factor / math.sqrt(rows))):.2g}")


def round_down(value: float) -> int:
    """Return a number rounded down to two digits, at least 1."""
    step = 10 ** max(0, math.floor(math.log10(max(1, value))) - 1)
    return max(1, int(value // step * step))


def number(value: float) -> str:
    """Return a number as YAML 1.1 reads it back."""
    return scalar(int(value) if value == int(value) and value >= 2 else value)
