"""The objects of one storage, by md5, in whatever kind of place they lie."""

import hashlib
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlgitops import storage
from mlgitops.storage import PART, StorageError
from mlgitops.store.rights import PROBE

FOLDER = "files/md5"  # of DVC 3
OBJECT = re.compile(rf"{FOLDER}/([0-9a-f]{{2}})/([0-9a-f]{{30}})")
# What DVC and its ssh leave of an upload that broke off: dvc_objects, `tmp_fname`.
BROKEN_OFF = re.compile(rf"{FOLDER}/[0-9a-f]{{2}}/[^/]*\.[\w-]{{22}}\.tmp", re.ASCII)
PARTIAL = re.compile(rf"{OBJECT.pattern}(\.\w+)?{re.escape(PART)}", re.ASCII)  # ours
OWNERS = "repositories/"  # where each repository's name is a file: `owner.py`
LOG = "log/"  # where `make storage LOG=` brings the prediction log
WHOLE_OR_NOT = {"s3", "gs", "azure"}  # an object appears when it is whole
BLOCK = 1 << 20  # bytes
AGAIN = "; when that is mended, type the same command again"


@dataclass
class Listing:
    """What lies in a storage: objects by md5, repositories, and all other paths."""

    sizes: dict[str, int] = field(default_factory=dict)
    unfinished: dict[str, int] = field(default_factory=dict)  # uploads, by path
    times: dict[str, datetime] = field(default_factory=dict)  # of writing, if known
    owners: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Objects:
    """A storage that is open: its address, fsspec's system, and the path in it."""

    address: str
    system: Any
    root: str

    def path(self, md5: str) -> str:
        """Return where an object lies."""
        return f"{self.root}/{FOLDER}/{md5[:2]}/{md5[2:]}"

    def listing(self) -> Listing:
        """List everything; a storage that does not exist yet is empty.

        Raises:
            StorageError: it cannot be listed.
        """
        contents = Listing()
        for path, entry in self._files():
            name = path.removeprefix(self.root).lstrip("/")
            if not name:
                raise StorageError(
                    f"{self.shown} is a file, not a folder of objects: move it away, "
                    "then type the same command again"
                )
            size, time = int(entry["size"] or 0), _written(entry)
            if match := OBJECT.fullmatch(name):
                md5 = match[1] + match[2]
                contents.sizes[md5] = size
                if time:
                    contents.times[md5] = time
            elif name.startswith(OWNERS):
                contents.owners.add(name.removeprefix(OWNERS))
            elif _unfinished(name):
                if time and (PARTIAL.fullmatch(name) or BROKEN_OFF.fullmatch(name)):
                    contents.unfinished[name], contents.times[name] = size, time
            elif not name.startswith((PROBE, LOG, ".git/")):
                contents.others.append(name)
        return contents

    def _files(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the path of each file, and what the file system says of it."""
        with failing(f"{self.shown} cannot be listed", AGAIN):
            self.system.invalidate_cache()
            try:
                entries = self.system.find(self.root, detail=True)
            except FileNotFoundError:
                entries = {}
            for path, entry in sorted(entries.items()):
                yield str(path), entry

    def fetch(self, md5: str, to: Path) -> None:
        """Copy an object to a file and verify it.

        Raises:
            StorageError: it is missing, altered, or cannot be read.
        """
        with failing(f"object {md5} of {self.shown} cannot be read"):
            with (
                self.system.open(self.path(md5), "rb") as source,
                to.open("wb") as file,
            ):
                shutil.copyfileobj(source, file, BLOCK)
        if (digest := _md5_of(to)) != md5:
            raise StorageError(
                f"object {md5} of {self.shown} was altered there: its bytes have md5 "
                f"{digest}; restore it, or delete it there if nothing needs it"
            )

    def store(self, md5: str, file: Path) -> None:
        """Write an object, whole or not at all, and read it back.

        Raises:
            StorageError: it cannot be written, or came back otherwise.
        """
        path = self.path(md5)
        target = path + PART if self.has_folders else path
        with failing(f"object {md5} cannot be written to {self.shown}"):
            if self.has_folders:
                self.system.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.system.put_file(str(file), target)
            if self.has_folders:
                if self.system.exists(path):  # of a size or bytes that are wrong
                    self.system.rm_file(path)
                self.system.mv(target, path)
        if not self.has(md5):
            raise StorageError(
                f"object {md5} came back from {self.shown} with other bytes than were "
                "written: nothing relies on it yet; type the same command again"
            )

    def remove(self, md5s: Collection[str], uploads: Collection[str] = ()) -> None:
        """Delete objects and uploads; one that is not there counts as deleted.

        Raises:
            StorageError: one could not be deleted; those before it are gone.
        """
        paths = {md5: self.path(md5) for md5 in md5s}
        paths |= {name: f"{self.root}/{name}" for name in uploads}
        for number, (name, path) in enumerate(paths.items()):
            done = f"{number} of {len(paths)} objects were deleted from {self.shown}"
            with failing(f"{done}, then {name} could not be", AGAIN):
                with suppress(FileNotFoundError):
                    self.system.rm_file(path)
        storage.publish()

    def has(self, md5: str) -> bool:
        """Read an object and tell whether its bytes are right."""
        digest = hashlib.md5(usedforsecurity=False)
        self.system.invalidate_cache()
        with failing(f"object {md5} cannot be read back from {self.shown}"):
            try:
                with self.system.open(self.path(md5), "rb") as source:
                    while block := source.read(BLOCK):
                        digest.update(block)
            except FileNotFoundError:
                return False
        return digest.hexdigest() == md5

    @property
    def has_folders(self) -> bool:
        """Whether folders have to be made, and a file is there before it is whole."""
        return self.address.partition("://")[0] not in WHOLE_OR_NOT

    @property
    def shown(self) -> str:
        """The address without a login."""
        return storage.masked(self.address)


def here() -> Objects:
    """Open the storage that .dvc/config names, up to date."""
    storage.fresh()
    address = storage.url()
    system, root = storage.filesystem(address)
    return Objects(address, system, root.rstrip("/"))


class failing:  # noqa: N801
    """Turns whatever the package of a cloud raises into one sentence."""

    def __init__(self, sentence: str, way_out: str = "") -> None:
        """Keep how the sentence begins, and how it ends."""
        self.sentence, self.way_out = sentence, way_out

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Raise StorageError in place of an error of a package's own."""
        if isinstance(error, Exception) and not isinstance(error, StorageError):
            problem = f"{self.sentence}: {storage.reason(error)}{self.way_out}"
            raise StorageError(storage.masked(problem)) from error


def _unfinished(name: str) -> bool:
    """Tell whether a file is what an interrupted transfer of an object left."""
    return name.endswith(PART) or bool(BROKEN_OFF.fullmatch(name))


def _written(entry: Mapping[str, Any]) -> datetime | None:
    """Return when a file was written, as each kind of storage says it; None if none."""
    for name in ("LastModified", "last_modified", "updated", "mtime"):
        value = entry.get(name)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
    return None


def _md5_of(file: Path) -> str:
    """Return the md5 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()
