"""The record of one monitoring run: what the ledger keeps; aggregates only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ops.monitor.decide import Decision, Evidence, fell
from ops.monitor.inspect import Window

Check = dict[str, Any]
Record = dict[str, Any]
PASSING = ("seq", "time", "run_url")  # differ between runs that found the same


def build(
    version: str, manifest_sha256: str, window: Window, decision: Decision, limits: Any
) -> Record:
    """Return the record, without ``seq``, ``time`` and ``run_url``."""
    evidence = window.evidence
    expectation = None
    if decision.decision == "retrain" and evidence.gain:
        expectation = {"metric": "roc_auc", **_rounded(evidence.gain._asdict())}
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


def checks(evidence: Evidence, limits: Mapping[str, Any]) -> list[Check]:
    """Return every check with its value and limit as text; ``passed`` None: pending."""
    found = [
        _check("feed", not evidence.broken, evidence.broken or "keeps the contract"),
        _check(
            "rows",
            evidence.rows >= limits["min_rows"],
            f"{evidence.rows:,}",
            f"at least {limits['min_rows']:,}",
        ),
    ]
    if evidence.broken or not evidence.columns:
        return found
    found += [_performance(evidence, limits), _gain(evidence, limits)]
    moved = [*evidence.columns, *([evidence.prediction] if evidence.prediction else [])]
    for drift in sorted(moved, key=lambda d: -d.distance / d.threshold):
        answers = drift is evidence.prediction
        what = "prediction" if answers else f"input {drift.column}"
        why = "" if answers or drift.column in evidence.used else "not used"
        value = f"{drift.distance:.3f} ({drift.method})"
        limit = f"below {drift.threshold:g}"
        found.append(_check(f"drift of {what}", not drift.found, value, limit, why))
    for name, (before, now) in evidence.missing.items():
        value = f"{now:.1%} instead of {before:.1%}"
        limit = f"change below {limits['max_missing']:.0%}"
        found.append(_check(f"missing values of {name}", False, value, limit))
    for name, rows in evidence.unknown.items():
        value = f"{rows:,} rows have a category that contract.yaml lacks"
        found.append(_check(f"new categories of {name}", False, value, "none"))
    return found


def _performance(evidence: Evidence, limits: Mapping[str, Any]) -> Check:
    """Return the check of ROC AUC against the version's own holdout."""
    limit = f"not surely {limits['max_fall']:g} below the holdout"
    found = evidence.fall
    if found is None:
        value = f"pending: {evidence.labels:,} labels of {limits['min_labels']:,}"
        return _check("performance", None, value, limit)
    value = (
        f"ROC AUC {found.window:.3f}, holdout {found.holdout:.3f}, difference "
        f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    )
    why = f"{found.observed:.1%} of 1s where {found.predicted:.1%} were predicted"
    return _check("performance", not fell(evidence, limits), value, limit, why)


def _gain(evidence: Evidence, limits: Mapping[str, Any]) -> Check:
    """Return the check of what newer rows would bring."""
    limit = f"surely below {limits['min_gain']:+g}"
    found = evidence.gain
    if found is None:
        return _check("gain of newer rows", None, "not estimated", limit)
    value = f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}] ROC AUC"
    why = "the same recipe on newer rows, against the champion, on the newest days"
    return _check(
        "gain of newer rows", found.low < limits["min_gain"], value, limit, why
    )


def _check(
    name: str, passed: bool | None, value: str, limit: str = "", why: str = ""
) -> Check:
    return {"name": name, "passed": passed, "value": value, "limit": limit, "why": why}


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    """Keep six digits: enough to compare, the same on every machine."""
    return {name: round(number, 6) for name, number in numbers.items()}
