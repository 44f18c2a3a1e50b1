"""Collects the evidence on the newest window of one version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops import settings
from mlgitops.monitor import (
    drift,
    estimate,
    feed,
    measure,
    performance,
    rearrange,
    slices,
    window,
)
from mlgitops.monitor.decide import Evidence, fell, moved
from mlgitops.monitor.labels import Labels, read_labels
from mlgitops.monitor.reference import Reference
from mlgitops.pipeline.task import TASKS
from mlgitops.settings import Monitor, Params

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Window:
    """The window that was looked at, what was found in it, and both sides of it."""

    evidence: Evidence
    start: str | None = None  # time of the oldest and of the newest event, ISO
    until: str | None = None
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    compared_with: str = ""
    sides: tuple[pd.DataFrame, pd.DataFrame] | None = None  # as Evidently sees them


def inspect(
    reference: Reference, log: window.Log, label_source: str | None, params: Params
) -> Window:
    """Look at the newest ``monitor.window_days`` that the reference's version answered.

    ``log`` may hold more: older rows and other versions' rows, once they have labels,
    are what a retrained model would learn from too.

    Raises:
        FeedError: the labels cannot be believed.
    """
    limits, contract = settings.monitor(params), reference.contract
    ours = [r for r in log.rows if r["manifest_sha256"] == reference.manifest_sha256]
    newest = max((row["time"] for row in ours), default=None)
    if newest is None:
        holds = f" of this version ({window.inventory(log)})"
        return Window(Evidence(0, holds), counts={"log": log.counts})
    began = min(row["time"] for row in ours)
    start = newest - timedelta(days=limits.window_days)
    ours = [row for row in ours if row["time"] > start]
    ours.sort(key=lambda row: row["time"])
    found = Window(Evidence(log.estimated(len(ours))), counts={"log": log.counts})
    found.start, found.until = ours[0]["time"].isoformat(), newest.isoformat()
    if len(ours) < limits.min_rows:
        return found
    found.evidence.served_days = (newest - began).total_seconds() / 86_400
    table = window.frame(ours, {}, contract)
    checked = feed.quarantine(table, contract)
    found.evidence.unknown = checked.unknown
    found.evidence.used = list(reference.manifest["columns"])
    found.evidence.broken = _broken(table, checked, reference, limits)
    if found.evidence.broken:
        return found
    good = checked.good
    if min(len(good), len(reference.holdout)) < limits.min_rows:
        found.evidence.undecided = (
            f"there are {len(good):,} rows that keep the contract, and the version's "
            f"holdout has {len(reference.holdout):,}; both need {limits.min_rows:,}"
        )
        return found
    labels = Labels()
    if label_source:
        ids = {row["id"] for row in log.rows}
        labels = read_labels(label_source, ids, reference.full, limits)
        found.counts["labels"] = labels.counts
    known = labels.by_id
    _drift(found, good, known, reference, limits)
    found.evidence.measure = measure.of(contract, reference.holdout)
    answered = _answered(found, good, labels, reference, params)
    if answered is not None and (fell(found.evidence, limits) or moved(found.evidence)):
        rows = [row for row in log.rows if row["id"] in known]
        labelled = feed.quarantine(window.frame(rows, known, contract), contract).good
        found.evidence.gain = performance.gain(
            reference.rows,
            labelled,
            answered,
            contract,
            params,
            found.evidence.measure,
            labels.whose,
        )
    return found


def _broken(
    table: pd.DataFrame, checked: feed.Checked, reference: Reference, limits: Monitor
) -> str | None:
    """Say why the rows cannot be believed, or nothing."""
    silent = feed.silent_columns(table, reference.rows, reference.contract)
    if silent:
        return f'column "{silent[0]}" has no values any more'
    if checked.broken > limits.max_broken * len(table):
        return checked.worst
    return None


def _drift(
    found: Window,
    good: pd.DataFrame,
    known: Mapping[str, Any],
    reference: Reference,
    limits: Monitor,
) -> None:
    """Fill in the drift of inputs, answers and labels, and whether it lasts."""
    come = good[reference.contract.id].map(dict(known)).dropna() if known else None
    enough = come is not None and len(come) >= limits.min_labels
    seen = drift.compare(good, come if enough else None, reference, limits)
    evidence = found.evidence
    evidence.columns, evidence.whole = seen.columns, seen.whole
    evidence.prediction, evidence.target = seen.prediction, seen.target
    evidence.missing = seen.missing
    found.compared_with, found.sides = seen.compared_with, seen.sides
    parts = limits.confirm_parts
    evidence.confirmed = drift.confirmed(seen, good, reference, parts)


def _answered(
    found: Window,
    good: pd.DataFrame,
    labels: Labels,
    reference: Reference,
    params: Params,
) -> pd.DataFrame | None:
    """Fill in the estimate and what labels show; return the rows that have one."""
    evidence, limits = found.evidence, settings.monitor(params)
    target, holdout = reference.contract.target, reference.holdout
    headline, said = evidence.measure, TASKS[evidence.measure.task].output
    if headline.defined(holdout):
        truth, then = headline.sides(holdout)
        now = np.array(good[said].tolist(), np.float64)
        evidence.estimate = estimate.estimate(now, then, truth, headline)
    answered = good.assign(**{target: good[reference.contract.id].map(labels.by_id)})
    answered = answered[answered[target].notna()]
    evidence.labels = len(answered)
    time = reference.contract.time
    if len(answered):
        late = good[time].max() - answered[time].max()
        evidence.label_delay = late.total_seconds() / 86_400
    if len(answered) < limits.min_labels or not headline.defined(answered):
        return None
    rate = limits.false_alarm_rate * drift.PERFORMANCE
    before, now = (side[time].dt.tz_localize(None) for side in (holdout, answered))
    blocks = rearrange.blocks(before, now, limits.block_days, rate)
    evidence.fall = performance.fall(
        answered, holdout, target, 1 - 2 * rate, blocks, headline
    )
    y, p = headline.sides(answered)
    if evidence.estimate is not None:
        promised = headline.expected(p, estimate.expected_auc)
        evidence.estimate = evidence.estimate._replace(
            promised=promised, came=evidence.fall.window
        )
    evidence.calibration = headline.calibration(y, p)
    fewest, contract = limits.min_group, reference.contract
    evidence.slices = slices.slices(
        answered, holdout, contract, fewest, 1 - rate, headline
    )
    if labels.groups and "threshold" in reference.manifest:
        threshold = float(reference.manifest["threshold"])
        evidence.groups = slices.groups(
            answered, labels.groups, contract, threshold, fewest
        )
    elif labels.groups:
        evidence.ungrouped = f"only decisions of yes or no are, not {contract.task}"
    return answered
