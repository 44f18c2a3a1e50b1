"""Rows of the holdout that the training table has again, under other ids and times.

In a table of few categories most rows have a twin by nature, in one of many numbers
none has. So what is natural is measured: how many of the training table's own rows have
a twin in the rest of it, block by block of as many rows as are held out. Twins share
the target and all columns (or all that the model reads), numbers up to a small part of
their standard deviation. Values count once, however many rows have them: a sensor that
is off makes many rows alike, and nobody has copied them.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlgitops.judge import checks, large
from mlgitops.judge.compare import Codes, difference_of_shares
from mlgitops.judge.large import Table
from mlgitops.judgement import Check
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.repeated import hashes
from mlgitops.pipeline.schema import one_line

Keys = NDArray[np.uint64]

STEPS = (1e-4, 1e-2, 1e-1)  # standard deviations up to which numbers are the same
BLOCKS = (
    8  # of training rows, by time the newest; the one with the most twins is natural
)
CONFIDENCE = 0.9999  # of the interval: each proposal is asked, and few copy
BITS = 4  # of a key, by which values are looked at apart: a sixteenth at once
LEAST = 0.05  # of the holdout's rows, beyond what is natural: worth a caution
SURE = 0.2  # of its values, and
MOST = 0.8  # of those that have no twin by nature: copied beyond doubt


class Copies(NamedTuple):
    """How many of the holdout's values the training table has; one pair of ids."""

    shared: int
    values: int
    natural: float  # the share of values that have a twin by nature
    low: float  # how much larger the holdout's share is at least
    holdout_id: object
    train_id: object

    @property
    def least(self) -> float:
        """How many values more than by nature it has at least."""
        return self.low * self.values

    @property
    def sure(self) -> bool:
        """Whether there is no other explanation than copies."""
        return self.low >= max(SURE, MOST * (1 - self.natural))


def find(
    train: Table,
    holdout: pd.DataFrame,
    contract: Contract,
    inputs: list[str],
    known: Table | None,
    split: str = "time",
) -> Copies | None:
    """Return the most striking copies of the holdout in the training table, if any.

    ``known`` are the rows that main has, where that is other data: what is natural is
    measured on them, as copies may be there twice. Blocks are drawn as ``split`` draws
    the holdout: the newest rows, or any, or all rows of any entities.
    """
    read = [name for name in contract.columns if name in inputs]
    sets = {(*contract.columns, contract.target), (*read, contract.target)}
    own = np.ones(len(train), bool)
    if known is not None:
        own = _with_known_id(train, known, contract.id)
        if own.sum() < len(holdout):  # too few to measure on: all may have a new id
            own = np.ones(len(train), bool)
    groups = None
    if split == "time":
        times = pd.to_datetime(train[contract.time], utc=True, errors="coerce")
        order = np.argsort(times.dt.tz_localize(None).to_numpy(), kind="stable")[::-1]
    else:
        order = np.random.default_rng(0).permutation(len(train))
    if split == "group":
        codes, _ = pd.factorize(train[contract.entity], use_na_sentinel=False)
        groups = np.asarray(codes)
        drawn = np.random.default_rng(0).permutation(int(groups.max()) + 1)
        order = np.argsort(drawn[groups], kind="stable")
    blocks = _blocks(order, own, len(holdout))
    del order
    found = []

    def column(name: str) -> pd.Series:
        held, trained = holdout[name], train[name]
        if held.dtype.kind in "iuf" and trained.dtype.kind not in "iuf":
            trained = pd.to_numeric(trained, errors="coerce")  # a text hides no copy
        return pd.concat([held, trained], ignore_index=True)

    for keys in _keys(column, sets):
        shares, pair = _compare(keys, len(holdout), blocks, own, groups)
        copy = large.row(train, pair[1], [contract.id])
        ids = (holdout[contract.id].iloc[pair[0]], copy[contract.id])
        found.append(Copies(*shares, *ids))
    striking = [copies for copies in found if copies.least > LEAST * len(holdout)]
    return max(striking, key=lambda c: (c.sure, c.least)) if striking else None


def check(copies: Copies) -> Check:
    """Return the check that fails where rows of the holdout were copied."""
    reason = f"{sentence(copies)}: remove the copies from the data"
    limit = round(copies.natural * copies.values)
    fields = {"unit": "rows", "gate": False}
    reasons = (reason, reason)
    return checks.held("holdout_unseen", copies.shared, "<=", limit, reasons, **fields)


def sentence(copies: Copies) -> str:
    """Say how many rows have a copy, how many would by nature, and name a pair."""
    return (
        f"{copies.shared:,} of {copies.values:,} different rows of the holdout are in "
        "the training data again, under another id and time (such as "
        f"{one_line(copies.holdout_id)} as {one_line(copies.train_id)}); by nature "
        f"{copies.natural:.0%} would be"
    )


def _compare(
    keys: Keys,
    count: int,
    blocks: NDArray[np.int8],
    own: NDArray[np.bool_],
    groups: Codes | None,
) -> tuple[tuple[int, int, float, float], tuple[int, int]]:
    """Return the numbers of `Copies`, and the position of a pair in both tables.

    The first `count` keys are the holdout's, the rest the training table's. A row of a
    block has a twin if its value is there twice, as it is there itself; with `groups`,
    in two of them, as a holdout has no group of the training table. Rows of one value
    are looked at together, a share of all values at once.
    """
    shared, distinct, pair = 0, 0, None
    natural = np.zeros((BLOCKS + 1, 2), np.int64)  # the last of rows in none
    for part in _parts(keys):
        held, rows = part[part < count], part[part >= count] - count
        codes, values = pd.factorize(keys[part])
        trained = codes[len(held) :]
        counts = np.bincount(trained, minlength=len(values))
        if groups is not None:
            pairs = np.unique(groups[rows] * len(values) + trained) % len(values)
            counts = np.bincount(pairs, minlength=len(values))
        present = _present(codes[: len(held)], len(values))
        twins = present & (counts > 0)
        shared, distinct = shared + int(twins.sum()), distinct + int(present.sum())
        for block in range(BLOCKS):
            inside = _present(trained[blocks[rows] == block], len(values))
            natural[block] += (inside & (counts > 1)).sum(), inside.sum()
        copies = rows[twins[trained]]
        if len(copies):
            copy = int(copies[np.argmin(own[copies])])
            pair = min(pair or (True, len(keys)), (bool(own[copy]), copy))
    return _told(shared, distinct, natural[:BLOCKS]), _pair(keys, count, pair)


def _parts(keys: Keys) -> Iterator[Codes]:
    """Yield the positions of all keys, in order, those of one value in one part."""
    digits = (keys >> np.uint64(64 - BITS)).astype(np.uint8)
    for digit in range(1 << BITS):
        part = np.flatnonzero(digits == digit)
        if len(part):
            yield part


def _told(
    shared: int, distinct: int, blocks: NDArray[np.int64]
) -> tuple[int, int, float, float]:
    """Return the numbers of `Copies`; a block has its twins and its values."""
    natural = [(0, 0), *map(tuple, blocks.tolist())]
    hits, size = max(natural, key=lambda block: (block[0] / max(block[1], 1), block[1]))
    if not shared or not size:
        return shared, distinct, 1.0, -1.0
    rows = np.array([[distinct], [size]], np.float64)
    _, low, _ = difference_of_shares(np.array([[shared], [hits]]), rows, CONFIDENCE)
    return shared, distinct, hits / size, float(low[0])


def _pair(keys: Keys, count: int, copy: tuple[bool, int] | None) -> tuple[int, int]:
    """Return the positions of a row held out and of its copy, in their tables."""
    if copy is None:
        return 0, 0
    return int(np.argmax(keys[:count] == keys[count + copy[1]])), copy[1]


def _blocks(order: Codes, own: NDArray[np.bool_], count: int) -> NDArray[np.int8]:
    """Return in which block each row of the training table is, [n]; -1 in none."""
    blocks, order = np.full(len(own), -1, np.int8), order[own[order]]
    whole = max(len(order) - count // 2, 1)  # no block of less than half
    for block, start in enumerate(range(0, whole, count)[:BLOCKS]):
        blocks[order[start : start + count]] = block
    return blocks


def _present(codes: Codes, count: int) -> NDArray[np.bool_]:
    """Return which of so many codes there are, [count]."""
    present = np.zeros(count, bool)
    present[codes] = True
    return present


def _with_known_id(train: Table, known: Table, name: str) -> NDArray[np.bool_]:
    """Return which rows of a table have an id that another has, [n]."""
    if isinstance(train, pd.DataFrame) and isinstance(known, pd.DataFrame):
        ids = train[name].astype(object)
        return np.asarray(ids.isin(known[name].astype(object)))
    theirs = large.by_row(known, lambda rows: hashes(rows[name]), [name])
    return large.by_row(train, lambda rows: np.isin(hashes(rows[name]), theirs), [name])


def _keys(
    column: Callable[[str], pd.Series], sets: set[tuple[str, ...]]
) -> Iterator[Keys]:
    """Yield, by set of columns and step, a number per row, [n]: the same for twins.

    One column is in memory at a time.
    """
    for step in STEPS:
        keys: dict[tuple[str, ...], Keys] = {}
        random = np.random.default_rng(0)
        for name in sorted({name for columns in sets for name in columns}):
            factor = random.integers(1, 2**63, dtype=np.uint64) | np.uint64(1)
            key = _codes(column(name), step).view(np.uint64)
            key *= factor
            for columns in sets:
                if name in columns:
                    keys[columns] = keys[columns] + key if columns in keys else key
        yield from (keys[columns] for columns in sets)


def _codes(column: pd.Series, step: float) -> Codes:
    """Return a whole number per value [n]; near numbers have the same."""
    if not pd.api.types.is_numeric_dtype(column):
        return np.asarray(pd.factorize(column)[0])
    values = column.to_numpy(np.float64, na_value=np.nan, copy=True)
    values[~np.isfinite(values)] = np.nan
    known = values[~np.isnan(values)]
    known.sort()  # else a sum depends on their order
    if not len(known):
        return np.zeros(len(values), np.int64)
    mean = known.mean()
    known -= mean
    unit = step * float(np.sqrt(np.square(known, out=known).mean())) or 1.0
    del known
    values -= mean
    values /= unit
    steps = np.round(values, out=values)
    return np.asarray(np.nan_to_num(steps, copy=False, nan=2.0**50), np.int64)
