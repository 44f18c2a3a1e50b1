"""How well the models do on the holdout: every metric, with paired intervals."""

import math

from mlgitops import metrics, settings
from mlgitops.judge import compare, gates
from mlgitops.judge.tasks import Pair
from mlgitops.judge.trial import Trial
from mlgitops.judgement import ByModel, Check, McNemar, MetricResult, Power

POWER = 0.8


def add(trial: Trial) -> None:
    """Add the metrics, the gates on them, what the difference shows, and the curves.

    Raises:
        SettingsError: a metric of the team's cannot be found on these rows.
    """
    found, task = trial.found, trial.task
    found.primary, found.confidence = task.headline.key, trial.rules.confidence
    try:
        found.metrics = [_metric(trial, m) for m in metrics.of(task.name)]
    except ValueError as error:
        raise settings.SettingsError(str(error)) from error
    known = {metric.id: metric for metric in found.metrics}
    for gate in trial.gates.metrics:
        metric = known[gate.metric.key]
        found.checks += gates.bounds(gate, metric.challenger, task)
        if gate.bounds.margin is not None:
            found.checks.append(_margin(gate.metric, gate.bounds.margin, metric))
    _significance(trial, known[found.primary])
    bins, classes = settings.evaluate(trial.params).bins, trial.contract.classes
    found.curves = ByModel(
        **{
            who: task.curves(trial.y, side.scores, side.manifest, bins, classes)
            for who, side in trial.sides.items()
        }
    )


def _metric(trial: Trial, metric: metrics.Metric) -> MetricResult:
    """Return one metric of both models, with the interval of its difference."""
    y, new, old = trial.y, trial.challenger.scores, trial.champion
    found = MetricResult(
        id=metric.key,
        label=metric.label,
        better=metric.better,
        challenger=metric.value(y, new),
    )
    if old is None:
        return found
    pair = Pair(y, old.scores, new, trial.rules.confidence, trial.clusters)
    gap = trial.task.difference(metric.key, pair)
    known = math.isfinite(gap.low) and math.isfinite(gap.high)
    return MetricResult(
        id=metric.key,
        label=metric.label,
        better=metric.better,
        champion=metric.value(y, old.scores),
        challenger=found.challenger,
        difference=gap.difference,
        low=gap.low if known else None,
        high=gap.high if known else None,
        method=gap.method,
    )


def _margin(metric: metrics.Metric, margin: float, found: MetricResult) -> Check:
    """Return the check of a margin; without an interval it does not pass."""
    if found.difference is None:
        return gates.alone(metric)
    low = -math.inf if found.low is None else found.low
    high = math.inf if found.high is None else found.high
    return gates.margin(metric, margin, found.difference, low, high)


def _significance(trial: Trial, primary: MetricResult) -> None:
    """Add what the difference of the primary metric shows, and of the decisions."""
    if trial.champion is None or primary.low is None or primary.high is None:
        return
    y, (old, new) = trial.y, (side.decisions for side in trial.sides.values())
    right, righter = trial.task.right(y, old), trial.task.right(y, new)
    if right is not None and righter is not None:
        test = compare.mcnemar(right, righter, trial.clusters)
        trial.found.mcnemar = McNemar(**test)
    level = trial.rules.confidence
    least = compare.smallest(primary.low, primary.high, level, POWER)
    trial.found.power = Power(least, POWER)
