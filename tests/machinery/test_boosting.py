"""What boosting may be told: with which columns it rises or falls, and when to stop.

Each is seen in the exported file, and refused in words where it cannot be had.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression

from machinery.orders import (
    COLUMNS,
    INPUTS,
    Choose,
    choosing,
    exact,
    table,
    terms,
)
from mlgitops.pipeline import fitting, learning, stopping
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.folds import SPLIT
from model.features import for_linear, for_trees

LINEAR = LogisticRegression()


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Return what makes an estimator the only choice, and reads its settings."""
    return choosing(monkeypatch)


def steps_down(fitted: Any, column: str = "size", task: str = "binary") -> float:
    """Return by how much the file's prediction falls at most as a column rises."""
    grid = np.linspace(-4, 4, 161, dtype=np.float32)
    frame = table(task, 12, seed=5)
    grids = frame.loc[frame.index.repeat(len(grid))].assign(
        **{column: np.tile(grid, len(frame))}
    )
    p = exact(fitted, grids, task).reshape(len(frame), len(grid))
    return float(-np.diff(p, axis=1).min())


TREES = HistGradientBoostingClassifier(early_stopping=False, max_iter=20)
REGRESSORS = HistGradientBoostingRegressor(early_stopping=False, max_iter=20)


def test_predictions_only_rise_with_a_monotonic_column(choose: Choose) -> None:
    """In the exported file, and calibrated; without, they fall somewhere."""
    frame = table(count=400)
    for changes in ({}, {"calibration": "isotonic"}):
        recipe = choose(
            TREES, features=for_trees, monotonic={"size": "increasing"}, **changes
        )
        assert steps_down(fitting.fit(frame, terms(), recipe)) < 1e-6
    plain = choose(TREES, features=for_trees)
    assert steps_down(fitting.fit(frame, terms(), plain)) > 0.01, "the control"


def test_predictions_fall_with_a_decreasing_column(choose: Choose) -> None:
    """Of a regression too; the target rises with `size`, so they do not move at all."""
    frame, of = table("regression", 400), {"size": "decreasing", "twin": "increasing"}
    recipe = choose(REGRESSORS, "regression", for_trees, monotonic=of)
    fitted = fitting.fit(frame, terms("regression"), recipe)
    assert steps_down(fitted, "twin", "regression") < 1e-5
    minus = frame.assign(size=-frame["size"])
    fitted = fitting.fit(minus, terms("regression"), recipe)
    assert steps_down(fitted, "size", "regression") > 0.1


@pytest.mark.parametrize(
    ("model", "changes", "reason"),
    [
        (LINEAR, {}, "LogisticRegression.*has no such constraint"),
        (TREES, {"features": for_linear}, "size is changed by Pipeline"),
        (TREES, {"monotonic": {"color": "increasing"}}, "color is a category"),
        (
            TREES,
            {"monotonic": {"share": "increasing"}},
            "share is not in train.columns",
        ),
        (TREES, {"monotonic": {"size": "up"}}, "increasing or decreasing"),
        (TREES, {"task": "multiclass"}, "multiclass has one of each class"),
    ],
)
def test_a_constraint_that_cannot_be_had_is_refused(
    model: Any, changes: dict[str, Any], reason: str, choose: Choose
) -> None:
    about = {"features": for_trees, "monotonic": {"size": "increasing"}, **changes}
    task = about.get("task", "binary")
    with pytest.raises(ContractError, match=reason):
        fitting.fit(table(task, 100), terms(task), choose(model, **about))


@pytest.mark.parametrize(
    ("features", "refused"),
    [
        (lambda c: {**c, "sum": c["twin"] + 1}, False),
        (lambda c: {"large": c["size"], "twin": c["twin"], "color": c["color"]}, False),
        (lambda c: {**c, "gap": c["size"] - c["twin"]}, True),
        (lambda c: {**c, "size": -c["size"]}, True),
    ],
    ids=["of another", "renamed", "used", "changed"],
)
def test_a_constraint_holds_for_all_that_is_made_of_a_column(
    features: Any, refused: bool, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else `size - twin` may fall while the constrained `size` rises."""
    monkeypatch.setattr("model.features.features", features)
    recipe = choose(TREES, features=for_trees, monotonic={"size": "increasing"})
    frame = table(count=300)
    if refused:
        with pytest.raises(ContractError, match="used for another feature"):
            fitting.fit(frame, terms(), recipe)
        return
    assert steps_down(fitting.fit(frame, terms(), recipe)) < 1e-6


STOPPED = {"share": 0.2, "rounds": 3}


def test_boosting_stops_on_the_newest_training_rows(
    choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then all rows are fitted with as many rounds; the same rows, the same bytes."""
    frame, seen = table(count=500), []
    own = HistGradientBoostingClassifier.fit

    def fit(self: Any, X: Any, y: Any, *args: Any, **more: Any) -> Any:
        seen.append((len(X), len(more.get("X_val", ()))))
        return own(self, X, y, *args, **more)

    monkeypatch.setattr(HistGradientBoostingClassifier, "fit", fit)
    model = HistGradientBoostingClassifier(max_iter=300, early_stopping=True)
    recipe = choose(model, features=for_trees, early_stopping=STOPPED)
    learned = [learning.learn(frame, terms(), recipe) for _ in range(2)]
    assert seen == [(400, 100), (500, 0)] * 2
    files = [fitting.export(one.pipeline, terms(), INPUTS) for one in learned]
    assert files[0] == files[1]
    exact(learned[0].pipeline, frame)
    rounds = learned[0].chosen["early_stopping"]["rounds"]
    assert 1 <= rounds < 60
    assert learned[0].pipeline[-1].n_iter_ == rounds
    fold = stopping.part(frame, terms(), recipe)
    assert frame["at"][fold.fit].max() < frame["at"][fold.left_out].min()


def test_early_stopping_leaves_out_whole_groups(choose: Choose) -> None:
    document = {"name": "orders", "task": "binary", "target": "y", "id": "row"}
    document |= {"entity": "who", "columns": COLUMNS}
    frame = table(count=300).assign(who=lambda f: np.arange(len(f)) % 30)
    frame.attrs[SPLIT] = "group"
    recipe = choose(TREES, early_stopping=STOPPED)
    fold = stopping.part(frame, Contract.parse(document), recipe)
    left_out, fitted = (set(frame["who"][rows]) for rows in fold[::-1])
    assert left_out and not left_out & fitted


def test_weights_count_in_what_stops(choose: Choose) -> None:
    """Of rows that count nothing, the part that stops has none left."""
    frame = table(count=400).assign(share=lambda f: (np.arange(len(f)) < 300) * 1.0)
    about = {"features": for_trees, "weights": "share", "early_stopping": STOPPED}
    with pytest.raises(ContractError, match="weight is 0 in all 80 rows"):
        fitting.fit(frame, terms(), choose(TREES, **about))


@pytest.mark.parametrize(
    ("model", "stopped", "reason"),
    [
        (
            GradientBoostingClassifier(),
            STOPPED,
            "GradientBoostingClassifier.*cannot stop",
        ),
        (TREES, {"share": 0.9, "rounds": 3}, "between 0.01 and 0.5"),
        (TREES, {"share": 0.1}, "early_stopping.rounds' is missing"),
    ],
)
def test_early_stopping_that_cannot_be_had_is_refused(
    model: Any, stopped: dict[str, Any], reason: str, choose: Choose
) -> None:
    with pytest.raises(ContractError, match=reason):
        recipe = choose(model, features=for_linear, early_stopping=stopped)
        fitting.fit(table(count=100), terms(), recipe)
