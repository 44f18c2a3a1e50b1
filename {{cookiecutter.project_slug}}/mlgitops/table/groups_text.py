"""The section `fairness` that follows from SENSITIVE=: limits of gaps between groups.

What a gap may be is for people to decide. What is proposed is what a quick model shows
that does not read the sensitive columns, on rows that it did not see, and some room:
so that the first model is not refused, and a worse one is. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlgitops.table.baseline import predicted
from mlgitops.table.gates_text import Entry, number, smallest_slice
from mlgitops.table.guess import Guess
from mlgitops.table.problem import Warned
from mlgitops.table.target import Target
from mlgitops.table.typed import Measured, round_up
from mlgitops.table.yaml_lines import scalar

if TYPE_CHECKING:
    import pandas as pd

GROUPED = ("category", "boolean")  # types whose values are groups of people
EACH = 30  # rows of a group in the sample, with which its rate says something
ROOM = 1.5  # times what the quick model shows
LEAST = 0.05  # more than it shows; of a regression in standard deviations of the target
MEANING = {  # of each setting: what is compared, by the task's own words
    "selection_rate_max": "largest gap of how often a row is decided 1",
    "equalized_odds_max": "the same among rows that are 1, and among those that are 0",
    "error_rate_max": "largest gap of how often a decision is wrong",
    "mean_error_max": "largest gap of the mean error",
    "absolute_error_max": "the same of the mean absolute error",
}
OF_CLASSES = "largest gap of how often a class is decided"
Rate = tuple[str, np.ndarray, np.ndarray]  # setting, values [n], which count [n]


@dataclass(frozen=True)
class Groups:
    """The section, and what to say of each sensitive column."""

    entry: Entry
    warned: tuple[Warned, ...] = ()


def groups(
    measured: Measured,
    target: Target,
    inputs: Sequence[Guess],
    sensitive: Sequence[str],
    group: str = "",
) -> Groups:
    """Return the section for the sensitive columns that make groups; none without."""
    entry, warned = Entry(("fairness",)), []
    kinds = {guess.name: guess.type for guess in inputs}
    asked = [name for name in sensitive if kinds.get(name) in GROUPED]
    least = smallest_slice(measured.holdout)
    columns = [name for name in asked if _large(measured, name, least) > 1]
    for name in asked:
        if name not in columns:
            evidence = (
                f"fewer than two of its groups have {least} rows held out: nothing "
                "compares them"
            )
            warned.append(Warned(name, evidence, "add a section fairness later"))
    read = [guess for guess in inputs if guess.name not in sensitive]
    found = predicted(measured.sample, read, target, group) if columns else None
    if found is None:
        return Groups(entry, tuple(warned))
    y, values, rows = found
    rates = _rates(target, y, values)
    gaps: dict[str, float] = {}
    for name in columns:
        codes = _codes(measured.sample[name][rows])
        own = {setting: 0.0 for setting, _, _ in rates}
        for setting, each, included in rates:
            own[setting] = max(own[setting], _gap(codes, each, included))
        shown = ", ".join(f"{_short(s)} {gap:.2g}" for s, gap in own.items())
        evidence = (
            f"gaps between its groups, of a quick model that does not read it: {shown}"
            "; what they may be is for people to decide"
        )
        warned.append(Warned(name, evidence, "fairness in params.yaml"))
        gaps = {
            setting: max(gap, gaps.get(setting, 0.0)) for setting, gap in own.items()
        }
    spread = float(np.std(y)) if target.task == "regression" else 1.0
    return Groups(_entry(columns, least, gaps, target, spread), tuple(warned))


def _entry(
    columns: list[str],
    least: int,
    gaps: Mapping[str, float],
    target: Target,
    spread: float,
) -> Entry:
    """Return the section's lines."""
    listed = ", ".join(scalar(name) for name in columns)
    lines = [
        "fairness: # limits of the gaps between groups: some room above those of a "
        "quick model",
        f"  columns: [{listed}] # of contract.yaml; of a sensitive one no report has a "
        "group's name",
        f"  min_rows: {least} # of a group in the holdout; smaller groups are not "
        "compared",
    ]
    for setting, gap in gaps.items():
        meaning = MEANING[setting]
        if target.task == "multiclass" and setting == "selection_rate_max":
            meaning = OF_CLASSES
        shown = f"{gap:.2g}" if target.task == "regression" else f"{gap:.2f}"
        reason = f"{meaning}: a quick model has {shown}"
        lines.append(f"  {setting}: {number(_limit(gap, target, spread))} # {reason}")
    return Entry(("fairness",), tuple(lines))


def _limit(gap: float, target: Target, spread: float) -> float:
    """Return a limit above a gap, rounded upwards."""
    wide = max(ROOM * gap, gap + LEAST * spread)
    if target.task == "regression":
        return max(round_up(wide), 1e-6)
    return min(1.0, math.ceil(wide * 100 - 1e-9) / 100)


def _rates(target: Target, y: np.ndarray, values: np.ndarray) -> list[Rate]:
    """Return what the judge compares across groups; predictions are [n] or [n, k]."""
    every = np.ones(len(y), bool)
    if target.task == "regression":
        error = values - y
        return [
            ("mean_error_max", error, every),
            ("absolute_error_max", np.abs(error), every),
        ]
    if target.task == "binary":
        decided = (values >= target.threshold).astype(float)
        odds = "equalized_odds_max"
        return [
            ("selection_rate_max", decided, every),
            (odds, decided, y == 1),
            (odds, decided, y != 1),
        ]
    chosen = values.argmax(axis=1)
    wrong = ("error_rate_max", (chosen != y).astype(float), every)
    return [
        *(
            ("selection_rate_max", (chosen == k).astype(float), every)
            for k in range(values.shape[1])
        ),
        wrong,
    ]


def _gap(codes: np.ndarray, values: np.ndarray, included: np.ndarray) -> float:
    """Return the gap between the highest and the lowest group that has EACH rows."""
    rows = np.bincount(codes[included])
    sums = np.bincount(codes[included], values[included])
    means = (sums / np.maximum(rows, 1))[rows >= EACH]
    return float(means.max() - means.min()) if len(means) > 1 else 0.0


def _codes(column: pd.Series) -> np.ndarray:
    """Return each row's group as a number [n]; missing is one of them."""
    import pandas as pd

    return np.asarray(pd.factorize(column.astype(object), use_na_sentinel=False)[0])


def _large(measured: Measured, name: str, least: int) -> int:
    """Return how many groups of a column have so many rows in the holdout, about."""
    codes = _codes(measured.sample[name])
    share = measured.holdout / max(1, len(codes))
    return int((np.bincount(codes) * share >= least).sum())


def _short(setting: str) -> str:
    """Return a setting's name in words."""
    return setting.removesuffix("_max").replace("_", " ")
