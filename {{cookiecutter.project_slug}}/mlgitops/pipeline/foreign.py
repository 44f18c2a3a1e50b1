"""Reads a pretrained ONNX file: what it takes, and what it gives; pure.

What this project cannot use is refused in a sentence that says what the file has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlgitops.pipeline import operators
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.provenance import KEY, Pretrained

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

NUMBERS = {1, 10, 11}  # of onnx.TensorProto: FLOAT, FLOAT16, DOUBLE
WHOLE = {2, 3, 4, 5, 6, 7, 9, 12, 13}  # integers and BOOL
FLOAT, STRING, DOUBLE = 1, 8, 11


@dataclass(frozen=True)
class Source:
    """One input of the file: the columns that it is made of, side by side."""

    name: str
    kind: int  # of its elements, in onnx.TensorProto
    columns: tuple[str, ...]
    flat: bool = False  # whether it is [n], not [n, columns]


@dataclass(frozen=True)
class Foreign:
    """A pretrained file as it was read; `labels` are its classes, where it has some.

    `model` has no ZipMap, which makes dictionaries of probabilities: `output` is the
    name of the tensor before it.
    """

    file: str
    model: ModelProto
    sources: tuple[Source, ...]
    output: str
    labels: tuple[str, ...]


def read(
    data: bytes, pretrained: Pretrained, contract: Contract, columns: Sequence[str]
) -> Foreign:
    """Return the file, once its operators, inputs and outputs can be used.

    `columns` are those of train.columns.

    Raises:
        ContractError: with what was expected, and what the file has.
    """
    try:
        model = operators.read(data)
        labels = _without_zipmap(model.graph)
        operators.check(model)
    except ValueError as error:
        problem = str(error).removeprefix("the model ")
        raise ContractError(f"{pretrained.file} {problem}") from error
    for entry in (*model.graph.input, *model.graph.output):
        if sizes := entry.type.tensor_type.shape.dim:
            sizes[0].dim_param = "n"  # not the rows that it was exported with
    taken = pretrained.columns or tuple(columns)
    sources = _sources(model.graph, pretrained, contract, taken)
    output = _output(model.graph, pretrained)
    labels = labels or _labels(model.graph)
    return Foreign(pretrained.file, model, sources, output, labels)


def _without_zipmap(graph: GraphProto) -> tuple[str, ...]:
    """Take ZipMap out of a graph; return the classes that it names."""
    labels: tuple[str, ...] = ()
    for node in [n for n in graph.node if n.op_type == "ZipMap"]:
        labels = _named(node)
        graph.node.remove(node)
        for entry in [e for e in graph.output if e.name == node.output[0]]:
            entry.name = node.input[0]
            entry.ClearField("type")  # a sequence of dictionaries
    return labels


def _labels(graph: GraphProto) -> tuple[str, ...]:
    """Return the classes that a graph's classifiers name, where they agree."""
    named = {labels for node in graph.node if (labels := _named(node))}
    return named.pop() if len(named) == 1 else ()


def _named(node: NodeProto) -> tuple[str, ...]:
    """Return the classes that a node names."""
    for attribute in node.attribute:
        if attribute.name.startswith("classlabels_"):
            texts = [text.decode(errors="replace") for text in attribute.strings]
            if found := (*texts, *map(str, attribute.ints)):
                return found
    return ()


def _inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """Return the inputs that are no constants (which old files list among them)."""
    constants = {entry.name for entry in graph.initializer}
    return [entry for entry in graph.input if entry.name not in constants]


def _shape(entry: ValueInfoProto) -> list[int | None] | None:
    """Return the sizes of a tensor, None where one is open; None if none is known."""
    tensor = entry.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]


def _shown(entry: ValueInfoProto) -> str:
    """Return a tensor as a sentence has it, such as `X float32 [n, 4]`."""
    from onnx import TensorProto

    kind = TensorProto.DataType.Name(entry.type.tensor_type.elem_type).lower()
    sizes = _shape(entry)
    if sizes is None:
        return f"{entry.name} {kind}"
    shown = ["n", *("?" if size is None else str(size) for size in sizes[1:])]
    return f"{entry.name} {kind} [{', '.join(shown[: len(sizes)])}]"


def _sources(
    graph: GraphProto,
    pretrained: Pretrained,
    contract: Contract,
    columns: tuple[str, ...],
) -> tuple[Source, ...]:
    """Return which columns each input is made of: one matrix, or a column each."""
    entries, file = _inputs(graph), pretrained.file
    listed = ", ".join(map(_shown, entries)) or "nothing"
    shapes = [_shape(entry) for entry in entries]
    if any(shape is not None and len(shape) not in (1, 2) for shape in shapes):
        raise ContractError(
            f"{file} takes {listed}, and can take [n] or [n, columns] only: a row is "
            "numbers, categories or texts, not a picture or a sequence"
        )
    if len(entries) == 1 and (len(columns) > 1 or _width(shapes[0]) not in (None, 1)):
        width = _width(shapes[0])
        if width not in (None, len(columns)) or len(shapes[0] or (0, 0)) == 1:
            raise ContractError(
                f"{file} takes {width or 1} columns ({listed}), and is given "
                f"{len(columns)} ({', '.join(columns)}): name as many, in its order, "
                "in train.pretrained.columns"
            )
        pairs = [(entries[0], columns)]
    else:
        pairs = [(e, (c,)) for e, c in _matched(entries, pretrained, columns, listed)]
    sources = [
        Source(entry.name, entry.type.tensor_type.elem_type, names, len(shape) == 1)
        for (entry, names) in pairs
        for shape in [_shape(entry) or [None, None]]
    ]
    for source in sources:
        for name in source.columns:
            _check_kind(source, name, contract, file)
    return tuple(sources)


def _width(shape: list[int | None] | None) -> int | None:
    """Return how many columns an input takes, None if that is open."""
    return None if shape is None else (shape[1] if len(shape) == 2 else 1)


def _matched(
    entries: Sequence[ValueInfoProto],
    pretrained: Pretrained,
    columns: tuple[str, ...],
    listed: str,
) -> list[tuple[ValueInfoProto, str]]:
    """Return each input with its column: by name, or in the order that is given."""
    from mlgitops.pipeline.fitting import input_name

    by_name = {input_name(column): column for column in columns}
    by_name |= {column: column for column in columns}
    names = [entry.name for entry in entries]
    if len(names) == len(columns):
        found = [by_name.get(name, "") for name in names]
        if sorted(found) == sorted(columns):
            return list(zip(entries, found, strict=True))
        if pretrained.columns or len(columns) == 1:
            return list(zip(entries, columns, strict=True))
    raise ContractError(
        f"{pretrained.file} takes {listed}, and is given {', '.join(columns)}: name "
        "one column for each of its inputs, in its order, in train.pretrained.columns"
    )


def _check_kind(source: Source, name: str, contract: Contract, file: str) -> None:
    """Refuse a column that is not what an input takes."""
    contract.kind("number", [name])  # refuses one that is not in the contract
    column = contract.columns[name]
    text = column.type in ("category", "text")
    problem = ""
    if text != (source.kind == STRING):
        takes = "texts" if source.kind == STRING else "numbers"
        problem = f"is of the type {column.type}, and the file takes {takes} there"
    elif column.type == "datetime" and source.kind != DOUBLE:
        problem = (
            "is a datetime, in seconds since 1970, and the file takes numbers that are "
            "not float64, which would lose minutes"
        )
    elif source.kind in WHOLE and column.missing:
        problem = (
            "may be missing (contract.yaml), and the file takes whole numbers, which "
            "cannot be: set missing: false"
        )
    elif source.kind in WHOLE and column.type not in ("integer", "boolean"):
        problem = (
            f"is of the type {column.type}, and the file takes whole numbers there, "
            "which would cut its fractions off"
        )
    elif source.kind not in {STRING, *NUMBERS, *WHOLE}:
        problem = "cannot be given to an input of that type"
    if problem:
        raise ContractError(f'{file}, input {source.name}: column "{name}" {problem}')


def _output(graph: GraphProto, pretrained: Pretrained) -> str:
    """Return the name of the output that is used, one of numbers."""
    tensors = {entry.name: entry for entry in graph.output}
    kinds = {name: e.type.tensor_type.elem_type for name, e in tensors.items()}
    usable = [name for name, kind in kinds.items() if kind in {0, *NUMBERS}]
    listed = ", ".join(_shown(entry) for entry in graph.output)
    if (name := pretrained.output) and name not in usable:
        problem = f"is not an output of numbers of {pretrained.file} (it has {listed})"
        raise KEY.key("output").error(f"'{name}' {problem}")
    if name:
        return str(name)
    if not usable:
        raise ContractError(
            f"{pretrained.file} gives only {listed}: export it with its probabilities "
            "or values, as labels alone cannot be judged"
        )
    if len(usable) > 1:
        problem = f"is missing, and {pretrained.file} has several: {listed}"
        raise KEY.key("output").error(problem)
    return str(usable[0])


def feeds(foreign: Foreign, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the file itself takes, of arrays [n, 1] by column."""
    from onnx.helper import tensor_dtype_to_np_dtype

    inputs = {}
    for source in foreign.sources:
        parts = [arrays[name].reshape(-1, 1) for name in source.columns]
        values = np.concatenate(parts, axis=1)
        if source.kind != STRING:
            values = values.astype(tensor_dtype_to_np_dtype(source.kind))
        inputs[source.name] = values[:, 0] if source.flat else values
    return inputs
