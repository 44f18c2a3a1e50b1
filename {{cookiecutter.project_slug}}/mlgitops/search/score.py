"""Scores settings by folds of the training rows; no holdout is known here."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlgitops.metrics import METRICS, PAIRED, Difference
from mlgitops.pipeline import fitting, folds, settings
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import inputs, truth
from mlgitops.pipeline.folds import Fold
from mlgitops.pipeline.schema import one_line
from mlgitops.pipeline.settings import Params
from mlgitops.pipeline.sides import shares, text
from mlgitops.pipeline.task import TASKS, Array
from mlgitops.search.trial import Trial, changed
from mlgitops.space import ROWS, current

FEWEST = 100  # rows of a fit, whatever part of them successive halving takes


@dataclass(frozen=True)
class Rows:
    """The training rows: those of the folds, and those that confirm the choice."""

    contract: Contract
    seed: int  # of the folds, whatever seed a trial has
    count: int  # of the folds
    searched: pd.DataFrame  # all rows of the folds
    confirming: pd.DataFrame  # no trial reads them

    @cached_property
    def folds(self) -> Sequence[tuple[pd.DataFrame, pd.DataFrame]]:
        """Rows to fit on, and those left out."""
        parts = folds.folds(self.searched, self.contract, self.count, self.seed)
        return [_pair(self.searched, fold) for fold in parts]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a trial needs elsewhere: it cuts the folds there, from less."""
        state = {n: v for n, v in vars(self).items() if n != "folds"}
        return {**state, "confirming": self.confirming.iloc[:0]}


class Task(NamedTuple):
    """What all fits of a search share."""

    params: Params
    rows: Rows
    resource: str = ROWS  # what successive halving gives a part of


class FoldScore(NamedTuple):
    """What the fit of one fold gave."""

    score: float
    problem: str  # "" where there is none
    seconds: float


def divide(rows: pd.DataFrame, contract: Contract, count: int, seed: int) -> Rows:
    """Return `count` folds, and apart from them one part in `count` + 1 of the rows.

    These are left out as the split leaves the holdout out: the newest, other groups,
    or other rows. The trials do not see them, so that they say what the choice is
    worth, however many there were to choose from.

    Raises:
        ContractError: too few rows, times or groups.
    """
    apart = folds.one_fold(rows, contract, 1 / (count + 1), seed)
    searched, confirming = _taken(rows, apart.fit), _taken(rows, apart.left_out)
    divided = Rows(contract, seed, count, searched, confirming)
    for _, left_out in (*divided.folds, (searched, confirming)):
        if lack := TASKS[contract.task].lacking(
            left_out[contract.target], contract.classes
        ):
            raise ContractError(
                f"a fold of the training rows has {len(left_out):,} rows and {lack} "
                f'of "{contract.target}": take fewer folds (experiment.folds)'
            )
    return divided


def _pair(rows: pd.DataFrame, fold: Fold) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to fit on, and those left out."""
    return _taken(rows, fold.fit), _taken(rows, fold.left_out)


def _taken(rows: pd.DataFrame, positions: folds.Positions) -> pd.DataFrame:
    """Return some rows, which know of which split they are."""
    part = rows.iloc[positions].reset_index(drop=True)
    part.attrs = dict(rows.attrs)
    return part


def make(
    trial: Trial,
    params: Params,
    rows: Rows,
    resource: str = ROWS,
    begun: Iterable[FoldScore] | None = None,
) -> Trial:
    """Return the trial with its scores, or with the problem of its fits.

    `begun` gives what `score_fold` does for each fold, where others compute that.
    """
    if begun is None:
        task = Task(params, rows, resource)
        begun = map(partial(score_fold, task), fits(trial, rows))
    scores, seconds, problem = list[float](), 0.0, ""
    try:
        for found in begun:
            seconds, problem = seconds + found.seconds, found.problem
            if problem:
                break
            scores.append(found.score)
    except MemoryError:
        problem = "it needs more memory than there is"
    if not problem and not all(map(np.isfinite, scores)):
        problem = "its score is not a number"
    kept = () if problem else tuple(scores)
    return replace(trial, scores=kept, seconds=seconds, problem=problem)


def fits(trial: Trial, rows: Rows) -> list[tuple[Trial, int]]:
    """Return what a trial takes: itself with the number of each fold."""
    return [(trial, number) for number in range(rows.count)]


def score_fold(task: Task, fit: tuple[Trial, int]) -> FoldScore:
    """Return the primary metric of a trial on one fold, or the problem of its fit."""
    start, (trial, number), rows = time.perf_counter(), fit, task.rows
    changes, resource = dict(trial.changes), task.resource
    if resource != ROWS and trial.part < 1:
        whole = current(task.params, resource)
        assert isinstance(whole, int)
        changes[resource] = max(1, round(whole * trial.part))
    part = trial.part if resource == ROWS else 1.0
    fitted_on, left_out = rows.folds[number]
    found, problem = float("nan"), ""
    try:
        recipe = settings.train(changed(task.params, changes), rows.contract.task)
        shared = _share(fitted_on, rows.contract, part, rows.seed)
        found = _score(shared, left_out, rows, recipe)
    except MemoryError:  # a worker says that of itself
        raise
    except Exception as error:  # libraries have errors of their own
        problem = one_line(error) or type(error).__name__
    return FoldScore(found, problem, time.perf_counter() - start)


def _share(
    rows: pd.DataFrame, contract: Contract, part: float, seed: int
) -> pd.DataFrame:
    """Return a part of the rows, alike in each class; a larger part has a smaller's."""
    part = max(part, FEWEST / len(rows))
    if part >= 1:
        return rows
    hashes = shares(map(text, rows[contract.id]), seed)
    classes = np.zeros(len(rows), np.int64)
    if TASKS[contract.task].kind == "classifier":
        classes = pd.factorize(rows[contract.target])[0]
    ranks = pd.Series(hashes).groupby(classes).rank(method="first", pct=True)
    first = pd.Series(hashes).groupby(classes).rank(method="first") <= 1
    return _taken(rows, np.flatnonzero((ranks <= part) | first))


def predictions(
    fit: pd.DataFrame,
    left_out: pd.DataFrame,
    contract: Contract,
    recipe: settings.Train,
) -> Array:
    """Return the predictions of a model fitted on some rows, for others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one about each fit would hide the table
        fitted = fitting.fit(fit, contract, recipe)
        table = fitting.table(inputs(left_out, contract, recipe.columns))
        return TASKS[contract.task].fitted(fitted, table)


def _score(
    fit: pd.DataFrame, left_out: pd.DataFrame, rows: Rows, recipe: settings.Train
) -> float:
    """Return the primary metric of one fold."""
    p = predictions(fit, left_out, rows.contract, recipe)
    metric = METRICS[rows.contract.task][0]
    return float(metric.value(truth(left_out, rows.contract), p))


def confirm(
    trial: Trial, params: Params, rows: Rows, confidence: float
) -> tuple[Difference, float]:
    """Return the trial minus the current settings on the rows kept apart, and seconds.

    Both are fitted on all rows of the folds. Interval: as the judge's, of this pair.
    """
    start = time.perf_counter()
    pair = []
    for changes in ({}, trial.changes):
        recipe = settings.train(changed(params, changes), rows.contract.task)
        pair.append(predictions(rows.searched, rows.confirming, rows.contract, recipe))
    y, entity = truth(rows.confirming, rows.contract), rows.contract.entity
    groups = pd.factorize(rows.confirming[entity])[0] if entity else None
    difference = PAIRED[rows.contract.task](y, *pair, confidence, groups)
    return difference, time.perf_counter() - start
