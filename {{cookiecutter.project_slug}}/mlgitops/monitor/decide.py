"""Turns evidence into one of six decisions, in words; pure.

none              production looks like what the version was trained on
watch             something moved, but there is no cure to propose (yet)
retrain           a model trained on newer rows is expected to be better
stop              the data is broken: fix the feed; nothing is to be trained on it
not enough data   too few rows for any of the above
no verdict        there are rows, but nothing to compare them with
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlgitops.metrics import Difference
from mlgitops.monitor.checks import Drift
from mlgitops.monitor.estimate import Estimate
from mlgitops.monitor.measure import BINARY, Measure
from mlgitops.monitor.performance import Fall
from mlgitops.monitor.slices import Group, Slice
from mlgitops.settings import Monitor


class Decision(NamedTuple):
    """The decision and one sentence that says why."""

    decision: str
    sentence: str


@dataclass
class Evidence:
    """What was found in a window; what was not looked at is empty or None."""

    rows: int
    found: str = ""  # what a log without any such row holds instead
    labels: int = 0
    broken: str | None = None  # why the feed cannot be believed
    undecided: str | None = None  # why there is nothing to compare with
    columns: list[Drift] = field(default_factory=list)
    used: list[str] = field(default_factory=list)  # columns that the model takes
    whole: Drift | None = None
    prediction: Drift | None = None
    target: Drift | None = None
    missing: list[Drift] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)
    confirmed: bool = True  # each part of the window shows it
    served_days: float = float("inf")  # since the version's first answer in the log
    label_delay: float | None = None  # days that the newest label is behind
    estimate: Estimate | None = None
    fall: Fall | None = None
    gain: Difference | None = None
    calibration: float | None = None
    slices: list[Slice] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    ungrouped: str = ""  # why groups that labels came with are not compared
    measure: Measure = BINARY  # what performance is here

    @property
    def drifted(self) -> list[Drift]:
        """Columns that moved and that the model uses, worst first."""
        found = [d for d in self.columns if d.found and d.column in self.used]
        return sorted(found, key=lambda d: -d.distance / d.threshold)

    @property
    def lacking(self) -> list[str]:
        """Columns that the model uses, and whose share of missing values moved."""
        return [d.column for d in self.missing if d.found and d.column in self.used]


def moved(evidence: Evidence) -> bool:
    """Tell whether inputs, answers or labels are not what they were."""
    others = (evidence.prediction, evidence.whole, evidence.target)
    alarms = any(drift is not None and drift.found for drift in others)
    return bool(evidence.drifted or evidence.lacking or alarms)


def fell(evidence: Evidence, limits: Monitor) -> bool:
    """Tell if the headline surely fell below the holdout's by more than allowed."""
    found = evidence.fall
    return found is not None and found.high < -limits.max_fall


def decide(evidence: Evidence, limits: Monitor) -> Decision:
    """Return the decision on a window."""
    if evidence.broken:
        return Decision("stop", f"Fix the feed: {evidence.broken}.")
    if evidence.rows < limits.min_rows:
        return Decision(
            "not enough data",
            f"The window has {evidence.rows:,} rows{evidence.found}; no verdict below "
            f"{limits.min_rows:,}.",
        )
    if evidence.undecided:
        return Decision("no verdict", f"No verdict: {evidence.undecided}.")
    reasons = _reasons(evidence, limits)
    if not reasons:
        return Decision("none", f"Nothing to do: {_calm(evidence, limits)}.")
    story, gain = " and ".join(reasons), evidence.gain
    sure = fell(evidence, limits)
    if not sure and (doubt := _doubt(evidence, limits)):
        return Decision("watch", f"Watch: {story}; {doubt}.")
    if gain is None:
        if sure:
            return Decision("retrain", f"Retrain: {story}.")
        why = "labels are pending" if evidence.fall is None else _calm(evidence, limits)
        return Decision("watch", f"Watch: {story}; {why}{_promise(evidence, limits)}.")
    label = evidence.measure.label
    size = f"{gain.difference:+.3f} {label} [{gain.low:+.3f}, {gain.high:+.3f}]"
    worth = gain.low >= limits.min_gain
    if worth or (sure and gain.high >= 0):
        return Decision("retrain", f"Retrain: {story}; newer rows are worth {size}.")
    return Decision("watch", f"Watch: {story}, but newer rows are worth {size} only.")


def _doubt(evidence: Evidence, limits: Monitor) -> str:
    """Say why drift alone is not acted on yet, or nothing."""
    if not evidence.confirmed:
        return (
            f"not yet in each of the window's {limits.confirm_parts} parts, so it "
            "may pass"
        )
    if evidence.served_days < limits.cooldown_days:
        return (
            f"this version has served for {evidence.served_days:.0f} days only, the "
            f"cool-down is {limits.cooldown_days:g}"
        )
    return ""


def _reasons(evidence: Evidence, limits: Monitor) -> list[str]:
    """Say what speaks against leaving things as they are."""
    reasons = []
    if evidence.fall is not None and fell(evidence, limits):
        found = evidence.fall
        reasons.append(
            f"performance fell from {evidence.measure.label} {found.holdout:.3f} to "
            f"{found.window:.3f}"
        )
    if evidence.drifted:
        names = [drift.column for drift in evidence.drifted]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        reasons.append(f"{', '.join(names[:3])}{more} drifted")
    elif evidence.whole is not None and evidence.whole.found:
        reasons.append("the columns drifted together, though none did by itself")
    if evidence.lacking:
        names = evidence.lacking
        reasons.append(f"{', '.join(names)} lacks more or fewer values than it did")
    if evidence.prediction is not None and evidence.prediction.found:
        reasons.append("the predictions drifted")
    if evidence.target is not None and evidence.target.found:
        reasons.append("the labels drifted")
    return reasons


def _promise(evidence: Evidence, limits: Monitor) -> str:
    """Say what the estimate promises while labels are pending."""
    found = evidence.estimate
    if evidence.fall is not None or found is None:
        return ""
    label = evidence.measure.label
    if found.fell > limits.max_fall:
        return f", and {label} is estimated to have fallen by {found.fell:.3f}"
    return f", {label} is estimated to hold ({found.window:.3f})"


def _calm(evidence: Evidence, limits: Monitor) -> str:
    """Say what holds, or what may not but cannot be told from days that differ."""
    found = evidence.fall
    if found is None:
        return "no drift was found; performance is pending"
    now = f"{evidence.measure.label} {found.window:.3f}"
    if found.difference >= -limits.max_fall:
        return f"performance holds ({now})"
    return (
        f"performance is lower ({now}, holdout {found.holdout:.3f}), but no more than "
        "the days of either differ among themselves"
    )
