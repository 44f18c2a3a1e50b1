"""The gates themselves, measured: how often each is wrong on simulated pairs.

Nothing is trained: scores are drawn, and go through the functions that the judge uses.
What was measured stands in build/calibration.md; `PROOF=1` takes 5,000 pairs.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from machinery.judged import params
from machinery.test_compare import pair
from mlgitops import metrics
from mlgitops.judge import checks, compare, decision_value, fairness, gates, slices
from mlgitops.judge.evaluation import Evaluation, Model
from mlgitops.judgement import Check, MetricResult, failed
from mlgitops.metrics.groups import spread
from mlgitops.pipeline.contract import Contract

PROOF = bool(os.environ.get("PROOF"))
PAIRS = 5_000 if PROOF else 1_500
# Pairs at which a rate far below its level is settled, and the error that a look may
# make; with the last look's they add up to 5 %.
LOOKS = {} if PROOF else {300: 0.005, 800: 0.005, 2_000: 0.01}
MANY = 5_000  # where a rate is at its level, and fewer would not tell
POINT = 0.01  # above its level a gate may measure at most
GAIN = 0.57  # so large that its true difference is the one that 800 rows show
PARAMS = params(["price"])
GATES = gates.parse(PARAMS, "binary")
RULES, PRIMARY = GATES.rules, GATES.metrics[0]
MARGIN = PRIMARY.bounds.margin or 0.0
ALPHA = 1 - RULES.confidence
TABLE: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Write what was measured where a person finds it."""
    yield
    head = [
        "| What | Stated | Measured | 95 % bound | Pairs |",
        "|---|---|---|---|---|",
    ]
    Path("build").mkdir(exist_ok=True)
    text = "\n".join([*head, *sorted(TABLE)]) + "\n"
    Path("build", "calibration.md").write_text(text)


def at_most(
    name: str, level: float, hit: Callable[[int], bool], pairs: int = PAIRS
) -> None:
    """Count hits over the pairs; their upper bound is at most a point above level.

    Fewer pairs are drawn where the bound is that low already.
    """
    found, drawn = 0, 0
    looks = {count: error for count, error in LOOKS.items() if count < pairs}
    for count, error in {**looks, pairs: 0.05 - sum(looks.values())}.items():
        found += sum(map(hit, range(drawn, count)))
        drawn = count
        test = binomtest(found, drawn, alternative="less")
        bound = float(test.proportion_ci(1 - error, method="exact").high)
        if bound <= level + POINT:
            break
    cells = (name, f"≤ {level:.1%}", f"{found / drawn:.2%}", f"{bound:.2%}")
    TABLE.append(f"| {' | '.join(cells)} | {drawn:,} |")
    assert bound <= level + POINT, (name, found, drawn, bound)


def verdict(y: Any, old: Any, new: Any, margin: float = MARGIN) -> Check:
    """Return what the gate on the difference says of a pair."""
    found = metrics.paired.delong(y, old, new, RULES.confidence)
    result = MetricResult(
        id="roc_auc",
        label="ROC AUC",
        better="higher",
        challenger=found.challenger,
        difference=found.difference,
        low=found.low,
        high=found.high,
    )
    return checks.margin(result, margin)


def is_better(check: Check) -> bool:
    """Tell whether the verdict is that the challenger is better."""
    return check.reason == "better than the champion"


def test_an_equal_model_is_seldom_called_better() -> None:
    at_most(
        "an equal model called better",
        ALPHA / 2,
        lambda seed: is_better(verdict(*pair(800, 0.0, seed))),
    )


def test_a_model_that_is_worse_by_the_margin_seldom_passes() -> None:
    true = metrics.paired.delong(*pair(400_000, GAIN), 0.95).difference

    def passes(seed: int) -> bool:
        y, old, new = pair(800, GAIN, seed)
        return verdict(y, new, old, true).passed

    at_most("a model worse by the margin let through", ALPHA / 2, passes)


def test_a_difference_of_the_stated_size_is_found_four_times_in_five() -> None:
    true = metrics.paired.delong(*pair(200_000, GAIN), 0.95).difference
    seen = metrics.paired.delong(*pair(800, GAIN), 0.95)
    least = compare.smallest(seen.low, seen.high, seen.confidence)
    assert true == pytest.approx(least, rel=0.1), "the size that is stated"
    found = sum(is_better(verdict(*pair(800, GAIN, seed))) for seed in range(PAIRS))
    cells = ("a difference of the stated size found", "≥ 80 %", f"{found / PAIRS:.2%}")
    TABLE.append(f"| {' | '.join(cells)} | | {PAIRS:,} |")
    assert 0.8 <= found / PAIRS <= 0.9


# --- means of which few rows decide ------------------------------------------------


def lost(seed: int) -> tuple[Any, float]:
    """Return gains on 2,400 rows, of which one in twenty loses much, and their mean."""
    random = np.random.default_rng(seed)
    much = random.random(2_400) < 0.05
    gains = np.where(much, -random.exponential(20, 2_400), random.normal(size=2_400))
    return gains, -20 * 0.05


def test_losses_on_few_rows_are_seldom_missed() -> None:
    """The control is an interval that is as wide above the mean as below it."""

    def missed(seed: int) -> bool:
        gains, true = lost(seed)
        found = compare.mean_difference(np.zeros(2_400), gains, RULES.confidence)
        return found.low > true

    def missed_by_control(seed: int) -> bool:
        gains, true = lost(seed)
        reach = spread(gains, np.zeros(2_400, int)).reach(RULES.confidence)
        return bool(gains.mean() - reach > true)

    at_most("losses on few rows missed", ALPHA / 2, missed, MANY)
    assert sum(map(missed_by_control, range(PAIRS))) / PAIRS > ALPHA / 2 + POINT


# --- gates that look at many things at once ----------------------------------------

COLUMNS = {
    name: {"type": "category", "missing": False, "categories": list("abcdef")}
    for name in ("first", "second")
} | {"size": {"type": "number", "missing": False}}
CONTRACT = Contract.parse(
    {
        "name": "many",
        "task": "binary",
        "id": "id",
        "time": "time",
        "target": "y",
        "columns": COLUMNS,
    }
)


def evaluation(frame: pd.DataFrame, old: Any, new: Any, **changes: Any) -> Evaluation:
    """Return an evaluation on rows with these scores."""
    settings = {**PARAMS, **changes}
    champion, challenger = (
        Model(Path(), {"threshold": 0.5, "task": "binary"}, each) for each in (old, new)
    )
    return Evaluation(
        contract=CONTRACT,
        params=settings,
        gates=GATES,
        holdout=frame,
        challenger=challenger,
        champion=champion,
        rows=frame,
    )


ROWS = 2_400
LETTERS = np.random.default_rng(0).choice(list("abcdef"), (2, ROWS))
WORDS = pd.DataFrame({"first": LETTERS[0], "second": LETTERS[1]})


def frame(random: np.random.Generator) -> pd.DataFrame:
    """Return rows whose columns say nothing about their target.

    Their words are always the same: to make columns of text takes longer than to judge.
    """
    y = (random.random(ROWS) < 0.5).astype("int8")
    return WORDS.assign(size=random.normal(size=ROWS), y=y)


def test_no_slice_is_refused_too_often() -> None:
    """Worse by the margin itself in each of 16 slices: all at once, at most 5 %."""

    def refused(seed: int) -> bool:
        random = np.random.default_rng(seed)
        rows = frame(random)
        old = np.full(len(rows), 0.5)
        new = old + random.normal(0, RULES.slices.margin**0.5, len(rows))
        evaluated = evaluation(rows, old, new)
        slices.add(evaluated)
        assert evaluated.judgement.slices.looked_at == 16
        return bool(failed(evaluated.judgement.checks))

    at_most("a slice within the margin refused", ALPHA, refused)


def test_no_group_is_refused_too_often() -> None:
    """A gap of exactly the limit between the first group and the five others."""
    section = PARAMS["fairness"] | {"columns": ["first"], "equalized_odds_max": 1.0}

    def refused(seed: int) -> bool:
        random = np.random.default_rng(seed)
        rows = frame(random)
        more = (rows["first"] == "a") * section["selection_rate_max"]
        new = (random.random(len(rows)) < 0.4 + more).astype(float)
        evaluated = evaluation(rows, new, new, fairness=section)
        fairness.add(evaluated)
        assert {check.id.split(".")[1] for check in evaluated.judgement.checks} == {
            "first"
        }
        return bool(failed(evaluated.judgement.checks))

    at_most("a group at its limit refused", ALPHA, refused)


# --- the decision value -------------------------------------------------------------


def decided(seed: int, late: float, champion: bool) -> Evaluation:
    """Return an evaluation of a model that decides yes where y is 1 half of the time.

    And no on a fifth of the rows, of which a third are 1: by the worth of `PARAMS` that
    is worth as much as yes. A share `late` of the others it decides no as well; the
    champion does not.
    """
    random = np.random.default_rng(seed)
    table = frame(random)
    rest = random.random(ROWS) < 0.2
    table["y"] = (random.random(ROWS) < np.where(rest, 1 / 3, 0.5)).astype("int8")
    old = np.where(rest, 0.0, 1.0)
    new = np.where(random.random(ROWS) < late, 0.0, old)
    found = evaluation(table, old, new)
    found.champion = found.champion if champion else None
    return found


def test_decisions_worse_by_the_margin_seldom_pass() -> None:
    """Each of 8 % of the rows loses 5 of the 16 / 3 that a row could gain."""
    margin = 0.08 * 5 / (16 / 3)
    rules = replace(RULES, decision_value=gates.DecisionRule(margin))

    def passes(seed: int) -> bool:
        evaluated = decided(seed, 0.1, True)
        evaluated.gates = replace(GATES, rules=rules)
        decision_value.add(evaluated)
        return not failed(evaluated.judgement.checks)

    at_most("decisions worse by the margin let through", ALPHA / 2, passes, MANY)


def test_a_first_version_worth_as_much_as_one_decision_is_seldom_refused() -> None:
    def refused(seed: int) -> bool:
        evaluated = decided(seed, 0.0, False)
        decision_value.add(evaluated)
        return bool(failed(evaluated.judgement.checks))

    name = "a first version worth as much as one decision for all refused"
    at_most(name, ALPHA / 2, refused)
