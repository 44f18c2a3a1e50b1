"""Collects the evidence on the newest window of one version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ops.monitor import checks, feed, performance, window
from ops.monitor.decide import Evidence, fell, moved
from ops.monitor.reference import Reference

if TYPE_CHECKING:
    import pandas as pd

Params = Mapping[str, Any]


@dataclass
class Window:
    """The window that was looked at, what was found in it, and Evidently's page."""

    evidence: Evidence
    start: str | None = None  # time of the oldest and of the newest event, ISO
    until: str | None = None
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    html: str = ""


def inspect(
    reference: Reference, log: window.Log, label_source: str | None, params: Params
) -> Window:
    """Look at the newest ``monitor.window_days`` that the reference's version answered.

    ``log`` may hold more: older rows and other versions' rows, once they have labels,
    are what a retrained model would learn from too.

    Raises:
        FeedError, CheckError: the labels or Evidently's answer cannot be believed.
    """
    limits, contract = params["monitor"], reference.contract
    ours = [r for r in log.rows if r["manifest_sha256"] == reference.manifest_sha256]
    newest = max((row["time"] for row in ours), default=None)
    if newest is None:
        return Window(Evidence(0), counts={"log": log.counts})
    start = newest - timedelta(days=limits["window_days"])
    ours = [row for row in ours if row["time"] > start]
    ours.sort(key=lambda row: row["time"])
    found = Window(Evidence(len(ours)), counts={"log": log.counts})
    found.start = min(row["time"] for row in ours).isoformat()
    found.until = newest.isoformat()
    if len(ours) < limits["min_rows"]:
        return found
    table = window.frame(ours, {}, contract)
    checked = feed.quarantine(table, contract)
    found.evidence.unknown = checked.unknown
    found.evidence.used = list(reference.manifest["columns"])
    found.evidence.broken = _broken(table, checked, reference, limits)
    if found.evidence.broken:
        return found
    _drift(found, checked.good, reference, limits)
    if label_source:
        _labels(found, log, checked.good, reference, label_source, params)
    return found


def _broken(
    table: pd.DataFrame, checked: feed.Checked, reference: Reference, limits: Params
) -> str | None:
    """Say why the rows cannot be believed, or nothing."""
    silent = feed.silent_columns(table, reference.rows, reference.contract)
    if silent:
        return f'column "{silent[0]}" has no values any more'
    if checked.broken > limits["max_broken"] * len(table):
        return checked.worst
    return None


def _drift(
    found: Window, good: pd.DataFrame, reference: Reference, limits: Params
) -> None:
    """Fill in the drift of every column and of the predictions."""
    contract, past = reference.contract, reference.rows
    for name in contract.columns:
        pair = feed.missing_share(past[name]), feed.missing_share(good[name])
        if abs(pair[1] - pair[0]) >= limits["max_missing"]:
            found.evidence.missing[name] = pair
    rules = {
        name: {**limits[column.type], **(limits["columns"] or {}).get(name, {})}
        for name, column in contract.columns.items()
        if good[name].notna().any() and past[name].notna().any()
    }
    numbers = [name for name, c in contract.columns.items() if c.type == "number"]
    current, past = (_sample(rows, limits["sample_rows"]) for rows in (good, past))
    # The model's answers on rows that it was fitted on are too sure: holdout only.
    answers = _sample(reference.holdout, len(past))["probability"].to_numpy()
    past = past.assign(probability=_stretch(answers, len(past)))
    rules["probability"] = dict(limits["prediction"])
    drifts, found.html = checks.drift(current, past, [*numbers, "probability"], rules)
    found.evidence.columns, found.evidence.prediction = drifts[:-1], drifts[-1]


def _labels(
    found: Window,
    log: window.Log,
    good: pd.DataFrame,
    reference: Reference,
    source: str,
    params: Params,
) -> None:
    """Fill in performance, and what retraining would give if something is wrong."""
    limits, contract = params["monitor"], reference.contract
    ids = {row["id"] for row in log.rows}
    labels, found.counts["labels"] = window.read_labels(source, ids, contract, limits)
    target = contract.target
    answered = good.assign(**{target: good[contract.id].map(labels)})
    answered = answered[answered[target].notna()]
    found.evidence.labels = len(answered)
    if len(answered) < limits["min_labels"] or answered[target].nunique() < 2:
        return
    found.evidence.fall = performance.fall(
        answered, reference.holdout, target, limits["confidence"]
    )
    if fell(found.evidence, limits) or moved(found.evidence):
        rows = [row for row in log.rows if row["id"] in labels]
        table = window.frame(rows, labels, contract)
        labelled = feed.quarantine(table, contract).good
        found.evidence.gain = performance.gain(
            reference.rows, labelled, answered, contract, params
        )


def _sample(rows: pd.DataFrame, size: int) -> pd.DataFrame:
    """Return at most ``size`` rows, the same ones every time."""
    return rows if len(rows) <= size else rows.sample(size, random_state=0)


def _stretch(values: Any, size: int) -> Any:
    """Repeat values evenly to ``size``: the same distribution, as long as a column."""
    import numpy as np

    ordered = np.sort(values)
    return ordered[(np.arange(size) * len(ordered)) // size]
