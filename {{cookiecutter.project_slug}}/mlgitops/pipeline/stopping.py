"""Chooses how many rounds boosting takes, on a part of the training rows; pure.

The part is left out as the split leaves out the holdout: by time the newest rows, by
group whole groups. The model is then fitted on all training rows with that many rounds,
so that the newest ones are learnt from, too. scikit-learn's own `early_stopping=True`
draws rows at random, by which a model looks as if it knew the future.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.folds import Fold, one_fold
from mlgitops.pipeline.settings import FILE, Train
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.base import BaseEstimator

KEY = FILE.key("train").key("early_stopping")
Weights = NDArray[np.float64] | None


class Rows(NamedTuple):
    """Features, targets and weights of some rows."""

    X: Any
    y: NDArray[Any]
    weights: Weights


class Library(NamedTuple):
    """How a library of boosting stops early."""

    rounds: tuple[str, ...]  # names of the argument that is the number of rounds
    best: Callable[[Any, Rows, Rows, int], int]  # fits; returns how many are best
    off: Mapping[str, Any] = {}  # arguments by which a fit does not stop by itself


def check(model: BaseEstimator) -> None:
    """Refuse an unfitted estimator that cannot stop on rows that it is given.

    Raises:
        SettingsError: by its name.
    """
    if _library(model) is None:
        raise KEY.error(
            f"is set, and {type(model).__name__}, which train.estimator names, cannot "
            "stop on rows that it is given (HistGradientBoosting, XGBoost, LightGBM "
            "and CatBoost can): take one of those, or remove the entry"
        )


def part(frame: pd.DataFrame, contract: Contract, recipe: Train) -> Fold:
    """Return the rows to fit on, and those that say when to stop.

    Raises:
        ContractError: too few rows, or those to fit on lack a class.
    """
    assert recipe.early_stopping is not None
    fold = one_fold(frame, contract, recipe.early_stopping.share, recipe.seed)
    target = frame.iloc[fold.fit][contract.target]
    if lack := TASKS[contract.task].lacking(target, contract.classes):
        raise ContractError(
            f"of the training rows, {len(target):,} are left to fit on beside those of "
            f'train.early_stopping, and have {lack} of "{contract.target}": add data, '
            "or remove the entry"
        )
    return fold


def stop(
    model: BaseEstimator, fitted: Rows, left_out: Rows, patience: int
) -> dict[str, Any]:
    """Fit an estimator; return the arguments that are best on the rows left out.

    `patience` are the rounds without a gain after which it stops.
    """
    library = _library(model)
    assert library is not None
    count = library.best(model, fitted, left_out, patience)
    arguments = {_argument(model, library): max(1, count), **library.off}
    if library is LIBRARIES["catboost"]:  # whose step follows from the rounds
        arguments["learning_rate"] = float(getattr(model, "learning_rate_"))  # noqa: B009
    return arguments


def rounds(model: BaseEstimator) -> int:
    """Return how many rounds an estimator takes."""
    library = _library(model)
    assert library is not None
    return int(model.get_params()[_argument(model, library)])


def _argument(model: BaseEstimator, library: Library) -> str:
    """Return the name of the argument that is the number of rounds."""
    known = model.get_params()
    names = (name for name in library.rounds if name in known)
    return next(names, library.rounds[0])


def _library(model: BaseEstimator) -> Library | None:
    """Return how an estimator stops early, or None."""
    package, name = type(model).__module__.split(".")[0], type(model).__name__
    if package == "sklearn" and name.startswith("HistGradientBoosting"):
        return LIBRARIES["sklearn"]
    return LIBRARIES.get(package) if package != "sklearn" else None


def _histogram(model: Any, fitted: Rows, left_out: Rows, patience: int) -> int:
    """Return the rounds of scikit-learn's histogram gradient boosting."""
    model.set_params(early_stopping=True, n_iter_no_change=patience, scoring="loss")
    model.fit(
        fitted.X,
        fitted.y,
        sample_weight=fitted.weights,
        X_val=left_out.X,
        y_val=left_out.y,
        sample_weight_val=left_out.weights,
    )
    return int(np.argmax(model.validation_score_))  # the first is that of no round


def _xgboost(model: Any, fitted: Rows, left_out: Rows, patience: int) -> int:
    """Return the rounds of XGBoost."""
    model.set_params(early_stopping_rounds=patience)
    model.fit(
        fitted.X,
        fitted.y,
        sample_weight=fitted.weights,
        eval_set=[(left_out.X, left_out.y)],
        sample_weight_eval_set=_listed(left_out.weights),
        verbose=False,
    )
    return int(model.best_iteration) + 1


def _lightgbm(model: Any, fitted: Rows, left_out: Rows, patience: int) -> int:
    """Return the rounds of LightGBM."""
    from lightgbm import early_stopping

    model.fit(
        fitted.X,
        fitted.y,
        sample_weight=fitted.weights,
        eval_set=[(left_out.X, left_out.y)],
        eval_sample_weight=_listed(left_out.weights),
        callbacks=[early_stopping(patience, verbose=False)],
    )
    return int(model.best_iteration_)


def _catboost(model: Any, fitted: Rows, left_out: Rows, patience: int) -> int:
    """Return the rounds of CatBoost."""
    from catboost import Pool

    model.fit(
        Pool(fitted.X, fitted.y, weight=fitted.weights),
        eval_set=Pool(left_out.X, left_out.y, weight=left_out.weights),
        early_stopping_rounds=patience,
        verbose=False,
    )
    return int(model.get_best_iteration()) + 1


def _listed(weights: Weights) -> list[NDArray[np.float64]] | None:
    """Return the weights of the one part that there is."""
    return None if weights is None else [weights]


LIBRARIES = {
    "sklearn": Library(("max_iter",), _histogram, {"early_stopping": False}),
    "xgboost": Library(("n_estimators",), _xgboost, {"early_stopping_rounds": None}),
    "lightgbm": Library(("n_estimators",), _lightgbm),
    "catboost": Library(("iterations", "n_estimators", "num_boost_round"), _catboost),
}
