"""Reads dvc.lock and data/*.dvc: which bytes belong to a commit."""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import yaml

from mlgitops import git

FOLDERS = ("data", "example")  # where pointers to tracked files may lie
MD5 = re.compile(r"[0-9a-f]{32}")


class LockError(Exception):
    """A lock or pointer is not one that DVC writes for single files."""


@dataclass(frozen=True)
class Out:
    """One file that a stage wrote: where it lies and which bytes it holds."""

    stage: str
    path: str
    md5: str
    size: int

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Lock:
    """A dvc.lock: its own sha256 and the files it names."""

    sha256: str
    outs: tuple[Out, ...]

    def out(self, name: str) -> Out:
        """Return the file with that name.

        Raises:
            LockError: no stage wrote such a file.
        """
        for out in self.outs:
            if out.name == name:
                return out
        raise LockError(f"dvc.lock names no {name}: run `make repro` and commit it")

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages, in the order of the lock."""
        return tuple(dict.fromkeys(out.stage for out in self.outs))


@lru_cache(8)
def parse(data: bytes) -> Lock:
    """Read the bytes of a dvc.lock, trusting none of them.

    Raises:
        LockError: it is not YAML, names folders, or leaves the repository.
    """
    stages = _mapping(_yaml(data, "dvc.lock").get("stages"), "dvc.lock")
    outs: list[Out] = []
    for stage, body in stages.items():
        listed = _entries(_mapping(body, "dvc.lock"), "dvc.lock")
        outs += [_out(str(stage), entry, "") for entry in listed]
    names = [out.name for out in outs]
    if len(names) != len(set(names)):
        raise LockError("dvc.lock names two files alike: give each its own name")
    return Lock(hashlib.sha256(data).hexdigest(), tuple(outs))


def read(path: str | Path = "dvc.lock") -> Lock | None:
    """Return the lock in the working tree, or None if there is none yet."""
    file = Path(path)
    return parse(file.read_bytes()) if file.is_file() else None


def at(ref: str, cwd: str | Path = ".") -> Lock | None:
    """Return the lock at a commit, or None if that commit has none."""
    data = git.show(ref, "dvc.lock", cwd)
    return None if data is None else parse(data)


def named() -> list[Out]:
    """Return all that the working tree names: pointers of data/, then the lock."""
    locked = read()
    return [*pointers().values(), *(locked.outs if locked else ())]


def pointers(ref: str | None = None, cwd: str | Path = ".") -> dict[str, Out]:
    """Return what the pointers point to, by path; in the working tree or a commit."""
    if ref is None:
        files = {
            p.relative_to(cwd).as_posix(): p.read_bytes()
            for folder in FOLDERS
            for p in sorted(Path(cwd, folder).glob("*.dvc"))
        }
    else:
        folders = [f"{folder}/" for folder in FOLDERS]
        names = git.run("ls-tree", "--name-only", ref, "--", *folders, cwd=cwd)
        files = {
            name: git.show(ref, name, cwd) or b""
            for name in names.splitlines()
            if name.endswith(".dvc")
        }
    found: dict[str, Out] = {}
    for name, data in files.items():
        folder = PurePosixPath(name).parent.as_posix()
        for entry in _entries(_yaml(data, name), name):
            out = _out("data", entry, folder)
            found[out.path] = out
    return found


def read_by_stages(ref: str, cwd: str | Path = ".") -> Out:
    """Return the one tracked file that the stages of dvc.yaml read, at a commit.

    Raises:
        LockError: they read no tracked file, or several.
    """
    document = _yaml(git.show(ref, "dvc.yaml", cwd) or b"{}", "dvc.yaml")
    stages = _mapping(document.get("stages") or {}, "dvc.yaml").values()
    known = pointers(ref, cwd)
    deps = [dep for body in stages for dep in _listed(body, "deps")]
    if len(found := sorted(set(map(str, deps)) & set(known))) != 1:
        raise LockError(
            f"the stages of dvc.yaml have to read one tracked file, not {len(found)}: "
            "name it under deps, and run `make setup` to track it"
        )
    return known[found[0]]


def _listed(body: object, key: str) -> list[object]:
    """Return a list in a stage of dvc.yaml."""
    listed = _mapping(body, "dvc.yaml").get(key) or []
    return listed if isinstance(listed, list) else []


def _yaml(data: bytes, name: str) -> dict[str, object]:
    """Parse YAML that must be a mapping."""
    try:
        return _mapping(yaml.safe_load(data), name)
    except yaml.YAMLError as error:
        raise LockError(f"{name} is not YAML: {str(error).splitlines()[0]}") from error


def _mapping(value: object, name: str) -> dict[str, object]:
    """Return the value if it is a mapping."""
    if not isinstance(value, dict):
        raise LockError(f"{name} does not have the shape that DVC writes")
    return value


def _entries(body: dict[str, object], name: str) -> list[object]:
    """Return what stands under ``outs``."""
    listed = body.get("outs") or []
    if not isinstance(listed, list):
        raise LockError(f"{name} does not have the shape that DVC writes")
    return listed


def _out(stage: str, entry: object, folder: str) -> Out:
    """Check one entry under ``outs``."""
    body = _mapping(entry, stage)
    path = PurePosixPath(folder, str(body.get("path", "")))
    md5, size = str(body.get("md5", "")), body.get("size")
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise LockError(f"{stage} names {path}, which is outside the repository")
    if not MD5.fullmatch(md5) or not isinstance(size, int) or size < 0:
        raise LockError(f"{stage}: {path} is not a single file with md5 and size")
    return Out(stage, path.as_posix(), md5, size)
