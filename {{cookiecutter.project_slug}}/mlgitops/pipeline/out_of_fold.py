"""Predictions of training rows by models that were not fitted on them; pure.

What is chosen by them sees no row of the holdout, and no row that it was learnt from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlgitops.pipeline import calibration, fitting
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import inputs
from mlgitops.pipeline.folds import SPLIT, Positions, folds
from mlgitops.pipeline.settings import Train
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 5  # with more, each model is nearer to the one that is fitted on all rows


class OutOfFold(NamedTuple):
    """Scores of the rows that were left out: those at `rows`, in this order."""

    rows: Positions
    scores: NDArray[np.float64]  # [n] or [n, k]
    method: calibration.Method  # of the estimator that gave them


def scores(
    frame: pd.DataFrame, contract: Contract, recipe: Train, calibrated: bool
) -> OutOfFold:
    """Return what models of the other folds say of each row that a fold leaves out.

    Probabilities; where they are calibrated, the scores before them, if there are any:
    those that scikit-learn calibrates.

    Raises:
        ContractError: too few rows; a fold to fit on lacks a class.
    """
    found: list[NDArray[np.float64]] = []
    method: calibration.Method = "predict_proba"
    split = folds(frame, contract, FOLDS, recipe.seed)
    left_out = np.concatenate([fold.left_out for fold in split])
    _demand_classes(frame.iloc[left_out], frame, contract, "what is left out")
    for fold in split:
        part = frame.iloc[fold.fit]
        part.attrs = {SPLIT: frame.attrs.get(SPLIT, "random")}
        _demand_classes(part, frame, contract, "a fold")
        pipeline = fitting.fit_rows(part, contract, recipe)
        method = calibration.scored_by(pipeline) if calibrated else "predict_proba"
        rows = frame.iloc[fold.left_out]
        X = fitting.table(inputs(rows, contract, recipe.columns))
        found.append(np.asarray(getattr(pipeline, method)(X), np.float64))
    return OutOfFold(left_out, np.concatenate(found), method)


def _demand_classes(
    part: pd.DataFrame, frame: pd.DataFrame, contract: Contract, name: str
) -> None:
    """Refuse a part of the training rows that lacks a class."""
    if lack := TASKS[contract.task].lacking(part[contract.target], contract.classes):
        raise ContractError(
            f"of the {len(frame):,} training rows, {name} of {len(part):,} has {lack} "
            f'of "{contract.target}": add data, or remove train.calibration and '
            "`threshold: best`"
        )
