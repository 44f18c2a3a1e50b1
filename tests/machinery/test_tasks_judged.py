"""Other tasks than binary, from a proposal to the monitor: the whole of `validate`.

What holds for the task binary is in test_planted, test_compare and test_monitor.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from machinery import judged, lengths
from machinery.judged import Hub, Project, git, new, params, rows
from machinery.planted import edit
from machinery.test_validate_workflow import validate, verdicts
from mlgitops import judgement, metrics, report
from mlgitops.judge import (
    behaviour,
    business,
    changes,
    fairness,
    gates,
    performance,
    slices,
    weighted_metrics,
)
from mlgitops.judge.compare import Pair
from mlgitops.judge.evaluation import Evaluation, Model
from mlgitops.judge.tasks import TASKS, Price
from mlgitops.judgement import (
    Affected,
    ByModel,
    Curves,
    Judgement,
    Matrix,
    Replay,
    failed,
)
from mlgitops.pipeline import data
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.settings import MulticlassWorth, RegressionWorth, SettingsError

NEW = ["multiclass", "regression"]
CONSTANT = edit("params.yaml", "learning_rate: 0.1", "learning_rate: 1.0e-30")


@pytest.fixture(scope="module", params=lengths.turn(NEW))
def reigning(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, str]:
    """A project of another task whose first model was judged, merged and released."""
    project = new(tmp_path_factory.mktemp(request.param), request.param)
    pull = project.propose("first")
    artifact = project.built(pull)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        hub = validate(project, pull, artifact, patch)
    assert hub.statuses[-1][1] == "success", hub.comments
    commit = project.merge(pull)
    project.release(verdicts(project)[0]["manifest_sha256"], commit)
    git("switch", "-q", "main", cwd=project.clone)
    return project, hub.comments[1]


@pytest.fixture
def project(
    reigning: tuple[Project, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """The same in a folder of the test's own."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield reigning[0].copy(tmp_path / "home")


def proposed(project: Project, patch: pytest.MonkeyPatch) -> tuple[Hub, str]:
    """Train and judge what stands on the author's disk."""
    pull = project.propose("change")
    hub = validate(project, pull, project.built(pull), patch)
    return hub, hub.comments[pull["number"]]


def refused(comment: str) -> set[str]:
    """Return the checks that a comment says failed."""
    lines = [line.split(" | ") for line in comment.splitlines() if "⛔&nbsp;" in line]
    return {cells[1] for cells in lines}


@pytest.mark.slow
def test_a_first_model_is_judged_alone(reigning: tuple[Project, str]) -> None:
    project, comment = reigning
    label = report.text(metrics.METRICS[project.task][0].label)
    assert "no champion yet" in comment and f"**{label} 0." in comment
    assert "euros per 1,000 decisions" in comment
    section = {"multiclass": "→ <code>mid</code>", "regression": "Residuals"}
    assert section[project.task] in comment


@pytest.mark.slow
def test_a_better_model_passes_as_better(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.params(["shop", "price", "age"])
    hub, comment = proposed(project, monkeypatch)
    assert refused(comment) == set() and hub.statuses[-1][1] == "success"
    assert "better than the champion" in comment
    assert "Feature importance" in comment and "Partial dependence" in comment


@pytest.mark.slow
def test_a_worse_and_a_constant_model_are_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    CONSTANT(project)
    hub, comment = proposed(project, monkeypatch)
    label = report.text(metrics.METRICS[project.task][0].label)
    assert hub.statuses[-1][1] == "failure"
    assert {label, f"{label}: difference to the champion"} <= refused(comment)


# --- the parts, on an evaluation ---------------------------------------------------


def truth(frame: pd.DataFrame, task: str) -> Any:
    """Return the truth as the measures take it."""
    return data.truth(frame, Contract.parse(judged.contract(task)))


def good(frame: pd.DataFrame, task: str) -> Any:
    """Return answers that know the price."""
    price = frame["price"].to_numpy(float)
    if task == "regression":
        return 10 + 3 * price
    scores = np.stack([-price, np.zeros(len(price)), price], axis=1)
    odds = np.exp(scores)
    return odds / odds.sum(axis=1, keepdims=True)


def bad_in_one_shop(frame: pd.DataFrame, task: str) -> Any:
    """Return the same, but the opposite in shop a."""
    other = good(frame.assign(price=-frame["price"]), task)
    here = (frame["shop"] == "a").to_numpy()
    return np.where(
        here if task == "regression" else here[:, None], other, good(frame, task)
    )


def evaluation(
    task: str, old: Any, new: Any, champion: bool = True, **more: Any
) -> Evaluation:
    """Return an evaluation of predictions that old and new make of small rows."""
    frame, settings = rows(task=task), {**params(["price"], task), **more}
    terms = Contract.parse(judged.contract(task))
    manifest = {"task": task, "classes": list(terms.classes)}
    models = [Model(Path(), manifest, make(frame, task)) for make in (old, new)]
    return Evaluation(
        contract=terms,
        params=settings,
        gates=gates.parse(settings, task),
        holdout=frame,
        challenger=models[1],
        champion=models[0] if champion else None,
        rows=frame,
    )


@pytest.mark.parametrize("task", NEW)
def test_every_difference_has_an_interval(task: str) -> None:
    evaluated = evaluation(task, good, bad_in_one_shop)
    performance.add(evaluated)
    for row in evaluated.judgement.metrics:
        assert row.low <= row.difference <= row.high, row
        assert row.difference == pytest.approx(row.challenger - row.champion)
    assert evaluated.judgement.power.smallest > 0
    assert (evaluated.judgement.mcnemar is not None) == (task == "multiclass")
    names = [check.id for check in failed(evaluated.judgement.checks)]
    assert f"{metrics.METRICS[task][0].key}.margin" in names


@pytest.mark.parametrize("task", NEW)
def test_intervals_agree_with_a_plain_loop_over_resamples(task: str) -> None:
    """Every measure, on both models.

    By 120 resamples an end of the interval is known to 6 % of its width.
    """
    frame = rows(1500, task=task)
    y, random = truth(frame, task), np.random.default_rng(5)
    old, new = good(frame, task), bad_in_one_shop(frame, task)
    drawn: dict[str, list[float]] = {}
    for _ in range(120):
        at = random.integers(0, len(y), len(y))
        for m in metrics.METRICS[task]:
            gap = m.value(y[at], new[at]) - m.value(y[at], old[at])
            drawn.setdefault(m.key, []).append(gap)
    for key, gaps in drawn.items():
        found = TASKS[task].difference(key, Pair(y, old, new, 0.95))
        low, high = np.quantile(gaps, [0.025, 0.975])
        width = high - low
        assert found.low == pytest.approx(low, abs=0.25 * width), key
        assert found.high == pytest.approx(high, abs=0.25 * width), key


@pytest.mark.parametrize("n", [900, 9000])
def test_f1_of_weights_is_the_measure_itself(n: int) -> None:
    """Also when rows are counted together."""
    frame = rows(n, task="multiclass")
    y, p = truth(frame, "multiclass"), good(frame, "multiclass")
    q = bad_in_one_shop(frame, "multiclass")
    for m in metrics.METRICS["multiclass"]:
        if m.key.startswith("f1"):
            got = weighted_metrics.f1(
                np.ones((1, n)), y, p.argmax(1), 3, m.key == "f1_weighted"
            )
            assert got[0] == pytest.approx(m.value(y, p))
            found = TASKS["multiclass"].difference(m.key, Pair(y, p, q, 0.95))
            assert found.difference == pytest.approx(m.value(y, q) - m.value(y, p))
            assert found.low < found.difference < found.high


@pytest.mark.parametrize("task", NEW)
def test_a_slice_and_a_group_that_fare_worse_are_named(task: str) -> None:
    evaluated = evaluation(task, good, bad_in_one_shop)
    slices.add(evaluated)
    (check,) = evaluated.judgement.checks
    assert not check.passed and "where shop is a" in check.reason
    limit = {"multiclass": "error_rate_max", "regression": "absolute_error_max"}[task]
    evaluated.params["fairness"][limit] = 0.1
    fairness.add(evaluated)
    (check,) = failed(evaluated.judgement.checks[1:])
    assert check.id == f"fairness.shop.{limit.removesuffix('_max')}"
    assert " of a is " in check.reason
    even = evaluation(task, good, good)
    for part in (slices, fairness):
        part.add(even)
    assert not failed(even.judgement.checks) and len(even.judgement.checks) == 3


def test_worth_of_classes_and_what_is_expected_to_be_worth_most() -> None:
    """A costly mistake is avoided where the likeliest class would risk it."""
    task, classes = TASKS["multiclass"], ("low", "mid", "high")
    section = MulticlassWorth(**judged.TASKS["multiclass"]["business"])
    y = np.array([0, 2, 1])
    scores = np.array([[0.4, 0.25, 0.35], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]])
    decided = task.decide(scores, {})
    assert task.worth(y, decided, Price(section, classes)).tolist() == [3, 3, 3]
    best = task.best(y, scores, {}, Price(section, classes))
    assert best.best == pytest.approx((-1 + 3 + 3) / 3)


def test_cost_of_numbers_and_the_shift_that_saves_most() -> None:
    """With under three times as dear as over, three of four rows are to be covered."""
    section = RegressionWorth(**judged.TASKS["regression"]["business"])
    task = TASKS["regression"]
    y, scores = np.array([1.0, 2, 3, 4]), np.zeros(4)
    assert task.worth(y, scores, Price(section, ())).tolist() == [-3, -6, -9, -12]
    best = task.best(y, scores, {}, Price(section, ()))
    assert best.shift == 3 and best.best == pytest.approx(-(2 + 1 + 0 + 3) / 4)


@pytest.mark.parametrize("task", NEW)
def test_business_value_has_an_interval(task: str) -> None:
    evaluated = evaluation(task, good, bad_in_one_shop)
    business.add(evaluated)
    found = evaluated.judgement.business
    assert found.high < 0 and found.best.best >= found.challenger


@pytest.mark.parametrize(
    ("task", "section"),
    [
        ("multiclass", {"unit": "euros", "true_positive": 1}),
        ("multiclass", {"unit": "euros", "worth": {"low": {"low": 1}}}),
        ("multiclass", {"unit": "euros", "worth": 3}),
        ("regression", {"unit": "euros", "over": 1}),
        ("regression", {"unit": "euros", "over": -1, "under": 1}),
        ("regression", {"unit": "euros", "over": "1", "under": 1}),
    ],
)
def test_a_worth_of_another_task_is_one_sentence(task: str, section: Any) -> None:
    with pytest.raises(SettingsError, match="business") as refused:
        business.add(evaluation(task, good, good, business=section))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("task", judged.TASKS)
def test_gates_and_fairness_of_another_task_are_one_sentence(task: str) -> None:
    """That says what this task takes."""
    mine = params(["price"], task)
    assert gates.parse(mine, task)
    for other in judged.TASKS:
        theirs = params(["price"], other)
        if other != task:
            with pytest.raises(SettingsError, match="gates.* metric of the task"):
                gates.parse(theirs, task)
        if other != task and task in NEW:
            with pytest.raises(SettingsError, match="fairness"):
                fairness.add(evaluation(task, good, good, fairness=theirs["fairness"]))


TEST = {
    "name": "dearer",
    "column": "price",
    "add": 1,
    "expect": "not lower",
    "tolerance": 0.0,
    "allowed": 0.0,
}


def test_behaviour_names_a_class_or_is_about_all_of_them() -> None:
    """And of numbers, a tolerance is in their unit."""
    classes = Contract.parse(judged.contract("multiclass"))
    (test,) = behaviour.parse([{**TEST, "class": "high"}], classes)
    p, high = np.array([[0.2, 0.3, 0.5]]), np.array([test.class_index(classes)])
    assert TASKS["multiclass"].of_class(p, high).tolist() == [0.5]
    assert behaviour.parse([{**TEST, "expect": "same"}], classes)
    for change in ({}, {"class": "none"}):
        with pytest.raises(ContractError, match="class"):
            behaviour.parse([{**TEST, **change}], classes)
    numbers = Contract.parse(judged.contract("regression"))
    assert behaviour.parse([{**TEST, "tolerance": 25}], numbers)
    with pytest.raises(ContractError, match="from 0 to below 1"):
        behaviour.parse([{**TEST, "class": "low", "tolerance": 25}], classes)


@pytest.mark.parametrize("task", NEW)
def test_how_the_target_moved_and_who_moves_is_told(task: str) -> None:
    """In the report's words, without a number that is none."""
    evaluated = evaluation(task, good, bad_in_one_shop)
    evaluated.champion_rows, evaluated.same_data = evaluated.rows.iloc[:3000], False
    changes.add(evaluated)
    task_, terms = evaluated.task, evaluated.contract
    olds, news = (model.decisions for model in evaluated.models.values())
    moved = task_.moves(olds, news, terms.classes)
    shop = Affected("shop", "a", 90, 45.0)
    evaluated.judgement.replay = Replay(
        requests=6000, until="now", moves=moved, groups=[shop]
    )
    found = judgement.decode(msgspec.json.encode(evaluated.judgement))
    assert found == evaluated.judgement
    body = report.render(report.Facts(state="here", verdict="v", judgement=found))
    words = {
        "multiclass": ("The shares of the target", "would be decided otherwise: "),
        "regression": ("The mean of the target went", "would be predicted higher and "),
    }
    assert all(each in body for each in words[task])
    assert "nan" not in body and "<code>a</code> | 90 |" in body


def test_many_classes_are_shown_by_what_is_mixed_up_most() -> None:
    """A matrix of 30 classes has 900 cells."""
    names = [f"c{n}" for n in range(30)]
    cells = (np.eye(30, dtype=int) * 9).tolist()
    cells[3][4] = 77
    curves = ByModel(challenger=Curves(matrix=Matrix(names, cells)))
    found = Judgement(curves=curves)
    body = report.render(report.Facts(state="here", verdict="v", judgement=found))
    assert (
        "| <code>c3</code> | <code>c4</code> | 77 |" in body
        and "Most frequent mistakes" in body
    )
