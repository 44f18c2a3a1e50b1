"""A number: the target and the answer, both [n], in the target's unit."""

from typing import Any

import msgspec
import numpy as np

from mlgitops import metrics
from mlgitops.judge import compare
from mlgitops.judge.tasks.base import (
    Array,
    Classes,
    Pair,
    Price,
    Rate,
    Section,
    Task,
)
from mlgitops.judgement import Best, Curves, NumberMoves, Residual, TargetSpread
from mlgitops.settings import RegressionWorth


class Regression(Task):
    """The answers for a target that is a number."""

    name = "regression"
    calibrated = False
    paired = "paired mean"
    good = "predicts enough better than the mean of the target does"
    poor = "the model predicts hardly better than the mean of the target does"
    impossible = "the model answers NaN or infinity"
    most = np.inf
    shares = False

    def possible(self, scores: Array) -> Array:
        """Any finite number is an answer."""
        return np.isfinite(scores)

    def decided(self, scores: Array, manifest: Section) -> Array:
        """Return the answer itself: what follows from it is not decided here."""
        return scores

    def right(self, y: Array, decided: Array) -> Array | None:
        """No number is just right."""
        return None

    def _other(self, key: str, pair: Pair) -> compare.Interval:
        """Means of rows; for RMSE by the delta method."""
        if key == "rmse":
            around = pair.mean(_halves)
            roots = [metrics.regression.rmse(pair.y, p) for p in (pair.old, pair.new)]
            gap = roots[1] - roots[0]
            reach = (around.high - around.low) / 2
            return compare.Interval(gap, gap - reach, gap + reach, "delta method")
        share = 1.0 if key == "mae" else 0.5  # the pinball loss at the median
        return pair.mean(lambda y, p: share * np.abs(p - y))

    def curves(
        self, y: Array, scores: Array, manifest: Section, bins: int, classes: Classes
    ) -> Curves:
        """Return the residuals, by the answer."""
        parts = metrics.regression.residuals(y, scores, bins)
        return Curves(residuals=msgspec.convert(parts, list[Residual]))

    def worth(self, y: Array, decided: Array, price: Price) -> Array:
        """Return the cost of each answer, as a worth: 0 is the best there is."""
        error, unit = decided - y, price.section
        assert isinstance(unit, RegressionWorth)
        cost = np.where(error > 0, unit.over * error, unit.under * -error)
        return np.asarray(-cost, np.float64)

    def best(self, y: Array, scores: Array, manifest: Section, price: Price) -> Best:
        """Return the number that, added to every answer, would be worth most.

        That is a quantile of what is left over; Koenker and Bassett (1978).
        """
        assert isinstance(price.section, RegressionWorth)
        over, under = price.section.over, price.section.under
        share = under / (over + under) if over + under else 0.5
        shift = float(np.quantile(y - scores, share, method="inverted_cdf"))
        worth = self.worth(y, scores + shift, price)
        return Best(best=float(worth.mean()), shift=shift)

    def rates(self, y: Array, decided: Array, classes: Classes) -> list[Rate]:
        """Return which way answers err, and how far."""
        every, error = np.ones(len(y), bool), decided - y
        far = np.abs(error)
        return [
            Rate("mean error", "mean error", "mean_error_max", error, every),
            Rate("mean absolute error", "absolute", "absolute_error_max", far, every),
        ]

    def moves(self, old: Array, new: Array, classes: Classes) -> NumberMoves:
        """Return how far answers move, and which way."""
        gap = new - old
        middle, most = np.quantile(np.abs(gap), (0.5, 0.9))
        return NumberMoves(
            up=int((gap > 0).sum()),
            down=int((gap < 0).sum()),
            change=(float(gap.mean()), float(middle), float(most)),
            mean=(float(old.mean()), float(new.mean())),
        )

    def other(self, old: Array, new: Array) -> Array:
        """Return how far the answer moves."""
        return np.asarray(np.abs(new - old))

    def targets(self, old: Any, new: Any, classes: Classes) -> TargetSpread:
        """Return mean and spread of both."""
        return TargetSpread(
            mean=(float(old.mean()), float(new.mean())),
            spread=(float(old.std()), float(new.std())),
        )


def _halves(y: Array, p: Array) -> Array:
    """Return each row's part of the RMSE, by the delta method."""
    root = metrics.regression.rmse(y, p)
    return np.asarray((p - y) ** 2 / (2 * root) if root else p - y)
