"""Collects the evidence on the newest window of one version; decides nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlgitops import settings
from mlgitops.monitor import (
    canary,
    caveats,
    comparable,
    coverage,
    data_quality,
    drift,
    estimate,
    performance,
    primary_metric,
    shadow,
    slices,
    window,
)
from mlgitops.monitor.evidence import Ahead, Evidence, GatedMetric, Rare, Unlogged
from mlgitops.monitor.labels import Labels, read_labels
from mlgitops.monitor.reference import Reference
from mlgitops.monitor.wording import plural, shown, unlogged
from mlgitops.prediction_log import Entry
from mlgitops.production_data import ProductionDataError
from mlgitops.settings import Params

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Window:
    """The window that was examined, what was found in it, and the tables compared."""

    evidence: Evidence
    start: str | None = None  # time of the oldest and of the newest event, ISO
    until: str | None = None
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    by_arrival: bool = False  # these are times of arrival: events have none
    compared_with: str = ""
    tables: tuple[pd.DataFrame, pd.DataFrame] | None = None  # as Evidently sees them
    shadows: list[shadow.Comparison] = field(default_factory=list)
    canary: canary.Comparison | None = None


@dataclass
class _Inputs:
    """What an inspection reads: the version, the log, params.yaml, and the labels."""

    reference: Reference
    log: window.Log
    params: Params
    labels_source: str | None = None

    def __post_init__(self) -> None:
        """Read the section monitor."""
        self.limits = settings.monitor(self.params)
        self.contract = self.reference.contract

    @cached_property
    def labels(self) -> Labels:
        """What the labels say of the log's ids; nothing without a source.

        Raises:
            ProductionDataError: they cannot be trusted.
        """
        if not self.labels_source:
            return Labels()
        ids, contract = {e.id for e in self.log.entries}, self.reference.full_contract
        return read_labels(self.labels_source, ids, contract, self.limits)


def inspect(
    reference: Reference,
    log: window.Log,
    labels_source: str | None,
    params: Params,
    running: canary.Canary | None = None,
) -> Window:
    """Examine the newest ``monitor.window_days`` of the reference's version.

    ``log`` may hold more: older rows and other versions' rows, once they have labels,
    are what a retrained model would learn from too. ``running`` is the canary, where a
    version answers a share of the rows.

    Raises:
        ProductionDataError: the labels cannot be trusted.
    """
    inputs = _Inputs(reference, log, params, labels_source)
    result = _examine(inputs)
    if running:
        result.canary = _canary(result, inputs, running)
    return result


def _canary(
    result: Window, inputs: _Inputs, running: canary.Canary
) -> canary.Comparison:
    """Compare a canary with the champion, whatever the champion's window says.

    What is broken or missing for one of them may be so for both: that keeps no worse
    version among the answers.
    """
    metric = result.evidence.metric
    try:
        labels = inputs.labels.by_id
    except ProductionDataError as error:
        sha256, reason = running.manifest_sha256, str(error)
        return canary.Comparison(sha256, metric=metric.label, unmeasured=reason)
    tests = performance.gates(inputs.params, inputs.contract.task)
    versions = (inputs.log.entries, inputs.reference.manifest_sha256, running)
    contract, limits = inputs.contract, inputs.limits
    return canary.compare(*versions, labels, contract, metric, tests, limits)


def _examine(inputs: _Inputs) -> Window:
    """Examine the newest window of the version, without its canary."""
    reference, log = inputs.reference, inputs.log
    limits, contract = inputs.limits, inputs.contract
    result, entries = _newest(inputs)
    result.by_arrival = log.by_arrival
    evidence = result.evidence
    evidence.unlogged = _unlogged(log, entries)
    if evidence.unlogged and evidence.unlogged.answered >= limits.min_rows:
        if evidence.unlogged.share > limits.max_unlogged:
            evidence.broken = (
                f"{unlogged(evidence.unlogged)}, at most {limits.max_unlogged:.0%} are "
                "allowed: see what the server says of its disk"
            )
    if evidence.broken or len(entries) < limits.min_rows:
        return result
    table = window.frame(entries, {}, contract)
    checked = data_quality.quarantine(table, contract, limits.min_group)
    valid, evidence.unknown = checked.valid, checked.unknown
    evidence.rounded = checked.rounded
    dated = reference.rows if contract.time else valid
    evidence.clocks = data_quality.clocks(dated, contract)
    used = list(reference.manifest["columns"])
    evidence.used = [*used, *comparable.names(contract, used)]
    evidence.caveats = [
        *caveats.trained(valid[contract.id], reference.trained(valid[contract.id])),
        *caveats.drawn(reference.counts, (reference.train, reference.holdout)),
        *caveats.sampled(log.sample, {entry.sample for entry in entries}),
        *caveats.of(contract, valid, limits, reference.sensitive),
    ]
    if emptied := data_quality.emptied_columns(table, reference.rows, contract):
        evidence.broken = f'column "{emptied[0]}" has no values any more'
    elif checked.broken > limits.max_broken * len(table):
        evidence.broken = checked.worst
    elif min(len(valid), len(reference.holdout)) < limits.min_rows:
        evidence.undecided = (
            f"the window has {plural(len(valid), 'row')} that keep the contract, and "
            f"the version's holdout has {len(reference.holdout):,}; both need "
            f"{limits.min_rows:,}"
        )
    if evidence.broken or evidence.undecided:
        return result
    if inputs.labels_source:
        result.counts["labels"] = inputs.labels.counts
        if "no file" not in inputs.labels.counts:
            evidence.label_counts = inputs.labels.facts(entries[-1].id, log.share)
    _add_drift(result, valid, inputs)
    _add_performance(evidence, valid, inputs)
    _add_shadows(result, entries, valid, inputs)
    return result


def _newest(inputs: _Inputs) -> tuple[Window, list[Entry]]:
    """Return the window and the version's entries in it, oldest first."""
    reference, log, limits = inputs.reference, inputs.log, inputs.limits
    metric = primary_metric.of(inputs.contract, reference.holdout)
    sha256, counts = reference.manifest_sha256, {"log": log.counts}
    entries = [entry for entry in log.entries if entry.manifest_sha256 == sha256]
    count = len(entries)
    entries = [entry for entry in entries if window.fits(entry, inputs.contract)]
    if count > len(entries):
        log.counts["corrupt"] += count - len(entries)  # a prediction of another task
    if not entries:
        summary = f" of this version ({window.inventory(log)})"
        return Window(Evidence(0, metric, summary), counts=counts), []
    entries.sort(key=lambda entry: entry.event_time)
    first, newest = entries[0].event_time, log.end(entries)
    start = newest - timedelta(days=limits.window_days)
    inside = [e for e in entries if start < e.event_time <= newest]
    evidence = Evidence(log.estimated(len(inside)), metric)
    if entries[-1].event_time > newest:
        evidence.ahead = _ahead(entries, newest)
    if len(inside) >= limits.min_rows:
        evidence.served_days = (newest - first).total_seconds() / 86_400
    elif others := len(entries) - len(inside):
        evidence.log_summary = f" ({others:,} of this version are dated otherwise)"
    oldest = inside[0].event_time.isoformat()
    return Window(evidence, oldest, newest.isoformat(), counts), inside


def _unlogged(log: window.Log, entries: list[Entry]) -> Unlogged | None:
    """Return what servers counted since the window's first row was asked for."""
    if not log.unlogged:
        return None
    arrived = (entry.arrival for entry in entries or log.entries)
    first = min(filter(None, arrived), default=None)
    counted = [c for c in log.unlogged if first is None or c.until >= first]
    if not counted:
        return None
    arrivals = (entry.arrival for entry in log.entries)
    logged = sum(first is None or (a is not None and a >= first) for a in arrivals)
    rows = round(sum(count.rows for count in counted) / log.sample)  # each is a line
    since, until = min(c.since for c in counted), max(c.until for c in counted)
    answered = rows + log.estimated(logged)
    return Unlogged(rows, answered, since.isoformat(), until.isoformat())


def _ahead(entries: list[Entry], newest: datetime) -> Ahead:
    """Return how many entries are dated after the window's end, and the farthest."""
    rows = sum(entry.event_time > newest for entry in entries)
    farthest = entries[-1]
    days = (farthest.event_time - newest).total_seconds() / 86_400
    time = farthest.event_time.isoformat()
    return Ahead(rows, shown(farthest.id), time, days)


def _add_drift(result: Window, valid: pd.DataFrame, inputs: _Inputs) -> None:
    """Fill in the drift of inputs, predictions and labels, and whether it lasts."""
    reference, limits, evidence = inputs.reference, inputs.limits, result.evidence
    target = valid[inputs.contract.id].map(inputs.labels.by_id).dropna()
    enough = len(target) >= limits.min_labels
    comparison = drift.compare(valid, target if enough else None, reference, limits)
    evidence.columns, evidence.data_set = comparison.columns, comparison.data_set
    evidence.prediction, evidence.target = comparison.prediction, comparison.target
    evidence.missing = comparison.missing
    result.compared_with, result.tables = comparison.compared_with, comparison.tables
    parts = limits.confirm_parts
    evidence.confirmed = drift.confirmed(comparison, valid, reference, parts)


def _add_performance(evidence: Evidence, valid: pd.DataFrame, inputs: _Inputs) -> None:
    """Fill in the estimate, what labels show, and what retraining would bring."""
    limits, contract, by_id = inputs.limits, inputs.contract, inputs.labels.by_id
    metric, holdout = evidence.metric, inputs.reference.holdout
    if metric.defined(holdout):
        truth, predictions = metric.truth_and_predictions(holdout)
        newest = np.array(valid[metric.predictions].tolist(), np.float64)
        evidence.estimate = estimate.estimate(newest, predictions, truth, metric)
        manifest = inputs.reference.manifest
        evidence.abstained = coverage.abstained(manifest, newest, predictions)
    target = valid[contract.id].map(by_id)
    labelled = valid.assign(**{contract.target: target})[target.notna()]
    evidence.labels = len(labelled)
    if len(labelled):
        delay = valid[contract.time].max() - labelled[contract.time].max()
        evidence.label_delay = delay.total_seconds() / 86_400
    gates = performance.gates(inputs.params, metric.task)
    gates += coverage.gates(inputs.reference.manifest)
    if len(labelled) < limits.min_labels:
        reason = f"pending: {len(labelled):,} labels of {limits.min_labels:,}"
    elif not (metric.defined(labelled) and metric.defined(holdout)):
        reason = "not computed: the labels lack a class, or are all the same"
    else:
        reason = ""
    if reason:
        evidence.unmeasured = reason
        evidence.gated = [GatedMetric(*gate.metric[:3], reason) for gate in gates]
        return
    evidence.fall, evidence.gated = performance.measure(
        labelled, holdout, metric, gates, contract, limits
    )
    y, p = metric.truth_and_predictions(labelled)
    evidence.rare = _rare(metric, labelled, holdout, limits.min_group)
    evidence.calibration = metric.calibration(y, p)
    if evidence.estimate is not None:
        evidence.estimate = evidence.estimate._replace(
            labelled=metric.expected(p), observed=evidence.fall.window
        )
    _add_slices(evidence, labelled, inputs)
    if evidence.worse(limits.max_fall) or evidence.moved:
        entries = [entry for entry in inputs.log.entries if entry.id in by_id]
        rows = window.frame(entries, by_id, contract)  # of every version
        gain = performance.gain(
            inputs.reference.rows,
            data_quality.quarantine(rows, contract).valid,
            labelled,
            contract,
            inputs.params,
            metric,
            inputs.labels.group_by_id,
            inputs.labels.part_by_id,
        )
        if isinstance(gain, str):
            evidence.no_gain = gain
        else:
            evidence.gain = gain


def _add_shadows(
    result: Window, entries: list[Entry], valid: pd.DataFrame, inputs: _Inputs
) -> None:
    """Compare the champion with each challenger that predicted the same rows."""
    limits, contract = inputs.limits, inputs.contract
    rules = (limits.min_group, limits.min_labels, limits.confidence)
    labels, metric = inputs.labels.by_id, result.evidence.metric
    for answers in inputs.log.shadows:
        tables = (answers, entries, valid, labels, contract, metric)
        groups = inputs.labels.group_by_id
        result.shadows.append(shadow.compare(*tables, *rules, groups))
    if unread := inputs.log.unread_shadow:
        result.evidence.caveats.append(f"how a shadow predicts: {unread}")


def _rare(
    metric: primary_metric.PrimaryMetric,
    labelled: pd.DataFrame,
    holdout: pd.DataFrame,
    fewest: int,
) -> Rare | None:
    """Return the class that performance has the fewest rows of, if those are few."""
    tables = (("in the window", labelled), ("on the holdout", holdout))
    found = [
        Rare(*metric.rarest(table), len(table), where)
        for where, table in tables
        if metric.task != "regression"
    ]
    rarest = min(found, key=lambda rare: rare.rows, default=None)
    return rarest if rarest and rarest.rows < fewest else None


def _add_slices(evidence: Evidence, labelled: pd.DataFrame, inputs: _Inputs) -> None:
    """Fill in where performance differs: by category, and by sensitive group."""
    contract, fewest = inputs.contract, inputs.limits.min_group
    manifest, sensitive = inputs.reference.manifest, inputs.labels.sensitive
    confidence = 1 - inputs.limits.false_alarm_rate * performance.PERFORMANCE
    holdout, metric = inputs.reference.holdout, evidence.metric
    evidence.slices = slices.slices(
        comparable.table(labelled, contract),
        comparable.table(holdout, contract),
        comparable.contract(contract),
        fewest,
        confidence,
        metric,
    )
    if sensitive and "threshold" in manifest:
        threshold = float(manifest["threshold"])
        evidence.groups = slices.sensitive_groups(
            labelled, sensitive, contract, threshold, fewest
        )
    elif sensitive:
        evidence.ungrouped = f"only binary decisions are compared, not {contract.task}"
