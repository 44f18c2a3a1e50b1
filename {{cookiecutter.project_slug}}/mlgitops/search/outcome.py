"""Compares trials with the current settings, fold by fold; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from mlgitops.metrics import Difference
from mlgitops.metrics.groups import quantile
from mlgitops.search.trial import Trial


@dataclass(frozen=True)
class Row:
    """A trial minus the current settings, on the same folds."""

    trial: Trial
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcome:
    """What a search has found."""

    metric: str  # its label
    kind: str  # of search
    split: str  # by which the folds are made
    current: Trial
    rows: Sequence[Row]  # in the order in which they were made
    failed: Sequence[Trial]
    dropped: int  # trials that successive halving did not finish
    confidence: float
    confirmed: Difference | None = None  # of the best
    confirming: int = 0  # rows that say so
    looks: int = 0  # choices that these were asked about

    @property
    def ranked(self) -> list[Row]:
        """The best first; of equals the one made first."""
        return sorted(self.rows, key=lambda row: -row.trial.mean)

    @property
    def best(self) -> Row | None:
        """The best trial, if it is better than the current settings."""
        first = next(iter(self.ranked), None)
        return first if first and first.difference > 0 else None

    @property
    def distinguished(self) -> bool:
        """Whether the best is better on the rows that no trial saw."""
        return self.confirmed is not None and self.confirmed.low > 0


def compared(trial: Trial, current: Trial, confidence: float, share: float) -> Row:
    """Return the trial's difference to the current settings, paired by fold.

    `share` is the rows left out, over those fitted on. Folds share the rows that they
    are fitted on, so that their scores are no independent sample: Nadeau and Bengio
    (2003), Machine Learning 52, widen the variance of the mean by that share.
    """
    pairs = zip(trial.scores, current.scores, strict=True)
    gaps = [new - old for new, old in pairs]
    mean, count = fmean(gaps), len(gaps)
    error = stdev(gaps) * (1 / count + share) ** 0.5
    reach = quantile(confidence, count - 1) * error
    return Row(trial, mean, mean - reach, mean + reach)
