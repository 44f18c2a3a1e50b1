"""Refuses what a stage imports or reads, unless dvc.yaml lists it: code, files, params.

Nothing would run again when it changes, and a verdict would stand for another model.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from posixpath import normpath

import yaml

from mlgitops.pipeline.schema import PARAMS, ContractError


def team() -> list[str]:
    """Return the files of the repository that this process has loaded.

    Not those of the machinery, which dvc.yaml lists by folder, of an environment that
    is in the repository, nor empty ones.
    """
    here, found = Path.cwd().resolve(), set()
    others = [here / "mlgitops"]
    for prefix in (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()):
        others += [prefix] if here in prefix.parents else []
    for file in _loaded(str(here)):
        inner = "site-packages" in file.parts
        if not inner and not any(other in file.parents for other in others):
            found.add(file.relative_to(here).as_posix())
    return sorted(found)


def _loaded(root: str) -> Iterator[Path]:
    """Yield the files below a folder, not empty ones, of which modules were loaded.

    Without symbolic links.
    """
    here = os.getcwd()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        path = path and _resolved(os.path.join(here, path))
        if path and path.startswith(root + os.sep) and os.path.isfile(path):
            if os.path.getsize(path):
                yield Path(path)


@cache
def _resolved(path: str) -> str:
    """Return an absolute path as `os.path.realpath` does.

    Each folder and link is looked at once: modules are thousands, and `train` asks
    three times.
    """
    folder, name = os.path.split(path)
    if not name or name == "..":
        return os.path.realpath(path)
    whole = os.path.join(_resolved(folder), name)
    if not os.path.islink(whole):
        return whole
    target = os.path.join(os.path.dirname(whole), os.readlink(whole))
    return os.path.realpath(target) if os.path.islink(target) else _resolved(target)


def demand_listed(stage: str, *files: str) -> None:
    """Refuse a file that was loaded, or read, and is not among the deps of a stage.

    Raises:
        ContractError: with the file, and what to do.
    """
    deps = _listed(stage, "deps")
    if not isinstance(deps, list) or any("${" in str(dep) for dep in deps):
        return  # DVC knows what a template stands for
    listed = [normpath(str(dep)) for dep in deps]
    for path in (*team(), *files):
        if not any(path == dep or path.startswith(f"{dep}/") for dep in listed):
            how, other = "imported", ", or move its code into the file that imports it"
            if path in files:
                how, other = "read", ""
            raise ContractError(
                f"{path} is {how}, and dvc.yaml does not list it, so that a change "
                f"of it would go unseen: add it to the deps of {stage} there{other}"
            )


def demand_params(stage: str, section: str, reason: str) -> None:
    """Refuse a section of params.yaml that a stage reads and does not name.

    Raises:
        ContractError: with the line to write.
    """
    params = _listed(stage, "params") or []
    if _listed(stage, "deps") is None or "${" in str(params):
        return  # not a stage that DVC runs, or DVC knows what a template stands for
    for entry in params if isinstance(params, list) else []:
        keys = entry.get(PARAMS, ()) if isinstance(entry, dict) else [entry]
        if keys is None or section in keys:  # None: the whole file
            return
    raise ContractError(
        f"{reason}, so that the stage {stage} reads the section {section} of "
        f"{PARAMS}, and dvc.yaml does not say so: a change of it would go unseen; add "
        f"the line `- {section}` to the params of {stage} there"
    )


def _listed(stage: str, kind: str) -> object:
    """Return what dvc.yaml lists for a stage; None where DVC does not run it."""
    file = Path("dvc.yaml")
    document = yaml.safe_load(file.read_bytes()) if file.exists() else {}
    try:
        return document["stages"][stage][kind]
    except (KeyError, TypeError):
        return None
