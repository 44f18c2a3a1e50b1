"""One of k classes: their places in the contract's list, [n, k] probabilities."""

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
from mlgitops.judgement import (
    Best,
    Bin,
    ClassMoves,
    Curves,
    Matrix,
    Prediction,
    TargetShares,
)
from mlgitops.settings import MulticlassWorth

SHOWN = 10  # moves between two classes that are named


class Multiclass(Task):
    """The answers for a target of several classes."""

    name = "multiclass"
    gates: ClassVar = {"calibration_error": ("max",)}
    calibrated = True
    good = "ranks each class above the rest well enough"
    poor = "the model ranks too poorly to be worth deploying"

    def decided(self, scores: Array, manifest: Section) -> Array:
        """Return the place of the likeliest class, [n]."""
        return np.asarray(scores.argmax(axis=1))

    def _other(self, key: str, pair: Pair) -> compare.Interval:
        """Means of rows where a measure is one, else a bootstrap of what is decided."""
        if key in MEANS:
            return pair.mean(MEANS[key])
        if key == "roc_auc_weighted":
            return pair.area(metrics.paired.delong_weighted, self.paired)
        y, old, new, confidence, clusters = pair
        if key == "calibration_error":
            tops = [metrics.multiclass.top(y, scores) for scores in (old, new)]
            (right, first), (righter, second) = tops
            return compare.bootstrap(
                compare.calibration_error,
                right,
                first,
                second,
                confidence,
                clusters=clusters,
                also=righter,
            )
        k, weighted = old.shape[1], key == "f1_weighted"

        def f1(weights: Array, truth: Array, decided: Array) -> Array:
            return compare.f1(weights, truth, decided, k, weighted)

        decisions = (old.argmax(axis=1), new.argmax(axis=1))
        return compare.bootstrap(
            f1, y, *decisions, confidence, clusters=clusters, whole=True
        )

    def curves(
        self, y: Array, scores: Array, manifest: Section, bins: int, classes: Classes
    ) -> Curves:
        """Calibration of the likeliest class, and the matrix of decisions."""
        top = metrics.multiclass.top(y, scores)
        cells = metrics.multiclass.confusion_matrix(y, scores, len(classes))
        return Curves(
            calibration=msgspec.convert(
                metrics.binary.calibration(*top, bins), list[Bin]
            ),
            matrix=Matrix(list(classes), cells),
        )

    def worth(self, y: Array, decided: Array, price: Price) -> Array:
        """By the row of the truth and the column of the decision."""
        return np.asarray(_table(price)[y, decided])

    def best(self, y: Array, scores: Array, manifest: Section, price: Price) -> Best:
        """Return the worth of deciding by what is expected to be worth most."""
        expected = scores @ _table(price)
        decided = expected.argmax(axis=1)
        best = float(self.worth(y, decided, price).mean())
        return Best(best=best, expected=True)

    def rates(self, y: Array, decided: Array, classes: Classes) -> list[Rate]:
        """Return how often a decision is wrong, and how often each class is decided."""
        every = np.ones(len(y), bool)
        wrong = Rate("error rate", "wrong", "error_rate_max", decided != y, every)
        return [wrong] + [
            Rate(
                f"selection rate of {name}",
                name,
                "selection_rate_max",
                decided == place,
                every,
            )
            for place, name in enumerate(classes)
        ]

    def watched(self, scores: Array, test: Section, classes: Classes) -> Array:
        """Return the probability of the class that the test names, or all of them."""
        if "class" in test:
            return np.asarray(scores[:, list(classes).index(str(test["class"]))])
        return scores

    def moves(self, old: Array, new: Array, classes: Classes) -> ClassMoves:
        """Return how often one class becomes another, the most frequent first."""
        k = len(classes)
        counts = np.bincount(old * k + new, minlength=k * k).reshape(k, k)
        np.fill_diagonal(counts, 0)
        order = np.argsort(-counts, axis=None, kind="stable")[:SHOWN]
        found = [(int(counts.flat[at]), *divmod(int(at), k)) for at in order]
        shares = [np.bincount(each, minlength=k) / len(each) for each in (old, new)]
        return ClassMoves(
            flips=int(counts.sum()),
            moves=[(classes[a], classes[b], n) for n, a, b in found if n],
            shares=[
                (name, float(shares[0][at]), float(shares[1][at]))
                for at, name in enumerate(classes)
            ],
        )

    def gaps(self, old: Array, new: Array) -> Array:
        """Return the largest difference of a probability."""
        return np.asarray(np.abs(new - old).max(axis=1))

    def view(self, scores: Array, of: Array | None) -> Array:
        """Return the probability of the class in question."""
        if of is None:
            return scores
        places = np.broadcast_to(np.asarray(of)[..., None], (*scores.shape[:-1], 1))
        return np.asarray(np.take_along_axis(scores, places, axis=-1)[..., 0])

    def pick(self, means: Array) -> int | None:
        """Return the class whose probability moves most."""
        return int(np.ptp(means, axis=0).argmax())

    def said(self, score: Any, classes: Classes) -> Prediction:
        """Return the likeliest class and its probability."""
        best = int(np.argmax(score))
        return Prediction(float(score[best]), classes[best])

    def true(self, y: Any, classes: Classes) -> str:
        """Return the class's name."""
        return classes[int(y)]

    def targets(self, old: Any, new: Any, classes: Classes) -> TargetShares:
        """Return the two shares of each class."""
        shares = [each.value_counts(normalize=True) for each in (old, new)]
        old, new = shares
        return TargetShares(
            [(n, float(old.get(n, 0.0)), float(new.get(n, 0.0))) for n in classes]
        )


def _table(price: Price) -> Array:
    """Return the worth [true class, decided class]."""
    section, classes = price
    assert isinstance(section, MulticlassWorth)
    rows = [section.worth[name] for name in classes]
    return np.array([[row[name] for name in classes] for row in rows], np.float64)


def _log_loss(y: Array, p: Array) -> Array:
    """Return the log loss of each row, clipped as the metric does."""
    right = p[np.arange(len(y)), y]
    return np.asarray(-np.log(np.clip(right, np.finfo(np.float32).eps, 1)))


def _right(y: Array, p: Array) -> Array:
    """Return 1 where the decision is right."""
    return np.asarray(p.argmax(axis=1) == y, np.float64)


MEANS = {
    "log_loss": _log_loss,
    "brier": metrics.LOSSES["multiclass"][0],
    "accuracy": _right,
}
