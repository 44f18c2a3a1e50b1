"""Reads the parts of a shipped log: in this process, or as tasks of a cluster.

A task has a few parts. It counts and drops what cannot count whatever other parts
hold (rows without a time, ids that are thinned out by now), and returns the columns of
the rest; a second task returns the entries of the rows that stay. Which these are,
and which ids are repeated, is decided here, part after part in the log's order: so
every figure is that of a scan in this process.

A worker opens the part itself. If it has no login, or another file by this name, or is
gone with its cluster, that is said, and the parts are read here.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from mlgitops import storage
from mlgitops.cluster.backend import Backend, ClusterError
from mlgitops.cluster.backend import opened as connected
from mlgitops.monitor import columns
from mlgitops.monitor.columns import Lookup, Piece
from mlgitops.prediction_log import Entry
from mlgitops.production_data import Opened, ProductionDataError, has_columns, opener

FEW = 100  # parts: fewer are read here before a cluster has begun (`make cluster`)
TOGETHER = 8  # parts of a task: to send and take one costs as much as to read two
AHEAD = 2  # tasks that a cluster has for each of its threads: one waits
TAIL = 65_536  # bytes at the end of a part: its schema, sizes, smallest and largest
SAME = ("etag", "md5hash", "mtime")  # by which storage tells two objects apart
PACKAGES = ("numpy", "pyarrow", "pyyaml")  # by which a part is read
FIELDS = attrgetter(*Entry.__dataclass_fields__)
Fields = tuple[Any, ...]  # of an entry, as it travels: sooner read than an object
Pieces = Iterator[Piece | None]
T = TypeVar("T")


class Kept(columns.Kept, Protocol):
    """What takes entries, of ids whose hash is below a limit that falls."""

    max_hash: int


class Log(NamedTuple):
    """What all parts share."""

    address: str
    by_arrival: bool


class Part(NamedTuple):
    """A part, by its path and what says that it is the same file, and what of it."""

    path: str
    mark: str
    max_hash: int = columns.EVERY
    indices: tuple[int, ...] = ()


class InProcess:
    """Reads parts in this process."""

    def __init__(self, log: Log, paths: Sequence[str], opened: Opened) -> None:
        self.log, self.paths, self.opened = log, paths, opened

    def pieces(self, kept: Kept) -> Iterator[tuple[str, Pieces | None]]:
        """Yield the log's files in order, each with its pieces; None of lines."""
        for path in self.paths:
            yield path, self._pieces(path, kept) if has_columns(path) else None

    def entries(self, lookups: Iterable[Lookup]) -> Iterator[Iterable[Entry | None]]:
        """Yield the entries of these rows of each part."""
        for path, indices in lookups:
            yield columns.entries_of(path, self.opened, indices)

    def _pieces(self, path: str, kept: Kept) -> Pieces:
        def thinned(ids: Sequence[str]) -> Sequence[int]:
            return columns.below(kept.max_hash, ids)

        return columns.pieces(path, self.opened, self.log.by_arrival, thinned)


class OnCluster(InProcess):
    """Reads parts as tasks of a cluster, until one of them fails."""

    def __init__(
        self, log: Log, paths: Sequence[str], opened: Opened, cluster: Backend
    ) -> None:
        super().__init__(log, paths, opened)
        self.cluster, self.unread = cluster, ""
        self.parts = dict[str, Part]()

    def pieces(self, kept: Kept) -> Iterator[tuple[str, Pieces | None]]:
        """Yield what `InProcess.pieces` does."""
        sent = (self._part(p, kept) for p in self.paths if has_columns(p))
        results = self._read(read_pieces, sent)
        for path in self.paths:
            if not has_columns(path):
                yield path, None
            elif (content := self._next(results)) is None:
                yield path, self._pieces(path, kept)
            else:
                yield path, iter(content)

    def entries(self, lookups: Iterable[Lookup]) -> Iterator[Iterable[Entry | None]]:
        """Yield what `InProcess.entries` does."""
        rows = [*lookups]
        sent = (self.parts[p]._replace(indices=tuple(n)) for p, n in rows)
        parts = () if self.unread else sent
        results = self._read(read_entries, parts)
        for path, indices in rows:
            if (content := self._next(results)) is None:
                yield columns.entries_of(path, self.opened, indices)
            else:
                yield (Entry(*fields) if fields else None for fields in content)

    def _part(self, path: str, kept: Kept) -> Part:
        """Return a part as workers get it."""
        try:
            mark = marked(self.log.address, path, self.opened)
        except ProductionDataError:  # said where its turn comes
            mark = ""
        absolute = path if "://" in self.log.address else str(Path(path).resolve())
        self.parts[path] = Part(absolute, mark, kept.max_hash)
        return self.parts[path]

    def _read(
        self, function: Callable[[Log, list[Part]], list[T]], parts: Iterable[Part]
    ) -> Iterator[T]:
        """Yield what the workers have read of each part."""
        rest = iter(parts)
        tasks = iter(lambda: [*islice(rest, TOGETHER)], [])
        yield from chain.from_iterable(
            self.cluster.over(function, self.log, AHEAD)(tasks)
        )

    def _next(self, results: Iterator[list[T] | str]) -> list[T] | None:
        """Return what the next task has read; None once one of them could not."""
        try:
            result = self.unread or next(results)
        except ClusterError as error:  # a monitor looks, whoever is gone
            result = str(error)
        if isinstance(result, list):
            return result
        if not self.unread:
            self.unread = result
            _say(result)
        return None


@contextmanager
def reader(
    backend: str, address: str, paths: Sequence[str], opened: Opened, by_arrival: bool
) -> Iterator[InProcess]:
    """Yield what reads these files of a log: here, too, where no cluster answers."""
    log = Log(address, by_arrival)
    with ExitStack() as stack:
        found = InProcess(log, paths, opened)
        if backend != "local" and sum(map(has_columns, paths)) >= FEW:
            try:
                cluster = stack.enter_context(connected(backend, PACKAGES))
                found = OnCluster(log, paths, opened, cluster)
            except ClusterError as error:
                _say(str(error))
        yield found


def _say(reason: str) -> None:
    """Say why workers do not read a log."""
    sentence = f"The log is read here, as workers cannot read it: {reason}"
    print(storage.masked(sentence), file=sys.stderr)


def read_pieces(log: Log, parts: list[Part]) -> list[list[Piece | None] | str]:
    """Return the pieces of each part, or why it cannot be read here."""
    return [_pieces(log, part) for part in parts]


def read_entries(log: Log, parts: list[Part]) -> list[list[Fields | None] | str]:
    """Return the entries of rows of each part, or why it cannot be read here."""
    return [_entries(log, part) for part in parts]


def _pieces(log: Log, part: Part) -> list[Piece | None] | str:
    thinned = partial(columns.below, part.max_hash)
    try:
        opened = _same(log, part)
        return [*columns.pieces(part.path, opened, log.by_arrival, thinned)]
    except ProductionDataError as error:
        return str(error)


def _entries(log: Log, part: Part) -> list[Fields | None] | str:
    try:
        entries = columns.entries_of(part.path, _same(log, part), part.indices)
        return [FIELDS(entry) if entry else None for entry in entries]
    except ProductionDataError as error:
        return str(error)


def marked(address: str, path: str, opened: Opened) -> str:
    """Return what tells a part from another file by its path.

    That is its size; at a remote address the etag, hash or time that storage has of it,
    where it has one; on a disk, which may be another machine's, a hash of its end.

    Raises:
        ProductionDataError: it cannot be read.
    """
    on_disk = "://" not in address or address.startswith("file:")
    try:
        with opened(path) as file:
            file.seek(0, io.SEEK_END)
            size = file.tell()
            file.seek(max(size - TAIL, 0) if on_disk else size)
            end = hashlib.sha256(file.read()).hexdigest()
            return f"{size} {end}" if on_disk else f"{size} {_told(file)}"
    except OSError as error:
        raise ProductionDataError(f"{path} cannot be read: {error}") from error


def _told(file: Any) -> str:
    """Return what storage says of an open object that changes with it; "" if nothing.

    A list of Azure has its etag without the quotes that the object itself has it with.
    """
    details = getattr(file, "details", None)
    if not details and hasattr(file, "fs"):  # of ssh
        details = file.fs.info(file.path)
    marks = {name.lower(): mark for name, mark in (details or {}).items() if mark}
    return next((str(marks[n]).strip('"') for n in SAME if n in marks), "")


def _same(log: Log, part: Part) -> Opened:
    """Return what opens a part, if the file here is the one that was meant.

    Raises:
        ProductionDataError: it is not, or cannot be read.
    """
    opened = opener(log.address)
    if marked(log.address, part.path, opened) != part.mark:
        raise ProductionDataError(f"{part.path} is another file there")
    return opened
