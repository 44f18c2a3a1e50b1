"""Cleans, checks and splits a table that does not fit in memory; main's for the judge.

First pass: each batch of the source is cleaned and checked, and lies on disk, sorted.
Second pass: the batches are merged, and each row goes to its part. What is wrong is
counted over all rows and told as for a table in memory, and the parts have the same
rows in the same order.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlgitops.pipeline import data, kinds, sides
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.repeated import Ids
from mlgitops.pipeline.row_groups import Part, Rows
from mlgitops.pipeline.settings import Prepare
from mlgitops.pipeline.sorted_runs import Runs

Clean = Callable[[pd.DataFrame], pd.DataFrame]
Parts = tuple[pd.DataFrame, pd.DataFrame]
PROBED = 100_000  # rows that show whether `prepare` looks at others
SAYS = "BY_BATCH"  # the line of model/prepare.py
HOME = "model.prepare"  # its module, which may take the function from another
UNDECLARED = (
    "prepare.batch calls prepare() of model/prepare.py with some of the rows at a "
    "time, and that file does not say that it may: where each row comes out the same "
    f"whatever other rows there are, write the line `{SAYS} = True` there; else do in "
    "the table in data/ what needs all rows, or remove prepare.batch from params.yaml"
)
DEPENDENT = (
    f"model/prepare.py says {SAYS} = True, but prepare() makes other rows of the first "
    "{rows:,} than of their two halves: it looks at more than a row (a mean, a "
    "duplicate, a row before); do that in the table in data/, or remove prepare.batch "
    "from params.yaml"
)


@dataclass(frozen=True)
class Table:
    """All rows, cleaned, checked and sorted, on disk."""

    runs: Runs
    newest: data.Newest
    contract: Contract
    filled: frozenset[str]  # columns with a value

    def __len__(self) -> int:
        """Return how many rows there are."""
        return self.newest.rows

    def __getitem__(self, name: str) -> pd.Series:
        """Return one column [n], its rows as `batches` has them."""
        parts = [batch[name] for batch in self.batches([name])]
        return pd.concat(parts, ignore_index=True)

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return list(self.runs.schema.names)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield all rows, or some columns of them, sorted within a batch only."""
        return self.runs.batches(columns)

    def first(self, rows: NDArray[np.bool_]) -> int:
        """Return the number of that of some rows which came first."""
        return int(np.flatnonzero(rows)[np.argmin(self.runs.came()[rows])])

    def parts(self, rules: Prepare) -> Iterator[Parts]:
        """Yield rows to train on and rows to hold out, joined in their order.

        Raises:
            ContractError: a column is empty, or a few rows are so much later than all
                others that they alone are held out.
        """
        data.refuse_empty(len(self), self.filled, self.contract)
        contract, time, start = self.contract, self.contract.time, 0
        before: pd.Timestamp | None = None
        for block in self.runs.merged():
            if rules.split == "time":
                times = block[time]
                data.refuse_stray(times, contract, rules, self.newest, start, before)
                start, before = start + len(block), times.iloc[-1]
            train, held = data.in_parts(block, contract, rules, self.newest)
            yield block[train], block[held]

    def refuse_lacking(self, name: str, target: pd.Series, rules: Prepare) -> None:
        """Refuse a part that lacks a class; ContractError."""
        column = sides.column(self.contract, rules)
        values = partial(self.runs.different, column)
        data.refuse_lacking(name, target, self.contract, rules, self.newest, values)


def demand_by_batch(clean: Clean) -> None:
    """Refuse a function of model/prepare.py that may need all rows.

    Raises:
        ContractError: its file does not say that it needs one row only.
    """
    modules = map(sys.modules.get, (clean.__module__, HOME))
    if not any(getattr(module, SAYS, False) is True for module in modules):
        raise ContractError(UNDECLARED)


def prepared(source: Rows, clean: Clean, contract: Contract, folder: Path) -> Table:
    """Clean and check all rows of a file, and leave them in a folder, sorted.

    Raises:
        ContractError: what `check` says of the whole table; `clean` needs all rows.
    """
    batches = -(-len(source) // source.size)
    runs = Runs(folder, data.sort_keys(contract), source.size, batches)
    ids, broken, rows, filled = Ids(folder, source.size), [], 0, set[str]()
    for number, raw in enumerate(source.batches()):
        if not number:
            probe(clean, raw.head(PROBED), contract)
        start = number * source.size
        try:
            with _naming(range(start, start + len(raw))):
                frame = clean(raw)
                rows += len(frame)
                typed = data.check(frame, contract, unique=False)
        except data.BrokenColumn as problem:
            broken.append(problem)
        else:
            filled |= {name for name in typed if typed[name].notna().any()}
            if len(typed):
                runs.add(typed)
        if len(frame) and not any(problem.untyped for problem in broken):
            ids.add(frame[contract.id])
    if repeated := ids.repeated():
        names = list(data.schema(contract).columns)
        rule, (count, example) = data.RULES[1], repeated
        counts = (count, rows)
        broken.append(data.breach(rule, contract.id, names, example, counts, contract))
    if broken:
        raise _of_all(broken, rows)
    last = runs.last
    if last is None:
        raise ContractError(data.NO_ROWS)
    newest = data.Newest(last.get(contract.time), last[contract.id], rows)
    return Table(runs, newest, contract, frozenset(filled))


@contextmanager
def _naming(rows: range) -> Iterator[None]:
    """Say which rows of the source those are of which alone something is told."""
    try:
        yield
    except kinds.OfSomeRows as error:
        where = f"Rows {rows.start + 1:,} to {rows.stop:,}"
        raise ContractError(f"{where}: {error}") from error


def _of_all(broken: list[data.BrokenColumn], rows: int) -> data.BrokenColumn:
    """Return the first problem of a table, counted over all its batches."""
    first = min(broken, key=lambda problem: problem.order)
    count = sum(p.count for p in broken if p.order == first.order)
    return data.BrokenColumn(first.order, first.column, count, rows, first.problem)


def probe(clean: Clean, rows: pd.DataFrame, contract: Contract) -> None:
    """Refuse a function that makes other rows of a table than of its two halves.

    Once the halves are the first and the last rows; once neighbours are in different
    ones, so that a function which compares them is seen.

    Raises:
        ContractError: it does.
    """
    try:
        table = _checked(clean, rows, contract)
    except (ContractError, TypeError):
        return  # whatever is wrong is told of all rows
    if table[contract.id].duplicated().any():
        return  # so is this; and equal ids have no order
    number = np.arange(len(rows))
    for first in (number % 2 == 0, number < len(rows) // 2):
        try:
            halves = [_checked(clean, rows[half], contract) for half in (first, ~first)]
            joined = pd.concat([half for half in halves if len(half)] or halves)
            joined = joined.astype(table.dtypes)
            again = joined.sort_values(data.sort_keys(contract), ignore_index=True)
        except (ContractError, LookupError, TypeError, ValueError):
            again = table.head(-1)  # a half is another table
        if not again.equals(table):
            raise ContractError(DEPENDENT.format(rows=len(rows)))


def _checked(clean: Clean, rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return rows of a batch cleaned, checked and sorted."""
    frame = clean(rows.reset_index(drop=True))
    typed = data.check(frame, contract, unique=False)
    return typed.sort_values(data.sort_keys(contract), ignore_index=True)


def clear(out: Path) -> Path:
    """Return the scratch folder beside a file; what a killed process left is gone."""
    folder = out.parent / f"{out.stem}.scratch"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


@contextmanager
def scratch(out: Path) -> Iterator[Path]:
    """Yield an empty folder on the disk of a file, and remove it at the end."""
    folder = clear(out)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(
    table: Table, rules: Prepare, outs: tuple[Path, Path], attrs: dict[str, Any]
) -> None:
    """Write each part, by row groups of `batch` rows; all of them or nothing.

    Raises:
        ContractError: a part lacks a class, or a few rows are too late.
    """
    size, folder, names = int(rules.batch or 0), table.runs.folder, ("train", "holdout")
    schema = table.runs.schema
    parts = [Part(folder / f"{n}.parquet", schema, attrs, size) for n in names]
    for rows in table.parts(rules):
        for part, own in zip(parts, rows, strict=True):
            part.add(own)
    for part, name in zip(parts, names, strict=True):
        part.close()
        target = Rows(part.path, size)[table.contract.target]
        table.refuse_lacking(name, target, rules)
    for part, out in zip(parts, outs, strict=True):
        out.parent.mkdir(parents=True, exist_ok=True)
        part.path.replace(out)
