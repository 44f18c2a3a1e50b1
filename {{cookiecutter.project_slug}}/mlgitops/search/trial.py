"""What a trial is: some settings instead of the current ones, and its scores; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from statistics import fmean, stdev
from typing import Any

from mlgitops.pipeline.manifest import text
from mlgitops.pipeline.schema import Entries, SettingsError
from mlgitops.pipeline.settings import Params
from mlgitops.space import UNFITTED
from mlgitops.table import yaml_lines

CURRENT = "current settings"
SAFE = re.compile(r"[A-Za-z0-9_-]([A-Za-z0-9._+-]{0,58}[A-Za-z0-9_-])?")  # of a git ref

Changes = Mapping[str, object]  # the path of a setting to the value to try


@dataclass(frozen=True)
class Trial:
    """Scores of one fit per fold; without any, the problem says why."""

    name: str
    changes: Changes
    scores: tuple[float, ...] = ()
    seconds: float = 0.0
    part: float = 1.0  # of the resource; 1 is all of it
    problem: str = ""

    @property
    def mean(self) -> float:
        """The number that trials are ranked by; the lowest where a fit failed."""
        return fmean(self.scores) if self.scores else float("-inf")

    @property
    def standard_error(self) -> float:
        """Of the mean of the folds."""
        return float(stdev(self.scores) / len(self.scores) ** 0.5)

    @property
    def ranked(self) -> bool:
        """Whether it was fitted, with all of the resource."""
        return bool(self.scores) and self.part == 1

    def at(self, part: float) -> Trial:
        """Return it with this part of the resource."""
        return replace(self, part=part)


def named(changes: Changes) -> Trial:
    """Return a trial that is not made yet, named after what it changes."""
    ends = [path.split(".")[-1] for path in changes]
    values = [_short(value) for value in changes.values()]
    pieces = [f"{end}-{v}" for end, v in zip(ends, values, strict=True)]
    name = ".".join(pieces) or CURRENT
    safe = SAFE.fullmatch(name) and ".." not in name and not name.endswith(".lock")
    if changes and not (safe and len(set(ends)) == len(ends)):
        name = f"trial-{digest(dict(changes))[:8]}"
    return Trial(name, changes)


def _short(value: object) -> str:
    """Return a value as a part of a name: the entries of a list joined by +."""
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def digest(document: object) -> str:
    """Return the sha256 of a document of plain values."""
    return sha256(text(document).encode()).hexdigest()


def changed(params: Params, changes: Changes) -> Params:
    """Return the settings with some of them changed."""
    for path, value in changes.items():
        params = _with(params, path.split("."), value)
    return params


def _with(entries: Params, keys: Sequence[str], value: object) -> Entries:
    """Return entries with the value of a path changed."""
    first, *rest = keys
    inner = _with(entries[first], rest, value) if rest else value
    return Entries({**entries, first: inner}, getattr(entries, "lines", {}))


def fitted_section(params: Params) -> dict[str, Any]:
    """Return what of `train` can change a fit.

    Arguments of an estimator that is not taken cannot: such trials are the same.
    """
    section = params["train"]
    taken = section["estimator"]
    return {
        name: value
        for name, value in section.items()
        if name not in UNFITTED and not (_arguments(params, name) and name != taken)
    }


def _arguments(params: Params, name: str) -> bool:
    """Tell whether an entry of `train` is an estimator's section."""
    from model import estimator

    names = {*estimator.CLASSIFIERS, *estimator.REGRESSORS}
    return name in names and name != "estimator"


def rewritten(source: str, changes: Changes) -> str:
    """Return params.yaml with these settings changed, every other line as it is.

    Raises:
        SettingsError: the file is written in a way that this cannot change.
    """
    result = source
    for path, value in changes.items():
        keys = path.split(".")
        lines = result.splitlines()
        if not (entry := yaml_lines.find(lines, keys)):
            raise SettingsError(
                f"params.yaml: {path} does not stand on a line of its own, so that a "
                "trial of it cannot be recorded: write one setting a line"
            )
        reason = re.search(r"\s+#.*$", lines[entry[0]])
        line = f"{keys[-1]}: {yaml_lines.scalar(value)}{reason[0] if reason else ''}"
        result = yaml_lines.put(result, keys, [line])
    return result
