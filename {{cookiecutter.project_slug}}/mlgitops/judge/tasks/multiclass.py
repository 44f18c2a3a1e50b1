"""One of k classes: `y` and decisions are indices in the contract's list of classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import msgspec
import numpy as np

from mlgitops import metrics
from mlgitops.judge import bootstrap, weighted_metrics
from mlgitops.judge.compare import Array, Interval, Pair, analytic, row_mean
from mlgitops.judge.tasks.base import Classes, Manifest, Price, Rate, Task
from mlgitops.judgement import (
    Best,
    Bin,
    ClassMoves,
    Curves,
    Matrix,
    Prediction,
    TargetShares,
)
from mlgitops.metrics.binary import SMALLEST
from mlgitops.settings import MulticlassWorth, Worth

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 10  # moves between two classes that are named


def log_losses(y: Array, p: Array) -> Array:
    """Return the log loss of each row, clipped as the metric does."""
    return np.asarray(-np.log(np.clip(p[np.arange(len(y)), y], SMALLEST, 1)))


def calibration_error(pair: Pair) -> Interval:
    """Compare two models by the calibration error of the likeliest class."""
    tops = [metrics.multiclass.top(pair.y, p) for p in pair[1:3]]
    (correct, champion), (challenger_correct, challenger) = tops
    pair = pair._replace(y=correct, champion=champion, challenger=challenger)
    statistic = weighted_metrics.calibration_error
    return bootstrap.weighted(statistic, pair, challenger_correct)


def f1(by_rows: bool, pair: Pair) -> Interval:
    """Compare two models by the mean F1 of the classes."""
    k, (champion, challenger) = pair[1].shape[1], (p.argmax(axis=1) for p in pair[1:3])
    statistic = partial(weighted_metrics.f1, k=k, by_rows=by_rows)
    pair = pair._replace(champion=champion, challenger=challenger)
    return bootstrap.weighted(statistic, pair, discrete=True)


class Multiclass(Task):
    """The task of a target of several classes."""

    name = "multiclass"
    comparisons: ClassVar = {
        "roc_auc_macro": partial(analytic, metrics.paired.delong_macro, "DeLong"),
        "roc_auc_weighted": partial(analytic, metrics.paired.delong_weighted, "DeLong"),
        "log_loss": partial(row_mean, log_losses),
        "brier": partial(row_mean, metrics.multiclass.losses),
        "accuracy": partial(row_mean, lambda y, p: p.argmax(axis=1) == y),
        "f1_macro": partial(f1, False),
        "f1_weighted": partial(f1, True),
        "calibration_error": calibration_error,
    }

    def decide(self, p: Array, manifest: Manifest) -> Array:
        """Return the index of the likeliest class, [n]."""
        return np.asarray(p.argmax(axis=1))

    def curves(
        self, y: Array, p: Array, manifest: Manifest, bins: int, classes: Classes
    ) -> Curves:
        """Return calibration of the likeliest class, and the confusion matrix."""
        top = metrics.multiclass.top(y, p)
        cells = metrics.multiclass.confusion_matrix(y, p, len(classes))
        return Curves(
            calibration=msgspec.convert(
                metrics.binary.calibration(*top, bins), list[Bin]
            ),
            matrix=Matrix(list(classes), cells),
        )

    def worth(self, y: Array, decisions: Array, price: Price) -> Array:
        """Return the worth by true class and decided class."""
        return np.asarray(_worth_table(price)[y, decisions])

    def implied_worth(self, threshold: float | None, classes: Classes) -> Worth | None:
        """Return the costs by which every mistake is as bad: the error rate."""
        rows = {a: {b: -float(a != b) for b in classes} for a in classes}
        return MulticlassWorth("", rows)

    def constants(self, classes: Classes) -> Sequence[float]:
        """Return the index of every class."""
        return range(len(classes))

    def best(self, y: Array, p: Array, manifest: Manifest, price: Price) -> Best:
        """Return the worth of deciding for the largest expected worth."""
        decisions = (p @ _worth_table(price)).argmax(axis=1)
        best = float(self.worth(y, decisions, price).mean())
        return Best(best=best, expected=True)

    def rates(self, y: Array, decisions: Array, classes: Classes) -> list[Rate]:
        """Return how often a decision is wrong, and how often each class is decided."""
        every, limit = np.ones(len(y), bool), "selection_rate_max"
        wrong = Rate("error rate", "wrong", "error_rate_max", decisions != y, every)
        return [wrong] + [
            Rate(f"selection rate of {name}", name, limit, decisions == index, every)
            for index, name in enumerate(classes)
        ]

    def moves(self, champion: Array, challenger: Array, classes: Classes) -> ClassMoves:
        """Return how often one class becomes another, the most frequent first."""
        k = len(classes)
        counts = np.bincount(champion * k + challenger, minlength=k * k).reshape(k, k)
        np.fill_diagonal(counts, 0)
        order = np.argsort(-counts, axis=None, kind="stable")[:SHOWN]
        moves = [(*divmod(int(cell), k), int(counts.flat[cell])) for cell in order]
        before, after = (np.bincount(d, minlength=k) for d in (champion, challenger))
        return ClassMoves(
            flips=int(counts.sum()),
            moves=[(classes[a], classes[b], count) for a, b, count in moves if count],
            shares=_shares(classes, before / before.sum(), after / after.sum()),
        )

    def distance(self, champion: Array, challenger: Array) -> Array:
        """Return the largest difference of a probability."""
        return np.asarray(np.abs(challenger - champion).max(axis=1))

    def of_class(self, p: Array, index: Array | None) -> Array:
        """Return the probability of the class with the index."""
        if index is None:
            return p
        shape = (*p.shape[:-1], 1)
        indices = np.broadcast_to(np.asarray(index)[..., None], shape)
        return np.asarray(np.take_along_axis(p, indices, axis=-1)[..., 0])

    def most_moved_class(self, means: Array) -> int | None:
        """Return the class whose mean probabilities [values, k] differ most."""
        return int(np.ptp(means, axis=0).argmax())

    def answer(self, prediction: Array, classes: Classes) -> Prediction:
        """Return the likeliest class and its probability."""
        likeliest = int(np.argmax(prediction))
        return Prediction(float(prediction[likeliest]), classes[likeliest])

    def truth(self, y: float, classes: Classes) -> str:
        """Return the class's name."""
        return classes[int(y)]

    def targets(
        self, champion: pd.Series, challenger: pd.Series, classes: Classes
    ) -> TargetShares:
        """Return the two shares of each class."""
        counts = (each.value_counts(normalize=True) for each in (champion, challenger))
        shares = (each.reindex(classes, fill_value=0.0) for each in counts)
        return TargetShares(_shares(classes, *shares))


def _shares(
    classes: Classes, champion: Array, challenger: Array
) -> list[tuple[str, float, float]]:
    """Return the two shares of each class beside its name."""
    return list(zip(classes, map(float, champion), map(float, challenger), strict=True))


def _worth_table(price: Price) -> Array:
    """Return the worth [true class, decided class]."""
    section, classes = price
    assert isinstance(section, MulticlassWorth)
    rows = [section.worth[name] for name in classes]
    return np.array([[row[name] for name in classes] for row in rows], np.float64)
