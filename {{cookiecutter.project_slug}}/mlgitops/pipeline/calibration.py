"""Corrects probabilities on predictions of rows that were not fitted; pure.

`train.calibration` is `sigmoid`, Platt (1999), Probabilistic outputs for support vector
machines, or `isotonic`, Zadrozny and Elkan (2002), Transforming classifier scores into
accurate multiclass probability estimates, KDD. Both are scikit-learn's, around the one
model that is fitted on all training rows. They count every row once: `train.weights`
distort probabilities, and this puts them right.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from mlgitops.pipeline.contract import ContractError

if TYPE_CHECKING:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.isotonic import IsotonicRegression
    from sklearn.pipeline import Pipeline

    from mlgitops.pipeline.out_of_fold import OutOfFold

Array = NDArray[np.float64]
Method = Literal["decision_function", "predict_proba"]
DECISIONS: Literal["decision_function"] = "decision_function"
PROBABILITIES: Literal["predict_proba"] = "predict_proba"
STEPS = 100  # of the scores' range: no closer are two points of an isotonic curve
INTERPOLATE = "_transform_isotonic"  # what writes such a curve into a graph


def calibrate(left_out: OutOfFold, y: Array, method: str) -> CalibratedClassifierCV:
    """Return what corrects the scores of rows that were left out.

    `y` are their targets, [n]. It is around those scores until `put_around`.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    scored = {DECISIONS: _Decisions, PROBABILITIES: _Probabilities}
    stand_in = scored[left_out.method](left_out.scores, np.unique(y))
    every = np.arange(len(y))
    calibrated = CalibratedClassifierCV(
        FrozenEstimator(stand_in), method=method, ensemble=False, cv=[(every, every)]
    ).fit(every[:, None], y)
    if method == "sigmoid":
        _demand_rising(calibrated)
    if method == "isotonic":
        (pair,) = calibrated.calibrated_classifiers_
        pair.calibrators = [_coarser(curve) for curve in pair.calibrators]
    return calibrated


def _demand_rising(calibrated: CalibratedClassifierCV) -> None:
    """Refuse a sigmoid that falls: it would turn the order of predictions round.

    Platt (1999) fits 1 / (1 + exp(A score + B)), and A may come out positive where a
    model ranks rows that were left out worse than chance.

    Raises:
        ContractError: it falls, for any class.
    """
    (pair,) = calibrated.calibrated_classifiers_
    if any(curve.a_ > 0 for curve in pair.calibrators):
        raise ContractError(
            "train.calibration: of the rows that were left out, those with higher "
            "scores are less often of the class, so that a sigmoid would turn the "
            "order of predictions round: look at the model, or remove the line"
        )


def out_of_fold_probabilities(calibrated: CalibratedClassifierCV) -> Array:
    """Return the corrected probabilities of the rows that were left out, [n, k]."""
    (pair,) = calibrated.calibrated_classifiers_
    rows = len(pair.estimator.estimator.scores)
    return np.asarray(calibrated.predict_proba(np.arange(rows)[:, None]))


def put_around(calibrated: CalibratedClassifierCV, pipeline: Pipeline) -> None:
    """Let what was calibrated correct a fitted pipeline's scores from here on.

    It takes the place of the last step, and is around what was there.
    """
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import Pipeline

    holder = pipeline
    while isinstance(holder[-1], Pipeline):
        holder = holder[-1]
    name, model = holder.steps[-1]
    if _method(model) == PROBABILITIES:  # also where the converter has no other
        model.decision_function = None
    (pair,) = calibrated.calibrated_classifiers_
    calibrated.estimator, pair.estimator = FrozenEstimator(model), model
    calibrated.n_features_in_ = model.n_features_in_
    holder.steps[-1] = (name, calibrated)


def scored_by(pipeline: Pipeline) -> Method:
    """Return which scores of a fitted pipeline are calibrated.

    Those that scikit-learn takes, if they are in the exported file too.
    """
    from sklearn.pipeline import Pipeline

    model = pipeline
    while isinstance(model, Pipeline):
        model = model[-1]
    return _method(model)


def _method(model: Any) -> Method:
    """Return which scores of a fitted classifier there are, in the file too."""
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common._registration import get_converter

    converter = get_converter(sklearn_operator_name_map[type(model)])
    options = converter.get_allowed_options() or {}
    exported = hasattr(model, DECISIONS) and "raw_scores" in options
    return DECISIONS if exported else PROBABILITIES


class _Scored(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # no types
    """Stands for a model whose scores of some rows are known; a row is its number."""

    def __init__(self, scores: Array, classes: Array) -> None:
        self.scores, self.classes = scores, classes
        self.classes_, self.n_features_in_ = classes, 1

    def fit(self, X: Array, y: Array) -> Self:
        """Return the model, which is fitted."""
        return self

    def predict(self, X: Array) -> Array:
        """Return the scores of rows, which is all that is known."""
        return np.asarray(self.scores[np.asarray(X)[:, 0]])


class _Decisions(_Scored):
    """Has scores of any range."""

    def decision_function(self, X: Array) -> Array:
        """Return the scores of rows, [n] or [n, k]."""
        return self.predict(X)


class _Probabilities(_Scored):
    """Has probabilities."""

    def predict_proba(self, X: Array) -> Array:
        """Return the probabilities of rows, [n, k]."""
        return self.predict(X)


def _coarser(curve: IsotonicRegression) -> IsotonicRegression:
    """Return an isotonic curve through fewer points, none of them close to the next.

    Between close points it is so steep that the seventh digit of a score, which differs
    between two machines, would change the third of a probability.
    """
    from sklearn.isotonic import IsotonicRegression

    low, high = float(curve.X_min_), float(curve.X_max_)
    wanted = np.union1d(curve.X_thresholds_, np.linspace(low, high, STEPS // 4))
    points: list[float] = []
    for point in map(float, wanted.astype(np.float32)):
        if not points or point - points[-1] >= (high - low) / STEPS:
            points.append(point)
    x = np.array(points)
    return IsotonicRegression(out_of_bounds="clip").fit(x, curve.predict(x))


@contextmanager
def exact_isotonic() -> Iterator[None]:
    """Have the converter write isotonic curves as they are, while this is open.

    skl2onnx 1.20 takes the nearest of a curve's points, scikit-learn what lies between
    the two: https://github.com/onnx/sklearn-onnx.
    """
    from skl2onnx.operator_converters import calibrated_classifier_cv as converter

    nearest = getattr(converter, INTERPOLATE)
    setattr(converter, INTERPOLATE, _interpolate)
    try:
        yield
    finally:
        setattr(converter, INTERPOLATE, nearest)


def _interpolate(
    scope: Any, container: Any, model: Any, scores: str, k: int, *types: Any
) -> str:
    """Write a curve over scores [n, 1]: a sum of ramps between its points, float64."""
    from onnx import TensorProto

    x = np.asarray(model.calibrators[k].X_thresholds_, np.float64)
    y = np.asarray(model.calibrators[k].y_thresholds_, np.float64)
    widths, rises = np.diff(x), np.diff(y)

    def constant(name: str, values: Any, shape: list[int]) -> str:
        unique = scope.get_unique_variable_name(name)
        numbers = np.asarray(values).ravel().tolist()
        container.add_initializer(unique, TensorProto.DOUBLE, shape, numbers)
        return str(unique)

    def node(kind: str, *inputs: str, **attributes: Any) -> str:
        output = scope.get_unique_variable_name(f"isotonic_{kind.lower()}")
        name = scope.get_unique_operator_name(kind)
        container.add_node(kind, list(inputs), output, name=name, **attributes)
        return str(output)

    first = constant("isotonic_first", y[0], [1])
    if not len(widths):
        widths, rises, x = np.ones(1), np.zeros(1), x[:1].repeat(2)
    count = len(widths)
    columns = node("Cast", scores, to=TensorProto.DOUBLE)
    shape = scope.get_unique_variable_name("isotonic_shape")
    container.add_initializer(shape, TensorProto.INT64, [2], [-1, 1])
    columns = node("Reshape", columns, shape)
    past = node("Sub", columns, constant("isotonic_x", x[:-1], [count]))
    share = node("Div", past, constant("isotonic_widths", widths, [count]))
    ends = (constant("isotonic_zero", 0.0, []), constant("isotonic_one", 1.0, []))
    share = node("Clip", share, *ends)
    risen = node("MatMul", share, constant("isotonic_rises", rises, [count, 1]))
    return node("Cast", node("Add", risen, first), to=TensorProto.FLOAT)
