"""Shapley values of one row: how each column moved the model's output; pure numpy.

The model is a black box. Columns that are not yet known take their values from
reference rows, all of which count alike, so that the values say how this row differs
from those: Strumbelj and Kononenko (2014), Knowledge and Information Systems 41(3);
Lundberg and Lee (2017), NeurIPS 30. With few columns each set of them is tried, and the
values are exact: Shapley (1953). With more, the columns become known in random orders,
each order also backwards: Mitchell et al. (2022), JMLR 23(43).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import comb
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Feeds = Mapping[str, Array]  # by column, [rows, 1]
Score = Callable[[Feeds], Floats]  # -> the output of each row, [rows]
BATCH = 500  # rows that the model gets at a time


class Values(NamedTuple):
    """The contribution of each column, and how exact they are."""

    contributions: Floats  # [columns]; their sum is the output minus the baseline
    errors: Floats | None  # [columns], standard errors where orders were drawn
    exact: bool


def values(
    score: Score,
    row: Feeds,
    reference: Feeds,
    ends: tuple[float, Floats],
    budget: int,
    seed: int,
) -> Values:
    """Return the Shapley values of a row, [1, 1] a column, against reference rows.

    `ends` is the output of the row, and of each reference row. The model gets at most
    `budget` rows, or one order and its reverse for each reference row if that is more.
    """
    columns, rows = len(row), len(ends[1])
    if columns < 20 and 2**columns * rows <= budget:
        return _exact(score, row, reference, ends)
    pairs = max(1, budget // (2 * (columns - 1) * rows))
    return _sampled(score, row, reference, ends, pairs, np.random.default_rng(seed))


def _exact(score: Score, row: Feeds, reference: Feeds, ends: Any) -> Values:
    """Try each set of known columns, its members; its value is the mean output."""
    columns, rows = len(row), len(ends[1])
    sets = np.arange(2**columns)
    members = (sets[:, None] >> np.arange(columns) & 1).astype(bool)
    inner = members[1:-1].repeat(rows, axis=0)
    starts = np.tile(np.arange(rows), len(members) - 2)
    means = (
        _outputs(score, row, reference, inner, starts).reshape(-1, rows).mean(axis=1)
    )
    worth = np.array([ends[1].mean(), *means, ends[0]])
    weight = np.array([1 / (columns * comb(columns - 1, n)) for n in range(columns)])
    sizes, contributions = members.sum(axis=1), []
    for column in range(columns):
        without = sets[~members[:, column]]
        gains = worth[without | 1 << column] - worth[without]
        contributions.append(float((weight[sizes[without]] * gains).sum()))
    return Values(np.array(contributions), None, exact=True)


def _sampled(
    score: Score,
    row: Feeds,
    reference: Feeds,
    ends: Any,
    pairs: int,
    random: np.random.Generator,
) -> Values:
    """Let the columns become known in drawn orders, from each reference row."""
    columns, steps = len(row), np.arange(1, len(row))
    by_pair = []
    for index, start in enumerate(ends[1]):
        orders = random.permuted(np.tile(np.arange(columns), (pairs, 1)), axis=1)
        orders = np.stack([orders, orders[:, ::-1]], axis=1)  # [pairs, 2, columns]
        members = np.argsort(orders)[:, :, None, :] < steps[:, None]
        members = members.reshape(-1, columns)
        starts = np.full(len(members), index)
        path = np.empty((pairs, 2, columns + 1))
        path[..., 0], path[..., -1] = start, ends[0]
        inner = _outputs(score, row, reference, members, starts)
        path[..., 1:-1] = inner.reshape(pairs, 2, columns - 1)
        gains = np.empty((pairs, 2, columns))
        np.put_along_axis(gains, orders, np.diff(path), axis=-1)
        by_pair.append(gains.mean(axis=1))
    gains_by_pair = np.array(by_pair)  # [reference rows, pairs, columns]
    errors = None
    if pairs > 1:
        variance = gains_by_pair.var(axis=1, ddof=1).sum(axis=0) / pairs
        errors = np.sqrt(variance) / len(gains_by_pair)
    return Values(gains_by_pair.mean(axis=(0, 1)), errors, exact=False)


def _outputs(
    score: Score, row: Feeds, reference: Feeds, members: Flags, starts: Array
) -> Floats:
    """Return the outputs, [n], of reference rows with the known columns of the row.

    `members`, [n, columns], are the known ones; `starts`, [n], the reference rows.
    """
    parts = [np.empty(0)]
    for part in _batches(len(members)):
        mixed = {
            name: np.where(
                members[part, index, None], value, reference[name][starts[part]]
            )
            for index, (name, value) in enumerate(row.items())
        }
        parts.append(score(mixed))
    return np.concatenate(parts)


def _batches(count: int) -> Iterator[slice]:
    """Yield parts of so many rows."""
    for start in range(0, count, BATCH):
        yield slice(start, min(start + BATCH, count))
