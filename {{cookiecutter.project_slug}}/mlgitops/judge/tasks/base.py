"""What the judge asks of a task; arrays in, numbers out.

`y` is the target as the metrics take it, [n]; `p` are predictions, [n] or [n, k],
decisions are [n]; `classes` are the contract's, empty but for multiclass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from mlgitops import metrics
from mlgitops.judge import bootstrap
from mlgitops.judge.compare import Array, Interval, Pair
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

if TYPE_CHECKING:
    import pandas as pd

Classes = Sequence[str]
Manifest = Mapping[str, Any]


class Rate(NamedTuple):
    """What fairness compares across groups: a mean over some of the rows."""

    name: str
    short: str  # for the head of a table
    limit: str  # the setting in the section fairness
    values: Array  # [n]
    included: Array  # which rows count, bool [n]


class Price(NamedTuple):
    """What decisions are worth: main's section business, for these classes."""

    section: Worth
    classes: Classes


class Reference(NamedTuple):
    """What the worth of decisions is compared with."""

    decision: float  # the one that is worth most if it is the same for every row
    constant: Array  # what that is worth, [n]
    perfect: Array  # what the best decision on each row is worth, [n]


class Task(ABC):
    """What a task decides and compares; the defaults are those of probabilities."""

    name: ClassVar[str]
    required_gates: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "calibration_error": ("max",)  # beside the primary metric's
    }
    comparisons: ClassVar[Mapping[str, Callable[[Pair], Interval]]]  # by metric
    classifies = True  # a prediction is a probability, a decision right or wrong
    floor_passed = "ranks the classes well enough"
    floor_failed = "the model ranks the classes too poorly to be deployed"
    invalid = "the model answers NaN or numbers that are not probabilities"
    nothing: ClassVar[float | None] = None  # the decision that is no action, if any
    tolerance_limit = 1.0  # a tolerance in behaviour.yaml is below it

    @property
    def primary_metric(self) -> metrics.Metric:
        """Return the metric that decides; higher is better."""
        return metrics.METRICS[self.name][0]

    def valid(self, p: Array) -> Array:
        """Tell of each row whether its prediction is valid, bool [n]."""
        valid = (p >= 0) & (p <= 1)
        return np.asarray(valid if valid.ndim == 1 else valid.all(axis=1))

    @abstractmethod
    def decide(self, p: Array, manifest: Manifest) -> Array:
        """Return the decision on each row."""

    def correct(self, y: Array, decisions: Array) -> Array:
        """Tell which decisions are correct, bool [n]."""
        return np.asarray(decisions == y)

    def difference(self, key: str, pair: Pair) -> Interval:
        """Return the difference of a metric, with the interval that suits it.

        Raises:
            ValueError: a metric of the team's is not defined on these rows.
        """
        if key in self.comparisons:
            return self.comparisons[key](pair)
        (value,) = (m.value for m in metrics.of(self.name) if m.key == key)
        return bootstrap.resampled(value, pair)

    @abstractmethod
    def curves(
        self, y: Array, p: Array, manifest: Manifest, bins: int, classes: Classes
    ) -> Curves:
        """Return what the report draws of one model."""

    @abstractmethod
    def worth(self, y: Array, decisions: Array, price: Price) -> Array:
        """Return what each decision is worth, [n]."""

    def implied_worth(self, threshold: float | None, classes: Classes) -> Worth | None:
        """Return what decisions are worth where no section `business` says it.

        `threshold` is main's, above 0 and below 1. None where nothing is decided.
        """
        return None

    def constants(self, classes: Classes) -> Sequence[float]:
        """Return the decisions that there are."""
        return ()

    def reference(self, y: Array, price: Price) -> Reference:
        """Return the best decision that is the same for every row, and perfect ones."""
        decision, constant, perfect = 0.0, np.full(len(y), -np.inf), None
        for option in self.constants(price.classes):
            worth = self.worth(y, np.full(len(y), option), price)
            perfect = worth if perfect is None else np.maximum(perfect, worth)
            if worth.mean() > constant.mean():
                decision, constant = option, worth
        assert perfect is not None
        return Reference(decision, constant, perfect)

    @abstractmethod
    def best(self, y: Array, p: Array, manifest: Manifest, price: Price) -> Best:
        """Return the best that these predictions could be worth, per decision."""

    @abstractmethod
    def rates(self, y: Array, decisions: Array, classes: Classes) -> list[Rate]:
        """Return what fairness compares across groups."""

    @abstractmethod
    def moves(
        self, champion: Array, challenger: Array, classes: Classes
    ) -> YesNoMoves | ClassMoves | NumberMoves:
        """Return how decisions change from one model to the other."""

    def decision_change(self, champion: Array, challenger: Array) -> Array:
        """Return how far each decision changes, [n]; 0 is not at all."""
        return np.asarray(champion != challenger, np.float64)

    def distance(self, champion: Array, challenger: Array) -> Array:
        """Return how far each row's two predictions are apart, [n]."""
        return np.asarray(np.abs(challenger - champion))

    def of_class(self, p: Array, index: Array | None) -> Array:
        """Return a number per prediction: of several classes, that of the index."""
        return p

    def most_moved_class(self, means: Array) -> int | None:
        """Return the class whose mean predictions [values, k] differ most, if any."""
        return None

    def answer(self, prediction: Array, classes: Classes) -> Prediction:
        """Return one row's prediction as the report shows it."""
        return Prediction(float(prediction))

    def truth(self, y: float, classes: Classes) -> int | float | str:
        """Return one row's target as the report shows it."""
        return float(y)

    @abstractmethod
    def targets(
        self, champion: pd.Series, challenger: pd.Series, classes: Classes
    ) -> TargetRate | TargetSpread | TargetShares:
        """Return how the target differs between two tables."""
