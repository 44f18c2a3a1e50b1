"""Finds how far windows without drift stray, by drawing such windows; pure.

A threshold that ignores the window's size cries wolf in small windows and sleeps in
large ones. So windows of this size are drawn from the reference itself, and compared
with the reference drawn anew: the distances are what chance makes. One limit holds
for all checks together: the largest distance of a draw, each in units of its own
column's scatter, stays below it in all but ``rate`` of the draws (Westfall and Young
(1993), Resampling-Based Multiple Testing, max-T).

Rows of one week resemble each other (weather, a strike, a campaign), so a window of
four weeks is drawn as four weeks of the reference, not as single rows: the moving
world inside the reference is not called drift. Kuensch (1989), Annals of Statistics
17(3). Rows drawn one by one are for logs whose rows have nothing to do with their
neighbours; they give lower thresholds, and false alarms where that is not so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlgitops import distance

Vector = NDArray[np.float64]
DRAWS = 2000  # windows drawn; at a rate of 0.5 % the limit is the tenth largest
CHUNK = 100  # of them at a time: bounded memory
BINS = 256  # of a number's distribution, equally full
MOST_ROWS = (
    5000  # of a drawn window; a larger one strays less, so this is on the safe side
)
FEWEST_BLOCKS = 8  # below it blocks are days, and then rows
GROUPS = 200  # that rows without blocks are put in, to draw the reference anew


@dataclass(frozen=True)
class Coded:
    """A column of the reference in bins, and how far it must move to matter."""

    codes: NDArray[np.int64]  # [rows] the bin; `bins` for missing values
    bins: int
    places: Vector | None  # [bins] where a number's bins are; None for a category
    spread: float
    floor: float  # smaller distances are never called drift
    weight: float = 0.0  # its part in the distance of the whole data set
    first: int | None = None  # only so many of a window's rows have it (labels)


class Null(NamedTuple):
    """The thresholds: per column, of its missing values, of the whole data set."""

    columns: dict[str, float]
    missing: dict[str, float]
    whole: float


def number(values: Any, floor: float, **more: Any) -> Coded:
    """Return a numeric column in bins that are equally full."""
    found = np.asarray(values, np.float64)
    there = ~np.isnan(found)
    edges = np.unique(np.quantile(found[there], np.linspace(0, 1, BINS + 1)))
    bins = max(len(edges) - 1, 1)
    place = np.clip(np.searchsorted(edges, found[there], "right") - 1, 0, bins - 1)
    codes = np.full(len(found), bins)
    codes[there] = place
    sums = np.bincount(place, found[there], bins)
    middle = sums / np.maximum(np.bincount(place, minlength=bins), 1)
    middle = np.maximum.accumulate(middle)  # an empty bin lies with the one before
    return Coded(codes, bins, middle, distance.spread(found[there]), floor, **more)


def category(values: Any, floor: float, **more: Any) -> Coded:
    """Return a column of categories as codes."""
    import pandas as pd

    codes, known = pd.factorize(pd.Series(values))
    bins = len(known)
    return Coded(np.where(codes < 0, bins, codes), bins, None, 1.0, floor, **more)


def blocks(times: Any, block_days: float, window_days: float) -> tuple[Any, int]:
    """Return (the block of each row, how many blocks a window is), or (None, 0).

    ``times`` are [rows] datetimes. Where the reference has too few blocks to draw
    from, days take their place, and single rows where there are too few days.
    """
    for days in (block_days, 1.0):
        if days <= 0 or not len(times):
            break
        place = numbered(times, days)
        if place.max() + 1 >= FEWEST_BLOCKS:
            return place, max(round(window_days / days), 1)
    return None, 0


def numbered(times: Any, days: float) -> NDArray[np.int64]:
    """Return the number of each row's block, from 0; ``times`` [rows] are datetimes."""
    found = np.asarray(times, "datetime64[s]").astype(np.int64) / 86_400
    _, place = np.unique((found - found.min()) // days, return_inverse=True)
    return np.asarray(place, np.int64)


def null(
    columns: Mapping[str, Coded],
    rows: int,
    rate: float,
    place: Any = None,
    window_blocks: int = 0,
    seed: int = 0,
) -> Null:
    """Return thresholds that all hold in ``1 - rate`` of windows without drift.

    ``rows`` is the window's size; ``place`` and ``window_blocks`` are from `blocks`.
    """
    rng = np.random.default_rng(seed)
    drawn = _Draws(len(next(iter(columns.values())).codes), place, window_blocks, rng)
    counted = {name: drawn.counts(column) for name, column in columns.items()}
    chunks = [
        _distances(columns, drawn, min(rows, MOST_ROWS), counted)
        for _ in range(DRAWS // CHUNK)
    ]
    found = np.concatenate(chunks)  # [draws, checks]
    centre, scatter = found.mean(0), np.maximum(found.std(0), 1e-9)
    largest = np.sort(((found - centre) / scatter).max(1))
    at = min(int(np.ceil((DRAWS + 1) * (1 - rate))), DRAWS) - 1
    limits = centre + largest[at] * scatter
    names, width = list(columns), len(columns)
    by_name = {
        name: max(float(limit), columns[name].floor)
        for name, limit in zip(names, limits[:width], strict=True)
    }
    missing = dict(zip(names, map(float, limits[width:-1]), strict=True))
    return Null(by_name, missing, max(float(limits[-1]), 1.0))


def whole(distances: Mapping[str, float], columns: Mapping[str, Any]) -> float:
    """Return the distance of the data set: 1 is as far as matters, by importance.

    ``columns`` are partial calls of `number` or `category`, with floor and weight.
    """
    known = {name: columns[name].keywords for name in distances}
    parts = (known[n]["weight"] * d / known[n]["floor"] for n, d in distances.items())
    return float(sum(parts))


class _Draws:
    """Draws rows of windows, and how often each block is in a new reference."""

    def __init__(
        self, rows: int, place: Any, window_blocks: int, rng: np.random.Generator
    ) -> None:
        self.rows, self.rng, self.window_blocks = rows, rng, window_blocks
        if place is None:
            place = rng.permutation(rows) % min(GROUPS, rows)
        self.place = place
        self.order = np.argsort(place, kind="stable")
        self.size = np.bincount(place)
        self.start = np.cumsum(self.size) - self.size

    def counts(self, column: Coded) -> NDArray[np.float32]:
        """Return [blocks, bins + 1]: how many rows of each block are in which bin.

        Single precision: exact for whole numbers of this size, and twice as fast.
        """
        width = column.bins + 1
        flat = np.bincount(
            self.place * width + column.codes, minlength=len(self.size) * width
        )
        return flat.reshape(-1, width).astype(np.float32)

    def window(self, rows: int) -> NDArray[np.int64]:
        """Return [CHUNK, rows] row numbers of windows."""
        if not self.window_blocks:
            return self.rng.integers(0, self.rows, (CHUNK, rows))
        # Large blocks are drawn more often, so that each row is as likely as another.
        chosen = self.rng.choice(
            len(self.size), (CHUNK, self.window_blocks), p=self.size / self.rows
        )
        slot = self.rng.integers(0, self.window_blocks, (CHUNK, rows))
        block = np.take_along_axis(chosen, slot, 1)
        inside = (self.rng.random((CHUNK, rows)) * self.size[block]).astype(np.int64)
        return np.asarray(self.order[self.start[block] + inside])

    def reference(self) -> NDArray[np.float32]:
        """Return [CHUNK, blocks]: how often each block is in a reference drawn anew."""
        count = len(self.size)
        even = np.full(count, 1 / count)
        return self.rng.multinomial(count, even, CHUNK).astype(np.float32)


def _distances(
    columns: Mapping[str, Coded],
    drawn: _Draws,
    rows: int,
    counts: Mapping[str, NDArray[np.float32]],
) -> Vector:
    """Return [CHUNK, checks]: each column, each column's missing values, the whole."""
    picked, again = drawn.window(rows), drawn.reference()
    offset = np.arange(CHUNK)[:, None]
    strayed, missing = [], []
    for name, column in columns.items():
        bins = column.bins
        mine = picked[:, : column.first]
        flat = (column.codes[mine] + offset * (bins + 1)).ravel()
        counted = np.bincount(flat, minlength=CHUNK * (bins + 1))
        now = counted.reshape(CHUNK, bins + 1).astype(np.float64)
        then = (again @ counts[name]).astype(np.float64)
        strayed.append(moved(then[:, :bins], now[:, :bins], column))
        gone = [side[:, bins] / side.sum(1) for side in (then, now)]
        missing.append(np.abs(gone[0] - gone[1]))
    weigh = [c.weight / c.floor for c in columns.values()]
    together = np.stack(strayed, 1) @ np.array(weigh)
    return np.stack([*strayed, *missing, together], 1)


def moved(then: Vector, now: Vector, column: Coded) -> Vector:
    """Return [draws] distances of counts in bins."""
    then, now = then + 1e-12, now + 1e-12  # a column may be missing in a whole draw
    if column.places is None:
        return np.asarray(distance.jensenshannon(then, now))
    shares = [np.cumsum(side / side.sum(1, keepdims=True), 1) for side in (then, now)]
    steps = np.diff(column.places)
    return np.asarray(np.abs(shares[0] - shares[1])[:, :-1] @ steps) / column.spread
