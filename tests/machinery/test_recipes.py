"""What `train` may say beside an estimator: weights, calibration and the threshold.

Each is seen in the exported file, and refused in words where it cannot be had.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from machinery.orders import (
    INPUTS,
    WORTH,
    Choose,
    choosing,
    exact,
    table,
    terms,
)
from mlgitops.metrics.binary import calibration_error
from mlgitops.pipeline import (
    binning,
    calibration,
    data,
    fitting,
    imports,
    learning,
    out_of_fold,
    parity,
    settings,
    threshold,
)
from mlgitops.pipeline.contract import ContractError
from mlgitops.pipeline.settings import Train
from mlgitops.pipeline.weights import fit_arguments, sample_weights


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Return what makes an estimator the only choice, and reads its settings."""
    return choosing(monkeypatch)


def test_balanced_weights_are_those_of_scikit_learn(choose: Choose) -> None:
    """The same file as with class_weight="balanced"; another than without."""
    frame = table()
    recipe = choose(LogisticRegression(), weights="balanced")
    weighted = exact(fitting.fit(frame, terms(), recipe), frame)
    own = choose(LogisticRegression(class_weight="balanced"))
    assert np.allclose(
        weighted, exact(fitting.fit(frame, terms(), own), frame), atol=1e-5
    )
    plain = choose(LogisticRegression())
    mean = exact(fitting.fit(frame, terms(), plain), frame).mean()
    assert weighted.mean() > mean + 0.1, "the control"


def test_a_column_of_weights_counts_rows(choose: Choose) -> None:
    """Weight 3 is three rows alike, and weight 0 is none."""
    frame = table().assign(share=lambda f: np.arange(len(f)) % 4)
    recipe = choose(DecisionTreeClassifier(max_depth=4), weights="share")
    weighted = exact(fitting.fit(frame, terms(), recipe), frame)
    repeated = frame.loc[frame.index.repeat(frame["share"].astype(int))]
    plain = choose(DecisionTreeClassifier(max_depth=4))
    again = exact(fitting.fit(repeated, terms(), plain), frame)
    assert np.allclose(weighted, again, atol=1e-5)
    once = exact(fitting.fit(frame, terms(), plain), frame)
    assert np.abs(weighted - once).max() > 0.01, "the control"


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("share", {5: -0.5}, "negative in 1 of 600 rows, the first is r0-5"),
        (
            "share",
            {5: np.nan, 9: np.nan},
            "missing in 2 of 600 rows, the first is r0-5",
        ),
        ("share", dict.fromkeys(range(600), 0.0), "0 in all 600 rows"),
        ("size", {}, "'size', which the model takes as an input"),
        ("colour", {}, "column of contract.yaml .*, such as share, got 'colour'"),
    ],
)
def test_what_is_no_weight_is_refused(
    name: str, change: dict[int, float], reason: str, choose: Choose
) -> None:
    frame = table()
    for row, value in change.items():
        frame.loc[row, "share"] = value
    with pytest.raises(ContractError, match=reason):
        sample_weights(frame, terms(), choose(LogisticRegression(), weights=name))


def test_a_column_of_words_has_no_weights(choose: Choose) -> None:
    recipe = choose(LogisticRegression(), weights="color", columns=["size"])
    with pytest.raises(ContractError, match="'color', a category"):
        sample_weights(table(), terms(), recipe)


def test_balanced_is_for_classes(choose: Choose) -> None:
    recipe = choose(LogisticRegression(), "regression", weights="balanced")
    with pytest.raises(ContractError, match="for classes, not regression"):
        sample_weights(table("regression"), terms("regression"), recipe)


WEIGHED = Train(1, "logistic_regression", ("size",), 1e-5, weights="balanced")
LINEAR = LogisticRegression()
NEIGHBOURS = KNeighborsClassifier()


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        (GaussianNB(), ""),
        (make_pipeline(SelectKBest(k=2), LINEAR), ""),
        (StackingClassifier([("a", LINEAR), ("b", GaussianNB())]), ""),
        (VotingClassifier([("a", LINEAR)], voting="soft"), ""),
        (NEIGHBOURS, "KNeighborsClassifier"),
        (make_pipeline(SelectKBest(k=2), NEIGHBOURS), "KNeighborsClassifier"),
        (StackingClassifier([("a", LINEAR), ("b", NEIGHBOURS)]), "KNeighbors"),
        (StackingClassifier([("a", make_pipeline(LINEAR))]), "Pipeline"),
        (LogisticRegression(class_weight="balanced"), "class_weight"),
    ],
)
def test_an_estimator_that_takes_no_weights_is_refused_by_name(
    model: Any, refused: str
) -> None:
    """And one that is said to take them is fitted with them."""
    weights = np.ones(90)
    X = np.random.default_rng(0).normal(size=(90, 3))
    if not refused:
        model.fit(X, np.arange(90) % 2, **fit_arguments(model, weights, WEIGHED))
        return
    with pytest.raises(ContractError, match=refused):
        fit_arguments(model, weights, WEIGHED)


OVERSURE = GaussianNB()  # `size` and its twin count twice


def calibration_of(p: np.ndarray, frame: pd.DataFrame) -> float:
    """Return the number that gates.calibration_error holds against its limit."""
    return float(calibration_error(data.truth(frame, terms()), p, 10))


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize(
    ("model", "changes"),
    [(OVERSURE, {}), (LogisticRegression(), {"weights": "balanced"})],
    ids=["oversure", "balanced"],
)
def test_calibration_brings_a_model_below_the_gate(
    model: Any, changes: dict[str, Any], method: str, choose: Choose
) -> None:
    """A gate of 0.06 on rows that nothing was chosen on: without, it refuses."""
    frame, holdout = table(count=1500), table(count=1500, seed=1)
    recipe = choose(model, **changes)
    plain = exact(fitting.fit(frame, terms(), recipe), holdout)
    recipe = choose(model, calibration=method, **changes)
    right = exact(fitting.fit(frame, terms(), recipe), holdout)
    assert calibration_of(right, holdout) < 0.06 < calibration_of(plain, holdout)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_several_classes_are_calibrated_exactly(method: str, choose: Choose) -> None:
    """Inside a pipeline of the team's, too."""
    frame = table("multiclass", 300)
    model = make_pipeline(SelectKBest(k=2), GaussianNB())
    recipe = choose(model, "multiclass", calibration=method)
    fitted = fitting.fit(frame, terms("multiclass"), recipe)
    p = exact(fitted, frame, "multiclass")
    assert np.allclose(p.sum(axis=1), 1, atol=1e-6)


def test_the_converter_alone_gets_an_isotonic_curve_wrong(
    choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the nearest of the curve's points: the parity check would refuse it."""
    frame = table()
    recipe = choose(LogisticRegression(), calibration="isotonic")
    fitted = fitting.fit(frame, terms(), recipe)
    exact(fitted, frame)
    monkeypatch.setattr(calibration, "exact_isotonic", nullcontext)
    arrays = data.inputs(frame, terms(), INPUTS)
    nearest = fitting.export(fitted, terms(), INPUTS)
    proof = parity.parity(fitted, nearest, arrays, terms())
    assert proof["max_difference"] > 1e-3


def test_rows_left_out_are_later_than_what_they_are_predicted_from(
    choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By time; and no model of a fold has seen the rows that it scores."""
    frame, fitted_on = table(count=300), []
    fit_rows = fitting.fit_rows

    def seen(part: pd.DataFrame, *args: Any) -> Any:
        fitted_on.append(set(part["row"]))
        return fit_rows(part, *args)

    monkeypatch.setattr(fitting, "fit_rows", seen)
    recipe = choose(GaussianNB())
    left_out = out_of_fold.scores(frame, terms(), recipe, calibrated=False)
    assert len(left_out.rows) == len(set(left_out.rows)) == len(left_out.scores) == 150
    for rows_fitted in fitted_on:
        last = frame.loc[frame["row"].isin(rows_fitted), "at"].max()
        assert (frame["at"] <= last).sum() == len(rows_fitted)


def test_what_is_left_out_has_every_class_or_is_refused(choose: Choose) -> None:
    frame = table(count=120)
    frame["y"] = (np.arange(120) < 30).astype("int8")  # the newest half has no 1
    with pytest.raises(ContractError, match="left out of 60 has not both values"):
        fitting.fit(frame, terms(), choose(GaussianNB(), calibration="sigmoid"))


def test_a_sigmoid_that_falls_is_refused(choose: Choose) -> None:
    """Where the newest rows are the other way round, order would be, too."""
    frame = table(count=600)
    late = np.arange(600) >= 300
    frame["y"] = ((frame["size"] > 0) ^ late).astype("int8")
    with pytest.raises(ContractError, match="order of predictions round"):
        fitting.fit(frame, terms(), choose(GaussianNB(), calibration="sigmoid"))


def test_a_fold_without_a_class_is_refused(choose: Choose) -> None:
    frame = table(count=120)
    rows = np.arange(120)  # the oldest half has no 1
    frame["y"] = ((rows >= 60) & (rows % 2 == 0)).astype("int8")
    with pytest.raises(ContractError, match="fold of 60 has not both values"):
        fitting.fit(frame, terms(), choose(GaussianNB(), calibration="sigmoid"))


def test_the_threshold_is_worth_most_on_rows_left_out(choose: Choose) -> None:
    """As trying each shows; the choice sees no holdout, and is the same again."""
    frame = table(count=400)
    recipe = choose(LogisticRegression(), threshold="best")
    learned = [learning.learn(frame, terms(), recipe) for _ in range(2)]
    assert learned[0].recipe == learned[1].recipe
    files = [fitting.export(one.pipeline, terms(), INPUTS) for one in learned]
    assert files[0] == files[1]
    found, facts = learned[0].recipe.threshold, learned[0].chosen["threshold"]
    left_out = out_of_fold.scores(frame, terms(), recipe, calibrated=False)
    y = data.truth(frame, terms())[left_out.rows]
    p = left_out.scores[:, 1].astype(np.float32)
    worth = [(10 * y - 2 * (1 - y))[p >= t].sum() for t in (*p, found)]
    assert facts == {"rows": len(y), "worth": 1000 * worth[-1] / len(y)}
    assert worth[-1] == max(worth) and found is not None and 0 < found < 1
    assert len(str(found)) <= 6, "a number that a person can read"


def test_a_threshold_suits_calibrated_probabilities(choose: Choose) -> None:
    """Elkan (2001): where probabilities are right it is near 2 / (2 + 10)."""
    recipe = choose(OVERSURE, threshold="best", calibration="sigmoid")
    learned = learning.learn(table(count=1500), terms(), recipe)
    assert learned.recipe.threshold == pytest.approx(1 / 6, abs=0.08)


@pytest.mark.parametrize(
    ("y", "p", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.4, 0.9], 0.3),
        ([0, 1], [0.5, np.nextafter(np.float32(0.5), np.float32(1))], None),
        ([0, 1], [0.0, 1e-30], None),
        ([0, 1], [0.0, 1.0], 0.5),
    ],
)
def test_a_threshold_lies_between_two_predictions(
    y: list[int], p: list[float], expected: float | None
) -> None:
    """Half way, and always above 0 and below 1."""
    worth = settings.BinaryWorth("euros", 1, -1, 0, 0)
    choice = threshold.best(np.array(y), np.array(p, np.float64), worth)
    assert 0 < choice.threshold < 1
    decided = np.array(p, np.float32) >= np.float32(choice.threshold)
    assert decided.tolist() == [label == 1 for label in y]
    assert expected is None or choice.threshold == expected


@pytest.mark.parametrize("decision", [0, 1])
def test_the_same_decision_for_every_row_is_no_threshold(decision: int) -> None:
    worth = settings.BinaryWorth("euros", 1, -1, 0, 0)
    y = np.array([decision, decision, 1 - decision])
    p = np.array([0.2, 0.3, 0.9 if decision == 0 else 0.1])
    p = np.array([0.2, 0.2, 0.2]) if decision else p[::-1]
    with pytest.raises(ContractError, match=f"decide {decision} for every"):
        threshold.best(y, p, worth)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({}, "no section `business`"),
        ({"business": {**WORTH, "true_positive": -9}}, "right decision has to be"),
        ({"business": {"unit": "euros"}}, "business.true_positive' is missing"),
    ],
)
def test_best_needs_to_know_what_decisions_are_worth(
    params: dict[str, Any], reason: str
) -> None:
    section = {"seed": 1, "estimator": "mine", "columns": ["size"], "parity": 1e-5}
    with pytest.raises(ContractError, match=reason):
        settings.train({"train": section | {"threshold": "best"}, **params}, "binary")


@pytest.mark.parametrize(
    ("listed", "missing"),
    [
        (["train"], True),
        (["train", "business"], False),
        ([{"params.yaml": ["train", "business"]}], False),
        ([{"params.yaml": None}], False),
        ([{"other.yaml": ["business"]}, "train"], True),
        (None, True),
    ],
)
def test_dvc_has_to_know_that_a_stage_reads_business(
    listed: object, missing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a change of it would leave the model, and its verdict, as they are."""
    monkeypatch.chdir(tmp_path)
    imports.demand_params("train", "business", "no stage")
    stage = {"cmd": "x", "deps": ["a"], "params": listed}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
    if not missing:
        imports.demand_params("train", "business", "why")
        return
    with pytest.raises(ContractError, match="add the line `- business` to the params"):
        imports.demand_params("train", "business", "why")


def test_calibration_is_for_probabilities(choose: Choose) -> None:
    with pytest.raises(ContractError, match="calibration is for probabilities"):
        choose(LINEAR, "regression", calibration="sigmoid")


def test_a_weighted_column_is_sorted_once_and_cut_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scikit-learn sorts it for each of 254 thresholds: minutes for a million rows."""
    from sklearn.ensemble._hist_gradient_boosting import binning as bins

    calls = []

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(args)
        return known(*args, **options)

    random, known = np.random.default_rng(0), getattr(bins, binning.NAME)
    X = random.normal(size=(900, 3)).round(2)
    X[::7, 1], X[:, 2] = np.nan, X[:, 2].round()  # a gap, and few values
    y, weights = X[:, 0] > 0.5, random.integers(0, 3, 900) / 2
    monkeypatch.setattr(bins, binning.NAME, counted)
    fitted = []
    for once in (False, True):
        model = HistGradientBoostingClassifier(max_iter=5, early_stopping=False)
        with binning.sorted_once() if once else nullcontext():
            model.fit(X, y, sample_weight=weights)
        fitted.append((model.predict_proba(X), len(calls)))
    assert np.array_equal(fitted[0][0], fitted[1][0])
    assert fitted[0][1] == 2 * 254 and fitted[1][1] - fitted[0][1] == 2
    assert getattr(bins, binning.NAME) is counted, "it is as it was"


def test_the_time_of_the_contract_is_no_input() -> None:
    """Whoever wants its hour is told how, not that there is no such column."""
    with pytest.raises(ContractError, match=r"'at', the time .* copy it"):
        terms().kind("number", ["size", "at"])


def off_in_one_row(exported: bytes, size: float) -> bytes:
    """Return a file whose prediction of the rows of one size is a hundredth less."""
    model = onnx.load_from_string(exported)
    graph, node = model.graph, onnx.helper.make_node
    graph.node[-1].output[0] = "as_it_was"
    for name, value, shape in (
        ("that", size, []),
        ("less", 0.99, []),
        ("flat", -1, [1]),
    ):
        kind = onnx.TensorProto.INT64 if name == "flat" else onnx.TensorProto.FLOAT
        graph.initializer.append(onnx.helper.make_tensor(name, kind, shape, [value]))
    graph.node.extend(
        [
            node("Equal", [graph.input[0].name, "that"], ["is"]),
            node("Reshape", ["is", "flat"], ["row"]),
            node("Mul", ["as_it_was", "less"], ["other"]),
            node("Where", ["row", "other", "as_it_was"], ["probability"]),
        ]
    )
    return bytes(model.SerializeToString())


def test_a_converter_that_is_off_in_one_row_is_refused_with_the_row(
    choose: Choose,
) -> None:
    """Of 2,000, planted in the graph: 1,999 that agree do not hide it."""
    frame, recipe = table(count=2000), choose(LogisticRegression())
    fitted = fitting.fit(frame, terms(), recipe)
    exported = fitting.export(fitted, terms(), INPUTS)
    arrays, ids = data.inputs(frame, terms(), INPUTS), list(frame["row"])
    parity.demand(parity.parity(fitted, exported, arrays, terms()), 1e-5, "")
    planted = off_in_one_row(exported, float(arrays["size"][1234, 0]))
    scores = [fitting.score(f, arrays, "probability") for f in (exported, planted)]
    assert np.flatnonzero(scores[0] != scores[1]).tolist() == [1234]
    where = parity.where(fitted, planted, arrays, terms(), 1e-5, ids)
    with pytest.raises(ContractError, match="row r0-1234, "):
        parity.demand(parity.parity(fitted, planted, arrays, terms()), 1e-5, where)
