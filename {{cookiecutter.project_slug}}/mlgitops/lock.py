"""Reads dvc.lock and the .dvc pointers: which data and outputs a commit has."""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import yaml

from mlgitops import git
from mlgitops.pipeline.schema import ContractError, mapping

FOLDERS = ("data", "example")  # where pointers to tracked files may lie
MD5 = re.compile(r"[0-9a-f]{32}")
CONFLICT = re.compile(rb"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)  # as git writes it
OUTPUTS = ("outs", "metrics", "plots")  # where a stage lists what it writes
LARGEST = 1 << 50  # bytes of an output
LONGEST = 255  # bytes of a file's name
MOST = 1000  # pointers of one commit


class LockError(Exception):
    """A dvc.lock or .dvc pointer is invalid, or does not track single files."""


@dataclass(frozen=True)
class Out:
    """One output of a stage, or one tracked file: its path, md5 and size."""

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
    """A dvc.lock: its own sha256, the outputs it lists, the md5 of what was read."""

    sha256: str
    outs: tuple[Out, ...]
    read: frozenset[str] = frozenset()

    def out(self, name: str) -> Out:
        """Return the file with that name.

        Raises:
            LockError: no stage has such an output.
        """
        for out in self.outs:
            if out.name == name:
                return out
        raise LockError(
            f"dvc.lock has no output {name}: a stage of dvc.yaml has to write it"
        )


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml: the paths that it reads, and those that it writes."""

    name: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    plain: bool = True  # nothing in it stands for other paths, or other stages


@lru_cache(8)
def parse(data: bytes) -> Lock:
    """Parse the bytes of a dvc.lock and check every value.

    Raises:
        LockError: it is not valid, tracks a folder, or a path leaves the repository.
    """
    stages = _mapping(_yaml(data, "dvc.lock").get("stages"), "dvc.lock")
    outs: list[Out] = []
    deps: list[object] = []
    for stage, body in stages.items():
        entries = _list(body, "outs", "dvc.lock")
        outs += [_out(str(stage), entry, "") for entry in entries]
        deps += _list(body, "deps", "dvc.lock")
    names = [out.name for out in outs]
    if len(names) != len(set(names)):
        raise LockError("two outputs in dvc.lock have the same file name: rename one")
    md5s = {str(dep.get("md5")) for dep in deps if isinstance(dep, dict)}
    read = frozenset(md5 for md5 in md5s if MD5.fullmatch(md5))
    return Lock(hashlib.sha256(data).hexdigest(), tuple(outs), read)


def read(path: str | Path = "dvc.lock") -> Lock | None:
    """Return the lock in the working tree, or None if there is none yet."""
    file = Path(path)
    return parse(file.read_bytes()) if file.is_file() else None


def at(ref: str, cwd: str | Path = ".") -> Lock | None:
    """Return the lock at a commit, or None if that commit has none."""
    data = git.show(ref, "dvc.lock", cwd)
    return None if data is None else parse(data)


def objects(count: int) -> str:
    """Return a number of objects as text."""
    return f"{count} object{'' if count == 1 else 's'}"


def pointers(ref: str | None = None, cwd: str | Path = ".") -> dict[str, Out]:
    """Return the files that .dvc pointers track, by path: here, or at a commit."""
    files: dict[str, bytes | None]
    if ref is None:
        paths = [p for folder in FOLDERS for p in Path(cwd, folder).glob("*.dvc")]
        files = {p.relative_to(cwd).as_posix(): p.read_bytes() for p in sorted(paths)}
    else:
        folders = [f"{folder}/" for folder in FOLDERS]
        names = git.run("ls-tree", "--name-only", "-z", ref, "--", *folders, cwd=cwd)
        pointers = [name for name in names.split("\0") if name.endswith(".dvc")]
        if len(pointers) > MOST:
            raise LockError(f"{ref} has {len(pointers):,} .dvc files, allowed {MOST:,}")
        files = {name: git.show(ref, name, cwd) for name in pointers}
    outs: dict[str, Out] = {}
    for name, data in files.items():
        folder = PurePosixPath(name).parent.as_posix()
        for entry in _list(_yaml(data or b"", name), "outs", name):
            out = _out("data", entry, folder)
            outs[out.path] = out
    return outs


def stages(ref: str | None = None, cwd: str | Path = ".") -> list[Stage]:
    """Return the stages of dvc.yaml, in its order: here, or at a commit."""
    file = Path(cwd, "dvc.yaml")
    data = git.show(ref, "dvc.yaml", cwd) if ref else file.read_bytes()
    try:
        document = yaml.safe_load(data or b"{}")  # the team's own: aliases are welcome
    except yaml.YAMLError as error:
        problem = str(error).splitlines()[0]
        raise LockError(f"dvc.yaml is not valid YAML: {problem}") from error
    bodies = _mapping(_mapping(document, "dvc.yaml").get("stages") or {}, "dvc.yaml")
    return [_stage(str(name), body) for name, body in bodies.items()]


def inputs(ref: str | None = None, cwd: str | Path = ".") -> list[Out]:
    """Return the tracked files that a stage of dvc.yaml reads: here, or at a commit."""
    deps = {dep for stage in stages(ref, cwd) for dep in stage.deps}
    return [out for path, out in pointers(ref, cwd).items() if path in deps]


def is_table(path: str) -> bool:
    """Tell whether a tracked file is data, and not a pretrained model (NAME.onnx)."""
    return not path.endswith(".onnx")


def read_by_stages(ref: str, cwd: str | Path = ".") -> Out:
    """Return the one tracked table that a stage of dvc.yaml reads, at a commit.

    Raises:
        LockError: the stages read no tracked file, or several.
    """
    outs = [out for out in inputs(ref, cwd) if is_table(out.path)]
    if len(outs) != 1:
        raise LockError(
            "the stages of dvc.yaml must depend on exactly one tracked file, found "
            f"{len(outs)}: list it under deps, and run `make setup` to track it"
        )
    return outs[0]


def _yaml(data: bytes, name: str) -> dict[str, object]:
    """Parse YAML that must be a mapping, and may be a stranger's: DVC writes no alias.

    A few aliases can stand for more entries than any memory holds.
    """
    if CONFLICT.search(data):
        raise LockError(f"{name} has a merge conflict: type `{_way_out(name)}`")
    try:
        return mapping(data, name)
    except ContractError as error:
        raise LockError(str(error)) from error


def _way_out(name: str) -> str:
    """Return the command that ends a conflict in a lock, or in a pointer."""
    if name == "dvc.lock":  # nothing needs it in git
        return f"git rm {name} && make repro"
    return f"git checkout origin/main -- {name}"


def _mapping(value: object, name: str) -> dict[str, object]:
    """Return the value if it is a mapping."""
    if not isinstance(value, dict):
        raise LockError(f"{name} does not have the structure of a DVC file")
    return value


def _stage(name: str, body: object) -> Stage:
    """Return a stage of dvc.yaml."""
    deps = _paths(body, "deps")
    outs = tuple(path for key in OUTPUTS for path in _paths(body, key))
    other = {"foreach", "matrix", "wdir"} & _mapping(body, "dvc.yaml").keys()
    plain = not other and not any("${" in path for path in (*deps, *outs))
    return Stage(name, deps, outs, plain)


def _paths(body: object, key: str) -> tuple[str, ...]:
    """Return the paths of a stage's list, whose entries may have options."""
    entries = _list(body, key, "dvc.yaml")
    named = (
        e for entry in entries for e in (entry if isinstance(entry, dict) else [entry])
    )
    return tuple(map(str, named))


def _list(body: object, key: str, name: str) -> list[object]:
    """Return the list under a key, which may be absent."""
    entries = _mapping(body, name).get(key) or []
    if not isinstance(entries, list):
        raise LockError(f"{name} does not have the structure of a DVC file")
    return entries


def _out(stage: str, entry: object, folder: str) -> Out:
    """Check one entry under ``outs``."""
    body = _mapping(entry, stage)
    name, md5, size = body.get("path", ""), body.get("md5", ""), body.get("size")
    if not isinstance(name, str) or not name.isprintable() or len(name) > 4 * LONGEST:
        raise LockError(f"{stage}: a path is not printable text, or too long")
    path = PurePosixPath(folder, name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise LockError(f"{stage}: {path} is outside the repository")
    if len(path.name.encode()) > LONGEST:
        raise LockError(f"{stage}: the name {path.name[:40]}... is too long")
    if isinstance(md5, str) and md5.endswith(".dir"):
        raise LockError(
            f"{stage}: {path} is a folder, not a single file: keep it "
            f"elsewhere, such as raw/{path.name}, and type `make data FILE=raw/"
            f"{path.name}`, which makes one file of it"
        )
    known = isinstance(md5, str) and MD5.fullmatch(md5)
    if not known or type(size) is not int or not 0 <= size < LARGEST:
        raise LockError(f"{stage}: {path} is not a single file with md5 and size")
    return Out(stage, path.as_posix(), str(md5), size)
