"""Opens the prediction log and the labels: a file, a folder, or a URL for fsspec.

What `shipping/` has made of a log is read as the files that it was made of.
Files are text as people have it: UTF-8 or UTF-16, with or without its mark, compressed
by gzip or not. Whatever a file holds, memory is bounded: a line that is too long is
skipped, and something stands in its place that nobody can take for a line.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from mlgitops import storage
from mlgitops.prediction_log import LONGEST, PATTERN, SHIPPED
from mlgitops.settings import Monitor

GZIP = b"\x1f\x8b"  # how such a file begins
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
TOO_LONG = "\0\n"  # stands for a line of more than `LONGEST` characters
PARQUET = ".parquet"
APART = "-unreadable"  # ends the name of a part whose lines are none
Opened = Callable[[str], IO[bytes]]
PART_ROWS = 1_000  # of a part that are in memory
UNREADABLE_FILE = (OSError, EOFError, UnicodeError, zlib.error)


class ProductionDataError(Exception):
    """The log or the labels cannot be used: one sentence, says what to fix."""

    def __init__(self, sentence: str) -> None:
        """No login of an address is in it: it may become a line of the ledger."""
        super().__init__(storage.masked(sentence))


def lines(source: str, pattern: str) -> Iterator[str]:
    """Yield the lines of every file, in the files' order, that are not empty."""
    for _, file in files(source, pattern):
        yield from (line for line in file if line.strip())


def files(
    source: str, pattern: str, newest_first: bool = False
) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield (name, lines) of a file, or of each matching file in a folder or URL.

    File names contain the day, so that their order is that of time. Names may end in
    `.gz` as well.

    Raises:
        ProductionDataError: the file or folder does not exist, or cannot be read.
    """
    paths, opened = located(source, pattern)
    for path in reversed(paths) if newest_first else paths:
        with opened(path) as file:
            name = path.rsplit("/", 1)[-1]
            read = _shipped if name.endswith(PARQUET) else _lines
            yield name, read(file, name)


def located(source: str, pattern: str) -> tuple[list[str], Opened]:
    """Return the paths of a log's files in their order, and what opens one.

    Raises:
        ProductionDataError: the file or folder does not exist, or cannot be read.
    """
    if "://" in source:
        paths, opened = _remote_files(source, pattern)
    else:
        paths = [str(path) for path in local_files(source, pattern)]
        paths += [str(path) for path in shipped_files(source, pattern)]
        opened = _local_file
    return sorted(paths, key=_by_day), partial(_opened, opened)


def opener(source: str) -> Opened:
    """Return what opens a file of a log as `located` does, without a list of them.

    Raises:
        ProductionDataError: there is no way to its address here.
    """
    if "://" not in source:
        return partial(_opened, _local_file)
    try:
        system, _ = storage.filesystem(source)
    except Exception as error:  # each kind of storage has its own
        raise ProductionDataError(f"{source} cannot be read: {error}") from error
    return partial(_opened, partial(system.open, mode="rb"))


def lines_of(path: str, opened: Opened) -> Iterator[str]:
    """Yield the lines of one of these files."""
    with opened(path) as file:
        name = path.rsplit("/", 1)[-1]
        yield from (_shipped if name.endswith(PARQUET) else _lines)(file, name)


def has_columns(path: str) -> bool:
    """Tell whether a file has what is looked for in columns beside its lines."""
    return path.endswith(PARQUET) and not path.endswith(APART + PARQUET)


def _opened(opened: Opened, path: str) -> IO[bytes]:
    """Open a file, or say that it cannot be read."""
    try:
        return opened(path)
    except Exception as error:  # each kind of storage has its own
        raise ProductionDataError(f"{path} cannot be read: {error}") from error


def local_files(source: str, pattern: str) -> list[Path]:
    """Return the files of a folder on this machine, or the one file, in their order.

    A folder or a pipe with the name of a file is none.

    Raises:
        ProductionDataError: there is no such file or folder.
    """
    path = Path(source)
    if not path.exists():
        raise ProductionDataError(f"{source} does not exist: correct PREDICTION_LOG")
    if path.is_file():
        return [path]
    found = {*path.glob(pattern), *path.glob(f"{pattern}.gz")}
    return sorted(file for file in found if file.is_file())


def folder_of(source: str) -> str:
    """Return the folder or URL of a log; that of the one file, where it is one."""
    path = Path(source)
    if "://" not in source and path.is_file():
        return str(path.parent)
    name = source.rpartition("/")[2].removesuffix(".gz")
    return source.rpartition("/")[0] if fnmatchcase(name, PATTERN) else source


def check_shares(
    name: str, counts: Counter[str], limits: Monitor, example: str = ""
) -> None:
    """Refuse data with too many lines that cannot be used.

    ``example`` says what a corrupt line holds, and what it should.

    Raises:
        ProductionDataError: more lines are corrupt or repeated than params.yaml allows.
    """
    max_shares = {"corrupt": limits.max_corrupt, "duplicate": limits.max_duplicate}
    for kind, allowed in max_shares.items():
        share = counts[kind] / max(counts["lines"], 1)
        if share > allowed:
            shown = example if kind == "corrupt" else ""
            raise ProductionDataError(
                f"{counts[kind]:,} of {counts['lines']:,} lines of {name} are {kind} "
                f"({share:.1%}, at most {allowed:.0%} are allowed){shown}"
            )


def _local_file(path: str) -> IO[bytes]:
    """Open a file on this machine."""
    return Path(path).open("rb")


def _remote_files(source: str, pattern: str) -> tuple[list[str], Opened]:
    """Return the paths of the files of a URL in their order, and how to open one."""
    try:
        system, path = storage.filesystem(source)
        if system.isfile(path):
            paths = [path]
        else:
            found = system.glob(f"{path}/{pattern}*", detail=True)
            paths = sorted(
                name
                for name, entry in found.items()
                if entry["type"] == "file"
                and fnmatchcase(name.removesuffix(".gz"), f"*/{pattern}")
            )
            if pattern in SHIPPED:
                paths += system.glob(f"{path}/{SHIPPED[pattern]}")
    except Exception as error:  # each kind of storage has its own
        raise ProductionDataError(f"{source} cannot be read: {error}") from error
    return paths, partial(system.open, mode="rb")


def _lines(file: IO[bytes], name: str) -> Iterator[str]:
    """Yield a file's lines, with `TOO_LONG` in the place of each that is too long."""
    try:
        text = _text(file)
        while line := text.readline(LONGEST):
            if len(line) == LONGEST and not line.endswith("\n"):
                while (rest := text.readline(LONGEST)) and not rest.endswith("\n"):
                    pass
                line = TOO_LONG
            yield line
    except UNREADABLE_FILE as error:
        raise ProductionDataError(f"{name} cannot be read: {error}") from error


def shipped_files(source: str, pattern: str) -> list[Path]:
    """Return the shipped files of a folder on this machine; none of a file."""
    return [*Path(source).glob(SHIPPED[pattern])] if pattern in SHIPPED else []


def _by_day(path: str) -> tuple[str, str]:
    """Return what orders files: the day and time in their names, then the names."""
    name = path.rsplit("/", 1)[-1]
    return name.partition("-")[2], name


def _shipped(file: IO[bytes], name: str) -> Iterator[str]:
    """Yield the lines of a part, as they were in the file that a server wrote."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(file).iter_batches(PART_ROWS, columns=["line"]):
            for line in batch.column(0).to_pylist():
                if isinstance(line, bytes):
                    line = line.decode("utf-8", "replace")
                yield TOO_LONG if len(line) >= LONGEST else line
    except (*UNREADABLE_FILE, pa.ArrowException) as error:
        raise ProductionDataError(f"{name} cannot be read: {error}") from error


def _text(file: IO[bytes]) -> io.TextIOWrapper:
    """Return a file as text, by how it begins."""
    start = _start(file)
    if start.startswith(GZIP):
        file = cast("IO[bytes]", gzip.GzipFile(fileobj=file))
        start = _start(file)
    encoding = next((MARKS[m] for m in MARKS if start.startswith(m)), "utf-8")
    if len(start) > 1 and 0 in start[:2] and encoding == "utf-8":
        encoding = "utf-16-be" if start[0] == 0 else "utf-16-le"
    return io.TextIOWrapper(file, encoding, errors="replace", newline="")


def _start(file: IO[Any]) -> bytes:
    """Return how a file begins; it is read from there again."""
    start = file.read(4)
    file.seek(0)
    return bytes(start)
