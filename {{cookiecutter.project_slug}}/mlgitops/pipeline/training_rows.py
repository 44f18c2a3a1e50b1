"""Reads the training rows, at once or a batch at a time (`train.batch`); pure.

A survey looks at all batches once. What the stage `train` needs of all rows it finds
there: their hash and window, the rows for the parity check and the golden rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlgitops.pipeline import golden, intervals, manifest, row_groups, weights
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import truth
from mlgitops.pipeline.settings import Train
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd

PARITY_ROWS = 10_000  # as many, or up to twice, are compared with the exported file


@dataclass(frozen=True)
class Survey:
    """What is needed of the training rows beside the fit.

    `classes` has how many rows each class has, empty for a regression, and where all
    rows were read at once.
    """

    sample: pd.DataFrame  # rows spread over the table, for the parity check
    golden: pd.DataFrame  # rows that golden rows are made of
    trained_on: dict[str, object]  # the manifest's entry `data`
    fitted_on: pd.DataFrame  # all rows, or where they come in batches the sample
    calibration: pd.DataFrame  # rows that intervals are calibrated on, often none
    classes: weights.Weights


class Batches:
    """The rows of a Parquet file, of which at most `size` are held at once."""

    def __init__(self, path: Path, size: int) -> None:
        import pandas as pd

        nothing = pd.read_parquet(path, columns=[])  # what the file says of itself
        self.path, self.size = path, size
        self.count, self.attrs = len(nothing), nothing.attrs

    def read(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the rows in their order, all columns or some."""
        from pyarrow import parquet

        names = None if columns is None else list(dict.fromkeys(columns))
        with parquet.ParquetFile(self.path, **row_groups.IN_PIECES) as file:
            parts = file.iter_batches(self.size, columns=names, use_threads=False)
            yield from (part.to_pandas() for part in parts if len(part))


def whole(path: Path, contract: Contract, recipe: Train) -> Survey:
    """Return what is needed of a table that is read at once."""
    import pandas as pd

    rows = pd.read_parquet(path)
    fitted_on, calibration = intervals.parts(rows, contract, recipe)
    facts = manifest.trained_on(rows, contract, path.read_bytes())
    sample = rows.iloc[:: _step(len(rows))]
    return Survey(sample, rows, facts, fitted_on, calibration, np.zeros(0))


def survey(rows: Batches, contract: Contract, recipe: Train) -> Survey:
    """Return what is needed of a table that is read a batch at a time.

    Raises:
        ContractError: no rows, a class without any, or a weight that is none.
    """
    import pandas as pd

    if not rows.count:
        raise ContractError(f"{rows.path} has no rows; type make repro.")
    faults = _faults(contract, recipe)
    classes = np.zeros(_count_of_classes(contract), np.int64)
    sample, chosen, times, start = [], [], [], 0
    spread, step = golden.spread(rows.count), _step(rows.count)
    for part in rows.read():
        stop = start + len(part)
        sample.append(part.iloc[np.arange(-start % step, len(part), step)])
        here = spread[(spread >= start) & (spread < stop)]
        chosen.append(part.iloc[here - start])
        if contract.time:
            times += [part[contract.time].min(), part[contract.time].max()]
        if len(classes):
            indices = truth(part, contract).astype(int)
            classes += np.bincount(indices, minlength=len(classes))
        if faults:
            faults.look(weights.numbers(part, faults.name), part[contract.id])
        start = stop
    if faults:
        faults.demand_none()
    _demand_each_class(classes, contract)
    ends = pd.DataFrame({contract.time: times} if contract.time else {})
    facts = _trained_on(rows, contract, ends)
    few = pd.concat(sample, ignore_index=True)
    spread_rows = pd.concat(chosen, ignore_index=True)
    return Survey(few, spread_rows, facts, few, few.iloc[:0], classes.astype(float))


def _step(count: int) -> int:
    """Return which rows are compared with the exported file: each so-many-th."""
    return max(1, count // PARITY_ROWS)


def _faults(contract: Contract, recipe: Train) -> weights.Faults | None:
    """Return what counts the faults of a column of weights, where there is one."""
    if recipe.weights is None:
        return None
    weights.check_setting(contract, recipe)
    column = recipe.weights in contract.columns
    return weights.Faults(recipe.weights) if column else None


def _count_of_classes(contract: Contract) -> int:
    """Return how many classes a task has, 0 for a regression."""
    if TASKS[contract.task].kind != "classifier":
        return 0
    return len(contract.classes) or 2


def _demand_each_class(counts: np.ndarray, contract: Contract) -> None:
    """Refuse a class without a row."""
    names: Sequence[object] = contract.classes or (0, 1)
    for name, count in zip(names, counts, strict=False):
        if not count:
            raise ContractError(
                f'the {counts.sum():,} training rows have no row of "{contract.target}"'
                f" {name}; add data, or change the section prepare"
            )


def _trained_on(
    rows: Batches, contract: Contract, ends: pd.DataFrame
) -> dict[str, object]:
    """Return the manifest's entry `data`; `ends` has the times of each batch's ends."""
    with rows.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    facts = {"sha256": rows.attrs["source_sha256"], "train_sha256": digest}
    return {**facts, **manifest.window(ends, contract), "train_rows": rows.count}
