"""Lets predictions only rise, or only fall, with a column: `train.monotonic`; pure.

An estimator's own constraint does it, on the one feature that is the column. That is a
promise only where the column is nowhere else in the features, which is checked.
"""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from mlgitops.pipeline.contract import FLOATS, Contract
from mlgitops.pipeline.schema import Location
from mlgitops.pipeline.settings import FILE, Train
from mlgitops.pipeline.symbolic import INPUT

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.pipeline import Pipeline

    from mlgitops.pipeline.tracing import Derived

SIGNS = {"increasing": 1, "decreasing": -1}
PARAMETERS = ("monotonic_cst", "monotone_constraints")  # scikit-learn's, the others'
KEY = FILE.key("train").key("monotonic")
TAKES = "HistGradientBoosting, XGBoost, LightGBM, CatBoost and scikit-learn's trees do"


def constrain(pipeline: Pipeline, contract: Contract, recipe: Train) -> None:
    """Give the unfitted estimator its constraints, by its features, which are fitted.

    Raises:
        SettingsError: the estimator has none, or a column is not a feature as it is.
    """
    if not recipe.monotonic:
        return
    model = pipeline[-1]
    parameter = _parameter(model)
    if parameter is None:
        name = type(model).__name__
        raise KEY.error(
            f"is set, and {name}, which train.estimator names, has no such constraint "
            f"({TAKES}): take one of those, or remove the entry"
        )
    if contract.task == "multiclass":
        raise KEY.error(
            "is for a prediction that is one number, and the task multiclass has one "
            "of each class: remove the entry"
        )
    constraints = [0] * len(pipeline[-2].get_feature_names_out())
    for column, direction in recipe.monotonic.items():
        place = KEY.key(column)
        _check(column, place, contract, recipe)
        for position in _positions(pipeline, column, place):
            constraints[position] = SIGNS[direction]
    text = type(model).__module__.startswith("xgboost.")  # which takes no list
    value = f"({','.join(map(str, constraints))})" if text else constraints
    model.set_params(**{parameter: value})


def _parameter(model: BaseEstimator) -> str | None:
    """Return the argument of an estimator that holds a constraint per feature."""
    known = {*model.get_params(), *signature(type(model).__init__).parameters}
    if type(model).__module__.startswith("lightgbm."):  # takes any by its name
        known.add("monotone_constraints")
    return next((name for name in PARAMETERS if name in known), None)


def _check(column: str, place: Location, contract: Contract, recipe: Train) -> None:
    """Refuse what is not a number that the model takes."""
    if column not in recipe.columns:
        names = ", ".join(n for n in recipe.columns if _is_number(n, contract))
        raise place.error(f"is not in train.columns; name one of {names}")
    if not _is_number(column, contract):
        kind = contract.columns[column].type
        raise place.error(f"is a {kind}, and only a number rises or falls")


def _is_number(column: str, contract: Contract) -> bool:
    """Tell whether a column of the contract holds numbers."""
    return contract.columns[column].type in FLOATS


def _positions(pipeline: Pipeline, column: str, place: Location) -> list[int]:
    """Return the positions among the features of a column that is as it was."""
    from mlgitops.pipeline.tracing import Derived  # it loads scikit-learn

    names, derived = [column], pipeline[0]
    if isinstance(derived, Derived):
        names = [name for name, source in derived.sources.items() if source == column]
        if not names or _computes_with(derived, column):
            raise place.error(
                "is changed, or used for another feature, by features() in "
                "model/features.py, and then a constraint on it promises nothing: "
                "leave the column as it is there, or remove the entry"
            )
    features = pipeline[-2].features_
    found: list[int] = []
    for step, transformer, columns in getattr(features, "transformers_", ()):
        inputs = [columns] if isinstance(columns, str) else list(columns)
        for name in set(names) & set(inputs):
            if not _is_identity(transformer):
                raise place.error(
                    f"is changed by {type(transformer).__name__}, the step '{step}' in "
                    "model/features.py: take features that leave numbers as they are, "
                    "as for_trees does, or remove the entry"
                )
            found.append(features.output_indices_[step].start + inputs.index(name))
    if not found:
        raise place.error("is not among the features of model/features.py as it is")
    return found


def _computes_with(derived: Derived, column: str) -> bool:
    """Tell whether a computed feature reads a column."""
    from onnx import ModelProto

    graph = ModelProto.FromString(derived.model).graph
    return f"{INPUT}{column}" in {entry.name for entry in graph.input}


def _is_identity(transformer: Any) -> bool:
    """Tell whether a fitted step of a ColumnTransformer hands columns on."""
    from sklearn.preprocessing import FunctionTransformer

    is_function = isinstance(transformer, FunctionTransformer)
    return (
        bool(is_function and transformer.func is None) or transformer == "passthrough"
    )
