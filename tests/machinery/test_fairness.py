"""Groups that are treated differently are found, equal ones are left alone."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace
from scipy.stats import binomtest
from sklearn.metrics import recall_score

from machinery.judged import params
from machinery.test_compare import evaluation, good
from mlgitops.judge import compare, fairness
from mlgitops.judgement import failed
from mlgitops.report import Facts
from mlgitops.report.sections import groups
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
    """Return an evaluation after the part on fairness."""
    evaluated = evaluation(old, new, fairness={**RULES, **changes})
    for model in evaluated.models.values():
        model.manifest["threshold"] = 0.4
    fairness.add(evaluated)
    return evaluated


def test_a_model_that_treats_a_group_differently_is_refused_by_name() -> None:
    evaluated = judged(fair, harsh)
    check, odds = evaluated.judgement.checks
    assert check.id == "fairness.shop.selection_rate" and not check.passed
    assert odds.id == "fairness.shop.equalized_odds" and check.gate
    assert " of a is " in check.reason and "0.2" in check.reason
    assert check.limit == 0.2 < check.value < check.estimate
    assert odds.passed is (odds.value <= odds.limit)


def test_an_even_model_passes_whatever_the_champion_did() -> None:
    evaluated = judged(harsh, fair)
    assert not failed(evaluated.judgement.checks) and not evaluated.judgement.cautions
    (column,) = evaluated.judgement.fairness
    rates = ["selection rate", "true positive rate", "false positive rate"]
    assert [gap.rate for gap in column.gaps] == rates
    assert all(gap.champion > gap.challenger for gap in column.gaps)


def test_a_first_version_is_shown_without_a_column_of_a_champion() -> None:
    """It would say "none" in each row, as if something had not been found."""
    judgement = judged(harsh, fair).judgement
    shown = groups.fairness(Facts(state="ready", verdict="", judgement=judgement))
    assert "Champion" in shown, "the control"
    (column,) = judgement.fairness
    gaps, rates = (
        [replace(part, champion=None) for part in parts]
        for parts in (column.gaps, column.groups)
    )
    alone = replace(judgement, fairness=[replace(column, gaps=gaps, groups=rates)])
    shown = groups.fairness(Facts(state="ready", verdict="", judgement=alone))
    assert "hampion" not in shown and "none" not in shown


def test_rates_are_those_of_scikit_learn() -> None:
    evaluated = judged(fair, fair)
    rows, model = evaluated.holdout, evaluated.challenger
    for group in evaluated.judgement.fairness[0].groups:
        mine = (rows["shop"] == group.group).to_numpy()
        y, yes = evaluated.y[mine], model.decisions[mine]
        expected = [
            yes.mean(),
            recall_score(y, yes),
            1 - recall_score(y, yes, pos_label=0),
        ]
        assert group.challenger == pytest.approx(expected)
        assert group.rows == mine.sum()


def test_a_gap_that_chance_could_make_asks_a_person() -> None:
    evaluated = judged(fair, fair, selection_rate_max=0.0, equalized_odds_max=0.0)
    assert not failed(evaluated.judgement.checks)
    assert any("perhaps" in line for line in evaluated.judgement.cautions)
    for check in evaluated.judgement.checks:
        assert check.estimate > check.limit >= check.value, "what was compared"


def test_groups_too_small_to_say_anything_ask_a_person() -> None:
    evaluated = judged(fair, harsh, min_rows=100_000)
    assert evaluated.judgement.checks == []
    assert "not checked" in evaluated.judgement.cautions[0]


def test_noise_alone_refuses_few() -> None:
    """Limits that the truth just meets: one in twenty is refused, or fewer."""
    refused, trials = 0, 200
    for seed in range(trials):
        random = np.random.default_rng(seed)

        def noise(frame: pd.DataFrame, random: Any = random) -> Any:
            return random.random(len(frame))

        evaluated = judged(noise, noise, selection_rate_max=0.0, equalized_odds_max=0.0)
        refused += bool(failed(evaluated.judgement.checks))
    assert binomtest(refused, trials, 0.05, "greater").pvalue > 0.001


def test_values_of_a_hidden_column_are_not_written() -> None:
    evaluated = evaluation(fair, harsh, fairness=RULES)
    object.__setattr__(evaluated.contract, "sensitive", ("shop",))
    fairness.add(evaluated)
    names = [group.group for group in evaluated.judgement.fairness[0].groups]
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
    hits = np.array([[56.0, 5.0], [48.0, 0.0]])
    rows = np.array([[70.0, 56.0], [80.0, 29.0]])
    gap, low, high = compare.difference_of_shares(hits, rows, 0.95)
    assert gap == pytest.approx([0.2, 0.0893], abs=1e-4)
    assert low == pytest.approx([0.0524, -0.0381], abs=1e-4)
    assert high == pytest.approx([0.3339, 0.1926], abs=1e-4)
