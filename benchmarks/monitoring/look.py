"""One look at a window, as the monitor does it, and as Evidently does it alone."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from mlgitops.monitor import drift, performance, primary_metric
from mlgitops.monitor.evidence import Evidence
from mlgitops.monitor.reference import Reference
from mlgitops.settings import monitor


def evidence(
    window: pd.DataFrame, reference: Reference, params: dict[str, Any]
) -> Evidence:
    """Return what the monitor finds in rows whose labels have all come."""
    limits, target = monitor(params), reference.contract.target
    labelled = len(window) >= limits.min_labels
    labels = window[target] if labelled else None
    found = drift.compare(window, labels, reference, limits)
    metric = primary_metric.of(reference.contract, reference.holdout)
    evidence = Evidence(len(window), metric)
    evidence.used = list(reference.manifest["columns"])
    evidence.columns, evidence.missing = found.columns, found.missing
    evidence.data_set, evidence.prediction = found.data_set, found.prediction
    evidence.target = found.target
    if labelled and window[target].nunique() == 2:
        gates = performance.gates(params, metric.task)
        evidence.fall, evidence.gated = performance.measure(
            window, reference.holdout, metric, gates, reference.contract, limits
        )
    return evidence


def alarm(window: pd.DataFrame, reference: Reference, params: dict[str, Any]) -> bool:
    """Tell whether any check of the monitor speaks, over all checks together."""
    found = evidence(window, reference, params)
    return found.moved or found.worse(monitor(params).max_fall)


def evidently(window: pd.DataFrame, past: pd.DataFrame, contract: Any) -> list[str]:
    """Return the columns in which Evidently's defaults find drift."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    columns = list(contract.columns)
    definition = DataDefinition(
        numerical_columns=[n for n in columns if contract.columns[n].type == "number"],
        categorical_columns=[
            n for n in columns if contract.columns[n].type == "category"
        ],
    )
    sides = [
        Dataset.from_pandas(side[columns], data_definition=definition)
        for side in (window, past)
    ]
    document = json.loads(Report([DataDriftPreset()]).run(*sides).json())
    found = []
    for metric in document["metrics"]:
        config = metric["config"]
        if not config["type"].endswith(":ValueDrift"):
            continue
        value, limit = float(metric["value"]), config.get("threshold")
        small = "p_value" in str(config.get("method"))
        if limit is None:
            limit = 0.05 if small else 0.1
        if value < limit if small else value >= limit:
            found.append(str(config["column"]))
    return found


def verdicts(window: pd.DataFrame, past: pd.DataFrame, contract: Any) -> list[str]:
    """Return what `evidently` does, by the test that it chooses and without its plots.

    Nine tenths of a report's time are plots; `false_alarms` holds the two side by side.
    """
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    found = []
    for name, column in contract.columns.items():
        number = column.type == "number"
        kind = ColumnType.Numerical if number else ColumnType.Categorical
        sides = past[name].dropna(), window[name].dropna()
        test = get_stattest(*sides, kind, None)
        if test(*sides, kind, None).drifted:
            found.append(name)
    return found
