"""One look at a window, as the monitor does it, and as Evidently does it alone."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from ops.monitor import drift, performance
from ops.monitor.decide import Evidence, fell, moved
from ops.monitor.reference import Reference


def evidence(
    window: pd.DataFrame, reference: Reference, params: dict[str, Any]
) -> Evidence:
    """Return what the monitor finds in rows whose labels have all come."""
    limits, target = params["monitor"], reference.contract.target
    found = drift.compare(window, window[target], reference, limits)
    evidence = Evidence(len(window), len(window))
    evidence.used = list(reference.manifest["columns"])
    evidence.columns, evidence.missing = found.columns, found.missing
    evidence.whole, evidence.prediction = found.whole, found.prediction
    evidence.target = found.target
    if window[target].nunique() == 2:
        rate = limits["false_alarm_rate"] * drift.PERFORMANCE
        evidence.fall = performance.fall(
            window, reference.holdout, target, 1 - 2 * rate
        )
    return evidence


def alarm(window: pd.DataFrame, reference: Reference, params: dict[str, Any]) -> bool:
    """Tell whether any check of the monitor speaks, over all checks together."""
    found = evidence(window, reference, params)
    return moved(found) or fell(found, params["monitor"])


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
