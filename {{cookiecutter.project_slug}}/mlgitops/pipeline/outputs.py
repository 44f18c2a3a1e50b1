"""Refuses an optional file of a stage that dvc.yaml does not list among its outputs.

DVC would not keep it, and the judge would not see it.
"""

from __future__ import annotations

from pathlib import Path
from posixpath import normpath

import yaml

from mlgitops.pipeline.schema import ContractError


def demand_listed(stage: str, file: Path, setting: str, wanted: bool) -> None:
    """Refuse a dvc.yaml that lists a file which is not written, or does not list it.

    `setting` is the one that a stage writes the file by, and `wanted` whether it is on.

    Raises:
        ContractError: with the line to write, or to remove.
    """
    source, path = Path("dvc.yaml"), normpath(file.as_posix())
    document = yaml.safe_load(source.read_bytes()) if source.exists() else {}
    try:
        outs = document["stages"][stage]["outs"]
    except (KeyError, TypeError):
        return  # not a stage that DVC runs
    if not isinstance(outs, list):
        return  # DVC says so
    named = (name for out in outs for name in (out if isinstance(out, dict) else [out]))
    listed = path in [normpath(str(name)) for name in named]
    if wanted and not listed:
        raise ContractError(
            f"{setting} writes {path} as well, and dvc.yaml does not list it, so that "
            f"nobody would keep it: write the line `- {path}` there, below the outs of "
            f"{stage}"
        )
    if listed and not wanted:
        raise ContractError(
            f"dvc.yaml lists {path} among the outs of {stage}, and without {setting} "
            "nothing writes it: remove the line"
        )
