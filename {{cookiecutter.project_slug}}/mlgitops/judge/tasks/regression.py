"""A number: target and prediction are both [n], in the target's unit."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import msgspec
import numpy as np

from mlgitops import metrics
from mlgitops.judge.compare import Array, Interval, Pair, analytic, row_mean
from mlgitops.judge.tasks.base import Classes, Manifest, Price, Rate, Reference, Task
from mlgitops.judgement import Best, Curves, NumberMoves, Residual, TargetSpread
from mlgitops.settings import RegressionWorth

if TYPE_CHECKING:
    import pandas as pd


def rmse(pair: Pair) -> Interval:
    """Compare two models by RMSE, with the interval of the delta method."""
    roots = [metrics.regression.rmse(pair.y, p) for p in pair[1:3]]

    def linearised(y: Array, p: Array) -> Array:
        root = metrics.regression.rmse(y, p)
        return np.asarray((p - y) ** 2 / (2 * root) if root else p - y)

    interval, gap = row_mean(linearised, pair), roots[1] - roots[0]
    below, above = (end - interval.difference for end in interval[1:3])
    return Interval(gap, gap + below, gap + above, "delta method")


class Regression(Task):
    """The task of a target that is a number."""

    name = "regression"
    required_gates: ClassVar = {}
    comparisons: ClassVar = {
        "r2": partial(analytic, metrics.PAIRED["regression"], "paired mean"),
        "rmse": rmse,
        "mae": partial(row_mean, lambda y, p: np.abs(p - y)),
        "pinball": partial(row_mean, lambda y, p: np.abs(p - y) / 2),  # of the median
    }
    classifies = False
    floor_passed = "predicts clearly better than the mean of the target"
    floor_failed = "the model predicts hardly better than the mean of the target"
    invalid = "the model answers NaN or infinity"
    tolerance_limit = np.inf

    def valid(self, p: Array) -> Array:
        """Tell of each row whether its prediction is a finite number."""
        return np.asarray(np.isfinite(p))

    def decide(self, p: Array, manifest: Manifest) -> Array:
        """Return the prediction itself: what follows from it is not decided here."""
        return p

    def curves(
        self, y: Array, p: Array, manifest: Manifest, bins: int, classes: Classes
    ) -> Curves:
        """Return the residuals by the prediction."""
        residuals = metrics.regression.residuals(y, p, bins)
        return Curves(residuals=msgspec.convert(residuals, list[Residual]))

    def worth(self, y: Array, decisions: Array, price: Price) -> Array:
        """Return the cost of each prediction, as a worth: 0 is the best there is."""
        error, cost = decisions - y, price.section
        assert isinstance(cost, RegressionWorth)
        costs = np.where(error > 0, cost.over * error, cost.under * -error)
        return np.asarray(-costs, np.float64)

    def reference(self, y: Array, price: Price) -> Reference:
        """Return the number that costs least if it is predicted for every row."""
        number = _cheapest(y, price)
        constant = self.worth(y, np.full(len(y), number), price)
        return Reference(number, constant, np.zeros(len(y)))

    def best(self, y: Array, p: Array, manifest: Manifest, price: Price) -> Best:
        """Return the number that, added to every prediction, would be worth most.

        That is a quantile of the residuals.
        """
        shift = _cheapest(y - p, price)
        worth = self.worth(y, p + shift, price)
        return Best(best=float(worth.mean()), shift=shift)

    def rates(self, y: Array, decisions: Array, classes: Classes) -> list[Rate]:
        """Return the mean error and the mean absolute error."""
        every, error = np.ones(len(y), bool), decisions - y
        size, limit = np.abs(error), "absolute_error_max"
        return [
            Rate("mean error", "mean error", "mean_error_max", error, every),
            Rate("mean absolute error", "absolute", limit, size, every),
        ]

    def moves(
        self, champion: Array, challenger: Array, classes: Classes
    ) -> NumberMoves:
        """Return how far predictions move, and which way."""
        gap = challenger - champion
        median, p90 = np.quantile(np.abs(gap), (0.5, 0.9))
        return NumberMoves(
            up=int((gap > 0).sum()),
            down=int((gap < 0).sum()),
            change=(float(gap.mean()), float(median), float(p90)),
            mean=(float(champion.mean()), float(challenger.mean())),
        )

    def decision_change(self, champion: Array, challenger: Array) -> Array:
        """Return how far each prediction moves."""
        return self.distance(champion, challenger)

    def targets(
        self, champion: pd.Series, challenger: pd.Series, classes: Classes
    ) -> TargetSpread:
        """Return mean and spread of both, to the last digit whatever their order."""
        champion, challenger = champion.sort_values(), challenger.sort_values()
        return TargetSpread(
            mean=(float(champion.mean()), float(challenger.mean())),
            spread=(float(champion.std()), float(challenger.std())),
        )


def _cheapest(numbers: Array, price: Price) -> float:
    """Return the number that costs least if it is predicted for all of these.

    A quantile of them; Koenker and Bassett (1978), Econometrica 46(1).
    """
    assert isinstance(price.section, RegressionWorth)
    over, under = price.section.over, price.section.under
    share = under / (over + under) if over + under else 0.5
    return float(np.quantile(numbers, share, method="inverted_cdf"))
