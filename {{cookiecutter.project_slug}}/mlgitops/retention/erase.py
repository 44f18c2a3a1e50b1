"""Removes a person's rows from log, labels and data; every other byte stays.

A file is written anew beside itself, read back, and takes the old one's place. Where
nothing of a file goes, nobody touches it. A server that logs meanwhile waits for its
lock and goes on in the new file.
"""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlgitops.monitor.labels import id_column, separator_of
from mlgitops.pipeline.contract import Contract
from mlgitops.retention import person as rows
from mlgitops.retention.person import Person
from mlgitops.shipping.sink import Sink, SinkError

GZIP = ".gz"
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}

Rewrite = Callable[[bytes], bytes]


class EraseError(Exception):
    """Rows could not be removed: one sentence."""


def log(source: str, person: Person) -> int:
    """Remove lines of a prediction log, shipped or not; return how many.

    Raises:
        EraseError: a file could not be read or written; those before it are done.
    """
    count = 0
    for path in _files(source, (".jsonl", ".parquet")):
        if path.endswith(".parquet"):
            count += _part(source, path, person)
        else:
            count += _text(source, path, lambda text: b"".join(_kept(text, person)))
    return count


def labels(source: str, contract: Contract, person: Person) -> int:
    """Remove records of CSV files with labels; return how many lines went.

    Raises:
        EraseError: a file could not be read or written; those before it are done.
    """
    keys = {id_column(contract), contract.id}

    def kept(data: bytes) -> bytes:
        mark = next((m for m in MARKS if data.startswith(m)), b"")
        encoding = MARKS.get(mark, "utf-8")
        text = data.decode(encoding, "surrogateescape" if not mark else "strict")
        lines = text.splitlines(keepends=True)
        if not lines:
            return data
        left = rows.labels(lines, separator_of(lines[0], contract), keys, person)
        errors = "surrogateescape" if not mark else "strict"
        return "".join(left).encode(encoding, errors) if left != lines else data

    return sum(_text(source, path, kept) for path in _files(source, (".csv",)))


def table(path: Path, contract: Contract, person: Person) -> int:
    """Remove rows of a labelled table; return how many.

    Raises:
        EraseError: it is not a Parquet file, or has no column of the ids.
    """
    if path.suffix != ".parquet":
        raise EraseError(
            f"{path} is not a Parquet file: remove the rows from it by hand, then "
            f"`dvc add {path}`"
        )
    frame = pq.read_table(path)
    columns = [
        name for name in (contract.id, person.column) if name in frame.column_names
    ]
    if not columns:
        raise EraseError(f"{path} has neither {contract.id} nor {person.column}")
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


def ids_of(path: Path, contract: Contract, person: Person) -> frozenset[str]:
    """Return the ids of a person's rows in a labelled table."""
    frame = pq.read_table(path, columns=[contract.id, person.column])
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
    else:
        try:
            sink = Sink(source)
            names = [str(name) for name in sink.system.find(sink.root)]
        except Exception as error:  # each kind of storage has its own
            raise EraseError(f"{source} cannot be read: {error}") from error
    return [name for name in names if name.removesuffix(GZIP).endswith(ends)]


def _part(source: str, path: str, person: Person) -> int:
    """Remove lines of one shipped part; return how many."""
    with _opened(source, path) as file:
        frame = pq.read_table(file)
    lines = [
        line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        for line in frame.column("line").to_pylist()
    ]
    stays = [not person.logged(line) for line in lines]
    if all(stays):
        return 0
    with TemporaryFile() as target:
        pq.write_table(frame.filter(pa.array(stays)), target, compression="zstd")
        _put(source, path, target)
    return stays.count(False)


def _text(source: str, path: str, rewrite: Rewrite) -> int:
    """Rewrite one file of text; return how many lines went."""
    if "://" in source:
        with _opened(source, path) as file:
            before = file.read()
        return _replaced(before, path, rewrite, lambda file: _put(source, path, file))
    with Path(path).open("rb") as file:
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
    packed = path.endswith(GZIP)
    try:
        text = gzip.decompress(before) if packed else before
        left = rewrite(text)
    except (OSError, EOFError, UnicodeError) as error:
        raise EraseError(f"{path} cannot be read: {error}") from error
    if left == text:
        return 0
    put(io.BytesIO(gzip.compress(left) if packed else left))
    return text.count(b"\n") - left.count(b"\n")


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
