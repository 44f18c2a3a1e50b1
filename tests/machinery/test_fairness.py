"""Groups that are treated differently are found, equal ones are left alone."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import recall_score

from machinery.judged import params
from machinery.test_compare import good, trial
from mlgitops.judge import compare, fairness
from mlgitops.judgement import failed
from mlgitops.settings import SettingsError

RULES = {**params(["price"])["fairness"], "columns": ["shop"]}


def harsh(frame: pd.DataFrame) -> Any:
    """Return good scores, but "yes" to nearly all of one shop."""
    return np.where(
        frame["shop"] == "a", np.maximum(good(frame), 0.45), good(frame) / 2
    )


def fair(frame: pd.DataFrame) -> Any:
    """Return scores that do not know the shop."""
    return good(frame)


def judged(old: Any, new: Any, **changes: Any) -> Any:
    """Return a trial after the part on fairness."""
    tried = trial(old, new, fairness={**RULES, **changes})
    for side in tried.sides.values():
        side.manifest["threshold"] = 0.4
    fairness.add(tried)
    return tried


def test_a_model_that_treats_a_group_differently_is_refused_by_name() -> None:
    tried = judged(fair, harsh)
    check, odds = tried.found.checks
    assert check.id == "fairness.shop.selection_rate" and not check.passed
    assert odds.id == "fairness.shop.equalized_odds" and check.gate
    assert " of a is " in check.reason and "more than 0.2" in check.reason
    assert check.limit == 0.2 < check.value < check.estimate
    assert odds.passed is (odds.value <= odds.limit)


def test_an_even_model_passes_whatever_the_champion_did() -> None:
    tried = judged(harsh, fair)
    assert not failed(tried.found.checks) and not tried.found.cautions
    (column,) = tried.found.fairness
    rates = ["selection rate", "true positive rate", "false positive rate"]
    assert [gap.rate for gap in column.gaps] == rates
    assert all(gap.champion > gap.challenger for gap in column.gaps)


def test_rates_are_those_of_scikit_learn() -> None:
    tried = judged(fair, fair)
    rows, side = tried.holdout, tried.challenger
    for group in tried.found.fairness[0].groups:
        mine = (rows["shop"] == group.group).to_numpy()
        y, yes = tried.y[mine], side.decisions[mine]
        expected = [
            yes.mean(),
            recall_score(y, yes),
            1 - recall_score(y, yes, pos_label=0),
        ]
        assert group.challenger == pytest.approx(expected)
        assert group.rows == mine.sum()


def test_a_gap_that_chance_could_make_asks_a_person() -> None:
    tried = judged(fair, fair, selection_rate_max=0.0, equalized_odds_max=0.0)
    assert not failed(tried.found.checks)
    assert any("perhaps more than 0" in line for line in tried.found.cautions)
    for check in tried.found.checks:
        assert check.estimate > check.limit >= check.value, "what was compared"


def test_groups_too_small_to_say_anything_ask_a_person() -> None:
    tried = judged(fair, harsh, min_rows=100_000)
    assert tried.found.checks == []
    assert "Nothing can be said" in tried.found.cautions[0]


def test_noise_alone_refuses_few() -> None:
    """Limits that the truth just meets: one in twenty is refused, or fewer."""
    refused, trials = 0, 200
    for seed in range(trials):
        random = np.random.default_rng(seed)

        def noise(frame: pd.DataFrame, random: Any = random) -> Any:
            return random.random(len(frame))

        tried = judged(noise, noise, selection_rate_max=0.0, equalized_odds_max=0.0)
        refused += bool(failed(tried.found.checks))
    assert binomtest(refused, trials, 0.05, "greater").pvalue > 0.001


def test_values_of_a_hidden_column_are_not_written() -> None:
    tried = trial(fair, harsh, fairness=RULES)
    object.__setattr__(tried.contract, "sensitive", ("shop",))
    fairness.add(tried)
    names = [group.group for group in tried.found.fairness[0].groups]
    assert sorted(names) == ["group 1", "group 2", "group 3"]


@pytest.mark.parametrize(
    "change",
    [
        {"min_rows": "many"},
        {"selection_rate_max": -1},
        {"columns": "shop"},
        {"more": 1},
    ],
)
def test_a_setting_that_is_none_is_not_open(change: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="fairness"):
        judged(fair, fair, **change)
    with pytest.raises(SettingsError, match="colour"):
        judged(fair, fair, columns=["colour"])


def test_the_interval_is_the_published_one() -> None:
    """Newcombe (1998), table II, method 10, rows a and g."""
    counts = (np.array([56.0, 5.0]), np.array([70.0, 56.0]))
    others = (np.array([48.0, 0.0]), np.array([80.0, 29.0]))
    gap, low, high = compare.rates(*counts, *others, 0.95)
    assert gap == pytest.approx([0.2, 0.0893], abs=1e-4)
    assert low == pytest.approx([0.0524, -0.0381], abs=1e-4)
    assert high == pytest.approx([0.3339, 0.1926], abs=1e-4)
