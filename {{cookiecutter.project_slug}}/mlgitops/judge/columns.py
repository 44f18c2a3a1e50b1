"""Columns of rows as one file, for a child that scores them; arrays only.

Numbers are stored as they are, texts once each as UTF-8, with the index of each row's
text. So neither the file nor the memory of whoever reads it grows with the longest text
times the rows, as an array of text in numpy does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = np.ndarray
Columns = dict[str, Array]  # [rows, 1] each; texts are objects
ROWS = 100_000  # rows of a batch at most,
TEXT = 50_000_000  # and bytes of text: the runtime copies the text of each row
SURROGATES = (
    "surrogatepass"  # JSON may hold half of a character; the runtime refuses it
)


def write(file: Path, columns: Mapping[str, Array]) -> None:
    """Write columns of equally many rows."""
    arrays = {"names": np.array(list(columns))}  # a name may be any text
    for number, column in enumerate(columns.values()):
        if column.dtype == object:
            indices: dict[str, int] = {}
            codes = [indices.setdefault(t, len(indices)) for t in column.ravel()]
            texts = [text.encode("utf-8", SURROGATES) for text in indices]
            ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
            arrays[f"ends_{number}"] = ends
            arrays[f"texts_{number}"] = np.frombuffer(b"".join(texts), np.uint8)
            column = np.array(codes, np.int64)
        arrays[f"column_{number}"] = column
    np.savez(file, allow_pickle=False, **arrays)


def read(file: Path) -> tuple[Columns, NDArray[np.int64]]:
    """Return the columns, and the bytes of text in each row [rows]."""
    columns: Columns = {}
    size: NDArray[np.int64] | None = None
    with np.load(file, allow_pickle=False) as archive:
        for number, name in enumerate(archive["names"].tolist()):
            column = archive[f"column_{number}"]
            size = np.zeros(len(column), np.int64) if size is None else size
            if f"ends_{number}" in archive:
                ends = archive[f"ends_{number}"]
                data = archive[f"texts_{number}"].tobytes()
                starts = np.append(0, ends)[:-1]
                texts = np.empty(len(ends), object)
                for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
                    texts[index] = data[start:end].decode("utf-8", SURROGATES)
                size += (ends - starts)[column]
                column = texts[column].reshape(-1, 1)
            columns[name] = column
    return columns, np.empty(0, np.int64) if size is None else size


def batches(size: NDArray[np.int64]) -> Iterator[slice]:
    """Yield consecutive rows that one call may take, given the bytes of each [rows].

    At least one row, and then as many as stay below both limits.
    """
    ends, start = np.cumsum(size), 0
    while start < len(size):
        before = int(ends[start - 1]) if start else 0
        fitting = int(np.searchsorted(ends, before + TEXT, side="right"))
        stop = max(start + 1, min(start + ROWS, fitting))
        yield slice(start, stop)
        start = stop
