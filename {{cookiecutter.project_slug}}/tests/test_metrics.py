"""The measures against scikit-learn, brute force and a bootstrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as known

from pipeline import metrics

RNG = np.random.default_rng(3)
Y = (RNG.random(4000) < 0.25).astype("int8")
P = np.clip(0.2 + 0.1 * Y + RNG.normal(0, 0.15, 4000), 0, 1).astype("float32")
ROUGH = np.round(P, 1)  # many ties


@pytest.mark.parametrize("p", [P, ROUGH])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (metrics.roc_auc, known.roc_auc_score),
        (metrics.average_precision, known.average_precision_score),
        (metrics.brier, known.brier_score_loss),
        (metrics.log_loss, known.log_loss),
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
            metrics.roc_auc(y, p)
        return
    wins = (ones[:, None] > zeros).mean() + 0.5 * (ones[:, None] == zeros).mean()
    assert metrics.roc_auc(y, p) == pytest.approx(wins)
    assert metrics.delong(y, p, p)[2:5] == (0, 0, 0)


def test_delong_agrees_with_a_bootstrap() -> None:
    """The paired interval is that of 2,000 resamples, to a tenth of its width."""
    better = np.clip(P + 0.03 * Y + RNG.normal(0, 0.05, len(P)), 0, 1)
    found = metrics.delong(Y, P, better)
    assert found.champion == pytest.approx(known.roc_auc_score(Y, P))
    assert found.challenger == pytest.approx(known.roc_auc_score(Y, better))
    assert found.difference == found.challenger - found.champion
    drawn = []
    for _ in range(2000):
        rows = RNG.integers(0, len(Y), len(Y))
        areas = [metrics.roc_auc(Y[rows], p[rows]) for p in (P, better)]
        drawn.append(areas[1] - areas[0])
    low, high = np.quantile(drawn, [0.025, 0.975])
    width = found.high - found.low
    assert abs(found.low - low) < width / 10 and abs(found.high - high) < width / 10


def test_delong_covers_the_truth_as_often_as_it_says() -> None:
    """Two equally good models: 90 % of the intervals hold 0 (0.87-0.93 in 400)."""
    inside = 0
    for _ in range(400):
        y = RNG.random(400) < 0.3
        signal = RNG.normal(y, 1)
        pair = [signal + RNG.normal(0, 0.7, 400) for _ in range(2)]
        found = metrics.delong(y, pair[0], pair[1], confidence=0.9)
        inside += found.low <= 0 <= found.high
    assert 0.855 < inside / 400 < 0.945


def test_delong_is_antisymmetric_and_widens_with_confidence() -> None:
    """Swapping the models swaps the sign; more confidence, a wider interval."""
    one, two = metrics.delong(Y, P, ROUGH), metrics.delong(Y, ROUGH, P)
    assert one.difference == pytest.approx(-two.difference)
    assert one.low == pytest.approx(-two.high)
    wide = metrics.delong(Y, P, ROUGH, confidence=0.99)
    assert wide.low < one.low and wide.high > one.high


def test_confusion_at_a_threshold() -> None:
    """The counts of scikit-learn; a probability at the threshold is a yes."""
    found = metrics.confusion(Y, P, 0.3)
    rest, false, missed, hit = known.confusion_matrix(Y, P >= np.float32(0.3)).ravel()
    assert (found["true_negative"], found["false_positive"]) == (rest, false)
    assert (found["false_negative"], found["true_positive"]) == (missed, hit)
    assert found["precision"] == known.precision_score(Y, P >= np.float32(0.3))
    assert found["recall"] == known.recall_score(Y, P >= np.float32(0.3))
    at_it = metrics.confusion([1], np.array([0.3], dtype="float32"), 0.3)
    assert at_it["true_positive"] == 1
    assert metrics.confusion([0], [0.1], 0.3)["precision"] is None


def test_calibration_bins() -> None:
    """Every row is in one bin, 1.0 in the last; perfect answers have no error."""
    found = metrics.calibration(Y, ROUGH, bins=5)
    assert sum(entry["rows"] for entry in found) == len(Y)
    here = (P >= 0.2) & (P < 0.4)
    second = metrics.calibration(Y, P, bins=5)[1]
    assert second["rows"] == here.sum()
    assert second["observed"] == pytest.approx(Y[here].mean())
    assert second["predicted"] == pytest.approx(P[here].mean(), rel=1e-5)
    assert metrics.calibration([1, 0], [1.0, 0.0], bins=5)[-1]["rows"] == 1
    assert metrics.calibration_error([1, 0], [1.0, 0.0]) == 0
    assert metrics.calibration_error([0, 1], [1.0, 0.0]) == 1


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
    for measure in (metrics.roc_auc, metrics.average_precision):
        with pytest.raises(ValueError, match=words):
            measure(y, p)
