"""Turns evidence into one of five decisions, in words; pure.

none              production looks like what the version was trained on
watch             something moved, but there is no cure to propose (yet)
retrain           a model trained on newer rows is expected to be better
stop              the data is broken: fix the feed; nothing is to be trained on it
not enough data   too few rows for any of the above
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ops.monitor.checks import Drift
from ops.monitor.performance import Fall
from pipeline.metrics import Difference


class Decision(NamedTuple):
    """The decision and one sentence that says why."""

    decision: str
    sentence: str


@dataclass
class Evidence:
    """What was found in a window; what was not looked at is empty or None."""

    rows: int
    labels: int = 0
    broken: str | None = None  # why the feed cannot be believed
    columns: list[Drift] = field(default_factory=list)
    used: list[str] = field(default_factory=list)  # columns that the model takes
    prediction: Drift | None = None
    missing: dict[str, tuple[float, float]] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    fall: Fall | None = None
    gain: Difference | None = None

    @property
    def drifted(self) -> list[Drift]:
        """Columns that moved and that the model uses, worst first."""
        found = [d for d in self.columns if d.found and d.column in self.used]
        return sorted(found, key=lambda d: -d.distance / d.threshold)


def moved(evidence: Evidence) -> bool:
    """Tell whether inputs of the model, or its answers, are not what they were."""
    answers = evidence.prediction is not None and evidence.prediction.found
    lacking = any(name in evidence.used for name in evidence.missing)
    return bool(evidence.drifted or lacking or answers)


def fell(evidence: Evidence, limits: Mapping[str, Any]) -> bool:
    """Tell whether ROC AUC surely fell below the holdout's by more than allowed."""
    found = evidence.fall
    return found is not None and found.high < -limits["max_fall"]


def decide(evidence: Evidence, limits: Mapping[str, Any]) -> Decision:
    """Return the decision on a window."""
    if evidence.broken:
        return Decision("stop", f"Fix the feed: {evidence.broken}.")
    if evidence.rows < limits["min_rows"]:
        return Decision(
            "not enough data",
            f"The window has {evidence.rows:,} rows; no verdict below "
            f"{limits['min_rows']:,}.",
        )
    reasons = _reasons(evidence, limits)
    if not reasons:
        return Decision("none", f"Nothing to do: {_calm(evidence)}.")
    story, gain = " and ".join(reasons), evidence.gain
    if gain is None:
        if fell(evidence, limits):
            return Decision("retrain", f"Retrain: {story}.")
        why = "labels are pending" if evidence.fall is None else _calm(evidence)
        return Decision("watch", f"Watch: {story}; {why}.")
    size = f"{gain.difference:+.3f} ROC AUC [{gain.low:+.3f}, {gain.high:+.3f}]"
    worth = gain.low >= limits["min_gain"]
    if worth or (fell(evidence, limits) and gain.high >= 0):
        return Decision("retrain", f"Retrain: {story}; newer rows are worth {size}.")
    return Decision("watch", f"Watch: {story}, but newer rows are worth {size} only.")


def _reasons(evidence: Evidence, limits: Mapping[str, Any]) -> list[str]:
    """Say what speaks against leaving things as they are."""
    reasons = []
    if evidence.fall is not None and fell(evidence, limits):
        found = evidence.fall
        reasons.append(
            f"performance fell from ROC AUC {found.holdout:.3f} to {found.window:.3f}"
        )
    if evidence.drifted:
        names = [drift.column for drift in evidence.drifted]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        reasons.append(f"{', '.join(names[:3])}{more} drifted")
    lacking = [name for name in evidence.missing if name in evidence.used]
    if lacking:
        reasons.append(f"{', '.join(lacking)} lacks more or fewer values than it did")
    if evidence.prediction is not None and evidence.prediction.found:
        reasons.append("the predictions drifted")
    return reasons


def _calm(evidence: Evidence) -> str:
    """Say what holds."""
    if evidence.fall is None:
        return "no drift was found; performance is pending"
    return f"performance holds (ROC AUC {evidence.fall.window:.3f})"
