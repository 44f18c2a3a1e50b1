"""XGBoost, LightGBM and CatBoost, where they are installed: each setting, exported.

The template's own test installs them by a lock with hashes and runs this; where one is
not installed its tests are skipped.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from machinery import estimators
from machinery.orders import INPUTS, Choose, choosing, exact, table, terms
from machinery.test_boosting import steps_down
from mlgitops.judge import operators
from mlgitops.pipeline import convertible, fitting, learning
from mlgitops.pipeline.contract import ContractError
from model.features import for_trees

LIBRARIES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not find_spec(name), reason=f"{name} is not installed"
        ),
    )
    for name in estimators.LIBRARIES
]
KINDS = {"binary": "Classifier", "regression": "Regressor"}
STOPPED = {"share": 0.2, "rounds": 3}


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Return what makes an estimator the only choice, and reads its settings."""
    return choosing(monkeypatch)


def model(library: str, rounds: int = 20, kind: str = "Classifier") -> Any:
    """Return an unfitted estimator of a library, on one thread."""
    prefix, arguments = estimators.LIBRARIES[library]
    named = eval(f"dict({arguments})") | {
        "iterations" if library == "catboost" else "n_estimators": rounds
    }
    return getattr(import_module(library), prefix + kind)(**named)


@pytest.mark.parametrize("library", LIBRARIES)
def test_it_takes_every_setting_and_is_exported_exactly(
    library: str, choose: Choose
) -> None:
    """Weights, a constraint, a stop, a calibration and a threshold, all at once."""
    frame = table(count=300).assign(share=lambda f: 1.0 + np.arange(len(f)) % 2)
    recipe = choose(
        model(library, 80).set_params(learning_rate=0.3),
        features=for_trees,
        weights="share",
        monotonic={"size": "increasing"},
        early_stopping=STOPPED,
        calibration="isotonic",
        threshold="best",
    )
    learned = learning.learn(frame, terms(), recipe)
    exact(learned.pipeline, frame)
    operators.read(fitting.export(learned.pipeline, terms(), INPUTS))
    assert steps_down(learned.pipeline) < 1e-6
    assert 1 <= learned.chosen["early_stopping"]["rounds"] < 60
    again = [fitting.fit_rows(frame, terms(), recipe) for _ in range(2)]
    files = [fitting.export(one, terms(), INPUTS) for one in again]
    assert files[0] == files[1]


REFUSED = [
    ("catboost", "grow_policy", "Lossguide", KINDS),
    ("lightgbm", "boosting_type", "rf", KINDS),
    ("lightgbm", "boosting", "rf", KINDS),
    ("lightgbm", "boost", "random_forest", KINDS),
    ("lightgbm", "linear_tree", True, KINDS),
    ("lightgbm", "linear_trees", True, KINDS),
    ("xgboost", "booster", "dart", KINDS),
    ("xgboost", "booster", "gblinear", KINDS),
    ("xgboost", "num_parallel_tree", 3, ("binary",)),  # of numbers it converts
]


@pytest.mark.parametrize(("library", "argument", "value", "tasks"), REFUSED)
def test_an_argument_that_does_not_convert_is_refused_by_its_name(
    library: str, argument: str, value: object, tasks: tuple[str, ...]
) -> None:
    """Before anything is fitted, with what to take: not a number of the parity check.

    The libraries' usual values pass.
    """
    pytest.importorskip(library)
    for task in KINDS:
        usual = model(library, kind=KINDS[task])
        convertible.check(usual, task)
        other = usual.set_params(**{argument: value})
        if task not in tasks:
            convertible.check(other, task)
            continue
        with pytest.raises(ContractError, match=f"{argument}={value!r}.*; take "):
            convertible.check(other, task)


@pytest.mark.parametrize(
    "given",
    [{"boosting_type": "gbrt"}, {"boosting": "dart"}, {"linear_trees": False}],
    ids=str,
)
def test_lightgbm_has_other_names_that_convert(
    given: dict[str, Any], choose: Choose
) -> None:
    pytest.importorskip("lightgbm")
    frame = table(count=300)
    recipe = choose(model("lightgbm").set_params(**given), features=for_trees)
    exact(fitting.fit(frame, terms(), recipe), frame)


@pytest.mark.parametrize("library", LIBRARIES)
def test_without_a_constraint_it_falls_somewhere(library: str, choose: Choose) -> None:
    recipe = choose(model(library), features=for_trees)
    assert steps_down(fitting.fit(table(count=500), terms(), recipe)) > 0.01


@pytest.mark.parametrize("library", LIBRARIES)
def test_weights_count_as_rows_do(library: str, choose: Choose) -> None:
    """Balanced, the mean prediction is near one half; without, one in six."""
    frame, means = table(count=500), []
    for changes in ({}, {"weights": "balanced"}):
        recipe = choose(model(library), features=for_trees, **changes)
        means.append(exact(fitting.fit(frame, terms(), recipe), frame).mean())
    assert means[1] > means[0] + 0.05


@pytest.mark.parametrize("library", LIBRARIES)
def test_several_classes_stop_early_and_are_calibrated(
    library: str, choose: Choose
) -> None:
    frame = table("multiclass", 300)
    about = {"early_stopping": STOPPED, "calibration": "sigmoid", "weights": "balanced"}
    recipe = choose(model(library, 60), "multiclass", for_trees, **about)
    fitted = fitting.fit(frame, terms("multiclass"), recipe)
    assert exact(fitted, frame, "multiclass").shape == (300, 3)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_regression_stops_early_with_a_constraint(
    library: str, choose: Choose
) -> None:
    frame = table("regression", 500)
    about: dict[str, Any] = {"early_stopping": STOPPED}
    about["monotonic"] = {"size": "increasing"}
    made = model(library, 100, "Regressor")
    recipe = choose(made, "regression", for_trees, **about)
    fitted = fitting.fit(frame, terms("regression"), recipe)
    assert steps_down(fitted, "size", "regression") < 1e-5
