"""What the models look at: importance of raw columns, partial dependence, reasons.

All on the exported files and on a seeded sample, so that its cost does not grow with
the holdout. Permutation importance: Breiman (2001), Machine Learning 45(1); partial
dependence: Friedman (2001), Annals of Statistics 29(5).
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlgitops.judge.trial import Side, Trial, fed, predict
from mlgitops.judgement import Dependence, Fall, Flip, Importance, Reason
from mlgitops.pipeline import data
from mlgitops.pipeline.contract import Contract

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
    names = [n for n in trial.contract.columns if n not in trial.contract.sensitive]
    places = {name: _places(trial.holdout[name]) for name in names}
    try:
        seen = {
            who: _looks(trial, side, sample, y, places)
            for who, side in trial.sides.items()
        }
    except ValueError:  # a class is so rare that the sample has no row of it
        return
    falls = {who: each[0] for who, each in seen.items()}
    order = sorted(
        set().union(*falls.values()), key=lambda n: -falls["challenger"].get(n, (0,))[0]
    )
    trial.found.importance = [
        Importance(column=name, **{who: each.get(name) for who, each in falls.items()})
        for name in order
    ]
    top = [n for n in order if n in falls["challenger"] and n in places][:TOP]
    looks = {who: each[1] for who, each in seen.items()}
    trial.found.dependence = [
        _dependence(trial, name, places[name], looks) for name in top
    ]
    trial.found.flips = _flips(trial)


def _dependence(
    trial: Trial, name: str, places: list[Any], looks: dict[str, dict[str, Any]]
) -> Dependence:
    """Return the mean answers at a column's places, of one class if there are some."""
    of = trial.task.pick(looks["challenger"][name])
    at = None if of is None else np.full(len(places), of)
    means = {who: each[name] for who, each in looks.items() if name in each}
    return Dependence(
        column=name,
        places=list(map(_named, places)),
        of="" if of is None else trial.contract.classes[of],
        **{who: trial.task.view(each, at).tolist() for who, each in means.items()},
    )


def _looks(
    trial: Trial, side: Side, sample: pd.DataFrame, y: Any, places: dict[str, list[Any]]
) -> tuple[dict[str, Fall], dict[str, Any]]:
    """Return, per column of the model, the fall of the headline and the dependence.

    The fall is mean, least and most of the repeats; the dependence is the mean answer
    with the column set to each of its places. Both come from one child.
    """
    random = np.random.default_rng(1)
    columns = side.manifest["columns"]
    plain = fed(side, sample, trial.contract)
    shuffled = [
        {**plain, name: plain[name][random.permutation(len(sample))]}
        for name in columns
        for _ in range(REPEATS)
    ]
    shown = [name for name in columns if name in places]
    few = {name: values[:SPREAD] for name, values in plain.items()}
    fixed = [
        {**few, name: np.broadcast_to(_alone(p, name, trial.contract), few[name].shape)}
        for name in shown
        for p in places[name]
    ]
    scores = predict(side, [plain, *shuffled, *fixed], trial.contract)
    border = (1 + len(shuffled)) * len(sample)
    first, *rest = np.split(scores[:border], 1 + len(shuffled))
    value = trial.task.headline.value
    whole = value(y, first)
    falls = np.array([whole - value(y, each) for each in rest])
    per = zip(columns, falls.reshape(len(columns), REPEATS), strict=True)
    parts = np.split(scores[border:], len(fixed)) if fixed else []
    means = iter([part.mean(axis=0) for part in parts])
    return (
        {name: (float(f.mean()), float(f.min()), float(f.max())) for name, f in per},
        {name: np.array([next(means) for _ in places[name]]) for name in shown},
    )


def _alone(value: Any, name: str, contract: Contract) -> NDArray[Any]:
    """Return one value of a column as a model is fed with it, [1, 1]."""
    return data.inputs(pd.DataFrame({name: [value]}), contract, [name])[name]


def _named(place: Any) -> str:
    """Return a place as people write it, a number with the digits of float32."""
    return f"{place:.7g}" if isinstance(place, float) else str(place)


def _places(column: "pd.Series[Any]") -> list[Any]:
    """Return the values a column is set to: its quantiles, or its commonest."""
    if pd.api.types.is_numeric_dtype(column):
        known = column.dropna().to_numpy(np.float64)
        if not len(known):
            return [np.nan]
        spots = np.quantile(known, np.linspace(0.05, 0.95, PLACES))
        return [float(f"{spot:.4g}") for spot in dict.fromkeys(spots)]
    return list(column.value_counts().index[:PLACES])


def _flips(trial: Trial) -> list[Flip]:
    """Explain a few rows that the two models decide differently.

    The reason of a column: how far the challenger's answer (of several classes, the
    probability of the one that it decides) moves when the column has its usual value.
    """
    if trial.champion is None:
        return []
    old, new, task = trial.champion, trial.challenger, trial.task
    classes = trial.contract.classes
    other = np.flatnonzero(task.other(old.decisions, new.decisions))
    gaps = task.gaps(old.scores, new.scores)[other]
    chosen = other[np.argsort(-gaps, kind="stable")[:FLIPS]]
    if not len(chosen):
        return []
    rows = trial.holdout.iloc[chosen]
    shown = [n for n in new.manifest["columns"] if n not in trial.contract.sensitive]
    tables = [rows.assign(**{n: _usual(trial.holdout[n])}) for n in shown]
    of = new.decisions[chosen] if classes else None
    parts = [fed(new, table, trial.contract) for table in tables]
    usual = np.split(predict(new, parts, trial.contract), len(shown))
    before = task.view(new.scores[chosen], of)
    moved = np.array([before - task.view(each, of) for each in usual])
    found, truth = [], trial.y
    for place, number in enumerate(chosen):
        order = np.argsort(-np.abs(moved[:, place]))[:TOP]
        found.append(
            Flip(
                champion=task.said(old.scores[number], classes),
                challenger=task.said(new.scores[number], classes),
                truth=task.true(truth[number], classes),
                reasons=[
                    Reason(
                        shown[n],
                        _word(rows.iloc[place][shown[n]]),
                        float(moved[n, place]),
                    )
                    for n in order
                ],
            )
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
