"""Looks at many windows of one size against one reference, as the monitor would.

The monitor looks once a week; thousands of looks would spend nine tenths of their time
on tables that are made anew each time. Here they are arrays, made once; distances and
thresholds are the monitor's own, and each batch is held against the monitor itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.monitoring.data import World
from benchmarks.monitoring.look import evidence
from mlgitops import distance
from mlgitops.monitor import season
from mlgitops.monitor.evidence import Drift, Evidence, Fall
from mlgitops.monitor.primary_metric import PrimaryMetric
from mlgitops.settings import monitor

CLOSE = 1e-7  # sums of many numbers, added in another order


class Ordered:
    """Numbers in order and their sums, to have a window's distance from them quickly.

    Between two of the window's values its distribution function stands still, and the
    area between it and the other one follows from sums; exact, as `distance` is.
    """

    def __init__(self, values: Any) -> None:
        """Sort them; NaN is left out."""
        there = np.asarray(values, np.float64)
        self.values = np.sort(there[~np.isnan(there)])
        self.sums = np.concatenate([[0.0], np.cumsum(self.values)])
        self.spread = distance.spread(self.values)

    def below(self, at: Any) -> Any:
        """Return the area under the distribution function up to some places."""
        count = np.searchsorted(self.values, at, "right")
        return (count * at - self.sums[count]) / len(self.values)

    def gap(self, window: Any) -> float:
        """Return the Wasserstein distance, in standard deviations."""
        now = np.asarray(window, np.float64)
        now = np.sort(now[~np.isnan(now)])
        many = len(self.values)
        level = np.arange(1, len(now)) / len(now)
        cross = self.values[np.minimum(np.ceil(level * many) - 1, many - 1).astype(int)]
        first, last = now[:-1], now[1:]
        cross = np.clip(cross, first, last)
        left = level * (cross - first) - (self.below(cross) - self.below(first))
        right = (self.below(last) - self.below(cross)) - level * (last - cross)
        count = np.searchsorted(self.values, now[-1], "right")
        rest = self.sums[-1] - self.sums[count] - (many - count) * now[-1]
        ends = self.below(now[0]) + rest / many
        return float((left + right).sum() + ends) / self.spread


class Batch:
    """The arrays of a reference, and of the rows that windows are drawn from."""

    def __init__(self, world: World) -> None:
        """Put both sides' columns into arrays; rows are looked at one by one."""
        limits, reference = monitor(world.params), world.reference
        past = reference.rows
        if limits.block_days or len(past) > limits.sample_rows:
            raise ValueError("only rows one by one, of a reference that is not thinned")
        if season.has_a_year(past[reference.contract.time]):
            raise ValueError("a reference of a year is cut to the window's season")
        self.world, self.limits, self.contract = world, limits, reference.contract
        self.sides: dict[str, tuple[Any, Any]] = {}
        for name, column in self.contract.columns.items():
            pair = past[name], world.rows[name]
            if column.type == "category":
                known = pair[0].cat.categories.union(pair[1].cat.categories)
                pair = tuple(side.cat.set_categories(known).cat.codes for side in pair)
            self.sides[name] = tuple(side.to_numpy() for side in pair)
        target, holdout = self.contract.target, reference.holdout
        self.answers = [t["probability"].to_numpy() for t in (holdout, world.rows)]
        self.labels = [t[target].to_numpy() for t in (past, world.rows)]
        self.metric = PrimaryMetric("binary", target)
        self.holdout = self.metric.with_variance(holdout)
        self.ordered = {
            name: Ordered(past[name])
            for name, column in self.contract.columns.items()
            if column.type == "number"
        }
        self.ordered["probability"] = Ordered(holdout["probability"])

    def thresholds(self, size: int, rng: Any) -> Evidence:
        """Return what the monitor itself finds in a window, and so its thresholds.

        Raises:
            RuntimeError: the batch says something else of it.
        """
        (chosen,) = self.windows(size, 1, rng)
        model = self._monitor(chosen)
        _same(self._look(chosen, model), model)
        return model

    def alarms(self, size: int, windows: int, rng: Any, model: Evidence) -> list[bool]:
        """Return whether the monitor would speak, for each of so many windows."""
        return [self.speaks(at, model) for at in self.windows(size, windows, rng)]

    def speaks(self, chosen: NDArray[np.int64], model: Evidence) -> bool:
        """Return whether the monitor would speak of one window."""
        found = self._look(chosen, model)
        return found.moved or found.fell(self.limits.max_fall)

    def windows(self, size: int, count: int, rng: Any) -> Iterator[NDArray[np.int64]]:
        """Yield the places of rows that the reference does not have."""
        for _ in range(count):
            yield np.sort(rng.choice(len(self.world.rows), size, replace=False))

    def table(self, chosen: NDArray[np.int64]) -> pd.DataFrame:
        """Return a window as a table."""
        return self.world.rows.iloc[chosen].reset_index(drop=True)

    def _monitor(self, chosen: NDArray[np.int64]) -> Evidence:
        """Return what the monitor itself finds, and its thresholds of this size."""
        return evidence(self.table(chosen), self.world.reference, self.world.params)

    def _look(self, chosen: NDArray[np.int64], model: Evidence) -> Evidence:
        """Return what the monitor finds in another window of the same size."""
        found = Evidence(len(chosen), self.metric, used=model.used)
        for old in model.columns:
            found.columns.append(old._replace(distance=self._gap(old.column, chosen)))
        for old in model.missing:
            found.missing.append(old._replace(distance=self._gone(old.column, chosen)))
        importance, total = self.world.reference.importance, 0.0
        for new in found.columns:
            kind = self.contract.columns[new.column].type
            floor = self.limits.floor(kind, new.column)
            total += importance.get(new.column, 0.0) * new.distance / floor
        assert model.data_set and model.prediction
        found.data_set = model.data_set._replace(distance=total)
        now = self.answers[1]
        far = self.ordered["probability"].gap(now[chosen])
        found.prediction = model.prediction._replace(distance=far)
        if model.target is not None:
            far = _shares(self.labels[0], self.labels[1][chosen])
            found.target = model.target._replace(distance=far)
        y = self.labels[1][chosen]
        if model.fall is not None and len(np.unique(y)) == 2:
            found.fall = self._fall(y, now[chosen], model)
        return found

    def _gap(self, name: str, chosen: NDArray[np.int64]) -> float:
        """Return the distance of one column."""
        then, now = self.sides[name]
        if self.contract.columns[name].type == "category":
            return _shares(then, now[chosen])
        return self.ordered[name].gap(now[chosen])

    def _gone(self, name: str, chosen: NDArray[np.int64]) -> float:
        """Return the change of the share of missing values."""
        then, now = self.sides[name]
        lack = (lambda x: x < 0) if then.dtype.kind == "i" else np.isnan
        return abs(float(lack(now[chosen]).mean()) - float(lack(then).mean()))

    def _fall(self, y: Any, p: Any, model: Evidence) -> Fall:
        """Return the fall in ROC AUC; see `performance.fall`."""
        assert model.fall is not None
        confidence = model.fall.confidence
        table = pd.DataFrame({"probability": p, self.contract.target: y})
        (now, a), (then, b) = self.metric.with_variance(table), self.holdout
        half = NormalDist().inv_cdf(0.5 + confidence / 2) * (a + b) ** 0.5
        gap = now - then
        means = float(p.mean()), float(y.mean())
        return Fall(now, then, gap, gap - half, gap + half, confidence, *means)


def _shares(past: Any, now: Any) -> float:
    """Return the Jensen-Shannon distance of codes; those below 0 are missing."""
    least = max(int(past.max()), int(now.max())) + 1
    sides = [
        np.bincount(side[side >= 0], minlength=least).astype(float)
        for side in (past, now)
    ]
    return float(distance.jensenshannon(*sides))


def _same(ours: Evidence, model: Evidence) -> None:
    """Refuse to go on when the monitor itself says something else."""
    for first, second in zip(_drifts(ours), _drifts(model), strict=True):
        if abs(first.distance - second.distance) > CLOSE:
            raise RuntimeError(f"the batch says {first}, the monitor {second}")
    highs = [found.fall.high if found.fall else 0.0 for found in (ours, model)]
    if abs(highs[0] - highs[1]) > CLOSE:
        raise RuntimeError(f"the batch says {highs[0]} for the fall, not {highs[1]}")


def _drifts(found: Evidence) -> list[Drift]:
    """Return every drift that was looked for."""
    others = [found.data_set, found.prediction, found.target]
    return [
        *found.columns,
        *found.missing,
        *[drift for drift in others if drift is not None],
    ]
