"""The decision threshold has a gate of its own: what the decisions are worth."""

from typing import Any

import msgspec
import numpy as np
import pytest

from machinery import judged, test_compare, test_tasks_judged
from machinery.judged import WORTH, params
from machinery.test_compare import good
from machinery.test_validate import Bench, bench, linear
from mlgitops import judgement, report, settings
from mlgitops.judge import compare, decision_value, override
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judge.tasks import TASKS, Price
from mlgitops.judgement import Check, failed
from mlgitops.pipeline.contract import Contract
from mlgitops.report.sections.record import check_row
from mlgitops.settings import SettingsError

__all__ = ["bench"]
BOTH = [WORTH, None]  # with the section `business`, and without
BOTH_IDS = ["business", "threshold"]


def evaluation(
    threshold: float, business: Any = WORTH, champion: bool = True
) -> Evaluation:
    """Return an evaluation of the same scores: the champion decides from 0.5 on."""
    found = test_compare.evaluation(good, good, champion, business=business)
    found.challenger.manifest = {"task": "binary", "threshold": threshold}
    return found


def checks(evaluated: Evaluation) -> dict[str, Check]:
    """Return the checks of the decision value by their ids."""
    decision_value.add(evaluated)
    return {check.id: check for check in evaluated.judgement.checks}


def refused(evaluated: Evaluation) -> list[str]:
    """Return the ids of the checks that failed."""
    return [check.id for check in failed(list(checks(evaluated).values()))]


@pytest.mark.parametrize("champion", [True, False], ids=["champion", "first"])
@pytest.mark.parametrize("business", BOTH, ids=BOTH_IDS)
@pytest.mark.parametrize(("threshold", "usual"), [(0.0, 1), (1.0, 0)])
def test_one_decision_for_every_row_is_refused(
    threshold: float, usual: int, business: Any, champion: bool
) -> None:
    found = checks(evaluation(threshold, business, champion))
    check = found["decision_value.min"]
    assert not check.passed and check.value == 0 and check.unit == "rows"
    assert f"decides {usual} for every row" in check.reason
    assert "train.threshold" in check.reason


@pytest.mark.parametrize("business", BOTH, ids=BOTH_IDS)
@pytest.mark.parametrize("threshold", [0.03, 0.93])
def test_a_threshold_that_loses_what_decisions_are_worth_is_refused(
    threshold: float, business: Any
) -> None:
    """Though it decides either way, and all that the scores say is as before."""
    found = checks(evaluation(threshold, business))
    check = found["decision_value.margin"]
    assert not check.passed and check.value < check.limit == -0.03
    assert check.reason.startswith("worse than the champion")
    assert found["decision_value.min"].passed


CHEAP = {**WORTH, "false_positive": -5}  # the better decision for all rows is yes


@pytest.mark.parametrize("business", [CHEAP, None], ids=BOTH_IDS)
def test_a_first_version_worth_less_than_one_decision_is_refused(business: Any) -> None:
    evaluated = evaluation(0.9, business, champion=False)
    check = checks(evaluated)["decision_value.min"]
    assert not check.passed and check.value < 0 and check.operator == ">="
    assert check.reason.startswith("worth less than deciding 1 for every row")
    assert evaluated.judgement.decision_value.challenger < 0


@pytest.mark.parametrize("business", BOTH, ids=BOTH_IDS)
def test_a_good_threshold_passes(business: Any) -> None:
    """The champion's, and one that suits better what decisions are worth."""
    assert refused(evaluation(0.5, business)) == []
    assert refused(evaluation(0.5, business, champion=False)) == []
    assert refused(evaluation(0.45, business)) == []
    first = checks(evaluation(0.45, business, champion=False))
    assert first["decision_value.min"].reason.startswith("worth more than deciding 1")
    assert "no champion yet" in first["decision_value.margin"].reason


def test_a_first_version_is_not_asked_to_prove_that_it_is_worth_more() -> None:
    evaluated = evaluation(0.85, champion=False)
    check = checks(evaluated)["decision_value.min"]
    assert check.passed and check.interval[0] < 0 < check.interval[1]
    assert check.reason.startswith(
        "not shown to be worth less than deciding 1 for every row"
    )
    assert "upper bound" in check.reason and check_row(check)[3] == "upper bound ≥ +0"


def test_against_a_champion_the_margin_decides() -> None:
    """Of two that are worth less than one decision for all, the better one passes."""
    evaluated = evaluation(0.9)
    evaluated.champion.manifest = {"task": "binary", "threshold": 0.93}
    assert refused(evaluated) == []
    assert evaluated.judgement.decision_value.challenger < 0


def test_it_is_a_share_whatever_the_unit() -> None:
    """As it says: of the way from the best single decision to perfect decisions."""
    found = evaluation(0.4)
    decision_value.add(found)
    dear = {k: v if k == "unit" else 60 * v for k, v in WORTH.items()}
    other = evaluation(0.4, dear)
    decision_value.add(other)
    value = found.judgement.decision_value
    assert other.judgement.decision_value.challenger == pytest.approx(value.challenger)
    assert other.judgement.decision_value.low == pytest.approx(value.low)
    y = found.y == 1
    worth = np.where(found.challenger.decisions, np.where(y, 20, -10), 0).mean()
    constant, perfect = np.where(y, 20, -10).mean(), np.where(y, 20, 0).mean()
    expected = (worth - constant) / (perfect - constant)
    assert value.challenger == pytest.approx(expected)
    assert value.difference == pytest.approx(value.challenger - value.champion)
    assert value.constant == 1 and value.stated


@pytest.mark.parametrize("t", [0.05, 0.3, 0.5, 0.8])
def test_costs_that_a_threshold_implies_make_it_the_best(t: float) -> None:
    """Of the two decisions on a row, yes is expected to cost less from t on."""
    binary = TASKS["binary"]
    price = Price(binary.implied_worth(t, ()), ())
    y = np.array([1, 0])
    yes, no = (binary.worth(y, np.full(2, d), price) for d in (True, False))
    for p in (t - 0.01, t + 0.01):
        chances = np.array([p, 1 - p])
        assert ((chances * yes).sum() > (chances * no).sum()) == (p > t)
    assert -yes[1] / -no[0] == pytest.approx(t / (1 - t))


def test_the_costs_are_those_of_mains_threshold_not_of_the_proposals() -> None:
    """Without `business` a proposal would else be the best by its own costs."""
    evaluated = evaluation(0.93, None)
    decision_value.add(evaluated)
    found = evaluated.judgement.decision_value
    assert found.threshold == params(["price"])["train"]["threshold"] == 0.3
    assert not found.stated and found.challenger < 0


@pytest.mark.parametrize("threshold", [0, 1.0])
def test_a_threshold_of_main_without_a_ratio_does_not_shut_the_gate(
    threshold: float,
) -> None:
    """Else nothing could replace it any more."""
    evaluated = evaluation(0.7, None)
    evaluated.params["train"] |= {"threshold": threshold}
    evaluated.champion.manifest = {"task": "binary", "threshold": threshold}
    assert refused(evaluated) == []
    assert evaluated.judgement.decision_value.threshold is None


def test_rows_of_one_entity_count_as_one() -> None:
    """A first version on rows of a single one is not refused by an interval of 0."""
    alone, many, one = (evaluation(0.4, champion=False) for _ in range(3))
    many.groups = np.arange(len(many.holdout)) // 30
    one.groups = np.zeros(len(one.holdout), np.int64)
    assert refused(alone) == refused(many) == []
    assert alone.judgement.decision_value.low != many.judgement.decision_value.low
    one.challenger.manifest = {"task": "binary", "threshold": 0.9}
    assert refused(one) == [] and one.judgement.decision_value.low is None
    again = judgement.decode(msgspec.json.encode(one.judgement))
    assert again.decision_value == one.judgement.decision_value
    gap = compare.mean_difference(np.zeros(9), np.ones(9), 0.95, np.zeros(9, np.int64))
    assert gap.high == np.inf


@pytest.mark.parametrize("low", [-np.inf, np.nan])
def test_an_interval_with_one_end_is_none(
    low: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of species told apart but for one bird: JSON has no infinity."""
    gap = compare.Interval(0.98, low, 1.02, "ratio of paired means")
    monkeypatch.setattr(compare, "ratio_of_means", lambda *_: gap)
    found = evaluation(0.5, champion=False)
    check = checks(found)["decision_value.min"]
    assert check.passed and check.interval is None
    again = judgement.decode(msgspec.json.encode(found.judgement))
    assert again.checks == found.judgement.checks
    assert "nan" not in str(check_row(check)).lower()


def test_a_worth_that_leaves_nothing_to_decide_is_one_sentence() -> None:
    flat = {**WORTH, "false_positive": 1}  # a yes is worth more, whatever the row
    with pytest.raises(SettingsError, match="a right decision has to be worth more"):
        decision_value.add(evaluation(0.5, flat))


@pytest.mark.parametrize(
    ("task", "worth", "named"),
    [
        ("regression", {"unit": "euros", "over": 0, "under": 1}, "above 0"),
        ("regression", {"unit": "euros", "over": 1, "under": 0}, "above 0"),
        ("multiclass", None, "as the best decision for every row"),
    ],
)
def test_a_worth_by_which_one_decision_is_always_the_best_is_refused(
    task: str, worth: Any, named: str
) -> None:
    terms = Contract.parse(judged.contract(task))
    first = terms.classes[0] if terms.classes else ""
    names = terms.classes
    table = {true: {c: float(c == first) for c in names} for true in names}
    section = worth or {"unit": "euros", "worth": table}
    with pytest.raises(SettingsError, match=named):
        settings.business({"business": section}, terms)
    for true in names:  # the control
        table[true][true] = 2.0
    section |= {} if names else {"over": 2, "under": 2}
    assert settings.business({"business": section}, terms)


# --- other tasks --------------------------------------------------------------------


def of_task(task: str, new: Any, champion: bool = True, **more: Any) -> Evaluation:
    """Return an evaluation of another task, whose champion knows the price."""
    old = test_tasks_judged.good
    found = test_tasks_judged.evaluation(task, old, new, champion, **more)
    found.params = {n: part for n, part in found.params.items() if part is not None}
    return found


def by_price(frame: Any, task: str) -> Any:
    """Return probabilities that avoid what costs most."""
    price = frame["price"].to_numpy(float)
    scores = np.stack([-price - 1.5, np.zeros(len(price)), price - 1.5], axis=1)
    odds = np.exp(scores)
    return odds / odds.sum(axis=1, keepdims=True)


def one_class(frame: Any, task: str) -> Any:
    """Return probabilities of which "mid" is always the largest."""
    return np.tile([0.2, 0.6, 0.2], (len(frame), 1))


@pytest.mark.parametrize("business", ["theirs", None])
@pytest.mark.parametrize("champion", [True, False])
def test_one_class_for_every_row_is_refused(champion: bool, business: Any) -> None:
    more = {} if business else {"business": None}
    good, same = (
        of_task("multiclass", new, champion, **more) for new in (by_price, one_class)
    )
    for evaluated in (good, same):
        if champion:
            evaluated.champion.predictions = by_price(evaluated.holdout, "multiclass")
    assert refused(good) == []
    found = checks(same)
    assert not found["decision_value.min"].passed
    assert "decides mid for every row" in found["decision_value.min"].reason
    assert "threshold" not in found["decision_value.min"].reason
    assert found["decision_value.margin"].passed is not champion


def test_a_first_version_is_held_to_what_its_decisions_can_be() -> None:
    """The likeliest class is decided whatever `business` states: it may be worth less.

    Where every mistake costs the same, the likeliest class is the one to decide.
    """

    def wild(frame: Any, task: str) -> Any:
        return np.random.default_rng(0).dirichlet(np.ones(3), len(frame))

    stated = of_task("multiclass", wild, False)
    assert refused(stated) == [] and stated.judgement.decision_value.high < 0
    assert refused(of_task("multiclass", wild, False, business=None)) == [
        "decision_value.min"
    ]


def test_of_classes_every_mistake_costs_the_same_without_business() -> None:
    evaluated = of_task("multiclass", test_tasks_judged.good, business=None)
    decision_value.add(evaluated)
    y, decisions = evaluated.y, evaluated.challenger.decisions
    most = np.bincount(y).max() / len(y)
    expected = ((decisions == y).mean() - most) / (1 - most)
    found = evaluated.judgement.decision_value
    assert found.challenger == pytest.approx(expected) and found.threshold is None


def test_numbers_decide_something_only_by_business() -> None:
    good = test_tasks_judged.good
    (check,) = checks(of_task("regression", good, business=None)).values()
    assert check.passed and "no section business" in check.reason
    assert check_row(check)[0].endswith("not compared")
    assert refused(of_task("regression", good)) == []

    def constant(frame: Any, task: str) -> Any:
        return np.full(len(frame), 25.0)

    assert refused(of_task("regression", constant)) == [
        "decision_value.min",
        "decision_value.margin",
    ]

    def shifted(frame: Any, task: str) -> Any:
        return good(frame, task) - 12

    assert refused(of_task("regression", shifted)) == ["decision_value.margin"]
    assert refused(of_task("regression", shifted, False)) == []


def test_the_best_number_for_every_row_has_the_value_0() -> None:
    task, contract = TASKS["regression"], Contract.parse(judged.contract("regression"))
    evaluated = of_task("regression", test_tasks_judged.good)
    price = Price(decision_value.settings.business(evaluated.params, contract), ())
    reference = task.reference(evaluated.y, price)
    for number in np.quantile(evaluated.y, np.linspace(0.02, 0.98, 49)):
        worth = task.worth(evaluated.y, np.full(len(evaluated.y), number), price)
        assert worth.mean() <= reference.constant.mean() + 1e-9
    assert (reference.perfect == 0).all()


# --- the whole judge, report, audit, override ---------------------------------------


@pytest.mark.parametrize("champion", [True, False], ids=["champion", "first"])
@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_judge_refuses_a_model_for_its_threshold_alone(
    threshold: float, champion: bool, bench: Bench
) -> None:
    if champion:
        bench.put("champion", linear({"price": 1.0}))
    bench.put("challenger", linear({"price": 1.0}), threshold=threshold)
    found, ids = bench.judged()
    assert "decision_value.min" in ids
    value = {"decision_value", "business"}  # the latter of a first version
    assert {name.split(".")[0] for name in ids} <= {*value, "fairness"}
    assert found.decision_value.champion is None or champion


def test_the_judge_takes_a_better_threshold(bench: Bench) -> None:
    bench.put("champion", linear({"price": 1.0}))
    bench.put("challenger", linear({"price": 1.0}), threshold=0.35)
    found, ids = bench.judged()
    assert ids == [] and found.decision_value.low > 0


def test_report_and_audit_show_it() -> None:
    """In numbers that the ledger keeps, and one sentence on what they are."""
    evaluated = evaluation(0.93, None)
    decision_value.add(evaluated)
    found = judgement.decode(msgspec.json.encode(evaluated.judgement))
    assert found == evaluated.judgement
    facts = report.Facts(
        state="blocked", verdict="v", judgement=found, checks=found.checks
    )
    body = report.render(facts)
    assert "Decision value: difference to the champion" in body
    assert "0 is deciding <code>1</code> for every row" in body
    assert "0.3 a false positive, 0.7 a false negative" in body
    margin = found.checks[1]
    assert margin.statistic == "lower bound" and margin.metric == "decision_value"
    assert check_row(margin)[2].startswith("lower bound &#45;")
    by_business = evaluation(0.4, champion=False)
    decision_value.add(by_business)
    facts.judgement, facts.checks = by_business.judgement, by_business.judgement.checks
    assert "that of the section business" in report.render(facts)


def test_it_may_be_overruled_where_main_says_so() -> None:
    """What a decision is worth is a matter of judgement; by default nobody may."""
    rules = {"override": {"checks": ["decision_value"], "role": "admin"}}
    assert override.parse(rules, "binary").checks == ("decision_value",)
    both = list(checks(evaluation(0.93, None)).values())
    assert override.possible(both, rules, "binary")
    shipped = params(["price"])
    assert not override.possible(both, shipped, "binary")
