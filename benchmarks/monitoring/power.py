"""How large a shift is seen in how small a window, and after how many windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.monitoring.batch import Batch
from benchmarks.monitoring.data import START, World, settings, twenty
from benchmarks.monitoring.false_alarms import everywhere
from mlgitops.monitor import drift
from mlgitops.monitor.reference import Reference
from mlgitops.pipeline.contract import Contract
from mlgitops.settings import monitor

SIZES = (100, 300, 1000, 5000)
WEEKS = 10  # windows of a run
RAMPS: dict[str, Callable[[int], float]] = {
    "sudden, 0.5": lambda week: 0.5,
    "slow, 0.1 a window": lambda week: 0.1 * (week + 1),
    "seasonal return, 0.5 for four windows": lambda week: 0.5 * (week < 4),
}
Change = Callable[[pd.DataFrame, Any], pd.DataFrame]


def _mean(rows: pd.DataFrame, rng: Any) -> pd.DataFrame:
    return rows.assign(temp=rows["temp"] + rows["temp"].std() / 2)


def _variance(rows: pd.DataFrame, rng: Any) -> pd.DataFrame:
    middle = rows["temp"].mean()
    return rows.assign(temp=middle + (rows["temp"] - middle) * 1.7)


def _category(rows: pd.DataFrame, rng: Any) -> pd.DataFrame:
    new = rng.random(len(rows)) < 0.1
    carrier = rows["carrier"].astype(object).mask(new, "ZZ")
    return rows.assign(carrier=carrier.astype("category"))


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
    "the most important column of twenty, 2.5 hours": _important,
    "concept only: 30 % of labels turned": _concept,
    "label shift: 1s 2.5 times as often": _label,
    "none": lambda rows, rng: rows,
}


CONTRACT: dict[str, Any] = {
    "name": "discrete",
    "task": "binary",
    "id": "id",
    "time": "time",
    "target": "late",
    "columns": {"x": {"type": "number", "missing": False}},
}


def _flag(rng: Any, much: float, count: int) -> Any:
    return (rng.random(count) < much).astype(np.float32)


def _count(rng: Any, much: float, count: int) -> Any:
    return rng.poisson(much, count).astype(np.float32)


def _amount(rng: Any, much: float, count: int) -> Any:
    return np.floor(rng.lognormal(3, 1.2, count) * much).astype(np.float32)


DISCRETE: dict[str, tuple[Callable[..., Any], float, float]] = {
    "flag, 20 % of rows, now 20 %": (_flag, 0.2, 0.2),
    "flag, 20 % of rows, now 30 %": (_flag, 0.2, 0.3),
    "flag, 20 % of rows, now 80 %": (_flag, 0.2, 0.8),
    "flag, 2 % of rows, now 6 %": (_flag, 0.02, 0.06),
    "flag, never, now always": (_flag, 0.0, 1.0),
    "count, mean 1, now 1": (_count, 1.0, 1.0),
    "count, mean 1, now 1.3": (_count, 1.0, 1.3),
    "count, mean 0.05, now 0.15": (_count, 0.05, 0.15),
    "amount with a long tail, now the same": (_amount, 1.0, 1.0),
    "amount with a long tail, now 1.5 times": (_amount, 1.0, 1.5),
}


def power(world: World, windows: int) -> list[dict[str, Any]]:
    """Return the share of windows with an alarm, by shift and size; as shipped.

    There are twenty columns, some of them noise: each that is looked at raises the
    thresholds of all.
    """
    world = twenty(world)
    cases = [(name, size) for name in SHIFTS for size in SIZES]
    shares = everywhere(partial(_seen, world, windows, cases), len(cases))
    found = []
    for name in SHIFTS:
        known = {
            f"{size:,} rows": share
            for (shift, size), share in zip(cases, shares, strict=True)
            if shift == name
        }
        print({"shift": name, **known}, flush=True)
        found.append({"shift": name, **known})
    return found


def discrete(windows: int) -> list[dict[str, Any]]:
    """Return the share of windows in which a shift of integers is seen; as shipped.

    Flags, counts and amounts with a long tail; 13 weeks are compared with four, so
    that the test of weeks has its say as well.
    """
    cases = [(name, size) for name in DISCRETE for size in SIZES[1:]]
    shares = everywhere(partial(_seen_of, windows, cases), len(cases))
    found = []
    for name in DISCRETE:
        known = {
            f"{size:,} rows": share
            for (shift, size), share in zip(cases, shares, strict=True)
            if shift == name
        }
        print({"shift": name, **known}, flush=True)
        found.append({"shift": name, **known})
    return found


def delay(world: World, runs: int, size: int = 1000) -> list[dict[str, Any]]:
    """Return in which weekly window an alarm comes: sudden, and slow.

    Sudden: half a standard deviation from the first window on; slow: a tenth more in
    each window; return: four windows of a season that then ends.
    """
    found = []
    for name in RAMPS:
        told = everywhere(partial(_run, world, name, size), runs)
        first = [said.index(True) + 1 if any(said) else WEEKS + 1 for said in told]
        after = sum(sum(said[4:]) for said in told) if "return" in name else ""
        entry = {
            "drift": name,
            "windows until the alarm, median": float(np.median(first)),
            "at most": max(first),
            "alarms after the return": after,
        }
        print(entry, flush=True)
        found.append(entry)
    return found


def _seen_of(windows: int, cases: Any, number: int) -> float:
    """Return the share of windows in which a column of integers drifts."""
    (kind, before, after), size = DISCRETE[cases[number][0]], cases[number][1]
    contract, limits = Contract.parse(CONTRACT), monitor(settings())
    rng, alarms = np.random.default_rng(number), []

    def rows(start: int, days: int, count: int, much: float) -> pd.DataFrame:
        day = np.sort(rng.uniform(start, start + days, count))
        return pd.DataFrame(
            {
                "id": [f"{start} {n}" for n in range(count)],
                "time": START + pd.to_timedelta(day, unit="D"),
                "x": kind(rng, much, count),
                "probability": rng.random(count),
            }
        )

    for window in range(windows):
        past = rows(0, 91, 20_000, before)
        known = Reference(
            *("v1", f"discrete {number} {window}", {"columns": ["x"]}, contract),
            *(past[:12_000], past[12_000:], {"x": 1.0}),
        )
        found = drift.compare(rows(91, 28, size, after), None, known, limits)
        alarms.append(any(column.detected for column in found.columns))
    return float(np.mean(alarms))


def _seen(world: World, windows: int, cases: Any, number: int) -> float:
    """Return the share of windows of one shift and size with an alarm."""
    name, size = cases[number]
    rng = np.random.default_rng(size)
    batch = Batch(replace(world, rows=SHIFTS[name](world.rows, rng)))
    return float(np.mean(batch.alarms(size, windows, rng, batch.thresholds(size, rng))))


def _run(world: World, name: str, size: int, run: int) -> list[bool]:
    """Return what is said of the windows of one run, week by week."""
    rng, spread = np.random.default_rng(run), float(world.rows["temp"].std())
    batch = Batch(world)
    model, (past, now) = batch.thresholds(size, rng), batch.sides["temp"]
    said = []
    for week, chosen in enumerate(batch.windows(size, WEEKS, rng)):
        batch.sides["temp"] = past, now + RAMPS[name](week) * spread
        said.append(batch.speaks(chosen, model))
    return said
