"""Tables of which a batch or a column is in memory, where main sets `prepare.batch`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlgitops.judgement import Refused
from mlgitops.pipeline import by_batch, data
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.row_groups import Rows
from mlgitops.pipeline.settings import Prepare, check_split

Types = dict[str, Any]


class Large(Protocol):
    """All rows of a table on disk."""

    def __len__(self) -> int:
        """Return how many rows there are."""

    def __getitem__(self, name: str) -> pd.Series:
        """Return one column [n]."""

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield all rows, or some columns of them."""


Table: TypeAlias = pd.DataFrame | Large


class File(Rows):
    """A Parquet file that may hold anything; its columns get some types if they can.

    Raises:
        Refused: by each function, where it cannot be read.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._types = Types()
        with refused(path):
            super().__init__(path, size)

    def typed(self, columns: list[str], types: Types) -> "File":
        """Let the file have these columns alone, of these types if they can."""
        self.columns, self._types = columns, types
        return self

    def __getitem__(self, name: str) -> pd.Series:
        """Return one column [n]."""
        if name not in self.columns:
            raise KeyError(name)
        return pd.concat([b[name] for b in self.batches([name])], ignore_index=True)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield all rows, or some columns of them."""
        names = columns or (self.columns if self._types else None)
        types = {n: kind for n, kind in self._types.items() if n in (names or ())}
        with refused(self.path):
            for batch in super().batches(names):
                yield batch.astype(types, errors="ignore")


class refused:  # noqa: N801 - a context, named as what it does
    """Turns what a parser raises into a refusal; its errors have no common class."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        """Begin to read."""

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        """Refuse a file that could not be read."""
        if isinstance(error, Exception):
            cause = " ".join(str(error).split())[:200]
            reason = f"{self.path.name} is not a table that can be read: {cause}"
            raise Refused("data", reason) from error


def batches(
    table: Table, columns: Sequence[str] | None = None
) -> Iterator[pd.DataFrame]:
    """Yield the rows of a table, or some columns of them; of one in memory, all."""
    if isinstance(table, pd.DataFrame):
        yield table if columns is None else table[list(columns)]
    else:
        yield from table.batches(columns)


def by_row(
    table: Table,
    function: Callable[[pd.DataFrame], Any],
    columns: Sequence[str] | None = None,
) -> NDArray[Any]:
    """Return what a function says of each row, [n]."""
    return np.concatenate([np.asarray(function(b)) for b in batches(table, columns)])


def where(table: Table, rows: NDArray[np.bool_]) -> pd.DataFrame:
    """Return some rows of a table."""
    start, parts = 0, []
    for batch in batches(table):
        parts.append(batch[rows[start : start + len(batch)]])
        start += len(batch)
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]


def row(table: Table, number: int, columns: Sequence[str] | None = None) -> pd.Series:
    """Return one row of a table, or some columns of it."""
    start = 0
    for batch in batches(table, columns):
        if number < start + len(batch):
            one = batch.iloc[[number - start]].astype(object)  # an id stays what it is
            return one.iloc[0]
        start += len(batch)
    raise IndexError(number)


def first(table: Table, rows: NDArray[np.bool_]) -> int:
    """Return the number of the first of some rows, in the order of the table's file."""
    if isinstance(table, by_batch.Table):
        return table.first(rows)
    return int(np.argmax(rows))


def split(
    table: Table, contract: Contract, rules: Prepare
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, holdout) as main splits them; of a large table's train no inputs.

    Of those rows the judge asks for their entity alone.
    """
    if isinstance(table, pd.DataFrame):
        return data.split(table, contract, rules)
    check_split(rules, contract)
    large = cast(by_batch.Table, table)
    kept = [contract.target, *([contract.entity] if contract.entity else [])]
    parts = [(train[kept], held) for train, held in large.parts(rules)]
    train, holdout = (
        pd.concat([*filter(len, blocks)] or [*blocks], ignore_index=True)
        for blocks in map(list, zip(*parts, strict=True))
    )
    for name, part in (("train", train), ("holdout", holdout)):
        large.refuse_lacking(name, part[contract.target], rules)
    return train, holdout
