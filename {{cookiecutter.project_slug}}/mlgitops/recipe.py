"""The recipe of a model: the sha256 of all that decides what the stages build.

Two commits with one recipe build the same model, whatever else differs between them. It
is read from git alone: the stages as dvc.yaml has them, the values of the params that
they name, git's hashes of the files and folders that they read, and DVC's of tracked
data. What one stage reads of another follows from that. The committed dvc.lock does not
count: it says what was built, not what is to be built.

Where that is not all that a stage may read (a template, a link, a submodule, a key that
is not where its name says), every file of the commit counts. Too much costs a verdict;
too little would let one verdict stand for two models.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from posixpath import normpath
from typing import Any

import yaml

from mlgitops import git, lock
from mlgitops.lock import LockError, Out

LOCK = "dvc.lock"
PARAMS = "params.yaml"
ATTRIBUTES = ".gitattributes"  # with which bytes git writes a file
COMMENTS = ("desc", "meta")  # of a stage: they decide nothing
KINDS = ("100644 ", "100755 ")  # of an entry of git that is a file, not a link
NUMBER = re.compile(r"[-+]?\.?\d")  # how one begins, in YAML 1.1 or 1.2
MOST = 1_000_000  # values, with those that aliases stand for
Files = Mapping[str, str]  # the files of a commit by path, each with its kind and hash


class _Unclear(Exception):
    """Git alone does not say what a stage reads there."""


def at(ref: str, cwd: str | Path = ".") -> str:
    """Return the recipe at a commit or tree.

    Raises:
        LockError: dvc.yaml, params.yaml or a pointer is not valid there, or a stage
            reads what is outside of the repository.
    """
    return _of(git.resolve(ref, cwd), cwd)


@lru_cache(16)  # a command asks several times, each for six processes of git
def _of(ref: str, cwd: str | Path) -> str:
    """Return the recipe at a commit or tree, named in full."""
    digest = hashlib.sha256()
    for part in _parts(_described(ref, cwd)):
        digest.update(part.encode())
    return digest.hexdigest()


def _described(ref: str, cwd: str | Path) -> object:
    """Return what a recipe is the hash of."""
    document = _yaml(git.show(ref, "dvc.yaml", cwd), "dvc.yaml")
    stages, files = lock.stages(ref, cwd), _files(ref, cwd)
    bodies = {n: _body(body) for n, body in (document.get("stages") or {}).items()}
    templates = any("${" in part for part in _parts(bodies))
    read = {_inside(dep) for stage in stages for dep in stage.deps}
    pointers = lock.pointers(ref, cwd)
    try:
        if templates or not all(stage.plain for stage in stages):
            raise _Unclear
        written = {normpath(out) for stage in stages for out in stage.outs}
        params = _yaml(git.show(ref, PARAMS, cwd), PARAMS)
        return {
            "stages": bodies,
            "params": _params(params, bodies.values(), files),
            "deps": {dep: _content(dep, files, pointers, written) for dep in read},
            "git": {p: f for p, f in files.items() if p.endswith(ATTRIBUTES)},
        }
    except _Unclear:
        return [document, files]


def _body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage of dvc.yaml without what only describes it."""
    return {key: value for key, value in body.items() if key not in COMMENTS}


def _inside(path: str) -> str:
    """Return a path in its shortest form, or refuse one outside of the repository.

    Raises:
        LockError: git does not have what is there, so that it may change unseen.
    """
    short = normpath(path)
    if "://" in path or short.startswith(("/", "../")) or short == "..":
        raise LockError(
            f"dvc.yaml: a stage reads {path}, which is not in this repository: copy it "
            "into data/ and type `dvc add`, or commit it"
        )
    return short


def _content(
    path: str,
    files: Files,
    pointers: Mapping[str, Out] | None = None,
    written: Iterable[str] = (),
) -> list[object]:
    """Return what a path has at a commit: of tracked data the hash that DVC gives.

    Of a folder its files, also the pointers to tracked data in it. Nothing is in git of
    what another stage writes.

    Raises:
        _Unclear: there is nothing, or a link or a submodule.
    """
    if pointers and (out := pointers.get(path)):
        return [out.md5, out.size]
    below = f"{path}/"
    found = {
        name: entry
        for name, entry in files.items()
        if name in (path, f"{path}.dvc") or name.startswith(below) or path == "."
    }
    if not all(entry.startswith(KINDS) for entry in found.values()):
        raise _Unclear
    if not found and not any(o == path or o.startswith(below) for o in written):
        raise _Unclear
    return [found]


def _params(
    document: Mapping[str, Any], bodies: Iterable[Mapping[str, Any]], files: Files
) -> dict[str, object]:
    """Return the values of all params that stages name, by file and key.

    Of a file that is not params.yaml, or is named whole, the hash; and where a key is
    not found, as DVC may find it in a list, or by a pattern.

    Raises:
        _Unclear: git has no such file.
    """
    values: dict[str, object] = {}
    for name, keys in (named for body in bodies for named in _named(body)):
        file = _inside(name)
        found = [_value(document, key) for key in keys] if file == PARAMS else []
        if not found or None in found:
            values[file] = _content(file, files)
        else:
            values |= {f"{file}:{k}": v for k, v in zip(keys, found, strict=True)}
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


def _value(document: object, key: str) -> list[object] | None:
    """Return the value of a dotted key, in a list, or None where it is not found."""
    for part in key.split("."):
        if not isinstance(document, dict) or part not in document:
            return None
        document = document[part]
    return [document]


def _files(ref: str, cwd: str | Path) -> dict[str, str]:
    """Return every file of a commit with its kind and hash, but not the lock."""
    lines = git.run("ls-tree", "-r", "-z", ref, cwd=cwd).split("\0")
    entries = (line.partition("\t") for line in lines if line)
    return {path: entry for entry, _, path in entries if path != LOCK}


class _AsWritten(yaml.SafeLoader):  # type: ignore[misc]  # it has no types
    """Reads YAML; of a value that YAML 1.1 and 1.2 may take differently, its text.

    PyYAML, which reads params.yaml here, has 1.1, and DVC 1.2: 010 is eight or ten.
    """


def _as_written(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> object:
    """Return the kind and the text of a number, of a date, or of true and false."""
    return (node.tag, node.value)


def _text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> object:
    """Return a text; one without quotes that begins like a number may be one."""
    if node.style is None and NUMBER.match(node.value):
        return (node.tag, node.value)
    return loader.construct_yaml_str(node)


for _kind in ("bool", "int", "float", "timestamp"):
    _AsWritten.add_constructor(f"tag:yaml.org,2002:{_kind}", _as_written)
_AsWritten.add_constructor("tag:yaml.org,2002:str", _text)


def _yaml(data: bytes | None, name: str) -> dict[str, Any]:
    """Parse a YAML file of the team that is a mapping; an absent one is empty."""
    try:
        document = yaml.load(data or b"{}", _AsWritten)  # noqa: S506, a SafeLoader
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
