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

Hashes = NDArray[np.uint64]


class Ids:
    """The ids of a table, added in its order; on disk, and so are their hashes.

    More than `most` rows with a repeated hash are not looked up: so many do not share
    one by chance.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most, self._parts = folder, most, 0
        self._hashes = folder / "ids.hashes"

    def add(self, ids: pd.Series) -> None:
        """Add the ids of the next rows."""
        with self._hashes.open("ab") as file:
            hashes(ids).tofile(file)
        table = pa.Table.from_pandas(ids.to_frame("id"), preserve_index=False)
        path = self._folder / f"ids-{self._parts}.arrow"
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
        self._parts += 1

    def repeated(self) -> tuple[int, object] | None:
        """Return how many rows have the id of another one, and the first such id."""
        if not self._parts:
            return None
        found = np.fromfile(self._hashes, np.uint64)
        found.sort()
        twice = np.unique(found[1:][found[1:] == found[:-1]])
        if not len(twice):
            return None
        starts = np.searchsorted(found, twice, "left")
        ends = np.searchsorted(found, twice, "right")
        count = int((ends - starts).sum())
        del found
        if count > self._most:
            return count, next(iter(next(self._with_hash(twice))))
        ids = pd.concat(list(self._with_hash(twice)), ignore_index=True)
        ids = ids[ids.duplicated(keep=False)]
        return (len(ids), ids.iloc[0]) if len(ids) else None

    def _with_hash(self, wanted: Hashes) -> Iterator[pd.Series]:
        """Yield the ids whose hash is wanted, in the order of the table."""
        for number in range(self._parts):
            path = self._folder / f"ids-{number}.arrow"
            with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
                ids = reader.read_all().to_pandas()["id"]
            if len(chosen := ids[np.isin(hashes(ids), wanted)]):
                yield chosen


def hashes(ids: pd.Series) -> Hashes:
    """Return 64 bits per id, [n]: the same for the same id, whatever batch it is in."""
    found = pd.util.hash_pandas_object(ids, index=False)
    return np.asarray(found, np.uint64)
