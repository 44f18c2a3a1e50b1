"""A first version has to be better than the same prediction for every row.

There is no champion to compare it with, and a value above the floor may be luck: what
counts is the end of the interval. A later version is held against the champion.
"""

import math

import numpy as np

from mlgitops.judge.checks import MORE
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judgement import Check
from mlgitops.metrics import PAIRED
from mlgitops.pipeline.schema import one_line
from mlgitops.rarest import rarest

ID, TITLE = "constant", "Better than a constant"


def add(evaluation: Evaluation) -> None:
    """Add the check, where nothing is compared with a champion."""
    if evaluation.champion is None:
        evaluation.judgement.checks.append(_check(evaluation))


def _check(evaluation: Evaluation) -> Check:
    """Return the check of the primary metric's gain on a constant prediction."""
    y, p = evaluation.y, evaluation.challenger.predictions
    constant = np.full(p.shape, float(y.mean()))
    compare, rules = PAIRED[evaluation.contract.task], evaluation.rules
    gain = compare(y, constant, p, rules.confidence, evaluation.groups)
    known = math.isfinite(gain.low) and math.isfinite(gain.high)
    good = bool(known and gain.low >= rules.constant.min)
    return Check(
        id=ID,
        title=TITLE,
        passed=good,
        reason=_reason(evaluation, good, gain.difference),
        metric=evaluation.task.primary_metric.key,
        statistic="lower bound",
        operator=">=",
        limit=rules.constant.min,
        value=gain.low if known else None,
        estimate=gain.difference,
        interval=(gain.low, gain.high) if known else None,
        gate=True,
    )


def _reason(evaluation: Evaluation, good: bool, gain: float) -> str:
    """Say what the interval shows, and what to do where it is too wide."""
    if good:
        return "better than the same prediction for every row"
    if gain < evaluation.rules.constant.min:
        return "no better than the same prediction for every row"
    y, contract = evaluation.y, evaluation.contract
    count = f"{len(y):,} rows"
    if evaluation.task.classifies:
        name, rows = rarest(y, contract.classes)
        count += f", of which {rows:,} have {contract.target} {one_line(name)},"
    more = MORE[evaluation.split.split]
    return (
        f"not shown to be better than the same prediction for every row: {count} "
        f"leave the interval too wide; {more}, or find columns that tell more"
    )
