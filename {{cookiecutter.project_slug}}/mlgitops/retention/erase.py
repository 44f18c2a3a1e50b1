"""Removes a person's rows from log, labels and data; every other byte stays.

A file is written anew beside itself, read back, and takes the old one's place. Where
nothing of a file goes, nobody touches it. A server that logs meanwhile waits for its
lock and goes on in the new file; a shipper is kept out.
"""

from __future__ import annotations

import csv
import fcntl
import gzip
import io
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlgitops.monitor.labels import id_column, separator_of
from mlgitops.pipeline.contract import Contract
from mlgitops.retention import person as rows
from mlgitops.retention.person import Person
from mlgitops.shipping.ship import LOCK, SHADOW, ShipError, alone
from mlgitops.shipping.sink import Sink, SinkError

GZIP = b"\x1f\x8b"  # how such a file begins, whatever its name
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}

LOG, LABELS = (".jsonl", ".parquet"), (".csv",)  # of the files in a folder

Rewrite = Callable[[bytes], bytes]


class EraseError(Exception):
    """Rows could not be removed: one sentence."""


def log(source: str, person: Person) -> int:
    """Remove lines of a prediction log, shipped or not; return how many.

    Raises:
        EraseError: a file could not be read or written; those before it are done.
    """
    count = 0
    with _no_shipper(source):
        for path in _files(source, LOG):
            if path.endswith(".parquet"):
                count += _part(source, path, person)
            else:
                count += _text(source, path, lambda text: b"".join(_kept(text, person)))
    return count


def log_ids(source: str, person: Person) -> frozenset[str]:
    """Return the ids of the lines of a log that are of one of the person's names."""
    ids: set[str] = set()
    for path in _files(source, LOG):
        if path.endswith(".parquet"):
            lines = _lines_of(_parquet(source, path))
        else:
            text = _unpacked(_read(source, path), path)
            lines = [line.decode("utf-8", "replace") for line in io.BytesIO(text)]
        ids.update(map(person.id_in, lines))
    return frozenset(ids)


def labels(source: str, contract: Contract, person: Person) -> int:
    """Remove records of CSV files with labels; return how many lines went.

    Raises:
        EraseError: a file could not be read or written; those before it are done.
    """
    keys = {id_column(contract), contract.id}

    def kept(data: bytes) -> bytes:
        lines, encoding, errors = _text_lines(data)
        if not any(map(str.strip, lines)):
            return data
        left = rows.labels(lines, _separator(lines, contract), keys, person)
        return "".join(left).encode(encoding, errors) if left != lines else data

    return sum(_text(source, path, kept) for path in _files(source, LABELS))


def label_ids(source: str, contract: Contract, person: Person) -> frozenset[str]:
    """Return the ids of the records of labels that are of one of the person's names."""
    keys, ids = {id_column(contract), contract.id}, set()
    for path in _files(source, LABELS):
        with _reading(path):
            lines, *_ = _text_lines(_unpacked(_read(source, path), path))
            if any(map(str.strip, lines)):
                separator = _separator(lines, contract)
                ids |= rows.label_ids(lines, separator, keys, person)
    return frozenset(ids)


def _text_lines(data: bytes) -> tuple[list[str], str, str]:
    """Return a file's lines as CSV has them, its encoding, and how it was decoded."""
    mark = next((m for m in MARKS if data.startswith(m)), b"")
    encoding, errors = MARKS.get(mark, "utf-8"), "strict" if mark else "surrogateescape"
    lines = io.StringIO(data.decode(encoding, errors), newline="")
    return [*lines], encoding, errors


def _separator(lines: list[str], contract: Contract) -> str:
    """Return what separates the fields, by the first line that is not blank."""
    return separator_of(next(line for line in lines if line.strip()), contract)


def table(path: Path, contract: Contract, person: Person) -> int:
    """Remove rows of a labelled table; return how many.

    Raises:
        EraseError: it cannot be read, or has not the columns that tell whose rows go.
    """
    frame = readable(path, contract, person)
    ids = _values(frame, contract.id)
    names = _values(frame, person.column)
    stays = [not person.owns(i, n) for i, n in zip(ids, names, strict=True)]
    if all(stays):
        return 0
    left = frame.filter(pa.array(stays))
    with TemporaryFile() as target:
        pq.write_table(left, target, compression="zstd")
        _put("", str(path), target)
    return int(frame.num_rows - left.num_rows)


def readable(path: Path, contract: Contract, person: Person) -> pa.Table:
    """Return a labelled table in which a person's rows can be found.

    Raises:
        EraseError: it is not a Parquet file, or lacks a column that tells whose rows
            go.
    """
    if path.suffix != ".parquet":
        raise EraseError(
            f"{path} is not a Parquet file, and nothing was removed: remove the rows "
            f"from it by hand, then `dvc add {path}`"
        )
    frame = _parquet("", str(path))
    wanted = dict.fromkeys((contract.id, person.column or contract.id))
    if absent := [name for name in wanted if name not in frame.column_names]:
        raise EraseError(f"{path} has no column {' and '.join(absent)}")
    return frame


def ids_of(path: Path, contract: Contract, person: Person) -> frozenset[str]:
    """Return the ids of a person's rows in a labelled table."""
    frame = readable(path, contract, person)
    pairs = zip(_values(frame, contract.id), _values(frame, person.column), strict=True)
    return frozenset(rows.written(i) for i, n in pairs if person.owns(None, n))


def _values(table: pa.Table, name: str) -> list[Any]:
    """Return a column, or nothing for each row where there is none."""
    if name not in table.column_names:
        return [None] * table.num_rows
    values: list[Any] = table.column(name).to_pylist()
    return values


def _kept(data: bytes, person: Person) -> list[bytes]:
    """Return the lines of a log that stay."""
    return [*person.without(io.BytesIO(data))]


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


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Say which file it is that cannot be read."""
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, zlib.error, csv.Error) as error:
        raise EraseError(f"{path} cannot be read: {error}") from error


def _read(source: str, path: str) -> bytes:
    """Return the bytes of a file of a source."""
    with _reading(path), _opened(source, path) as file:
        return file.read()


def _parquet(source: str, path: str) -> pa.Table:
    """Return a Parquet file of a source."""
    with _reading(path), _opened(source, path) as file:
        return pq.read_table(file)


def _lines_of(frame: pa.Table) -> list[str]:
    """Return the lines of a part; a part of somebody else's has none."""
    if "line" not in frame.column_names:
        return []
    return [
        line.decode("utf-8", "replace") if isinstance(line, bytes) else line or ""
        for line in frame.column("line").to_pylist()
    ]


def _unpacked(data: bytes, path: str) -> bytes:
    """Return the text of a file that may be compressed."""
    with _reading(path):
        return gzip.decompress(data) if data.startswith(GZIP) else data


def _part(source: str, path: str, person: Person) -> int:
    """Remove lines of one shipped part; return how many."""
    frame = _parquet(source, path)
    stays = [not person.logged(line) for line in _lines_of(frame)]
    if all(stays):
        return 0
    with TemporaryFile() as target:
        pq.write_table(frame.filter(pa.array(stays)), target, compression="zstd")
        _put(source, path, target)
    return stays.count(False)


def _text(source: str, path: str, rewrite: Rewrite) -> int:
    """Rewrite one file of text; return how many lines went."""
    if "://" in source:
        before = _read(source, path)
        return _replaced(before, path, rewrite, lambda file: _put(source, path, file))
    with _reading(path), Path(path).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # a server waits, and opens the new file
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return _text(source, path, rewrite)
        return _replaced(
            file.read(), path, rewrite, lambda file: _put(source, path, file)
        )


def _replaced(
    before: bytes, path: str, rewrite: Rewrite, put: Callable[[IO[bytes]], None]
) -> int:
    """Write what stays of a file's bytes, if something goes; return how much went."""
    text = _unpacked(before, path)
    with _reading(path):
        left = rewrite(text)
    if left == text:
        return 0
    put(io.BytesIO(gzip.compress(left) if before.startswith(GZIP) else left))
    return max(text.count(b"\n") - left.count(b"\n"), 1)  # the last may not end


def _opened(source: str, path: str) -> IO[bytes]:
    """Open a file of a source."""
    if "://" not in source:
        return Path(path).open("rb")
    opened: IO[bytes] = Sink(source).system.open(path, "rb")
    return opened


def _put(source: str, path: str, file: IO[bytes]) -> None:
    """Put a file in another's place, whole or not at all."""
    file.seek(0)
    try:
        if "://" in source:
            Sink(source).write(path, file)
        else:
            _put_here(Path(path), file)
    except (SinkError, OSError) as error:
        raise EraseError(f"{path} cannot be written: {error}") from error


def _put_here(path: Path, file: IO[bytes]) -> None:
    """Put a file in another's place on this machine, with its owner and rights."""
    before, part = path.stat(), path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as target:
            shutil.copyfileobj(file, target)
            target.flush()
            os.fsync(target.fileno())
        if os.geteuid() == 0:
            os.chown(part, before.st_uid, before.st_gid)
        part.chmod(before.st_mode)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
