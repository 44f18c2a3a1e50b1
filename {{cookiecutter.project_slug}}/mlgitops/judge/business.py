"""What the decisions are worth, by main's section `business` of params.yaml."""

import math
from typing import Any

import msgspec
import numpy as np

from mlgitops import settings
from mlgitops.judge import compare
from mlgitops.judge.checks import MORE
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judge.tasks import Price
from mlgitops.judgement import Business, Check

ID = "business.min"
PER = 1_000  # decisions


def add(evaluation: Evaluation) -> None:
    """Add the worth per 1,000 decisions, and the best these predictions could be."""
    section = settings.business(evaluation.params, evaluation.contract)
    if section is None:
        return
    task, y, model = evaluation.task, evaluation.y, evaluation.challenger
    price = Price(section, evaluation.contract.classes)
    best = task.best(y, model.predictions, model.manifest, price)
    worth = PER * task.worth(y, model.decisions, price)
    business = Business(
        unit=section.unit,
        per=PER,
        challenger=float(worth.mean()),
        best=msgspec.structs.replace(best, best=PER * best.best),
    )
    if evaluation.champion is not None:
        before = PER * task.worth(y, evaluation.champion.decisions, price)
        gap = compare.mean_difference(
            before, worth, evaluation.rules.confidence, evaluation.groups
        )
        business = msgspec.structs.replace(
            business,
            champion=float(before.mean()),
            difference=gap.difference,
            low=gap.low,
            high=gap.high,
        )
    elif task.nothing is not None:
        nothing = PER * task.worth(y, np.full(len(y), task.nothing), price)
        gap = compare.mean_difference(
            nothing, worth, evaluation.rules.confidence, evaluation.groups
        )
        business = msgspec.structs.replace(
            business,
            nothing=float(nothing.mean()),
            difference=gap.difference,
            low=gap.low,
            high=gap.high,
        )
        evaluation.judgement.checks.append(_check(evaluation, gap, section.unit))
    evaluation.judgement.business = business


def _check(evaluation: Evaluation, gap: compare.Interval, unit: str) -> Check:
    """Return the check that a first version is worth more than doing nothing.

    Doing nothing is deciding no for every row. It is the lower end of the interval that
    has to be above it: what is probably worth less is not deployed to find out.
    """
    known = math.isfinite(gap.low) and math.isfinite(gap.high)
    fields: dict[str, Any] = {"value": gap.low, "interval": (gap.low, gap.high)}
    if not known:
        fields = {}
    target, rows = evaluation.contract.target, MORE[evaluation.split.split]
    if good := known and gap.low >= 0:
        reason = f"worth more than deciding 0 ({target}) for every row"
    elif known and gap.high < 0:
        reason = (
            f"worth less than deciding 0 ({target}) for every row, and no model is "
            "needed for that: look at train.threshold and at business"
        )
    else:
        reason = (
            f"not shown to be worth more than deciding 0 ({target}) for every row, as "
            f"the interval is too wide: {rows}, or look at train.threshold"
        )
    return Check(
        id=ID,
        title="Worth more than doing nothing",
        passed=bool(good),
        reason=reason,
        metric="business",
        statistic="lower bound",
        operator=">=",
        limit=0,
        estimate=gap.difference,
        unit=f"{unit} per {PER:,}",
        gate=True,
        **fields,
    )
