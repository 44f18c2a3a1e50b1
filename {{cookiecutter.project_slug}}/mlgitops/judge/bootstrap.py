"""Paired bootstrap intervals of the difference of a metric; arrays in, intervals out.

Percentiles of resamples that both models share. By group (Hesterberg 2015, The American
Statistician 69(4)), all rows of a group are drawn together, and the interval is widened
as Student's t is for so many groups.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mlgitops.judge.compare import Array, Codes, Interval, Pair, Vector
from mlgitops.metrics.groups import quantile

Statistic = Callable[[Vector, Array, Array], Vector]  # weights [r, n], y, p -> [r]

METHOD = "paired bootstrap"
RESAMPLES = 1_000
CELLS = 4_000  # rows above which rows of near predictions are resampled together
STEPS = 64  # quantiles of each model's predictions in that case
CHUNK = 2**22  # weights in memory at a time
GROUPS = 4_000  # groups above which some, by chance, are resampled together
FUNCTION_RESAMPLES = 400  # of a metric that is a function of rows
FUNCTION_ROWS = 20_000  # of each of them, at most
DEFINED = 0.9  # share of them that must have the metric


class _Cells(NamedTuple):
    """Rows that are resampled together, and their means of `y` and the predictions."""

    cell: Codes  # of each row [n]
    rows: Vector  # in each cell, as all that follow
    champion_y: Array
    challenger_y: Array
    champion: Array
    challenger: Array

    def difference(self, statistic: Statistic, weights: Vector) -> Vector:
        """Return the difference of a statistic for each row of weights [r, cells]."""
        challenger = statistic(weights, self.challenger_y, self.challenger)
        return challenger - statistic(weights, self.champion_y, self.champion)


def weighted(
    statistic: Statistic,
    pair: Pair,
    challenger_y: Array | None = None,
    discrete: bool = False,
    seed: int = 0,
) -> Interval:
    """Return the difference of a weighted statistic, with its bootstrap interval.

    `challenger_y` is the challenger's `y`, where the two differ (both 0/1). With
    `discrete` the predictions are whole numbers, and equal rows share a cell.

    1,000 resamples with Poisson weights (Hanley and MacGibbon 2006, Computer Methods
    and Programs in Biomedicine 83(1)). Above 4,000 rows, those whose predictions are in
    the same 1/64 quantile of both models share a cell; the difference stays exact.
    """
    count, random = len(pair.y), np.random.default_rng(seed)
    y = (pair.y, pair.y if challenger_y is None else challenger_y)
    rows = _Cells(np.arange(count), np.ones(count), *y, pair.champion, pair.challenger)
    cells = _merged(rows, discrete) if discrete or count > CELLS else rows
    draw = _by_row(random, cells)
    if pair.groups is not None:
        draw = _by_group(random, cells, pair.groups)
    step = max(1, CHUNK // len(cells.rows))
    sizes = [min(step, RESAMPLES - start) for start in range(0, RESAMPLES, step)]
    differences = [cells.difference(statistic, draw(size)) for size in sizes]
    (exact,) = rows.difference(statistic, rows.rows[None])
    (center,) = cells.difference(statistic, cells.rows[None])
    deviations = np.concatenate(differences) - center
    return _percentiles(float(exact), deviations, pair, 1.0)


def resampled(
    value: Callable[[Array, Array], float], pair: Pair, seed: int = 0
) -> Interval:
    """Return the difference of any metric value(y, p), with its bootstrap interval.

    Above 20,000 rows so many are drawn, and the interval is narrowed by the root of
    the share: the m out of n bootstrap (Bickel, Goetze and van Zwet 1997, Statistica
    Sinica 7(1)). Where too few resamples have the metric, the interval is infinite.
    """
    y, champion, challenger, _, groups = pair
    random, share = np.random.default_rng(seed), min(1.0, FUNCTION_ROWS / len(y))
    members = [] if groups is None else _members(groups)
    units = len(members) or len(y)
    exact, differences = value(y, challenger) - value(y, champion), []
    for _ in range(FUNCTION_RESAMPLES):
        rows: Array = random.integers(0, units, max(2, round(units * share)))
        if members:
            rows = np.concatenate([members[group] for group in rows])
        try:
            differences.append(
                value(y[rows], challenger[rows]) - value(y[rows], champion[rows])
            )
        except ValueError:  # such as a resample without a row of one class
            continue
    if len(differences) < DEFINED * FUNCTION_RESAMPLES:
        return Interval(exact, -np.inf, np.inf, METHOD)
    return _percentiles(exact, np.array(differences) - exact, pair, share**0.5)


def _percentiles(
    exact: float, deviations: Vector, pair: Pair, scale: float
) -> Interval:
    """Return the interval of a difference from the deviations of its resamples [r]."""
    if pair.groups is not None:
        scale *= _widening(len(np.unique(pair.groups)), pair.confidence)
    if not np.isfinite(scale):
        return Interval(exact, -np.inf, np.inf, METHOD)
    tails = [(1 - pair.confidence) / 2, (1 + pair.confidence) / 2]
    low, high = exact + scale * np.nanquantile(deviations, tails)
    return Interval(exact, float(low), float(high), METHOD)


def _widening(groups: int, confidence: float) -> float:
    """Return by how much an interval of so few groups is too narrow."""
    if groups < 2:
        return float("inf")
    student = quantile(confidence, groups - 1) / quantile(confidence)
    return float(student * (groups / (groups - 1)) ** 0.5)


def _merged(rows: _Cells, discrete: bool) -> _Cells:
    """Return cells of the rows whose `y` is equal and whose predictions are near."""
    keys = rows.champion_y.astype(np.int64) * 2
    keys += rows.champion_y != rows.challenger_y
    for predictions in (rows.champion, rows.challenger):
        if discrete:
            keys = keys * (int(predictions.max()) + 1) + predictions
        else:
            edges = np.quantile(predictions, np.linspace(0, 1, STEPS + 1)[1:-1])
            keys = keys * STEPS + np.searchsorted(edges, predictions, side="right")
    _, cell = np.unique(keys, return_inverse=True)
    counts = np.bincount(cell).astype(np.float64)
    means = (np.bincount(cell, values) / counts for values in rows[2:])
    return _Cells(cell, counts, *means)


def _by_row(random: np.random.Generator, cells: _Cells) -> Callable[[int], Vector]:
    """Return what draws weights [r, cells] when every row is drawn on its own."""
    shape = (len(cells.rows),)
    return lambda size: random.poisson(cells.rows, (size, *shape)).astype(np.float64)


def _by_group(
    random: np.random.Generator, cells: _Cells, groups: Codes
) -> Callable[[int], Vector]:
    """Return what draws weights [r, cells] when a group's rows share one weight."""
    from scipy.sparse import csr_array

    drawn = random.permutation(int(groups.max()) + 1) % GROUPS
    rows = csr_array((np.ones(len(groups)), (cells.cell, drawn[groups])))
    count = rows.shape[1]
    return lambda size: np.asarray(
        (rows @ random.poisson(1.0, (count, size)).astype(np.float64)).T
    )


def _members(groups: Codes) -> list[Array]:
    """Return the rows of each group."""
    order = np.argsort(groups, kind="stable")
    return list(np.split(order, np.cumsum(np.bincount(groups))[:-1]))
