"""Where parts go: a folder, or an address of fsspec's. What is sent is read back."""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from mlgitops import storage
from mlgitops.prediction_log import DAY, SHIPPED

BLOCK = 2**20  # bytes
ATOMIC = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}  # or nothing


class SinkError(Exception):
    """A part could not be brought there, or deleted: one sentence."""


class Sink:
    """A place for parts, by day."""

    def __init__(self, address: str) -> None:
        """Open it; SinkError where that fails."""
        self.address = address
        try:
            url = address if "://" in address else f"file://{Path(address).resolve()}"
            self.system, self.root = storage.filesystem(url)
        except storage.StorageError as error:
            raise SinkError(str(error)) from error
        except Exception as error:  # each kind of storage has its own
            problem = storage.reason(error)
            raise SinkError(f"{address} cannot be opened: {problem}") from error
        self.atomic = bool(ATOMIC.intersection(_protocols(self.system)))

    def put(self, day: str, name: str, file: IO[bytes]) -> None:
        """Bring a part there, in place of one of that name; SinkError if in vain."""
        self.write(f"{self.root}/{DAY}{day}/{name}", file)

    def write(self, path: str, file: IO[bytes]) -> None:
        """Write a file whole or not at all, and read it back; SinkError if in vain."""
        folder, _, name = path.rpartition("/")
        hidden = path if self.atomic else f"{folder}/.{name}.sent"
        try:
            if not self.atomic:  # others have no folders
                self.system.makedirs(folder, exist_ok=True)
            with self.system.open(hidden, "wb") as target:
                shutil.copyfileobj(file, target, BLOCK)
                _sync(target)
            self._verify(hidden, file)
            if hidden != path:
                self.system.mv(hidden, path)
                self._verify(path, file)
        except SinkError:
            raise
        except Exception as error:  # each kind of storage has its own
            problem = storage.reason(error)
            raise SinkError(f"{path} cannot be written: {problem}") from error

    def expire(self, keep_days: int) -> int:
        """Delete parts of days that are longer ago; return how many."""
        oldest = (datetime.now(UTC) - timedelta(days=keep_days)).date().isoformat()
        try:
            expired = [path for day, path in self._parts() if day < oldest]
            for path in expired:
                self.system.rm_file(path)
        except Exception as error:  # each kind of storage has its own
            problem = storage.reason(error)
            raise SinkError(f"{self.address}: old parts remain: {problem}") from error
        return len(expired)

    def _parts(self) -> Iterator[tuple[str, str]]:
        """Yield (day, path) of each part."""
        for pattern in SHIPPED.values():
            for path in self.system.glob(f"{self.root}/{pattern}"):
                day = path.rsplit("/", 2)[-2].removeprefix(DAY)
                if re.fullmatch(r"\d{4}-\d\d-\d\d", day):  # else somebody else's
                    yield day, path

    def _verify(self, path: str, file: IO[bytes]) -> None:
        """Raise SinkError unless what is there are the bytes that were sent."""
        self.system.invalidate_cache()
        with self.system.open(path, "rb") as copy:
            digest = _sha256(copy)
        file.seek(0)
        if digest != _sha256(file):
            raise SinkError(f"{path} has other bytes than were sent")
        file.seek(0)


def _sync(file: Any) -> None:
    """Wait until a disk has the file, where it is one of this machine."""
    file.flush()
    with contextlib.suppress(AttributeError, OSError):  # it is none
        os.fsync(file.fileno())


def _sha256(file: IO[bytes]) -> str:
    """Return the sha256 of the rest of a file."""
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _protocols(system: Any) -> tuple[str, ...]:
    """Return the names of a file system's protocol."""
    protocol = system.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
