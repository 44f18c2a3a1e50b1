"""Orders with a few columns, and recipes of training for the tests of both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlgitops.pipeline import data, fitting, parity, settings
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.folds import SPLIT
from mlgitops.pipeline.task import TASKS
from model import estimator as choices
from model.features import for_linear

COLUMNS = {
    "size": {"type": "number", "min": -10, "max": 10, "missing": False},
    "twin": {"type": "number", "min": -10, "max": 10, "missing": False},
    "color": {"type": "category", "categories": ["red", "blue"], "missing": False},
    "share": {"type": "number", "min": -1, "max": 100, "missing": True},
}
INPUTS = ["size", "twin", "color"]
WORTH = {
    "unit": "euros",
    "true_positive": 10,
    "false_positive": -2,
    "false_negative": 0,
    "true_negative": 0,
}
Choose = Any


def terms(task: str = "binary") -> Contract:
    """Return a contract; `share` is no input of the model."""
    document: dict[str, Any] = {"name": "orders", "task": task, "columns": COLUMNS}
    document |= {"target": "y", "id": "row", "time": "at"}
    if task == "multiclass":
        document["classes"] = ["low", "mid", "high"]
    return Contract.parse(document)


def table(task: str = "binary", count: int = 600, seed: int = 0) -> pd.DataFrame:
    """Return rows of which one in six is 1; `twin` says what `size` says, again."""
    random = np.random.default_rng(seed)
    size = random.normal(size=count)
    signal = size + random.normal(0, 1.2, count)
    frame = pd.DataFrame(
        {
            "row": [f"r{seed}-{n}" for n in range(count)],
            "at": pd.Timestamp("2026-01-01", tz="UTC")
            + pd.to_timedelta(np.arange(count), "h"),
            "size": size,
            "twin": size + random.normal(0, 0.2, count),
            "color": random.choice(np.array(["red", "blue"], object), count),
            "share": 1.0,
            "y": (signal > 1.5).astype(float),
        }
    )
    if task == "multiclass":
        third = np.searchsorted([0, 1.5], signal)
        frame["y"] = np.array(["low", "mid", "high"], object)[third]
    if task == "regression":
        frame["y"] = signal
    checked = data.check(frame, terms(task))
    checked.attrs[SPLIT] = "time"
    return checked


def choosing(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Return what makes an estimator the only choice, and reads its settings."""

    def chosen(
        model: Any, task: str = "binary", features: Any = for_linear, **more: Any
    ) -> settings.Train:
        kind = "REGRESSORS" if task == "regression" else "CLASSIFIERS"
        monkeypatch.setattr(choices, kind, {"mine": (features, model)})
        section = {"seed": 7, "estimator": "mine", "parity": 1e-5, "columns": INPUTS}
        section |= {"threshold": 0.5} if task == "binary" else {}
        params = {"train": section | more, "business": WORTH}
        return settings.train(params, task)

    return chosen


def exact(fitted: Any, frame: pd.DataFrame, task: str = "binary") -> np.ndarray:
    """Return the file's predictions, once they are the fitted pipeline's."""
    arrays = data.inputs(frame, terms(task), INPUTS)
    exported = fitting.export(fitted, terms(task), INPUTS)
    proof = parity.parity(fitted, exported, arrays, terms(task))
    assert proof["max_difference"] < 1e-5
    return fitting.score(exported, arrays, TASKS[task].output)
