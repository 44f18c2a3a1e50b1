"""Holds an alarm against other choices of as many weeks; pure.

Thresholds drawn from the reference alone (`calibrate`) know only the weeks that it
has. Of a dozen weeks the worst is still to come, and would be called drift: the one
with the first broken sensor, the first storm. If nothing has changed, however, the
window's weeks might as well have been any of all the weeks, its own and the
reference's. So what is called drift has to be larger than in all but ``rate`` of such
choices, over all checks together. Whatever weeks are like, and however seldom the odd
ones come, that rate of false alarms is exact where one week is as good as another.
Fisher (1935), The Design of Experiments; over many checks, Romano and Wolf (2005),
Journal of the American Statistical Association 100(469).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlgitops.monitor import calibrate
from mlgitops.monitor.calibrate import DRAWS, Coded, Null, Vector

if TYPE_CHECKING:
    import pandas as pd

ENOUGH = 2  # choices that may look worse than the window, if it is to be an alarm
Place = NDArray[np.int64]


class Blocks(NamedTuple):
    """The block of each row, both sides together: the window's are the last ones."""

    past: Place
    now: Place
    window: int


class Held(NamedTuple):
    """How far the window is from the reference in bins, and from where on it counts."""

    distances: Null
    limits: Null


def blocks(past: Any, now: Any, block_days: float, rate: float) -> Blocks | None:
    """Return the blocks of rows with these times, or None where there are too few.

    Too few are those of which so few choices can be made that none would be seldom
    enough; then days take the place of ``block_days``.
    """
    for days in (block_days, 1.0):
        if days <= 0 or not len(past) or not len(now):
            break
        sides = [calibrate.numbered(times, days) for times in (past, now)]
        before, window = (int(side.max()) + 1 for side in sides)
        if math.comb(before + window, window) * rate >= ENOUGH:
            return Blocks(sides[0], sides[1] + before, window)
    return None


def held(
    past: pd.DataFrame,
    now: pd.DataFrame,
    made: Mapping[str, Callable[[Any], Coded]],
    found: Blocks,
    rate: float,
    seed: int = 0,
) -> Held:
    """Return the window's distances and their limits; ``made`` codes a column.

    Both sides are thinned to as many rows a block: a block of few rows strays more.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    before = int(found.past.max()) + 1
    most = min(len(past) / before, len(now) / found.window)
    keep = [
        np.sort(rng.permutation(len(side))[: max(round(most * count), 1)])
        for side, count in ((past, before), (now, found.window))
    ]
    rows = [side.iloc[at] for side, at in zip((past, now), keep, strict=True)]
    both = pd.concat([side[[*made]] for side in rows], ignore_index=True)
    coded = {name: make(both[name]) for name, make in made.items()}
    place = np.concatenate([found.past[keep[0]], found.now[keep[1]]])
    return limits(coded, place, before + found.window, found.window, rate, rng)


def limits(
    columns: Mapping[str, Coded],
    place: Place,
    count: int,
    window: int,
    rate: float,
    rng: np.random.Generator,
) -> Held:
    """Return what `held` does, for rows in bins whose block is ``place`` of ``count``.

    An alarm is what is at its limit or beyond: at most ``rate`` of the choices are.
    """
    picks = rng.random((DRAWS, count)).argsort(1)[:, :window]
    picks[0] = np.arange(count - window, count)  # the window as it is, is one of them
    chosen = np.zeros((DRAWS, count))
    np.put_along_axis(chosen, picks, 1.0, 1)
    found = _distances(columns, chosen, place, count)
    centre, scatter = found.mean(0), np.maximum(found.std(0), 1e-9)
    largest = np.sort(((found - centre) / scatter).max(1))[::-1]
    beyond = centre + largest[math.floor(rate * DRAWS)] * scatter
    names = list(columns)
    beyond = beyond * (1 + 1e-9) + 1e-12  # choices that are alike are not beyond
    return Held(_null(found[0], names), _null(beyond, names))


def _null(values: Vector, names: list[str]) -> Null:
    """Return the checks by name."""
    width = len(names)
    moved, missing = values[:width].tolist(), values[width:-1].tolist()
    return Null(
        dict(zip(names, moved, strict=True)),
        dict(zip(names, missing, strict=True)),
        float(values[-1]),
    )


def _distances(
    columns: Mapping[str, Coded], chosen: Vector, place: Place, count: int
) -> Vector:
    """Return [DRAWS, checks], in the order of `calibrate`."""
    strayed, missing, together = [], [], np.zeros(len(chosen))
    for column in columns.values():
        width = column.bins + 1
        flat = np.bincount(place * width + column.codes, minlength=count * width)
        by_block = flat.reshape(count, width).astype(np.float64)
        now, then = chosen @ by_block, (1 - chosen) @ by_block
        strayed.append(calibrate.moved(then[:, :-1], now[:, :-1], column))
        gone = [side[:, -1] / np.maximum(side.sum(1), 1) for side in (then, now)]
        late = column.first is not None  # a label that lacks is late, not missing
        missing.append(np.zeros(len(chosen)) if late else np.abs(gone[0] - gone[1]))
        together += strayed[-1] * (column.weight / column.floor)
    return np.stack([*strayed, *missing, together], 1)
