"""How many ids are there more than once, in memory that does not grow with the rows."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
from pandas.util import hash_array

BUCKETS = 64  # a power of two: ids are compared with those of their bucket
BITS = 64 - BUCKETS.bit_length() + 1
EDGES = np.arange(1, BUCKETS, dtype=np.uint64) << np.uint64(BITS)


class Repeated:
    """The ids of a run, by 64 bits of a hash: 8 bytes of disk for each."""

    def __init__(self, folder: Path) -> None:
        """Keep the hashes in files of a folder that have no name."""
        self._files = [TemporaryFile(dir=folder) for _ in range(BUCKETS)]

    def add(self, ids: pa.ChunkedArray) -> None:
        """Add ids, texts of shape [rows]."""
        hashes = np.sort(hash_array(ids.to_numpy(), categorize=False))
        parts = np.split(hashes, np.searchsorted(hashes, EDGES))
        for file, part in zip(self._files, parts, strict=True):
            file.write(part.tobytes())

    def count(self) -> int:
        """Return how many have the id of one before, and forget all."""
        found = 0
        for file in self._files:
            file.seek(0)
            hashes = np.sort(np.frombuffer(file.read(), np.uint64))
            found += int((hashes[1:] == hashes[:-1]).sum())
            file.close()
        return found
