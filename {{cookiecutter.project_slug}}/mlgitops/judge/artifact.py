"""Reads what `train` uploaded: bytes from a stranger, never run, never trusted."""

import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Annotated

import msgspec

from mlgitops import lock
from mlgitops.judgement import Refused
from mlgitops.lock import Lock

NOT_OUTPUTS = {"dvc.lock", "build.json", "contract.yaml"}
TRAINED = "train.parquet"  # the rows that a model was trained on
OUTS = {
    TRAINED,
    "holdout.parquet",
    "model.onnx",
    "manifest.json",
    "metrics.json",
}
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
SMALL = 1_000_000  # bytes; a lock, a contract or a manifest is a few kilobytes
CHUNK = 1 << 20
DAY = 86_400.0  # seconds: a build takes less
Commit = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{40})?\Z")]


class BuildRecord(msgspec.Struct, kw_only=True):
    """What build.json says of a run of `train`, as far as this judge reads it.

    A proposal that updates the machinery is built by the later one, which may say more.
    """

    schema: int
    pull_request: int
    head_sha: Commit
    base_sha: Commit
    merge_sha: Commit
    built_lock_sha256: str
    restored: bool
    stages_run: list[str]
    seconds: Annotated[float, msgspec.Meta(ge=0, le=DAY)]
    cpu: str


def unpack(data: bytes, folder: Path, limit: int) -> Lock:
    """Write the expected members into ``folder``; return the lock CI built.

    ``limit`` is the most bytes that all files may have together, unpacked.

    Raises:
        Refused: a member is missing, unexpected, too big, or not what the lock names.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _unpack(archive, folder, limit)
    except Refused:
        raise
    except Exception as error:  # zipfile's, zlib's, bz2's, lzma's have no common class
        if isinstance(error, OSError) and error.errno:
            raise  # of this machine, such as a full disk
        reason = f"the artifact is not a valid zip file: {error}"
        raise Refused("artifact", reason) from error


def _unpack(archive: zipfile.ZipFile, folder: Path, limit: int) -> Lock:
    """Check the table of contents first, then copy member by member."""
    members = archive.infolist()
    names = {member.filename for member in members}
    for name in names:
        if not NAME.fullmatch(name):
            raise Refused("artifact", f"the artifact holds a path, {name[:80]!r}")
    if len(names) != len(members) or len(names) > 50:
        raise Refused("artifact", "the artifact holds two files of one name")
    check_size("all files", sum(member.file_size for member in members), limit)
    if missing := sorted((NOT_OUTPUTS | OUTS) - names):
        raise Refused("artifact", f"the artifact lacks {', '.join(missing)}")
    _copy(archive, "dvc.lock", folder, SMALL)
    try:
        built = lock.parse((folder / "dvc.lock").read_bytes())
    except lock.LockError as error:
        raise Refused("lock", str(error)) from error
    outs = {out.name for out in built.outs}
    if missing := sorted(OUTS - outs):
        raise Refused("lock", f"the lock lacks {', '.join(missing)}")
    if unknown := sorted(names - NOT_OUTPUTS - outs):
        raise Refused("artifact", f"no stage of the lock wrote {', '.join(unknown)}")
    for name in names:
        small = name in NOT_OUTPUTS or name.endswith(".json")
        _copy(archive, name, folder, SMALL if small else limit)
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


def read_build(folder: Path) -> BuildRecord:
    """Return build.json, with the expected keys and types.

    Raises:
        Refused: it is anything else.
    """
    try:
        data = (folder / "build.json").read_bytes()
        return msgspec.json.decode(data, type=BuildRecord)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise Refused("artifact", f"build.json is not valid: {error}") from error


def _copy(archive: zipfile.ZipFile, name: str, folder: Path, limit: int) -> None:
    """Copy one member, never more bytes than the limit whatever its header says."""
    check_size(name, archive.getinfo(name).file_size, limit)
    size = 0
    with archive.open(name) as source, (folder / name).open("wb") as target:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            check_size(name, size, limit)
            target.write(chunk)


def check_size(name: str, size: int, limit: int) -> None:
    """Refuse a file of more bytes than the limit."""
    if size > limit:
        raise Refused(
            "artifact",
            f"the artifact is too big: {name} {size / 1e6:,.1f} MB, "
            f"allowed {limit / 1e6:,.1f} MB",
            value=size / 1e6,
            operator="<=",
            limit=limit / 1e6,
            unit="MB",
        )
