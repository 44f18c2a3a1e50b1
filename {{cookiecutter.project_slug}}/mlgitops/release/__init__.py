"""What register, deploy, rollback and audit share: how a version reaches a target."""

import os
from collections.abc import Mapping
from typing import Any

from mlgitops import git
from mlgitops.pipeline.contract import ContractError, mapping
from mlgitops.settings import Deploy, SettingsError, deploy

MAIN = "main"
Record = dict[str, Any]


class ReleaseError(Exception):
    """A version was refused or a step failed; the message says what to do."""


class TargetError(ReleaseError):
    """The target did not come up with the version: it has to be taken back."""


class HostError(TargetError):
    """The target's host is at fault: taken back too, but the version may return."""


def settings() -> Deploy:
    """Return the ``deploy`` section of params.yaml."""
    try:
        return deploy(_yaml("params.yaml"))
    except SettingsError as error:
        raise ReleaseError(str(error)) from error


def model_name() -> str:
    """Return the model's name, which is also the name of its versions."""
    name = _yaml("contract.yaml").get("name")
    if not name:
        raise ReleaseError("contract.yaml has no `name`: write the model's name there")
    return str(name)


def actor() -> str:
    """Return who started this run."""
    return os.environ.get("GITHUB_ACTOR") or git.run("config", "user.name", check=False)


def by_dispatch() -> bool:
    """Tell whether production waits for somebody who starts `deploy` by hand."""
    return os.environ.get("PRODUCTION_BY_DISPATCH", "").strip().lower() == "true"


def dispatched() -> bool:
    """Tell whether somebody started this run by hand."""
    return os.environ.get("GITHUB_EVENT_NAME") == "workflow_dispatch"


def on_main(commit: str) -> bool:
    """Tell whether a commit belongs to the main branch that origin has now."""
    tip = git.fetch_branch(MAIN)
    if tip is None:
        return False
    return git.run("merge-base", commit, tip, check=False) == commit


def base(commit: str, tip: str | None) -> str | None:
    """Return the commit of main, whose newest is ``tip``, that a version is from.

    A version's tag stands on it, or on a commit that only adds its dvc.lock.
    """
    if tip is None or git.run("merge-base", commit, tip, check=False) == commit:
        return tip and commit
    parents = git.run("rev-list", "--parents", "-1", commit, check=False).split()[1:]
    if parents != [git.run("merge-base", commit, tip, check=False)]:
        return None
    changed = git.run("diff-tree", "-r", "--name-only", parents[0], commit)
    return parents[0] if changed == "dvc.lock" else None


def _yaml(path: str) -> Mapping[str, Any]:
    """Read a YAML file of the working tree."""
    try:
        with open(path, encoding="utf-8") as file:
            return mapping(file.read(), path)
    except FileNotFoundError as error:
        sentence = f"{path} is not here: run this in the top folder of the repository"
        raise ReleaseError(sentence) from error
    except ContractError as error:
        raise ReleaseError(str(error)) from error
