"""Teaches the converter XGBoost, LightGBM and CatBoost, each where it is imported.

They are optional groups of `pyproject.toml`; what no estimator uses is not installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

CLASSIFIER = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
Convert = Callable[[Any, Any, Any], None]


def below(thresholds: Any) -> list[float]:
    """Return the largest float32 that is not above each threshold.

    For every float32 x, x <= threshold exactly if x <= that number.
    """
    exact = np.asarray(thresholds, np.float64)
    rounded = exact.astype(np.float32)
    lower = np.nextafter(rounded, np.float32(-np.inf))
    return [float(number) for number in np.where(rounded > exact, lower, rounded)]


def register() -> None:
    """Tell the converter of each library that is imported; again is no harm."""
    if "xgboost" in sys.modules:
        _register_xgboost()
    if "lightgbm" in sys.modules:
        _register_lightgbm()
    if "catboost" in sys.modules:
        _register_catboost()


def _add(
    classifier: type,
    regressor: type,
    name: str,
    convert: Convert,
    parse: Callable[..., list[Any]] | None = None,
) -> None:
    """Register the two estimators of a library; `parse` is that of its classifier."""
    from skl2onnx import update_registered_converter as update
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    shapes = calculate_linear_classifier_output_shapes
    about: dict[str, Any] = {"options": CLASSIFIER, "parser": parse}
    update(classifier, f"{name}Classifier", shapes, convert, **about)
    shapes = calculate_linear_regressor_output_shapes
    update(regressor, f"{name}Regressor", shapes, convert, options={"split": None})


def _register_xgboost() -> None:
    """Register XGBoost, whose thresholds are float32 and are kept."""
    import xgboost
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

    _add(xgboost.XGBClassifier, xgboost.XGBRegressor, "XGBoostXGB", convert_xgboost)


def _register_lightgbm() -> None:
    """Register LightGBM, whose thresholds are float64."""
    import lightgbm
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import (
        convert_lightgbm,
    )

    def convert(scope: Any, operator: Any, container: Any) -> None:
        add_node = container.add_node

        def add_exact(*args: Any, **attributes: Any) -> None:
            if "nodes_values" in attributes:
                attributes["nodes_values"] = below(attributes["nodes_values"])
            add_node(*args, **attributes)

        container.add_node = add_exact
        try:
            convert_lightgbm(scope, operator, container)
        finally:
            container.add_node = add_node

    _add(lightgbm.LGBMClassifier, lightgbm.LGBMRegressor, "LightGbmLGBM", convert)


def _register_catboost() -> None:
    """Register CatBoost, which exports its own trees as one node."""
    import catboost

    def convert(scope: Any, operator: Any, container: Any) -> None:
        from catboost.utils import convert_to_onnx_object
        from onnx.helper import get_attribute_value

        (node, *_) = convert_to_onnx_object(operator.raw_operator).graph.node
        attributes = {a.name: get_attribute_value(a) for a in node.attribute}
        container.add_node(
            node.op_type,
            [operator.inputs[0].full_name],
            [output.full_name for output in operator.outputs],
            op_domain="ai.onnx.ml",
            op_version=1,
            name=scope.get_unique_operator_name("CatBoost"),
            **attributes,
        )

    classifier, regressor = catboost.CatBoostClassifier, catboost.CatBoostRegressor
    _add(classifier, regressor, "CatBoost", convert, _parse_classifier)


def _parse_classifier(
    scope: Any, model: Any, inputs: list[Any], custom_parsers: object = None
) -> list[Any]:
    """Declare label and probabilities, of what is no classifier by scikit-learn's."""
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

    operator = scope.declare_local_operator("CatBoostClassifier", model)
    operator.inputs.extend(inputs)
    types = {"label": Int64TensorType(), "probabilities": FloatTensorType()}
    for name, kind in types.items():
        operator.outputs.append(scope.declare_local_variable(name, kind))
    return list(operator.outputs)
