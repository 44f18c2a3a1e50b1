"""How well the models do on the holdout: every measure, with paired intervals."""

from typing import Any

import numpy as np

from ops.validate import compare, gates
from ops.validate.trial import Trial
from pipeline import metrics
from pipeline.contract import settings

CURVE = 40  # points of the ROC curve


def add(trial: Trial) -> None:
    """Add the metrics, the headline, the curves, and the gates on them."""
    y = trial.y.astype(np.float64)
    trial.found["metrics"] = _measures(trial, y)
    _headline(trial, y)
    bins = settings(trial.params, "evaluate")["bins"]
    curves: dict[str, dict[str, Any]] = {"calibration": {}, "roc": {}, "confusion": {}}
    for who, side in trial.sides.items():
        curves["calibration"][who] = metrics.calibration(y, side.scores, bins)
        curves["roc"][who] = metrics.roc_curve(y, side.scores, CURVE)
        threshold = side.manifest["threshold"]
        counts = metrics.confusion(y, side.scores, threshold)
        curves["confusion"][who] = {**counts, "threshold": threshold}
    trial.found.update(curves)


def _headline(trial: Trial, y: Any) -> None:
    """Add ROC AUC of both, its floor, and what the difference shows."""
    rules, new = trial.rules, trial.challenger
    auc = metrics.roc_auc(y, new.scores)
    head: dict[str, Any] = {"metric": "roc_auc", "label": "ROC AUC", "challenger": auc}
    head |= dict.fromkeys(("champion", "difference", "low", "high"))
    head["confidence"] = rules.confidence
    trial.found["headline"] = head
    error = metrics.calibration_error(y, new.scores)
    trial.checks.append(gates.floor(auc, rules))
    trial.checks.append(gates.ceiling(auc, rules))
    trial.checks.append(gates.calibrated(error, rules))
    if trial.champion is None:
        trial.checks.append(gates.alone())
        return
    old = trial.champion
    found = metrics.delong(y, old.scores, new.scores, rules.confidence)
    head.update(found._asdict(), method="DeLong")
    trial.checks.append(gates.compared(found.difference, found.low, found.high, rules))
    trial.found["mcnemar"] = compare.mcnemar(y, old.decisions, new.decisions)
    least = compare.smallest(found.low, found.high, rules.confidence)
    trial.found["power"] = {"smallest": least, "power": 0.8}


def _measures(trial: Trial, y: Any) -> list[dict[str, Any]]:
    """Return every measure of both models, with the interval of its difference."""
    rows = []
    for measure in metrics.MEASURES["binary"]:
        row: dict[str, Any] = {
            "key": measure.key,
            "name": measure.label,
            "better": measure.better,
            "champion": None,
        }
        for who, side in trial.sides.items():
            row[who] = measure.value(y, side.scores)
        if trial.champion:
            row |= _difference(trial, measure.key, y)._asdict()
        rows.append(row)
    return rows


def _difference(trial: Trial, key: str, y: Any) -> compare.Interval:
    """Return the paired interval that suits a measure."""
    assert trial.champion
    old, new = trial.champion.scores, trial.challenger.scores
    confidence = trial.rules.confidence
    if key == "roc_auc":
        found = metrics.delong(y, old, new, confidence)
        return compare.Interval(found.difference, found.low, found.high, "DeLong")
    if key == "log_loss":
        return compare.mean_difference(_loss(y, old), _loss(y, new), confidence)
    if key == "brier":
        return compare.mean_difference((old - y) ** 2, (new - y) ** 2, confidence)
    statistic: compare.Statistic = getattr(compare, key)
    return compare.bootstrap(statistic, y, old, new, confidence)


def _loss(y: Any, p: Any) -> Any:
    """Return the log loss of each row, clipped as `metrics.log_loss` does."""
    least = float(np.finfo(np.float32).eps)
    sure = np.clip(p, least, 1 - least)
    return -np.where(y == 1, np.log(sure), np.log1p(-sure))
