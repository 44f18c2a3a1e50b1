"""The objects that storage holds: list them, delete some of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlgitops import storage
from mlgitops.storage import StorageError

NAME = re.compile(r"([0-9a-f]{2})/([0-9a-f]{30})$")


@dataclass(frozen=True)
class Stored:
    """One object: its md5, path and bytes."""

    md5: str
    path: str
    size: int


def objects() -> dict[str, Stored]:
    """Return what storage holds, by md5.

    Raises:
        StorageError: it cannot be listed.
    """
    if folder := storage.folder():
        return {o.md5: o for o in _local(folder)}
    address = storage.url()
    try:
        system, root = storage.filesystem(address)
        system.invalidate_cache()
        found = system.find(f"{root.rstrip('/')}/files/md5", detail=True)
    except FileNotFoundError:
        return {}
    except Exception as error:  # each kind of storage has its own
        raise StorageError(f"{address} cannot be listed: {error}") from error
    return {o.md5: o for o in _remote(found)}


def remove(gone: Collection[Stored]) -> None:
    """Delete objects; what is no longer there is as good as deleted.

    Raises:
        StorageError: one could not be deleted; those before it are gone.
    """
    if storage.folder():
        storage.forget([Path(each.path) for each in gone])
        return
    address = storage.url()
    system, _ = storage.filesystem(address)
    for number, each in enumerate(gone):
        try:
            system.rm_file(each.path)
        except FileNotFoundError:
            continue
        except Exception as error:  # each kind of storage has its own
            raise StorageError(
                f"{number} of {len(gone)} objects were deleted from {address}, then: "
                f"{error}"
            ) from error


def _local(folder: Path) -> Iterator[Stored]:
    """Yield the objects of a folder."""
    for path in folder.glob("*/*"):
        match = NAME.search(path.as_posix())
        if match and path.is_file():
            yield Stored("".join(match.groups()), str(path), path.stat().st_size)


def _remote(found: dict[str, dict[str, Any]]) -> Iterator[Stored]:
    """Yield the objects of an address."""
    for path, about in found.items():
        if match := NAME.search(path):
            yield Stored("".join(match.groups()), path, int(about.get("size") or 0))
