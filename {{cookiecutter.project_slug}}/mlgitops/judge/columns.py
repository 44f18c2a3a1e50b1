"""Columns of rows as one file, for a child that scores them; arrays only.

Numbers are stored as they are, texts once each as UTF-8, with the index of each row's
text. So neither the file nor the memory of whoever reads it grows with the longest text
times the rows, as an array of text in numpy does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = np.ndarray
Columns = dict[str, Array]  # [rows, 1] each; texts are objects
ROWS = 100_000  # rows of a batch at most,
TEXT = 50_000_000  # and bytes of text: the runtime copies the text of each row
SURROGATES = (
    "surrogatepass"  # JSON may hold half of a character; the runtime refuses it
)


class Change(NamedTuple):
    """Rows of a table to predict with one column taken from other rows of it.

    So a table with each column changed in turn takes no more room than the table.
    """

    column: str
    rows: NDArray[np.integer]  # [n] indices of rows
    source: NDArray[np.integer]  # [n] of the rows whose value of the column they get


def write(
    file: Path, columns: Mapping[str, Array], changes: Sequence[Change] = ()
) -> None:
    """Write columns of equally many rows, and changes of them."""
    names = list(columns)
    arrays = {"names": np.array(names)}  # a name may be any text
    index = {name: number for number, name in enumerate(names)}
    arrays["changed"] = np.array([index[change.column] for change in changes], np.int32)
    arrays["lengths"] = np.array([len(change.rows) for change in changes], np.int64)
    for key in ("rows", "source"):
        parts = [np.asarray(getattr(c, key), np.int32) for c in changes]
        arrays[key] = np.concatenate([np.empty(0, np.int32), *parts])
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


def changes(file: Path) -> Iterator[Change]:
    """Yield the changes that a file holds."""
    with np.load(file, allow_pickle=False) as archive:
        keys = ("names", "changed", "lengths", "rows", "source")
        names, changed, lengths, rows, source = (archive[key] for key in keys)
    ends = np.cumsum(lengths)
    for number, start, end in zip(changed, ends - lengths, ends, strict=True):
        yield Change(str(names[number]), rows[start:end], source[start:end])


def batches(size: NDArray[np.int64], most: int = 0) -> Iterator[slice]:
    """Yield consecutive rows that one call may take, given the bytes of each [rows].

    At least one row, and then as many as stay below both limits, or `most`.
    """
    ends, start = np.cumsum(size), 0
    while start < len(size):
        before = int(ends[start - 1]) if start else 0
        fitting = int(np.searchsorted(ends, before + TEXT, side="right"))
        stop = max(start + 1, min(start + (most or ROWS), fitting))
        yield slice(start, stop)
        start = stop
