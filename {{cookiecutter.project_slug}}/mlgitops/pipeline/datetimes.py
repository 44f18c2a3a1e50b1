"""Turns times into features, in scikit-learn and in the exported ONNX file alike; pure.

There is one formula, `parts`: numpy computes it in training, and the converter runs it
on the names of a graph's values, which gives the nodes. All of it is in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FEATURES = ("days", "hour", "weekday", "day_of_year")
DAY = 86_400.0
ALIAS = "MlgitopsDatetimes"  # the converter's name of the operator


def parts(seconds: Any, floor: Callable[[Any], Any]) -> list[Any]:
    """Return days since 1970, hour of the day, weekday (0 Monday), day of the year.

    Of seconds since 1970, UTC. Days are whole, hours have a fraction. The day of the
    year follows Howard Hinnant's `civil_from_days`, whose years begin in March.
    """
    days = floor(seconds / DAY)
    hour = (seconds - days * DAY) / 3600.0
    weekday = days + 3.0 - floor((days + 3.0) / 7.0) * 7.0
    since = days + 719_468.0  # since 0000-03-01
    of_era = since - floor(since / 146_097.0) * 146_097.0  # 400 years are an era
    leaps = floor(of_era / 1460.0) - floor(of_era / 36_524.0)
    year = floor((of_era - leaps - floor(of_era / 146_096.0)) / 365.0)
    start = year * 365.0 + floor(year / 4.0) - floor(year / 100.0)
    from_march = of_era - start  # 0 on the first of March
    next_year = floor(from_march / 306.0)  # 1 in January and February
    earlier = year - 1.0
    leap = floor(year / 4.0) - floor(earlier / 4.0) + floor(year / 400.0)
    leap = leap - floor(earlier / 400.0) - floor(year / 100.0) + floor(earlier / 100.0)
    before = (leap + 59.0) * (1.0 - next_year) - next_year * 306.0
    return [days, hour, weekday, from_march + 1.0 + before]


class Datetimes(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # no types
    """Four float32 features of each column of seconds since 1970: `FEATURES`.

    All columns' days come first, then their hours, weekdays and days of the year. What
    is missing (NaN) stays NaN.
    """

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Return the transformer, which learns nothing but how many columns it has."""
        self.n_features_in_ = np.shape(X)[1]
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Return the features, float32 [n, 4 * columns]."""
        values = parts(np.asarray(X, np.float64), np.floor)
        return np.concatenate(values, axis=1).astype(np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the features' names."""
        if input_features is None:
            input_features = [f"x{n}" for n in range(self.n_features_in_)]
        names = [f"{name}_{part}" for part in FEATURES for name in input_features]
        return np.array(names, dtype=object)


class _Value:
    """A float64 value of a graph: what is computed with it becomes a node."""

    def __init__(self, name: str, scope: Any, container: Any) -> None:
        """`scope` and `container` are the converter's."""
        self.name, self.scope, self.container = name, scope, container

    def node(self, operator: str, *others: _Value | float, **attributes: int) -> _Value:
        """Return what an operator makes of this value and others."""
        names = [self.name, *map(self._name_of, others)]
        output = self.scope.get_unique_variable_name("datetime")
        name = self.scope.get_unique_operator_name(operator)
        about = {"op_version": 13, "name": name, **attributes}
        self.container.add_node(operator, names, [output], **about)
        return _Value(output, self.scope, self.container)

    def _name_of(self, other: _Value | float) -> str:
        """Return the name of a value; a number becomes a constant of the graph."""
        from onnx import TensorProto

        if isinstance(other, _Value):
            return other.name
        name = str(self.scope.get_unique_variable_name("datetime_constant"))
        self.container.add_initializer(name, TensorProto.DOUBLE, [1], [float(other)])
        return name

    def __add__(self, other: _Value | float) -> _Value:
        return self.node("Add", other)

    def __sub__(self, other: _Value | float) -> _Value:
        return self.node("Sub", other)

    def __rsub__(self, other: float) -> _Value:
        return self.node("Neg").node("Add", other)

    def __mul__(self, other: _Value | float) -> _Value:
        return self.node("Mul", other)

    def __truediv__(self, other: _Value | float) -> _Value:
        return self.node("Div", other)


def _parse(
    scope: Any, model: Datetimes, inputs: list[Any], custom_parsers: object = None
) -> list[Any]:
    """Declare the features as float32: by default they would have the inputs' type."""
    from skl2onnx.common.data_types import FloatTensorType

    operator = scope.declare_local_operator(ALIAS, model)
    operator.inputs.extend(inputs)
    operator.outputs.append(
        scope.declare_local_variable("datetime_features", FloatTensorType())
    )
    return list(operator.outputs)


def _shape(operator: Any) -> None:
    """Tell the converter the shape of the features."""
    from skl2onnx.common.data_types import FloatTensorType

    columns = operator.raw_operator.n_features_in_
    operator.outputs[0].type = FloatTensorType([None, len(FEATURES) * columns])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the formula's nodes to the graph."""
    from onnx import TensorProto

    value = _Value(operator.inputs[0].onnx_name, scope, container)
    first, *others = parts(value, lambda v: v.node("Floor"))
    joined = first.node("Concat", *others, axis=1)
    name = scope.get_unique_operator_name("Cast")
    output = operator.outputs[0].full_name
    about = {"op_version": 13, "name": name, "to": TensorProto.FLOAT}
    container.add_node("Cast", [joined.name], [output], **about)


def register() -> None:
    """Tell the converter of this transformer; again is no harm."""
    from skl2onnx import update_registered_converter

    update_registered_converter(
        Datetimes, ALIAS, _shape, _convert, parser=_parse, overwrite=True
    )
