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
    found = {
        who: _importance(trial, side, sample, y) for who, side in trial.sides.items()
    }
    names = sorted(
        set().union(*found.values()), key=lambda n: -found["challenger"].get(n, (0,))[0]
    )
    trial.found["importance"] = [
        {"column": name, **{who: each.get(name) for who, each in found.items()}}
        for name in names
    ]
    top = [name for name in names if name in found["challenger"]][:TOP]
    trial.found["dependence"] = _dependence(trial, top, sample.iloc[:SPREAD])
    trial.found["flips"] = _flips(trial)


def _importance(
    trial: Trial, side: Side, sample: pd.DataFrame, y: Any
) -> dict[str, list[float]]:
    """Return per column of the model the fall of ROC AUC: mean, least and most."""
    random = np.random.default_rng(1)
    columns = side.manifest["columns"]
    tables = [sample]
    for name in columns:
        for _ in range(REPEATS):
            mixed = sample[name].to_numpy()[random.permutation(len(sample))]
            tables.append(sample.assign(**{name: mixed}))
    scores = predict(side, tables, trial.contract).reshape(-1, len(sample))
    whole = metrics.roc_auc(y, scores[0])
    falls = np.array([whole - metrics.roc_auc(y, each) for each in scores[1:]])
    per = falls.reshape(len(columns), REPEATS)
    return {
        name: [float(f.mean()), float(f.min()), float(f.max())]
        for name, f in zip(columns, per, strict=True)
    }


def _dependence(
    trial: Trial, names: list[str], sample: pd.DataFrame
) -> list[dict[str, Any]]:
    """Return the mean answer of each model with a column set to each of its places."""
    places = {name: _places(trial.holdout[name]) for name in names}
    found: list[dict[str, Any]] = [
        {"column": name, "places": [str(p) for p in places[name]]} for name in names
    ]
    for who, side in trial.sides.items():
        used = [name for name in names if name in side.manifest["columns"]]
        tables = [sample.assign(**{n: p}) for n in used for p in places[n]]
        if not tables:
            continue
        means = predict(side, tables, trial.contract).reshape(len(tables), -1).mean(1)
        answers = iter(means.tolist())
        for row in found:
            if row["column"] in used:
                row[who] = [next(answers) for _ in row["places"]]
    return found


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
