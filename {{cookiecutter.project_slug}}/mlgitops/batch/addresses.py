"""Where rows come from and predictions go: a path, or an address such as s3://bucket/x.

An address is opened by fsspec, with storage's login where it is of storage's kind.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from mlgitops import storage
from mlgitops.lock import LockError

OBJECTS = frozenset({"s3", "gs", "gcs", "az", "abfs", "azure"})  # whole, or not there
CHANGED = (  # what systems say of a file's last change
    *("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated"),
    *("modify", "modificationTime", "created"),
)
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

    def size(self, name: str) -> int:
        """Return the bytes of one."""
        if self.system is None:
            return Path(name).stat().st_size
        return int(self.system.info(name)["size"])

    def mark(self, name: str) -> list[object]:
        """Return what tells a file from another: its name, size, and last change.

        One whose system does not know its last change is another one each time.
        """
        path = str(PurePosixPath(name).relative_to(self.base))
        if self.system is None:
            stat = Path(name).stat()
            return [path, stat.st_size, stat.st_mtime_ns]
        info = self.system.info(name)
        changes = (str(info[key]) for key in CHANGED if info.get(key))
        return [path, info["size"], next(changes, None) or uuid.uuid4().hex]


def remote(source: str) -> bool:
    """Tell whether this is an address, and no path of this machine."""
    return "://" in source


def place(source: str) -> tuple[str, str]:
    """Return what is the same for all names of a file: its system's kind, its path."""
    if not remote(source):
        return "file", str(Path(source).resolve())
    system, path = system_of(source)
    kinds = system.protocol
    kind = kinds if isinstance(kinds, str) else kinds[0]
    return kind, str(Path(path).resolve()) if kind == "file" else path


def named(folder: str, pattern: str) -> str | None:
    """Return the name of the first file of a pattern at an address; None without one.

    None either where the login may not list what is there.

    Raises:
        AddressError: nobody answers there.
    """
    try:
        system, root = system_of(folder)
        found = sorted(system.glob(f"{root}/{pattern}"))
    except AddressError:
        raise
    except PermissionError:
        return None
    except Exception as error:  # each kind of storage has its own
        raise AddressError(f"{folder} cannot be read: {_first(error)}") from None
    return PurePosixPath(found[0]).name if found else None


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


def remove(target: str) -> None:
    """Remove a file at an address, if there is one and the login may.

    Raises:
        AddressError: nobody answers there.
    """
    try:
        system, path = system_of(target)
        with suppress(PermissionError):  # a login that only writes there
            if system.exists(path):
                system.rm_file(path)
    except AddressError:
        raise
    except Exception as error:  # each kind of storage has its own
        raise AddressError(f"{target} cannot be removed: {_first(error)}") from None


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
