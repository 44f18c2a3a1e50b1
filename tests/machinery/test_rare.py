"""A holdout with few rows of a class: the report says how little they tell."""

from typing import Any

import numpy as np
import pytest

from machinery import test_tasks_judged
from machinery.test_compare import bad_in_one_shop, evaluation, good
from mlgitops import report
from mlgitops.judge import performance, rare
from mlgitops.judge.entities import FEW
from mlgitops.judge.evaluation import Evaluation
from mlgitops.rarest import rarest


def warned(evaluated: Evaluation) -> list[str]:
    """Return the cautions of performance and of rare classes."""
    for part in (performance, rare):
        part.add(evaluated)
    return evaluated.judgement.cautions


def few(positives: int, champion: bool = True) -> Evaluation:
    """Return an evaluation whose holdout has so many 1s."""
    found = evaluation(good, bad_in_one_shop, champion)
    target = (np.arange(len(found.holdout)) < positives).astype("int8")
    found.holdout = found.holdout.assign(returned=target)
    return found


def test_a_holdout_of_few_positives_gets_a_caution() -> None:
    """With their number, the interval's width and what a difference has to be."""
    evaluated = few(8)
    (caution,) = warned(evaluated)
    assert caution.startswith("Only 8 of the 6,000 rows compared are 1 (returned)")
    assert f"below {evaluated.judgement.power.smallest:.2f} between two" in caution
    assert "ROC AUC is only known to ±0." in caution and "95% interval" in caution
    facts = report.Facts(state="ready", verdict="v", cautions=[caution])
    assert "Only 8 of the 6,000 rows" in report.render(facts)


def test_a_first_version_gets_it_too() -> None:
    (caution,) = warned(few(8, champion=False))
    assert "between two models" not in caution and "ROC AUC is only known" in caution


def test_the_width_is_that_of_many_draws() -> None:
    """Of as many 1s, drawn again: it is about the spread of the metric's value."""
    random = np.random.default_rng(2)
    scores = random.normal(size=(400, 29)) + 1, random.normal(size=(400, 500))
    areas = [(a[:, None] > b).mean() for a, b in zip(*scores, strict=True)]
    evaluated = few(29, champion=False)
    evaluated.holdout = evaluated.holdout.head(529)
    ranks = np.concatenate([scores[0][0], scores[1][0]])
    evaluated.challenger.predictions = 1 / (1 + np.exp(-ranks))
    reach = rare._reach(evaluated)
    assert reach == pytest.approx(1.96 * np.std(areas), rel=0.35)


@pytest.mark.parametrize("positives", [FEW, 3000])
def test_enough_rows_of_each_class_get_none(positives: int) -> None:
    assert warned(few(positives)) == []


def test_a_single_positive_has_no_interval() -> None:
    (caution,) = warned(few(1))
    assert "known" not in caution and caution.startswith("Only 1 of")


def test_a_rare_class_of_several_is_named_and_a_number_has_none() -> None:
    good, other = test_tasks_judged.good, test_tasks_judged.bad_in_one_shop
    classes = test_tasks_judged.evaluation("multiclass", good, other)
    assert warned(classes) == []
    place = np.array(["low", "mid", "high"])[np.arange(6000) % 2]
    place[:5] = "high"
    classes = test_tasks_judged.evaluation("multiclass", good, other)
    classes.holdout = classes.holdout.assign(returned=place)
    (caution,) = warned(classes)
    assert caution.startswith("Only 5 of the 6,000 rows compared are high")
    numbers: Any = test_tasks_judged.evaluation("regression", good, other)
    assert warned(numbers) == []


def test_the_rarest_class_is_one_without_a_row() -> None:
    assert rarest(np.array([0, 0, 2]), ("a", "b", "c")) == ("b", 0)
    assert rarest(np.array([1.0, 0.0, 1.0])) == ("0", 1)
