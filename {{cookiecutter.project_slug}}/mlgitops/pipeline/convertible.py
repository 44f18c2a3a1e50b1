"""Which estimators cannot be exported exactly, and what to take instead; pure.

The tests of the machinery fit, export and serve every classifier and regressor of
scikit-learn, and hold these lists against what they find: `docs/estimators.md` of the
template is the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.schema import Location
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

FILE = Location("model/estimator.py")
SCORES = "has no predict_proba"
TARGETS = "is for several targets at once"
ABSENT = "has no converter to ONNX"
WRONG = "does not convert exactly"
CALIBRATED = "CalibratedClassifierCV around it"
REFUSED: Mapping[str, tuple[str, str]] = {  # of scikit-learn: why, and the nearest
    "CCA": (TARGETS, "PLSRegression"),
    "ClassifierChain": (TARGETS, "LogisticRegression"),
    "DummyClassifier": (ABSENT, "LogisticRegression"),
    "DummyRegressor": (ABSENT, "Ridge"),
    "FixedThresholdClassifier": (ABSENT, "its estimator, with train.threshold"),
    "GaussianProcessClassifier": (WRONG, "CalibratedClassifierCV(SVC())"),
    "GaussianProcessRegressor": (WRONG, "SVR"),
    "IsotonicRegression": (
        "is for a single column",
        "HistGradientBoostingRegressor(monotonic_cst=...)",
    ),
    "KernelRidge": (ABSENT, "SVR"),
    "LabelPropagation": (ABSENT, "KNeighborsClassifier"),
    "LabelSpreading": (ABSENT, "KNeighborsClassifier"),
    "LinearSVC": (SCORES, CALIBRATED),
    "MultiOutputClassifier": (TARGETS, "its estimator"),
    "MultiOutputRegressor": (TARGETS, "its estimator"),
    "MultiTaskElasticNet": (TARGETS, "ElasticNet"),
    "MultiTaskElasticNetCV": (TARGETS, "ElasticNetCV"),
    "MultiTaskLasso": (TARGETS, "Lasso"),
    "MultiTaskLassoCV": (TARGETS, "LassoCV"),
    "NearestCentroid": (ABSENT, "KNeighborsClassifier"),
    "NuSVC": (SCORES, CALIBRATED),
    "OneVsOneClassifier": (SCORES, "OneVsRestClassifier"),
    "OutputCodeClassifier": (SCORES, "OneVsRestClassifier"),
    "PLSCanonical": (TARGETS, "PLSRegression"),
    "PassiveAggressiveClassifier": (SCORES, CALIBRATED),
    "Perceptron": (SCORES, CALIBRATED),
    "RadiusNeighborsClassifier": (WRONG, "KNeighborsClassifier"),
    "RadiusNeighborsRegressor": (WRONG, "KNeighborsRegressor"),
    "RegressorChain": (TARGETS, "its estimator"),
    "RidgeClassifier": (SCORES, CALIBRATED),
    "RidgeClassifierCV": (SCORES, CALIBRATED),
    "SelfTrainingClassifier": (ABSENT, "its estimator, as every row has a target"),
    "TransformedTargetRegressor": (ABSENT, "GammaRegressor or TweedieRegressor"),
}
OF_TASK: Mapping[tuple[str, str], tuple[str, str]] = {  # refused for one task only
    ("binary", "LinearDiscriminantAnalysis"): (WRONG, "LogisticRegression"),
    ("multiclass", "TunedThresholdClassifierCV"): (
        "is for two classes",
        "its estimator",
    ),
}
FORESTS = "RandomForest or ExtraTrees of scikit-learn"
BOOSTING = ((None, "gbdt", "gbrt", "dart", "goss"), FORESTS)
LINES = ((None, False), "linear_tree=False")
ARGUMENTS: Mapping[tuple[str, str], tuple[tuple[object, ...], str]] = {
    # of a library's estimators: values that convert exactly, and what to take instead
    ("CatBoost", "grow_policy"): ((None, "SymmetricTree"), "LightGBM"),
    ("LGBM", "boosting_type"): BOOSTING,
    ("LGBM", "boosting"): BOOSTING,  # other names of the same
    ("LGBM", "boost"): BOOSTING,
    ("LGBM", "linear_tree"): LINES,
    ("LGBM", "linear_trees"): LINES,
    ("XGB", "booster"): (
        (None, "gbtree"),
        'LightGBM with boosting_type="dart", or LogisticRegression or Ridge for lines',
    ),
}
OF_CLASSES: Mapping[tuple[str, str], tuple[tuple[object, ...], str]] = {
    ("XGB", "num_parallel_tree"): ((None, 1), FORESTS),
}
DENSE = ("catboost.", "sklearn.neighbors.", "xgboost.")  # what `takes_sparse` says
USUAL = {  # where nothing nearer is known
    "classifier": "LogisticRegression or HistGradientBoostingClassifier",
    "regressor": "Ridge or HistGradientBoostingRegressor",
}


def check(model: BaseEstimator, task: str) -> None:
    """Refuse an unfitted estimator that cannot be exported exactly, by its name.

    Raises:
        ContractError: it, or an estimator in it, is one of those.
    """
    kind = TASKS[task].kind
    for part in parts(model):
        name, outer = type(part).__name__, part is model
        if why := _refused(part, task):
            problem, nearest = why
            if problem == SCORES and not outer:
                continue  # another estimator makes probabilities of its decisions
            raise FILE.error(f"{name} {problem}; take {nearest}")
        _check_arguments(part, kind)
        if not _has_converter(part):
            raise FILE.error(f"{name} {ABSENT}; take {USUAL[kind]}")
    if kind == "classifier" and not _has_probabilities(model):
        name = type(model).__name__
        nearest = CALIBRATED
        if name == "SGDClassifier":
            nearest = 'SGDClassifier(loss="log_loss")'
        raise FILE.error(f"{name} {SCORES}; take {nearest}")


def parts(model: BaseEstimator) -> Iterator[BaseEstimator]:
    """Yield an estimator and every one in it, such as those of a pipeline."""
    yield model
    for value in model.get_params(deep=False).values():
        for entry in value if isinstance(value, list | tuple) else [value]:
            for member in entry if isinstance(entry, tuple) else [entry]:
                if hasattr(member, "get_params") and not isinstance(member, type):
                    yield from parts(member)


def takes_sparse(model: BaseEstimator) -> bool:
    """Tell whether an estimator, and all in it, does the same with a sparse matrix.

    To XGBoost what such a matrix leaves out is missing and not 0; neighbours keep the
    rows as they are, which do not convert; CatBoost takes matrices of an older kind.
    """
    from sklearn.utils import get_tags

    return all(
        get_tags(part).input_tags.sparse and not type(part).__module__.startswith(DENSE)
        for part in parts(model)
        if hasattr(part, "predict")
    )


def seeds(model: BaseEstimator) -> list[str]:
    """Return the arguments that set where random numbers start, however deep.

    An estimator may take one that `get_params` does not list until it is set.
    """
    names = [
        name
        for name in model.get_params()
        if name == "random_state" or name.endswith("__random_state")
    ]
    takes = "random_state" in signature(type(model).__init__).parameters
    return names if names or not takes else ["random_state"]


def reason(
    error: Exception, model: BaseEstimator, contract: Contract, columns: Sequence[str]
) -> str:
    """Return why an estimator cannot be fitted on the features, and how to encode."""
    text, name = str(error).strip(), type(model).__name__
    if "NaN" in text:
        optional = [n for n in columns if contract.columns[n].missing]
        return (
            f"{name} takes no missing values, and contract.yaml lets "
            f"{', '.join(optional) or 'a column'} be missing: give it for_linear in "
            "model/estimator.py, which fills them, or set missing: false"
        )
    if "could not convert string" in text:
        return (
            f"{name} takes numbers only: encode the categories with for_trees (codes) "
            "or for_linear (indicators) in model/features.py"
        )
    if "egative values" in text:
        return (
            f"{name} takes no negative features: give it MinMaxScaler(clip=True) in "
            "place of StandardScaler(), in model/features.py"
        )
    return text.splitlines()[0] if text else type(error).__name__


def _refused(part: Any, task: str) -> tuple[str, str] | None:
    """Return why an estimator is refused by name, and the nearest that is not."""
    name = type(part).__name__
    if not type(part).__module__.startswith("sklearn."):
        return None
    return REFUSED.get(name) or OF_TASK.get((task, name))


def _check_arguments(part: Any, kind: str) -> None:
    """Refuse an argument of XGBoost, LightGBM or CatBoost that does not convert.

    Raises:
        ContractError: with the argument, and what to take instead.
    """
    name, limits = type(part).__name__, dict(ARGUMENTS)
    if type(part).__module__.split(".")[0] not in ("catboost", "lightgbm", "xgboost"):
        return
    if kind == "classifier":
        limits |= OF_CLASSES
    given = part.get_params()
    for (prefix, argument), (allowed, nearest) in limits.items():
        value = given.get(argument, allowed[0])
        if name.startswith(prefix) and value not in allowed:
            what = f"{name} with {argument}={value!r}"
            raise FILE.error(f"{what} {WRONG}; take {nearest}")


def _has_probabilities(model: Any) -> bool:
    """Tell whether an unfitted classifier will have probabilities."""
    if type(model).__name__ == "StackingClassifier":  # which asks its fitted last one
        last = model.final_estimator
        return last is None or _has_probabilities(last)
    return hasattr(model, "predict_proba")


def _has_converter(part: Any) -> bool:
    """Tell whether the converter knows a class; what only splits rows needs none."""
    from skl2onnx._supported_operators import sklearn_operator_name_map

    from mlgitops.pipeline import boosters

    boosters.register()
    predicts = hasattr(part, "predict") or hasattr(part, "transform")
    return not predicts or type(part) in sklearn_operator_name_map
