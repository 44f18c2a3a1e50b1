"""Brings the rows that `make data` is to read: files as they lie, or a query's rows.

A query's rows are written to one Parquet file in the scratch folder, whole or not at
all, which is then read as any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import yaml

from mlgitops.storage import masked
from mlgitops.table import database, partitions, source
from mlgitops.table.options import Options
from mlgitops.table.origin import Origin
from mlgitops.table.problem import TableError
from mlgitops.table.source import Source

ROWS = "query.parquet"  # in the scratch folder


def address(options: Options) -> str:
    """Return FILE= as it may be kept: an address of a database has no login.

    Raises:
        TableError: it holds a password, or is of a kind that is not read.
    """
    if not database.is_one(options.file):
        if options.query and not Path(options.file).exists():
            raise TableError(f"{options.file} does not exist: check the path")
        if options.query:
            raise TableError(
                f"QUERY= is of a database, and FILE={options.file} is none: known are "
                "postgresql:// addresses, and files of DuckDB and SQLite"
            )
        return options.file
    if not options.query:
        raise TableError(
            "FILE= is a database, and QUERY= is missing: name a file with one SELECT "
            "in it, such as QUERY=data/query.sql"
        )
    return database.shown(options.file)


def bring(
    options: Options, file: str, scratch: Path
) -> tuple[Source, Callable[[], Origin]]:
    """Return the files to read, and what waits for their sums: where they come from.

    `file` may have a user name.

    Raises:
        TableError: they cannot be read.
        Refused: the query's columns cannot be read, for all reasons at once.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if database.is_one(file):
        rows, origin = _queried(options, file, scratch / ROWS, now)
        return rows, lambda: origin
    files = source.find(Path(file))
    files = replace(files, notes=partitions.unread(files))
    sums = _meanwhile(lambda: _sums(files.path))
    named = bool(partitions.columns(files))
    return files, lambda: _found(files, file, sums.result(), named, now)


def _meanwhile(sums: Callable[[], dict[str, str]]) -> Future[dict[str, str]]:
    """Return the sums as a thread makes them; a command that ends does not wait."""
    future: Future[dict[str, str]] = Future()

    def run() -> None:
        try:
            future.set_result(sums())
        except Exception as error:  # told where the sums are asked for
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def _found(
    files: Source, file: str, sums: Mapping[str, str], named: bool, now: str
) -> Origin:
    """Return where files come from, by the sums of each; `named`: so do their names."""
    mark, from_where = _mark(sums, named=named), imported(files.path)
    if not files.path.is_dir():
        return Origin("file", file, mark, now, imported=from_where)
    chosen = {f.relative_to(files.path).as_posix() for f in files.files}
    listed = {name: digest for name, digest in sums.items() if name in chosen}
    return Origin("folder", file, mark, now, imported=from_where, files=listed)


def _queried(
    options: Options, file: str, path: Path, now: str
) -> tuple[Source, Origin]:
    """Return the file with a query's rows, and where they come from."""
    query = database.query(options.query)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = database.read(file, query.text, path)
    if not rows.count:
        path.unlink()
        raise TableError(
            f"the query gives no rows: nothing was written; try {query.name} in the "
            "database's own shell"
        )
    with path.open("rb") as stream:
        mark = hashlib.file_digest(stream, "sha256").hexdigest()
    origin = Origin(
        "query",
        options.file,
        mark,
        rows.taken or now,
        query=query.name,
        query_sha256=hashlib.sha256(query.text.encode()).hexdigest(),
        snapshot=rows.snapshot,
        columns=rows.types,
    )
    title = f"{options.file}, {query.name}, as of {origin.read}"
    notes = () if query.is_ordered else (database.UNORDERED,)
    return Source(path, "parquet", (path,), title, notes), origin


def _sums(root: Path) -> dict[str, str]:
    """Return the sha256 of a file, or of all files of a folder by their paths in it."""
    paths = sorted(root.rglob("*")) if root.is_dir() else [root]
    sums = {}
    for path in paths:
        if path.is_file():
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            sums[path.relative_to(root).as_posix()] = digest
    return sums


def _mark(sums: Mapping[str, str], *, named: bool) -> str:
    """Return one sha256 of all files; of their names, too, where these hold values."""
    digest = hashlib.sha256()
    for name, file_sha256 in sums.items():
        digest.update(name.encode() if named else b"")
        digest.update(bytes.fromhex(file_sha256))
    return digest.hexdigest()


def imported(path: Path) -> str:
    """Return from where `dvc import-url` brought a file or folder; "" if it did not."""
    pointer = path.with_name(f"{path.name}.dvc")
    try:
        document = yaml.safe_load(pointer.read_text(encoding="utf-8"))
        return masked(str(document["deps"][0]["path"]))
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError):
        return ""
