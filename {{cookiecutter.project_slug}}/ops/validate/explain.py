"""What the models look at: importance of raw columns, partial dependence, reasons.

All on the exported files and on a seeded sample, so that its cost does not grow with
the holdout. Permutation importance: Breiman (2001), Machine Learning 45(1); partial
dependence: Friedman (2001), Annals of Statistics 29(5).
"""

from typing import Any

import numpy as np
import pandas as pd

from ops.validate.trial import Side, Trial, predict
from pipeline import metrics

SAMPLE = 2_000  # rows whose columns are shuffled
REPEATS = 3
SPREAD = 200  # rows that a dependence is averaged over
TOP = 3  # columns whose dependence is shown
PLACES = 8  # of a dependence
FLIPS = 3  # rows that are explained


def add(trial: Trial) -> None:
    """Add importance, dependence, and reasons for a few decisions that flip."""
    random = np.random.default_rng(0)
    count = min(SAMPLE, len(trial.holdout))
    rows = np.sort(random.choice(len(trial.holdout), count, replace=False))
    sample, y = trial.holdout.iloc[rows], trial.y[rows]
    if len(np.unique(y)) < 2:
        return
    names = [n for n in trial.contract.columns if n not in trial.contract.sensitive]
    places = {name: _places(trial.holdout[name]) for name in names}
    seen = {
        who: _looks(trial, side, sample, y, places) for who, side in trial.sides.items()
    }
    falls = {who: each[0] for who, each in seen.items()}
    order = sorted(
        set().union(*falls.values()), key=lambda n: -falls["challenger"].get(n, (0,))[0]
    )
    trial.found["importance"] = [
        {"column": name, **{who: each.get(name) for who, each in falls.items()}}
        for name in order
    ]
    top = [n for n in order if n in falls["challenger"] and n in places][:TOP]
    trial.found["dependence"] = [
        {
            "column": name,
            "places": [str(place) for place in places[name]],
            **{who: each[1][name] for who, each in seen.items() if name in each[1]},
        }
        for name in top
    ]
    trial.found["flips"] = _flips(trial)


def _looks(
    trial: Trial, side: Side, sample: pd.DataFrame, y: Any, places: dict[str, list[Any]]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return, per column of the model, the fall of ROC AUC and the partial dependence.

    The fall is mean, least and most of the repeats; the dependence is the mean answer
    with the column set to each of its places. Both come from one child.
    """
    random = np.random.default_rng(1)
    columns = side.manifest["columns"]
    shuffled = [
        sample.assign(
            **{name: sample[name].to_numpy()[random.permutation(len(sample))]}
        )
        for name in columns
        for _ in range(REPEATS)
    ]
    few, shown = sample.iloc[:SPREAD], [name for name in columns if name in places]
    fixed = [few.assign(**{name: p}) for name in shown for p in places[name]]
    scores = predict(side, [sample, *shuffled, *fixed], trial.contract)
    border = (1 + len(shuffled)) * len(sample)
    first, *rest = scores[:border].reshape(-1, len(sample))
    whole = metrics.roc_auc(y, first)
    falls = np.array([whole - metrics.roc_auc(y, each) for each in rest])
    per = zip(columns, falls.reshape(len(columns), REPEATS), strict=True)
    means = iter(scores[border:].reshape(len(fixed), -1).mean(axis=1).tolist())
    return (
        {name: [float(f.mean()), float(f.min()), float(f.max())] for name, f in per},
        {name: [next(means) for _ in places[name]] for name in shown},
    )


def _places(column: "pd.Series[Any]") -> list[Any]:
    """Return the values a column is set to: its quantiles, or its commonest."""
    if pd.api.types.is_numeric_dtype(column):
        known = column.dropna().to_numpy(np.float64)
        if not len(known):
            return [np.nan]
        spots = np.quantile(known, np.linspace(0.05, 0.95, PLACES))
        return [float(f"{spot:.4g}") for spot in dict.fromkeys(spots)]
    return list(column.value_counts().index[:PLACES])


def _flips(trial: Trial) -> list[dict[str, Any]]:
    """Explain a few rows that the two models decide differently.

    The reason of a column: how far the challenger's answer moves when the column has
    its usual value instead.
    """
    if trial.champion is None:
        return []
    new = trial.challenger
    other = np.flatnonzero(trial.champion.decisions != new.decisions)
    gaps = np.abs(new.scores - trial.champion.scores)[other]
    chosen = other[np.argsort(-gaps, kind="stable")[:FLIPS]]
    if not len(chosen):
        return []
    rows = trial.holdout.iloc[chosen]
    shown = [n for n in new.manifest["columns"] if n not in trial.contract.sensitive]
    tables = [rows.assign(**{n: _usual(trial.holdout[n])}) for n in shown]
    moved = new.scores[chosen] - predict(new, tables, trial.contract).reshape(
        len(shown), -1
    )
    found = []
    for place, number in enumerate(chosen):
        order = np.argsort(-np.abs(moved[:, place]))[:TOP]
        found.append(
            {
                "champion": float(trial.champion.scores[number]),
                "challenger": float(new.scores[number]),
                "truth": int(trial.y[number]),
                "reasons": [
                    [
                        shown[n],
                        _word(rows.iloc[place][shown[n]]),
                        float(moved[n, place]),
                    ]
                    for n in order
                ],
            }
        )
    return found


def _usual(column: "pd.Series[Any]") -> Any:
    """Return a column's median, or its commonest value."""
    if pd.api.types.is_numeric_dtype(column):
        return column.median()
    return column.mode().iloc[0] if len(column.mode()) else None


def _word(value: Any) -> str:
    """Return a cell for people."""
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
