"""Refuses code that a stage imports and dvc.yaml does not list.

Nothing would run again when it changes, and a verdict would stand for other code.
"""

from __future__ import annotations

import sys
from pathlib import Path
from posixpath import normpath

import yaml

from mlgitops.pipeline.schema import ContractError


def team() -> list[str]:
    """Return the files of the repository that this process has loaded.

    Not those of the machinery, which dvc.yaml lists by folder, of an environment that
    is in the repository, nor empty ones.
    """
    here, found = Path.cwd().resolve(), set()
    others = [here / "mlgitops"]
    for prefix in (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()):
        others += [prefix] if here in prefix.parents else []
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        file = Path(name).resolve() if name else here
        if here not in file.parents or not file.is_file() or not file.stat().st_size:
            continue
        inner = "site-packages" in file.parts
        if not inner and not any(other in file.parents for other in others):
            found.add(file.relative_to(here).as_posix())
    return sorted(found)


def demand_listed(stage: str) -> None:
    """Refuse a loaded file that is not among the deps of a stage.

    Raises:
        ContractError: with the file, and what to do.
    """
    file = Path("dvc.yaml")
    document = yaml.safe_load(file.read_bytes()) if file.exists() else {}
    try:
        deps = document["stages"][stage]["deps"]
    except (KeyError, TypeError):
        return  # not a stage that DVC runs
    if not isinstance(deps, list) or any("${" in str(dep) for dep in deps):
        return  # DVC knows what a template stands for
    listed = [normpath(str(dep)) for dep in deps]
    for path in team():
        if not any(path == dep or path.startswith(f"{dep}/") for dep in listed):
            raise ContractError(
                f"{path} is imported, and dvc.yaml does not list it, so that a change "
                f"of it would go unseen: add it to the deps of {stage} there, or move "
                "its code into the file that imports it"
            )
