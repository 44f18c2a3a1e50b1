"""What `model/estimator.py` may hold: each estimator converts exactly, or is refused.

A share here; with PROOF=1 every classifier and regressor of scikit-learn, compositions
of them, and the libraries that are installed. docs/estimators.md is the table of it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder

from machinery import estimators
from machinery.estimators import Entry, contract, measure, rows
from mlgitops.pipeline import (
    boosters,
    conversion,
    convertible,
    data,
    fitting,
    parity,
    settings,
)
from mlgitops.pipeline import train as stage
from mlgitops.pipeline.contract import ContractError
from mlgitops.serving.predictions import TASKS as SERVED
from model import estimator as choices
from model.features import for_linear, for_trees

PROOF = bool(os.environ.get("PROOF"))
DOCUMENT = Path(__file__).parents[2] / "docs" / "estimators.md"
FAST = {  # the tasks that are tried without PROOF
    "RandomForestClassifier": "binary",
    "ExtraTreesClassifier": "binary",
    "GradientBoostingClassifier": "multiclass",
    "BaggingClassifier": "binary",
    "AdaBoostClassifier": "binary",
    "StackingClassifier": "multiclass",
    "VotingClassifier": "binary",
    "calibrated boosting": "binary",
    "feature selection, by a test": "multiclass",
    "OneVsRestClassifier": "multiclass",
    "DecisionTreeRegressor": "regression",
    "RandomForestRegressor": "regression",
    "GradientBoostingRegressor": "regression",
    "VotingRegressor": "regression",
    "XGBClassifier": "binary",
    "LGBMClassifier": "binary",
    "CatBoostClassifier": "binary",
}
TRIED = [
    (entry, task)
    for entry in estimators.entries()
    for task in entry.tasks
    if (task, entry.name) not in convertible.OF_TASK
    and (PROOF or FAST.get(entry.name) == task)
]
REFUSED = list(estimators.refused())
Choose = Any


def documented() -> dict[str, list[str]]:
    """Return the cells of each line of the table, by the estimator's first cell."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    rows = [[c.strip() for c in x[1:-1].split("|")] for x in lines if x[:2] == "| "]
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize(
    ("entry", "task"), TRIED, ids=[f"{e.name}-{t}" for e, t in TRIED]
)
def test_it_converts_as_the_table_says(entry: Entry, task: str) -> None:
    """Fitted, exported, compared on 20,000 rows, served by the server's own code."""
    found = measure(entry, task, fast=not PROOF)
    (label, *_) = (c.strip() for c in estimators.line(entry, [])[1:-1].split("|"))
    cell = documented()[label][1 + entry.tasks.index(task)]
    assert found.exact == (cell != "**no**"), found
    assert PROOF or found.exact


def test_the_table_has_every_estimator() -> None:
    """Of the installed scikit-learn: one more has to be tried."""
    lines = documented()
    for entry in estimators.entries():
        (label, *_) = (c.strip() for c in estimators.line(entry, [])[1:-1].split("|"))
        assert label in lines, f"write {DOCUMENT.name} again: it lacks {label}"
    for name, (why, nearest) in convertible.REFUSED.items():
        assert lines[f"`{name}`"] == [why, nearest]
    for (task, name), (why, nearest) in convertible.OF_TASK.items():
        assert lines[f"`{name}`, task {task}"] == [why, nearest]
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.endswith("\n".join(["", *estimators.refused_arguments(), ""]))


@pytest.mark.parametrize(
    ("name", "text", "task"), REFUSED, ids=[f"{n}-{t}" for n, _, t in REFUSED]
)
def test_what_does_not_convert_is_refused_by_name(
    name: str, text: str, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is fitted, with the nearest that does."""
    model = estimators.make(text)
    with pytest.raises(ContractError, match=name) as refused:
        convertible.check(model, task)
    assert str(refused.value).startswith("model/estimator.py: ")
    assert "; take " in str(refused.value) and "\n" not in str(refused.value)
    if PROOF:  # and rightly so
        monkeypatch.setattr(convertible, "REFUSED", {})
        monkeypatch.setattr(convertible, "OF_TASK", {})
        features = estimators.ON.get(name, for_linear)
        assert not measure(Entry(name, text, features, (task,)), task).exact


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Return what makes an estimator the only choice, and reads its settings."""

    def chosen(model: Any, features: Any, task: str = "binary", **more: Any) -> Any:
        kind = "REGRESSORS" if task == "regression" else "CLASSIFIERS"
        monkeypatch.setattr(choices, kind, {"mine": (features, model)})
        section = {"seed": 7, "estimator": "mine", "parity": 1e-5, **more}
        section["columns"] = list(contract(task).columns)
        section |= {"threshold": 0.5} if task == "binary" else {}
        return settings.train({"train": section}, task)

    return chosen


def test_missing_values_go_where_the_forest_sends_them(choose: Choose) -> None:
    """The converter leaves that out; without it a fifth of the rows are wrong."""
    recipe = choose(RandomForestClassifier(10), for_trees)
    terms = contract("binary")
    fitted = fitting.fit(rows("binary", 500, 3), terms, recipe)
    exported = fitting.export(fitted, terms, recipe.columns)
    arrays = data.inputs(rows("binary", 500, 4), terms, recipe.columns)
    assert parity.parity(fitted, exported, arrays, terms)["max_difference"] < 1e-6
    model = onnx.load_from_string(exported)
    (trees,) = (n for n in model.graph.node if n.op_type.startswith("TreeEnsemble"))
    (sides,) = (
        a.ints for a in trees.attribute if a.name == "nodes_missing_value_tracks_true"
    )
    assert any(sides)
    sides[:] = [0] * len(sides)
    wrong = model.SerializeToString()
    proof = parity.parity(fitted, wrong, arrays, terms)
    assert proof["max_difference"] > 0.1
    ids = list(rows("binary", 500, 4)["row"])
    where = parity.where(fitted, wrong, arrays, terms, 1e-5, ids)
    assert re.match(
        r'row row-00\d{3}, column "(price|member|shape)", here missing', where
    )
    with pytest.raises(ContractError, match="row row-00") as refused:
        parity.demand(proof, 1e-5, where)
    assert "the fitted model" in str(refused.value)


def test_the_graph_computes_what_the_estimator_is_fitted_on(choose: Choose) -> None:
    """Scaled numbers are float32 in the file: in float64 rows cross thresholds."""
    recipe = choose(RandomForestRegressor(10), for_linear, "regression")
    terms = contract("regression")
    fitted = fitting.fit(rows("regression", 2000, 3), terms, recipe)
    exported = fitting.export(fitted, terms, recipe.columns)
    arrays = data.inputs(rows("regression", 10_000, 4), terms, recipe.columns)
    X = fitting.table(arrays)
    features = fitted[0].transform(X)
    assert np.array_equal(features, features.astype(np.float32))
    own = fitted[-1].predict(fitted[0].features_.transform(X))  # in float64
    file = fitting.score(exported, arrays, "value")
    assert np.abs(own - file).max() > 0.01  # as before
    assert np.abs(fitted.predict(X) - file).max() < 1e-4


def test_no_probability_is_above_1(choose: Choose) -> None:
    """Ten trees that are sure add up to 1.0000001: the server refused such a row."""
    for task in ("binary", "multiclass"):
        recipe = choose(RandomForestClassifier(10), for_trees, task)
        terms = contract(task)
        fitted = fitting.fit(rows(task, 2000, 3), terms, recipe)
        exported = fitting.export(fitted, terms, recipe.columns)
        arrays = data.inputs(rows(task, 10_000, 4), terms, recipe.columns)
        output = fitting.TASKS[task].output
        model = onnx.load_from_string(exported)
        assert model.graph.node[-1].op_type == "Min"
        assert fitting.score(exported, arrays, output).max() == 1.0
        model.graph.node[-1].op_type = "Max"  # what was summed, where it is above 1
        without = fitting.score(model.SerializeToString(), arrays, output)
        assert 1.0 < without.max() < 1.00001


def test_a_threshold_is_the_float32_below() -> None:
    """The nearest float32 may be the value of a row on the other side."""
    low = np.float32(1)
    high = np.nextafter(low, np.float32(2))
    middle = (float(low) + float(high)) / 2
    for threshold in (middle, float(high) - 1e-12, float(low), -middle):
        (kept,) = boosters.below([threshold])
        for value in (low, high, -low, -high):
            assert (value <= np.float32(kept)) == (float(value) <= threshold)


def test_missing_values_are_refused_with_how_to_encode(choose: Choose) -> None:
    """Also where only rows of production have any."""
    model = GradientBoostingClassifier(n_estimators=5)
    table = rows("binary", 500, 3)
    for frame in (table, table.assign(price=1.0, member=0.0)):
        with pytest.raises(ContractError) as refused:
            fitting.fit(frame, contract("binary"), choose(model, for_trees))
        message = str(refused.value)
        assert "GradientBoostingClassifier takes no missing values" in message
        assert "price" in message and "for_linear" in message
    fitting.fit(table, contract("binary"), choose(model, for_linear))


def test_random_state_is_the_seed_however_deep(choose: Choose) -> None:
    text = (
        "StackingClassifier([('forest', make_pipeline(SelectFromModel("
        "RandomForestClassifier(3)), RandomForestClassifier(3)))])"
    )
    built = fitting.build(contract("binary"), choose(estimators.make(text), for_linear))
    parameters = built[-1].get_params()
    seeds = [v for n, v in parameters.items() if n.endswith("random_state")]
    assert len(seeds) == 2 and set(seeds) == {7}


def test_a_transformer_that_converts_wrongly_is_named(choose: Choose) -> None:
    """The estimator would learn from it, and nobody would notice."""
    recipe = choose(LogisticRegression(), for_linear)
    terms, frame = contract("binary"), rows("binary", 300, 3)
    fitted = fitting.fit(frame, terms, recipe)
    arrays = data.inputs(frame, terms, recipe.columns)
    parity.check_features(fitted, arrays, terms)
    encoder = fitted[0].features_.named_transformers_["categories"]
    assert isinstance(encoder, OneHotEncoder)
    encoder.categories_[0] = encoder.categories_[0][::-1]  # other than in the graph
    with pytest.raises(ContractError, match="categories__color") as refused:
        parity.check_features(fitted, arrays, terms)
    assert "model/features.py" in str(refused.value)


def test_a_class_without_a_converter_is_refused(choose: Choose) -> None:
    class Mine(LogisticRegression):  # type: ignore[misc]
        """A class of the team's."""

    recipe = choose(Mine(), for_linear)
    with pytest.raises(ContractError, match="Mine has no converter.*take Logistic"):
        fitting.fit(rows("binary", 100, 3), contract("binary"), recipe)


def test_the_server_decides_at_the_threshold_as_the_judge() -> None:
    """A forest's 0.7 is float32: below the float64 0.7, and on the threshold."""
    for threshold in (0.1, 0.3, 0.7, 0.9):
        scores = np.array([threshold, threshold - 1e-6], np.float32)
        served = SERVED["binary"].predictions(scores, {"threshold": threshold})
        assert [p["decision"] for p in served] == [True, False]


def test_the_converter_is_as_it_was_afterwards() -> None:
    from skl2onnx.common import tree_ensemble
    from skl2onnx.operator_converters import random_forest

    with conversion._exact_trees():
        assert (
            vars(random_forest)[conversion.TREES]
            is not vars(tree_ensemble)[conversion.TREES]
        )
    for name in (conversion.TREES, conversion.HISTOGRAM_TREES):
        assert vars(random_forest)[name] is vars(tree_ensemble)[name]


def test_the_stage_says_where(choose: Choose, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row by its id, and the column, when the exported file is another."""
    recipe = choose(LogisticRegression(), for_linear)
    terms, frame = contract("binary"), rows("binary", 300, 3)
    fitted = fitting.fit(frame, terms, recipe)
    other = fitting.fit(rows("binary", 100, 9), terms, recipe)
    exported = fitting.export(other, terms, recipe.columns)
    monkeypatch.setattr(parity, "check_features", lambda *_: None)
    with pytest.raises(ContractError, match=r"row row-\d+, .*the file predicts 0\.\d+"):
        stage._proof(fitted, exported, frame, terms, recipe)
