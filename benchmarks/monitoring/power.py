"""How large a shift is seen in how small a window, and after how many windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.monitoring.data import World, settings
from benchmarks.monitoring.look import alarm

SIZES = (100, 300, 1000, 5000)
Change = Callable[[pd.DataFrame, Any], pd.DataFrame]


def _mean(rows: pd.DataFrame, rng: Any) -> pd.DataFrame:
    return rows.assign(temp=rows["temp"] + rows["temp"].std() / 2)


def _variance(rows: pd.DataFrame, rng: Any) -> pd.DataFrame:
    middle = rows["temp"].mean()
    return rows.assign(temp=middle + (rows["temp"] - middle) * 1.7)


def _category(rows: pd.DataFrame, rng: Any) -> pd.DataFrame:
    new = rng.random(len(rows)) < 0.1
    return rows.assign(carrier=rows["carrier"].mask(new, "ZZ"))


def _missing(rows: pd.DataFrame, rng: Any) -> pd.DataFrame:
    gone = rng.random(len(rows)) < 0.2
    return rows.assign(temp=rows["temp"].mask(gone, np.nan))


def _important(rows: pd.DataFrame, rng: Any) -> pd.DataFrame:
    later = (rows["minute"] + 150).clip(upper=1439)  # two and a half hours
    return rows.assign(minute=later.astype("float32"))


def _concept(rows: pd.DataFrame, rng: Any) -> pd.DataFrame:
    turned = rng.random(len(rows)) < 0.3
    return rows.assign(late=rows["late"].where(~turned, 1 - rows["late"]))


def _label(rows: pd.DataFrame, rng: Any) -> pd.DataFrame:
    keep = np.where(rows["late"] == 1, 2.5, 1.0)
    chosen = rng.choice(len(rows), len(rows), p=keep / keep.sum())
    return rows.iloc[np.sort(chosen)].reset_index(drop=True)


SHIFTS: dict[str, Change] = {
    "mean of one column, half a standard deviation": _mean,
    "spread of one column, 1.7 times": _variance,
    "new category in a tenth of the rows": _category,
    "a fifth of one column missing": _missing,
    "the most important column, 2.5 hours": _important,
    "concept only: 30 % of labels turned": _concept,
    "label shift: 1s 2.5 times as often": _label,
    "none": lambda rows, rng: rows,
}


def power(world: World, windows: int) -> list[dict[str, Any]]:
    """Return the share of windows with an alarm, by shift and size; as shipped."""
    params = settings(block_days=0, min_rows=30)
    found = []
    for name, change in SHIFTS.items():
        entry: dict[str, Any] = {"shift": name}
        for size in SIZES:
            rng = np.random.default_rng(size)
            seen = 0
            for _ in range(windows):
                chosen = np.sort(rng.choice(len(world.rows), size, replace=False))
                rows = change(world.rows.iloc[chosen].reset_index(drop=True), rng)
                seen += alarm(rows, world.reference, params)
            entry[f"{size:,} rows"] = seen / windows
        print(entry, flush=True)
        found.append(entry)
    return found


def delay(world: World, runs: int, size: int = 1000) -> list[dict[str, Any]]:
    """Return in which weekly window an alarm comes: sudden, and slow.

    Sudden: half a standard deviation from the first window on; slow: a tenth more in
    each window; return: four windows of a season that then ends.
    """
    params = settings(block_days=0, min_rows=30)
    spread = float(world.rows["temp"].std())
    kinds: dict[str, Callable[[int], float]] = {
        "sudden, 0.5": lambda week: 0.5,
        "slow, 0.1 a window": lambda week: 0.1 * (week + 1),
        "seasonal return, 0.5 for four windows": lambda week: 0.5 * (week < 4),
    }
    found = []
    for name, by in kinds.items():
        first, after = [], 0
        for run in range(runs):
            rng = np.random.default_rng(run)
            said = []
            for week in range(10):
                chosen = np.sort(rng.choice(len(world.rows), size, replace=False))
                rows = world.rows.iloc[chosen].reset_index(drop=True)
                moved = rows.assign(temp=rows["temp"] + by(week) * spread)
                said.append(alarm(moved, world.reference, params))
            first.append(said.index(True) + 1 if any(said) else 11)
            after += sum(said[4:]) if "return" in name else 0
        entry = {
            "drift": name,
            "windows until the alarm, median": float(np.median(first)),
            "at most": max(first),
            "alarms after the return": after if "return" in name else "",
        }
        print(entry, flush=True)
        found.append(entry)
    return found
