"""Rows that a contract allows, made up: the tests need no data from storage."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.settings import Train, train

ROOT = Path.cwd()
SMALL = """\
name: flights
task: binary
id: flight_id
time: scheduled_departure
target: late
columns:
  carrier: {type: category, categories: [AA, B6, UA], missing: false}
  distance: {type: number, min: 0, max: 6000, missing: false}
  temp: {type: number, min: -60, max: 130, missing: true}
"""
PARAMS = {
    "seed": 1,
    "estimator": "hist_gradient_boosting",
    "columns": ["temp", "carrier", "distance"],
    "threshold": 0.3,
    "parity": 1e-5,
    "hist_gradient_boosting": {"max_iter": 20},
    "logistic_regression": {"C": 0.5, "max_iter": 500},
}


TASKS: dict[str, dict[str, Any]] = {
    "binary": {},
    "multiclass": {"task": "multiclass", "classes": ["none", "some", "much"]},
    "regression": {"task": "regression"},
}


@functools.cache
def small(task: str = "binary") -> Contract:
    """Return a contract of three columns, each awkward in its own way."""
    return Contract.parse({**yaml.safe_load(SMALL), **TASKS[task]})


def settings(task: str, estimator: str = "hist_gradient_boosting") -> dict[str, Any]:
    """Return settings of training for a task."""
    params: dict[str, Any] = {**PARAMS, "estimator": estimator}
    if task != "binary":
        del params["threshold"]
    return params


def recipe(task: str = "binary", **changes: Any) -> Train:
    """Return the same as a stage reads it, with changes."""
    return train({"train": {**settings(task), **changes}}, task)


def make(contract: Contract, count: int = 2000, days: int = 120) -> pd.DataFrame:
    """Return `count` labelled rows over `days`; a tenth is missing where it may be."""
    rng = np.random.default_rng(7)
    seconds = np.sort(rng.integers(0, days * 86_400, count))
    start = pd.Timestamp("2020-01-01", tz="UTC").as_unit("us")
    table = {
        contract.id: [f"row-{number:06}" for number in range(count)],
        contract.time: start + pd.to_timedelta(seconds, unit="s").as_unit("us"),
    }
    signal = np.zeros(count)
    for name, column in contract.columns.items():
        if column.categories:
            place = rng.integers(0, len(column.categories), count)
            table[name] = np.array(column.categories, dtype=object)[place]
            signal += place / len(column.categories)
        else:
            low, high = max(column.min, -1e3), min(column.max, 1e4)
            values = rng.uniform(low, high, count).astype("float32")
            signal += (values - low) / (high - low)
            values[(rng.random(count) < 0.1) & column.missing] = np.nan
            table[name] = values
    noise = rng.normal(0, 0.3 * signal.std() + 1e-9, count)
    seen = signal + noise
    if contract.task == "binary":
        table[contract.target] = (seen > np.median(signal)).astype("int8")
    elif contract.task == "multiclass":
        names = np.array(contract.classes, dtype=object)
        edges = np.quantile(seen, np.linspace(0, 1, len(names) + 1)[1:-1])
        table[contract.target] = names[np.searchsorted(edges, seen)]
    else:
        table[contract.target] = 50 + 100 * seen
    return pd.DataFrame(table)
