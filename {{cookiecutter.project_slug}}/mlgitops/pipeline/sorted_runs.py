"""Sorts a table that does not fit in memory: sorted parts on disk, merged.

Knuth, The Art of Computer Programming, vol. 3, 5.4: external sorting. Blocks are read
in the order of their first keys (5.4.6, forecasting), many at a time. More parts than
have a block each in memory are merged in passes, so that the time grows as n log n.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from mlgitops.pipeline.contract import ContractError
from mlgitops.pipeline.schema import one_line

LEAST = 500  # rows of a block; to read fewer costs more than another pass
OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")
MIXED = (
    "prepare() of model/prepare.py gives a column values of several types ({cause}); "
    "let it give one type, whatever the rows"
)
Key = tuple[object, ...]


class Block(NamedTuple):
    """Some rows of a sorted part, and the key of the first of them."""

    first: Key
    file: Path
    number: int  # in its file


Run = list[Block]  # all rows of a sorted part, in their order


class Runs:
    """The parts of a table that is sorted by the columns `keys`, no row twice.

    `parts` says how many there will be. While parts are merged, a block of each is
    held, half of `size` rows together, and so many more are read at once.
    """

    def __init__(self, folder: Path, keys: list[str], size: int, parts: int) -> None:
        self.keys, self.folder, self._runs = keys, folder, list[Run]()
        self._most = max(2, size // (2 * LEAST))  # parts that are merged at once
        self._block = max(1, size // (2 * min(max(parts, 1), self._most)))
        self._refill = max(1, size // (2 * self._block))  # blocks
        self._schemas: list[pa.Schema] = []  # one, of all parts
        self._count = 0  # rows
        self.last: pd.Series | None = None  # of all rows

    def add(self, frame: pd.DataFrame) -> None:
        """Sort rows and write them as one part.

        Raises:
            ContractError: a column has values of types that nothing orders, or holds.
        """
        try:
            frame = _plain(frame.reset_index(drop=True)).sort_values(self.keys)
            table = pa.Table.from_pandas(frame, preserve_index=False)
            types = [*self._schemas, table.schema]
            self._schemas = [pa.unify_schemas(types, promote_options="permissive")]
        except (TypeError, pa.ArrowInvalid) as error:
            raise ContractError(MIXED.format(cause=one_line(error))) from error
        came = self._count + frame.index.to_numpy(np.int64)
        (self.folder / f"{len(self._runs)}.came").write_bytes(came.tobytes())
        self._count += len(frame)
        file = self.folder / f"{len(self._runs)}.arrow"
        self._runs.append(self._written(frame, table, file))
        if self.last is None or self._key(frame, -1) > tuple(self.last[self.keys]):
            self.last = frame.iloc[-1].copy()

    @cached_property
    def schema(self) -> pa.Schema:
        """The types that all parts together have; one may hold no text, or no float.

        To be asked when all parts are there.
        """
        (schema,) = self._schemas
        empty = schema.empty_table().to_pandas()
        return pa.Table.from_pandas(empty, schema=schema, preserve_index=False).schema

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield all rows, or some columns of them, in the order of the parts."""
        for run in self._runs:
            for start in range(0, len(run), self._refill):
                yield self._read(run[start : start + self._refill], columns)

    def came(self) -> NDArray[np.int64]:
        """Return where each row was before it was sorted, [n]."""
        files = [run[0].file.with_suffix(".came") for run in self._runs]
        return np.concatenate([np.fromfile(file, np.int64) for file in files])

    def different(self, name: str) -> list[object]:
        """Return the different values of a column."""
        values: set[object] = set()
        for block in self.batches([name]):
            values |= set(block[name].unique())
        return list(values)

    def merged(self) -> Iterator[pd.DataFrame]:
        """Yield all rows in their order, at most `size` at a time."""
        runs, number = self._runs, 0
        while len(runs) > self._most:
            longer = list[Run]()
            for start in range(0, len(runs), self._most):
                together = runs[start : start + self._most]
                longer.append([])
                for frame in self._merge(together):
                    file, number = self.folder / f"merged-{number}.arrow", number + 1
                    table = pa.Table.from_pandas(frame, self.schema, False)
                    longer[-1] += self._written(frame, table, file)
                if runs is not self._runs:
                    _remove(together)
            runs = longer
        yield from self._merge(runs)

    def _merge(self, runs: list[Run]) -> Iterator[pd.DataFrame]:
        """Yield the rows of some parts in their order.

        A row before all that is not read yet has its turn; of each part the others are
        in the last block that was read.
        """
        blocks = sorted(chain.from_iterable(runs), key=lambda block: block.first)
        waiting = list[pd.DataFrame]()
        for start in range(0, len(blocks), self._refill):
            after = start + self._refill
            waiting.append(self._read(blocks[start:after]))
            table = pd.concat(waiting) if len(waiting) > 1 else waiting[0]
            waiting.clear()
            table = table.sort_values(self.keys, ignore_index=True)
            end = len(table)
            if after < len(blocks):
                end = self._before(table, blocks[after].first)
                waiting.append(table.iloc[end:].copy())
            if end:
                yield table.iloc[:end]

    def _before(self, table: pd.DataFrame, key: Key) -> int:
        """Return how many rows of a sorted table are before a key."""
        rows = range(len(table))
        return bisect_left(rows, key, key=lambda row: self._key(table, row))

    def _key(self, frame: pd.DataFrame, row: int) -> Key:
        """Return what one row is sorted by."""
        return tuple(frame[name].iloc[row] for name in self.keys)

    def _written(self, frame: pd.DataFrame, table: pa.Table, file: Path) -> Run:
        """Write a sorted table, in pandas and in Arrow, as blocks of a file."""
        starts = range(0, len(frame), self._block)
        with pa.ipc.new_file(file, table.schema, options=OPTIONS) as writer:
            for start in starts:
                (block,) = table.slice(start, self._block).combine_chunks().to_batches()
                writer.write_batch(block)
        return [Block(self._key(frame, s), file, n) for n, s in enumerate(starts)]

    def _read(
        self, blocks: Sequence[Block], columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return the rows of some blocks; of one file they are in their order."""
        names, numbers = list(columns or self.schema.names), dict[Path, list[int]]()
        for block in blocks:
            numbers.setdefault(block.file, []).append(block.number)
        schema = pa.schema([self.schema.field(name) for name in names])
        fields = sorted(self.schema.get_field_index(name) for name in names)
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        tables = list[pa.Table]()
        for file, own in numbers.items():
            with (
                pa.OSFile(str(file)) as source,
                pa.ipc.open_file(source, options=options) as reader,
            ):
                table = pa.Table.from_batches([reader.get_batch(n) for n in own])
            tables.append(table.select(names).cast(schema))
        return pa.concat_tables(tables).to_pandas()


def _remove(runs: list[Run]) -> None:
    """Remove the files of some parts."""
    for file in {block.file for run in runs for block in run}:
        file.unlink()


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose categories, which each batch has of its own, are values."""
    kinds = frame.dtypes.items()
    names = [n for n, kind in kinds if isinstance(kind, pd.CategoricalDtype)]
    return frame.astype(dict.fromkeys(names, object))
