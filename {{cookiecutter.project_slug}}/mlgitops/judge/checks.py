"""What is compared with a limit: numbers in, checks with reasons out."""

import math
from collections.abc import Mapping
from typing import Any

from mlgitops.judge.gates import Gate, Rules
from mlgitops.judge.tasks import Task
from mlgitops.judgement import TITLES, Check, MetricResult, Operator
from mlgitops.metrics import Metric
from mlgitops.pipeline.schema import one_line
from mlgitops.rarest import Rarest

REASONS = {  # of a metric's bound, where it passes and where it fails
    "calibration_error": (
        "a predicted probability is near the share observed",
        "the probabilities are far from the shares observed: a simpler model, or the "
        "same one in CalibratedClassifierCV, comes nearer",
    )
}
MORE = {  # what to do where too few rows are held out, by the split
    "time": "hold out more days",
    "random": "raise prepare.holdout_share, or bring more rows",
    "group": "raise prepare.holdout_share, or bring more rows",
    "column": "hold out more parts (prepare.holdout), or bring more rows",
}
LEAKAGE = (
    "too good to be true: a column probably reveals the target; look at what is known "
    "before the event"
)


def held(
    check: str,
    value: float,
    operator: Operator,
    limit: float,
    reasons: tuple[str, str],
    **fields: Any,
) -> Check:
    """Return the check of a value against its limit.

    `reasons` are those of passing and of failing; `fields` are further ones of Check.
    """
    good = bool(value >= limit if operator == ">=" else value <= limit)
    numbers = {"value": value, "operator": operator, "limit": limit}
    fields = {"title": TITLES.get(check, ""), "gate": True, **numbers, **fields}
    return Check(id=check, passed=good, reason=reasons[not good], **fields)


def passed(check: str, reason: str, **fields: Any) -> Check:
    """Return the check of a rule that passed without a limit."""
    return Check(id=check, title=TITLES[check], passed=True, reason=reason, **fields)


def bounds(gate: Gate, value: float, task: Task) -> list[Check]:
    """Hold the challenger's value on the holdout against the gate's min and max."""
    limits = {"min": gate.bounds.min, "max": gate.bounds.max}
    return [
        _bound(gate.metric, bound, value, limit, task)
        for bound, limit in limits.items()
        if limit is not None
    ]


def _bound(metric: Metric, bound: str, value: float, limit: float, task: Task) -> Check:
    """Return the check of one bound: of how good a model is, or of leakage."""
    primary = metric.key == task.primary_metric.key
    title, low = metric.label, bound == "min"
    if bound == metric.leakage_bound:
        title = f"{metric.label}: leakage"
        ceiling = "above the leakage floor" if low else "below the leakage ceiling"
        reasons = (ceiling, LEAKAGE)
    elif primary:
        reasons = (task.floor_passed, task.floor_failed)
    else:
        reasons = REASONS.get(metric.key, ("within its limit", "beyond its limit"))
    return held(
        f"{metric.key}.{bound}",
        value,
        ">=" if low else "<=",
        limit,
        reasons,
        title=title,
        metric=metric.key,
        gate=low and primary,
    )


def margin(result: MetricResult, margin: float) -> Check:
    """Return the check that the challenger is not worse by more than the margin.

    The end of the difference's interval that speaks against the challenger is held
    against the margin: the lower one where higher is better, else the upper one.
    Without an interval it does not pass; without a champion there is nothing to hold.
    """
    title = f"{result.label}: difference to the champion"
    rising = result.better == "higher"
    about: Any = {"id": f"{result.id}.margin", "title": title, "metric": result.id}
    about |= {"operator": ">=" if rising else "<=", "gate": True}
    about |= {"limit": -margin if rising else margin}
    about |= {"statistic": "lower bound" if rising else "upper bound"}
    if result.difference is None:
        reason = "no champion yet: only the absolute rules apply"
        return Check(**about, passed=True, reason=reason)
    low = -math.inf if result.low is None else result.low
    high = math.inf if result.high is None else result.high
    worst, best = (low, high) if rising else (-high, -low)
    within = bool(worst >= -margin)
    known = math.isfinite(low) and math.isfinite(high)
    return Check(
        **about,
        passed=within,
        reason=_comparison(worst, best, within, margin),
        value=(low if rising else high) if known else None,
        estimate=result.difference,
        interval=(low, high) if known else None,
    )


def _comparison(low: float, high: float, within: bool, margin: float) -> str:
    """Say what an interval shows, in the direction in which higher is better."""
    if low > 0:
        return "better than the champion"
    if within and high < 0:
        return f"worse than the champion, but by less than {margin}"
    if within:
        return "no significant difference to the champion"
    if high < -margin:
        return f"worse than the champion by more than {margin}"
    if high < 0:
        return f"worse than the champion, possibly by more than {margin}"
    return f"not shown to be within {margin} of the champion: the interval is too wide"


def rows(count: int, rules: Rules, split: str = "time") -> Check:
    """Return the check that the holdout has enough rows to decide on."""
    reasons = (
        "rows that the models compared were not trained on",
        f"too few rows to decide on: {MORE[split]}",
    )
    limit = rules.holdout.min_rows
    return held("holdout_rows", count, ">=", limit, reasons, unit="rows")


def classes(rarest: Rarest, target: str, rules: Rules, split: str) -> Check:
    """Return the check that the holdout has enough rows of the rarest class."""
    about = f"rows where {target} is {one_line(rarest.name)}, the rarest class"
    limit = rules.holdout.min_class_rows
    reasons = (about, f"too few {about}: {MORE[split]}")
    fields = {"unit": "rows", "gate": False}
    return held("holdout_classes", rarest.rows, ">=", limit, reasons, **fields)


def groups(count: int, entity: str, rules: Rules, split: str) -> Check:
    """Return the check that the holdout has enough entities."""
    reasons = (
        f"the rows of each {entity} count as one",
        f"the rows belong to too few different {entity} to decide on: {MORE[split]}",
    )
    limit, fields = rules.holdout.min_groups, {"unit": entity, "gate": False}
    return held("holdout_groups", count, ">=", limit, reasons, **fields)


def export(parity: Mapping[str, float], golden: float, rules: Rules) -> Check:
    """Return the check that the exported file predicts what the estimator did."""
    worst = max(golden, float(parity["max_difference"]))  # NaN stays NaN
    if not int(parity["rows"]) > 0:
        worst = math.inf  # nothing was compared
    reasons = (
        "the exported file predicts what the estimator did, as the build claims",
        "the exported file does not predict what the estimator did",
    )
    return held("parity", worst, "<=", rules.parity.max, reasons)


def size(megabytes: float, rules: Rules) -> Check:
    """Return the check that the model file is small enough."""
    reasons = ("the model file is small enough", "the model file is too large")
    limit = rules.model_size.max_mb
    return held("model_size", megabytes, "<=", limit, reasons, unit="MB")


def latency(p99: float, slowest: tuple[float, str], rules: Rules) -> Check:
    """Return the check that one row is fast enough, 99 of 100 times.

    `slowest` are the milliseconds and name of a row that takes too long each time.
    """
    limit, (rare, row) = rules.latency.p99_max_ms, slowest
    reasons = ("one row is fast enough", "one row takes too long")
    if p99 <= limit < rare:
        p99, reasons = rare, (reasons[0], f"too slow each time: {row}")
    return held("latency", p99, "<=", limit, reasons, unit="ms")
