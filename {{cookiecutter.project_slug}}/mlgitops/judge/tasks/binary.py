"""Yes or no: 0/1 in the data, P(1) from the model, a decision from a threshold on."""

from typing import Any, ClassVar

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
from mlgitops.judgement import Best, Bin, Confusion, Curves, TargetRate, YesNoMoves
from mlgitops.settings import BinaryWorth

KINDS = ("true_positive", "false_positive", "false_negative", "true_negative")
CURVE = 40  # points of the ROC curve


class Binary(Task):
    """The answers for a target of 0 and 1."""

    name = "binary"
    gates: ClassVar = {"calibration_error": ("max",)}
    calibrated = True
    good = "ranks the one class above the other well enough"
    poor = "the model ranks too poorly to be worth deploying"

    def decided(self, scores: Array, manifest: Section) -> Array:
        """Yes from the threshold on, bool [n]."""
        return np.asarray(scores >= np.float32(manifest["threshold"]))

    def right(self, y: Array, decided: Array) -> Array | None:
        """Yes to a 1, no to a 0."""
        return np.asarray(decided == (y == 1))

    def _other(self, key: str, pair: Pair) -> compare.Interval:
        """Means of rows for log loss and Brier score, else a bootstrap."""
        if key in MEANS:
            return pair.mean(MEANS[key])
        statistic: compare.Statistic = getattr(compare, key)
        return compare.bootstrap(statistic, *pair[:4], clusters=pair.clusters)

    def curves(
        self, y: Array, scores: Array, manifest: Section, bins: int, classes: Classes
    ) -> Curves:
        """Calibration, ROC, and the four counts at the threshold."""
        threshold = manifest["threshold"]
        counts = metrics.binary.confusion(y, scores, threshold)
        table = metrics.binary.calibration(y, scores, bins)
        decided = {"threshold": threshold, **{kind: counts[kind] for kind in KINDS}}
        return Curves(
            calibration=msgspec.convert(table, list[Bin]),
            roc=[(x, y) for x, y in metrics.binary.roc_curve(y, scores, CURVE)],
            confusion=msgspec.convert(decided, Confusion),
        )

    def worth(self, y: Array, decided: Array, price: Price) -> Array:
        """By the kind that it is."""
        worth = price.section
        assert isinstance(worth, BinaryWorth)
        right = np.where(y == 1, worth.true_positive, worth.false_positive)
        left = np.where(y == 1, worth.false_negative, worth.true_negative)
        return np.where(decided, right, left).astype(np.float64)

    def best(self, y: Array, scores: Array, manifest: Section, price: Price) -> Best:
        """Return the threshold worth most on these rows.

        Every score is tried as a threshold, and one above all of them ("never").
        """
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        yes = self.worth(y, np.ones(len(y), bool), price)
        no = self.worth(y, np.zeros(len(y), bool), price)
        total = float(no.sum()) + np.append(0.0, np.cumsum((yes - no)[order]))
        last = np.append(0, np.flatnonzero(np.append(np.diff(ranked) != 0, True)) + 1)
        place = int(last[np.argmax(total[last])])
        never = float(np.nextafter(ranked[0], 2))
        return Best(
            best=float(total[place] / len(y)),
            threshold=manifest["threshold"],
            best_threshold=float(ranked[place - 1]) if place else never,
        )

    def rates(self, y: Array, decided: Array, classes: Classes) -> list[Rate]:
        """Return Fairlearn's: selection, true and false positive rate."""
        every, odds = np.ones(len(y), bool), "equalized_odds_max"
        one = y == 1
        return [
            Rate("selection rate", "selected", "selection_rate_max", decided, every),
            Rate("true positive rate", "true positive", odds, decided, one),
            Rate("false positive rate", "false positive", odds, decided, ~one),
        ]

    def moves(self, old: Array, new: Array, classes: Classes) -> YesNoMoves:
        """How many go from no to yes, and from yes to no."""
        return YesNoMoves(
            to_yes=int((~old & new).sum()),
            to_no=int((old & ~new).sum()),
            yes=(float(old.mean()), float(new.mean())),
        )

    def true(self, y: Any, classes: Classes) -> int:
        """0 or 1."""
        return int(y)

    def targets(self, old: Any, new: Any, classes: Classes) -> TargetRate:
        """The two rates of 1."""
        return TargetRate(float(old.mean()), float(new.mean()))


def _loss(y: Any, p: Any) -> Any:
    """Return the log loss of each row, clipped as the metric does."""
    least = float(np.finfo(np.float32).eps)
    sure = np.clip(p, least, 1 - least)
    return -np.where(y == 1, np.log(sure), np.log1p(-sure))


MEANS = {"log_loss": _loss, "brier": metrics.LOSSES["binary"][0]}
