"""Sorts a table that does not fit in memory: sorted parts on disk, merged.

Knuth, The Art of Computer Programming, vol. 3, 5.4: external sorting.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from mlgitops.pipeline.contract import ContractError
from mlgitops.pipeline.schema import one_line

LEAST = 1_000  # rows that are read of a part at once; fewer cost more than they save
OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")
MIXED = (
    "prepare() of model/prepare.py gives a column values of several types ({cause}); "
    "let it give one type, whatever the rows"
)
Key = tuple[object, ...]


class Run(NamedTuple):
    """A sorted part in a file of its own, and the key of its first row."""

    file: Path
    first: Key


class Runs:
    """The parts of a table that is sorted by the columns `keys`, no row twice.

    `parts` says how many there will be: so many blocks are in memory at once, of about
    `size` rows together.
    """

    def __init__(self, folder: Path, keys: list[str], size: int, parts: int) -> None:
        self.keys, self.folder, self._runs = keys, folder, list[Run]()
        self._block = max(LEAST, size // max(parts, 1))
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
        run = Run(self.folder / f"{len(self._runs)}.arrow", self._key(frame, 0))
        with pa.ipc.new_file(run.file, table.schema, options=OPTIONS) as writer:
            writer.write_table(table, max_chunksize=self._block)
        self._runs.append(run)
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
            yield from self._blocks(run.file, columns)

    def came(self) -> NDArray[np.int64]:
        """Return where each row was before it was sorted, [n]."""
        files = [run.file.with_suffix(".came") for run in self._runs]
        return np.concatenate([np.fromfile(file, np.int64) for file in files])

    def different(self, name: str) -> list[object]:
        """Return the different values of a column."""
        values: set[object] = set()
        for block in self.batches([name]):
            values |= set(block[name].unique())
        return list(values)

    def merged(self) -> Iterator[pd.DataFrame]:
        """Yield all rows in their order, a block at a time."""
        waiting = sorted(self._runs, key=lambda run: run.first, reverse=True)
        heads: list[tuple[pd.DataFrame, Iterator[pd.DataFrame]]] = []
        while waiting or heads:
            while waiting and (not heads or waiting[-1].first <= self._end(heads)):
                blocks = self._blocks(waiting.pop().file)
                heads.append((next(blocks), blocks))
            end, due, left = self._end(heads), [], []
            for head, blocks in heads:
                until = self._until(head, end)
                if not until:
                    left.append((head, blocks))
                    continue
                due.append(head.iloc[:until])
                rest = head.iloc[until:] if until < len(head) else next(blocks, None)
                if rest is not None:
                    left.append((rest, blocks))
            heads = left
            block = pd.concat(due) if len(due) > 1 else due[0]
            yield block.sort_values(self.keys, ignore_index=True)

    def _end(self, heads: list[tuple[pd.DataFrame, Iterator[pd.DataFrame]]]) -> Key:
        """Return the key up to which the blocks in memory have all rows."""
        return min(self._key(head, -1) for head, _ in heads)

    def _until(self, frame: pd.DataFrame, end: Key) -> int:
        """Return how many rows of a sorted table are not after a key."""
        rows = range(len(frame))
        return bisect_right(rows, end, key=lambda row: self._key(frame, row))

    def _key(self, frame: pd.DataFrame, row: int) -> Key:
        """Return what one row is sorted by."""
        return tuple(frame[name].iloc[row] for name in self.keys)

    def _blocks(
        self, path: Path, columns: Sequence[str] | None = None
    ) -> Iterator[pd.DataFrame]:
        """Yield the blocks of a part in their order; the file is closed between two."""
        names = list(columns or self.schema.names)
        schema = pa.schema([self.schema.field(name) for name in names])
        fields = sorted(self.schema.get_field_index(name) for name in names)
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        index, count = 0, 1
        while index < count:
            with (
                pa.OSFile(str(path)) as source,
                pa.ipc.open_file(source, options=options) as reader,
            ):
                count = reader.num_record_batches
                block = pa.Table.from_batches([reader.get_batch(index)])
            yield block.select(names).cast(schema).to_pandas()
            index += 1


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose categories, which each batch has of its own, are values."""
    kinds = frame.dtypes.items()
    names = [n for n, kind in kinds if isinstance(kind, pd.CategoricalDtype)]
    return frame.astype(dict.fromkeys(names, object))
