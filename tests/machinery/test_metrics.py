"""The metrics against scikit-learn, brute force and a bootstrap."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from mlgitops import metrics
from mlgitops.metrics import binary, multiclass, paired, regression

RNG = np.random.default_rng(3)
Y = (RNG.random(4000) < 0.25).astype("int8")
P = np.clip(0.2 + 0.1 * Y + RNG.normal(0, 0.15, 4000), 0, 1).astype("float32")
ROUGH = np.round(P, 1)  # many ties


@pytest.mark.parametrize("p", [P, ROUGH])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (binary.roc_auc, sk.roc_auc_score),
        (binary.average_precision, sk.average_precision_score),
        (binary.brier, sk.brier_score_loss),
        (binary.log_loss, sk.log_loss),
    ],
)
def test_as_scikit_learn(ours: object, theirs: object, p: np.ndarray) -> None:
    """To the last digits, ties and certain answers included."""
    assert ours(Y, p) == pytest.approx(theirs(Y, p), rel=1e-6)  # type: ignore[operator]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_roc_auc_by_counting_pairs(pairs: list[tuple[bool, int]]) -> None:
    """The share of pairs in the right order, ties half; with one class, ValueError."""
    y = np.array([one for one, _ in pairs], dtype=int)
    p = np.array([score for _, score in pairs]) / 5
    ones, zeros = p[y == 1], p[y == 0]
    if not len(ones) or not len(zeros):
        with pytest.raises(ValueError, match="one class"):
            binary.roc_auc(y, p)
        return
    wins = (ones[:, None] > zeros).mean() + 0.5 * (ones[:, None] == zeros).mean()
    assert binary.roc_auc(y, p) == pytest.approx(wins)
    assert paired.delong(y, p, p, 0.95)[2:5] == (0, 0, 0)


RESAMPLES = 1000


def resamples(rows: int) -> np.ndarray:
    """Return how often each row is in each resample, [r, n]."""
    drawn = RNG.integers(0, rows, (RESAMPLES, rows))
    return np.array([np.bincount(row, minlength=rows) for row in drawn])


def areas(y: np.ndarray, p: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the ROC AUC of each resample, by Mann and Whitney's count of pairs."""
    order = np.argsort(p, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(p[order]) != 0))  # of equal scores
    ones, zeros = (
        np.add.reduceat(counts[:, order] * (y[order] == label), starts, axis=1)
        for label in (1, 0)
    )
    below = np.cumsum(zeros, axis=1) - zeros / 2
    return np.asarray((ones * below).sum(1) / ones.sum(1) / zeros.sum(1))


def near(found: metrics.Difference, resampled: np.ndarray) -> bool:
    """Tell whether an interval is the resamples' to a tenth of its width.

    A 2.5 % quantile of 1,000 has a standard error of 2.1 % of the width.
    """
    limits = np.quantile(resampled, [0.025, 0.975])
    errors = np.abs(limits - [found.low, found.high])
    return bool((errors < (found.high - found.low) / 10).all())


def test_delong_agrees_with_a_bootstrap() -> None:
    """On the rows that were drawn; without their pairing it would not."""
    better = np.clip(P + 0.03 * Y + RNG.normal(0, 0.05, len(P)), 0, 1)
    found = paired.delong(Y, P, better, 0.95)
    assert found.champion == pytest.approx(sk.roc_auc_score(Y, P))
    assert found.challenger == pytest.approx(sk.roc_auc_score(Y, better))
    assert found.difference == found.challenger - found.champion
    counts = resamples(len(Y))
    drawn = counts[0]
    expected = sk.roc_auc_score(np.repeat(Y, drawn), np.repeat(ROUGH, drawn))
    assert areas(Y, ROUGH, counts[:1])[0] == pytest.approx(expected)
    one, two = areas(Y, P, counts), areas(Y, better, counts)
    assert near(found, two - one) and not near(found, two - one[::-1])


def test_delong_covers_the_truth_as_often_as_it_says() -> None:
    """Two equally good models: 90 % of the intervals hold 0 (0.87-0.93 in 400)."""
    inside = 0
    for _ in range(400):
        y = RNG.random(400) < 0.3
        signal = RNG.normal(y, 1)
        pair = [signal + RNG.normal(0, 0.7, 400) for _ in range(2)]
        found = paired.delong(y, *pair, 0.9)
        inside += found.low <= 0 <= found.high
    assert 0.855 < inside / 400 < 0.945


def test_delong_is_antisymmetric_and_widens_with_confidence() -> None:
    """Swapping the models swaps the sign; more confidence, a wider interval."""
    one, two = paired.delong(Y, P, ROUGH, 0.95), paired.delong(Y, ROUGH, P, 0.95)
    assert one.difference == pytest.approx(-two.difference)
    assert one.low == pytest.approx(-two.high)
    wide = paired.delong(Y, P, ROUGH, 0.99)
    assert wide.low < one.low and wide.high > one.high


def test_confusion_at_a_threshold() -> None:
    """The counts of scikit-learn; a probability at the threshold is a yes."""
    found = binary.confusion(Y, P, 0.3)
    rest, false, missed, hit = sk.confusion_matrix(Y, P >= np.float32(0.3)).ravel()
    assert (found["true_negative"], found["false_positive"]) == (rest, false)
    assert (found["false_negative"], found["true_positive"]) == (missed, hit)
    assert found["precision"] == sk.precision_score(Y, P >= np.float32(0.3))
    assert found["recall"] == sk.recall_score(Y, P >= np.float32(0.3))
    at_it = binary.confusion([1], np.array([0.3], dtype="float32"), 0.3)
    assert at_it["true_positive"] == 1
    assert binary.confusion([0], [0.1], 0.3)["precision"] is None


def test_calibration_bins() -> None:
    """Every row is in one bin, 1.0 in the last; perfect answers have no error."""
    found = binary.calibration(Y, ROUGH, bins=5)
    assert sum(entry["rows"] for entry in found) == len(Y)
    here = (P >= 0.2) & (P < 0.4)
    second = binary.calibration(Y, P, bins=5)[1]
    assert second["rows"] == here.sum()
    assert second["observed"] == pytest.approx(Y[here].mean())
    assert second["predicted"] == pytest.approx(P[here].mean(), rel=1e-5)
    assert binary.calibration([1, 0], [1.0, 0.0], bins=5)[-1]["rows"] == 1
    assert binary.calibration_error([1, 0], [1.0, 0.0]) == 0
    assert binary.calibration_error([0, 1], [1.0, 0.0]) == 1


@pytest.mark.parametrize(
    ("y", "p", "words"),
    [
        ([0, 1], [0.1, float("nan")], "not a finite"),
        ([0, 1, 1], [0.1, 0.2], "must be"),
        ([1, 1], [0.1, 0.2], "one class"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    y: list[int], p: list[float], words: str
) -> None:
    """A number made from it would mislead."""
    for metric in (binary.roc_auc, binary.average_precision):
        with pytest.raises(ValueError, match=words):
            metric(y, p)


def test_roc_curve_is_that_of_scikit_learn_in_few_points() -> None:
    """Each point lies on the whole curve, and its area is that of the whole."""
    false, true, _ = sk.roc_curve(Y, P, drop_intermediate=False)
    whole = set(zip(false.round(9), true.round(9), strict=True))
    found = binary.roc_curve(Y, P, 50)
    assert found[0] == [0, 0] and found[-1] == [1, 1] and 40 < len(found) <= 50
    assert {(round(x, 9), round(y, 9)) for x, y in found} <= whole
    assert sk.auc(*zip(*found, strict=True)) == pytest.approx(
        binary.roc_auc(Y, P), abs=2e-3
    )


K = 4
SCORES = RNG.normal(size=(4000, K)) + np.array([0.5, 0.0, 1.0, -0.5])
PK = (np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)).astype("float32")
YK = np.array([RNG.choice(K, p=p / p.sum()) for p in PK.astype(float)])
DECIDED = PK.argmax(axis=1)
OVR = {"multi_class": "ovr", "labels": range(K)}


def auc(y: Any, p: Any, average: str) -> float:
    """Return scikit-learn's, which wants rows that sum to one in float64."""
    rows = np.asarray(p, float)
    rows = rows / rows.sum(axis=1, keepdims=True)
    return float(sk.roc_auc_score(y, rows, average=average, **OVR))


MULTICLASS: dict[str, Callable[[Any, Any], float]] = {
    "roc_auc_macro": lambda y, p: auc(y, p, "macro"),
    "roc_auc_weighted": lambda y, p: auc(y, p, "weighted"),
    "log_loss": lambda y, p: sk.log_loss(y, p / p.sum(axis=1, keepdims=True)),
    "brier": lambda y, p: np.mean(np.sum((p - np.eye(K)[y]) ** 2, axis=1)),
    "accuracy": lambda y, p: sk.accuracy_score(y, p.argmax(axis=1)),
    "f1_macro": lambda y, p: sk.f1_score(y, p.argmax(axis=1), average="macro"),
    "f1_weighted": lambda y, p: sk.f1_score(y, p.argmax(axis=1), average="weighted"),
    "calibration_error": lambda y, p: binary.calibration_error(
        y == p.argmax(axis=1), p.max(axis=1)
    ),
}


@pytest.mark.parametrize("metric", metrics.METRICS["multiclass"], ids=lambda m: m.key)
def test_multiclass_as_scikit_learn(metric: metrics.Metric) -> None:
    """Also where no row is decided as the rarest class."""
    theirs = MULTICLASS[metric.key]
    assert metric.value(YK, PK) == pytest.approx(theirs(YK, PK), rel=1e-5)
    shy = PK * np.array([1, 1, 1, 0.01], dtype="float32")
    shy /= shy.sum(axis=1, keepdims=True)
    assert 3 not in shy.argmax(axis=1) and 3 in YK
    assert metric.value(YK, shy) == pytest.approx(theirs(YK, shy), rel=1e-5)


def test_multiclass_of_two_is_the_binary_metric() -> None:
    """Where both have one: ROC AUC, log loss, and Brier counted twice."""
    both = np.stack([1 - P.astype(float), P.astype(float)], axis=1)
    assert multiclass.roc_auc_macro(Y, both) == pytest.approx(binary.roc_auc(Y, P))
    assert multiclass.log_loss(Y, both) == pytest.approx(binary.log_loss(Y, P))
    assert multiclass.brier(Y, both) == pytest.approx(2 * binary.brier(Y, P))


def test_confusion_matrix_has_a_row_per_true_class() -> None:
    """As scikit-learn's, a class without rows included."""
    found = multiclass.confusion_matrix(YK, PK, K)
    assert found == sk.confusion_matrix(YK, DECIDED, labels=range(K)).tolist()
    some = YK != 1
    found = multiclass.confusion_matrix(YK[some], PK[some], K)
    assert found[1] == [0] * K


@pytest.mark.parametrize(
    ("y", "p", "words"),
    [
        ([0, 1], [[0.5, 0.5], [np.nan, 1]], "not a finite"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "index from 0 to 1"),
        ([0, -1], [[0.5, 0.5], [0.5, 0.5]], "index from 0 to 1"),
        ([0.5, 1], [[0.5, 0.5], [0.5, 0.5]], "index from 0 to 1"),
        ([0, 1], [0.5, 0.5], r"must be \[n\] and \[n, k\]"),
        ([0], [[0.5, 0.5], [0.5, 0.5]], r"must be \[n\] and \[n, k\]"),
    ],
)
def test_what_is_no_class_is_refused(y: Any, p: Any, words: str) -> None:
    """By every metric."""
    for metric in metrics.METRICS["multiclass"]:
        with pytest.raises(ValueError, match=words):
            metric.value(y, p)


def test_a_class_without_rows_has_no_roc_auc() -> None:
    """Its ranking is undefined; the others are measured."""
    some = YK != 1
    for metric in metrics.METRICS["multiclass"]:
        if "roc" in metric.key:
            with pytest.raises(ValueError, match="Not every class"):
                metric.value(YK[some], PK[some])
        else:
            assert np.isfinite(metric.value(YK[some], PK[some]))


V = RNG.normal(100, 20, 3000)
PV = (V + RNG.normal(3, 8, 3000)).astype("float32")
REGRESSION = {
    "rmse": sk.root_mean_squared_error,
    "mae": sk.mean_absolute_error,
    "r2": sk.r2_score,
    "pinball": sk.mean_pinball_loss,
}


@pytest.mark.parametrize("metric", metrics.METRICS["regression"], ids=lambda m: m.key)
def test_regression_as_scikit_learn(metric: metrics.Metric) -> None:
    """And what is no number is refused."""
    theirs = REGRESSION[metric.key]
    assert metric.value(V, PV) == pytest.approx(theirs(V, PV.astype(float)))
    for y, p in (([1, 2], [1, np.nan]), ([1, np.inf], [1, 2]), ([1, 2], [1])):
        with pytest.raises(ValueError, match="finite|must be"):
            metric.value(y, p)


def test_r2_of_one_target_is_refused() -> None:
    """There is nothing to explain."""
    with pytest.raises(ValueError, match="one value"):
        regression.r2([3, 3], [1, 2])


def test_residuals_by_prediction() -> None:
    """Every row in one bin, of about equal rows, in order; the mean is y - p."""
    found = regression.residuals(V, PV, 7)
    assert len(found) == 7 and sum(part["rows"] for part in found) == len(V)
    assert all(a["high"] <= b["low"] for a, b in itertools.pairwise(found))
    mean = sum(part["mean"] * part["rows"] for part in found) / len(V)
    assert mean == pytest.approx(np.mean(V - PV))
    assert all(part["p10"] < part["mean"] < part["p90"] for part in found)
    assert regression.residuals([1.0, 2.0], [1.0, 1.0], 7)[-1]["rows"] == 1


def test_delong_of_two_classes_is_delong() -> None:
    """The macro interval is a generalisation."""
    pair = [np.stack([1 - p, p], axis=1) for p in (P.astype(float), ROUGH)]
    one, two = paired.delong(Y, P, ROUGH, 0.95), paired.delong_macro(Y, *pair, 0.95)
    assert two == pytest.approx(one)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_paired_intervals_agree_with_a_plain_bootstrap(task: str) -> None:
    """Of the primary metric; its values are the metric's own."""
    y, one = (YK, PK.astype(float)) if task == "multiclass" else (V, PV.astype(float))
    noise = RNG.normal(size=one.shape)
    two = one * np.exp(0.4 * noise) if task == "multiclass" else one + 4 * noise
    if task == "multiclass":
        two /= two.sum(axis=1, keepdims=True)
    found = metrics.PAIRED[task](y, one, two, 0.95)
    value = metrics.METRICS[task][0].value
    assert found.champion == pytest.approx(value(y, one))
    assert found.challenger == pytest.approx(value(y, two))
    assert found.difference == found.challenger - found.champion
    counts = resamples(len(y))
    if task == "multiclass":
        resampled = [
            np.mean([areas(y == k, p[:, k], counts) for k in range(K)], axis=0)
            for p in (one, two)
        ]
    else:
        resampled = [
            np.array([value(np.repeat(y, c), np.repeat(p, c)) for c in counts])
            for p in (one, two)
        ]
    assert near(found, resampled[1] - resampled[0])
    same = metrics.PAIRED[task](y, one, one, 0.95)
    assert same.difference == same.low == same.high == 0


@pytest.mark.parametrize("task", metrics.METRICS)
def test_the_loss_of_rows_is_a_measure(task: str) -> None:
    """Its mean is the Brier score, or what R² leaves."""
    y, p = {"binary": (Y, P), "multiclass": (YK, PK), "regression": (V, PV)}[task]
    mean = metrics.LOSSES[task][0](y, p).mean()
    known_as = {m.key: m.value(y, p) for m in metrics.METRICS[task]}
    wanted = 1 - known_as["r2"] if task == "regression" else known_as["brier"]
    assert mean == pytest.approx(wanted)
