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
from mlgitops.judge.tasks.base import Manifest
from mlgitops.judgement import Business, Check, ChosenThreshold

ID = "business.min"
PER = 1_000  # decisions


def add(evaluation: Evaluation) -> None:
    """Add the worth per 1,000 decisions, and the best these predictions could be."""
    evaluation.judgement.chosen_threshold = _chosen(evaluation.challenger.manifest)
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
    others = {}  # what the worth is held against
    if evaluation.champion is not None:
        others["champion"] = evaluation.champion.decisions
    elif task.nothing is not None:
        others["nothing"] = np.full(len(y), task.nothing)
    for name, decisions in others.items():
        other = PER * task.worth(y, decisions, price)
        gap = compare.mean_difference(
            other, worth, evaluation.rules.confidence, evaluation.groups
        )
        ends = {"difference": gap.difference, "low": gap.low, "high": gap.high}
        known = {name: float(other.mean()), **ends}
        business = msgspec.structs.replace(business, **known)
        if name == "nothing":
            evaluation.judgement.checks.append(_check(evaluation, gap, section.unit))
    evaluation.judgement.business = business


def _chosen(manifest: Manifest) -> ChosenThreshold | None:
    """Return what a build says of the threshold that it chose (`threshold: best`)."""
    if "business" not in manifest:  # by the proposal's own params.yaml
        return None
    facts = manifest["claimed"]["threshold"]
    return ChosenThreshold(
        threshold=manifest["threshold"],
        rows=facts["rows"],
        worth=facts["worth"],
        per=PER,
        unit=manifest["business"]["unit"],
    )


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
