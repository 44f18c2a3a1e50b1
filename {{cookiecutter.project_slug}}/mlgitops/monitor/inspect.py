"""Collects the evidence on the newest window of one version; decides nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from mlgitops import settings
from mlgitops.monitor import (
    data_quality,
    drift,
    estimate,
    performance,
    primary_metric,
    slices,
    window,
)
from mlgitops.monitor.evidence import Evidence, GatedMetric
from mlgitops.monitor.labels import Labels, read_labels
from mlgitops.monitor.primary_metric import PrimaryMetric
from mlgitops.monitor.reference import Reference
from mlgitops.monitor.wording import plural
from mlgitops.pipeline.task import TASKS
from mlgitops.prediction_log import Entry
from mlgitops.settings import Monitor, Params

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Window:
    """The window that was examined, what was found in it, and the tables compared."""

    evidence: Evidence
    start: str | None = None  # time of the oldest and of the newest event, ISO
    until: str | None = None
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    compared_with: str = ""
    tables: tuple[pd.DataFrame, pd.DataFrame] | None = None  # as Evidently sees them


def inspect(
    reference: Reference, log: window.Log, labels_source: str | None, params: Params
) -> Window:
    """Examine the newest ``monitor.window_days`` of the reference's version.

    ``log`` may hold more: older rows and other versions' rows, once they have labels,
    are what a retrained model would learn from too.

    Raises:
        ProductionDataError: the labels cannot be trusted.
    """
    limits, contract = settings.monitor(params), reference.contract
    metric = primary_metric.of(contract, reference.holdout)
    result, entries = _newest(log, reference, metric, limits)
    evidence = result.evidence
    if len(entries) < limits.min_rows:
        return result
    table = window.frame(entries, {}, contract)
    checked = data_quality.quarantine(table, contract)
    evidence.unknown = checked.unknown
    evidence.used = list(reference.manifest["columns"])
    evidence.broken = _broken(table, checked, reference, limits)
    if not evidence.broken:
        evidence.undecided = _undecided(len(checked.valid), reference, limits)
    if evidence.broken or evidence.undecided:
        return result
    labels = Labels()
    if labels_source:
        ids = {entry.id for entry in log.entries}
        labels = read_labels(labels_source, ids, reference.full_contract, limits)
        result.counts["labels"] = labels.counts
    _add_drift(result, checked.valid, labels, reference, limits)
    labelled = _add_performance(evidence, checked.valid, labels, reference, params)
    if labelled is not None and (evidence.worse(limits.max_fall) or evidence.moved):
        _add_gain(evidence, labelled, log, labels, reference, params)
    return result


def _newest(
    log: window.Log, reference: Reference, metric: PrimaryMetric, limits: Monitor
) -> tuple[Window, list[Entry]]:
    """Return the window and the version's entries in it, oldest first."""
    sha256, counts = reference.manifest_sha256, {"log": log.counts}
    entries = [entry for entry in log.entries if entry.manifest_sha256 == sha256]
    if not entries:
        summary = f" of this version ({window.inventory(log)})"
        return Window(Evidence(0, metric, summary), counts=counts), []
    entries.sort(key=lambda entry: entry.event_time)
    first, newest = entries[0].event_time, entries[-1].event_time
    start = newest - timedelta(days=limits.window_days)
    entries = [entry for entry in entries if entry.event_time > start]
    evidence = Evidence(log.estimated(len(entries)), metric)
    if len(entries) >= limits.min_rows:
        evidence.served_days = (newest - first).total_seconds() / 86_400
    oldest = entries[0].event_time.isoformat()
    return Window(evidence, oldest, newest.isoformat(), counts), entries


def _broken(
    table: pd.DataFrame,
    checked: data_quality.Checked,
    reference: Reference,
    limits: Monitor,
) -> str | None:
    """Say why the rows cannot be trusted, or nothing."""
    emptied = data_quality.emptied_columns(table, reference.rows, reference.contract)
    if emptied:
        return f'column "{emptied[0]}" has no values any more'
    if checked.broken > limits.max_broken * len(table):
        return checked.worst
    return None


def _undecided(valid: int, reference: Reference, limits: Monitor) -> str | None:
    """Say why there is nothing to compare with, or nothing."""
    holdout, least = len(reference.holdout), limits.min_rows
    if min(valid, holdout) >= least:
        return None
    return (
        f"the window has {plural(valid, 'row')} that keep the contract, and the "
        f"version's holdout has {holdout:,}; both need {least:,}"
    )


def _add_drift(
    result: Window,
    valid: pd.DataFrame,
    labels: Labels,
    reference: Reference,
    limits: Monitor,
) -> None:
    """Fill in the drift of inputs, predictions and labels, and whether it lasts."""
    target = valid[reference.contract.id].map(labels.by_id).dropna()
    enough = len(target) >= limits.min_labels
    comparison = drift.compare(valid, target if enough else None, reference, limits)
    evidence = result.evidence
    evidence.columns, evidence.data_set = comparison.columns, comparison.data_set
    evidence.prediction, evidence.target = comparison.prediction, comparison.target
    evidence.missing = comparison.missing
    result.compared_with, result.tables = comparison.compared_with, comparison.tables
    parts = limits.confirm_parts
    evidence.confirmed = drift.confirmed(comparison, valid, reference, parts)


def _add_performance(
    evidence: Evidence,
    valid: pd.DataFrame,
    labels: Labels,
    reference: Reference,
    params: Params,
) -> pd.DataFrame | None:
    """Fill in the estimate and what labels show; return the rows that have one."""
    limits, contract = settings.monitor(params), reference.contract
    metric, holdout = evidence.metric, reference.holdout
    if metric.defined(holdout):
        truth, predictions = metric.truth_and_predictions(holdout)
        newest = np.array(valid[TASKS[metric.task].output].tolist(), np.float64)
        evidence.estimate = estimate.estimate(newest, predictions, truth, metric)
    target = valid[contract.id].map(labels.by_id)
    labelled = valid.assign(**{contract.target: target})
    labelled = labelled[labelled[contract.target].notna()]
    evidence.labels = len(labelled)
    if len(labelled):
        delay = valid[contract.time].max() - labelled[contract.time].max()
        evidence.label_delay = delay.total_seconds() / 86_400
    gates = performance.gates(params, metric.task)
    if reason := _unmeasured(labelled, holdout, metric, limits):
        evidence.unmeasured = reason
        evidence.gated = [GatedMetric(*gate.metric[:3], reason) for gate in gates]
        return None
    evidence.fall, evidence.gated = performance.measure(
        labelled, holdout, metric, gates, contract.time, limits
    )
    y, p = metric.truth_and_predictions(labelled)
    evidence.calibration = metric.calibration(y, p)
    if evidence.estimate is not None:
        evidence.estimate = evidence.estimate._replace(
            labelled=metric.expected(p),
            observed=evidence.fall.window,
        )
    _add_slices(evidence, labelled, labels, reference, limits)
    return labelled


def _unmeasured(
    labelled: pd.DataFrame,
    holdout: pd.DataFrame,
    metric: PrimaryMetric,
    limits: Monitor,
) -> str:
    """Say why performance cannot be measured (yet), or nothing."""
    if len(labelled) < limits.min_labels:
        return f"pending: {len(labelled):,} labels of {limits.min_labels:,}"
    if metric.defined(labelled) and metric.defined(holdout):
        return ""
    return "not computed: the labels lack a class, or are all the same"


def _add_slices(
    evidence: Evidence,
    labelled: pd.DataFrame,
    labels: Labels,
    reference: Reference,
    limits: Monitor,
) -> None:
    """Fill in where performance differs: by category, and by sensitive group."""
    contract, fewest = reference.contract, limits.min_group
    confidence = 1 - limits.false_alarm_rate * performance.PERFORMANCE
    evidence.slices = slices.slices(
        labelled, reference.holdout, contract, fewest, confidence, evidence.metric
    )
    if labels.sensitive and "threshold" in reference.manifest:
        threshold = float(reference.manifest["threshold"])
        evidence.groups = slices.sensitive_groups(
            labelled, labels.sensitive, contract, threshold, fewest
        )
    elif labels.sensitive:
        evidence.ungrouped = f"only binary decisions are compared, not {contract.task}"


def _add_gain(
    evidence: Evidence,
    labelled: pd.DataFrame,
    log: window.Log,
    labels: Labels,
    reference: Reference,
    params: Params,
) -> None:
    """Fill in what retraining on newer rows, of every version, would bring."""
    contract = reference.contract
    entries = [entry for entry in log.entries if entry.id in labels.by_id]
    table = window.frame(entries, labels.by_id, contract)
    evidence.gain = performance.gain(
        reference.rows,
        data_quality.quarantine(table, contract).valid,
        labelled,
        contract,
        params,
        evidence.metric,
        labels.group_by_id,
    )
