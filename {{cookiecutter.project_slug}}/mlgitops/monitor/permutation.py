"""A permutation test: compares an alarm with other choices of as many weeks; pure.

Thresholds drawn from the reference alone (`null_distribution`) know only the weeks that
it has. Of a dozen weeks the worst is still to come, and would be called drift: the one
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
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlgitops.monitor.null_distribution import (
    DRAWS,
    Binned,
    Binning,
    Integers,
    Thresholds,
    Vector,
    by_check,
    check_distances,
    count_by_block,
    critical_values,
    number_blocks,
)

if TYPE_CHECKING:
    import pandas as pd

ENOUGH = 2  # choices that may look worse than the window, if it is to be an alarm


class Blocks(NamedTuple):
    """The block of each row of both samples; the window's blocks are the last ones."""

    past: Integers
    current: Integers
    window: int  # blocks of the window


class Result(NamedTuple):
    """The window's distances in bins, and the critical values from which they count."""

    observed: Thresholds
    critical: Thresholds


def choose_blocks(
    past: Any, current: Any, block_days: float, rate: float
) -> Blocks | None:
    """Return the blocks of rows with these times, or None where there are too few.

    Too few are those with so few permutations that none would be rare enough; then
    days replace ``block_days``.
    """
    for days in (block_days, 1.0):
        if days <= 0 or not len(past) or not len(current):
            break
        past_blocks, current_blocks = (
            number_blocks(times, days) for times in (past, current)
        )
        reference, window = (
            int(blocks.max()) + 1 for blocks in (past_blocks, current_blocks)
        )
        if math.comb(reference + window, window) * rate >= ENOUGH:
            return Blocks(past_blocks, current_blocks + reference, window)
    return None


def blocks_by_arrival(
    rows: int, arrived: Integers, groups: Any = None, seed: int = 0
) -> Blocks | None:
    """Return blocks where only the current rows have times, those of their arrival.

    ``arrived`` is the block of each of them. The ``rows`` of the past are put into as
    many blocks at random, those of one of the ``groups`` [rows] into the same one.
    """
    import pandas as pd

    count = int(arrived.max()) + 1
    codes = np.arange(rows)
    if groups is not None:
        codes = pd.factorize(pd.Series(groups), use_na_sentinel=False)[0]
    numbers = np.random.default_rng(seed).permutation(int(codes.max()) + 1) % count
    past = numbers[codes]
    if len(np.unique(past)) < count:
        return None
    return Blocks(past, arrived + count, count)


def permutation_test(
    past: pd.DataFrame,
    current: pd.DataFrame,
    binnings: Mapping[str, Binning],
    blocks: Blocks,
    rate: float,
    seed: int = 0,
) -> Result:
    """Return the window's distances and their critical values, by column.

    Both samples are thinned to as many rows a block: a block of few rows varies more.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    reference = int(blocks.past.max()) + 1
    rows_a_block = min(len(past) / reference, len(current) / blocks.window)
    kept = [
        _thin(len(table), rows_a_block * count, rng)
        for table, count in ((past, reference), (current, blocks.window))
    ]
    tables = [table.iloc[k] for table, k in zip((past, current), kept, strict=True)]
    pooled = pd.concat([table[[*binnings]] for table in tables], ignore_index=True)
    columns = {name: binning(pooled[name]) for name, binning in binnings.items()}
    row_blocks = np.concatenate([blocks.past[kept[0]], blocks.current[kept[1]]])
    count = reference + blocks.window
    return compare_choices(columns, row_blocks, count, blocks.window, rate, rng)


def compare_choices(
    columns: Mapping[str, Binned],
    blocks: Integers,
    count: int,
    window: int,
    rate: float,
    rng: np.random.Generator,
) -> Result:
    """Return the result for rows in bins that lie in ``blocks`` of ``count``.

    The last ``window`` blocks are the window. An alarm is what is at its critical
    value or beyond: at most ``rate`` of the choices are.
    """
    choices = _choices(count, window, rng)
    counts = [count_by_block(blocks, count, c).astype(float) for c in columns.values()]
    past, current = [(1 - choices) @ n for n in counts], [choices @ n for n in counts]
    distances = check_distances(columns, past, current)
    rank = len(choices) - 1 - math.floor(rate * len(choices))
    critical = critical_values(distances, rank)
    critical = critical * (1 + 1e-9) + 1e-12  # choices that are alike are not beyond
    names = list(columns)
    return Result(by_check(distances[0], names), by_check(critical, names))


def _thin(rows: int, keep: float, rng: np.random.Generator) -> Integers:
    """Return which rows to keep, in their order; at least one."""
    return np.sort(rng.permutation(rows)[: max(round(keep), 1)])


def _choices(count: int, window: int, rng: np.random.Generator) -> Vector:
    """Return [DRAWS, count] with 1 for the blocks that play the window.

    The first choice is the window as it is.
    """
    picks = rng.random((DRAWS, count)).argsort(1)[:, :window]
    picks[0] = np.arange(count - window, count)
    choices = np.zeros((DRAWS, count))
    np.put_along_axis(choices, picks, 1.0, 1)
    return choices
