"""The decision value: what decisions are worth, as a share of what they could be.

0 is the best decision that is the same for every row, 1 are perfect decisions: the
relative value of Richardson (2000), Quarterly Journal of the Royal Meteorological
Society 126(563). Having no unit, one margin suits any `business`, and still holds where
that section is removed: then main's threshold says which mistake costs more, and of
several classes each costs the same (`judge/tasks`, `implied_worth`). The numbers of a
regression decide nothing by themselves.
"""

import math
from typing import Any

import numpy as np

from mlgitops import settings
from mlgitops.judge import checks, compare
from mlgitops.judge.compare import Array, Interval
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judge.tasks import Price, Reference
from mlgitops.judgement import Check, DecisionValue, MetricResult

ID, LABEL = "decision_value", "Decision value"
Name = int | float | str  # of a decision
NOTHING = Check(
    id=f"{ID}.min",
    title=LABEL,
    passed=True,
    reason="nothing is decided: params.yaml has no section business",
    metric=ID,
    statistic="upper bound",
    operator=">=",
    limit=0,
)


def add(evaluation: Evaluation) -> None:
    """Add the decision value and the checks of it.

    Raises:
        SettingsError: by main's `business` one decision is the best for every row.
    """
    contract, params, task = evaluation.contract, evaluation.params, evaluation.task
    stated = settings.business(params, contract)
    threshold = None if stated else settings.train(params, contract.task).threshold
    if threshold in (0, 1):  # which says nothing of the ratio of costs
        threshold = None
    worth = stated or task.implied_worth(threshold, contract.classes)
    if worth is None:
        evaluation.judgement.checks.append(NOTHING)
        return
    price = Price(worth, contract.classes)
    reference = task.reference(evaluation.y, price)
    constant = _name(evaluation, reference.decision)
    gains = evaluation.each(
        lambda m: task.worth(evaluation.y, m.decisions, price) - reference.constant
    )
    found, gap = _compared(evaluation, gains, _span(reference, constant))
    evaluation.judgement.decision_value = DecisionValue(
        champion=found.champion,
        challenger=found.challenger,
        difference=found.difference,
        low=found.low,
        high=found.high,
        constant=constant,
        threshold=threshold,
        stated=stated is not None,
    )
    evaluation.judgement.checks += [
        _absolute(evaluation, constant, gap, stated is not None),
        checks.margin(found, evaluation.rules.decision_value.margin),
    ]


def _span(reference: Reference, constant: Name) -> Array:
    """Return what decisions on each row could gain on the constant one, [n]."""
    span = np.asarray(reference.perfect - reference.constant)
    if not span.mean() > 0:
        raise settings.SettingsError(
            f"params.yaml: by business no row has a better decision than {constant}; "
            "correct what decisions are worth, or remove the section"
        )
    return span


def _compared(
    evaluation: Evaluation, gains: dict[str, Array], span: Array
) -> tuple[MetricResult, Interval]:
    """Return the decision values and the interval of their difference.

    `gains` are on the constant decision, [n], whose value is 0: a first version is
    compared with that.
    """
    champion = gains.get("champion", np.zeros(len(span)))
    confidence, groups = evaluation.rules.confidence, evaluation.groups
    more, mean = gains["challenger"] - champion, float(span.mean())
    gap = compare.ratio_of_means(more, span, confidence, groups)
    known = math.isfinite(gap.low) and math.isfinite(gap.high)
    first = evaluation.champion is None
    result = MetricResult(
        id=ID,
        label=LABEL,
        better="higher",
        champion=None if first else float(champion.mean()) / mean,
        challenger=float(gains["challenger"].mean()) / mean,
        difference=None if first else gap.difference,
        low=gap.low if known else None,
        high=gap.high if known else None,
    )
    return result, gap


def _absolute(
    evaluation: Evaluation, constant: Name, gap: Interval, stated: bool
) -> Check:
    """Return the check that asks nothing of a champion.

    A model that decides the same for every row is refused: no model is needed for that.
    A first version is refused as well if it is shown to be worth less than the best
    decision of that kind. It need not be shown to be worth more, which takes more rows
    than many have. Against a champion the margin decides: in a bad season the better
    of two models may be worth less than the decision that was the best in hindsight.
    Nor is it asked for what no setting gives: the likeliest class, or the expected
    number, is decided whatever `business` states.
    """
    challenger, first = evaluation.challenger, evaluation.champion is None
    chosen = "threshold" in challenger.manifest
    hint = ": look at train.threshold" if chosen else ""
    decisions, rows = np.unique(challenger.decisions, return_counts=True)
    others = int(rows.sum() - rows.max())
    about: Any = {"title": LABEL, "gate": first}
    known = math.isfinite(gap.high)  # not from a single group
    if first and others and known and (chosen or not stated):
        shown = "worth more" if gap.low > 0 else "not shown to be worth less"
        rule = "refused only if the interval's upper bound is below 0"
        reasons = (
            f"{shown} than deciding {constant} for every row; {rule}",
            f"worth less than deciding {constant} for every row{hint}",
        )
        about |= {"metric": ID, "statistic": "upper bound"}
        ends = (gap.low, gap.high) if math.isfinite(gap.low) else None
        about |= {"estimate": gap.difference, "interval": ends}
        return checks.held(f"{ID}.min", gap.high, ">=", 0, reasons, **about)
    usual = _name(evaluation, decisions[rows.argmax()])
    reasons = (
        f"not every row is decided {usual}",
        f"decides {usual} for every row, and no model is needed for that{hint}",
    )
    return checks.held(f"{ID}.min", others, ">=", 1, reasons, unit="rows", **about)


def _name(evaluation: Evaluation, decision: float) -> Name:
    """Return a decision as the report shows it."""
    name = evaluation.task.truth(decision, evaluation.contract.classes)
    return float(f"{name:.4g}") if isinstance(name, float) else name
