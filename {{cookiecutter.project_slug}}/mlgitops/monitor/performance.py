"""Measures a version where labels have come, and what retraining would bring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from mlgitops import settings
from mlgitops.metrics import PAIRED, Difference
from mlgitops.monitor.evidence import Fall
from mlgitops.monitor.null_distribution import Integers
from mlgitops.monitor.permutation import Blocks
from mlgitops.monitor.primary_metric import BINARY, PrimaryMetric
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.data import inputs
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd


def fall(
    window: pd.DataFrame,
    holdout: pd.DataFrame,
    target: str,
    confidence: float,
    blocks: Blocks | None = None,
    metric: PrimaryMetric = BINARY,
) -> Fall:
    """Compare the metric on labelled rows of the window with that on the holdout.

    The two samples share no row, so the variances (DeLong) add. Rows of one day, or
    week, resemble each other: with ``blocks`` the interval is at least as wide as they
    require (`block_interval`). Both tables have the predictions and the target.

    Raises:
        ValueError: the metric is undefined for one of them.
    """
    metric = replace(metric, target=target)
    (current, variance), (past, past_variance) = (
        metric.with_variance(table) for table in (window, holdout)
    )
    difference = current - past
    normal = NormalDist().inv_cdf(0.5 + confidence / 2)
    half = float(normal * (variance + past_variance) ** 0.5)
    if blocks is not None:
        half = max(half, block_interval(window, holdout, metric, confidence, blocks))
    low, high = difference - half, difference + half
    means = metric.means(*metric.truth_and_predictions(window))
    return Fall(current, past, difference, low, high, confidence, *means)


def block_interval(
    window: pd.DataFrame,
    holdout: pd.DataFrame,
    metric: PrimaryMetric,
    confidence: float,
    blocks: Blocks,
) -> float:
    """Return half the interval of the difference, from what single blocks do to it.

    Student's for two samples of pseudo-values: what the metric loses when a block is
    left out. Kuensch (1989), Annals of Statistics 17(3), on the jackknife by blocks.
    """
    samples = (
        _pseudo_values(metric, window, blocks.current),
        _pseudo_values(metric, holdout, blocks.past),
    )
    counts = [len(sample) for sample in samples]
    if min(counts) < 2:
        return 0.0
    freedom = sum(counts) - 2
    pooled = sum(float(sample.var() * len(sample)) for sample in samples) / freedom
    reach = float(stats.t.ppf(0.5 + confidence / 2, freedom))
    return float(reach * (pooled * sum(1 / n for n in counts)) ** 0.5)


def _pseudo_values(metric: PrimaryMetric, table: pd.DataFrame, blocks: Integers) -> Any:
    """Return n A - (n - 1) A_b for each of n blocks b, A_b without its rows."""
    numbers, (y, p) = np.unique(blocks), metric.truth_and_predictions(table)
    others = [blocks != number for number in numbers]
    without = np.array([metric.value(y[rows], p[rows]) for rows in others])
    return len(numbers) * metric.value(y, p) - (len(numbers) - 1) * without


def gain(
    old: pd.DataFrame,
    labelled: pd.DataFrame,
    window: pd.DataFrame,
    contract: Contract,
    params: settings.Params,
    metric: PrimaryMetric = BINARY,
    group_by_id: Mapping[str, str] | None = None,
) -> Difference | None:
    """Estimate what retraining would bring: fit main's recipe on newer rows, try it.

    The newest ``prepare.holdout_days`` of labelled window rows are held out; the rest
    of ``old`` and ``labelled`` that retraining would keep is fitted, and both models
    are compared on the rows held out, as validation will do: by group, where the
    contract names an entity, on the rows whose group is known (``group_by_id`` has it
    where requests do not). None when there are too few labels in one of the samples.
    """
    # Its import takes a second, and most windows never come here.
    from mlgitops.pipeline import fitting as model

    limits, time = settings.monitor(params), contract.time
    recipe, days = settings.train(params, contract.task), settings.prepare(params)
    if not set(recipe.columns) <= contract.columns.keys():
        return None  # the recipe takes columns that are never logged
    cut = window[time].max() - _days(days.holdout_days)
    holdout, groups = _with_groups(window[window[time] > cut], contract, group_by_id)
    start = cut - _days(days.train_days)
    train = _training_rows(old, labelled, contract)
    train = train[(train[time] > start) & (train[time] <= cut)]
    newer = int((train[time] > old[time].max()).sum())
    if min(len(holdout), newer) < limits.min_labels:
        return None
    metric = replace(metric, target=contract.target)
    if not (metric.defined(holdout) and metric.defined(train)):
        return None
    if len(train) > limits.probe_rows:
        train = train.sample(limits.probe_rows, random_state=0).sort_index()
    fitted = model.fit(train, contract, recipe)
    X = model.table(inputs(holdout, contract, recipe.columns))
    challenger = TASKS[contract.task].fitted(fitted, X)
    y, champion = metric.truth_and_predictions(holdout)
    compare, confidence = PAIRED[contract.task], limits.confidence
    return compare(y, champion, challenger, confidence, groups)


def _with_groups(
    rows: pd.DataFrame, contract: Contract, group_by_id: Mapping[str, str] | None
) -> tuple[pd.DataFrame, Any]:
    """Return the rows whose group is known, and the groups as numbers, [rows]."""
    import pandas as pd

    if not contract.entity:
        return rows, None
    if contract.labelled_only:
        groups = rows[contract.id].map(dict(group_by_id or {}))
    else:
        groups = rows[contract.entity]
    return rows[groups.notna()], pd.factorize(groups.dropna())[0]


def _training_rows(
    old: pd.DataFrame, labelled: pd.DataFrame, contract: Contract
) -> pd.DataFrame:
    """Return the rows of both tables, one per id, oldest first."""
    import pandas as pd

    columns = [contract.id, contract.time, *contract.columns, contract.target]
    rows = pd.concat([old[columns], labelled[columns]], ignore_index=True)
    rows = rows.drop_duplicates(contract.id)
    return rows.sort_values([contract.time, contract.id])


def _days(count: float) -> pd.Timedelta:
    """Return so many days."""
    import pandas as pd

    return pd.Timedelta(days=count)
