"""Fit an estimator, export it to ONNX, score the exported bytes; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import inputs, truth
from mlgitops.pipeline.schema import near
from mlgitops.pipeline.settings import FILE, Train
from mlgitops.pipeline.task import TASKS
from mlgitops.pipeline.words import ROWS, is_of_texts

if TYPE_CHECKING:
    import pandas as pd
    from onnx import GraphProto
    from onnxruntime import InferenceSession
    from sklearn.pipeline import Pipeline

OPSET = {"": 18, "ai.onnx.ml": 3}  # fixed, so that the same model has the same bytes
Inputs = dict[str, np.ndarray]
TAKEN = {"label", "variable", "zero", "one", *(t.output for t in TASKS.values())}
TOKENIZERS = {"StringNormalizer", "Tokenizer"}  # of scikit-learn's own vectorizers
CONVERTED = {  # the converter's output that is the prediction, and its column
    "binary": ("probabilities", 1),
    "multiclass": ("probabilities", None),
    "regression": ("variable", 0),
}


def build(contract: Contract, recipe: Train) -> Pipeline:
    """Return the unfitted pipeline that the train section of params.yaml names."""
    from sklearn.base import clone
    from sklearn.pipeline import Pipeline

    from mlgitops.pipeline import tracing
    from model import estimator

    kind = TASKS[contract.task].kind
    estimators = estimator.CLASSIFIERS if kind == "classifier" else estimator.REGRESSORS
    name, train_key = recipe.estimator, FILE.key("train")
    if name not in estimators:
        allowed = f"{' or '.join(estimators)} (or add it to model/estimator.py)"
        raise train_key.key("estimator").wrong(allowed, name)
    names = {**estimator.CLASSIFIERS, **estimator.REGRESSORS}
    for section in recipe.arguments:
        if section not in names:
            problem = f"is not an estimator; {near(section, names)}"
            raise train_key.key(section).error(problem)
    features, unfitted = estimators[name]
    fresh = clone(unfitted)
    parameters = fresh.get_params()
    arguments = recipe.arguments.get(name, {})
    for argument in arguments:
        if argument not in parameters:
            problem = f"is not an argument of {type(fresh).__name__}"
            raise (
                train_key.key(name)
                .key(argument)
                .error(f"{problem}; {near(argument, parameters)}")
            )
    seed = {"random_state": recipe.seed} if "random_state" in parameters else {}
    fresh.set_params(**{**arguments, **seed})
    derived = tracing.load(contract, recipe.columns)
    if derived is None:
        steps = [("features", features(contract, recipe.columns)), (name, fresh)]
        return Pipeline(steps)
    transformer = features(derived.contract(contract), derived.names)
    steps = [("columns", derived), ("features", transformer), (name, fresh)]
    return Pipeline(steps)


def fit(frame: pd.DataFrame, contract: Contract, recipe: Train) -> Pipeline:
    """Return the pipeline fitted on the rows in their order."""
    pipeline = build(contract, recipe)
    X = table(inputs(frame, contract, recipe.columns))
    try:
        return pipeline.fit(X, truth(frame, contract))
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise FILE.error(f"the model cannot be fitted: {reason}") from error


def table(arrays: Inputs) -> pd.DataFrame:
    """Return the arrays of `inputs` as the table that the fitted pipeline takes."""
    import pandas as pd

    return pd.DataFrame({name: array[:, 0] for name, array in arrays.items()})


def export(pipeline: Pipeline, contract: Contract, columns: Sequence[str]) -> bytes:
    """Return the ONNX model: an [n, 1] input per column, one output, named by the task.

    The inputs stand in the order of the columns, which is how readers know them: any
    text can be the name of a column, but not of an input (`input_name`).
    The output is "probability" [n], "probabilities" [n, k] in the contract's order, or
    "value" [n]; the converter's other outputs are dropped.
    """
    from onnx import TensorProto, checker, helper
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import (
        DoubleTensorType,
        FloatTensorType,
        StringTensorType,
    )
    from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs

    from mlgitops.pipeline import datetimes, texts, tracing

    if isinstance(derived := pipeline[0], tracing.Derived):
        rest = export(pipeline[1:], derived.contract(contract), derived.names)
        return derived.merge(rest, [input_name(name) for name in columns])
    datetimes.register()
    texts.register()
    opset = {**OPSET, "": texts.OPSET} if contract.kind("text", columns) else OPSET
    kinds = {"category": StringTensorType, "datetime": DoubleTensorType}
    kinds["text"] = StringTensorType
    types = {n: kinds.get(contract.columns[n].type, FloatTensorType) for n in columns}
    task = TASKS[contract.task]
    source, index = CONVERTED[task.name]
    converted = convert_sklearn(
        pipeline,
        name=contract.name,
        initial_types=[(name, types[name]([None, 1])) for name in columns],
        options={id(pipeline): {"zipmap": False}} if index != 0 else None,
        target_opset=opset,
    )
    model = select_model_inputs_outputs(converted, outputs=[source])
    _refuse_tokenizers(model.graph)
    graph, shape = model.graph, [None, len(contract.classes)]
    _rename_inputs(graph, [input_name(name) for name in columns])
    if index is not None:
        shape = [None]
        _pick(graph, source, index, task.output)
    del graph.output[:]
    output = helper.make_tensor_value_info(task.output, TensorProto.FLOAT, shape)
    graph.output.append(output)
    opsets = sorted(model.opset_import, key=lambda opset: opset.domain)
    del model.opset_import[:]  # the converter lists them in the order of a set
    model.opset_import.extend(opsets)
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def input_name(column: str) -> str:
    """Return the name of a column's input: its own, where that is safe in a graph."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", column)
    if plain and column not in TAKEN and not re.fullmatch("column_[0-9a-f]*", column):
        return column
    return f"column_{column.encode().hex()}"


def _refuse_tokenizers(graph: GraphProto) -> None:
    """Refuse operators that read a text in another way than scikit-learn does."""
    if found := sorted({node.op_type for node in graph.node} & TOKENIZERS):
        raise ContractError(
            f"model/features.py: a text step is exported as {' and '.join(found)}, "
            "which read letters by the machine's locale and words by other rules than "
            "scikit-learn; use Texts of mlgitops.pipeline.texts, as the example does "
            "(its words are those of the server)"
        )


def _rename_inputs(graph: GraphProto, names: Sequence[str]) -> None:
    """Give the graph's inputs these names, wherever they are read."""
    renamed = {entry.name: name for entry, name in zip(graph.input, names, strict=True)}
    for entry in graph.input:
        entry.name = renamed[entry.name]
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]


def _pick(graph: GraphProto, source: str, index: int, output: str) -> None:
    """Make one column of the converter's output, [n, columns], the prediction [n]."""
    from onnx import TensorProto, helper

    name = ("zero", "one")[index]
    constant = helper.make_tensor(name, TensorProto.INT64, [], [index])
    graph.initializer.append(constant)
    pick = helper.make_node("Gather", [source, constant.name], [output], axis=1)
    graph.node.append(pick)


def score(model: bytes, arrays: Inputs, output: str) -> np.ndarray:
    """Return the predictions of an ONNX model, float32 [n] or [n, k]; one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    predictions = run(session, feed(session, arrays), output, is_of_texts(model))
    return np.asarray(predictions, dtype=np.float32)


def run(
    session: InferenceSession, inputs: Inputs, output: str, texts: bool
) -> np.ndarray:
    """Return an output for all rows; `texts` says that the model splits some."""
    rows = len(next(iter(inputs.values())))
    if not texts or rows <= ROWS:
        return np.asarray(session.run([output], inputs)[0])
    batches = [slice(start, start + ROWS) for start in range(0, rows, ROWS)]
    parts = ({name: each[rows] for name, each in inputs.items()} for rows in batches)
    return np.concatenate([session.run([output], part)[0] for part in parts])


def feed(session: InferenceSession, arrays: Inputs) -> Inputs:
    """Return the arrays of `inputs` under the names of a file's inputs, in order.

    Raises:
        ContractError: the file has inputs of these names in another order.
    """
    names = [entry.name for entry in session.get_inputs()]
    if names != list(arrays) and sorted(names) == sorted(arrays):
        raise ContractError("the model's inputs are not in the order of its manifest")
    return dict(zip(names, arrays.values(), strict=True))
