"""Turns evidence into one of six decisions and a sentence; pure.

none              production looks like what the version was trained on
watch             something changed, but there is nothing to propose (yet)
retrain           a model trained on newer rows is expected to be better
stop              the data is broken: fix it; nothing is to be trained on it
not enough data   too few rows for any of the above
no verdict        there are rows, but nothing to compare them with
"""

from __future__ import annotations

from typing import NamedTuple

from mlgitops.metrics import Difference
from mlgitops.monitor.evidence import Evidence
from mlgitops.monitor.wording import few, listed, plural, size, unmatched
from mlgitops.settings import Monitor

NAMED = 3  # drifted columns, and failed gates, that a sentence names


class Decision(NamedTuple):
    """The decision and one sentence that says why."""

    decision: str
    sentence: str


def decide(evidence: Evidence, limits: Monitor) -> Decision:
    """Return the decision on a window."""
    if evidence.broken:
        return Decision("stop", f"Fix the input data: {evidence.broken}.")
    if evidence.rows < limits.min_rows:
        return Decision(
            "not enough data",
            f"The window has {plural(evidence.rows, 'row')}{evidence.log_summary}; "
            f"at least {limits.min_rows:,} are needed.",
        )
    if evidence.undecided:
        return Decision("no verdict", f"No verdict: {evidence.undecided}.")
    changes = _changes(evidence, limits)
    if not changes and evidence.label_counts and evidence.label_counts.all_unmatched:
        return Decision("watch", f"Watch: {_pending(evidence)}.")
    if not changes:
        return Decision("none", f"Nothing to do: {_performance(evidence, limits)}.")
    return _on_change(listed(changes), evidence, limits)


def _on_change(changes: str, evidence: Evidence, limits: Monitor) -> Decision:
    """Return what follows from changes, once there are some."""
    gain, fell = evidence.gain, evidence.worse(limits.max_fall)
    if not fell and (reason := _reason_to_wait(evidence, limits)):
        return Decision("watch", f"Watch: {changes}, but {reason}.")
    if gain is None and fell:
        return Decision("retrain", f"Retrain: {changes}.")
    if gain is None:
        outlook = _outlook(evidence, limits)
        return Decision("watch", f"Watch: {changes}; {outlook}.")
    improves = gain.low >= limits.min_gain or (fell and gain.high >= 0)
    expectation = _expectation(gain, evidence.metric.label, improves)
    if improves:
        return Decision("retrain", f"Retrain: {changes}; {expectation}.")
    return Decision("watch", f"Watch: {changes}, but {expectation}.")


def _expectation(gain: Difference, label: str, improves: bool) -> str:
    """Say what retraining is expected to bring."""
    interval = f"[{gain.low:+.3f}, {gain.high:+.3f}]"
    if gain.difference < 0:
        return f"retraining would lose {-gain.difference:.3f} {label} {interval}"
    only = "" if improves else "only "
    return f"retraining would gain {only}{gain.difference:+.3f} {label} {interval}"


def _reason_to_wait(evidence: Evidence, limits: Monitor) -> str:
    """Say why drift alone is not acted on yet, or nothing."""
    if not evidence.confirmed:
        parts = limits.confirm_parts
        return f"not in each of the window's {parts} parts, so it may be temporary"
    if evidence.served_days < limits.cooldown_days:
        return (
            f"this version has served for {evidence.served_days:.1f} days only (the "
            f"cool-down is {size(limits.cooldown_days, 'day')})"
        )
    return ""


def _changes(evidence: Evidence, limits: Monitor) -> list[str]:
    """Say what speaks against leaving things as they are."""
    changes = []
    if evidence.fall is not None and evidence.fell(limits.max_fall):
        changes.append(
            f"performance fell from {evidence.metric.label} "
            f"{evidence.fall.holdout:.3f} to {evidence.fall.window:.3f}"
            f"{_resting(evidence)}"
        )
    failed = [metric for metric in evidence.gated if metric.passed is False]
    for metric in failed[:NAMED]:
        verb = "fell" if metric.better == "higher" else "rose"
        changes.append(
            f"{metric.label} {verb} from {metric.holdout:.4g} to {metric.window:.4g} "
            f"(limit {metric.limit:.4g})"
        )
    if len(failed) > NAMED:
        changes.append(f"{plural(len(failed) - NAMED, 'more gate')} failed")
    if evidence.drifted:
        changes.append(f"{_list([d.column for d in evidence.drifted])} drifted")
    elif evidence.data_set is not None and evidence.data_set.detected:
        changes.append("the columns drifted together, though no single column did")
    if evidence.missing_changed:
        columns = _list(evidence.missing_changed)
        changes.append(f"the share of missing values of {columns} changed")
    if evidence.prediction is not None and evidence.prediction.detected:
        changes.append("the predictions drifted")
    if evidence.target is not None and evidence.target.detected:
        changes.append("the labels drifted")
    return changes


def _list(columns: list[str]) -> str:
    """Name the first columns, and count the others."""
    names = columns[:NAMED]
    if (more := len(columns) - NAMED) > 0:
        names.append(f"{more} more")
    return listed(names)


def _outlook(evidence: Evidence, limits: Monitor) -> str:
    """Say how performance is, or what is estimated while labels are pending."""
    if evidence.fall is not None:
        return _performance(evidence, limits)
    estimate, label = evidence.estimate, evidence.metric.label
    if estimate is None:
        return _pending(evidence)
    if estimate.fall > limits.max_fall:
        return (
            f"{_pending(evidence)}, and {label} is estimated to have fallen by "
            f"{estimate.fall:.3f}"
        )
    held = f"{label} is estimated to hold ({estimate.window:.3f})"
    return f"{_pending(evidence)}, {held}"


def _pending(evidence: Evidence) -> str:
    """Say why performance is not known: labels are late, or belong to nothing."""
    counts = evidence.label_counts
    if counts is not None and counts.all_unmatched:
        return unmatched(counts)
    return "labels are pending"


def _resting(evidence: Evidence) -> str:
    """Say that performance rests on few rows of a class, or nothing."""
    return f" ({few(evidence.rare)})" if evidence.rare else ""


def _performance(evidence: Evidence, limits: Monitor) -> str:
    """Say that performance holds, or why a lower one is no reason to act."""
    fall = evidence.fall
    if fall is None:
        return "no drift was found; labels are pending"
    current = f"{evidence.metric.label} {fall.window:.3f}"
    rare = f"; {few(evidence.rare)}" if evidence.rare else ""
    if fall.difference >= -limits.max_fall:
        unknown = [gate.label for gate in evidence.gated if gate.window is None]
        exception = f", but {_list(unknown)} cannot be computed" if unknown else ""
        return f"performance holds ({current}){exception}{rare}"
    return (
        f"performance is lower ({current}, holdout {fall.holdout:.3f}), but within "
        f"normal day-to-day variation{rare}"
    )
