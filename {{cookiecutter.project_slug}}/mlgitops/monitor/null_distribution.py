"""How far windows without drift are from the reference, by drawing such windows; pure.

A threshold that ignores the window's size raises false alarms in small windows and
misses drift in large ones. So windows of this size are drawn from the reference itself
and compared with the reference drawn anew: these distances are due to chance. One
limit holds for all checks together: the largest distance of a draw, each in units of
its own column's scatter, stays below it in all but ``rate`` of the draws (Westfall and
Young (1993), Resampling-Based Multiple Testing, max-T).

Rows of one week resemble each other (weather, a strike, a campaign), so a window of
four weeks is drawn as four weeks of the reference, not as single rows: changes inside
the reference are not called drift. Kuensch (1989), Annals of Statistics 17(3). Rows
drawn one by one are for logs whose rows have nothing to do with their neighbours; they
give lower thresholds, and false alarms where that is not so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlgitops import distance

Vector = NDArray[np.float64]
Integers = NDArray[np.int64]
DRAWS = 2000  # windows drawn; at a rate of 0.5 % the limit is the tenth largest
CHUNK = 100  # of them at a time: bounded memory
LONG = 2000  # rows of a window that are counted alone, to stay in the cache
BINS = 256  # of a number's distribution: its values if so few, else equally full
MOST_ROWS = 5000  # of a drawn window; a larger one varies less: on the safe side
FEWEST_BLOCKS = 8  # below it blocks are days, and then rows
RESAMPLED = 200  # groups that rows without blocks form, to draw the reference anew
MOST_OF_A_BLOCK = 10  # rows of a window that are in one block, where those are small
MOST_BLOCKS = 1000  # of a reference that is drawn anew; more of them are put together
METHOD = 2  # of binning and drawing: thresholds of another one are not used again
NO_SCATTER = 1e-9  # a check that is the same in all draws


@dataclass(frozen=True)
class Binned:
    """A column in bins, and how far it must move to matter."""

    codes: Integers  # [rows] the bin; `bins` for missing values
    bins: int
    centres: Vector | None  # [bins] the mean number in a bin; None for a category
    spread: float
    floor: float  # smaller distances are never called drift
    weight: float = 0.0  # its part in the distance of the whole data set
    first: int | None = None  # only so many of a window's rows have it (labels)


Binning = partial[Binned]  # from a column's values to its bins; floor and weight bound


class Thresholds(NamedTuple):
    """A number per check: of columns, of their missing values, of the data set."""

    columns: dict[str, float]
    missing: dict[str, float]
    data_set: float


def bin_numbers(values: Any, floor: float, **more: Any) -> Binned:
    """Return a numeric column in bins: one of each value where there are few.

    Else they are equally full, and each begins at a value that is there.
    """
    numbers = np.asarray(values, np.float64)
    present = ~np.isnan(numbers)
    starts = np.unique(numbers[present])
    if len(starts) > BINS:
        shares = np.linspace(0, 1, BINS)
        values = np.quantile(numbers[present], shares, method="inverted_cdf")
        starts = np.unique(values)
    bins = len(starts)
    inside = np.searchsorted(starts, numbers[present], "right") - 1
    codes = np.full(len(numbers), bins)
    codes[present] = inside
    centres = np.bincount(inside, numbers[present]) / np.bincount(inside)
    spread = distance.spread(numbers[present])
    return Binned(codes, bins, centres, spread, floor, **more)


def bin_categories(values: Any, floor: float, **more: Any) -> Binned:
    """Return a column of categories, each of them a bin."""
    import pandas as pd

    codes, categories = pd.factorize(pd.Series(values))
    bins = len(categories)
    return Binned(np.where(codes < 0, bins, codes), bins, None, 1.0, floor, **more)


BINNINGS: dict[str, Callable[..., Binned]] = {
    "number": bin_numbers,
    "category": bin_categories,
}


def choose_blocks(
    times: Any, block_days: float, window_days: float
) -> tuple[Integers | None, int]:
    """Return (the block of each row, how many blocks a window is), or (None, 0).

    ``times`` are [rows] datetimes. Where the reference has too few blocks to draw
    from, days replace them, and single rows where there are too few days.
    """
    for days in (block_days, 1.0):
        if days <= 0 or not len(times):
            break
        blocks = number_blocks(times, days)
        if blocks.max() + 1 >= FEWEST_BLOCKS:
            return blocks, max(round(window_days / days), 1)
    return None, 0


def group_blocks(groups: Any, window_groups: int) -> tuple[Integers | None, int]:
    """Return (the block of each row, how many blocks a window is), or (None, 0).

    A block is a group, [rows], such as all rows of a customer; a window has so many.
    """
    import pandas as pd

    blocks, names = pd.factorize(pd.Series(groups), use_na_sentinel=False)
    if len(names) < FEWEST_BLOCKS:
        return None, 0
    return np.asarray(blocks, np.int64), max(window_groups, 1)


def number_blocks(times: Any, days: float) -> Integers:
    """Return the number of each row's block, from 0; ``times`` [rows] are datetimes."""
    since = np.asarray(times, "datetime64[s]").astype(np.int64) / 86_400
    _, blocks = np.unique((since - since.min()) // days, return_inverse=True)
    return np.asarray(blocks, np.int64)


def thresholds(
    columns: Mapping[str, Binned],
    rows: int,
    rate: float,
    blocks: Integers | None = None,
    window_blocks: int = 0,
    reference_blocks: int = 0,
    seed: int = 0,
) -> Thresholds:
    """Return thresholds that all hold in ``1 - rate`` of windows without drift.

    ``rows`` is the window's size; ``blocks`` and ``window_blocks`` are of
    `choose_blocks`. The reference is drawn anew as ``reference_blocks``, or as many as
    there are.
    """
    sampler = _Sampler(
        len(next(iter(columns.values())).codes),
        blocks,
        reference_blocks,
        np.random.default_rng(seed),
    )
    distances = _null_distribution(columns, rows, sampler, window_blocks)
    rank = min(int(np.ceil((DRAWS + 1) * (1 - rate))), DRAWS) - 1
    limits = by_check(critical_values(distances, rank), list(columns))
    for name, column in columns.items():
        limits.columns[name] = max(limits.columns[name], column.floor)
    return limits._replace(data_set=max(limits.data_set, 1.0))


def critical_values(distances: Vector, rank: int) -> Vector:
    """Return [checks]: a limit for each check, from [draws, checks] distances.

    All checks share one number of standard deviations above their own mean: that of
    the draw with the given rank (from 0, smallest first) by its largest check.
    """
    mean, scatter = distances.mean(0), np.maximum(distances.std(0), NO_SCATTER)
    largest = np.sort(((distances - mean) / scatter).max(1))
    return np.asarray(mean + largest[rank] * scatter)


def by_check(values: Vector, names: list[str]) -> Thresholds:
    """Return [checks] by name: first each column, then its missing values, then all."""
    width = len(names)
    columns, missing = values[:width].tolist(), values[width:-1].tolist()
    return Thresholds(
        dict(zip(names, columns, strict=True)),
        dict(zip(names, missing, strict=True)),
        float(values[-1]),
    )


def data_set_distance(
    distances: Mapping[str, float], binnings: Mapping[str, Binning]
) -> float:
    """Return the distance of the data set: 1 is as far as matters, by importance."""
    bound = {name: binnings[name].keywords for name in distances}
    parts = (bound[n]["weight"] * d / bound[n]["floor"] for n, d in distances.items())
    return float(sum(parts))


def binned_distances(past: Vector, current: Vector, column: Binned) -> Vector:
    """Return [draws] distances of [draws, bins] counts."""
    # A column may be missing in a whole draw: no division by zero.
    past, current = past + 1e-12, current + 1e-12
    if column.centres is None:
        return np.asarray(distance.jensenshannon(past, current))
    shares = [np.cumsum(n / n.sum(1, keepdims=True), 1) for n in (past, current)]
    steps = np.diff(column.centres)
    return np.asarray(np.abs(shares[0] - shares[1])[:, :-1] @ steps) / column.spread


def check_distances(
    columns: Mapping[str, Binned], past: Sequence[Vector], current: Sequence[Vector]
) -> Vector:
    """Return [draws, checks], of each column's [draws, bins + 1] counts.

    The checks are each column, each column's missing values, and the data set.
    """
    moved, missing, data_set = [], [], np.zeros(len(past[0]))
    for column, *samples in zip(columns.values(), past, current, strict=True):
        before, after = samples
        moved.append(binned_distances(before[:, :-1], after[:, :-1], column))
        shares = [counts[:, -1] / np.maximum(counts.sum(1), 1) for counts in samples]
        late = column.first is not None  # a label that is not there is not missing
        missing.append(np.abs(shares[0] - shares[1]) * (not late))
        data_set += moved[-1] * (column.weight / column.floor)
    return np.stack([*moved, *missing, data_set], 1)


def _null_distribution(
    columns: Mapping[str, Binned],
    rows: int,
    sampler: _Sampler,
    window_blocks: int,
) -> Vector:
    """Return [DRAWS, checks]: distances of windows that only chance makes differ."""
    counts = {name: sampler.counts(column) for name, column in columns.items()}
    size = min(rows, MOST_ROWS)

    def chunk() -> Vector:
        windows, references = sampler.windows(size, window_blocks), sampler.references()
        past = [(references @ counts[name]).astype(np.float64) for name in columns]
        current = [
            _count_windows(windows[:, : column.first], column)
            for column in columns.values()
        ]
        return check_distances(columns, past, current)

    return np.concatenate([chunk() for _ in range(DRAWS // CHUNK)])


class _Sampler:
    """Draws rows of windows, and how often each block is in a new reference."""

    def __init__(
        self,
        rows: int,
        blocks: Integers | None,
        reference_blocks: int,
        rng: np.random.Generator,
    ) -> None:
        self.rows, self.rng = rows, rng
        if blocks is None:
            blocks = rng.permutation(rows) % min(RESAMPLED, rows)
        self.order = np.argsort(blocks, kind="stable")
        self.size = np.bincount(blocks)
        self.start = np.cumsum(self.size) - self.size
        self.drawn, self.count = blocks, len(self.size)  # of the reference
        if self.count > MOST_BLOCKS:
            self.drawn = (rng.permutation(self.count) % RESAMPLED)[blocks]
            self.count = RESAMPLED
        self.reference_blocks = reference_blocks or self.count

    def counts(self, column: Binned) -> NDArray[np.float32]:
        """Return [count, bins + 1]: how many rows of each block are in which bin.

        Single precision: exact for whole numbers of this size, and twice as fast.
        """
        return count_by_block(self.drawn, self.count, column).astype(np.float32)

    def windows(self, rows: int, window_blocks: int) -> Integers:
        """Return [CHUNK, rows] row numbers of windows."""
        if not window_blocks:
            return self.rng.integers(0, self.rows, (CHUNK, rows))
        # Large blocks are drawn more often, so that each row is as likely as another.
        chosen = self.rng.choice(
            len(self.size), (CHUNK, window_blocks), p=self.size / self.rows
        )
        slot = self.rng.integers(0, window_blocks, (CHUNK, rows))
        if window_blocks > rows / MOST_OF_A_BLOCK:  # of few rows each, all are there
            slot = np.broadcast_to(np.arange(rows) % window_blocks, (CHUNK, rows))
        block = np.take_along_axis(chosen, slot, 1)
        inside = (self.rng.random((CHUNK, rows)) * self.size[block]).astype(np.int64)
        return np.asarray(self.order[self.start[block] + inside])

    def references(self) -> NDArray[np.float32]:
        """Return [CHUNK, count]: how often each block is in a reference drawn anew."""
        even = np.full(self.count, 1 / self.count)
        drawn = self.rng.multinomial(self.reference_blocks, even, CHUNK)
        return drawn.astype(np.float32)


def count_by_block(blocks: Integers, count: int, column: Binned) -> Integers:
    """Return [count, bins + 1]: how many rows of each block are in which bin."""
    width = column.bins + 1
    flat = np.bincount(blocks * width + column.codes, minlength=count * width)
    return flat.reshape(count, width)


def _count_windows(windows: Integers, column: Binned) -> Vector:
    """Return [CHUNK, bins + 1]: how many rows of each window are in which bin."""
    codes, width = column.codes, column.bins + 1
    if windows.shape[1] >= LONG:
        each = [np.bincount(codes[rows], minlength=width) for rows in windows]
        return np.stack(each).astype(np.float64)
    flat = (codes[windows] + np.arange(CHUNK)[:, None] * width).ravel()
    counts = np.bincount(flat, minlength=CHUNK * width)
    return counts.reshape(CHUNK, width).astype(np.float64)
