"""Removes a person's rows from log, labels and data; every other byte stays.

A server that logs meanwhile waits for its lock and goes on in the new file; a shipper
is kept out.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlgitops.monitor.labels import id_column, separator_of
from mlgitops.pipeline.contract import Contract
from mlgitops.prediction_log import LONGEST
from mlgitops.retention import person as records
from mlgitops.retention import rewrite
from mlgitops.retention.person import Person
from mlgitops.retention.rewrite import EraseError, Write
from mlgitops.shipping.parts import BATCH
from mlgitops.shipping.ship import LOCK, SHADOW, ShipError, alone
from mlgitops.shipping.sink import Sink

__all__ = ["EraseError", "Person"]

MARKS = {  # of a file's encoding, which is read and written without the mark
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
    b"\xef\xbb\xbf": "utf-8",
}
LOG, LABELS = (".jsonl", ".parquet"), (".csv",)  # of the files in a folder
ROWS = 131_072  # of a table, in memory and in a row group
OVERLAP = 1_000  # bytes of a line that is too long: an id may be cut between two pieces
Done = Callable[[int], object]  # is told how many lines of a file went


def _nobody(_: int) -> None:
    """Tell nobody."""


def log(source: str, person: Person, done: Done = _nobody) -> int:
    """Remove lines of a prediction log, shipped or not; return how many.

    `done` is told so after each file.

    Raises:
        EraseError: a file could not be read or written; those before it are done.
    """

    def copy(file: IO[bytes], write: Write, until: int | None) -> int:
        return _without(file, write, until, person)

    def stays(batch: pa.RecordBatch) -> list[bool]:
        return [not person.logged(line) for line in _lines_of(batch)]

    def each(path: str) -> int:
        if not path.endswith(".parquet"):
            return rewrite.text(source, path, copy, grows=True)
        if "line" in _columns(source, path):  # else it is somebody else's
            return rewrite.rows(source, path, stays, ["line"], BATCH)
        return 0

    with _no_shipper(source):
        return _sum(map(each, _files(source, LOG)), done)


def _sum(counts: Iterable[int], done: Done) -> int:
    """Return the sum of counts, each of which is told when it is known."""
    total = 0
    for count in counts:
        done(count)
        total += count
    return total


def log_ids(source: str, person: Person) -> frozenset[str]:
    """Return the ids of the lines of a log that are of one of the person's names."""
    ids: set[str] = set()
    for path in _files(source, LOG):
        with rewrite.reading(path), rewrite.opened(source, path) as file:
            if not path.endswith(".parquet"):
                ids.update(map(person.id_in, _lines(rewrite.unpacked(file))))
            elif "line" in _columns(source, path):
                for batch in rewrite.batches(file, BATCH, ["line"]):
                    ids.update(map(person.id_in, _lines_of(batch)))
    return frozenset(ids)


def labels(
    source: str, contract: Contract, person: Person, done: Done = _nobody
) -> int:
    """Remove records of CSV files with labels; return how many lines went.

    `done` is told so after each file.

    Raises:
        EraseError: a file could not be read or written; those before it are done.
    """

    def copy(file: IO[bytes], write: Write, _: int | None) -> int:
        mark, encoding, errors = _encoding(file)
        went = 0
        write(mark)
        for lines, cells in _records(file, contract):
            if records.has_label(cells, _keys(contract), person):
                went += len(lines)
            else:
                write("".join(lines).encode(encoding, errors))
        return went

    counts = (rewrite.text(source, path, copy) for path in _files(source, LABELS))
    return _sum(counts, done)


def label_ids(source: str, contract: Contract, person: Person) -> frozenset[str]:
    """Return the ids of the records of labels that are of one of the person's names."""
    ids: set[str] = set()
    for path in _files(source, LABELS):
        with rewrite.reading(path), rewrite.opened(source, path) as file:
            for _, cells in _records(rewrite.unpacked(file), contract):
                ids |= records.label_ids(cells, _keys(contract), person)
    return frozenset(ids)


def table(path: Path, contract: Contract, person: Person) -> int:
    """Remove rows of a labelled table; return how many.

    Raises:
        EraseError: it cannot be read, or has not the columns that tell whose rows go.
    """
    check_table(path, contract, person)

    def stays(batch: pa.RecordBatch) -> list[bool]:
        return [not person.owns(i, n) for i, n in _owners(batch, contract, person)]

    return rewrite.rows("", str(path), stays, _wanted(contract, person), ROWS)


def check_table(path: Path, contract: Contract, person: Person) -> None:
    """Refuse a table in which a person's rows cannot be found.

    Raises:
        EraseError: it is not a Parquet file, or lacks a column that tells whose rows
            go.
    """
    if path.suffix != ".parquet":
        raise EraseError(
            f"{path} is not a Parquet file, and nothing was removed: remove the rows "
            f"from it by hand, then `dvc add {path}`"
        )
    columns = _columns("", str(path))
    if absent := [n for n in _wanted(contract, person) if n not in columns]:
        raise EraseError(f"{path} has no column {' and '.join(absent)}")


def ids_of(path: Path, contract: Contract, person: Person) -> frozenset[str]:
    """Return the ids of a person's rows in a labelled table."""
    check_table(path, contract, person)
    with rewrite.reading(str(path)), path.open("rb") as file:
        return frozenset(
            records.written(i)
            for batch in rewrite.batches(file, ROWS, _wanted(contract, person))
            for i, n in _owners(batch, contract, person)
            if person.owns(None, n)
        )


def _wanted(contract: Contract, person: Person) -> list[str]:
    """Return the columns of a table by which a person's rows are found."""
    return [*dict.fromkeys((contract.id, person.column or contract.id))]


def _owners(
    batch: pa.RecordBatch, contract: Contract, person: Person
) -> Iterator[tuple[Any, Any]]:
    """Return each row's id, and whose it is, or nothing where that is not told."""
    ids = batch.column(contract.id).to_pylist()
    names = batch.column(person.column).to_pylist() if person.column else [None]
    return zip(ids, names if person.column else names * len(ids), strict=True)


def _without(source: IO[bytes], write: Write, until: int | None, person: Person) -> int:
    """Copy the lines of a log that stay, byte for byte; return how many go."""
    went = 0
    while until is None or source.tell() < until:
        if not (data := source.readline(LONGEST)):
            break
        if len(data) == LONGEST and not data.endswith(b"\n"):
            went += _too_long(data, source, write, person)
        elif person.logged(data.decode("utf-8", "replace")):
            went += 1
        else:
            write(data)
    return went


def _too_long(data: bytes, source: IO[bytes], write: Write, person: Person) -> bool:
    """Copy a line that is longer than any of a server's, unless a piece of it goes."""
    goes, before = False, b""
    with TemporaryFile() as line:
        while data:
            line.write(data)
            goes |= person.logged((before + data).decode("utf-8", "replace"))
            before = data[-OVERLAP:]
            data = b"" if data.endswith(b"\n") else source.readline(LONGEST)
        line.seek(0)
        while not goes and (data := line.read(LONGEST)):
            write(data)
    return goes


def _lines(file: IO[bytes]) -> Iterator[str]:
    """Yield the lines of a log, of a bounded size each."""
    while line := file.readline(LONGEST):
        yield line.decode("utf-8", "replace")


def _keys(contract: Contract) -> set[str]:
    """Return what the column of ids may be called in a file of labels."""
    return {id_column(contract), contract.id}


def _encoding(file: IO[bytes]) -> tuple[bytes, str, str]:
    """Return how a file begins, its encoding, how it is decoded; be behind the mark."""
    head = file.read(max(map(len, MARKS)))
    mark = next((m for m in MARKS if head.startswith(m)), b"")
    file.seek(len(mark))
    return mark, MARKS.get(mark, "utf-8"), "strict" if mark else "surrogateescape"


def _records(
    file: IO[bytes], contract: Contract
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield the lines of each record of a CSV, with its cells."""
    file.seek(0)
    _, encoding, errors = _encoding(file)
    text = io.TextIOWrapper(file, encoding, errors, newline="")
    try:
        separator = lambda line: separator_of(line, contract)  # noqa: E731
        yield from records.of_csv(_short(text), separator, _keys(contract))
    finally:
        text.detach()  # or it would close the file


def _short(text: io.TextIOWrapper) -> Iterator[str]:
    """Yield lines; ValueError at one that is longer than lines of labels are."""
    while line := text.readline(LONGEST):
        if len(line) == LONGEST:
            raise ValueError(f"a line of it has {LONGEST:,} characters or more")
        yield line


def _columns(source: str, path: str) -> list[str]:
    """Return the names of the columns of a Parquet file."""
    with rewrite.reading(path), rewrite.opened(source, path) as file:
        return list(pq.ParquetFile(file).schema_arrow.names)


def _lines_of(batch: pa.RecordBatch) -> list[str]:
    """Return the lines of a part."""
    return [
        line.decode("utf-8", "replace") if isinstance(line, bytes) else line or ""
        for line in batch.column("line").to_pylist()
    ]


def _files(source: str, ends: tuple[str, ...]) -> list[str]:
    """Return the paths of a source's files: its own, or all in a folder or address."""
    if "://" not in source:
        path = Path(source)
        if not path.exists():
            raise EraseError(f"{source} does not exist")
        frame = [path] if path.is_file() else sorted(path.rglob("*"))
        names = [str(p) for p in frame if p.is_file() and not p.name.startswith(".")]
        if path.is_file():
            return [os.path.realpath(path)]  # a link stays one
    else:
        try:
            sink = Sink(source)
            names = [str(name) for name in sink.system.find(sink.root)]
            if names and sink.system.isfile(sink.root):
                return names
        except Exception as error:  # each kind of storage has its own
            raise EraseError(f"{source} cannot be read: {error}") from error
    found = [name for name in names if name.removesuffix(".gz").endswith(ends)]
    if not found:
        raise EraseError(f"{source} has no file that ends in {' or '.join(ends)}")
    return found if "://" in source else [*dict.fromkeys(map(os.path.realpath, found))]


@contextmanager
def _no_shipper(source: str) -> Iterator[None]:
    """Keep shippers out of the folders of a log on this machine, where any was there.

    One that has read a file would still send the lines that go.
    """
    with ExitStack() as stack:
        folder = Path(source) if Path(source).is_dir() else Path(source).parent
        for each in () if "://" in source else (folder, folder / SHADOW):
            if (each / LOCK).is_file():
                try:
                    stack.enter_context(alone(each))
                except ShipError as error:
                    raise EraseError(
                        f"{error}: nothing was removed from the log; type the same "
                        "command again when it has ended"
                    ) from error
        yield
