"""The models to choose from: `train.estimator` in params.yaml names one of them.

An entry is a name, the transformers before the estimator (`model/features.py`) and an
unfitted estimator. Its arguments stand in params.yaml, in a section of the same name
below `train`; one that is named there replaces the one set here. Where it takes a
`random_state`, that is `train.seed`.

Any estimator of scikit-learn, XGBoost, LightGBM and CatBoost that converts to ONNX
exactly; others are refused by name, with the nearest that does. `for_trees` is for
those that take missing values, `for_linear` for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge

from mlgitops.pipeline.contract import Contract
from model.features import for_linear, for_trees

Features = Callable[[Contract, Sequence[str]], ColumnTransformer]
Choices = dict[str, tuple[Features, BaseEstimator]]

CLASSIFIERS: Choices = {  # for the tasks binary and multiclass
    "hist_gradient_boosting": (
        for_trees,
        HistGradientBoostingClassifier(early_stopping=False),
    ),
    "logistic_regression": (for_linear, LogisticRegression()),
}
REGRESSORS: Choices = {  # for the task regression
    "hist_gradient_boosting": (
        for_trees,
        HistGradientBoostingRegressor(early_stopping=False),
    ),
    "ridge": (for_linear, Ridge()),
}
