"""The rows that are looked at one by one: those whose ids have the lowest hashes.

How many rows there are is known last, and with each one fewer of the others belong to
the sample. So it can be drawn while they are read: no row that is left out comes back.
"""

from __future__ import annotations

from typing import Any

SAMPLE = 20_000  # rows that plots, the baseline and the search for leakage use
HASHES = 2**64


def highest(rows: int) -> int:
    """Return the highest hash of a row that is drawn, where there are so many rows."""
    return min(HASHES, HASHES * SAMPLE // max(1, rows)) - 1


class Drawn:
    """The rows drawn so far, as Arrow tables of about SAMPLE rows together."""

    def __init__(self) -> None:
        """Begin before the first row."""
        self.rows = 0
        self._kept: list[tuple[Any, Any]] = []

    def add(self, table: Any, hashes: Any) -> None:
        """Draw from the next rows; `hashes` are those of their ids."""
        self.rows += table.num_rows
        self._kept.append(self._drawn(table, hashes))
        if sum(kept.num_rows for kept, _ in self._kept) > 2 * SAMPLE:
            self._kept = [self._drawn(*both) for both in self._kept]

    def table(self) -> Any:
        """Return what is drawn of all rows, in their order; None of no row."""
        import pyarrow as pa

        drawn = [self._drawn(*both)[0] for both in self._kept]
        return pa.concat_tables(drawn) if drawn else None

    def _drawn(self, table: Any, hashes: Any) -> tuple[Any, Any]:
        """Return the rows that belong to a sample of the rows so far."""
        import pyarrow as pa
        from pyarrow import compute

        limit = pa.scalar(highest(self.rows), pa.uint64())
        low = compute.less_equal(hashes, limit)
        return table.filter(low), hashes.filter(low)
