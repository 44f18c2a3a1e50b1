"""Reads what `train` uploaded: bytes from a stranger, never run, never trusted."""

import hashlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from mlgitops import lock
from mlgitops.judgement import Refused
from mlgitops.lock import Lock

BESIDE = {"dvc.lock", "build.json", "contract.yaml"}
OUTS = {
    "train.parquet",
    "holdout.parquet",
    "model.onnx",
    "manifest.json",
    "metrics.json",
}
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
SMALL = 1_000_000  # bytes; a lock, a contract or a manifest is a few kilobytes
CHUNK = 1 << 20
BUILD = {
    "schema": int,
    "pull_request": int,
    "head_sha": str,
    "base_sha": str,
    "merge_sha": str,
    "committed_lock_sha256": (str, type(None)),
    "built_lock_sha256": str,
    "restored": bool,
    "stages_run": list,
    "seconds": (int, float),
    "cpu": str,
}


def unpack(data: bytes, folder: Path, limit: int) -> Lock:
    """Write the expected members into ``folder``; return the lock CI built.

    ``limit`` is the most bytes that all files may have together, unpacked.

    Raises:
        Refused: a member is missing, unexpected, too big, or not what was named.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _unpack(archive, folder, limit)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise Refused(
            "artifact", f"the artifact is not a sound zip: {error}"
        ) from error


def _unpack(archive: zipfile.ZipFile, folder: Path, limit: int) -> Lock:
    """Check the table of contents first, then copy member by member."""
    members = archive.infolist()
    names = [member.filename for member in members]
    for name in names:
        if not NAME.fullmatch(name):
            raise Refused("artifact", f"the artifact holds a path, {name[:80]!r}")
    if len(names) != len(set(names)) or len(names) > 50:
        raise Refused("artifact", "the artifact holds two files of one name")
    total = sum(member.file_size for member in members)
    if total > limit:
        raise _too_big(total, limit)
    if missing := sorted((BESIDE | OUTS) - set(names)):
        raise Refused("artifact", f"the artifact lacks {', '.join(missing)}")
    _copy(archive, "dvc.lock", folder, SMALL)
    built = parse_lock((folder / "dvc.lock").read_bytes())
    if odd := sorted(set(names) - BESIDE - {out.name for out in built.outs}):
        raise Refused("artifact", f"no stage of the lock wrote {', '.join(odd)}")
    for name in names:
        small = name in BESIDE or name.endswith(".json")
        _copy(archive, name, folder, SMALL if small else limit)
    return built


def parse_lock(data: bytes) -> Lock:
    """Read a dvc.lock that must name every file a version consists of."""
    try:
        built = lock.parse(data)
    except lock.LockError as error:
        raise Refused("lock", str(error)) from error
    if missing := sorted(OUTS - {out.name for out in built.outs}):
        raise Refused("lock", f"the lock names no {', '.join(missing)}")
    return built


def check_objects(folder: Path, built: Lock) -> None:
    """Compare every file with the md5 and size in the lock.

    Raises:
        Refused: a file is missing or altered.
    """
    for out in built.outs:
        file = folder / out.name
        if not file.is_file():
            raise Refused("lock", f"{out.name} is in the lock but was not uploaded")
        with file.open("rb") as stream:
            md5 = hashlib.file_digest(stream, "md5").hexdigest()
        if md5 != out.md5 or file.stat().st_size != out.size:
            raise Refused("lock", f"{out.name} is not the file that the lock names")


def read_build(folder: Path) -> dict[str, Any]:
    """Return build.json, with the expected keys and types and no others.

    Raises:
        Refused: it is anything else.
    """
    try:
        build = json.loads((folder / "build.json").read_bytes())
    except (ValueError, RecursionError) as error:
        raise Refused("artifact", f"build.json is not JSON: {error}") from error
    if not isinstance(build, dict) or set(build) != set(BUILD):
        raise Refused("artifact", f"build.json has to hold {', '.join(BUILD)}")
    for key, kind in BUILD.items():
        if not isinstance(build[key], kind):  # type: ignore[arg-type]
            raise Refused("artifact", f"build.json: {key} has the wrong type")
    for key in ("head_sha", "base_sha", "merge_sha"):
        if not re.fullmatch(r"[0-9a-f]{40}|", build[key]):
            raise Refused("artifact", f"build.json: {key} is not a commit")
    return build


def _copy(archive: zipfile.ZipFile, name: str, folder: Path, limit: int) -> None:
    """Copy one member, never more bytes than the limit whatever its header says."""
    if archive.getinfo(name).file_size > limit:
        raise _too_big(archive.getinfo(name).file_size, limit, name)
    left = limit
    with archive.open(name) as source, (folder / name).open("wb") as target:
        while piece := source.read(CHUNK):
            left -= len(piece)
            if left < 0:
                raise _too_big(limit + 1, limit, name)
            target.write(piece)


def _too_big(found: int, limit: int, name: str = "all files") -> Refused:
    """Say which file is over which limit."""
    why = (
        f"the artifact is too big: {name} {found / 1e6:,.1f} MB, "
        f"allowed {limit / 1e6:,.1f} MB"
    )
    sizes: dict[str, Any] = {"value": found / 1e6, "limit": limit / 1e6}
    return Refused("artifact", why, operator="<=", unit="MB", **sizes)
