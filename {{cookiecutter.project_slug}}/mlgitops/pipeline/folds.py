"""Parts of the training rows that are left out in turn, as the split leaves out; pure.

What is chosen by them (settings, a threshold, a calibration) never sees the holdout,
which is the judge's alone. Roberts et al. (2017), Ecography 40(8): a fold has to leave
out what production will be new in: later rows, other groups.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.sides import shares, text
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd

FIRST = (
    0.5  # of the rows, by time, are before all that is left out: few days say little
)
SPLIT = "split"  # the attribute of the training rows with the name of their split
Positions = NDArray[np.int64]


class Fold(NamedTuple):
    """Positions of rows, in their order: those to fit on, and those left out."""

    fit: Positions
    left_out: Positions


def folds(rows: pd.DataFrame, contract: Contract, count: int, seed: int) -> list[Fold]:
    """Return `count` folds of rows that stage prepare wrote; at least 2.

    Split by time: each fold is fitted on what came before the rows it leaves out, the
    first on half of them, so the earliest rows are left out by none. By group: all
    rows of a group together. Else: by a hash of the row's id, alike in each class. The
    same rows and seed give the same folds, in whatever order the rows are.

    Raises:
        ContractError: too few times, groups or rows for so many folds.
    """
    split = str(rows.attrs.get(SPLIT, "random"))
    if split == "time":
        return _later(rows, contract, count)
    numbers = _numbers(rows, contract, split, count, seed)
    every = range(count)
    if set(numbers) != set(every):
        what = f"values of {contract.entity}" if split == "group" else "rows"
        raise ContractError(f"the training rows have too few {what} for {count} folds")
    return [
        Fold(np.flatnonzero(numbers != n), np.flatnonzero(numbers == n)) for n in every
    ]


def one_fold(rows: pd.DataFrame, contract: Contract, share: float, seed: int) -> Fold:
    """Return the rows to fit on, and a share of them to calibrate on: one fold.

    Split by time: the newest rows. By group: whole groups. Else: by a hash of the
    row's id, alike in each class.

    Raises:
        ContractError: too few times, groups or rows for a part of that size.
    """
    split = str(rows.attrs.get(SPLIT, "random"))
    if split == "time":
        times = rows[contract.time].to_numpy()
        start = np.sort(times)[len(times) - max(1, round(share * len(times)))]
        late, what = times >= start, "times"
    else:
        # One of each 1/share in the order of the hashes, class after class.
        place = _numbers(rows, contract, split, len(rows), seed)
        late = np.floor((place + 1) * share) > np.floor(place * share)
        what = f"values of {contract.entity}" if split == "group" else "rows"
    if late.all() or not late.any():
        raise ContractError(f"the training rows have too few {what} to leave some out")
    return Fold(np.flatnonzero(~late), np.flatnonzero(late))


def _later(rows: pd.DataFrame, contract: Contract, count: int) -> list[Fold]:
    """Return folds that leave out ever later rows; rows of one time stay together."""
    times = rows[contract.time].to_numpy()
    inner = FIRST + (1 - FIRST) * np.arange(count) / count
    starts = np.sort(times)[(inner * len(times)).astype(np.int64)]
    edges = [*starts, None]
    found = []
    for start, end in pairwise(edges):
        late = times >= start if end is None else (times >= start) & (times < end)
        found.append(Fold(np.flatnonzero(times < start), np.flatnonzero(late)))
    if not all(len(fold.fit) and len(fold.left_out) for fold in found):
        raise ContractError(f"the training rows have too few times for {count} folds")
    return found


def _numbers(
    rows: pd.DataFrame, contract: Contract, split: str, count: int, seed: int
) -> Positions:
    """Return the number of the fold that leaves out each row, [n]."""
    import pandas as pd

    if split == "group":
        codes, groups = pd.factorize(rows[contract.entity].astype(object))
        ranks = np.argsort(np.argsort(shares(map(text, groups), seed), kind="stable"))
        return np.asarray(ranks[codes] % count, np.int64)
    hashes = shares(map(text, rows[contract.id]), seed)
    classes = np.zeros(len(rows))
    if TASKS[contract.task].kind == "classifier":
        classes = pd.factorize(rows[contract.target], sort=True)[0]
    # One class after the other, each by its hashes: dealt out like cards.
    order = np.lexsort((hashes, classes))
    numbers = np.empty(len(rows), np.int64)
    numbers[order] = np.arange(len(rows)) % count
    return numbers
