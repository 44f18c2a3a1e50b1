"""The monitor knows the gates: a gated metric is measured where labels have come."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from machinery import lengths, rows, test_monitor_tasks, traffic
from machinery.traffic import MONITOR, SHA
from mlgitops.monitor import decide, inspect, page, performance, primary_metric, record
from mlgitops.monitor.evidence import Evidence
from model import metrics as team

GATE = {"average_precision": {"min": 0.25, "margin": 0.02}}
WINDOWS = 1000 if os.environ.get("PROOF") else 10


def monitored(
    folder: Path, table: pd.DataFrame, gates: dict[str, Any]
) -> tuple[Evidence, decide.Decision, record.Record]:
    """Look at labelled production with main's gates; return what was found."""
    labels = traffic.label(folder / "labels.csv", table)
    log = traffic.answered(folder / "log", table)
    params = {**traffic.PARAMS, "gates": gates}
    window = inspect.inspect(traffic.reference(), log, labels, params)
    decision = decide.decide(window.evidence, MONITOR)
    entry = record.build("v1", SHA, window, decision, MONITOR)
    json.dumps(entry, allow_nan=False)
    return window.evidence, decision, entry


def check(entry: record.Record, metric: str) -> dict[str, Any]:
    """Return the check of a gate."""
    (found,) = [c for c in entry["checks"] if c["name"] == f"gate {metric}"]
    return dict(found)


def rarer(table: pd.DataFrame, share: float) -> pd.DataFrame:
    """Return the rows with fewer 1s: ROC AUC stays, the average precision falls."""
    lost = (table["late"] == 1) & (np.arange(len(table)) % 100 < 100 * share)
    return table[~lost].reset_index(drop=True)


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_a_gated_metric_alarms_though_the_primary_one_holds(
    share: float, tmp_path: Path
) -> None:
    """Measured on current rows, with its interval, against the gate."""
    table = rarer(traffic.flights(6000, 80, 28), share)
    evidence, decision, entry = monitored(tmp_path, table, GATE)
    (gated,), shown = evidence.gated, check(entry, "average_precision")
    assert evidence.fall is not None and evidence.fall.high > -0.02
    half = MONITOR.false_alarm_rate * performance.PERFORMANCE / 2
    assert evidence.fall.confidence == pytest.approx(1 - 2 * half), "shared"
    fell = share > 0
    assert (gated.passed is False) == fell and shown["passed"] == (not fell)
    assert gated.low < gated.window < gated.high and gated.key == "average_precision"
    assert ("average precision fell" in decision.sentence.lower()) == fell
    if fell:
        assert gated.high < gated.limit == pytest.approx(gated.holdout - 0.02)
        assert decision.decision in ("retrain", "watch")
    else:
        assert decision.decision == "none"
    (numbers,) = entry["gates"]
    assert numbers["id"] == "average_precision" and numbers["passed"] == (not fell)
    assert numbers["high"] == round(gated.high, 6) and numbers["operator"] == ">="
    text = page.page(entry, "") + page.markdown(entry)
    assert text.count("Average precision") >= 2 and f"{gated.high:.3f}" in text


def test_without_a_gate_nothing_is_said_of_the_metric(tmp_path: Path) -> None:
    table = rarer(traffic.flights(6000, 80, 28), 0.8)
    evidence, decision, entry = monitored(tmp_path, table, {})
    assert evidence.gated == [] and entry["gates"] == []
    assert evidence.fall is not None
    whole = MONITOR.false_alarm_rate * performance.PERFORMANCE
    assert evidence.fall.confidence == pytest.approx(1 - 2 * whole)
    assert "recision" not in decision.sentence


def test_a_metric_of_the_team_is_watched_in_its_own_direction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lift(y: Any, p: Any) -> float:
        return float(y[p >= np.quantile(p, 0.9)].mean() / y.mean())

    monkeypatch.setitem(team.METRICS, "lift", lift)
    table = traffic.flights(4000, 80, 28, inverted=1)
    gates = {"lift": {"min": 1.5}, "log_loss": {"max": 0.6}, "roc_auc": {"min": 0.6}}
    _, decision, entry = monitored(tmp_path, table, gates)
    assert [g["id"] for g in entry["gates"]] == ["lift", "log_loss"], "not the primary"
    assert [g["passed"] for g in entry["gates"]] == [False, False]
    assert "lift fell" in decision.sentence and "Log loss rose" in decision.sentence
    assert check(entry, "log_loss")["limit"].startswith("lower bound at most 0.6")


def test_a_bound_of_leakage_is_shown_and_raises_no_alarm(tmp_path: Path) -> None:
    table = traffic.flights(3000, 80, 28)
    gates = {"average_precision": {"max": 0.01}}
    evidence, decision, entry = monitored(tmp_path, table, gates)
    assert decision.decision == "none" and evidence.gated[0].passed is None
    assert check(entry, "average_precision")["passed"] is None
    assert "leakage" in check(entry, "average_precision")["note"]


def test_a_version_that_never_met_its_gate_has_not_fallen(tmp_path: Path) -> None:
    """Overruled once, or the gate was raised since: that is nothing new."""
    table = traffic.flights(3000, 80, 28)
    gates = {"average_precision": {"min": 0.999}}
    evidence, decision, _ = monitored(tmp_path, table, gates)
    assert decision.decision == "none"
    assert evidence.gated[0].limit == evidence.gated[0].holdout


def test_a_broken_metric_is_named_and_hides_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(team.METRICS, "broken", lambda y, p: 1 / 0)
    table = rarer(traffic.flights(6000, 80, 28), 0.8)
    gates = {"broken": {"min": 1}, **GATE}
    evidence, _, entry = monitored(tmp_path, table, gates)
    shown = check(entry, "broken")
    assert shown["passed"] is None and "ZeroDivisionError" in shown["value"]
    assert [gated.passed for gated in evidence.gated] == [None, False]


@pytest.mark.parametrize(
    ("metric", "said"),
    [(lambda y, p: 1 / 0, True), (lambda y, p: 1.0, False)],
    ids=["broken", "computed"],
)
def test_the_sentence_says_what_could_not_be_computed(
    metric: Any, said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That performance holds alone would hide that a gate was not seen."""
    monkeypatch.setitem(team.METRICS, "ours", metric)
    table = traffic.flights(6000, 80, 28)
    _, _, entry = monitored(tmp_path, table, {"ours": {"min": 0.5}})
    assert "performance holds" in entry["sentence"]
    assert ("ours cannot be computed" in entry["sentence"]) is said
    assert check(entry, "ours")["passed"] is (None if said else True)


def test_pending_labels_leave_the_gates_pending(tmp_path: Path) -> None:
    table = traffic.flights(3000, 80, 28)
    log = traffic.answered(tmp_path / "log", table)
    params = {**traffic.PARAMS, "gates": GATE}
    window = inspect.inspect(traffic.reference(), log, None, params)
    checks = record.checks(window.evidence, MONITOR)
    (shown,) = [c for c in checks if c["name"] == "gate average_precision"]
    assert shown["passed"] is None and "pending" in shown["value"]


@pytest.mark.parametrize("task", test_monitor_tasks.NEW)
def test_gates_of_other_tasks_are_watched_too(task: str, tmp_path: Path) -> None:
    table = test_monitor_tasks.answered(task, 5000, 80, 28, 3, inverted=1)
    log, labels = test_monitor_tasks.production(tmp_path, task, table)
    metric = {"multiclass": "log_loss", "regression": "rmse"}[task]
    gates = {metric: {"margin": 0.05}}
    train = rows.settings(task)
    params = {**traffic.PARAMS, "train": train, "gates": gates}
    window = inspect.inspect(test_monitor_tasks.reference(task), log, labels, params)
    (gated,) = window.evidence.gated
    assert gated.passed is False and gated.low > gated.limit > gated.holdout


@pytest.mark.parametrize("size", lengths.turn([500, 3000]))
def test_f18_gates_keep_their_share_of_the_false_alarms(size: int) -> None:
    """The worst case: no margin at all, metrics whose value depends on the rows too."""
    names = "average_precision", "calibration_error", "log_loss"
    section = {"gates": {name: {"margin": 0.0} for name in names}}
    gates, rate = performance.gates(section, "binary"), 0.1
    alarms = 0
    for seed in range(WINDOWS):
        holdout = traffic.flights(2000, 60, 14, seed=5000 + seed)
        window = traffic.flights(size, 80, 28, seed=9000 + seed)
        metric = primary_metric.of(rows.small(), holdout)
        gated = performance.gated(window, holdout, metric, gates, rate)
        alarms += any(each.passed is False for each in gated)
    assert alarms <= stats.binom.ppf(0.999, WINDOWS, rate)


def test_a_single_block_leaves_the_interval_to_the_rows() -> None:
    """Without it nothing is left: it says nothing of how blocks differ."""
    random = np.random.default_rng(0)
    sample = (random.integers(0, 2, 90), random.random(90))
    blocks = (np.zeros(90, int), np.arange(90) // 30)

    def value(y: np.ndarray, p: np.ndarray) -> float:
        if not len(y):
            raise ValueError("no rows")
        return float(np.mean((y - p) ** 2))

    assert performance.jackknife(value, (sample, sample), blocks, 0.95) == 0.0
    several = (blocks[1], blocks[1])  # negative control
    assert performance.jackknife(value, (sample, sample), several, 0.95) > 0.0
