"""A caution where a class has few rows: many rows in all do not help then."""

import numpy as np

from mlgitops.judge.checks import MORE
from mlgitops.judge.entities import FEW
from mlgitops.judge.evaluation import Evaluation
from mlgitops.metrics import PAIRED
from mlgitops.rarest import rarest


def add(evaluation: Evaluation) -> None:
    """Warn of a class with few rows, and say how little they tell."""
    if not evaluation.task.classifies:
        return
    y, contract, judgement = evaluation.y, evaluation.contract, evaluation.judgement
    name, rows = rarest(y, contract.classes)
    if rows >= FEW:
        return
    metric, known = evaluation.task.primary_metric, ""
    if (reach := _reach(evaluation)) and rows > 1:
        known = f": {metric.label} is only known to ±{reach:.2f}"
        known += f" ({judgement.confidence:.0%} interval)"
        if power := judgement.power:
            known += (
                f", and a difference below {power.smallest:.2f} between two models "
                "would probably not show"
            )
    judgement.cautions.append(
        f"Only {rows:,} of the {len(y):,} rows compared are {name} "
        f"({contract.target}){known}. With fewer than {FEW} of a class an interval is "
        f"rough: {MORE[evaluation.split.split]}, or decide with that in mind."
    )


def _reach(evaluation: Evaluation) -> float:
    """Return half of the interval of the challenger's primary metric.

    Compared with a constant score, which has no variance of its own.
    """
    p = evaluation.challenger.predictions
    pair = PAIRED[evaluation.contract.task](
        evaluation.y,
        np.zeros(p.shape),
        p,
        evaluation.rules.confidence,
        evaluation.groups,
    )
    return pair.high - pair.difference
