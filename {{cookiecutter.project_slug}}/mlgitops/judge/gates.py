"""The section ``gates`` of params.yaml: the rules that can block a merge, as data.

A gate on a metric is its bounds: ``min`` and ``max`` of the challenger's value on the
holdout, ``margin`` of how much worse than the champion's it may be.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from mlgitops import metrics, settings
from mlgitops.judge.tasks import TASKS, Task
from mlgitops.pipeline.schema import Between, Distinct, convert, near, refuse_unknown

Positive = Annotated[float, Between(0)]
BOUNDS = ("min", "max", "margin")


@dataclass(frozen=True)
class Holdout:
    """The fewest rows, and the most models before the report warns of luck.

    `min_class_rows` are those of the rarest class, and `min_groups` the entities, where
    the contract names one.
    """

    min_rows: Positive
    max_uses: Positive
    min_class_rows: Positive = 10  # with fewer a metric of the classes is luck
    min_groups: Positive = 2  # an interval by entity needs two


@dataclass(frozen=True)
class ConstantRule:
    """How much better than the same prediction for every row a first version is.

    `min` is of the primary metric, and of the lower end of the interval.
    """

    min: Annotated[float, Between(0.001, 1)] = 0.01


@dataclass(frozen=True)
class DecisionRule:
    """How much less than the champion's the decisions may be worth, as a share."""

    margin: Positive


@dataclass(frozen=True)
class CoverageRule:
    """How often the truth has to be inside intervals or sets (`train.intervals`)."""

    min: Annotated[float, Between(0.01, 0.999)]


@dataclass(frozen=True)
class ShadowRule:
    """How many decisions may differ from the champion's on production's requests.

    `max_changed` is of the upper end of the interval; `min_rows` are predicted by both.
    """

    max_changed: Annotated[float, Between(0, 1)]
    min_rows: Annotated[float, Between(30)] = 1000


@dataclass(frozen=True)
class SliceRule:
    """The fewest rows of a slice, and how much worse it may be."""

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
    """The rules that are not of one metric; those with a default may be left out.

    `licences` are those, by SPDX, that a pretrained file may have.
    """

    confidence: Annotated[float, Between(0.5, 0.999999)]
    holdout: Holdout
    decision_value: DecisionRule
    slices: SliceRule
    parity: Parity
    model_size: Size
    latency: Latency
    artifact_size: Size
    constant: ConstantRule = ConstantRule()
    coverage: CoverageRule | None = None
    shadow: ShadowRule | None = None  # without it a shadow blocks nothing
    licences: Annotated[tuple[str, ...], Distinct(1)] = ()


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
RESERVED = {*RULES, "fairness", "behaviour"}  # names that a metric may not have


def parse(params: settings.Params, task_name: str) -> Gates:
    """Read the section ``gates``; a missing rule is an error.

    Raises:
        SettingsError: a rule is missing, unknown, not a number, or of no metric.
    """
    section, location = settings.section(params, "gates")
    if not isinstance(section, Mapping):
        raise location.wrong("entries such as `name: {min: 0.5}`", section)
    task, known = TASKS[task_name], _metrics(task_name)
    for name in section:
        if name not in RULES and name not in known:
            guess = near(name, [*known, *RULES])
            raise location.line(name, section).error(
                f"is neither a rule nor a metric of the task {task_name}; "
                f"{f'{guess} ' if guess.startswith('did') else ''}"
                f"the metrics are {', '.join(known)}"
            )
    rules = convert(Rules, {n: v for n, v in section.items() if n in RULES}, location)
    if rules.shadow and task_name == "regression":
        raise location.line("shadow", section).error(
            "is for decisions, and contract.yaml is for numbers: remove it; the report "
            "shows how far a shadow's numbers are from the champion's"
        )
    primary = task.primary_metric.key
    for name in section:
        if name in known and isinstance(section[name], Mapping):
            refuse_unknown(settings.Bounds, section[name], location.key(name))
    for name, required in {primary: BOUNDS, **task.required_gates}.items():
        if name not in section:
            raise location.lacks(name)
        for bound in required:
            if isinstance(section[name], Mapping) and bound not in section[name]:
                raise location.key(name).lacks(bound)
    names = dict.fromkeys([primary, *(name for name in section if name in known)])
    gates = (
        Gate(known[name], settings.metric_bounds(section[name], location.key(name)))
        for name in names
    )
    return Gates(task, tuple(gates), rules)


def _metrics(task_name: str) -> dict[str, metrics.Metric]:
    """Return the metrics of a task by their keys, the team's own among them."""
    try:
        known = {metric.key: metric for metric in metrics.of(task_name)}
    except ValueError as error:
        raise settings.SettingsError(str(error)) from error
    if clash := sorted(RESERVED & set(known)):
        raise settings.SettingsError(
            f"model/metrics.py: {clash[0]} is the name of another rule; choose another"
        )
    return known
