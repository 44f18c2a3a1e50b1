"""Brings a prediction log to the new storage, file by file, each read back."""

import hashlib
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlgitops.storage import PART, StorageError
from mlgitops.store.objects import BLOCK, LOG, Objects, failing


def bring(system: Any, folder: str, target: Objects) -> tuple[int, str]:
    """Copy the files of a log that differ; return how many, and where the log is now.

    Raises:
        StorageError: a file cannot be read, written, or came back otherwise.
    """
    folder, copied = folder.rstrip("/"), 0
    with failing("the prediction log cannot be listed"):
        paths = sorted(map(str, system.find(folder)))
    if not paths:
        raise StorageError("there is no prediction log at the address that LOG names")
    with TemporaryDirectory(prefix="move-") as name:
        for path in paths:
            file = Path(name, "file")
            with failing(f"{path} cannot be read"):
                with system.open(path, "rb") as source, file.open("wb") as to:
                    shutil.copyfileobj(source, to, BLOCK)
            to_path = f"{target.root}/{LOG}{path.removeprefix(folder).lstrip('/')}"
            copied += _put(target, file, to_path)
    return copied, f"{target.address.rstrip('/')}/{LOG.rstrip('/')}"


def _put(target: Objects, file: Path, path: str) -> bool:
    """Write a file unless it is there; tell whether it was written."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if _digest(target, path) == digest:
        return False
    with failing(f"{path} cannot be written"):
        target.system.makedirs(path.rpartition("/")[0], exist_ok=True)
        target.system.put_file(str(file), path + PART)
        if target.system.exists(path):  # the log of a day that went on
            target.system.rm_file(path)
        target.system.mv(path + PART, path)
    if _digest(target, path) != digest:
        raise StorageError(f"{path} came back with other bytes than were written")
    return True


def _digest(target: Objects, path: str) -> str:
    """Return the sha256 of a file there, or nothing if there is none."""
    digest = hashlib.sha256()
    target.system.invalidate_cache()
    with failing(f"{path} cannot be read back"):
        try:
            with target.system.open(path, "rb") as source:
                while block := source.read(BLOCK):
                    digest.update(block)
        except FileNotFoundError:
            return ""
    return digest.hexdigest()
