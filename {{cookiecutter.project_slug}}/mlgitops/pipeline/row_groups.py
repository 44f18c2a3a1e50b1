"""A Parquet file of which some rows, or one column, are in memory; never the whole.

What pandas makes of a column depends on all of its rows: whole numbers with one missing
value become floats. So a batch is given the types that the whole table would have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mlgitops.pipeline.schema import one_line

IN_PIECES: dict[str, Any] = {
    "buffer_size": 1 << 20,  # bytes of the file that are read at once
    "pre_buffer": False,  # else what was read is held until the file is closed
}


class Rows:
    """The rows of a Parquet file, so many at a time, or a column at a time."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        with self._file() as file:
            self._count, schema = file.metadata.num_rows, file.schema_arrow
        refuse_twins(path, schema.names)
        empty = schema.empty_table().to_pandas()
        self.columns = list(empty.columns)
        refuse_twins(path, self.columns)
        own = {n for n, kind in empty.dtypes.items() if _holds_gaps(kind)}
        typed = [f.name for f in schema if _loses_gaps(f.type) and f.name not in own]
        self._with_gaps = self._missing(typed)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return int(self._count)

    def __getitem__(self, name: str) -> pd.Series:
        """Return one column [n]; of texts each different one is held once."""
        with pq.ParquetFile(self.path, read_dictionary=[name], **IN_PIECES) as file:
            column = file.read([name]).column(name)
        return column.to_pandas().rename(name)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield all rows in their order, as `pandas.read_parquet` types them.

        There is always one table, if of no rows. A column of categories is of texts.
        """
        with self._file() as file:
            schema, names = file.schema_arrow, columns and list(columns)
            waiting, count, seen = [], 0, 0
            for batch in file.iter_batches(self.size, columns=names):
                waiting.append(batch)
                count += batch.num_rows
                seen += batch.num_rows
                while count >= self.size:
                    table = pa.Table.from_batches(waiting)
                    yield self._frame(table.slice(0, self.size))
                    waiting = table.slice(self.size).to_batches()
                    count -= self.size
            if seen != self._count:
                problem = f"says that it has {self._count:,} rows, and has {seen:,}"
                raise ValueError(f"{self.path.name} {problem}")
            if count or not self._count:
                empty = schema.empty_table().select(names or schema.names)
                table = pa.Table.from_batches(waiting) if waiting else empty
                yield self._frame(table)

    def _file(self) -> pq.ParquetFile:
        """Open the file, to be read in pieces."""
        return pq.ParquetFile(self.path, **IN_PIECES)

    def _missing(self, names: list[str]) -> set[str]:
        """Return which of these columns have a missing value anywhere."""
        gaps: set[str] = set()
        with self._file() as file:
            for batch in file.iter_batches(self.size, columns=names) if names else ():
                gaps |= {n for n in names if batch.column(n).null_count}
        return gaps

    def _frame(self, table: pa.Table) -> pd.DataFrame:
        """Return a table in pandas, its columns with gaps as those of the whole."""
        for index, field in enumerate(table.schema):
            kind, column = field.type, table.column(index)
            if pa.types.is_dictionary(kind):
                column = column.cast(kind.value_type)
            elif field.name in self._with_gaps and pa.types.is_integer(kind):
                column = column.cast(pa.float64(), safe=False)
            table = table.set_column(index, field.name, column)
        frame = table.to_pandas()
        for name in self._with_gaps & set(frame.columns):
            if pd.api.types.is_bool_dtype(frame[name]):
                frame[name] = frame[name].astype(object)
        return frame


def refuse_twins(path: Path, columns: Sequence[object]) -> None:
    """Refuse a table with two columns of one name: which one is meant?

    Raises:
        ValueError: it has.
    """
    names = pd.Series(list(columns), dtype=object)
    if (twins := names[names.duplicated()]).size:
        raise ValueError(f"{path.name} has two columns {one_line(twins.iloc[0])}")


def _loses_gaps(kind: pa.DataType) -> bool:
    """Tell whether pandas has another type for such values where some are missing."""
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _holds_gaps(kind: Any) -> bool:
    """Tell whether a type of pandas has missing values of its own, as Int64 has."""
    known = isinstance(kind, pd.api.extensions.ExtensionDtype)
    return known and not isinstance(kind, pd.CategoricalDtype)


class Part:
    """A Parquet file that is written a row group at a time."""

    def __init__(self, path: Path, schema: pa.Schema, attrs: Any, size: int) -> None:
        self.path, self.rows, self._size = path, 0, size
        attributes = {"PANDAS_ATTRS": json.dumps(attrs)}  # as pandas reads them again
        self._schema = schema.with_metadata({**(schema.metadata or {}), **attributes})
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[pd.DataFrame] = []

    def add(self, rows: pd.DataFrame) -> None:
        """Add rows after those that are there."""
        self._waiting.append(rows)
        while sum(map(len, self._waiting)) >= self._size:
            table = pd.concat(self._waiting, ignore_index=True)
            self._write(table.iloc[: self._size])
            self._waiting = [table.iloc[self._size :]]

    def close(self) -> None:
        """Write what waits, and end the file."""
        if sum(map(len, self._waiting)):
            self._write(pd.concat(self._waiting, ignore_index=True))
        self._file.close()

    def _write(self, rows: pd.DataFrame) -> None:
        """Write one row group."""
        table = pa.Table.from_pandas(rows, schema=self._schema, preserve_index=False)
        self._file.write_table(table, row_group_size=self._size)
        self.rows += len(rows)
