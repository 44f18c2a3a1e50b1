"""Measures a version where labels have come, and what newer rows would give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from mlgitops import settings
from mlgitops.metrics import PAIRED, Difference
from mlgitops.monitor.measure import BINARY, Measure
from mlgitops.monitor.rearrange import Blocks, Place
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.data import inputs
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd


class Fall(NamedTuple):
    """The headline in the window and on the version's own holdout, their difference."""

    window: float
    holdout: float
    difference: float
    low: float
    high: float
    confidence: float
    predicted: float  # mean answer to the window's labelled rows (`Measure.means`)
    observed: float  # the mean of their labels


def fall(
    window: pd.DataFrame,
    holdout: pd.DataFrame,
    target: str,
    confidence: float,
    blocks: Blocks | None = None,
    measure: Measure = BINARY,
) -> Fall:
    """Compare the headline on labelled rows of the window with that on the holdout.

    The two samples share no row, so the variances (DeLong) add. Rows of one day, or
    week, fare alike: with ``blocks`` the interval is at least as wide as they say
    (`by_block`). Both tables have the answers and the target; raises ValueError when
    one has not all that the headline needs.
    """
    measure = replace(measure, target=target)
    found = [measure.area(side) for side in (window, holdout)]
    areas, variance = [auc for auc, _ in found], sum(v for _, v in found)
    difference = areas[0] - areas[1]
    half = float(NormalDist().inv_cdf(0.5 + confidence / 2) * variance**0.5)
    if blocks is not None:
        half = max(half, by_block(window, holdout, measure, confidence, blocks))
    predicted, observed = measure.means(*measure.sides(window))
    return Fall(
        areas[0],
        areas[1],
        difference,
        difference - half,
        difference + half,
        confidence,
        predicted,
        observed,
    )


def by_block(
    window: pd.DataFrame,
    holdout: pd.DataFrame,
    measure: Measure,
    confidence: float,
    blocks: Blocks,
) -> float:
    """Return half the interval of the difference, from what single blocks do to it.

    Student's for two samples of pseudo-values: what the headline loses when a block
    is left out. Kuensch (1989), Annals of Statistics 17(3), on the jackknife by blocks.
    """
    sides = ((window, blocks.now), (holdout, blocks.past))
    values = [_pseudo(measure, t, at) for t, at in sides]
    counts = [len(side) for side in values]
    if min(counts) < 2:
        return 0.0
    free = sum(counts) - 2
    pooled = sum(float(side.var() * len(side)) for side in values) / free
    reach = float(stats.t.ppf(0.5 + confidence / 2, free))
    return float(reach * (pooled * sum(1 / n for n in counts)) ** 0.5)


def _pseudo(measure: Measure, table: pd.DataFrame, place: Place) -> Any:
    """Return n A - (n - 1) A_b for each of n blocks b, A_b without its rows."""
    names, (y, p) = np.unique(place), measure.sides(table)
    rests = [place != name for name in names]
    without = np.array([measure.value(y[rest], p[rest]) for rest in rests])
    return len(names) * measure.value(y, p) - (len(names) - 1) * without


def gain(
    old: pd.DataFrame,
    labelled: pd.DataFrame,
    window: pd.DataFrame,
    contract: Contract,
    params: settings.Params,
    measure: Measure = BINARY,
    whose: Mapping[str, str] | None = None,
) -> Difference | None:
    """Estimate what retraining would give: fit main's recipe on newer rows and try it.

    The newest ``prepare.holdout_days`` of labelled window rows are kept away; the
    rest of ``old`` and ``labelled`` that retraining would keep is fitted, and both
    models are compared on the rows kept away, as validation will do: by entity, where
    the contract names one, on the rows of which it is known (``whose`` says it by id,
    if requests do not). None when there are too few labels on one of the sides.
    """
    import pandas as pd

    # Its import takes a second, and most windows never come here.
    from mlgitops.pipeline import fitting as model

    limits, time, clusters = settings.monitor(params), contract.time, None
    recipe, days = settings.train(params, contract.task), settings.prepare(params)
    if not set(recipe.columns) <= contract.columns.keys():
        return None  # the recipe takes columns that are never logged
    newest = window[time].max()
    cut = newest - pd.Timedelta(days=days.holdout_days)
    start = cut - pd.Timedelta(days=days.train_days)
    tried = window[window[time] > cut]
    if contract.entity:
        owner = tried[contract.id].map(dict(whose or {}))
        owner = owner if contract.beside else tried[contract.entity]
        tried = tried[owner.notna()]
        clusters = pd.factorize(owner.dropna())[0]
    columns = [contract.id, time, *contract.columns, contract.target]
    rows = pd.concat([old[columns], labelled[columns]], ignore_index=True)
    rows = rows.drop_duplicates(contract.id).sort_values([time, contract.id])
    rows = rows[(rows[time] > start) & (rows[time] <= cut)]
    newer = rows[time] > old[time].max()
    if min(len(tried), int(newer.sum())) < limits.min_labels:
        return None
    measure = replace(measure, target=contract.target)
    if not (measure.defined(tried) and measure.defined(rows)):
        return None
    if len(rows) > limits.probe_rows:
        rows = rows.sample(limits.probe_rows, random_state=0).sort_index()
    fitted = model.fit(rows, contract, recipe)
    X = model.table(inputs(tried, contract, recipe.columns))
    answers = TASKS[contract.task].fitted(fitted, X)
    y, before = measure.sides(tried)
    return PAIRED[contract.task](y, before, answers, limits.confidence, clusters)
