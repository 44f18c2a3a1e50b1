"""The record of one monitoring run: what the ledger keeps; aggregates only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from mlgitops.metrics import METRICS
from mlgitops.monitor.decide import Decision
from mlgitops.monitor.estimate import CALIBRATED
from mlgitops.monitor.evidence import Drift, Evidence, GatedMetric
from mlgitops.monitor.inspect import Window
from mlgitops.monitor.wording import few, plural, size, unmatched
from mlgitops.settings import Monitor

Record = dict[str, Any]
YEAR = 365.25  # days
PASSING = ("seq", "time", "run_url")  # differ between runs that found the same
SLICES = 3  # of the worst ones that are listed
GROUPS = 50  # sensitive ones that are listed, the largest


class Check(TypedDict):
    """A check with its value and limit as text; ``passed`` None is pending."""

    name: str
    passed: bool | None
    value: str
    limit: str
    note: str


def build(
    version: str,
    manifest_sha256: str,
    window: Window,
    decision: Decision,
    limits: Monitor,
) -> Record:
    """Return the record, without ``seq``, ``time`` and ``run_url``."""
    evidence = window.evidence
    expectation = None
    if decision.decision == "retrain" and evidence.gain:
        metric = METRICS[evidence.metric.task][0].key
        expectation = {"metric": metric, **_rounded(evidence.gain._asdict())}
    per_year = limits.false_alarm_rate * YEAR / limits.every_days
    entry: Record = {
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
            "unlogged": evidence.unlogged.rows if evidence.unlogged else 0,
        },
        "compared_with": window.compared_with,
        "every_days": limits.every_days,
        "false_alarms": {
            "rate": limits.false_alarm_rate,
            "per_year": round(per_year, 3),
        },
        "metric": evidence.metric.label,
        "measured": measured(evidence),
        "gates": [_gate_numbers(metric) for metric in evidence.gated],
        "checks": checks(evidence, limits),
        "expectation": expectation,
        "counts": {name: dict(count) for name, count in window.counts.items()},
    }
    if decision.decision == "retrain" and evidence.no_gain:
        entry["no_expectation"] = evidence.no_gain
    if window.by_arrival:
        entry["window"]["by"] = "arrival"
    if window.shadows:
        entry["shadow"] = [comparison.record() for comparison in window.shadows]
    if window.canary:
        entry["canary"] = window.canary.record()
    if evidence.caveats:
        entry["caveats"] = evidence.caveats
    return entry


def equal(first: Mapping[str, object] | None, second: Mapping[str, object]) -> bool:
    """Return whether two runs found the same."""
    if first is None:
        return False
    names = (first.keys() | second.keys()) - set(PASSING)
    return all(first.get(name) == second.get(name) for name in names)


def checks(evidence: Evidence, limits: Monitor) -> list[Check]:
    """Return every check."""
    enough = evidence.rows >= limits.min_rows
    least = f"at least {limits.min_rows:,}"
    basic = [
        _check("data quality", not evidence.broken, evidence.broken or "valid"),
        _check("rows", enough, f"{evidence.rows:,}", least),
        *_unlogged(evidence, limits),
        *_ahead(evidence, limits),
    ]
    if evidence.broken or not evidence.columns:
        return basic
    return [
        *basic,
        _performance(evidence, limits),
        *map(_gate, evidence.gated),
        *_abstention(evidence),
        _estimate(evidence, limits),
        _gain(evidence, limits),
        *_drift(evidence),
        *_missing(evidence),
        *_new_categories(evidence),
        *_rounded_values(evidence),
        *_labels(evidence),
        *_few(evidence, limits),
        *_calibration(evidence),
        *_slices(evidence, limits),
        *_groups(evidence),
    ]


def measured(evidence: Evidence) -> dict[str, float | None]:
    """Return the numbers that the history draws; what is unknown is None."""
    fall, estimate = evidence.fall, evidence.estimate
    others = evidence.prediction, evidence.data_set, evidence.target
    ratios = [drift.ratio for drift in [*evidence.columns, *others] if drift]
    return _rounded(
        {
            "performance": fall.window if fall else None,  # by the primary metric
            "holdout": fall.holdout if fall else None,
            "estimated": estimate.window if estimate else None,
            "estimated_labelled": estimate.labelled if estimate else None,
            "observed_labelled": estimate.observed if estimate else None,
            "drift": max(ratios, default=None),  # 1 is where the alarm begins
            "calibration_error": evidence.calibration,
            "label_delay_days": evidence.label_delay,
        }
    )


def _gate_numbers(metric: GatedMetric) -> dict[str, object]:
    """Return what a gate's check compares, as numbers."""
    numbers = {
        "value": metric.window,
        "low": metric.low,
        "high": metric.high,
        "holdout": metric.holdout,
        "limit": metric.limit,
    }
    return {
        "id": metric.key,
        "label": metric.label,
        "operator": ">=" if metric.better == "higher" else "<=",
        "passed": metric.passed,
        "rows": metric.rows,
        **_rounded(numbers),
    }


def _performance(evidence: Evidence, limits: Monitor) -> Check:
    """Return the check of the metric against the version's own holdout."""
    limit = _at_least(limits, "upper bound of the difference")
    fall, metric = evidence.fall, evidence.metric
    if fall is None:
        return _check("performance", None, evidence.unmeasured, limit)
    value = (
        f"{metric.label} {fall.window:.3f}, holdout {fall.holdout:.3f}, "
        f"difference {fall.difference:+.3f} [{fall.low:+.3f}, {fall.high:+.3f}]"
    )
    note = metric.compare_means(fall.predicted, fall.observed)
    if evidence.label_delay is not None:
        delay = size(round(evidence.label_delay, 1), "day")
        note += f"; the newest label is {delay} older than the newest row"
    passed = not evidence.fell(limits.max_fall)
    return _check("performance", passed, value, limit, note)


def _gate(metric: GatedMetric) -> Check:
    """Return the check of another metric that has a gate."""
    name, note = f"gate {metric.key}", metric.note
    if metric.window is None:
        return _check(name, None, note)
    value = (
        f"{metric.label} {metric.window:.3f} [{metric.low:.3f}, {metric.high:.3f}], "
        f"holdout {metric.holdout:.3f}, on {plural(metric.rows, 'row')} each"
    )
    if metric.limit is None:
        return _check(name, None, value, note=note)
    higher = metric.better == "higher"
    bound = "upper bound at least" if higher else "lower bound at most"
    return _check(name, metric.passed, value, f"{bound} {metric.limit:.4g}", note)


def _abstention(evidence: Evidence) -> list[Check]:
    """Return how many rows were not decided; a drift of predictions is another check.

    Nobody has said how many are too many, so that it neither passes nor fails.
    """
    if (shares := evidence.abstained) is None:
        return []
    value = f"{shares.window:.1%} of rows not decided, holdout {shares.holdout:.1%}"
    return [_check("abstention", None, value)]


def _estimate(evidence: Evidence, limits: Monitor) -> Check:
    """Return the check of the estimate without labels, and how good it was."""
    limit, estimate = _at_least(limits, "difference"), evidence.estimate
    if estimate is None:
        note = "a predicted number says nothing about its own error"
        if evidence.metric.task != "regression":
            note = "needs calibrated probabilities"
        return _check("estimated performance", None, "not estimated", limit, note)
    value = (
        f"{evidence.metric.label} {estimate.window:.3f}, holdout "
        f"{estimate.holdout:.3f}, difference {-estimate.fall:+.3f}"
    )
    note = "estimated from the probabilities, without labels"
    if estimate.labelled is not None and estimate.observed is not None:
        error = estimate.labelled - estimate.observed
        note = f"labels show {estimate.observed:.3f}, an error of {error:+.3f}"
    passed = estimate.fall <= limits.max_fall
    return _check("estimated performance", passed, value, limit, note)


def _gain(evidence: Evidence, limits: Monitor) -> Check:
    """Return the check of what retraining would bring."""
    name, gain = "gain of retraining", evidence.gain
    limit = f"lower bound below {limits.min_gain:+g}"
    if gain is None:
        return _check(name, None, "not estimated", limit, evidence.no_gain)
    interval = f"{gain.difference:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    value = f"{interval} {evidence.metric.label}"
    note = (
        "main's recipe fitted on newer rows, against the champion, on rows held out "
        "of the window"
    )
    return _check(name, gain.low < limits.min_gain, value, limit, note)


def _drift(evidence: Evidence) -> list[Check]:
    """Return the checks of drift, the largest first."""
    named: list[tuple[Drift | None, str]] = [
        *((drift, f"input {drift.column}") for drift in evidence.columns),
        (evidence.prediction, "prediction"),
        (evidence.target, "target"),
        (evidence.data_set, "the whole data set"),
    ]
    drifts = [(drift, name) for drift, name in named if drift is not None]
    result = []
    for drift, name in sorted(drifts, key=lambda pair: -pair[0].ratio):
        unused = name.startswith("input ") and drift.column not in evidence.used
        value = f"{drift.distance:.3f} ({drift.method})"
        limit = f"below {drift.threshold:.3g}"
        note = "not used by the model" if unused else ""
        if drift.column in evidence.clocks:
            note = "grows with time, so it always drifts: use an age or an hour instead"
        name = f"drift of {name}"
        result.append(_check(name, not drift.detected, value, limit, note))
    return result


def _missing(evidence: Evidence) -> list[Check]:
    """Return the changes of missing values that count."""
    return [
        _check(
            f"missing values of {drift.column}",
            False,
            drift.method,
            f"change below {drift.threshold:.0%}",
        )
        for drift in evidence.missing
        if drift.detected
    ]


def _new_categories(evidence: Evidence) -> list[Check]:
    """Return the columns with categories that the contract does not list."""
    checks = []
    for name, found in evidence.unknown.items():
        of = "1 category" if found.values == 1 else f"{found.values:,} categories"
        value = (
            f"{plural(found.rows, 'row')} with {of} that contract.yaml does not list"
        )
        quoted = ", ".join(f'"{example}"' for example in found.examples)
        note = f"such as {quoted}" if quoted else "each in too few rows to be named"
        checks.append(_check(f"new categories of {name}", False, value, "none", note))
    return checks


def _unlogged(evidence: Evidence, limits: Monitor) -> list[Check]:
    """Return how many rows were answered and are not in the log, if any."""
    counts = evidence.unlogged
    if counts is None:
        return []
    value = (
        f"{counts.rows:,} of {plural(counts.answered, 'row')} ({counts.share:.1%}), "
        f"between {counts.since[:16]} and {counts.until[:16]}"
    )
    note = (
        "counted by the server: its disk was full or slow, perhaps when it was killed"
    )
    passed, limit = counts.share <= limits.max_unlogged, f"{limits.max_unlogged:.0%}"
    return [_check("answered but not logged", passed, value, f"at most {limit}", note)]


def _ahead(evidence: Evidence, limits: Monitor) -> list[Check]:
    """Return the rows that are dated after the window; far ahead is a mistake."""
    ahead = evidence.ahead
    if ahead is None:
        return []
    value = f"{plural(ahead.rows, 'row')}, the farthest {ahead.time} (id {ahead.id})"
    near = ahead.days <= limits.window_days
    limit = f"at most {size(limits.window_days, 'day')} later"
    note = "not in the window, which ends at what has arrived"
    return [_check("rows dated after the window", near, value, limit, note)]


def _rounded_values(evidence: Evidence) -> list[Check]:
    """Return the columns whose numbers are too large to be told from others."""
    note = (
        "the model and this comparison see float32, which merges whole numbers there: "
        "subtract a constant, or use a category"
    )
    return [
        _check(f"rounded values of {n}", False, plural(rows, "row"), "none", note)
        for n, rows in evidence.rounded.items()
    ]


def _labels(evidence: Evidence) -> list[Check]:
    """Return how many labels belong to a prediction, and what was dropped."""
    counts = evidence.label_counts
    if counts is None:
        return []
    value = f"{counts.matched:,} of {plural(counts.labels, 'label')} match a prediction"
    if counts.all_unmatched:
        value = unmatched(counts)
    kinds = {
        "blank, not known yet": counts.blank,
        "corrupt": counts.corrupt,
        "corrected (the newest label counts)": counts.corrected,
        f"contradictory and dropped (such as id {counts.example})": (
            counts.contradictory
        ),
    }
    note = "; ".join(f"{number:,} {kind}" for kind, number in kinds.items() if number)
    limit = "at least 1"
    return [_check("labels", not counts.all_unmatched, value, limit, note)]


def _few(evidence: Evidence, limits: Monitor) -> list[Check]:
    """Return a caution where performance rests on few rows of a class."""
    if evidence.rare is None:
        return []
    limit = f"at least {limits.min_group:,}"
    note = "what is said of performance rests on these rows"
    return [_check("caution: few labels", False, few(evidence.rare), limit, note)]


def _calibration(evidence: Evidence) -> list[Check]:
    """Return the check of calibration as an estimate needs it; it raises no alarm.

    The model's own limit is that of its gate, which is another check.
    """
    error = evidence.calibration
    if error is None:
        return []
    value = f"calibration error {error:.3f}"
    limit = f"at most {CALIBRATED:g} for an estimate without labels"
    gates = {gate.key: gate.limit for gate in evidence.gated}
    allowed = gates.get("calibration_error")
    note = f"the gate calibration_error allows {allowed:.4g}" if allowed else ""
    return [_check("calibration", error <= CALIBRATED, value, limit, note)]


def _slices(evidence: Evidence, limits: Monitor) -> list[Check]:
    """Return the worst slices; none raises an alarm."""
    fell = [s for s in evidence.slices if s.high < -limits.max_fall]
    limit = _at_least(limits, "upper bound of the difference")
    compared = plural(len(evidence.slices), "slice")
    note = f"of {compared} with at least {plural(limits.min_group, 'label')}"
    return [
        _check(
            f"worst slice: {s.column} {s.value}",
            s not in fell,
            f"{evidence.metric.label} {s.window:.3f}, holdout {s.holdout:.3f}, "
            f"difference [{s.low:+.3f}, {s.high:+.3f}], {plural(s.rows, 'row')}",
            limit,
            note,
        )
        for s in evidence.slices[: max(len(fell), 1)][:SLICES]
    ]


def _groups(evidence: Evidence) -> list[Check]:
    """Return how sensitive groups are decided on; nothing here passes or fails."""
    if evidence.ungrouped:
        note = evidence.ungrouped
        return [_check("sensitive groups", None, "not compared", "", note)]
    result = []
    largest = sorted(evidence.groups, key=lambda group: -group.rows)[:GROUPS]
    for group in filter(largest.__contains__, evidence.groups):
        rate, rows = group.true_positive_rate, plural(group.rows, "row")
        hits = "" if rate is None else f", true positive rate {rate:.1%}"
        value = f"selection rate {group.selection_rate:.1%}{hits}, {rows}"
        result.append(_check(f"group {group.column} {group.value}", None, value))
    if more := len(evidence.groups) - len(largest):
        result.append(_check("smaller groups", None, f"{more:,}, not shown"))
    return result


def _at_least(limits: Monitor, number: str) -> str:
    """Return the limit of a fall, with the number that is compared."""
    return f"{number} at least {-limits.max_fall:+g}"


def _check(
    name: str, passed: bool | None, value: str, limit: str = "", note: str = ""
) -> Check:
    """Return a check as the ledger keeps it."""
    return Check(name=name, passed=passed, value=value, limit=limit, note=note)


def _rounded(numbers: Mapping[str, float | None]) -> dict[str, float | None]:
    """Keep six digits: enough to compare, the same on every machine."""
    return {n: None if v is None else round(v, 6) for n, v in numbers.items()}
