"""The record of one monitoring run: what the ledger keeps; aggregates only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlgitops.metrics import METRICS
from mlgitops.monitor.checks import Drift
from mlgitops.monitor.decide import Decision, Evidence, fell
from mlgitops.monitor.estimate import CALIBRATED
from mlgitops.monitor.inspect import Window
from mlgitops.settings import Monitor

Check = dict[str, Any]
Record = dict[str, Any]
YEAR = 365.25  # days
PASSING = ("seq", "time", "run_url")  # differ between runs that found the same


def build(
    version: str, manifest_sha256: str, window: Window, decision: Decision, limits: Monitor
) -> Record:
    """Return the record, without ``seq``, ``time`` and ``run_url``."""
    evidence = window.evidence
    expectation = None
    if decision.decision == "retrain" and evidence.gain:
        metric = METRICS[evidence.measure.task][0].key
        expectation = {"metric": metric, **_rounded(evidence.gain._asdict())}
    return {
        "schema": 1,
        "decision": decision.decision,
        "sentence": decision.sentence,
        "version": version,
        "manifest_sha256": manifest_sha256,
        "window": {
            "from": window.start,
            "until": window.until,
            "rows": evidence.rows,
            "labels": evidence.labels,
        },
        "compared_with": window.compared_with,
        "every_days": limits.every_days,
        "false_alarms": {
            "rate": limits.false_alarm_rate,
            "per_year": round(
                limits.false_alarm_rate * YEAR / limits.every_days, 3
            ),
        },
        "metric": evidence.measure.label,
        "measured": measured(evidence),
        "checks": checks(evidence, limits),
        "expectation": expectation,
        "counts": {name: dict(count) for name, count in window.counts.items()},
    }


def same(first: Mapping[str, Any] | None, second: Mapping[str, Any]) -> bool:
    """Tell whether two runs found the same."""
    if first is None:
        return False
    names = (first.keys() | second.keys()) - set(PASSING)
    return all(first.get(name) == second.get(name) for name in names)


def checks(evidence: Evidence, limits: Monitor) -> list[Check]:
    """Return every check with its value and limit as text; ``passed`` None: pending."""
    found = [
        _check("feed", not evidence.broken, evidence.broken or "keeps the contract"),
        _check(
            "rows",
            evidence.rows >= limits.min_rows,
            f"{evidence.rows:,}",
            f"at least {limits.min_rows:,}",
        ),
    ]
    if evidence.broken or not evidence.columns:
        return found
    found += [_performance(evidence, limits), _estimate(evidence, limits)]
    found.append(_gain(evidence, limits))
    moved = [
        *[(d, f"input {d.column}") for d in evidence.columns],
        *([(evidence.prediction, "prediction")] if evidence.prediction else []),
        *([(evidence.target, "target")] if evidence.target else []),
        *([(evidence.whole, "the whole data set")] if evidence.whole else []),
    ]
    for drift, what in sorted(moved, key=lambda pair: -_size(pair[0])):
        unused = what.startswith("input ") and drift.column not in evidence.used
        value = f"{drift.distance:.3f} ({drift.method})"
        limit, why = f"below {drift.threshold:.3g}", "not used" if unused else ""
        found.append(_check(f"drift of {what}", not drift.found, value, limit, why))
    for drift in evidence.missing:
        if drift.found:
            limit = f"change below {drift.threshold:.0%}"
            name = f"missing values of {drift.column}"
            found.append(_check(name, False, drift.method, limit))
    for name, rows in evidence.unknown.items():
        value = f"{rows:,} rows have a category that contract.yaml lacks"
        found.append(_check(f"new categories of {name}", False, value, "none"))
    return found + _labelled(evidence, limits)


def measured(evidence: Evidence) -> dict[str, Any]:
    """Return the numbers that the history draws; what is unknown is None."""
    fall, promise, delay = evidence.fall, evidence.estimate, evidence.label_delay
    moved = [*evidence.columns, evidence.prediction, evidence.whole, evidence.target]
    sizes = [_size(drift) for drift in moved if drift is not None]
    numbers = {
        "roc_auc": fall.window if fall else None,  # of other tasks, their headline
        "holdout": fall.holdout if fall else None,
        "estimated": promise.window if promise else None,
        "promised": promise.promised if promise else None,
        "came": promise.came if promise else None,
        "drift": max(sizes, default=None),  # 1 is where the alarm begins
        "calibration_error": evidence.calibration,
        "label_delay_days": delay,
    }
    return {n: None if v is None else round(v, 6) for n, v in numbers.items()}


def _size(drift: Drift) -> float:
    """Return a distance in units of its threshold."""
    return drift.distance / drift.threshold


def _labelled(evidence: Evidence, limits: Monitor) -> list[Check]:
    """Return what is known of calibration, slices and groups; none raises an alarm."""
    found = []
    if evidence.calibration is not None:
        value = f"{evidence.calibration:.3f} from predicted to observed, on average"
        passed = evidence.calibration <= CALIBRATED
        found.append(_check("calibration", passed, value, f"up to {CALIBRATED:g}"))
    surely = [piece for piece in evidence.slices if piece.high < -limits.max_fall]
    for piece in evidence.slices[: max(len(surely), 1)][:3]:
        value = (
            f"{evidence.measure.label} {piece.window:.3f}, holdout {piece.holdout:.3f} "
            f"[{piece.low:+.3f}, {piece.high:+.3f}], {piece.rows:,} rows"
        )
        name = f"worst slice: {piece.column} {piece.value}"
        why = f"of {len(evidence.slices)} with {limits.min_group:,} labels or more"
        found.append(_check(name, piece not in surely, value, "", why))
    if evidence.ungrouped:
        found.append(_check("groups", None, "not compared", "", evidence.ungrouped))
    for group in evidence.groups:
        hit = "" if group.found is None else f", {group.found:.1%} of its 1s found"
        value = f"{group.selected:.1%} decided 1{hit}, {group.rows:,} rows"
        found.append(_check(f"group {group.column} {group.value}", None, value))
    return found


def _estimate(evidence: Evidence, limits: Monitor) -> Check:
    """Return the check of what the answers promise, and how that came out."""
    found = evidence.estimate
    limit = f"not {limits.max_fall:g} below the holdout's"
    if found is None:
        why = "a predicted number says nothing of its own error"
        if evidence.measure.task != "regression":
            why = "needs calibrated probabilities"
        return _check("estimated performance", None, "not estimated", limit, why)
    label = evidence.measure.label
    value = f"{label} {found.window:.3f}, holdout {found.holdout:.3f}"
    why = "from the probabilities, no labels"
    if found.promised is not None and found.came is not None:
        error = found.promised - found.came
        why = f"labels gave {found.came:.3f}, an error of {error:+.3f}"
    passed = found.fell <= limits.max_fall
    return _check("estimated performance", passed, value, limit, why)


def _performance(evidence: Evidence, limits: Monitor) -> Check:
    """Return the check of the headline against the version's own holdout."""
    limit = f"not surely {limits.max_fall:g} below the holdout"
    found = evidence.fall
    if found is None:
        value = f"pending: {evidence.labels:,} labels of {limits.min_labels:,}"
        if evidence.labels >= limits.min_labels:
            value = "not computed: the labels lack a class, or never vary"
        return _check("performance", None, value, limit)
    value = (
        f"{evidence.measure.label} {found.window:.3f}, holdout {found.holdout:.3f}, "
        f"difference {found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    )
    why = evidence.measure.words(found.predicted, found.observed)
    if evidence.label_delay is not None:
        why += f"; the newest label is {evidence.label_delay:.1f} days behind"
    return _check("performance", not fell(evidence, limits), value, limit, why)


def _gain(evidence: Evidence, limits: Monitor) -> Check:
    """Return the check of what newer rows would bring."""
    limit = f"surely below {limits.min_gain:+g}"
    found = evidence.gain
    if found is None:
        return _check("gain of newer rows", None, "not estimated", limit)
    value = f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}] "
    value += evidence.measure.label
    why = "the same recipe on newer rows, against the champion, on the newest days"
    return _check(
        "gain of newer rows", found.low < limits.min_gain, value, limit, why
    )


def _check(
    name: str, passed: bool | None, value: str, limit: str = "", why: str = ""
) -> Check:
    return {"name": name, "passed": passed, "value": value, "limit": limit, "why": why}


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    """Keep six digits: enough to compare, the same on every machine."""
    return {name: round(number, 6) for name, number in numbers.items()}
