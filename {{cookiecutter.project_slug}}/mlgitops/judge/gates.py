"""The rules that can block a merge: the section ``gates`` of params.yaml is data.

A gate on a metric is its bounds: ``min`` and ``max`` of the challenger's value on the
holdout, ``margin`` of how much worse than the champion's it may be. Numbers in, checks
with reasons out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from mlgitops import metrics, settings
from mlgitops.judge.tasks import TASKS, Task
from mlgitops.judgement import TITLES, Check, Statistic
from mlgitops.pipeline.schema import Between, near, read

Positive = Annotated[float, Between(0)]
BOUNDS = ("min", "max", "margin")
WORDS = {  # of a metric's bound, where it passes and where not
    "calibration_error": (
        "a predicted probability is near the share observed",
        "the probabilities are far from the shares observed",
    )
}
LEAKS = (
    "too good to be true: a column probably knows the answer; look at what is known "
    "before the event"
)


@dataclass(frozen=True)
class Holdout:
    """How many rows decide, and how many models before the report warns of luck."""

    min_rows: Positive
    max_uses: Positive


@dataclass(frozen=True)
class SliceRule:
    """How many rows a slice needs, and how much worse it may be."""

    min_rows: Positive
    margin: Positive


@dataclass(frozen=True)
class Parity:
    """How far the exported file may be from the estimator."""

    max: Positive


@dataclass(frozen=True)
class Size:
    """How large a file may be."""

    max_mb: Positive


@dataclass(frozen=True)
class Latency:
    """How long a row may take, 99 of 100 times."""

    p99_max_ms: Positive


@dataclass(frozen=True)
class Rules:
    """What is not of one metric; none may be left out."""

    confidence: Annotated[float, Between(0.5, 0.999999)]
    holdout: Holdout
    slices: SliceRule
    parity: Parity
    model_size: Size
    latency: Latency
    artifact_size: Size


@dataclass(frozen=True)
class Gate:
    """The bounds of one metric."""

    metric: metrics.Metric
    bounds: settings.Bounds


@dataclass(frozen=True)
class Gates:
    """The section ``gates``; the first of ``metrics`` is the primary metric's."""

    task: Task
    metrics: tuple[Gate, ...]
    rules: Rules


RULES = tuple(Rules.__dataclass_fields__)
RESERVED = {*RULES, "fairness", "behaviour"}  # words of other ids


def parse(params: settings.Params, task: str) -> Gates:
    """Read the section ``gates``; a missing rule is an error, never open.

    Raises:
        SettingsError: a rule is missing, unknown, no number, or of no metric.
    """
    section, at = settings.section(params, "gates")
    if not isinstance(section, Mapping):
        raise at.wrong("entries such as `name: {min: 0.5}`", section)
    about, known = TASKS[task], _known(task)
    for name in section:
        if name not in RULES and name not in known:
            guess = near(name, [*known, *RULES])
            raise at.key(name).error(
                f"is neither a rule nor a metric of the task {task}; "
                f"{f'{guess} ' if guess.startswith('did') else ''}"
                f"the metrics are {', '.join(known)}"
            )
    rules = read(Rules, {n: v for n, v in section.items() if n in RULES}, at)
    for name, parts in {about.headline.key: BOUNDS, **about.gates}.items():
        if name not in section:
            raise at.lacks(name)
        for part in parts:
            if isinstance(section[name], Mapping) and part not in section[name]:
                raise at.key(name).lacks(part)
    first = [about.headline.key, *(n for n in section if n != about.headline.key)]
    named = [name for name in first if name in known]
    return Gates(
        about,
        tuple(
            Gate(known[n], settings.metric_bounds(section[n], at.key(n))) for n in named
        ),
        rules,
    )


def _known(task: str) -> dict[str, metrics.Metric]:
    """Return the metrics of a task by their keys, the team's own among them."""
    try:
        known = {metric.key: metric for metric in metrics.of(task)}
    except ValueError as error:
        raise settings.SettingsError(str(error)) from error
    if clash := sorted(RESERVED & set(known)):
        raise settings.SettingsError(
            f"model/metrics.py: {clash[0]} is the name of another rule; choose another"
        )
    return known


def bounds(gate: Gate, value: float, task: Task) -> list[Check]:
    """Hold the challenger's value on the holdout against the gate's min and max."""
    found = []
    for bound, limit in (("min", gate.bounds.min), ("max", gate.bounds.max)):
        if limit is not None:
            passed = value >= limit if bound == "min" else value <= limit
            found.append(_bound(gate.metric, bound, value, limit, bool(passed), task))
    return found


def _bound(
    metric: metrics.Metric,
    bound: str,
    value: float,
    limit: float,
    passed: bool,
    task: Task,
) -> Check:
    """Return the check of one bound: of how good a model is, or of leakage."""
    if quality(metric, bound):
        title, plain = metric.label, ("within its limit", "beyond its limit")
        good, poor = WORDS.get(metric.key, plain)
        if metric.key == task.headline.key:
            good, poor = task.good, task.poor
    else:
        side = "ceiling" if bound == "max" else "floor"
        title, poor = f"{metric.label}: leakage", LEAKS
        good = f"{'below' if bound == 'max' else 'above'} the leakage {side}"
    return Check(
        id=f"{metric.key}.{bound}",
        title=title,
        passed=passed,
        reason=good if passed else poor,
        metric=metric.key,
        value=value,
        operator=">=" if bound == "min" else "<=",
        limit=limit,
        gate=bound == "min" and metric.key == task.headline.key,
    )


def quality(metric: metrics.Metric, bound: str) -> bool:
    """Tell whether a bound says how good a model has to be; else it is of leakage.

    How good is a matter of judgement, and so is a margin; leakage is not.
    """
    return bound != {"higher": "max", "lower": "min"}[metric.better]


def margin(
    metric: metrics.Metric, margin: float, difference: float, low: float, high: float
) -> Check:
    """Not worse than the champion by more than the margin, on the same rows.

    The end of the difference's interval that speaks against the challenger is held
    against the margin: the lower one where higher is better, else the upper one.
    """
    up = metric.better == "higher"
    middle, worst, best = (difference, low, high) if up else (-difference, -high, -low)
    passed = bool(worst >= -margin)
    end: Statistic = "lower bound" if up else "upper bound"
    known = math.isfinite(low) and math.isfinite(high)
    return Check(
        id=f"{metric.key}.margin",
        title=f"{metric.label}: difference to the champion",
        passed=passed,
        reason=_compared(worst, best, passed, margin),
        metric=metric.key,
        statistic=end,
        value=(low if up else high) if known else None,
        operator=">=" if up else "<=",
        limit=-margin if up else margin,
        estimate=middle if up else -middle,
        interval=(low, high) if known else None,
        gate=True,
    )


def _compared(low: float, high: float, passed: bool, margin: float) -> str:
    """Say what an interval shows, in the direction in which higher is better."""
    if low > 0:
        return "better than the champion"
    if passed and high < 0:
        return f"worse than the champion, but by less than {margin}"
    if passed:
        return "no significant difference to the champion"
    if high < -margin:
        return f"worse than the champion by more than {margin}"
    if high < 0:
        return f"worse than the champion, possibly by more than {margin}"
    return f"not shown to be within {margin} of the champion: the interval is too wide"


def alone(metric: metrics.Metric) -> Check:
    """There is nothing to compare with yet."""
    return Check(
        id=f"{metric.key}.margin",
        title=f"{metric.label}: difference to the champion",
        passed=True,
        reason="no champion yet: only the absolute rules apply",
        metric=metric.key,
        gate=True,
    )


def at_most(
    rule: str, value: float, limit: float, words: tuple[str, str], unit: str = ""
) -> Check:
    """Return the check of a limit; ``words`` are those of passing and of failing."""
    passed = bool(value <= limit)
    return Check(
        id=rule,
        title=TITLES[rule],
        passed=passed,
        reason=words[not passed],
        value=value,
        operator="<=",
        limit=limit,
        unit=unit,
        gate=True,
    )


def rows(count: int, rules: Rules) -> Check:
    """Enough holdout rows to decide anything."""
    passed = count >= rules.holdout.min_rows
    return Check(
        id="holdout_rows",
        title=TITLES["holdout_rows"],
        passed=passed,
        reason="rows that neither model was trained on"
        if passed
        else "too few rows to decide on: hold out more days",
        value=count,
        operator=">=",
        limit=rules.holdout.min_rows,
        unit="rows",
        gate=True,
    )


def export(parity: Mapping[str, Any], golden: float, rules: Rules) -> Check:
    """The exported file answers as the estimator did when it was trained."""
    worst = max(float(parity["max_difference"]), golden)
    if not int(parity["rows"]) > 0:
        worst = math.inf  # nothing was compared
    words = (
        "the exported file answers as the estimator did",
        "the exported file does not answer as the estimator did",
    )
    return at_most("parity", worst, rules.parity.max, words)


def size(count: int, rules: Rules) -> Check:
    """The model file fits its budget."""
    words = ("fits the budget", "the model file is over its budget")
    return at_most("model_size", count / 1e6, rules.model_size.max_mb, words, "MB")


def latency(p99: float, rules: Rules) -> Check:
    """The exported file answers one row within its budget, 99 of 100 times."""
    words = ("answers in time", "one row takes longer than its budget")
    return at_most("latency", p99, rules.latency.p99_max_ms, words, "ms")
