"""Fit an estimator, export it to ONNX, score the exported bytes; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING

import numpy as np

from mlgitops.pipeline import binning, convertible, monotonic, stopping, weights
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import inputs, truth
from mlgitops.pipeline.provenance import ESTIMATOR
from mlgitops.pipeline.schema import Location, near
from mlgitops.pipeline.settings import FILE, Train
from mlgitops.pipeline.task import TASKS
from mlgitops.pipeline.words import ROWS, is_of_texts

if TYPE_CHECKING:
    import pandas as pd
    from onnx import GraphProto
    from onnxruntime import InferenceSession
    from sklearn.base import BaseEstimator
    from sklearn.pipeline import Pipeline

Inputs = dict[str, np.ndarray]
PICKED = "picked_column"  # names of a graph beside the converter's own
SUMMED, LARGEST = "summed_probability", "largest_probability"
TAKEN = {"label", "variable", PICKED, SUMMED, LARGEST}
TAKEN |= {task.output for task in TASKS.values()}
CONVERTED = {  # the converter's output that is the prediction, and its column
    "binary": ("probabilities", 1),
    "multiclass": ("probabilities", None),
    "regression": ("variable", 0),
}


def build(contract: Contract, recipe: Train) -> Pipeline:
    """Return the unfitted pipeline that the train section of params.yaml names."""
    from sklearn.base import clone
    from sklearn.pipeline import Pipeline

    from mlgitops.pipeline import pretrained, tracing
    from mlgitops.pipeline.conversion import GraphFeatures
    from model import estimator

    kind = TASKS[contract.task].kind
    estimators = estimator.CLASSIFIERS if kind == "classifier" else estimator.REGRESSORS
    name, train_key = recipe.estimator, FILE.key("train")
    if name not in (*estimators, ESTIMATOR):
        allowed = f"{' or '.join(estimators)} (or add it to model/estimator.py)"
        raise train_key.key("estimator").wrong(allowed, name)
    names = {**estimator.REGRESSORS, **estimator.CLASSIFIERS, **estimators}
    for section, arguments in recipe.arguments.items():
        if section not in names:
            problem = f"is not an estimator; {near(section, names)}"
            raise train_key.line(section, recipe.section).error(problem)
        _check_arguments(names[section][1], arguments, train_key.key(section))
    if name == ESTIMATOR:
        pretrained.refuse_features(contract, recipe.columns)
        file = pretrained.load(recipe)
        return Pipeline([(ESTIMATOR, pretrained.model(recipe, contract, file))])
    features, unfitted = estimators[name]
    fresh = clone(unfitted)
    fresh.set_params(**recipe.arguments.get(name, {}))
    convertible.check(fresh, contract.task)
    columns, steps = list(recipe.columns), []
    if recipe.pretrained:
        frozen = pretrained.features(recipe, contract)
        contract, columns = frozen.contract(contract), frozen.names
        steps = [(ESTIMATOR, frozen)]
    if derived := tracing.load(contract, columns):
        contract, columns = derived.contract(contract), derived.names
        steps.append(("columns", derived))
    sparse = convertible.takes_sparse(fresh)
    graph = GraphFeatures(features(contract, columns), contract, columns, sparse)
    for part in (graph, fresh):
        part.set_params(**dict.fromkeys(convertible.seeds(part), recipe.seed))
    return Pipeline([*steps, ("features", graph), (name, fresh)])


def _check_arguments(
    model: BaseEstimator, arguments: Mapping[str, object], location: Location
) -> None:
    """Refuse arguments that an estimator does not have, and the seed, which is one."""
    known = {*model.get_params(), *signature(type(model).__init__).parameters}
    known -= {"self", "args", "kwargs"}
    for name in arguments:
        place = location.line(name, arguments)
        if name.split("__")[-1] in ("random_state", "random_seed"):
            raise place.error("is set by train.seed: remove the line")
        if name not in known:
            problem = f"is not an argument of {type(model).__name__}"
            raise place.error(f"{problem}; {near(name, sorted(known))}")


def fit(frame: pd.DataFrame, contract: Contract, recipe: Train) -> Pipeline:
    """Return the pipeline fitted on the rows in their order, and calibrated."""
    from mlgitops.pipeline.learning import learn  # it fits parts of the rows with this

    return learn(frame, contract, replace(recipe, worth=None)).pipeline


def fit_rows(frame: pd.DataFrame, contract: Contract, recipe: Train) -> Pipeline:
    """Return the pipeline fitted on the rows in their order, and nothing around it."""
    from mlgitops.pipeline import pretrained

    pipeline, task = build(contract, recipe), TASKS[contract.task]
    X, y = table(inputs(frame, contract, recipe.columns)), truth(frame, contract)
    counts = weights.sample_weights(frame, contract, recipe)
    arguments = weights.fit_arguments(pipeline[-1], counts, recipe)
    if recipe.pretrained:
        pretrained.demand_sound(pipeline, X, _blank(X, contract), contract)
    if recipe.estimator == ESTIMATOR:
        return pipeline.fit(X)
    try:
        with binning.sorted_once():
            if recipe.early_stopping:
                _stop_early(pipeline, frame, contract, recipe)
            features = pipeline[:-1].fit_transform(X, y)
            monotonic.constrain(pipeline, contract, recipe)
            pipeline[-1].fit(features, y, **arguments)
        task.fitted(pipeline, _blank(X, contract))
    except ValueError as error:
        reason = convertible.reason(error, pipeline[-1], contract, recipe.columns)
        raise FILE.error(f"the model cannot be fitted: {reason}") from error
    return pipeline


def _stop_early(
    pipeline: Pipeline, frame: pd.DataFrame, contract: Contract, recipe: Train
) -> None:
    """Set the rounds of an unfitted pipeline by a part of the rows."""
    stopping.check(pipeline[-1])
    fold, trial = stopping.part(frame, contract, recipe), build(contract, recipe)
    tables = [
        (table(inputs(part, contract, recipe.columns)), part)
        for part in (frame.iloc[fold.fit], frame.iloc[fold.left_out])
    ]
    trial[:-1].fit(tables[0][0], truth(tables[0][1], contract))
    monotonic.constrain(trial, contract, recipe)
    fitted, left_out = (
        stopping.Rows(
            trial[:-1].transform(X),
            truth(part, contract),
            weights.sample_weights(part, contract, recipe),
        )
        for X, part in tables
    )
    patience = recipe.early_stopping.rounds if recipe.early_stopping else 0
    found = stopping.stop(trial[-1], fitted, left_out, patience)
    pipeline[-1].set_params(**found)


def _blank(X: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Return a row as it is, and for each column one without it, where it may lack."""
    optional = [name for name in X if contract.columns[name].missing]
    rows = X.iloc[[0] * (1 + len(optional))].reset_index(drop=True)
    for index, name in enumerate(optional, 1):
        words = contract.columns[name].type in ("category", "text")
        rows.loc[index, name] = "" if words else np.nan
    return rows


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
    from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
    from sklearn.pipeline import Pipeline

    from mlgitops.pipeline import pretrained, tracing
    from mlgitops.pipeline.conversion import convert

    if isinstance(frozen := pipeline[-1], pretrained.Frozen):
        return frozen.exported
    if isinstance(derived := pipeline[0], tracing.Derived):
        rest = export(pipeline[1:], derived.contract(contract), derived.names)
        return derived.merge(rest, [input_name(name) for name in columns])
    task = TASKS[contract.task]
    source, index = CONVERTED[task.name]
    features, estimator = pipeline.steps
    whole = Pipeline([(features[0], features[1].features_), estimator])
    options = {id(whole): {"zipmap": False}} if index != 0 else None
    converted = convert(whole, contract, columns, options=options)
    model = select_model_inputs_outputs(converted, outputs=[source])
    graph, shape = model.graph, [None, len(contract.classes)]
    _rename_inputs(graph, [input_name(name) for name in columns])
    if index is not None:
        shape = [None]
        _pick(graph, source, index, task.output)
    if task.kind == "classifier":
        limit(graph, task.output)
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

    constant = helper.make_tensor(PICKED, TensorProto.INT64, [], [index])
    graph.initializer.append(constant)
    pick = helper.make_node("Gather", [source, constant.name], [output], axis=1)
    graph.node.append(pick)


def limit(graph: GraphProto, output: str) -> None:
    """Make no probability larger than 1: float32 adds ten times 0.1 to 1.0000001.

    What is not a number stays so.
    """
    from onnx import TensorProto, helper

    for node in graph.node:
        node.output[:] = [SUMMED if name == output else name for name in node.output]
        node.input[:] = [SUMMED if name == output else name for name in node.input]
    graph.initializer.append(helper.make_tensor(LARGEST, TensorProto.FLOAT, [], [1.0]))
    graph.node.append(helper.make_node("Min", [SUMMED, LARGEST], [output]))


def score(model: bytes, arrays: Inputs, output: str) -> np.ndarray:
    """Return the predictions of an ONNX model, float32 [n] or [n, k]; one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # no warnings about its nodes
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
