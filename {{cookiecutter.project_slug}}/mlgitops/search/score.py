"""Scores settings by folds of the training rows; no holdout is known here."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    folds: Sequence[tuple[pd.DataFrame, pd.DataFrame]]  # to fit on, and left out
    searched: pd.DataFrame  # all rows of the folds
    confirming: pd.DataFrame  # no trial reads them


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
    parts = folds.folds(searched, contract, count, seed)
    pairs = [_pair(searched, fold) for fold in parts]
    for _, left_out in (*pairs, (searched, confirming)):
        if lack := TASKS[contract.task].lacking(
            left_out[contract.target], contract.classes
        ):
            raise ContractError(
                f"a fold of the training rows has {len(left_out):,} rows and {lack} "
                f'of "{contract.target}": take fewer folds (experiment.folds)'
            )
    return Rows(contract, seed, pairs, searched, confirming)


def _pair(rows: pd.DataFrame, fold: Fold) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to fit on, and those left out."""
    return _taken(rows, fold.fit), _taken(rows, fold.left_out)


def _taken(rows: pd.DataFrame, positions: folds.Positions) -> pd.DataFrame:
    """Return some rows, which know of which split they are."""
    part = rows.iloc[positions].reset_index(drop=True)
    part.attrs = dict(rows.attrs)
    return part


def make(trial: Trial, params: Params, rows: Rows, resource: str = ROWS) -> Trial:
    """Return the trial with its scores, or with the problem of its fits."""
    start = time.perf_counter()
    changes = dict(trial.changes)
    if resource != ROWS and trial.part < 1:
        whole = current(params, resource)
        assert isinstance(whole, int)
        changes[resource] = max(1, round(whole * trial.part))
    part = trial.part if resource == ROWS else 1.0
    try:
        recipe = settings.train(changed(params, changes), rows.contract.task)
        found = tuple(
            _score(_share(fit, rows.contract, part, rows.seed), left_out, rows, recipe)
            for fit, left_out in rows.folds
        )
        problem = "" if all(map(np.isfinite, found)) else "its score is not a number"
    except Exception as error:  # libraries have errors of their own
        found, problem = (), one_line(error)
    seconds = time.perf_counter() - start
    scores = () if problem else found
    return replace(trial, scores=scores, seconds=seconds, problem=problem)


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
