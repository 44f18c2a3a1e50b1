"""Where rows come from and predictions go: a path, or an address such as s3://bucket/x.

An address is opened by fsspec, with storage's login where it is of storage's kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from mlgitops import storage
from mlgitops.lock import LockError

OBJECTS = frozenset({"s3", "gs", "gcs", "az", "abfs", "azure"})  # whole, or not there
CHANGED = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified")
BLOCK = 8_000_000  # bytes


class AddressError(Exception):
    """Files at an address cannot be read or written: one sentence."""


class Files(NamedTuple):
    """The files at a path or address, in the order of their names."""

    system: Any  # fsspec's, or None for this machine's own
    base: str  # the folder that names are relative to
    names: list[str]  # as the system has them

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open one for reading."""
        opened = Path(name).open("rb") if self.system is None else None
        with opened or self.system.open(name, "rb") as file:
            yield file

    def mark(self, name: str) -> list[object]:
        """Return what tells a file from another: its name, size, and last change."""
        if self.system is None:
            stat = Path(name).stat()
            return [Path(name).name, stat.st_size, stat.st_mtime_ns]
        info = self.system.info(name)
        change = next((str(info[key]) for key in CHANGED if info.get(key)), "")
        return [PurePosixPath(name).name, info["size"], change]


def remote(source: str) -> bool:
    """Tell whether this is an address, and no path of this machine."""
    return "://" in source


def files(source: str) -> Files:
    """Return the files of a folder that are part of its table, or the one file.

    Those whose name, or whose folder's, begins with a dot or `_` are none.

    Raises:
        AddressError: there are none, or nobody answers at the address.
    """
    if not remote(source):
        path = Path(source)
        found = [str(p) for p in path.rglob("*") if p.is_file()]
        names = _shown(found, source) or [source]
        if not Path(names[0]).is_file():
            raise AddressError(
                f"there is no table {source}: name a CSV or Parquet file"
            )
        base = source if path.is_dir() else str(path.parent)
        return Files(None, base, names)
    try:
        system, root = system_of(source)
        if system.isfile(root):
            return Files(system, str(PurePosixPath(root).parent), [root])
        names = _shown(system.find(root), root)
    except AddressError:
        raise
    except Exception as error:  # each kind of storage has its own
        raise AddressError(f"{source} cannot be read: {_first(error)}") from None
    if not names:
        raise AddressError(f"there is no table {source}: correct the address")
    return Files(system, root, names)


def send(file: Path, target: str) -> None:
    """Copy a file to an address, and read it back.

    Where a file could be seen half written, it gets its name at the end.

    Raises:
        AddressError: it was not written, or is not there as it was sent.
    """
    try:
        system, path = system_of(target)
        part = path if _whole(target) else f"{path}.part"
        if not _whole(target):
            system.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
        system.put_file(str(file), part)
        if part != path:
            system.mv(part, path)
        system.invalidate_cache()
        with system.open(path, "rb") as arrived, file.open("rb") as sent:
            same = _sha256(arrived) == _sha256(sent)
    except AddressError:
        raise
    except Exception as error:  # each kind of storage has its own
        raise AddressError(f"{target} cannot be written: {_first(error)}") from None
    if not same:
        raise AddressError(f"{target} does not hold what was sent: run it again")


def system_of(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the path in it.

    Raises:
        AddressError: there is no such kind, or its library or login is missing.
    """
    try:
        return storage.filesystem(address)
    except ImportError as error:
        raise AddressError(
            f"{address}: {_first(error)}; storage of this kind brings its library: see "
            "mlgitops/requirements"
        ) from None
    except (ValueError, storage.StorageError, LockError) as error:
        raise AddressError(f"{address} is no address: {_first(error)}") from None


def _whole(address: str) -> bool:
    """Tell whether an address is of a kind that shows only complete files."""
    return address.partition("://")[0] in OBJECTS


def _shown(names: list[str], base: str) -> list[str]:
    """Return the names that are part of a table, in their order."""
    return sorted(
        name
        for name in names
        if not any(p[0] in "._" for p in PurePosixPath(name).relative_to(base).parts)
    )


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _first(error: Exception) -> str:
    """Return what an error says first."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
