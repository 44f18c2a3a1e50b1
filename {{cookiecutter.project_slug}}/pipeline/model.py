"""Fit an estimator, export it to ONNX, score the exported bytes; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.contract import Contract, ContractError
from pipeline.data import inputs

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

OPSET = {"": 18, "ai.onnx.ml": 3}  # fixed, so that the same model has the same bytes
Inputs = dict[str, np.ndarray]


def build(contract: Contract, params: Mapping[str, Any]) -> Pipeline:
    """Return the unfitted pipeline that the train section of params.yaml names."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline

    from pipeline import features

    known: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "hist_gradient_boosting": (
            features.for_trees,
            HistGradientBoostingClassifier,
            {"early_stopping": False},
        ),
        "logistic_regression": (features.for_linear, LogisticRegression, {}),
    }
    name = params["estimator"]
    if name not in known:
        raise ContractError(
            f'params.yaml: train.estimator is "{name}"; type {" or ".join(known)}.'
        )
    encode, estimator, fixed = known[name]
    try:
        chosen = estimator(**(params.get(name) or {}), **fixed)
    except TypeError as error:
        raise ContractError(f"params.yaml: train.{name}: {error}.") from error
    chosen.set_params(random_state=params["seed"])
    return Pipeline([("features", encode(contract, params["columns"])), (name, chosen)])


def fit(frame: pd.DataFrame, contract: Contract, params: Mapping[str, Any]) -> Pipeline:
    """Return the pipeline fitted on the frame's rows, in the order they come."""
    pipeline = build(contract, params)
    X = table(inputs(frame, contract, params["columns"]))
    try:
        return pipeline.fit(X, frame[contract.target].to_numpy())
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise ContractError(
            f"params.yaml: the model cannot be fitted: {reason}"
        ) from error


def table(arrays: Inputs) -> pd.DataFrame:
    """Return the arrays of `inputs` as the table that the fitted pipeline takes."""
    import pandas as pd

    return pd.DataFrame({name: array[:, 0] for name, array in arrays.items()})


def export(pipeline: Pipeline, contract: Contract, columns: list[str]) -> bytes:
    """Return the ONNX model: an [n, 1] input per column, one output "probability" [n].

    The class labels are dropped and P(target = 1) is sliced out of the two columns.
    """
    from onnx import TensorProto, checker, helper
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs

    words = set(contract.kind("category", columns))
    types = {True: StringTensorType([None, 1]), False: FloatTensorType([None, 1])}
    converted = convert_sklearn(
        pipeline,
        name=contract.name,
        initial_types=[(name, types[name in words]) for name in columns],
        options={id(pipeline): {"zipmap": False}},
        target_opset=OPSET,
    )
    model = select_model_inputs_outputs(converted, outputs=["probabilities"])
    graph = model.graph
    graph.initializer.append(helper.make_tensor("one", TensorProto.INT64, [], [1]))
    pick = helper.make_node("Gather", ["probabilities", "one"], ["probability"], axis=1)
    graph.node.append(pick)
    del graph.output[:]
    output = helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None])
    graph.output.append(output)
    opsets = sorted(model.opset_import, key=lambda opset: opset.domain)
    del model.opset_import[:]  # the converter lists them in the order of a set
    model.opset_import.extend(opsets)
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def score(model: bytes, arrays: Inputs) -> np.ndarray:
    """Return P(target = 1), float32 [n], as the exported model answers; one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    feed = {entry.name: arrays[entry.name] for entry in session.get_inputs()}
    return np.asarray(session.run(["probability"], feed)[0], dtype=np.float32)
