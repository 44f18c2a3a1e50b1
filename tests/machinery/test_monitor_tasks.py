"""The monitor on classes and on numbers: drift, performance, what newer rows bring."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from machinery import grown, rows, traffic
from machinery.traffic import MONITOR, SHA
from mlgitops import metrics
from mlgitops.monitor import (
    decide,
    estimate,
    inspect,
    primary_metric,
    record,
    window,
)
from mlgitops.monitor.evidence import Evidence, Fall
from mlgitops.monitor.labels import read_labels
from mlgitops.monitor.reference import Reference

NEW = ["multiclass", "regression"]


def answered(
    task: str, count: int, day: float, days: float, seed: int = 0, **change: float
) -> pd.DataFrame:
    """Return rows with a calibrated model's answer and the truth that came.

    `inverted` turns what the inputs mean; `warmer` moves one of them.
    """
    warmer = change.get("warmer", 0)
    table = traffic.flights(count, day, days, seed, warmer=warmer)
    p = table.pop("probability").to_numpy()
    known, random = np.log(p / (1 - p)), np.random.default_rng(seed + 1)
    true = -known if change.get("inverted") else known
    if task == "regression":
        table["value"] = 50 + 10 * known
        return table.assign(late=50 + 10 * true + random.normal(0, 8, count))
    low, high = 1 / (1 + np.exp(1 + known)), 1 / (1 + np.exp(1 - known))
    shares = np.stack([low, 1 - low - high, high], axis=1)
    names = np.array(["none", "some", "much"], dtype=object)
    table["probabilities"] = list(shares)
    table["class"] = names[shares.argmax(axis=1)]
    place = np.searchsorted([-1, 1], true + random.logistic(size=count))
    return table.assign(late=names[place])


def reference(task: str) -> Reference:
    """Return a version that was trained on 60 days and judged on the next 14."""
    train, holdout = (answered(task, 6000, 0, 60, 1), answered(task, 3000, 60, 14, 2))
    manifest = {"columns": ["temp", "carrier", "distance"]}
    importance = {"temp": 0.5, "carrier": 0.3, "distance": 0.2}
    return Reference("v1", SHA, manifest, rows.small(task), train, holdout, importance)


def production(folder: Path, task: str, table: pd.DataFrame) -> tuple[Any, str]:
    """Write log and labels as server and people do; return the log that was read."""
    classes = rows.small(task).classes
    lines = []
    for text, row in zip(
        traffic.lines(table.assign(probability=0.5)),
        table.to_dict("records"),
        strict=True,
    ):
        line = json.loads(text)
        del line["probability"], line["decision"]
        if task == "regression":
            line["value"] = row["value"]
        else:
            line["probabilities"] = dict(
                zip(classes, map(float, row["probabilities"]), strict=True)
            )
            line["class"] = row["class"]
        lines.append(json.dumps(line))
    folder.mkdir(exist_ok=True)
    (folder / "predictions-1.jsonl").write_text("\n".join(lines) + "\n")
    place = folder / "labels.csv"
    with place.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "late"])
        writer.writerows(zip(table["flight_id"], table["late"], strict=True))
    return window.read_log(str(folder), MONITOR), str(place)


def looked(
    folder: Path, task: str, **change: float
) -> tuple[Evidence, decide.Decision, dict[str, Any]]:
    """Look at four weeks of production; return evidence, decision and checks."""
    known, table = reference(task), answered(task, 5000, 80, 28, 3, **change)
    log, labels = production(folder, task, table)
    assert log.counts["corrupt"] == 0
    params = {**traffic.PARAMS, "train": rows.settings(task)}
    found = inspect.inspect(known, log, labels, params)
    decision = decide.decide(found.evidence, MONITOR)
    made = record.build("v1", SHA, found, decision, MONITOR)
    json.dumps(made, allow_nan=False)
    assert made["metric"] == metrics.METRICS[task][0].label
    return found.evidence, decision, {c["name"]: c for c in made["checks"]}


@pytest.mark.parametrize("task", NEW)
def test_calm_production_is_left_alone(task: str, tmp_path: Path) -> None:
    """Nothing drifted, and performance holds, by the task's own measure."""
    evidence, decision, checks = looked(tmp_path, task)
    assert decision.decision == "none"
    label = metrics.METRICS[task][0].label
    assert f"performance holds ({label} " in decision.sentence
    assert evidence.labels == 5000 and evidence.fall is not None
    assert checks["performance"]["passed"] and label in checks["performance"]["value"]
    told = checks["estimated performance"]
    if task == "regression":
        assert told["passed"] is None and "predicted number" in told["note"]
        assert evidence.calibration is None
    else:
        assert told["passed"] and evidence.estimate is not None
        assert evidence.estimate.labelled == pytest.approx(
            evidence.estimate.observed, abs=0.01
        )


@pytest.mark.parametrize("task", NEW)
def test_inputs_that_mean_something_else_ask_for_retraining(
    task: str, tmp_path: Path
) -> None:
    """Performance fell, and newer rows are worth it; the inputs are as they were."""
    evidence, decision, checks = looked(tmp_path, task, inverted=1)
    assert decision.decision == "retrain", decision
    assert "performance fell from" in decision.sentence
    assert not evidence.drifted and not checks["performance"]["passed"]
    assert evidence.gain is not None and evidence.gain.low > 0.005
    assert evidence.slices and evidence.slices[0].high < 0


@pytest.mark.parametrize("task", NEW)
def test_inputs_and_answers_that_moved_are_named(task: str, tmp_path: Path) -> None:
    """Warmer: the answers' classes, or values, move with it."""
    evidence, decision, _ = looked(tmp_path, task, warmer=20)
    assert "temp drifted" in decision.sentence
    assert evidence.prediction is not None and evidence.prediction.detected
    assert evidence.target is not None and evidence.target.detected


@pytest.mark.parametrize("task", NEW)
def test_the_next_training_data_keeps_the_contract(task: str, tmp_path: Path) -> None:
    """What was logged and labelled becomes rows like those of before."""
    table, contract = answered(task, 2000, 80, 28, 4), rows.small(task)
    log, labels_at = production(tmp_path, task, table)
    ids = {entry.id for entry in log.entries}
    labels = read_labels(labels_at, ids, contract, MONITOR)
    labelled = window.frame(log.entries, labels.by_id, contract)
    old = reference(task).train.drop(
        columns=["probabilities", "class"] if task == "multiclass" else ["value"]
    )
    made = grown.build(old, labelled, contract, 120, 0.05)
    assert made.counts["new"] == 2000 and made.counts["quarantined"] == 0
    assert list(made.table) == [*old.drop(columns="late"), "late"]


@pytest.mark.parametrize(("gap", "words"), [(-0.01, "holds"), (-0.1, "is lower")])
def test_what_is_not_surely_a_fall_is_not_called_holding(
    gap: float, words: str
) -> None:
    """A wide interval is no comfort."""
    fall = Fall(0.5 + gap, 0.5, gap, gap - 0.3, gap + 0.3, 0.99, 0.2, 0.2)
    made = decide.decide(Evidence(5000, traffic.METRIC, fall=fall), MONITOR)
    assert made.decision == "none" and f"performance {words}" in made.sentence


def test_a_label_that_is_no_class_is_corrupt(tmp_path: Path) -> None:
    """Counted, and never a class of its own."""
    place = tmp_path / "labels.csv"
    lines = [f"{n},some" for n in range(99)] + ["99,lots"]
    place.write_text("id,late\n" + "\n".join(lines))
    ids = {str(n) for n in range(100)}
    found = read_labels(str(place), ids, rows.small("multiclass"), MONITOR)
    assert found.counts["corrupt"] == 1 and len(found.by_id) == 99


def test_numbers_are_told_in_the_spread_of_the_holdout() -> None:
    """A calmer month, with the same errors, is no worse."""
    holdout = answered("regression", 3000, 60, 14, 2)
    metric = primary_metric.of(rows.small("regression"), holdout)
    y, p = metric.truth_and_predictions(holdout)
    assert metric.value(y, p) == pytest.approx(
        metrics.METRICS["regression"][0].value(y, p)
    )
    calm = np.full(len(y), 50.0) + (y - p)
    assert metric.value(calm, np.full(len(y), 50.0)) == pytest.approx(
        metric.value(y, p)
    )
    value, variance = metric.with_variance(holdout)
    assert value == pytest.approx(metric.value(y, p)) and 0 < variance < 1e-3


def test_the_estimate_of_classes_is_what_labels_would_show() -> None:
    """Of answers that are calibrated; of others there is none."""
    table = answered("multiclass", 6000, 0, 28, 6)
    metric = primary_metric.of(rows.small("multiclass"), table)
    y, p = metric.truth_and_predictions(table)
    promised = metric.expected(p)
    assert promised == pytest.approx(metric.value(y, p), abs=0.01)
    sure = p**4 / (p**4).sum(axis=1, keepdims=True)
    assert estimate.estimate(sure, sure, y, metric) is None
