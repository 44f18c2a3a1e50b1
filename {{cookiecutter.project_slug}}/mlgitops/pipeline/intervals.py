"""Split conformal prediction: what is said beside a prediction, and how often it holds.

A part of the training rows is left out of the fit, as the split leaves rows out
(`folds.one_fold`). The errors of the exported file on them give a quantile:
Papadopoulos et al. (2002), ECML, LNCS 2430; Vovk et al. (2005), Algorithmic Learning in
a Random World; Lei et al. (2018), JASA 113(523). Of a number it is that of the absolute
error, and the interval is prediction +- quantile. Of classes it is that of the
probability of the true class, and the set has each class that is as probable: least
ambiguous sets, Sadinle et al. (2019), JASA 114(525), the smallest on average. Where a
row is like the calibration rows, the truth is inside with the promised chance; of each
true class, where the quantile is that of its own rows. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops.pipeline import folds
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.data import truth
from mlgitops.pipeline.schema import one_line
from mlgitops.pipeline.settings import FILE, Intervals, Train
from mlgitops.pipeline.task import Array

if TYPE_CHECKING:
    import pandas as pd

ABSOLUTE, SETS = "absolute residual", "least ambiguous sets"
METHODS = {"binary": SETS, "multiclass": SETS, "regression": ABSOLUTE}
LUCK, MORE = 0.05, 0.5  # as rarely, more than half of the promised misses come on top
MOST = 0.5  # of the training rows
NEAR = 1e-3  # of the quantile: on another processor, a class may be on the other side
Entry = Mapping[str, Any]  # `intervals` of a manifest


def parts(
    rows: pd.DataFrame, contract: Contract, recipe: Train
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training rows to fit on, and those to calibrate on, perhaps none.

    Raises:
        SettingsError: those to calibrate on are too few for the coverage.
    """
    rules = recipe.intervals
    if rules is None:
        return rows, rows.iloc[:0]
    fold = folds.one_fold(rows, contract, rules.share, recipe.seed)
    calibration = rows.iloc[fold.left_out]
    _demand(calibration, rows, contract, rules)
    return rows.iloc[fold.fit], calibration


def _demand(
    calibration: pd.DataFrame, rows: pd.DataFrame, contract: Contract, rules: Intervals
) -> None:
    """Refuse fewer calibration rows than the coverage needs; groups, where split so."""
    tables = calibration, rows
    counts = {"rows": (len(calibration), len(rows))}
    if rows.attrs.get(folds.SPLIT) == "group":
        left, every = (table[contract.entity].nunique() for table in tables)
        counts = {f"values of {contract.entity}": (left, every)}
    if rules.by_class:
        names = contract.classes or ("0", "1")
        of_class = [
            np.bincount(truth(table, contract).astype(int), minlength=len(names))
            for table in tables
        ]
        for name, left, every in zip(names, *of_class, strict=True):
            counts[f"rows of {contract.target} {one_line(name)}"] = (left, every)
    least = needed(rules.coverage)
    for noun, (left, every) in counts.items():
        if left >= least:
            continue
        share = max(math.ceil(100 * least / max(every, 1)) / 100, rules.share + 0.01)
        more = f"raise train.intervals.share to {share:.3g}"
        if share > MOST:
            more = f"bring more {noun}"
        problem = (
            f"calibrates on {left:,} {noun}, and coverage {rules.coverage:g} needs"
        )
        advice = f"{least:,}, as with fewer it is luck: {more}, or lower the coverage"
        raise FILE.key("train").key("intervals").error(f"{problem} {advice}")


@cache
def needed(coverage: float) -> int:
    """Return the fewest rows after which the coverage is not a matter of luck.

    Given n calibration rows, the coverage of new rows has the distribution
    Beta(k, n + 1 - k), k = ceil((n + 1) coverage): Vovk (2012), ACML 25. So many rows
    keep the misses, with 95 % probability, below 1.5 times those promised.
    """
    from scipy.special import betaincinv  # scipy.stats would take a second to import

    counts = np.arange(1, math.ceil(40 / (1 - coverage)))
    ranks = np.array([rank(int(n), coverage) for n in counts])
    finite = ranks <= counts
    counted = np.where(finite, ranks, 1)
    lowest = np.where(finite, betaincinv(counted, counts + 1 - counted, LUCK), 0)
    short = lowest < coverage - MORE * (1 - coverage)
    return int(counts[np.flatnonzero(short)[-1]]) + 1


def rank(count: int, coverage: float) -> int:
    """Return which of so many sorted errors bounds that share of new ones.

    That is ceil((n + 1) coverage): Lei et al. (2018).
    """
    return math.ceil(round((count + 1) * coverage, 9))


def entry(
    rules: Intervals, task: str, rows: object, found: object
) -> dict[str, object]:
    """Return the manifest's entry `intervals`, given the rows and their quantile."""
    return {
        "method": METHODS[task],
        "coverage": rules.coverage,
        "rows": rows,
        "quantile": found,
        "by_class": rules.by_class,
        "abstain": rules.abstain,
    }


def quantile(y: Array, p: Array, rules: Intervals, task: str) -> float | list[float]:
    """Return what bounds the promised share of new rows, from calibration rows.

    A number in the target's unit, or a probability for each class. `y` [n] and `p`, [n]
    or [n, k], are those of the metrics; p is float32, as it is served.
    """
    if METHODS[task] == ABSOLUTE:
        return _bound(np.abs(y - np.asarray(p, np.float64)), rules.coverage)
    unlike, count = -_of_truth(y, p), of_classes(p).shape[1]
    if not rules.by_class:
        return [-_bound(unlike, rules.coverage)] * count
    return [-_bound(unlike[y == c], rules.coverage) for c in range(count)]


def _bound(errors: Array, coverage: float) -> float:
    """Return the error that the promised share of new ones does not exceed."""
    return float(np.sort(errors)[rank(len(errors), coverage) - 1])


def of_classes(p: Array) -> Array:
    """Return the probability of each class, [n, k]; of a binary task, of 0 and 1."""
    p = np.asarray(p, np.float64)
    return p if p.ndim == 2 else np.column_stack([1 - p, p])


def _of_truth(y: Array, p: Array) -> Array:
    """Return the probability of the true class, [n]."""
    return np.asarray(of_classes(p)[np.arange(len(y)), np.asarray(y, np.int64)])


def covered(y: Array, p: Array, version: Entry) -> Array:
    """Return which targets are inside what the version says of them, bool [n]."""
    if version["method"] == ABSOLUTE:
        return np.asarray(np.abs(y - np.asarray(p, np.float64)) <= version["quantile"])
    bounds = np.array(version["quantile"])
    return np.asarray(_of_truth(y, p) >= bounds[np.asarray(y, np.int64)])


def sizes(p: Array, version: Entry) -> Array:
    """Return each interval's width, or how many classes each set has, float [n]."""
    if version["method"] == ABSOLUTE:
        return np.full(len(p), 2.0 * version["quantile"])
    members = of_classes(p) >= np.array(version["quantile"])
    return np.asarray(members.sum(axis=1), np.float64)


def golden(p: Array, contract: Contract, version: Entry) -> list[dict[str, object]]:
    """Return what golden rows have beside their prediction.

    A set of which a class is at the quantile is left out: see `NEAR`.
    """
    bound = version["quantile"]
    if version["method"] == ABSOLUTE:
        return [{"interval": [v - bound, v + bound]} for v in p.astype(float).tolist()]
    names: tuple[object, ...] = contract.classes or (0, 1)
    above = of_classes(p) - np.array(bound)
    near = (np.abs(above) < NEAR).any(axis=1)
    return [
        {} if unsure else {"set": [names[index] for index in np.flatnonzero(row >= 0)]}
        for row, unsure in zip(above, near, strict=True)
    ]
