"""The sections of params.yaml that the stages read; pure.

Those of everyone else are in `mlgitops.settings`, so that a change of them makes no
stage run again. `params` is the parsed file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar

from mlgitops.pipeline.schema import (
    OWN,
    PARAMS,
    At,
    Between,
    Distinct,
    mapping,
    near,
    read,
)

FILE = At(PARAMS)
SECTIONS = (
    "prepare",
    "train",
    "evaluate",
    "experiment",
    "gates",
    "business",
    "fairness",
    "override",
    "compute",
    "monitor",
    "retrain",
    "deploy",
)
T = TypeVar("T")

Params = Mapping[str, Any]
Days = Annotated[float, Between(1e-3, 1e5)]
Share = Annotated[float, Between(0, 1)]
Columns = Annotated[tuple[str, ...], Distinct(1)]


@dataclass(frozen=True)
class Prepare:
    """How the rows are split by time."""

    holdout_days: Days
    train_days: Days


@dataclass(frozen=True)
class Train:
    """What is fitted on which columns; `threshold` is for the task binary."""

    seed: Annotated[int, Between(0, 2**32 - 1)]
    estimator: str
    columns: Columns
    parity: Share
    threshold: Share | None = None
    arguments: Mapping[str, Params] = field(default_factory=dict, metadata=OWN)
    section: Params = field(default_factory=dict, metadata=OWN)  # as it was written


@dataclass(frozen=True)
class Evaluate:
    """What the metrics need to be told."""

    bins: Annotated[int, Between(1, 1000)]


def load(text: str | bytes) -> dict[str, Any]:
    """Return the parsed params.yaml; its sections are not checked.

    Raises:
        SettingsError: it is not YAML, or holds no entries.
    """
    return mapping(text, PARAMS)


def prepare(params: Params) -> Prepare:
    """Return the section `prepare`; raises SettingsError, as all of these do."""
    return read(Prepare, *section(params, "prepare"))


def train(params: Params, task: str) -> Train:
    """Return the section `train`; sections in it are arguments of estimators."""
    from mlgitops.pipeline.task import TASKS  # it brings numpy, which some start before

    found, at = section(params, "train")
    if not isinstance(found, Mapping):
        return read(Train, found, at)
    names = set(Train.__dataclass_fields__)
    arguments = {
        str(name): read(dict[str, Any], value or {}, at.key(name))
        for name, value in found.items()
        if name not in names and (value is None or isinstance(value, Mapping))
    }
    plain = {name: value for name, value in found.items() if name not in arguments}
    needed = "threshold" in TASKS[task].needs
    if needed and "threshold" not in found:
        raise at.lacks("threshold")
    if not needed and "threshold" in found:
        raise at.key("threshold").error(
            f"is for the task binary, not {task}: remove the line"
        )
    return replace(read(Train, plain, at), arguments=arguments, section=dict(found))


def evaluate(params: Params) -> Evaluate:
    """Return the section `evaluate`."""
    return read(Evaluate, *section(params, "evaluate"))


def section(params: Params, name: str) -> tuple[Any, At]:
    """Return a section and where it stands.

    Raises:
        SettingsError: there is none.
    """
    if name not in params:
        misspelt(params)
        raise FILE.lacks(name)
    return params[name], FILE.key(name)


def misspelt(params: Params) -> None:
    """Refuse a section whose name is nearly a known one; others are a team's own."""
    for name in params:
        if name not in SECTIONS and (guess := near(name, SECTIONS)).startswith("did"):
            raise FILE.error(f"{name} is not known; {guess}")
