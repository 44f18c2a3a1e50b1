"""Rows of one customer count as one: intervals by entity keep their word on such rows.

Simulated: customers with rows of their own, whose truth and whose answers are alike.
Two models that are equally good on all customers there are differ by chance on those
of a holdout, customer by customer.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from machinery import grown, judged, traffic
from machinery import rows as small_rows
from mlgitops import metrics, report
from mlgitops.commands import retrain, simulate
from mlgitops.judge import compare, entities, fairness, gates, performance, slices
from mlgitops.judge.compare import Pair
from mlgitops.judge.evaluation import Evaluation, Model
from mlgitops.judge.tasks import TASKS
from mlgitops.judgement import Entity, Refused, failed
from mlgitops.metrics.groups import spread
from mlgitops.monitor import training_data
from mlgitops.monitor.labels import read_labels
from mlgitops.monitor.performance import gain
from mlgitops.pipeline import data
from mlgitops.pipeline.contract import Contract, ContractError

RUNS = 1_000 if os.environ.get("PROOF") else 60
CUSTOMERS, ROWS = 80, 8  # of a simulated holdout; rows of each on average
TASK = ("binary", "multiclass", "regression")


def pair(
    task: str, seed: int, customers: int = CUSTOMERS, share: float = 0.9
) -> tuple[Pair, Any]:
    """Return two equally good models on rows of customers, and the rows' customers.

    `share` of what moves truth and answers belongs to the customer, not to the row.
    """
    random = np.random.default_rng(seed)
    whose = np.repeat(np.arange(customers), random.integers(1, 2 * ROWS, customers))

    def noise() -> Any:
        own, one = random.normal(size=customers)[whose], random.normal(size=len(whose))
        return share**0.5 * own + (1 - share) ** 0.5 * one

    truth = noise()
    answers = [truth + noise() for _ in range(2)]
    if task == "regression":
        return Pair(truth, *answers, 0.95), whose
    if task == "binary":
        return Pair(
            (truth > 0).astype(float),
            *(1 / (1 + np.exp(-2 * a)) for a in answers),
            0.95,
        ), whose
    edges = np.array([-0.6, 0.6])
    odds = [np.exp(-np.abs(a[:, None] - np.array([-1.2, 0, 1.2]))) for a in answers]
    scores = [o / o.sum(axis=1, keepdims=True) for o in odds]
    return Pair(np.searchsorted(edges, truth), *scores, 0.95), whose


def covered(task: str, key: str, by: bool, runs: int = RUNS) -> float:
    """Return how often the interval of no difference holds 0."""
    hits = 0
    for seed in range(runs):
        both, whose = pair(task, seed)
        both = both._replace(groups=whose if by else None)
        found = TASKS[task].difference(key, both)
        hits += found.low <= 0 <= found.high
    return hits / runs


KEYS = [(task, m.key) for task in TASK for m in metrics.METRICS[task]]


@pytest.mark.parametrize(("task", "key"), KEYS)
def test_by_entity_an_interval_covers_as_often_as_it_says(task: str, key: str) -> None:
    """By rows it covers less often, most down to half: why a contract names one."""
    assert covered(task, key, by=False, runs=25) < 0.9
    hits = round(covered(task, key, by=True) * RUNS)
    assert binomtest(hits, RUNS, 0.93, alternative="less").pvalue > 0.01


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_decisions_are_tested_by_entity_as_sharply_as_is_said(task: str) -> None:
    """At 5 %, no more than about one in twenty; by rows one in four."""
    wrong = {True: 0, False: 0}
    for seed in range(RUNS):
        both, whose = pair(task, seed)
        models = [
            TASKS[task].decide(scores, {"task": "binary", "threshold": 0.5})
            for scores in (both.champion, both.challenger)
        ]
        right = [np.asarray(TASKS[task].correct(both.y, model)) for model in models]
        for by in wrong:
            found = compare.mcnemar(*right, whose if by else None)
            wrong[by] += found.p < 0.05
    assert wrong[False] > 0.15 * RUNS
    assert binomtest(wrong[True], RUNS, 0.06, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize(("task", "key"), KEYS)
def test_an_entity_a_row_gives_the_interval_of_the_rows(task: str, key: str) -> None:
    both, _ = pair(task, 1, customers=300)
    alone = both._replace(groups=np.random.default_rng(0).permutation(len(both.y)))
    rows, entity = (TASKS[task].difference(key, each) for each in (both, alone))
    drawn = rows.method == "paired bootstrap"  # with other random numbers
    assert entity.difference == rows.difference and entity.method == rows.method
    room = (0.15 if drawn else 0.002) * (rows.high - rows.low)
    assert entity.low == pytest.approx(rows.low, abs=room)
    assert entity.high == pytest.approx(rows.high, abs=room)


def test_mcnemar_of_an_entity_a_row_is_mcnemars() -> None:
    random = np.random.default_rng(2)
    right, righter = random.random((2, 400)) < [[0.6], [0.68]]
    by_rows = compare.mcnemar(right, righter)
    alone = compare.mcnemar(right, righter, np.arange(400))
    assert alone.p == pytest.approx(by_rows.p)
    assert alone.only_champion_right == by_rows.only_champion_right
    same = compare.mcnemar(right, right, np.arange(400))
    assert same.p == 1.0


def test_the_test_of_entities_is_that_of_every_choice_of_signs() -> None:
    """Counted one by one, over all of them."""
    won = np.array([3, -1, 2, 2, 0, -4, 1, 5])
    right = np.repeat(won < 0, np.abs(won))
    whose = np.repeat(np.arange(len(won)), np.abs(won))
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(won))).reshape(len(won), -1)
    sums = np.abs((signs * np.abs(won)[:, None]).sum(axis=0))
    expected = np.mean(sums >= abs(won.sum()))
    found = compare.mcnemar(right, ~right, whose)
    assert found.p == pytest.approx(expected)


def test_without_an_entity_every_variance_is_what_it_was() -> None:
    """By DeLong's own formula, and the error of a mean that is hardly skewed."""
    both, _ = pair("binary", 3)
    y, old, new = both[:3]
    ones, zeros = (
        [_above(p[y == 1], p[y == 0], turn) for p in (old, new)] for turn in (0, 1)
    )
    variance = sum(np.var(b - a, ddof=1) / len(a) for a, b in (ones, zeros))
    found = metrics.paired.delong(y, old, new, 0.95)
    assert found.high - found.difference == pytest.approx(
        1.959963985 * variance**0.5, rel=1e-9
    )
    gaps = (new - y) ** 2 - (old - y) ** 2
    mean = compare.mean_difference((old - y) ** 2, (new - y) ** 2, 0.95)
    error = gaps.std(ddof=1) / len(gaps) ** 0.5
    assert mean.high - mean.low == pytest.approx(2 * 1.959963985 * error, rel=1e-5)


def test_by_entity_the_variance_is_obuchowskis() -> None:
    """Her formula (1997), row by row."""
    both, whose = pair("binary", 4, customers=40)
    y, old, new = both[:3]
    v10, v01 = (
        np.subtract(*[_above(p[y == 1], p[y == 0], turn) for p in (new, old)])
        for turn in (0, 1)
    )
    gap = v10.mean()
    n1, n0, m = len(v10), len(v01), 40
    ones = np.array([(v10[whose[y == 1] == c] - gap).sum() for c in range(m)])
    zeros = np.array([(v01[whose[y == 0] == c] - gap).sum() for c in range(m)])
    m1, m0 = (len(np.unique(whose[y == k])) for k in (1, 0))
    s10 = m1 / ((m1 - 1) * n1) * np.sum(ones**2)
    s01 = m0 / ((m0 - 1) * n0) * np.sum(zeros**2)
    s11 = m / (m - 1) * np.sum(ones * zeros)
    expected = s10 / n1 + s01 / n0 + 2 * s11 / (n1 * n0)
    parts = np.empty(len(y))
    parts[y == 1], parts[y == 0] = v10, v01
    found = spread(parts, y.astype(np.int64), whose)
    assert found.variance == pytest.approx(expected)
    assert m0 - 1 < found.freedom < m0 + m1


def _above(ones: Any, zeros: Any, turn: int) -> Any:
    """Return each 1's share of 0s below it, or each 0's of 1s above it."""
    wins = np.sign(ones[:, None] - zeros) / 2 + 0.5
    return wins.mean(axis=1 - turn)


# --- the parts of the judge, on an evaluation --------------------------------------


def evaluation(
    seed: int, customers: int = 200, by: bool = True, **changes: Any
) -> Evaluation:
    """Return an evaluation of two equal models; a customer has one shop."""
    both, whose = pair("binary", seed, customers)
    shops = np.random.default_rng(seed + 1).choice(["a", "b", "c"], customers)
    frame = judged.rows(len(whose)).assign(
        customer=[f"c{n}" for n in whose], shop=shops[whose], returned=both.y
    )
    document = {**judged.CONTRACT, **({"entity": "customer"} if by else {})}
    settings = {**judged.params(["price"]), **changes}
    rule = {"margin": 0, "min_rows": 50}
    settings["gates"] = {**settings["gates"], "slices": rule}
    models = [
        Model(Path(), {"task": "binary", "threshold": 0.5}, scores)
        for scores in both[1:3]
    ]
    contract = Contract.parse(document)
    return Evaluation(
        contract=contract,
        params=settings,
        gates=gates.parse(settings, "binary"),
        holdout=frame,
        challenger=models[1],
        champion=models[0],
        rows=frame,
    )


def refused(part: Any, by: bool, runs: int, **changes: Any) -> float:
    """Return how often equal models are refused."""
    count = 0
    for seed in range(runs):
        evaluated = evaluation(seed, by=by, **changes)
        part.add(evaluated)
        count += bool(failed(evaluated.judgement.checks))
    return count / runs


def test_no_slice_of_equal_models_is_refused_more_often_than_stated() -> None:
    assert refused(slices, by=False, runs=60) > 0.3
    hits = round(60 * refused(slices, by=True, runs=60))
    assert binomtest(hits, 60, 0.05, alternative="greater").pvalue > 0.01


def test_no_group_is_surely_treated_otherwise_by_the_chance_of_its_customers() -> None:
    limits = {"selection_rate_max": 0, "equalized_odds_max": 0, "min_rows": 30}
    rules = {"columns": ["shop"], **limits}
    assert refused(fairness, by=False, runs=60, fairness=rules) > 0.3
    hits = round(60 * refused(fairness, by=True, runs=60, fairness=rules))
    assert binomtest(hits, 60, 0.05, alternative="greater").pvalue > 0.01


def test_the_report_says_by_whom_and_how_many() -> None:
    evaluated = evaluation(1)
    for part in (entities, performance):
        part.add(evaluated)
    assert evaluated.judgement.entity == Entity("customer", 200)
    assert not evaluated.judgement.cautions
    said = report.render(
        report.Facts(state="ready", verdict="Passed.", judgement=evaluated.judgement)
    )
    assert "(95% interval by customer, " in said
    assert (
        "Intervals: DeLong for ROC AUC; paired bootstrap for Average precision" in said
    )
    assert "All are by customer: the rows of each of 200 count as one." in said
    assert "exact test by customer, p" in said
    plain = evaluation(1, by=False)
    for part in (entities, performance):
        part.add(plain)
    said = report.render(
        report.Facts(state="ready", verdict="Passed.", judgement=plain.judgement)
    )
    assert plain.judgement.entity is None and "customer" not in said


def test_few_entities_are_a_caution_and_one_alone_is_refused() -> None:
    evaluated = evaluation(1, customers=12)
    entities.add(evaluated)
    (said,) = evaluated.judgement.cautions
    assert "Intervals are by customer" in said and "fewer than 30" in said
    rare = evaluated.holdout["customer"] == "c1"
    evaluated.holdout["returned"] = rare.astype("int8")
    with pytest.raises(Refused, match="where returned is 1 belong to one customer"):
        entities.add(evaluated)
    evaluated.champion = None  # nothing is compared: no interval is needed
    entities.add(evaluated)


def test_a_slice_of_one_customer_says_nothing() -> None:
    evaluated = evaluation(1)
    one = evaluated.holdout["customer"].mode()[0]
    evaluated.holdout["shop"] = np.where(evaluated.holdout["customer"] == one, "c", "a")
    object.__setattr__(evaluated.rules.slices, "min_rows", 5)
    slices.add(evaluated)
    found = {(r.column, r.value) for r in evaluated.judgement.slices.rows}
    assert ("shop", "a") in found and ("shop", "c") not in found


# --- the contract ------------------------------------------------------------------

NAMED = {**judged.CONTRACT, "entity": "customer"}
TABLE = judged.rows(50).assign(customer=[n % 7 for n in range(50)])


@pytest.mark.parametrize("entity", ["customer", "shop", "placed"])
def test_an_entity_is_a_column_of_the_rows(entity: str) -> None:
    """One of its own beside the model's, one that requests carry, or the time."""
    contract = Contract.parse({**judged.CONTRACT, "entity": entity})
    own = entity == "customer"
    table = TABLE if own else TABLE.drop(columns="customer")
    typed = data.check(table, contract)
    assert entity in typed and contract.labelled_only == (["customer"] if own else [])
    asked = data.check(table.drop(columns="returned"), contract, target=False)
    assert list(asked) == ["order", "placed", "shop", "price", "age"]


@pytest.mark.parametrize(
    ("entity", "words"),
    [
        ("order", "the id: name the column"),
        ("returned", "the target: name the column"),
        ("age", "columns.age.missing"),
        (None, "must be text"),
        (["shop", "age"], "must be text"),
        (7, "quotes"),
    ],
)
def test_an_entity_that_cannot_be_one_is_refused(entity: Any, words: str) -> None:
    with pytest.raises(ContractError, match=r"contract.yaml: entity ") as refusal:
        Contract.parse({**judged.CONTRACT, "entity": entity})
    assert words in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", [None, ""])
def test_a_row_of_nobody_is_refused(value: Any) -> None:
    table = TABLE.assign(customer=TABLE["customer"].astype(str))
    table.loc[:2, "customer"] = value
    with pytest.raises(ContractError, match='"customer": 3 of 50 values are missing'):
        data.check(table, Contract.parse(NAMED))
    with pytest.raises(ContractError, match='"customer" is missing'):
        data.check(table.drop(columns="customer"), Contract.parse(NAMED))


def harvested(whose: Any, past: Any = None) -> grown.Grown:
    """Return the next training data, of answered rows that are these customers'."""
    old = TABLE if past is None else TABLE.assign(customer=past)
    fresh = judged.rows(50, seed=1).assign(probability=0.5, customer=whose)
    return grown.build(old, fresh, Contract.parse(NAMED), 3000, 0.05)


@pytest.mark.parametrize(
    ("past", "whose"),
    [
        (None, [str(n % 7) for n in range(50)]),  # numbers, which CSV has as text
        ([f"c{n % 7}" for n in range(50)], [f"c{n % 9}" for n in range(50)]),
    ],
)
def test_labels_tell_whose_the_next_rows_are(
    past: Any, whose: list[str], tmp_path: Path
) -> None:
    made = harvested([None, *whose[1:]], past)
    assert made.counts["new"] == 49 and made.counts["quarantined"] == 1
    (tmp_path / "next.parquet").write_bytes(training_data.parquet(made.table))
    again = pd.read_parquet(tmp_path / "next.parquet")["customer"]
    assert {type(each) for each in again} == {int if past is None else str}
    assert {str(each) for each in again} == {*whose, *map(str, past or range(7))}


def test_without_them_nothing_is_made_up() -> None:
    with pytest.raises(ContractError, match='"customer" .*: add that column'):
        harvested(None)
    made = harvested(["nobody", *["1"] * 49])
    assert made.counts["quarantined"] == 1, "a name where numbers are"


def test_labels_carry_the_entity_of_each_row(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("customer,id,returned\nc1,o1,1\n,o2,0\nc3,o3,1\nc9,other,1\n")
    wanted, terms = {"o1", "o2", "o3"}, Contract.parse(NAMED)
    found = read_labels(str(path), wanted, terms, traffic.MONITOR)
    assert found.group_by_id == {"o1": "c1", "o3": "c3"}
    assert found.by_id == {"o1": 1, "o2": 0, "o3": 1} and found.sensitive == {}
    plain = Contract.parse(judged.CONTRACT)
    assert read_labels(str(path), wanted, plain, traffic.MONITOR).group_by_id == {}


def test_the_next_data_is_collected_with_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the log and the labels, as `retrain` does; simulated labels carry it too."""
    terms = replace(small_rows.small(), entity="customer")
    old = traffic.flights(300).drop(columns="probability").assign(customer="c0")
    old.to_parquet(tmp_path / "old.parquet")
    fresh = traffic.flights(200, 28, seed=1)
    due = fresh.assign(customer=[f"c{n % 40}" for n in range(200)])
    assert simulate.add_labels(tmp_path / "labels.csv", due, terms) == 200
    monkeypatch.setenv("PREDICTION_LOG", traffic.write(tmp_path / "log", fresh))
    monkeypatch.setenv("LABELS", str(tmp_path / "labels.csv"))
    files, out = (tmp_path / "old.parquet", terms), tmp_path / "newer.parquet"
    made = retrain.collect(*files, traffic.PARAMS, out)
    assert made.counts["new"] == 200 and made.counts["quarantined"] == 0
    found = pd.read_parquet(out).set_index("flight_id")["customer"]
    assert found[due["flight_id"]].tolist() == due["customer"].tolist()
    plain = tmp_path / "plain.csv"
    traffic.label(plain, fresh)
    monkeypatch.setenv("LABELS", str(plain))
    with pytest.raises(ContractError, match="add that column to the labels"):
        retrain.collect(*files, traffic.PARAMS, out)


def test_what_newer_rows_bring_is_estimated_by_entity() -> None:
    """Each customer's four rows are alike: they say as much as one of them."""
    once = traffic.flights(800, 80, 28, inverted=1)
    window = pd.concat([once.assign(flight_id=once["flight_id"] + c) for c in "abcd"])
    window = window.sort_values("scheduled_departure", ignore_index=True)
    whose = {key: key[:-1] for key in window["flight_id"]}
    terms, old = small_rows.small(), traffic.flights(3000, 0, 74)
    settings = {**traffic.PARAMS, "monitor": {**traffic.SECTION, "min_labels": 100}}
    named = replace(terms, entity="customer")
    old = old.assign(customer=old["flight_id"])
    args, metric = (old, window, window), traffic.METRIC
    rows = gain(*args, terms, settings, metric)
    by = gain(*args, named, settings, metric, group_by_id=whose)
    assert rows and by and by.difference == pytest.approx(rows.difference)
    assert (by.high - by.low) / (rows.high - rows.low) == pytest.approx(2, rel=0.1)
    logged = gain(*args, replace(terms, entity="carrier"), settings, metric)
    assert logged and logged.high - logged.low > rows.high - rows.low
    some = dict(list(whose.items())[: len(whose) * 3 // 4])
    known = gain(*args, named, settings, metric, group_by_id=some)
    assert known and known.difference != rows.difference, "on the rows that are known"
    nobody = gain(*args, named, settings, metric)
    assert isinstance(nobody, str) and 'have "customer"' in nobody
