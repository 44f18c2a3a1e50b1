"""Whose the rows are: how many entities the intervals rest on, if a contract asks."""

import numpy as np

from mlgitops.judge.trial import Trial
from mlgitops.judgement import Entity, Refused

FEW = 30  # entities below which an interval is rough, whatever formula it is from


def add(trial: Trial) -> None:
    """Say by what the intervals are; warn of few entities, refuse one alone.

    Where the target is a class, each class needs entities of its own.

    Raises:
        Refused: an interval cannot be had.
    """
    if trial.clusters is None:
        return
    name, count = trial.contract.entity, int(trial.clusters.max()) + 1
    trial.found.entity = Entity(name, count)
    if trial.champion is None:
        return
    fewest, where = _fewest(trial, count)
    if fewest < 2:
        why = (
            f"the rows{where} are of one {name}: intervals by {name} need more of them"
        )
        raise Refused(
            "holdout_rows", why, value=fewest, operator=">=", limit=2, unit=name
        )
    if fewest < FEW:
        trial.found.cautions.append(
            f"Intervals are by {name}, and the rows{where} are of only {fewest}: with "
            f"fewer than {FEW} an interval is rough. Hold out more days, or decide "
            "with that in mind."
        )


def _fewest(trial: Trial, count: int) -> tuple[int, str]:
    """Return how many entities the rarest class has, and which that is."""
    if not trial.task.calibrated:  # the target is a number
        return count, ""
    places = trial.y.astype(np.int64)
    k = int(places.max()) + 1
    pairs = np.unique(np.asarray(trial.clusters) * k + places)
    each = np.bincount(pairs % k, minlength=k)
    rarest = int(each.argmin())
    names = trial.contract.classes or ("0", "1")
    return int(each[rarest]), f" where {trial.contract.target} is {names[rarest]}"
