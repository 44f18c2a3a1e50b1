"""The rows of a file or folder, a batch of columns at a time, as a request has them."""

from __future__ import annotations

import csv
import math
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mlgitops.batch.addresses import Files, files

BLOCK = 8_000_000  # bytes of a CSV that are read at once
SNIFFED = 65_536  # bytes in which the delimiter is looked for
WRONG_ROW = "CSV parse error: "
NOT_UTF_8 = (
    "its text is not UTF-8; if it is of Windows: `iconv -f cp1252 -t utf-8 FILE > NEW`"
)
TRUE = {"true", "yes", "y", "t", "1", "1.0", "on"}  # as `make data` reads them
FALSE = {"false", "no", "n", "f", "0", "0.0", "off"}


class InputError(Exception):
    """The rows cannot be read: one sentence."""


class Batch(NamedTuple):
    """Some rows: the position of the first, how many, and their columns."""

    start: int
    rows: int
    table: pa.Table

    def ids(self, name: str) -> list[Any]:
        """Return the ids in a column, None for each where there is none."""
        if name not in self.table.column_names:
            return [None] * self.rows
        column = self.table[name]
        whole = pa.types.is_integer(column.type) or pa.types.is_string(column.type)
        return plain(self.texts(name)) if whole else _id(column)

    def texts(self, name: str) -> pa.ChunkedArray:
        """Return the ids in a column of texts, or of whole numbers, as texts."""
        return self.table[name].cast(pa.string())

    def times(self, name: str) -> list[Any]:
        """Return the times in a column as text, None for each where there is none."""
        if name not in self.table.column_names:
            return [None] * self.rows
        return _text(self.table[name])


class Input:
    """Rows of a CSV or Parquet file, or a folder of files of one of these kinds."""

    def __init__(self, source: str) -> None:
        """Find the files of a path or address, and their columns.

        Raises:
            InputError, AddressError: there are none, or they are of another kind.
        """
        self.files = files(source)
        kinds = {
            n.lower().removesuffix(".gz").rpartition(".")[2] for n in self.files.names
        }
        if kinds == {"csv"} or kinds == {"tsv"}:
            self.kind, format_ = "csv", _csv(self.files)
        elif kinds == {"parquet"}:
            options = ds.ParquetFragmentScanOptions(pre_buffer=False)  # not the whole
            format_ = ds.ParquetFileFormat(default_fragment_scan_options=options)
            self.kind = "parquet"
        else:
            raise InputError(
                f"{source} has {', '.join(sorted(kinds))} files: bring CSV or "
                "Parquet, and one kind in a folder"
            )
        try:
            self._data = ds.dataset(
                self.files.names,
                format=format_,
                filesystem=self.files.system,
                partitioning="hive",
                partition_base_dir=self.files.base,
            )
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{source} cannot be read: {_first_line(error)}") from None
        self.names: list[str] = self._data.schema.names
        _demand_alike(self.files, self.kind)

    @property
    def mark(self) -> list[list[object]]:
        """What tells these files from others: names, sizes, last changes."""
        return [self.files.mark(name) for name in self.files.names]

    def rows(self) -> int | None:
        """Return how many rows there are; None where only reading them tells."""
        return self._data.count_rows() if self.kind == "parquet" else None

    def about(self) -> int | None:
        """Return about how many rows there are; None where nothing tells.

        Of a CSV that is not packed: its size, by the lines at its beginning.
        """
        names = self.files.names
        if self.kind == "parquet" or any(n.lower().endswith(".gz") for n in names):
            return self.rows()
        with self.files.open(names[0]) as file:
            start = file.read(SNIFFED)
        size = sum(self.files.size(name) for name in names)
        return size * start.count(b"\n") // len(start) or None

    def batches(
        self, columns: Iterable[str], size: int, start: int = 0
    ) -> Iterator[Batch]:
        """Yield the rows from `start` on, in their order, `size` at a time.

        A column that the files lack is not in the batches either.

        Raises:
            InputError: the files cannot be read to their end.
        """
        names = [name for name in columns if name in self.names]
        begin, kept = 0, _Rechunked(names, size)
        try:
            for part in _record_batches(self._data, names):
                for table in kept.add(part):
                    if begin >= start:
                        yield Batch(begin, table.num_rows, table)
                    begin += table.num_rows
            if (table := kept.rest()).num_rows and begin >= start:
                yield Batch(begin, table.num_rows, table)
        except (pa.ArrowException, OSError) as error:
            where = f"after row {begin}"
            raise InputError(f"cannot be read {where}: {_first_line(error)}") from None


class _Rechunked:
    """Batches of rows of whatever length, as tables of one length."""

    def __init__(self, names: Sequence[str], size: int) -> None:
        self.names, self.size = list(names), size
        self.parts: list[pa.RecordBatch] = []

    def add(self, part: pa.RecordBatch) -> Iterator[pa.Table]:
        """Yield each table that is full."""
        self.parts.append(part)
        while sum(p.num_rows for p in self.parts) >= self.size:
            table = pa.Table.from_batches(self.parts)
            yield table.slice(0, self.size)
            rest = table.slice(self.size)
            self.parts = rest.to_batches() if rest.num_rows else []

    def rest(self) -> pa.Table:
        """Return the rows that are left."""
        return pa.Table.from_batches(self.parts) if self.parts else pa.table({})


def _record_batches(data: ds.Dataset, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield batches of one file after the other, as rows have an order."""
    for fragment in data.get_fragments():
        yield from fragment.to_batches(
            schema=data.schema,
            columns=list(names),
            use_threads=False,
            batch_readahead=0,  # else a slow model has ever more rows waiting for it
            fragment_readahead=0,
        )


def _header(files: Files, file: str) -> tuple[list[str], str]:
    """Return the names in the first line of a CSV, and what stands between them.

    Raises:
        InputError: there is none, or two columns have one name, or it is not UTF-8.
    """
    packed = "gzip" if file.lower().endswith(".gz") else None
    with files.open(file) as raw, pa.input_stream(raw, compression=packed) as stream:
        start = stream.read(SNIFFED)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{file} is UTF-16: save it as UTF-8")
    try:  # the last character may be cut off
        head = getincrementaldecoder("utf-8-sig")().decode(start)
    except UnicodeDecodeError:
        raise InputError(f"{file} cannot be read: {NOT_UTF_8}") from None
    if not head.strip():
        raise InputError(f"{file} is empty")
    header = head.splitlines()[0]
    delimiter = max(",;\t|", key=header.count)
    try:
        names = next(csv.reader([header], delimiter=delimiter), [])
    except csv.Error as error:
        raise InputError(f"{file} has no header that can be read: {error}") from None
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two columns of {file} are called {twice[0]}: rename one")
    return names, delimiter


def _csv(files: Files) -> ds.CsvFileFormat:
    """Return how a CSV is read: each value as text, which the row's checks convert."""
    names, delimiter = _header(files, files.names[0])
    return ds.CsvFileFormat(
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=[""],
        ),
        read_options=pa.csv.ReadOptions(block_size=BLOCK),
    )


def plain(column: pa.ChunkedArray) -> list[Any]:
    """Return values as they are; a time as ISO 8601, NaN as none."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if pa.types.is_duration(column.type):
        return [v and str(v) for v in column.to_pylist()]  # a text, which is refused
    if pa.types.is_temporal(column.type):
        try:
            return [v and v.isoformat() for v in _micro(column).to_pylist()]
        except (ValueError, OverflowError):  # a year that Python lacks: a text
            return list(column.cast(pa.string()).to_pylist())
    if pa.types.is_floating(column.type):
        numbers = column.to_numpy()  # with NaN for none
        listed: list[Any] = numbers.tolist()
        for index in np.flatnonzero(np.isnan(numbers)).tolist():
            listed[index] = None
        return listed
    if pa.types.is_integer(column.type) and not column.null_count:
        return list(column.to_numpy().tolist())
    return list(column.to_pylist())


def _micro(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return times as Python has them: of nanoseconds, the microseconds."""
    if not pa.types.is_timestamp(column.type):
        return column
    return column.cast(pa.timestamp("us", column.type.tz), safe=False)


def _number(column: pa.ChunkedArray) -> list[Any]:
    """Return numbers; a text that is none stays a text, which the checks refuse."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return plain(column)
    trimmed = pc.utf8_trim_whitespace(column)
    try:
        return plain(trimmed.cast(pa.float64()))
    except pa.ArrowInvalid:
        return [_float(text) for text in trimmed.to_pylist()]


def _text(column: pa.ChunkedArray) -> list[Any]:
    """Return texts; a number is one, too, as `make data` writes categories."""
    if pa.types.is_string(column.type):
        return plain(column)
    return [
        str(value) if type(value) in (int, float) else value for value in plain(column)
    ]


def _id(column: pa.ChunkedArray) -> list[Any]:
    """Return ids as a request's are read: 7.0, where one is missing, is 7."""
    whole = [
        int(value) if type(value) is float and value.is_integer() else value
        for value in plain(column)
    ]
    return [str(value) if type(value) is int else value for value in whole]


def _float(text: str | None) -> float | str | None:
    """Return the number in a text, or the text."""
    try:
        number = None if text is None or "_" in text else float(text)
    except ValueError:
        return text
    if number is None:
        return text
    return None if math.isnan(number) else number  # as where all values are numbers


def _boolean(column: pa.ChunkedArray) -> list[Any]:
    """Return true and false; numbers 1 and 0 are these, as the stages have them."""
    values = plain(column)
    words = {**dict.fromkeys(TRUE, True), **dict.fromkeys(FALSE, False)}
    return [_truth(value, words) for value in values]


def _truth(value: object, words: Mapping[str, bool]) -> object:
    """Return a value as true or false if it is one of them."""
    if isinstance(value, str):
        return words.get(value.strip().lower(), value)
    return bool(value) if type(value) in (int, float) and value in (0, 1) else value


def _demand_alike(files: Files, kind: str) -> None:
    """Refuse files of a folder that have other columns than the first.

    Raises:
        InputError: with the first file that differs, and in what.
    """
    first, first_file = (list[str](), ""), files.names[0]
    for file in files.names:
        found = _header(files, file) if kind == "csv" else (_schema(files, file), "")
        first = first if first[0] else found
        if found != first:
            odd = sorted(set(found[0]) ^ set(first[0])) or ["their order, or delimiter"]
            raise InputError(
                f"{file} has other columns than {first_file} ({', '.join(odd)[:200]}): "
                "make the files alike, or score one after the other"
            )


def _schema(files: Files, file: str) -> list[str]:
    """Return the columns of a Parquet file.

    Raises:
        InputError: it is none.
    """
    try:
        with files.open(file) as raw:
            return list(pq.read_schema(raw).names)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} cannot be read: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    """Return what an error of a reader says first, and of a CSV which row is wrong."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    if "invalid UTF8" in line:
        return NOT_UTF_8
    _, found, row = line.rpartition(WRONG_ROW)
    return (found + row if found else line)[:300]


CONVERT: dict[str, Callable[[pa.ChunkedArray], list[Any]]] = {
    "number": _number,
    "integer": _number,
    "boolean": _boolean,
    "category": _text,
}
