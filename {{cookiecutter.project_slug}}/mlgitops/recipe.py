"""The recipe of a model: the sha256 of all that decides what the stages build.

Two commits with one recipe build the same model, whatever else differs between them. It
is read from git alone: the stages as dvc.yaml has them, the values of the params that
they name, git's hashes of the files and folders that they read, and DVC's of tracked
data. What one stage reads of another follows from that. The committed dvc.lock does not
count: it says what was built, not what is to be built.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from mlgitops import git, lock
from mlgitops.lock import LockError, Out

LOCK = "dvc.lock"
PARAMS = "params.yaml"
COMMENTS = ("desc", "meta")  # of a stage: they decide nothing
ABSENT = "absent"
MOST = 1_000_000  # values, with those that aliases stand for


def at(ref: str, cwd: str | Path = ".") -> str:
    """Return the recipe at a commit or tree.

    Raises:
        LockError: dvc.yaml, params.yaml or a pointer is not valid there.
    """
    digest = hashlib.sha256()
    for part in _parts(_described(ref, cwd)):
        digest.update(part.encode())
    return digest.hexdigest()


def _described(ref: str, cwd: str | Path) -> object:
    """Return what a recipe is the hash of."""
    document = _yaml(git.show(ref, "dvc.yaml", cwd), "dvc.yaml")
    stages = lock.stages(ref, cwd)
    bodies = {n: _body(body) for n, body in (document.get("stages") or {}).items()}
    templates = any("${" in part for part in _parts(bodies))
    if templates or not all(stage.plain for stage in stages):
        return [document, _files(ref, cwd)]  # a template may stand for anything
    pointers = lock.pointers(ref, cwd)
    written = {out for stage in stages for out in stage.outs}
    read = {dep for stage in stages for dep in stage.deps} - written
    return {
        "stages": bodies,
        "params": _params(ref, bodies.values(), cwd),
        "deps": {path: _content(ref, path, pointers, cwd) for path in read},
    }


def _body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage of dvc.yaml without what only describes it."""
    return {key: value for key, value in body.items() if key not in COMMENTS}


def _content(
    ref: str, path: str, pointers: Mapping[str, Out], cwd: str | Path
) -> list[str | int]:
    """Return what a path has at a commit: of tracked data the hash that DVC gives.

    Of a folder also of the tracked data in it, as git has their pointers there.
    """
    name = PurePosixPath(path).as_posix()
    if out := pointers.get(name):
        return [out.md5, out.size]
    args = ("rev-parse", "-q", "--verify")
    hashes = (
        git.run(*args, f"{ref}:{each}", cwd=cwd, check=False)
        for each in (name, f"{name}.dvc")
    )
    return [next(filter(None, hashes), ABSENT)]


def _params(
    ref: str, bodies: Iterable[Mapping[str, Any]], cwd: str | Path
) -> dict[str, Any]:
    """Return the values of all params that stages name, by file and key.

    Of a file that is not params.yaml, or is named whole, the hash.
    """
    values: dict[str, Any] = {}
    document = _yaml(git.show(ref, PARAMS, cwd), PARAMS)
    for file, keys in (named for body in bodies for named in _named(body)):
        if file != PARAMS or not keys:
            values[file] = _content(ref, file, {}, cwd)
        else:
            values |= {f"{file}:{key}": _value(document, key) for key in keys}
    return values


def _named(body: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield files and keys of a stage's params: a key, or keys by file."""
    entries = body.get("params") or []
    if not isinstance(entries, list):
        raise LockError("dvc.yaml: the params of a stage are a list of keys")
    for entry in entries:
        if not isinstance(entry, dict):
            yield PARAMS, [str(entry)]
            continue
        for file, keys in entry.items():
            yield str(file), [str(key) for key in keys or ()]


def _value(document: object, key: str) -> object:
    """Return the value of a dotted key."""
    for part in key.split("."):
        if not isinstance(document, dict) or part not in document:
            return ABSENT
        document = document[part]
    return document


def _files(ref: str, cwd: str | Path) -> list[str]:
    """Return every file of a commit with its hash, but not the lock."""
    lines = git.run("ls-tree", "-r", ref, cwd=cwd).splitlines()
    return [line for line in lines if not line.endswith(f"\t{LOCK}")]


def _yaml(data: bytes | None, name: str) -> dict[str, Any]:
    """Parse a YAML file of the team that is a mapping; an absent one is empty."""
    try:
        document = yaml.safe_load(data or b"{}")
    except yaml.YAMLError as error:
        problem = str(error).splitlines()[0]
        raise LockError(f"{name} is not valid YAML: {problem}") from error
    if not isinstance(document, dict):
        raise LockError(f"{name} does not have the structure of a DVC file")
    return document


def _parts(value: object) -> Iterator[str]:
    """Yield a value as text that is the same for the same value, part by part.

    Raises:
        LockError: it is endless, or a few aliases stand for more than fits memory.
    """
    try:
        for number, part in enumerate(_walk(value)):
            if number > MOST:
                raise LockError("dvc.yaml and params.yaml have too many values")
            yield part
    except RecursionError as error:
        raise LockError("dvc.yaml or params.yaml is nested too deep") from error


def _walk(value: object) -> Iterator[str]:
    """Yield the parts of a value; entries of a mapping or set have no order."""
    if isinstance(value, dict):
        yield "{"
        for key in sorted(value, key=ascii):
            yield f"{key!a}:"
            yield from _walk(value[key])
        yield "}"
    elif isinstance(value, list | set):
        yield "["
        for item in sorted(value, key=ascii) if isinstance(value, set) else value:
            yield from _walk(item)
        yield "]"
    else:
        yield f"{value!a},"
