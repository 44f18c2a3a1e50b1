"""What every task has to say to the judge; arrays in, numbers out.

`y` is the truth as the measures take it, [n]; `scores` are answers, [n] or [n, k];
`classes` are the contract's, empty but for multiclass; a `manifest` is the model's.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mlgitops import metrics
from mlgitops.judge import compare
from mlgitops.judgement import (
    Best,
    ClassMoves,
    Curves,
    NumberMoves,
    Prediction,
    TargetRate,
    TargetShares,
    TargetSpread,
    YesNoMoves,
)
from mlgitops.settings import Worth

Array = np.ndarray[Any, Any]
Classes = Sequence[str]
Section = Mapping[str, Any]


class Rate(NamedTuple):
    """What is held alike across groups: the mean of `values` over the rows `among`."""

    name: str
    short: str  # for the head of a table
    limit: str  # the setting in the section fairness
    values: Array  # [n]
    among: Array  # bool [n]


class Pair(NamedTuple):
    """The answers of two models to the same rows, and how sure an interval is to be."""

    y: Array
    old: Array
    new: Array
    confidence: float
    clusters: Array | None = None  # the rows' entities, where rows belong together

    def mean(self, value: Callable[[Array, Array], Array]) -> compare.Interval:
        """Return the interval of a measure that is the mean of rows: value(y, p)."""
        both = (value(self.y, self.old), value(self.y, self.new))
        return compare.mean_difference(*both, self.confidence, self.clusters)

    def area(
        self, paired: Callable[..., metrics.Difference], method: str
    ) -> compare.Interval:
        """Return the interval of a metric that has its own: paired(*self)."""
        found = paired(*self)
        return compare.Interval(found.difference, found.low, found.high, method)


class Price(NamedTuple):
    """What decisions are worth: main's section business, for these classes."""

    section: Worth
    classes: Classes


class Task:
    """The questions; the answers of a task are in its own module."""

    name: str
    gates: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # required beside the primary's
    paired = "DeLong"  # how the interval of the primary metric is found
    calibrated: bool  # whether an answer is a probability
    good: str  # said of a headline at or above the floor
    poor: str  # and of one below
    impossible = "the model answers NaN or numbers that are no probability"
    most = 1.0  # a tolerance in behaviour.yaml is below it
    shares = True  # whether its rates are shares of rows

    @property
    def headline(self) -> metrics.Metric:
        """Return the measure that decides; higher is better."""
        return metrics.METRICS[self.name][0]

    def possible(self, scores: Array) -> Array:
        """Tell of each row whether its answer is one, bool [n]."""
        good = (scores >= 0) & (scores <= 1)
        return np.asarray(good if good.ndim == 1 else good.all(axis=1))

    def decided(self, scores: Array, manifest: Section) -> Array:
        """Return what is decided on each row."""
        raise NotImplementedError

    def right(self, y: Array, decided: Array) -> Array | None:
        """Tell which decisions are right, bool [n]; None where that makes no sense."""
        return np.asarray(decided == y)

    def difference(self, key: str, pair: Pair) -> compare.Interval:
        """Return the paired interval that suits a metric of this task, or the team's.

        Raises:
            ValueError: it is a metric of the team's that cannot be found on these rows.
        """
        if key == self.headline.key:
            return pair.area(metrics.PAIRED[self.name], self.paired)
        if key in {metric.key for metric in metrics.METRICS[self.name]}:
            return self._other(key, pair)
        (value,) = (m.value for m in metrics.of(self.name) if m.key == key)
        return compare.resampled(value, *pair[:4], clusters=pair.clusters)

    def _other(self, key: str, pair: Pair) -> compare.Interval:
        """Return the interval of a measure beside the headline."""
        raise NotImplementedError

    def curves(
        self, y: Array, scores: Array, manifest: Section, bins: int, classes: Classes
    ) -> Curves:
        """Return what the report draws of one model."""
        raise NotImplementedError

    def worth(self, y: Array, decided: Array, price: Price) -> Array:
        """Return what each decision is worth, [n]."""
        raise NotImplementedError

    def best(self, y: Array, scores: Array, manifest: Section, price: Price) -> Best:
        """Return the best that could be made of these answers, `best` per decision."""
        raise NotImplementedError

    def rates(self, y: Array, decided: Array, classes: Classes) -> list[Rate]:
        """Return what is compared across groups."""
        raise NotImplementedError

    def watched(self, scores: Array, test: Section, classes: Classes) -> Array:
        """Return the part of the answers that a test of behaviour is about."""
        return scores

    def moves(
        self, old: Array, new: Array, classes: Classes
    ) -> YesNoMoves | ClassMoves | NumberMoves:
        """Return how decisions change from one model to the other."""
        raise NotImplementedError

    def other(self, old: Array, new: Array) -> Array:
        """Tell of each row how far it is decided otherwise, [n]; 0 is not."""
        return np.asarray(old != new, np.float64)

    def gaps(self, old: Array, new: Array) -> Array:
        """Return how far the answers of two models are apart, [n]."""
        return np.asarray(np.abs(new - old))

    def view(self, scores: Array, of: Array | None) -> Array:
        """Return answers as one number each, [...]; `of` names the class of each."""
        return scores

    def pick(self, means: Array) -> int | None:
        """Return which class [places, k] says most about, or None."""
        return None

    def said(self, score: Any, classes: Classes) -> Prediction:
        """Return an answer as the report shows it."""
        return Prediction(float(score))

    def true(self, y: Any, classes: Classes) -> int | float | str:
        """Return a truth as the report shows it."""
        return float(y)

    def targets(
        self, old: Any, new: Any, classes: Classes
    ) -> TargetRate | TargetSpread | TargetShares:
        """Return how the target of two tables differs (two pandas Series)."""
        raise NotImplementedError
