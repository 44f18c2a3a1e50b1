"""Looks where performance differs: by category, by sensitive group; aggregates only."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops.monitor.evidence import SensitiveGroup, Slice
from mlgitops.monitor.primary_metric import PrimaryMetric
from mlgitops.monitor.reference import outputs
from mlgitops.monitor.wording import shown
from mlgitops.pipeline.contract import Contract

if TYPE_CHECKING:
    import pandas as pd


def slices(
    window: pd.DataFrame,
    holdout: pd.DataFrame,
    contract: Contract,
    fewest: int,
    confidence: float,
    metric: PrimaryMetric,
) -> list[Slice]:
    """Return every category with enough labelled rows in both tables, worst first.

    Intervals hold for all slices together (Bonferroni).
    """
    pairs = []
    for name, column in contract.columns.items():
        if column.type != "category":
            continue
        for value in column.categories:
            tables = [table[table[name] == value] for table in (window, holdout)]
            values = [
                metric.with_variance(table)
                for table in tables
                if len(table) >= fewest and metric.defined(table)
            ]
            if len(values) == 2:
                pairs.append((name, value, len(tables[0]), values))
    reach = NormalDist().inv_cdf(1 - (1 - confidence) / 2 / max(len(pairs), 1))
    slices_ = []
    for name, value, rows, ((current, variance), (past, past_variance)) in pairs:
        half = reach * (variance + past_variance) ** 0.5
        low, high = current - past - half, current - past + half
        slices_.append(Slice(name, value, rows, current, past, low, high))
    return sorted(slices_, key=lambda piece: piece.high)


def sensitive_groups(
    window: pd.DataFrame,
    values: Mapping[str, Mapping[str, str]],
    contract: Contract,
    threshold: float,
    fewest: int,
) -> list[SensitiveGroup]:
    """Return how each sensitive group was decided on; small groups are left out.

    ``values`` gives, for each sensitive column, the group of an id: labels may carry
    it, the prediction log never does.
    """
    groups = []
    for name, by_id in values.items():
        column = window[contract.id].map(dict(by_id))
        for value, rows in window.groupby(column):
            if len(rows) < fewest:
                continue
            selected = rows[outputs(contract)[0]] >= float(np.float32(threshold))
            positive: Any = rows[contract.target] == 1
            enough = positive.sum() >= fewest
            true_rate = float(selected[positive].mean()) if enough else None
            rate = float(selected.mean())
            group = SensitiveGroup(name, shown(str(value)), len(rows), rate, true_rate)
            groups.append(group)
    return groups
