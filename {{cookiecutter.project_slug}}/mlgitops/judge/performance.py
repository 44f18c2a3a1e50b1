"""How well the models do on the holdout: every metric, with paired intervals."""

import math

from msgspec.structs import replace

from mlgitops import metrics, settings
from mlgitops.judge import checks, compare
from mlgitops.judge.compare import Pair
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judgement import ByModel, MetricResult, Power

POWER = 0.8


def add(evaluation: Evaluation) -> None:
    """Add the metrics, the gates on them, what the difference shows, and the curves.

    Raises:
        SettingsError: a metric of the team's is not defined on these rows.
    """
    judgement, task, y = evaluation.judgement, evaluation.task, evaluation.y
    judgement.primary = task.primary_metric.key
    judgement.confidence = evaluation.rules.confidence
    try:
        results = {m.key: _result(evaluation, m) for m in metrics.of(task.name)}
    except ValueError as error:
        raise settings.SettingsError(str(error)) from error
    judgement.metrics = list(results.values())
    for gate in evaluation.gates.metrics:
        result, margin = results[gate.metric.key], gate.bounds.margin
        judgement.checks += checks.bounds(gate, result.challenger, task)
        if margin is not None:
            judgement.checks.append(checks.margin(result, margin))
    _add_significance(evaluation, results[judgement.primary])
    bins, classes = (
        settings.evaluate(evaluation.params).bins,
        evaluation.contract.classes,
    )
    judgement.curves = ByModel(
        **evaluation.each(
            lambda m: task.curves(y, m.predictions, m.manifest, bins, classes)
        )
    )


def _result(evaluation: Evaluation, metric: metrics.Metric) -> MetricResult:
    """Return one metric of both models, with the interval of its difference."""
    y, challenger = evaluation.y, evaluation.challenger.predictions
    result = MetricResult(
        id=metric.key,
        label=metric.label,
        better=metric.better,
        challenger=metric.value(y, challenger),
    )
    if evaluation.champion is None:
        return result
    champion = evaluation.champion.predictions
    confidence = evaluation.rules.confidence
    pair = Pair(y, champion, challenger, confidence, evaluation.groups)
    gap = evaluation.task.difference(metric.key, pair)
    known = math.isfinite(gap.low) and math.isfinite(gap.high)
    return replace(
        result,
        champion=metric.value(y, champion),
        difference=gap.difference,
        low=gap.low if known else None,
        high=gap.high if known else None,
        method=gap.method,
    )


def _add_significance(evaluation: Evaluation, primary: MetricResult) -> None:
    """Add what the differences of the decisions and of the primary metric show."""
    champion = evaluation.champion
    if champion is None or primary.low is None or primary.high is None:
        return
    y, judgement = evaluation.y, evaluation.judgement
    if evaluation.task.classifies:
        models, groups = (champion, evaluation.challenger), evaluation.groups
        before, after = (evaluation.task.correct(y, m.decisions) for m in models)
        judgement.mcnemar = compare.mcnemar(before, after, groups)
    ends, confidence = (primary.low, primary.high), evaluation.rules.confidence
    judgement.power = Power(compare.smallest(*ends, confidence, POWER), POWER)
