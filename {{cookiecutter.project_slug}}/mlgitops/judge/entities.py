"""How many entities the intervals rest on, where a contract names one."""

import numpy as np

from mlgitops.judge.checks import MORE
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judgement import Entity, Refused
from mlgitops.rarest import rarest

FEW = 30  # entities below which an interval is rough, whatever its formula


def add(evaluation: Evaluation) -> None:
    """Add the number of entities; warn of few, refuse to compare on a single one.

    Where the target is a class, each class needs entities of its own.

    Raises:
        Refused: the intervals need two entities.
    """
    if evaluation.groups is None:
        return
    name, count = evaluation.contract.entity, int(evaluation.groups.max()) + 1
    evaluation.judgement.entity = Entity(name, count)
    if evaluation.champion is None:
        return
    fewest, condition = _fewest(evaluation, evaluation.groups)
    if fewest < 2:
        reason = (
            f"all rows{condition} belong to one {name}: intervals by {name} need two"
        )
        raise Refused(
            "holdout_rows", reason, value=fewest, operator=">=", limit=2, unit=name
        )
    if fewest < FEW and not _rare(evaluation):
        more = MORE[evaluation.split.split]
        more = f"{more[0].upper()}{more[1:]}"
        evaluation.judgement.cautions.append(
            f"Intervals are by {name}, and the rows{condition} belong to {fewest} of "
            f"them: with fewer than {FEW} an interval is rough. {more}, or decide with "
            "that in mind."
        )


def _rare(evaluation: Evaluation) -> bool:
    """Return whether a class has so few rows that the judge says more of them."""
    if not evaluation.task.classifies:
        return False
    return rarest(evaluation.y, evaluation.contract.classes).rows < FEW


def _fewest(evaluation: Evaluation, groups: np.ndarray) -> tuple[int, str]:
    """Return how many entities the class with the fewest has, and which that is."""
    if not evaluation.task.classifies:
        return int(groups.max()) + 1, ""
    classes = evaluation.y.astype(np.int64)
    k = int(classes.max()) + 1
    counts = np.bincount(np.unique(groups * k + classes) % k, minlength=k)
    least, contract = int(counts.argmin()), evaluation.contract
    label = (contract.classes or ("0", "1"))[least]
    return int(counts[least]), f" where {contract.target} is {label}"
