"""Marks a storage with the repositories that keep objects there.

An object that two repositories name is one object, so that `make prune` in one would
take it from the other. Each writes a small file with its name before it stores an
object; where there is another's, nothing is deleted. A branch needs none: it lies in
the repository itself.
"""

import re

from mlgitops import git, storage
from mlgitops.storage import StorageError
from mlgitops.store import objects
from mlgitops.store.objects import OWNERS, Listing, Objects, failing


def name() -> str:
    """Return owner/name of this repository by the address of origin, or nothing.

    It is the same for https and ssh, and however its letters are written.
    """
    url = git.run("remote", "get-url", "origin", check=False)
    parts = re.split(r"[/:]", url.rstrip("/").removesuffix(".git").lower())
    names = [re.sub(r"[^\w.-]", "-", part).strip(".") for part in parts]
    return "/".join([part for part in names if part][-2:])


def claim_here() -> None:
    """Write this repository's name into the storage that .dvc/config names.

    Raises:
        StorageError: it cannot be written.
    """
    if name() and not storage.branch_folder():
        claim(objects.here())


def claim(place: Objects) -> None:
    """Write this repository's name into a storage, unless it is there.

    Raises:
        StorageError: it cannot be written.
    """
    if not (own := name()):
        return
    path = f"{place.root}/{OWNERS}{own}"
    with failing(f"{path} cannot be written to {place.shown}"):
        if place.system.exists(path):
            return
        if place.has_folders:  # a cloud would look for its bucket, or make one
            place.system.makedirs(path.rpartition("/")[0], exist_ok=True)
        place.system.pipe_file(path, f"{own}\n".encode())


def refuse_others(place: Objects, contents: Listing) -> None:
    """Refuse to delete where another repository keeps objects, too.

    Raises:
        StorageError: which repository it is, and what can be done.
    """
    own = name()
    if others := sorted(contents.owners - {own}):
        raise StorageError(
            f"{others[0]} keeps objects in {place.shown}, too: what both name is one "
            "object there, so nothing is deleted. Give one of them storage of its own "
            f"(`make storage TO=...`), then delete the file {OWNERS}{others[0]} there. "
            f"By the address of `origin` this repository is {own or 'nameless'}: if "
            "it was renamed, type `git remote set-url origin` with its address of "
            "now, and delete the file with its name of before"
        )
