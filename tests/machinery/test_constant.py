"""A first version is better than a constant, and worth more than doing nothing.

With an interval, by default, and whatever the task: what is planted here passed before.
"""

import re
from typing import Any

import numpy as np
import pytest

from machinery import judged, test_compare
from machinery.judged import WORTH
from machinery.test_compare import good
from mlgitops import report, settings
from mlgitops.judge import business, constant, decision_value, gates, override
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judge.tasks import TASKS
from mlgitops.judgement import Business, Check, Judgement, failed
from mlgitops.report.sections import decisions

PARTS = (constant, business, decision_value)
POOR = {**WORTH, "false_positive": -40}  # no threshold of these scores is worth it


def flat(rows: Any) -> np.ndarray:
    """Return the same score for every row."""
    return np.full(len(rows), 0.5)


def first(score: Any, worth: Any = None, threshold: float = 0.5) -> Evaluation:
    """Return an evaluation of a first version."""
    found = test_compare.evaluation(good, score, False, business=worth)
    found.challenger.manifest = {"task": "binary", "threshold": threshold}
    return found


def few(evaluated: Evaluation, positives: int, noise: float) -> Evaluation:
    """Leave so many rows of the rarer class, and make the scores worse."""
    random = np.random.default_rng(5)
    y = evaluated.y
    rows = [*np.flatnonzero(y == 1)[:positives], *np.flatnonzero(y == 0)]
    kept = evaluated.holdout.iloc[rows].reset_index(drop=True)
    p = evaluated.challenger.predictions[rows]
    evaluated.challenger.predictions = np.clip(
        p + noise * random.normal(size=len(p)), 0, 1
    )
    evaluated.holdout = kept
    vars(evaluated).pop("y", None)
    return evaluated


def checks(evaluated: Evaluation) -> dict[str, Check]:
    """Return the checks by their ids."""
    for part in PARTS:
        part.add(evaluated)
    return {check.id: check for check in evaluated.judgement.checks}


def refused(evaluated: Evaluation) -> list[str]:
    """Return the ids of the checks that failed."""
    return sorted(check.id for check in failed(list(checks(evaluated).values())))


@pytest.mark.parametrize("worth", [WORTH, None], ids=["business", "threshold"])
def test_a_good_first_version_passes(worth: Any) -> None:
    evaluated = first(good, worth)
    assert refused(evaluated) == []
    found = {check.id: check for check in evaluated.judgement.checks}
    check = found["constant"]
    assert check.gate and check.metric == "roc_auc" and check.limit == 0.01
    assert check.statistic == "lower bound" and check.value == check.interval[0] > 0.1
    assert ("business.min" in found) == (worth is not None)


def test_a_constant_score_is_refused() -> None:
    """Whatever its gates' floor: it is no better than itself."""
    evaluated = first(flat)
    check = checks(evaluated)["constant"]
    assert not check.passed and check.value == 0
    assert check.reason.startswith("no better than the same prediction for every row")


def test_too_few_positives_are_refused() -> None:
    """The value is above the floor; the interval is not above a constant's."""
    evaluated = few(first(good), 12, 0.5)
    check = checks(evaluated)["constant"]
    assert check.estimate > 0.01 and check.value < 0.01 and not check.passed
    assert "not shown to be better" in check.reason and "12 have" in check.reason
    assert refused(few(first(good), 12, 0.0)) == []  # what is clear needs no more


def test_a_negative_business_value_is_refused() -> None:
    """Doing nothing is worth 0; on the rows of the holdout the model is worth less."""
    evaluated = first(good, POOR, 0.3)
    check = checks(evaluated)["business.min"]
    assert not check.passed and check.estimate < 0 and check.interval[1] < 0
    assert "worth less than deciding 0" in check.reason
    assert "train.threshold" in check.reason and "euros per 1,000" in check.unit


def test_a_business_value_that_may_be_negative_is_refused() -> None:
    """24 positives leave it open, on either side: it is not deployed to find out."""
    counted = few(first(good, WORTH, 0.7), 24, 0.1)
    yes = counted.challenger.predictions >= 0.7
    right, wrong = ((yes & (counted.y == truth)).sum() for truth in (1, 0))
    assert right > 5 and wrong > 5
    even = -WORTH["true_positive"] * right / wrong
    for share, sign in ((1.1, -1), (0.9, 1)):
        price = {**WORTH, "false_positive": float(share * even)}
        check = checks(few(first(good, price, 0.7), 24, 0.1))["business.min"]
        assert check.interval[0] < 0 < check.interval[1] and not check.passed
        assert check.estimate * sign > 0
        assert "not shown to be worth more" in check.reason


def test_against_a_champion_the_margins_decide() -> None:
    found = test_compare.evaluation(good, good, True, business=POOR)
    found.challenger.manifest = {"task": "binary", "threshold": 0.3}
    found.champion.manifest = {"task": "binary", "threshold": 0.3}
    assert not {"constant", "business.min"} & set(checks(found))


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_every_task_has_it(task: str) -> None:
    """A constant is the mean of the target, or the same probabilities."""
    random = np.random.default_rng(3)
    count, k = 600, 3
    if task == "multiclass":
        y: Any = random.integers(0, k, count)
        sharp = np.full((count, k), 0.2) + 0.4 * np.eye(k)[y]
        blunt = np.full((count, k), 1 / k)
    else:
        y = random.normal(50, 10, count)
        sharp, blunt = y + random.normal(0, 5, count), np.full(count, 50.0)
    for p, passes in ((sharp, True), (blunt, False)):
        found = planted(task, y, p)
        constant.add(found)
        (check,) = found.judgement.checks
        assert check.passed is passes, check
        assert check.metric == TASKS[task].primary_metric.key


def planted(task: str, y: Any, p: Any) -> Any:
    """Return as much of an evaluation as the check reads."""
    from types import SimpleNamespace

    from mlgitops.pipeline.contract import Contract

    contract = Contract.parse(judged.contract(task))
    rules = gates.parse(judged.params(["shop"], task), task).rules
    return SimpleNamespace(
        contract=contract,
        task=TASKS[task],
        y=y,
        groups=None,
        rules=rules,
        champion=None,
        challenger=SimpleNamespace(predictions=p),
        split=SimpleNamespace(split="time"),
        judgement=Judgement(),
    )


def test_it_is_on_by_default_and_a_limit_of_its_own_is_taken() -> None:
    params = judged.params(["shop"], "binary")
    params["gates"].pop("constant", None)
    assert gates.parse(params, "binary").rules.constant.min == 0.01
    params["gates"]["constant"] = {"min": 0.05}
    assert gates.parse(params, "binary").rules.constant.min == 0.05
    params["gates"]["constant"] = {"min": 0}
    with pytest.raises(settings.SettingsError, match="between"):
        gates.parse(params, "binary")
    assert {"constant", "business"} <= set(override.overridable("binary"))


def test_the_report_has_its_lines() -> None:
    evaluated = first(good, POOR, 0.3)
    found = checks(evaluated)
    for check in (found["constant"], found["business.min"]):
        row = report.sections.record.check_row(check)
        assert row[1] == check.title and "lower bound" in row[2]
        digits = re.search(r"estimate \S+?\d(\.\d{4})?,", row[2])
        assert digits and bool(digits[1]) == (not check.unit), "of money, no fractions"
    worth = evaluated.judgement.business
    assert isinstance(worth, Business) and worth.nothing == 0  # by WORTH
    sentence = decisions._worth(worth)
    assert "doing nothing" in sentence and "interval" in sentence
