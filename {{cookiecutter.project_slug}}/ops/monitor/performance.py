"""Measures a version where labels have come, and what newer rows would give."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from ops.monitor.rearrange import Blocks, Place
from pipeline.contract import Contract
from pipeline.data import inputs
from pipeline.metrics import Difference, calibration_error, delong, roc_auc

if TYPE_CHECKING:
    import pandas as pd


class Fall(NamedTuple):
    """ROC AUC in the window and on the version's own holdout, and their difference."""

    window: float
    holdout: float
    difference: float
    low: float
    high: float
    confidence: float
    predicted: float  # mean probability of the window's labelled rows
    observed: float  # share of 1s among them


def fall(
    window: pd.DataFrame,
    holdout: pd.DataFrame,
    target: str,
    confidence: float,
    blocks: Blocks | None = None,
) -> Fall:
    """Compare the ROC AUC on labelled rows of the window with that on the holdout.

    The two samples share no row, so the variances (DeLong) add. Rows of one day, or
    week, fare alike: with ``blocks`` the interval is at least as wide as they say
    (`by_block`). Both tables have the columns ``probability`` and the target; raises
    ValueError when one has one class.
    """
    found = [area(side[target], side["probability"]) for side in (window, holdout)]
    areas, variance = [auc for auc, _ in found], sum(v for _, v in found)
    difference = areas[0] - areas[1]
    half = float(NormalDist().inv_cdf(0.5 + confidence / 2) * variance**0.5)
    if blocks is not None:
        half = max(half, by_block(window, holdout, target, confidence, blocks))
    predicted, observed = window["probability"].mean(), window[target].mean()
    return Fall(
        areas[0],
        areas[1],
        difference,
        difference - half,
        difference + half,
        confidence,
        float(predicted),
        float(observed),
    )


def by_block(
    window: pd.DataFrame,
    holdout: pd.DataFrame,
    target: str,
    confidence: float,
    blocks: Blocks,
) -> float:
    """Return half the interval of the difference, from what single blocks do to it.

    Student's for two samples of pseudo-values: what the ROC AUC loses when a block is
    left out. Kuensch (1989), Annals of Statistics 17(3), on the jackknife by blocks.
    """
    sides = ((window, blocks.now), (holdout, blocks.past))
    values = [_pseudo(t[target].to_numpy(), t["probability"], at) for t, at in sides]
    counts = [len(side) for side in values]
    if min(counts) < 2:
        return 0.0
    free = sum(counts) - 2
    pooled = sum(float(side.var() * len(side)) for side in values) / free
    reach = float(stats.t.ppf(0.5 + confidence / 2, free))
    return float(reach * (pooled * sum(1 / n for n in counts)) ** 0.5)


def _pseudo(y: Any, p: Any, place: Place) -> Any:
    """Return n A - (n - 1) A_b for each of n blocks b, A_b without its rows."""
    scores, names = np.asarray(p), np.unique(place)
    without = []
    for name in names:
        rest = place != name
        both = len(np.unique(y[rest])) == 2  # or nothing is told apart any more
        without.append(roc_auc(y[rest], scores[rest]) if both else 0.5)
    return len(names) * roc_auc(y, scores) - (len(names) - 1) * np.array(without)


def area(y: Any, p: Any) -> tuple[float, float]:
    """Return ROC AUC and its variance (DeLong); ValueError when one class is there."""
    # A constant score has an area of one half, and no variance of its own.
    found = delong(y, np.zeros(len(y)), p, 0.95)
    reach = NormalDist().inv_cdf(0.975)
    return found.challenger, ((found.high - found.difference) / reach) ** 2


def calibration_gap(window: pd.DataFrame, target: str) -> float:
    """Return the mean distance of predicted and observed shares, over ten bins."""
    return calibration_error(window[target], window["probability"])


def gain(
    old: pd.DataFrame,
    labelled: pd.DataFrame,
    window: pd.DataFrame,
    contract: Contract,
    params: Mapping[str, Any],
) -> Difference | None:
    """Estimate what retraining would give: fit main's recipe on newer rows and try it.

    The newest ``prepare.holdout_days`` of labelled window rows are kept away; the
    rest of ``old`` and ``labelled`` that retraining would keep is fitted, and both
    models are compared on the rows kept away, as validation will do. None when there
    are too few labels on one of the sides.
    """
    import pandas as pd

    # Its import takes a second, and most windows never come here.
    from pipeline import model

    limits, time = params["monitor"], contract.time
    if not set(params["train"]["columns"]) <= contract.columns.keys():
        return None  # the recipe takes columns that are never logged
    newest = window[time].max()
    cut = newest - pd.Timedelta(days=params["prepare"]["holdout_days"])
    start = cut - pd.Timedelta(days=params["prepare"]["train_days"])
    tried = window[window[time] > cut]
    columns = [contract.id, time, *contract.columns, contract.target]
    rows = pd.concat([old[columns], labelled[columns]], ignore_index=True)
    rows = rows.drop_duplicates(contract.id).sort_values([time, contract.id])
    rows = rows[(rows[time] > start) & (rows[time] <= cut)]
    newer = rows[time] > old[time].max()
    if min(len(tried), int(newer.sum())) < limits["min_labels"]:
        return None
    if tried[contract.target].nunique() < 2 or rows[contract.target].nunique() < 2:
        return None
    if len(rows) > limits["probe_rows"]:
        rows = rows.sample(limits["probe_rows"], random_state=0).sort_index()
    fitted = model.fit(rows, contract, params["train"])
    X = model.table(inputs(tried, contract, params["train"]["columns"]))
    probability = fitted.predict_proba(X)[:, 1]
    y = tried[contract.target].to_numpy()
    confidence = limits["confidence"]
    return delong(y, tried["probability"].to_numpy(), probability, confidence)
