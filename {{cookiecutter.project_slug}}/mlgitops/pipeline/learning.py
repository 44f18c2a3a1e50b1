"""Fits the recipe of params.yaml: what is chosen from the training rows included; pure.

The model is fitted on all training rows. What is chosen beside it, a calibration and a
threshold, is chosen on predictions of rows that were left out of the fit in turn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlgitops.pipeline import fitting, out_of_fold, stopping, threshold
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.data import truth
from mlgitops.pipeline.settings import Train

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline


class Learned(NamedTuple):
    """A fitted pipeline, the recipe with what was chosen, and facts of the choice."""

    pipeline: Pipeline
    recipe: Train
    chosen: dict[str, Any]  # by the setting; into the manifest's `claimed`


def learn(frame: pd.DataFrame, contract: Contract, recipe: Train) -> Learned:
    """Return what the training rows give, in their order.

    Raises:
        ContractError: it cannot be fitted, or nothing can be chosen.
    """
    pipeline = fitting.fit_rows(frame, contract, recipe)
    method, worth = recipe.calibration, recipe.worth
    chosen: dict[str, Any] = {}
    if recipe.early_stopping:
        chosen["early_stopping"] = {"rounds": stopping.rounds(pipeline[-1])}
    if method is None and worth is None:
        return Learned(pipeline, recipe, chosen)
    left_out = out_of_fold.scores(frame, contract, recipe, method is not None)
    y, p = truth(frame, contract)[left_out.rows], left_out.scores
    if method:
        from mlgitops.pipeline import calibration

        calibrated = calibration.calibrate(left_out, y, method)
        p = calibration.out_of_fold_probabilities(calibrated)
        calibration.put_around(calibrated, pipeline)
    if worth is None:
        return Learned(pipeline, recipe, chosen)
    choice = threshold.best(np.asarray(y), p[:, 1], worth)
    facts = choice._asdict()
    found = facts.pop("threshold")
    return Learned(
        pipeline, replace(recipe, threshold=found), chosen | {"threshold": facts}
    )
