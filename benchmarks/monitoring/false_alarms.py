"""False alarms in windows without drift: ours, and Evidently's defaults beside them.

A window does not drift if nothing but chance makes it differ from its reference. So
both are drawn from one pool, anew for each split; the rate is that of all splits, and
its bound knows that windows of one split share a reference.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.monitoring.batch import Batch
from benchmarks.monitoring.data import Pool, silent, weeks
from benchmarks.monitoring.look import alarm, evidently, verdicts

SIZES = (30, 100, 300, 1000, 5000)
# Where Evidently's whole report is made, too: it takes ten seconds, and Evidently
# chooses other tests above 1,000 rows.
HELD = {"flights": 300, "census": 5000}
TOGETHER = 5  # windows of one split
WEEKS = ((7, 0.0), (0, 0.0), (7, 150.0))  # days of a block, minutes of delay
ROWS = 4000  # of a window of four weeks


class Told(NamedTuple):
    """What was said of the windows of some splits."""

    alarms: list[list[bool]]  # split by split
    theirs: list[int]  # columns in which Evidently found drift, window by window


def bound(alarms: list[list[bool]]) -> float:
    """Return the one-sided 95 % upper bound of a rate, from the windows of each split.

    The larger of two: Clopper and Pearson (1934), as if windows were independent, and
    Student's over the splits' own rates.
    """
    said, windows = sum(map(sum, alarms)), sum(map(len, alarms))
    alone = (
        float(stats.beta.ppf(0.95, said + 1, windows - said)) if said < windows else 1
    )
    rates = np.array([np.mean(split) for split in alarms])
    reach = stats.t.ppf(0.95, len(rates) - 1) * rates.std(ddof=1) / len(rates) ** 0.5
    return max(alone, float(rates.mean() + reach))


def by_size(pool: Pool, windows: int, beside: int, splits: int) -> list[dict[str, Any]]:
    """Return the share of false alarms for each window size."""
    import evidently.core.report  # once, and not in each worker again
    import evidently.legacy.calculations.stattests  # noqa: F401

    columns, rows = len(pool.contract.columns), []
    for size in SIZES:
        look = partial(_split, pool, size, windows // splits, beside // splits)
        told = everywhere(look, splits)
        found = np.array([count for split in told for count in split.theirs])
        entry = {
            "data": pool.name,
            "rows": size,
            "windows": windows,
            **rated([split for some in told for split in some.alarms]),
            "Evidently's windows": len(found),
            "Evidently: data set drifted": np.mean(found >= columns / 2),
            "Evidently: any column": np.mean(found > 0),
        }
        print(entry, flush=True)
        rows.append(entry)
    return rows


def by_week(worlds: int, windows: int) -> list[dict[str, Any]]:
    """Return false alarms in four weeks of shuffled weeks: by week, and by row.

    The rows of a window are four random weeks that no reference has seen, so only
    the weeks' own moods differ. The last line is no false alarm: everything departs
    two and a half hours later.
    """
    told, found = everywhere(partial(_weeks, windows), worlds), []
    for number, (days, late) in enumerate(WEEKS):
        alarms = [world[number] for world in told]
        entry = {
            "imitated by": "whole weeks" if days else "single rows",
            "shift": f"{late:g} minutes",
            "windows": sum(map(len, alarms)),
            **rated(alarms),
        }
        print(entry, flush=True)
        found.append(entry)
    return found


def rated(alarms: list[list[bool]]) -> dict[str, Any]:
    """Return the rate of alarms and its bound, as cells."""
    rate = float(np.mean([said for split in alarms for said in split]))
    return {"alarms": rate, "95 % bound": bound(alarms)}


def everywhere(look: Callable[[int], Any], seeds: int) -> list[Any]:
    """Return what ``look`` gives for each seed, on all processors.

    A worker's exit and its death are raised here; a plain pool would wait for ever.
    """
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(os.cpu_count(), fork) as workers:
        return list(workers.map(look, range(seeds)))


def _split(pool: Pool, size: int, windows: int, beside: int, seed: int) -> Told:
    """Return what is said of windows of some splits.

    The splits change quickly, as windows of one share a reference that may be odd
    itself; their thresholds are those of the first, as they hardly differ.
    """
    rng, alarms = np.random.default_rng((size, seed)), []
    batch = Batch(pool.world(seed))
    model = batch.thresholds(size, rng)
    for number in range(windows // TOGETHER):
        alarms.append(batch.alarms(size, TOGETHER, rng, model))
        batch = Batch(pool.world(1000 * (seed + 1) + number))
    past, theirs = batch.world.reference.rows, []
    for chosen in batch.windows(size, beside, rng):
        window = batch.table(chosen)
        names = verdicts(window, past, pool.contract)
        if size == HELD[pool.name] and seed == 0 and not theirs:
            whole = evidently(window, past, pool.contract)
            if set(names) != set(whole):
                raise RuntimeError(f"Evidently's own report names {whole}, not {names}")
        theirs.append(len(names))
    return Told(alarms, theirs)


def _weeks(windows: int, seed: int) -> list[list[bool]]:
    """Return what is said of windows of four weeks each, for each of `WEEKS`.

    They have as many rows each, so that thresholds of one size serve them all.
    """
    world, rng = weeks(seed), np.random.default_rng(seed)
    time, known = world.reference.contract.time, np.unique(world.rows["week"])
    told = []
    for days, late in WEEKS:
        params, said = silent(block_days=days), list[bool]()
        for _ in range(windows if days and not late else max(windows // 4, 2)):
            parts = []
            for slot, week in enumerate(rng.choice(known, 4, replace=False)):
                rows = world.rows[world.rows["week"] == week]
                shift = pd.to_timedelta(7 * (slot - int(week)), unit="D")
                parts.append(rows.assign(**{time: rows[time] + shift}))
            window = pd.concat(parts, ignore_index=True)
            kept = np.sort(rng.choice(len(window), ROWS, replace=False))
            window = window.iloc[kept].reset_index(drop=True)
            moved = (window["minute"] + late).clip(upper=1439).astype("float32")
            window = window.assign(minute=moved)
            said.append(alarm(window, world.reference, params))
        told.append(said)
    return told
