"""Writes rows that come piece by piece to one Parquet file, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from mlgitops.table.columnar import group_rows
from mlgitops.table.draft import pieces
from mlgitops.table.engine import bar
from mlgitops.table.problem import Problem, Refused

YEARS = (1, 9999)  # that a date can have; PostgreSQL's `infinity` has none


@dataclass(frozen=True)
class Rows:
    """What was read: how many rows, the types of their columns, when, which state."""

    count: int
    types: dict[str, str] = field(default_factory=dict)
    taken: str = ""  # by the server's clock, in UTC
    snapshot: str = ""


def write(batches: Iterable[Any], schema: Any, path: Path) -> int:
    """Write Arrow batches to a Parquet file; return how many rows there were.

    Nothing is left of a file that was not written to its end.

    Raises:
        Refused: a date is beyond the years that dates can have.
        Exception: whatever ended the batches before their end.
    """
    import pyarrow.parquet as pq

    part, count = path.with_suffix(".part"), 0
    try:
        with pq.ParquetWriter(part, schema, compression="snappy") as writer:
            for table in pieces(_checked(batches), group_rows(len(schema))):
                writer.write_table(table, row_group_size=max(1, table.num_rows))
                count += table.num_rows
                bar(f"Reading the query's rows: {count:,}")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _checked(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches; refuse one with a date that is none."""
    for batch in batches:
        _check_dates(batch)
        yield batch


def _check_dates(batch: Any) -> None:
    """Refuse dates beyond the years that Python, and most else, can name.

    Raises:
        Refused: a column has one.
    """
    import pyarrow as pa
    from pyarrow import compute

    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        is_date = pa.types.is_date(column.type)
        if not (is_date or pa.types.is_timestamp(column.type)):
            continue
        ends = compute.min_max(column)
        units = pa.int32() if pa.types.is_date32(column.type) else pa.int64()
        low, high = (ends[end].cast(units).as_py() for end in ("min", "max"))
        if low is None:
            continue
        first, last = _limits(column.type)
        if low < first or high > last:
            sentence = "a value is infinity, or of a year that is not from 1 to 9999"
            line = f"leave such rows out: `where isfinite({name})`"
            raise Refused([Problem(name, sentence, line)])


def _limits(kind: Any) -> tuple[int, int]:
    """Return the first and the last value of a type of dates, as whole numbers."""
    import pyarrow as pa

    first, last = (date(year, 1, 1) - date(1970, 1, 1) for year in YEARS)
    if pa.types.is_date32(kind):
        return first.days, last.days + 364
    units = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    day = 86_400 * (10**3 if pa.types.is_date64(kind) else units[kind.unit])
    return first.days * day, (last.days + 365) * day - 1
