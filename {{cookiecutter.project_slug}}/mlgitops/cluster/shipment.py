"""What workers get and must have: the code of a run, and versions of packages."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from mlgitops import git

PACKAGE = Path(__file__).parents[1]
MODEL = Path("model")  # the team's, with files that it reads
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date of a ZIP: the same files, the same bytes
LISTED = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==")


class Shipment(NamedTuple):
    """The code as one file, named by its hash, and packages with their versions."""

    code: bytes
    sha256: str
    packages: dict[str, str]


def shipment(packages: Sequence[str]) -> Shipment:
    """Return what a run of this code needs on a worker.

    Packages that are not installed here are not demanded there.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(dict(_files()).items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), path.read_bytes())
    code = file.getvalue()
    return Shipment(code, sha256(code).hexdigest(), installed(packages))


def _files() -> Iterator[tuple[str, Path]]:
    """Yield the machinery's modules, and the team's files, by their names in it."""
    for path in PACKAGE.rglob("*.py"):
        yield f"mlgitops/{path.relative_to(PACKAGE).as_posix()}", path
    for path in _model():
        hidden = any(part.startswith((".", "__pycache__")) for part in path.parts)
        if path.is_file() and not hidden:
            yield path.as_posix(), path


def _model() -> Iterator[Path]:
    """Yield what Git has of `model/` or would take, and data that DVC brings there.

    What Git ignores stays here, as it may be a login, and so does what a link names
    that leads out of the repository.

    Raises:
        GitError: Git cannot say it.
    """
    if not Path(".git").exists():
        yield from MODEL.rglob("*")
        return
    home = Path.cwd().resolve()
    for name in filter(None, git.run(*LISTED, "--", MODEL.name).split("\0")):
        path = Path(name)
        if path.resolve().is_relative_to(home):
            yield path
        if path.suffix == ".dvc":  # its data may be a link into a cache elsewhere
            data = path.with_suffix("")
            yield from (data, *data.rglob("*"))


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Return the version of each of these packages that is installed here."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def locked(group: str) -> list[str]:
    """Return the packages that a group's lock names; none without the file."""
    for folder in (Path("requirements"), PACKAGE / "requirements"):
        if (file := folder / f"{group}.txt").is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            return [found[1] for line in lines if (found := PIN.match(line))]
    return []
