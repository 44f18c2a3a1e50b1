"""Yes or no: the target is 0 or 1, a model gives P(1), a threshold decides."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import msgspec
import numpy as np

from mlgitops import metrics
from mlgitops.judge.bootstrap import weighted
from mlgitops.judge.compare import Array, analytic, row_mean
from mlgitops.judge.tasks.base import Classes, Manifest, Price, Rate, Task
from mlgitops.judge.weighted_metrics import average_precision, calibration_error
from mlgitops.judgement import Best, Bin, Confusion, Curves, TargetRate, YesNoMoves
from mlgitops.metrics.binary import SMALLEST
from mlgitops.settings import BinaryWorth, Worth

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("true_positive", "false_positive", "false_negative", "true_negative")
ROC_POINTS = 40


def log_losses(y: Array, p: Array) -> Array:
    """Return the log loss of each row, clipped as `metrics.binary.log_loss` does."""
    clipped = np.clip(p, SMALLEST, 1 - SMALLEST)
    return np.asarray(-np.where(y == 1, np.log(clipped), np.log1p(-clipped)))


class Binary(Task):
    """The task of a target of 0 and 1."""

    name = "binary"
    nothing = False  # no
    comparisons: ClassVar = {
        "roc_auc": partial(analytic, metrics.paired.delong, "DeLong"),
        "average_precision": partial(weighted, average_precision),
        "log_loss": partial(row_mean, log_losses),
        "brier": partial(row_mean, metrics.binary.losses),
        "calibration_error": partial(weighted, calibration_error),
    }

    def decide(self, p: Array, manifest: Manifest) -> Array:
        """Return yes from the threshold on, bool [n]."""
        return np.asarray(p >= np.float32(manifest["threshold"]))

    def curves(
        self, y: Array, p: Array, manifest: Manifest, bins: int, classes: Classes
    ) -> Curves:
        """Return calibration, ROC, and the four counts at the threshold."""
        threshold = manifest["threshold"]
        counts = metrics.binary.confusion(y, p, threshold)
        cells = {"threshold": threshold, **{kind: counts[kind] for kind in KINDS}}
        calibration = metrics.binary.calibration(y, p, bins)
        return Curves(
            calibration=msgspec.convert(calibration, list[Bin]),
            roc=[(x, y) for x, y in metrics.binary.roc_curve(y, p, ROC_POINTS)],
            confusion=msgspec.convert(cells, Confusion),
        )

    def worth(self, y: Array, decisions: Array, price: Price) -> Array:
        """Return what each decision's kind is worth."""
        worth = price.section
        assert isinstance(worth, BinaryWorth)
        yes = np.where(y == 1, worth.true_positive, worth.false_positive)
        no = np.where(y == 1, worth.false_negative, worth.true_negative)
        return np.where(decisions, yes, no).astype(np.float64)

    def implied_worth(self, threshold: float | None, classes: Classes) -> Worth | None:
        """Return the costs by which it is best to decide yes from the threshold t on.

        Per decision, in units of both mistakes together: t for a false positive, 1 - t
        for a false negative. The ratio t / (1 - t) is that of Elkan (2001), The
        foundations of cost-sensitive learning, IJCAI 17. Without a threshold both cost
        the same.
        """
        t = 0.5 if threshold is None else threshold
        return BinaryWorth("", 0.0, -t, -(1 - t), 0.0)

    def constants(self, classes: Classes) -> Sequence[float]:
        """Return no and yes."""
        return (False, True)

    def best(self, y: Array, p: Array, manifest: Manifest, price: Price) -> Best:
        """Return the threshold worth most on these rows.

        Every prediction is tried as a threshold, and one above all of them ("never").
        """
        order = np.argsort(-p, kind="stable")
        ranked = p[order]
        yes, no = (self.worth(y, np.full(len(y), d), price) for d in (True, False))
        total = float(no.sum()) + np.append(0.0, np.cumsum((yes - no)[order]))
        ends = np.append(0, np.flatnonzero(np.append(np.diff(ranked) != 0, True)) + 1)
        count = int(ends[np.argmax(total[ends])])  # how many rows are decided yes
        never = float(np.nextafter(ranked[0], 2))
        return Best(
            best=float(total[count] / len(y)),
            threshold=manifest["threshold"],
            best_threshold=float(ranked[count - 1]) if count else never,
        )

    def rates(self, y: Array, decisions: Array, classes: Classes) -> list[Rate]:
        """Return Fairlearn's: selection, true and false positive rate."""
        every, odds = np.ones(len(y), bool), "equalized_odds_max"
        return [
            Rate("selection rate", "selected", "selection_rate_max", decisions, every),
            Rate("true positive rate", "true positive rate", odds, decisions, y == 1),
            Rate("false positive rate", "false positive rate", odds, decisions, y != 1),
        ]

    def moves(self, champion: Array, challenger: Array, classes: Classes) -> YesNoMoves:
        """Return how many go from no to yes, and from yes to no."""
        return YesNoMoves(
            to_yes=int((~champion & challenger).sum()),
            to_no=int((champion & ~challenger).sum()),
            yes=(float(champion.mean()), float(challenger.mean())),
        )

    def truth(self, y: float, classes: Classes) -> int:
        """Return 0 or 1."""
        return int(y)

    def targets(
        self, champion: pd.Series, challenger: pd.Series, classes: Classes
    ) -> TargetRate:
        """Return the two rates of 1."""
        return TargetRate(float(champion.mean()), float(challenger.mean()))
