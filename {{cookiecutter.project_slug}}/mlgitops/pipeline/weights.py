"""How much each training row counts in the fit; pure.

`train.weights` says it, and `train.mitigation` multiplies: their product has no bias.

The metrics do not weigh: the judge and the monitor count rows as production sends them,
so that a weight cannot hide what a model does to the rows that count little.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlgitops.pipeline import reweighing
from mlgitops.pipeline.contract import FLOATS, Contract, ContractError
from mlgitops.pipeline.convertible import parts
from mlgitops.pipeline.data import truth
from mlgitops.pipeline.schema import one_line
from mlgitops.pipeline.settings import FILE, Train, check_mitigation
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.base import BaseEstimator

BALANCED = "balanced"
ARGUMENT = "sample_weight"  # of every `fit` in scikit-learn that takes weights
KEY = FILE.key("train").key("weights")
MITIGATION = FILE.key("train").key("mitigation")
Weights = NDArray[np.float64]


def sample_weights(
    rows: pd.DataFrame, contract: Contract, recipe: Train
) -> Weights | None:
    """Return the weight of each row, [n], or None where all count the same.

    Raises:
        ContractError: the column is not one of weights; with the row.
    """
    counts = _stated(rows, contract, recipe)
    if recipe.mitigation is None:
        return counts
    check_mitigation(recipe, contract)
    fair = reweighing.weights(rows, contract, recipe.mitigation.columns, counts)
    return fair if counts is None else counts * fair


def _stated(rows: pd.DataFrame, contract: Contract, recipe: Train) -> Weights | None:
    """Return the weights that train.weights gives, or None."""
    if recipe.weights is None:
        return None
    check_setting(contract, recipe)
    if recipe.weights in contract.columns:
        return _column(rows, contract, recipe.weights)
    return _balanced(rows, contract)


def of_part(
    rows: pd.DataFrame, contract: Contract, recipe: Train, classes: Weights
) -> Weights | None:
    """Return the weights of a part of all rows, [n], or None where all count the same.

    `classes` has how many rows of each class there are in all. The faults of a column
    were looked for before.
    """
    if recipe.weights is None:
        return None
    if recipe.weights in contract.columns:
        return numbers(rows, recipe.weights)
    each = classes.sum() / (np.count_nonzero(classes) * np.maximum(classes, 1))
    return np.asarray(each[truth(rows, contract).astype(int)], np.float64)


def check_setting(contract: Contract, recipe: Train) -> None:
    """Refuse what is neither `balanced` nor a column of numbers beside the inputs.

    Raises:
        ContractError: also `balanced` for a task without classes.
    """
    name = recipe.weights or BALANCED
    if name not in contract.columns:
        if name != BALANCED:
            known = [n for n in contract.columns if n not in recipe.columns]
            example = f", such as {known[0]}" if known else ""
            allowed = f"{BALANCED} or a column of contract.yaml that is not in "
            raise KEY.wrong(f"{allowed}train.columns{example}", name)
        if TASKS[contract.task].kind != "classifier":
            raise KEY.error(f"is {name}, which is for classes, not {contract.task}")
    elif name in recipe.columns:
        raise KEY.error(
            f"is '{name}', which the model takes as an input: remove it from "
            "train.columns, as production need not know a row's weight"
        )
    elif contract.columns[name].type not in FLOATS:
        kind = contract.columns[name].type
        raise KEY.error(f"is '{name}', a {kind}: name a column of numbers")


def fit_arguments(
    estimator: BaseEstimator, weights: Weights | None, recipe: Train
) -> dict[str, Weights]:
    """Return what the `fit` of an unfitted estimator is given: nothing, or weights.

    Of a pipeline its last step gets them.

    Raises:
        ContractError: it, or an estimator that decides in it, takes none.
    """
    if weights is None:
        return {}
    stated = recipe.weights is not None
    for part in _deciding(estimator):
        if not _takes_weights(part):
            raise (KEY if stated else MITIGATION).error(
                f"weights the training rows, and {type(part).__name__} takes no "
                f"weights ({ARGUMENT}): choose another train.estimator, such as "
                "hist_gradient_boosting or logistic_regression, or remove the line"
            )
        if stated and getattr(part, "class_weight", None) is not None:
            raise KEY.error(
                "is set, and so is class_weight of "
                f"{type(part).__name__}, which would count twice: remove one"
            )
    return {f"{_last_step(estimator)}{ARGUMENT}": weights}


def _balanced(rows: pd.DataFrame, contract: Contract) -> Weights:
    """Return weights by which each class counts the same in all.

    King and Zeng (2001), Logistic regression in rare events data, as scikit-learn's
    `class_weight="balanced"` has it: n / (k * rows of the class).
    """
    from sklearn.utils.class_weight import compute_sample_weight

    return np.asarray(
        compute_sample_weight("balanced", truth(rows, contract)), np.float64
    )


def _column(rows: pd.DataFrame, contract: Contract, name: str) -> Weights:
    """Return the weights of a column."""
    faults, weights = Faults(name), numbers(rows, name)
    faults.look(weights, rows[contract.id])
    faults.demand_none()
    return weights


def numbers(rows: pd.DataFrame, name: str) -> Weights:
    """Return a column of weights as it is."""
    return np.asarray(rows[name].to_numpy(np.float64, na_value=np.nan))


class Faults:
    """What is wrong with a column of weights, seen in all parts of its rows."""

    def __init__(self, name: str) -> None:
        self.name, self.rows, self.positive = name, 0, False
        self.counts = {"missing": 0, "negative": 0}
        self.first: dict[str, object] = {}

    def look(self, weights: Weights, ids: pd.Series) -> None:
        """Count the faults of some rows."""
        for what, wrong in (("missing", np.isnan(weights)), ("negative", weights < 0)):
            if wrong.any():
                self.first.setdefault(what, ids.iloc[int(wrong.argmax())])
                self.counts[what] += int(wrong.sum())
        self.rows += len(weights)
        self.positive |= bool(weights.any())

    def demand_none(self) -> None:
        """Raise ContractError for what was seen, with the first row."""
        start = f'Column "{self.name}" (train.weights): the weight is'
        for what, row in sorted(self.first.items()):  # what is missing comes first
            raise ContractError(
                f"{start} {what} in {self.counts[what]:,} of {self.rows:,} rows, the "
                f"first is {one_line(row)}; correct the data, or set it in "
                "model/prepare.py"
            )
        if not self.positive:
            raise ContractError(
                f"{start} 0 in all {self.rows:,} rows; correct the data"
            )


def _deciding(estimator: BaseEstimator) -> Iterator[BaseEstimator]:
    """Yield an estimator and those in it that predict; of a pipeline the last step."""
    from sklearn.pipeline import Pipeline

    if isinstance(estimator, Pipeline):
        yield from _deciding(estimator[-1])
        return
    yield estimator
    for part in parts(estimator):
        if part is not estimator and hasattr(part, "predict"):
            yield part


def _takes_weights(estimator: Any) -> bool:
    """Tell whether `fit` takes weights; what combines others hands them on."""
    parameters = signature(estimator.fit).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    inner = next((p for p in parts(estimator) if p is not estimator), None)
    combines = inner is not None and Parameter.VAR_KEYWORD in kinds
    is_pipeline = hasattr(estimator, "steps")  # which would not hand them on by itself
    return ARGUMENT in parameters or (combines and not is_pipeline)


def _last_step(estimator: BaseEstimator) -> str:
    """Return the prefix by which a pipeline hands arguments to its last step."""
    from sklearn.pipeline import Pipeline

    if not isinstance(estimator, Pipeline):
        return ""
    name, last = estimator.steps[-1]
    return f"{name}__{_last_step(last)}"
