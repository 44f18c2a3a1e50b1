"""A quick model on the sample: what the columns together are worth, above a dummy."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops.pipeline.words import words
from mlgitops.table.guess import Guess
from mlgitops.table.target import Target

if TYPE_CHECKING:
    import pandas as pd

BINS = 64  # of a number, when it stands alone
EACH = 5  # rows for each of its values, with which no bins are needed
TREES = 40
TERMS, TOPICS = 2_000, 10  # of a text: words, and numbers made of them
LEAK = {"binary": 0.98, "multiclass": 0.98, "regression": 0.95}  # of one column alone
LEAST = 0.05  # above a dummy, of a model without the columns that tell the target
DUMMY = {"binary": 0.5, "multiclass": 0.5, "regression": 0.0}
METRIC = {"binary": "roc_auc", "multiclass": "roc_auc_macro", "regression": "r2"}
WORDS = {"binary": "ROC AUC", "multiclass": "ROC AUC (macro)", "regression": "R²"}


@dataclass(frozen=True)
class Baseline:
    """The primary metric of a quick model, and of each column alone.

    Columns that alone are above LEAK are not in the model.
    """

    together: float | None
    alone: dict[str, float]


def left_out(found: Baseline, task: str) -> list[str]:
    """Return the columns that a first model does not take, as each tells the target.

    A model with one of them is above the leakage ceiling. Where the others say hardly
    anything without them, a person has to say what such a column is.
    """
    if found.together is None or found.together < DUMMY[task] + LEAST:
        return []
    return [name for name, score in found.alone.items() if score > LEAK[task]]


def codes(values: pd.Series, type_name: str) -> np.ndarray:
    """Return a column as float numbers [n]; categories as codes, missing as NaN.

    Of a text that is the number of its characters.
    """
    import pandas as pd

    if type_name == "text":
        lengths = [len(v) if isinstance(v, str) else np.nan for v in values]
        return np.array(lengths, float)

    if type_name == "category":
        found = pd.Categorical(values).codes.astype(float)
        return np.where(found < 0, np.nan, found)
    if type_name == "datetime":
        times = pd.to_datetime(values, utc=True).astype("datetime64[us, UTC]")
        numbers = times.astype("int64").to_numpy(float) / 1e6
        return np.where(times.isna(), np.nan, numbers)
    return np.asarray(pd.to_numeric(values).to_numpy(float, na_value=np.nan))


def baseline(
    sample: pd.DataFrame, inputs: Sequence[Guess], target: Target, group: str = ""
) -> Baseline:
    """Return what a quick model reaches on the half of the sample that it did not see.

    The half is every second row: whatever its order, both halves are alike. With a
    group it is every second one, as a model must not know a group by its numbers.
    """
    y, first = _truth(sample, target), _seen(sample, group)
    table = {g.name: codes(sample[g.name], g.type) for g in inputs}
    if not table or any(len(np.unique(y[half])) < 2 for half in (first, ~first)):
        return Baseline(None, {})
    alone = {}
    for name, values in table.items():
        alone[name] = _score(target.task, y[~first], _alone(values, y, first, target))
    for name in (guess.name for guess in inputs if guess.type == "text"):
        weights = _weights(sample[name])
        if weights is not None:
            predicted = _linear(weights, y, first, target)
            alone[name] = _score(target.task, y[~first], predicted)
            table |= {f"{name} {n}": v for n, v in enumerate(_topics(weights).T)}
    known = {n for n, score in alone.items() if score > LEAK[target.task]}
    fair = {n: v for n, v in table.items() if n.rpartition(" ")[0] not in known}
    fair = {n: v for n, v in fair.items() if n not in known}
    together = _together(fair, y, first, target) if fair else None
    if together is not None:  # a text says more to a linear model than to trees
        texts = {guess.name for guess in inputs if guess.type == "text"} - known
        together = max([together, *(alone[name] for name in texts)])
    return Baseline(together, alone)


def _weights(texts: pd.Series) -> Any:
    """Return the TF-IDF of a column of texts [n, words]; None if no word is shared."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    filled = [words(v) if isinstance(v, str) else "" for v in texts]
    vectorizer = TfidfVectorizer(analyzer=str.split, max_features=TERMS, min_df=2)
    try:
        return vectorizer.fit_transform(filled)
    except ValueError:  # each word is in one row only
        return None


def _linear(weights: Any, y: np.ndarray, first: np.ndarray, target: Target) -> Any:
    """Return predictions [n] or [n, k] for the second half, of a linear model."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if target.task == "regression":
        return Ridge().fit(weights[first], y[first]).predict(weights[~first])
    model = LogisticRegression(max_iter=200).fit(weights[first], y[first])
    predicted = model.predict_proba(weights[~first])
    return predicted[:, 1] if target.task == "binary" else predicted


def _topics(weights: Any) -> np.ndarray:
    """Return a few numbers for each row of texts, [n, k], for trees."""
    from sklearn.decomposition import TruncatedSVD

    count = min(TOPICS, weights.shape[1] - 1)
    if count < 1:
        return np.asarray(weights.toarray())
    with np.errstate(all="ignore"):  # of equal texts nothing is left to explain
        return np.asarray(TruncatedSVD(count, random_state=1).fit_transform(weights))


def _alone(values: np.ndarray, y: np.ndarray, first: np.ndarray, target: Target) -> Any:
    """Return predictions [n] or [n, k] for the second half, from one column's bins."""
    known = values[first & ~np.isnan(values)]
    edges = np.unique(known)
    if len(edges) > BINS and len(known) < EACH * len(edges):
        count = min(BINS, max(8, len(known) // 15))
        edges = np.unique(np.quantile(known, np.linspace(0, 1, count + 1)))
    bins = np.where(np.isnan(values), 0, np.searchsorted(edges, values, "right") + 1)
    rows = np.bincount(bins[first], minlength=len(edges) + 2).astype(float)
    truths = [y] if target.task != "multiclass" else [y == k for k in np.unique(y)]
    found = []
    for truth in truths:
        total = np.bincount(bins[first], truth[first], minlength=len(edges) + 2)
        mean = truth[first].mean()
        found.append(((total + mean) / (rows + 1))[bins[~first]])
    return found[0] if target.task != "multiclass" else np.column_stack(found)


def _together(
    table: dict[str, np.ndarray], y: np.ndarray, first: np.ndarray, target: Target
) -> float | None:
    """Return what all columns together reach."""
    return _score(target.task, y[~first], _trees(table, y, first, target))


def predicted(
    sample: pd.DataFrame, inputs: Sequence[Guess], target: Target, group: str = ""
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return target [n], a quick model's prediction [n] or [n, k], and which rows.

    The rows are the half of the sample that it did not see; None if it has no model.
    """
    y, first = _truth(sample, target), _seen(sample, group)
    table = {g.name: codes(sample[g.name], g.type) for g in inputs}
    values = [np.unique(part) for part in (y, y[first], y[~first])]
    few = any(len(part) < 2 for part in values)
    if not table or few or (target.classes and len(values[1]) < len(values[0])):
        return None
    return y[~first], _trees(table, y, first, target), ~first


def _truth(sample: pd.DataFrame, target: Target) -> np.ndarray:
    """Return the target as numbers [n]; classes as their number."""
    import pandas as pd

    if target.task == "regression":
        return np.asarray(pd.to_numeric(sample[target.name]).to_numpy(float))
    return np.asarray(pd.Categorical(sample[target.name]).codes.astype(float))


def _seen(sample: pd.DataFrame, group: str) -> np.ndarray:
    """Return which rows a quick model learns from, [n]."""
    import pandas as pd

    units = pd.factorize(sample[group])[0] if group else np.arange(len(sample))
    return np.asarray(units % 2 == 0)


def _trees(
    table: dict[str, np.ndarray], y: np.ndarray, first: np.ndarray, target: Target
) -> np.ndarray:
    """Return predictions [n] or [n, k] for the second half, of all columns together."""
    from sklearn import ensemble
    from threadpoolctl import threadpool_limits

    X = np.column_stack(list(table.values()))
    kind = "Regressor" if target.task == "regression" else "Classifier"
    model = getattr(ensemble, f"HistGradientBoosting{kind}")(
        max_iter=TREES, early_stopping=False, random_state=1
    )
    with threadpool_limits(1):  # threads that wait for one another cost more than one
        model.fit(X[first], y[first])
        if target.task == "regression":
            return np.asarray(model.predict(X[~first]))
        found = np.asarray(model.predict_proba(X[~first]))
    return found[:, 1] if target.task == "binary" else found


def _score(task: str, y: np.ndarray, predicted: np.ndarray) -> float:
    """Return the primary metric of predictions; a dummy's where it has no value."""
    from sklearn.metrics import r2_score, roc_auc_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if task == "regression":
            return float(r2_score(y, predicted))
        if task == "binary":
            found = roc_auc_score(y, predicted)
        else:
            classes = [
                k for k in range(predicted.shape[1]) if 0 < (y == k).sum() < len(y)
            ]
            scores = [roc_auc_score(y == k, predicted[:, k]) for k in classes]
            found = np.mean(scores) if scores else 0.5
    return float(found) if np.isfinite(found) else DUMMY[task]
