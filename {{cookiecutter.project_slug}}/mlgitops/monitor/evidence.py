"""What was found in a window: facts and their numbers, no decision; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mlgitops.metrics import Difference
from mlgitops.monitor.primary_metric import PrimaryMetric


class Drift(NamedTuple):
    """How far one column has moved, and from where on that counts as drift."""

    column: str
    method: str
    distance: float
    threshold: float

    @property
    def detected(self) -> bool:
        """The distance is at the threshold or beyond."""
        return self.distance >= self.threshold

    @property
    def ratio(self) -> float:
        """The distance in units of its threshold: from 1 on it is drift."""
        return self.distance / self.threshold


class Estimate(NamedTuple):
    """The primary metric that the probabilities imply, without any label."""

    window: float
    holdout: float  # implied as well, so that both have the same bias
    labelled: float | None = None  # implied for the rows that have a label by now
    observed: float | None = None  # what the labels show on those rows

    @property
    def fall(self) -> float:
        """How far the window's estimate is below the holdout's."""
        return self.holdout - self.window


class Fall(NamedTuple):
    """The primary metric in the window and on the version's holdout, and its change."""

    window: float
    holdout: float
    difference: float
    low: float
    high: float
    confidence: float
    predicted: float  # mean prediction for the window's labelled rows
    observed: float  # mean of their labels


class GatedMetric(NamedTuple):
    """A metric with a gate, on current rows and on as many of the holdout.

    ``low`` and ``high`` are the window's value and the interval of its difference to
    the holdout's. What is not known (yet) is None, and ``note`` says why.
    """

    key: str
    label: str
    better: Literal["higher", "lower"]
    note: str = ""  # where the limit comes from, or why there is no value
    limit: float | None = None  # None raises no alarm
    rows: int = 0
    window: float | None = None
    holdout: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def passed(self) -> bool | None:
        """False where the whole interval is on the worse side of the limit."""
        if self.limit is None or self.low is None or self.high is None:
            return None
        higher = self.better == "higher"
        return self.high >= self.limit if higher else self.low <= self.limit


class Slice(NamedTuple):
    """The primary metric of one category's rows in the window and on the holdout."""

    column: str
    value: str
    rows: int
    window: float
    holdout: float
    low: float
    high: float


class SensitiveGroup(NamedTuple):
    """How one sensitive group is decided on: share decided 1, and of true 1s."""

    column: str
    value: str
    rows: int
    selection_rate: float
    true_positive_rate: float | None


class Ahead(NamedTuple):
    """Rows that are dated later than the window ends, and the one that is farthest."""

    rows: int
    id: str
    time: str  # ISO
    days: float  # after the end of the window


class Unlisted(NamedTuple):
    """Categories of a column that the contract does not list; all look alike here."""

    rows: int
    values: int  # distinct ones
    examples: tuple[str, ...]  # the most frequent ones


class Unlogged(NamedTuple):
    """Rows that were answered while the window's were, and are not in the log."""

    rows: int
    answered: int  # with those that are in the log, of every version
    since: str  # ISO
    until: str

    @property
    def share(self) -> float:
        """The part of what was answered that nobody sees here."""
        return self.rows / self.answered


class Abstained(NamedTuple):
    """The share of rows on which a version that may abstain decided nothing."""

    window: float
    holdout: float


class LabelCounts(NamedTuple):
    """What became of the lines with a label, and how the newest ids look."""

    labels: int  # lines with a label of the task
    matched: int  # of them, those whose id was predicted
    newest: str = ""  # id of the last label
    predicted: str = ""  # id of the newest prediction
    blank: int = 0  # lines whose label is not known yet
    corrupt: int = 0
    corrected: int = 0  # ids whose newest label replaced another
    contradictory: int = 0  # ids with two labels, of which none is the newest
    example: str = ""  # one of these ids
    share: float = 1.0  # of the log that was looked at: others may be the labels' rows

    @property
    def all_unmatched(self) -> bool:
        """There are labels, and none of them belongs to a prediction."""
        expected = self.labels if self.share >= 1 else self.labels * self.share / 10
        return expected >= 1 and not self.matched


class Rare(NamedTuple):
    """A class that few rows with a label have; performance rests on these."""

    name: str
    rows: int
    labels: int
    where: str  # in the window or on the holdout


@dataclass
class Evidence:
    """What was found in a window; what was not examined is empty or None."""

    rows: int
    metric: PrimaryMetric  # what performance is here
    log_summary: str = ""  # what a log without a row of this version holds instead
    labels: int = 0
    label_counts: LabelCounts | None = None
    ahead: Ahead | None = None
    rare: Rare | None = None
    rounded: dict[str, int] = field(default_factory=dict)  # rows by column
    clocks: list[str] = field(default_factory=list)  # numbers that grow with time
    broken: str | None = None  # why the data cannot be trusted
    caveats: list[str] = field(default_factory=list)  # what cannot be told here
    undecided: str | None = None  # why there is nothing to compare with
    columns: list[Drift] = field(default_factory=list)
    used: list[str] = field(default_factory=list)  # columns that the model takes
    data_set: Drift | None = None  # all columns together
    prediction: Drift | None = None
    target: Drift | None = None
    missing: list[Drift] = field(default_factory=list)
    unknown: dict[str, Unlisted] = field(default_factory=dict)  # by column
    unlogged: Unlogged | None = None
    abstained: Abstained | None = None
    confirmed: bool = True  # each part of the window shows it
    served_days: float = float("inf")  # since the version's first line in the log
    label_delay: float | None = None  # days that the newest label is behind
    estimate: Estimate | None = None
    fall: Fall | None = None
    unmeasured: str = ""  # why performance is not known (yet)
    gated: list[GatedMetric] = field(default_factory=list)
    gain: Difference | None = None
    no_gain: str = ""  # why it was not estimated
    calibration: float | None = None
    slices: list[Slice] = field(default_factory=list)
    groups: list[SensitiveGroup] = field(default_factory=list)
    ungrouped: str = ""  # why groups that labels came with are not compared

    @property
    def drifted(self) -> list[Drift]:
        """Columns that drifted and that the model uses, worst first."""
        drifted = [d for d in self.columns if d.detected and d.column in self.used]
        return sorted(drifted, key=lambda drift: -drift.ratio)

    @property
    def missing_changed(self) -> list[str]:
        """Columns that the model uses, and whose share of missing values changed."""
        return [d.column for d in self.missing if d.detected and d.column in self.used]

    @property
    def moved(self) -> bool:
        """Inputs, predictions or labels are not what they were."""
        others = (self.prediction, self.data_set, self.target)
        detected = any(drift is not None and drift.detected for drift in others)
        return bool(self.drifted or self.missing_changed or detected)

    def fell(self, max_fall: float) -> bool:
        """Return whether the whole interval of the metric's change is below the limit.

        The change is the window's minus the holdout's, the limit is ``-max_fall``.
        """
        return self.fall is not None and self.fall.high < -max_fall

    def worse(self, max_fall: float) -> bool:
        """Return whether the primary metric fell, or one with a gate failed it."""
        return self.fell(max_fall) or any(
            metric.passed is False for metric in self.gated
        )
