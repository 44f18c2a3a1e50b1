"""Which ids a table has twice, found by 8 bytes a row: a hash of each id, sorted.

Two ids that share a hash are looked up; they are not taken for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from mlgitops.pipeline.contract import ContractError
from mlgitops.pipeline.sorted_runs import MIXED

Hashes = NDArray[np.uint64]


class Ids:
    """The ids of a table, added in its order; on disk, and so are their hashes.

    More than `limit` rows with a repeated hash are not looked up: so many do not share
    one by chance.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit, self._parts = folder, limit, 0
        self._rows = 0
        self._first: pa.DataType | None = None  # of times or decimals

    def add(self, ids: pd.Series) -> None:
        """Add the ids of the next rows."""
        file = self._folder / f"ids-{self._parts}.hashes"
        table = pa.Table.from_pandas(ids.to_frame("id"), preserve_index=False)
        self._demand_one(table.schema.field("id").type)
        own = hashes(table.to_pandas()["id"])  # of the types in which they are read
        file.write_bytes(own.tobytes())  # unlike NumPy it tells of a full disk
        path = self._folder / f"ids-{self._parts}.arrow"
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
        self._parts += 1
        self._rows += len(ids)

    def _demand_one(self, kind: pa.DataType) -> None:
        """Refuse times of two units, and decimals of two scales: hashes would differ.

        Raises:
            ContractError: another batch has others.
        """
        decimal = pa.types.is_decimal(kind)
        if not (pa.types.is_temporal(kind) or decimal):
            return
        first = self._first = self._first or kind
        if first != kind and not (decimal and first.scale == kind.scale):
            raise ContractError(MIXED.format(cause=f"{first} and {kind}"))

    def repeated(self) -> tuple[int, object] | None:
        """Return how many rows have the id of another one, and the first such id."""
        if not self._parts:
            return None
        ordered, start = np.empty(self._rows, np.uint64), 0
        for number in range(self._parts):
            part = np.fromfile(self._folder / f"ids-{number}.hashes", np.uint64)
            ordered[start : (start := start + len(part))] = part
        ordered.sort()
        twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if not len(twice):
            return None
        starts = np.searchsorted(ordered, twice, "left")
        ends = np.searchsorted(ordered, twice, "right")
        count = int((ends - starts).sum())
        del ordered
        if count > self._limit:
            return count, next(iter(next(self._with_hash(twice))))
        ids = pd.concat(list(self._with_hash(twice)), ignore_index=True)
        ids = ids[ids.duplicated(keep=False)]
        return (len(ids), ids.iloc[0]) if len(ids) else None

    def _with_hash(self, chosen: Hashes) -> Iterator[pd.Series]:
        """Yield the ids whose hash is wanted, in the order of the table."""
        for number in range(self._parts):
            path = self._folder / f"ids-{number}.arrow"
            with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
                ids = reader.read_all().to_pandas()["id"]
            if len(matches := ids[np.isin(hashes(ids), chosen)]):
                yield matches


def hashes(ids: pd.Series) -> Hashes:
    """Return 64 bits per id, [n]: the same for equal ids, whatever table they are in.

    There 3 may be 3.0: one has a missing value somewhere, or another type of number.
    """
    values = ids.to_numpy() if ids.dtype.kind in "iubf" else np.empty(0, object)
    if values.dtype.kind == "f":
        numbers = values.astype(np.float64)
        whole = (numbers == np.trunc(numbers)) & (np.abs(numbers) < 2.0**63)
        values = numbers.view(np.int64)
        values[whole] = numbers[whole].astype(np.int64)
    if values.dtype.kind in "iub":
        return np.asarray(pd.util.hash_array(values.astype(np.int64)), np.uint64)
    return np.asarray(pd.util.hash_pandas_object(ids, index=False), np.uint64)
