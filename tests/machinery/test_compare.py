"""The numbers behind the gates: intervals, slices, business value, on planted pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn import metrics as reference

from machinery.judged import CONTRACT, params, rows
from mlgitops import metrics
from mlgitops.judge import (
    bootstrap,
    business,
    compare,
    gates,
    performance,
    slices,
    weighted_metrics,
)
from mlgitops.judge.compare import Pair
from mlgitops.judge.evaluation import Evaluation, Model
from mlgitops.judge.tasks import TASKS, Price
from mlgitops.judgement import Judgement, Slice
from mlgitops.metrics.groups import Spread
from mlgitops.pipeline.contract import Contract
from mlgitops.settings import BinaryWorth, SettingsError

WORTH = {
    "unit": "euros",
    "true_positive": 5,
    "false_positive": -2,
    "false_negative": -1,
    "true_negative": 0,
}


def pair(n: int = 3000, gain: float = 0.0, seed: int = 1) -> tuple[Any, Any, Any]:
    """Return y, and two calibrated-ish models of it; the second sees `gain` more."""
    random = np.random.default_rng(seed)
    signal, more = random.normal(size=(2, n))
    y = (random.random(n) < 1 / (1 + np.exp(-signal - gain * more))).astype(float)
    noise = random.normal(scale=0.3, size=(2, n))
    old = 1 / (1 + np.exp(-signal - noise[0]))
    return y, old, 1 / (1 + np.exp(-signal - gain * more - noise[1]))


@pytest.mark.parametrize("key", ["average_precision", "calibration_error"])
@pytest.mark.parametrize("n", [500, 30_000])
def test_bootstrap_statistics_are_the_measures_themselves(key: str, n: int) -> None:
    y, old, new = pair(n)
    statistic = getattr(weighted_metrics, key)
    measure = getattr(metrics.binary, key)
    assert statistic(np.ones((1, n)), y, old)[0] == pytest.approx(measure(y, old))
    found = bootstrap.weighted(statistic, Pair(y, old, new, 0.95))
    assert found.difference == pytest.approx(measure(y, new) - measure(y, old))
    assert found.low < found.high


def test_intervals_agree_with_a_plain_loop_over_resamples() -> None:
    y, old, new = pair(2000, gain=0.5)
    random, loop = np.random.default_rng(7), []
    for _ in range(600):
        rows_ = random.integers(0, len(y), len(y))
        loop.append(
            [
                measure(y[rows_], new[rows_]) - measure(y[rows_], old[rows_])
                for measure in (
                    reference.average_precision_score,
                    reference.brier_score_loss,
                )
            ]
        )
    low, high = np.quantile(np.array(loop), [0.025, 0.975], axis=0)
    ours = (
        TASKS["binary"].difference("average_precision", Pair(y, old, new, 0.95)),
        compare.mean_difference((old - y) ** 2, (new - y) ** 2, 0.95),
    )
    for place, found in enumerate(ours):
        width = high[place] - low[place]
        assert found.low == pytest.approx(low[place], abs=0.15 * width)
        assert found.high == pytest.approx(high[place], abs=0.15 * width)


@pytest.mark.parametrize("wrong", [0.0, 0.005])
def test_cells_of_many_rows_give_the_interval_of_the_rows(
    wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the old model is wrong about a few in its highest cell."""
    y, old, new = pair(15_000, gain=0.2)
    old[(np.random.default_rng(4).random(len(y)) < wrong) & (y == 0)] = 1.0
    whole = TASKS["binary"].difference("average_precision", Pair(y, old, new, 0.95))
    monkeypatch.setattr(bootstrap, "CELLS", 1000)
    cells = TASKS["binary"].difference("average_precision", Pair(y, old, new, 0.95))
    width = whole.high - whole.low
    assert cells.low == pytest.approx(whole.low, abs=0.15 * width)
    assert cells.high == pytest.approx(whole.high, abs=0.15 * width)


def test_a_skewed_mean_reaches_further_where_its_few_rows_are() -> None:
    """Of gains alike on both sides of their mean, both ends are as far from it."""
    gains = np.concatenate([np.full(100, -1.0), np.zeros(1_800), np.full(100, 1.0)])
    even = compare.mean_difference(np.zeros(2_000), gains, 0.95)
    reach = 1.959963985 * (200 / 1_999 / 2_000) ** 0.5
    assert even[:3] == pytest.approx((0, -reach, reach))
    gains = np.concatenate([np.full(50, -9.0), np.full(1_950, 1.0)])
    mean, low, high, _ = compare.mean_difference(np.zeros(2_000), gains, 0.95)
    assert mean - low > 1.1 * (high - mean)
    same = compare.mean_difference(np.zeros(2_000), gains, 0.95, np.arange(2_000))
    assert same[:3] == pytest.approx((mean, low, high), rel=0.01)
    one = compare.mean_difference(np.zeros(2), np.ones(2), 0.95, np.zeros(2, int))
    assert (one.low, one.high) == (-np.inf, np.inf)


@pytest.mark.parametrize("skewness", [0.0, 1e-20, -1e-17, 1e-15, -1e-12, 1e-9])
def test_a_skewness_of_rounding_errors_changes_nothing(skewness: float) -> None:
    low, high = Spread(4.0, skewness=skewness).ends(1.0, 0.95)
    assert (low, high) == pytest.approx((1 - 3.91992797, 1 + 3.91992797))
    assert Spread(0.0, skewness=skewness).ends(1.0, 0.95) == (1.0, 1.0)


def test_an_end_of_a_ratio_is_where_the_mean_may_be_nothing() -> None:
    random = np.random.default_rng(3)
    whole, part = random.exponential(2, 500), random.normal(1, 3, 500)
    found = compare.ratio_of_means(part, whole, 0.95)
    assert found.difference == pytest.approx(part.mean() / whole.mean())
    low, high = (compare.mean_difference(end * whole, part, 0.95) for end in found[1:3])
    assert (low.low, high.high) == pytest.approx((0, 0), abs=1e-6)
    rare = np.where(np.arange(500) < 2, 2.0, 0.0)
    assert not np.isfinite(compare.ratio_of_means(part, rare, 0.95).low)


def test_same_rows_same_answer() -> None:
    y, old, new = pair(1000)
    first, second = (
        TASKS["binary"].difference("average_precision", Pair(y, old, new, 0.95))
        for _ in range(2)
    )
    assert first == second


def test_mcnemar_counts_where_one_model_alone_is_right() -> None:
    y = np.array([1.0] * 10 + [0.0] * 10)
    old = np.array([True] * 8 + [False] * 2 + [False] * 10)
    new = np.array([True] * 10 + [False] * 10)
    found = compare.mcnemar(old == (y == 1), new == (y == 1))
    assert (found.only_champion_right, found.only_challenger_right) == (0, 2)
    assert found.p == pytest.approx(0.5)
    assert compare.mcnemar(old, old).p == 1.0
    random = np.random.default_rng(6)
    for share in (0.5, 0.6, 0.9):
        first, second = random.random(500) < share, random.random(500) < 0.5
        found = compare.mcnemar(first, second)
        won, lost = found.only_challenger_right, found.only_champion_right
        exact = binomtest(won, won + lost).pvalue
        assert found.p == pytest.approx(exact, rel=1e-9)


def test_holm_is_as_published() -> None:
    given = np.array([0.01, 0.04, 0.03, 0.005])
    assert compare.holm(given) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_smallest_difference_is_found_four_times_in_five() -> None:
    random = np.random.default_rng(3)
    errors = random.normal(size=4000)
    low, high = -1.96, 1.96  # an interval of one standard error
    least = compare.smallest(low, high, 0.95)
    assert np.mean(errors + least > 1.96) == pytest.approx(0.8, abs=0.02)


# --- the parts, on an evaluation ---------------------------------------------------


def evaluation(old: Any, new: Any, champion: bool = True, **changes: Any) -> Evaluation:
    """Return an evaluation of scores that old and new make of the small project."""
    frame = rows()
    settings = {**params(["price"]), "business": WORTH, **changes}
    settings = {name: part for name, part in settings.items() if part is not None}
    contract = Contract.parse(CONTRACT)
    manifest = {"task": "binary", "threshold": 0.5}
    models = [Model(Path(), manifest, make(frame)) for make in (old, new)]
    return Evaluation(
        contract=contract,
        params=settings,
        gates=gates.parse(settings, "binary"),
        holdout=frame,
        challenger=models[1],
        champion=models[0] if champion else None,
        rows=frame,
    )


def good(frame: pd.DataFrame) -> Any:
    """Return scores that know something."""
    return 1 / (1 + np.exp(-frame["price"].to_numpy(float)))


def bad_in_one_shop(frame: pd.DataFrame) -> Any:
    """Return the same scores, but the opposite in one shop."""
    shop = frame["shop"].to_numpy() == frame["shop"].mode()[0]
    return np.where(shop, 1 - good(frame), good(frame))


def test_a_model_that_fails_one_slice_is_refused_and_the_slice_is_named() -> None:
    evaluated = evaluation(good, bad_in_one_shop)
    slices.add(evaluated)
    (check,) = evaluated.judgement.checks
    assert not check.passed
    assert f"where shop is {evaluated.holdout['shop'].mode()[0]}" in check.reason
    worst = evaluated.judgement.slices.rows[0]
    assert worst.failed and worst.low > 0


def test_an_equal_model_passes_every_slice() -> None:
    evaluated = evaluation(good, good)
    slices.add(evaluated)
    assert evaluated.judgement.checks[0].passed
    assert not any(row.failed for row in evaluated.judgement.slices.rows)


def test_noise_alone_fails_no_slice() -> None:
    """Equally good models that differ by chance, twenty times."""
    for seed in range(20):
        random = np.random.default_rng(seed)

        def noisy(frame: pd.DataFrame, random: Any = random) -> Any:
            return np.clip(good(frame) + random.normal(0, 0.1, len(frame)), 0, 1)

        evaluated = evaluation(noisy, noisy)
        slices.add(evaluated)
        assert evaluated.judgement.checks[0].passed, seed


def test_small_slices_and_hidden_columns_are_not_looked_at() -> None:
    evaluated = evaluation(good, bad_in_one_shop)
    everything = {row.column for row in _slices(evaluated)}
    assert "shop" in everything
    object.__setattr__(evaluated.contract, "sensitive", ("shop",))
    assert "shop" not in {row.column for row in _slices(evaluated)}
    evaluated = evaluation(good, bad_in_one_shop)
    object.__setattr__(evaluated.rules.slices, "min_rows", len(evaluated.holdout) + 1)
    assert _slices(evaluated) == [] and evaluated.judgement.checks == []


def test_a_flag_is_cut_into_its_values_and_a_number_into_quartiles() -> None:
    codes, labels = slices.parts(pd.Series([0.0, 1.0, np.nan, 1.0]))
    assert [labels[code] for code in codes] == ["0", "1", "missing", "1"]
    codes, labels = slices.parts(pd.Series([3.0, 1.0, 2.0, 5.0, 4.0]))
    assert labels[codes[1]] == "first quartile" and labels[codes[3]] == labels[3]
    assert slices.parts(pd.Series([np.nan]))[1] == ["missing"]


def _slices(evaluated: Evaluation) -> list[Slice]:
    slices.add(evaluated)
    assert evaluated.judgement.slices
    return evaluated.judgement.slices.rows


def test_worth_of_decisions_and_the_best_threshold() -> None:
    y = np.array([True, True, False, False])
    scores = np.array([0.9, 0.4, 0.6, 0.1])
    binary, manifest = TASKS["binary"], {"threshold": 0.5}
    found = binary.best(y, scores, manifest, Price(BinaryWorth(**WORTH), ()))
    assert found.best_threshold == 0.4
    assert found.best == pytest.approx((5 + 5 - 2 + 0) / 4)
    decided = binary.decide(scores, manifest)
    assert binary.worth(y, decided, Price(BinaryWorth(**WORTH), ())).tolist() == [
        5,
        -1,
        -2,
        0,
    ]
    never = {**WORTH, "true_positive": -9, "false_positive": -9}
    found = binary.best(y, scores, manifest, Price(BinaryWorth(**never), ()))
    assert found.best_threshold > 0.9 and found.best == pytest.approx(-0.5)


def test_business_value_is_reported_per_thousand_with_an_interval() -> None:
    evaluated = evaluation(good, bad_in_one_shop)
    business.add(evaluated)
    found = evaluated.judgement.business
    assert found.difference == pytest.approx(found.challenger - found.champion)
    assert found.high < 0 and found.best.best >= found.challenger
    alone = evaluation(good, good, champion=False)
    business.add(alone)
    assert alone.judgement.business.champion is None
    none = evaluation(good, good, business=None)
    business.add(none)
    assert none.judgement == Judgement()


@pytest.mark.parametrize(
    "change", [{"unit": None}, {"true_positive": "5"}, {"false_negative": True}]
)
def test_a_value_that_is_no_number_is_refused(change: dict[str, Any]) -> None:
    section = {k: v for k, v in {**WORTH, **change}.items() if v is not None}
    with pytest.raises(SettingsError, match="business"):
        business.add(evaluation(good, good, business=section))


def test_every_difference_has_an_interval() -> None:
    evaluated = evaluation(good, bad_in_one_shop)
    performance.add(evaluated)
    for row in evaluated.judgement.metrics:
        assert row.low <= row.difference <= row.high, row
        assert row.difference == pytest.approx(row.challenger - row.champion)
    assert evaluated.judgement.power.smallest > 0
    assert evaluated.judgement.mcnemar.p < 0.01
