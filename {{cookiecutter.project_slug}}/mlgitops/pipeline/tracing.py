"""Makes the function `features` of model/features.py a part of the model file; pure.

It is called with arrays that stand for columns (`pipeline/arrays.py`), which gives an
ONNX graph. Training runs this graph (`Derived`), and `Derived.merge` puts the same
nodes before the estimator's: a row has the same features there and in production.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import isfunction
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from mlgitops.pipeline import arrays, purity, symbolic
from mlgitops.pipeline.arrays import Columns
from mlgitops.pipeline.contract import Column, Contract, ContractError
from mlgitops.pipeline.schema import one_line
from mlgitops.pipeline.symbolic import (
    DOUBLE,
    INPUT,
    Array,
    Graph,
    Kind,
    Untraceable,
)

if TYPE_CHECKING:
    import pandas as pd
    from onnx import NodeProto

Function = Callable[[Columns], Columns]
KINDS: dict[str, Kind] = {"category": "text", "text": "text", "datetime": "time"}
TYPES: dict[Kind, int] = {"number": 1, "text": 8, "time": DOUBLE}  # onnx.TensorProto's
OPSET = {"": 13, "ai.onnx.ml": 2}  # the oldest that have the operators of features
IR = 7  # the version of the format that is of these
FEATURE = Column("number", missing=True)  # what is computed, in a contract's words
LARGEST = float(np.finfo(np.float32).max)
BLOCK = 16_384  # rows that are computed together: as many as a cache holds
TAIL = "estimator/"  # begins the names of the estimator's values in a merged graph
ADVICE = (
    "a feature is made of its columns with operators and the functions of "
    "mlgitops.pipeline.arrays"
)


class Derived(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # no types
    """Computes the features of a table with the graph that is exported.

    `model` is this graph as an ONNX file; `types` has the tensor type of each input of
    the model, by column; `sources` has the features in their order: the column that is
    handed on as it is, or "" for one that is computed.
    """

    def __init__(
        self, model: bytes, types: dict[str, int], sources: dict[str, str]
    ) -> None:
        self.model, self.types, self.sources = model, types, sources

    @property
    def names(self) -> list[str]:
        """The features' names, in their order."""
        return list(self.sources)

    def contract(self, contract: Contract) -> Contract:
        """Return a contract of the features, as the estimator gets them."""
        columns = {
            name: contract.columns[source] if source else FEATURE
            for name, source in self.sources.items()
        }
        return replace(contract, columns=columns)

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Return the transformer, which learns nothing."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn that there is nothing to fit."""
        return True

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the features of each row: float32 where they are computed."""
        import pandas as pd

        computed = self._computed(X)
        table = {
            name: X[source].to_numpy() if source else computed[name]
            for name, source in self.sources.items()
        }
        return pd.DataFrame(table, index=X.index)

    def _computed(self, X: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return the features that are computed, float32 [rows], block by block."""
        import onnxruntime

        names = [name for name, source in self.sources.items() if not source]
        results = {name: np.empty(len(X), np.float32) for name in names}
        if not names:
            return results
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # no warnings about its nodes
        session = onnxruntime.InferenceSession(
            self.model, options, ["CPUExecutionProvider"]
        )
        columns = {
            entry.name: X[entry.name.removeprefix(INPUT)].to_numpy()
            for entry in session.get_inputs()
        }
        for start in range(0, len(X), BLOCK):
            rows = slice(start, start + BLOCK)
            inputs = {n: values[rows, None] for n, values in columns.items()}
            for name, values in zip(names, session.run(None, inputs), strict=True):
                results[name][rows] = values[:, 0]
        return results

    def merge(self, exported: bytes, inputs: Sequence[str]) -> bytes:
        """Return the estimator's file with the features' nodes before its own.

        `inputs` are the names of the file's inputs, one for each column.
        """
        from onnx import ModelProto, checker, compose, helper

        head, model = map(ModelProto.FromString, (self.model, exported))
        graph = model.graph
        compose.add_prefix_graph(graph, TAIL, rename_outputs=False, inplace=True)
        names = dict(zip(self.types, inputs, strict=True))
        computed = iter(head.graph.output)
        values = {
            entry.name: names[source] if source else next(computed).name
            for entry, source in zip(graph.input, self.sources.values(), strict=True)
        }
        links = {e.name: names[e.name.removeprefix(INPUT)] for e in head.graph.input}
        nodes = [
            *_identities(links),
            *head.graph.node,
            *_identities(values),
            *graph.node,
        ]
        del graph.node[:], graph.input[:]
        graph.node.extend(nodes)
        graph.initializer.extend(head.graph.initializer)
        graph.input.extend(
            helper.make_tensor_value_info(names[column], kind, [None, 1])
            for column, kind in self.types.items()
        )
        model.ir_version = max(model.ir_version, head.ir_version)
        opsets: dict[str, int] = {}
        for opset in (*model.opset_import, *head.opset_import):
            opsets[opset.domain] = max(opset.version, opsets.get(opset.domain, 0))
        del model.opset_import[:]
        model.opset_import.extend(
            helper.make_opsetid(*o) for o in sorted(opsets.items())
        )
        checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


@dataclass(frozen=True)
class _Call:
    """What one call of the function gave."""

    graph: Graph
    features: dict[str, Array]


class _Inputs(dict[str, Array]):
    """The columns that the model takes, by name."""

    def __missing__(self, name: str) -> Array:
        raise Untraceable(
            f'"{one_line(name)}" is not in train.columns of params.yaml: add it there, '
            f"or use one of {', '.join(self)}"
        )


def load(contract: Contract, columns: Sequence[str]) -> Derived | None:
    """Return what `features` of model/features.py computes; None if that is nothing."""
    from model import features

    function = getattr(features, "features", None)  # older repositories have none
    return trace(function, contract, columns) if function else None


def trace(
    function: Function, contract: Contract, columns: Sequence[str]
) -> Derived | None:
    """Return what a function computes of columns; None if it returns them as they are.

    Raises:
        ContractError: with the file and the line of what cannot be exported.
    """
    contract.kind("number", columns)  # refuses a column that is not in the contract
    if not isfunction(function):
        raise ContractError("model/features.py: features must be a function of columns")
    purity.demand(function, "make it a column of the table, in model/prepare.py")
    first, call = (_call(function, contract, columns) for _ in range(2))
    _refuse_changes(first, call, function)
    sources = {name: value.column for name, value in call.features.items()}
    if list(sources.items()) == [(name, name) for name in columns]:
        return None
    types = {n: TYPES[KINDS.get(contract.columns[n].type, "number")] for n in columns}
    model, read = _model(call, types)
    used = {*read, *sources.values()}
    for name in columns:
        if name not in used:
            raise ContractError(
                f'{_start(function)}: column "{one_line(name)}" of train.columns is '
                "neither returned nor used: remove it from params.yaml, or use it"
            )
    return Derived(model, types, sources)


def _call(function: Function, contract: Contract, columns: Sequence[str]) -> _Call:
    """Call the function with arrays, and check what it returns."""
    graph = Graph(contract.columns)
    inputs = _Inputs({n: _input(graph, n, contract.columns[n].type) for n in columns})
    try:
        features = function(inputs)
    except Exception as error:
        reason = " ".join(str(error).split())
        if not isinstance(error, Untraceable):
            reason = f"{type(error).__name__}: {reason}; {ADVICE}"
        raise ContractError(f"{_line(error, function)}: {reason}") from error
    if not isinstance(features, Mapping) or not features:
        raise ContractError(
            f"{_start(function)}: features() must return columns by name, such as "
            f"{{**columns, ...}}, not {type(features).__name__}"
        )
    for name, value in features.items():
        _check(name, value, graph, function)
    return _Call(graph, dict(features))


def _input(graph: Graph, name: str, kind: str) -> Array:
    """Return the array that stands for an input; numbers are computed in float64."""
    value = f"{INPUT}{name}"
    if kind not in KINDS:
        number = graph.node("Cast", value, to=DOUBLE)
        return Array(graph, number, "number", name, single=True)
    return Array(graph, value, KINDS[kind], name)


def _check(name: object, value: Any, graph: Graph, function: Function) -> None:
    """Refuse a feature that is not a column of numbers, or one of the inputs."""
    feature = f"feature {one_line(repr(name))}"
    if not isinstance(name, str) or not name.strip():
        raise ContractError(f"{_start(function)}: {feature}: its name must be text")
    if not isinstance(value, Array):
        raise ContractError(
            f"{_start(function)}: {feature} is a {type(value).__name__}, and not made "
            f"of the columns: {ADVICE}"
        )
    if value._graph is not graph:
        line = _start(function) if value.column else value.line
        raise ContractError(
            f"{line}: {feature} was kept from an earlier call: a feature depends "
            "on the columns that it is given, and on nothing else"
        )
    if not value.column and value.kind not in ("number", "condition"):
        raise ContractError(
            f"{value.line}: {feature} is a {value.kind}, and must be a number: "
            f"{symbolic.HINTS[value.kind]}"
        )


def _refuse_changes(first: _Call, second: _Call, function: Function) -> None:
    """Refuse a function that gives something else when it is called again."""
    reason = (
        "gives something else each time that features() is called: a feature depends "
        "on its row alone, not on what was counted, kept or drawn"
    )
    for before, after in zip_longest(first.graph.steps, second.graph.steps):
        if before is None or after is None or before[0] != after[0]:
            raise ContractError(f"{(after or before)[1]}: this {reason}")
    results = (
        [(name, value.name) for name, value in call.features.items()]
        for call in (first, second)
    )
    if next(results) != next(results):
        raise ContractError(f"{_start(function)}: features() {reason}")


def _model(call: _Call, types: Mapping[str, int]) -> tuple[bytes, set[str]]:
    """Return the graph as an ONNX file, and the columns that it reads.

    A feature is a finite float32, or missing (NaN): after a division by zero, too.
    """
    from onnx import TensorProto, checker, helper

    graph = call.graph
    computed = [value for value in call.features.values() if not value.column]
    outputs: list[str] = []
    if computed:
        names = [symbolic.counted(value).name for value in computed]
        joined = graph.node("Concat", *names, axis=1) if len(names) > 1 else names[0]
        table = Array(graph, joined, "number")
        finite = arrays.where(arrays.abs(table) <= LARGEST, table, arrays.nan)
        last = graph.node("Cast", finite.name, to=TensorProto.FLOAT)
        outputs = [last]
        if len(names) > 1:
            widths = graph.constant([1] * len(names))
            graph.node("Split", last, widths, axis=1, outputs=len(names))
            outputs = list(graph.nodes[-1].output)
    nodes, needed = _needed(graph.nodes, outputs)
    columns = [name for name in types if f"{INPUT}{name}" in needed]
    infos = helper.make_tensor_value_info
    proto = helper.make_graph(
        nodes,
        "features",
        [infos(f"{INPUT}{name}", types[name], [None, 1]) for name in columns],
        [infos(name, TensorProto.FLOAT, [None, 1]) for name in outputs],
        [value for name, value in graph.constants.items() if name in needed],
    )
    domains = sorted({"", *(node.domain for node in nodes)})
    opsets = [helper.make_opsetid(domain, OPSET[domain]) for domain in domains]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=IR)
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True)), set(columns)


def _needed(
    nodes: Sequence[NodeProto], outputs: Sequence[str]
) -> tuple[list[NodeProto], set[str]]:
    """Return the nodes that outputs depend on, and the names of all their inputs."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    return kept[::-1], needed


def _identities(sources: Mapping[str, str]) -> list[NodeProto]:
    """Return nodes that give values another name; ONNX Runtime takes them out."""
    from onnx import helper

    node = helper.make_node
    return [node("Identity", [source], [name]) for name, source in sources.items()]


def _start(function: Function) -> str:
    """Return the file and line of a function."""
    code = function.__code__
    return purity.location(code.co_filename, code.co_firstlineno)


def _line(error: Exception, function: Function) -> str:
    """Return the last file and line of the function's folder before an error."""
    folder = function.__code__.co_filename.replace("\\", "/").rpartition("/")[0]
    frames = reversed(traceback.extract_tb(error.__traceback__))
    for frame in frames:
        if frame.filename.replace("\\", "/").startswith(f"{folder}/"):
            return purity.location(frame.filename, frame.lineno or 0)
    return _start(function)
