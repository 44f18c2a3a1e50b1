"""False alarms in windows without drift: ours, and Evidently's defaults beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
from ops.monitor import drift
from scipy import stats

from benchmarks.monitoring.data import World, silent, weeks
from benchmarks.monitoring.look import alarm, evidently

SIZES = (30, 100, 300, 1000, 5000)


def bound(alarms: int, windows: int) -> float:
    """Return the one-sided 95 % upper bound of a rate; Clopper and Pearson (1934)."""
    return float(stats.beta.ppf(0.95, alarms + 1, windows - alarms))


def by_size(world: World, windows: int, beside: int) -> list[dict[str, Any]]:
    """Return the share of false alarms for each window size."""
    rows = []
    for size in SIZES:
        rng = np.random.default_rng(size)

        def draw(size: int = size, rng: Any = rng) -> Any:
            chosen = np.sort(rng.choice(len(world.rows), size, replace=False))
            return world.rows.iloc[chosen].reset_index(drop=True)

        ours = sum(alarm(draw(), world.reference, world.params) for _ in range(windows))
        past = drift.thin(world.reference.rows, world.params["monitor"]["sample_rows"])
        columns = len(world.reference.contract.columns)
        found = [
            len(evidently(draw(), past, world.reference.contract))
            for _ in range(beside)
        ]
        entry = {
            "data": world.name,
            "rows": size,
            "windows": windows,
            "false alarms": ours / windows,
            "95 % bound": bound(ours, windows),
            "Evidently's windows": beside,
            "Evidently: data set drifted": np.mean(np.array(found) >= columns / 2),
            "Evidently: any column": np.mean(np.array(found) > 0),
        }
        print(entry, flush=True)
        rows.append(entry)
    return rows


def by_week(worlds: int, windows: int) -> list[dict[str, Any]]:
    """Return false alarms in four weeks of shuffled weeks: by week, and by row.

    The rows of a window are four random weeks that no reference has seen, so only
    the weeks' own moods differ.
    """
    alarms = {7: 0, 0: 0}
    total = 0
    for seed in range(worlds):
        world = weeks(seed)
        time = world.reference.contract.time
        week = ((world.rows[time] - world.rows[time].min()).dt.days // 7).to_numpy()
        rng = np.random.default_rng(seed)
        for _ in range(windows):
            chosen = rng.choice(week.max() + 1, 4, replace=False)
            window = world.rows[np.isin(week, chosen)].reset_index(drop=True)
            start = window[time].min()
            spread = np.linspace(0, 28 * 86_400 - 1, len(window)).astype("int64")
            window[time] = start + spread.astype("timedelta64[s]")
            total += 1
            for days in alarms:
                params = silent(block_days=days, max_fall=0.02)
                alarms[days] += alarm(window, world.reference, params)
    found = []
    for days, count in alarms.items():
        name = "whole weeks" if days else "single rows"
        entry = {
            "imitated by": name,
            "windows": total,
            "false alarms": count / total,
            "95 % bound": bound(count, total),
        }
        print(entry, flush=True)
        found.append(entry)
    return found
