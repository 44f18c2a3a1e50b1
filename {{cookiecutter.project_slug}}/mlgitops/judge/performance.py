"""How well the models do on the holdout: every measure, with paired intervals."""

from typing import Any

from mlgitops import metrics, settings
from mlgitops.judge import compare, gates
from mlgitops.judge.tasks import Pair
from mlgitops.judge.trial import Side, Trial


def add(trial: Trial) -> None:
    """Add the metrics, the headline, the curves, and the gates on them."""
    trial.found["metrics"] = _measures(trial)
    _headline(trial)
    bins, classes = settings.evaluate(trial.params).bins, trial.contract.classes
    for who, side in trial.sides.items():
        found = trial.task.curves(trial.y, side.scores, side.manifest, bins, classes)
        for name, curve in found.items():
            trial.found.setdefault(name, {})[who] = curve


def _headline(trial: Trial) -> None:
    """Add the headline of both, its floor, and what the difference shows."""
    y, rules, task, new = trial.y, trial.rules, trial.task, trial.challenger
    value = task.headline.value(y, new.scores)
    head: dict[str, Any] = {"metric": task.headline.key, "label": task.headline.label}
    head["challenger"] = value
    head |= dict.fromkeys(("champion", "difference", "low", "high"))
    head["confidence"] = rules.confidence
    trial.found["headline"] = head
    trial.checks.append(gates.floor(value, rules))
    trial.checks.append(gates.ceiling(value, rules))
    if task.calibrated:
        error = task.calibration_error(y, new.scores)
        trial.checks.append(gates.calibrated(error, rules))
    if trial.champion is None:
        trial.checks.append(gates.alone())
        return
    old = trial.champion
    found = metrics.PAIRED[task.name](*_pair(trial, old))
    head.update(found._asdict(), method="DeLong" if task.calibrated else "paired mean")
    trial.checks.append(gates.compared(found.difference, found.low, found.high, rules))
    right, righter = task.right(y, old.decisions), task.right(y, new.decisions)
    if right is not None and righter is not None:
        trial.found["mcnemar"] = compare.mcnemar(right, righter, trial.clusters)
    least = compare.smallest(found.low, found.high, rules.confidence)
    trial.found["power"] = {"smallest": least, "power": 0.8}


def _measures(trial: Trial) -> list[dict[str, Any]]:
    """Return every measure of both models, with the interval of its difference."""
    rows, y, task = [], trial.y, trial.task
    for measure in metrics.METRICS[task.name]:
        row: dict[str, Any] = {
            "key": measure.key,
            "name": measure.label,
            "better": measure.better,
            "champion": None,
        }
        for who, side in trial.sides.items():
            row[who] = measure.value(y, side.scores)
        if trial.champion:
            row |= task.difference(measure.key, _pair(trial, trial.champion))._asdict()
        rows.append(row)
    return rows


def _pair(trial: Trial, champion: Side) -> Pair:
    """Return what an interval is made of."""
    scores = (champion.scores, trial.challenger.scores)
    return Pair(trial.y, *scores, trial.rules.confidence, trial.clusters)
