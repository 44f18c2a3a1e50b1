"""Gives a pretrained ONNX file the inputs and the output that this project uses; pure.

The file keeps its operators and weights. Before them stand nodes that make its inputs
of one [n, 1] input per column, behind them nodes that make the prediction of its
output, or the features of an estimator that follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.foreign import DOUBLE, FLOAT, STRING, Foreign, Source
from mlgitops.pipeline.provenance import KEY, Pretrained
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

PREFIX = "pretrained/"  # begins the names of the file's values in an exported graph
OWN = "adapted/"  # and those of what stands around it: a file may have any names
OPSET = 18  # what a file is raised to where an estimator's nodes follow it
IR = 7  # the oldest version of the format that is written
LARGEST_WIDTH = 2_000  # features that one file may give


def body(
    foreign: Foreign, values: Mapping[str, str], contract: Contract, minimum: int = 0
) -> ModelProto:
    """Return the file as a graph that computes PREFIX + output, without in- or outputs.

    `values` are the names of the columns' values, [n, 1] each, as the project's graphs
    have them: float32, or float64 (a time), or text. `minimum` is the opset to have.
    """
    from onnx import ModelProto, compose

    model = ModelProto()
    model.CopyFrom(foreign.model)
    _raise(model, minimum, foreign.file)
    graph = model.graph
    del graph.value_info[:]  # sizes of a batch that it was exported for
    compose.add_prefix_graph(graph, PREFIX, inplace=True)
    nodes = [n for s in foreign.sources for n in _joined(s, values, contract)]
    nodes += graph.node
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    if any(source.flat for source in foreign.sources):
        graph.initializer.append(_integers("flat", [-1]))
    model.ir_version = max(model.ir_version, IR)
    return model


def _joined(
    source: Source, values: Mapping[str, str], contract: Contract
) -> Iterator[NodeProto]:
    """Yield the nodes that make an input of the file of the columns' values."""
    from onnx import helper

    target, parts = f"{PREFIX}{source.name}", []
    for name in source.columns:
        given = DOUBLE if contract.columns[name].type == "datetime" else FLOAT
        parts.append(values[name])
        if source.kind not in (STRING, given):
            part = f"{OWN}{source.name}/column{len(parts)}"
            yield helper.make_node("Cast", parts[-1:], [part], to=source.kind)
            parts[-1] = part
    if source.flat:
        yield helper.make_node("Reshape", [*parts, f"{OWN}flat"], [target])
    elif len(parts) > 1:
        yield helper.make_node("Concat", parts, [target], axis=1)
    else:
        yield helper.make_node("Identity", parts, [target])


def _integers(name: str, values: Sequence[int]) -> TensorProto:
    """Return whole numbers as a constant of a graph."""
    from onnx import TensorProto, helper

    return helper.make_tensor(f"{OWN}{name}", TensorProto.INT64, [len(values)], values)


def _raise(model: ModelProto, minimum: int, file: str) -> None:
    """Bring a file to a newer opset, and name one where it has none."""
    from onnx import helper, version_converter

    versions = {o.domain or "": o.version for o in model.opset_import}
    versions = {"" if d == "ai.onnx" else d: v for d, v in versions.items()}
    if "" not in versions:  # operators of ai.onnx.ml only
        model.opset_import.append(helper.make_opsetid("", max(minimum, OPSET)))
    elif versions[""] < minimum:
        try:
            model.CopyFrom(version_converter.convert_version(model, minimum))
        except RuntimeError as error:
            problem = " ".join(str(error).split())[:160]
            raise ContractError(
                f"{file} is of opset {versions['']} and cannot be brought to "
                f"{minimum}: {problem}; export it with opset {minimum} or newer"
            ) from error


def predictor(
    foreign: Foreign,
    pretrained: Pretrained,
    contract: Contract,
    columns: Sequence[str],
    width: int,
) -> bytes:
    """Return the file as the project's model: its inputs, and one output by the task.

    `width` is how many numbers the file gives a row.

    Raises:
        ContractError: that is not one prediction a row, or its classes are not known.
    """
    from onnx import TensorProto, helper

    from mlgitops.pipeline.fitting import input_name, limit
    from mlgitops.pipeline.tracing import KINDS, TYPES

    task = TASKS[contract.task]
    places = order(foreign, pretrained, contract, width)
    names = {name: input_name(name) for name in columns}
    model = body(foreign, names, contract)
    graph, infos = model.graph, helper.make_tensor_value_info
    for name, numbers in (("places", places), ("rows", [-1]), ("table", [-1, width])):
        graph.initializer.append(_integers(name, numbers))
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Cast", [], {"to": FLOAT}),
        ("Reshape", [f"{OWN}table"], {}),
        ("Gather", [f"{OWN}places"], {"axis": 1}),
    ]
    steps += [("Reshape", [f"{OWN}rows"], {})] if len(places) == 1 else []
    value = f"{PREFIX}{foreign.output}"
    for number, (kind, more, attributes) in enumerate(steps):
        last = number == len(steps) - 1
        out = task.output if last else f"{OWN}step{number}"
        graph.node.append(helper.make_node(kind, [value, *more], [out], **attributes))
        value = out
    if task.kind == "classifier":
        limit(graph, task.output)
    shape = [None, len(places)] if len(places) > 1 else [None]
    kinds = {n: TYPES[KINDS.get(contract.columns[n].type, "number")] for n in columns}
    graph.input.extend(infos(names[n], kinds[n], [None, 1]) for n in columns)
    graph.output.append(infos(task.output, TensorProto.FLOAT, shape))
    return finished(model, foreign.file)


def order(
    foreign: Foreign, pretrained: Pretrained, contract: Contract, width: int
) -> list[int]:
    """Return which columns of the output are the prediction, in the contract's order.

    Raises:
        ContractError: the output has another size, or other classes.
    """
    file, task = foreign.file, TASKS[contract.task]
    if task.kind == "regressor" or (contract.task == "binary" and width == 1):
        if width != 1:
            problem = f"gives {width} numbers a row, and the task {task.name} needs one"
            raise ContractError(f"{file} {problem}")
        if pretrained.classes:
            problem = "names classes, and the file gives one number a row, P(1)"
            raise KEY.key("classes").error(f"{problem}: remove the line")
        return [0]
    classes = contract.classes or ("0", "1")
    if width != len(classes):
        raise ContractError(
            f"{file} gives {width} numbers a row, and contract.yaml has "
            f"{len(classes)} classes: {', '.join(classes)}"
        )
    given = pretrained.classes or foreign.labels
    if pretrained.classes and foreign.labels not in ((), pretrained.classes):
        if sorted(foreign.labels) == sorted(pretrained.classes):
            problem = f"must be in the file's own order, {', '.join(foreign.labels)}"
            raise KEY.key("classes").error(problem)
    if sorted(given) != sorted(classes):
        named = f"names its classes {', '.join(given)}" if given else "names no classes"
        raise ContractError(
            f"{file} {named}, and contract.yaml has {', '.join(classes)}: write those "
            "in the order of the file's probabilities, in train.pretrained.classes"
        )
    wanted = classes[1:] if contract.task == "binary" else classes
    return [given.index(name) for name in wanted]


def extractor(foreign: Foreign, contract: Contract, width: int) -> bytes:
    """Return the file as a graph of features: an input for each column, named as
    `pipeline/symbolic.py` does, and `width` outputs, float32 [n, 1].

    An infinite feature is a missing one, as one that `features()` makes.
    """
    from onnx import TensorProto, helper

    from mlgitops.pipeline.symbolic import INPUT
    from mlgitops.pipeline.tracing import KINDS, TYPES

    columns = [name for source in foreign.sources for name in source.columns]
    model = body(foreign, {n: f"{INPUT}{n}" for n in columns}, contract, OPSET)
    graph, node, infos = model.graph, helper.make_node, helper.make_tensor_value_info
    for name, value in (("widths", [1] * width), ("table", [-1, width])):
        graph.initializer.append(_integers(name, value))
    out, table = f"{PREFIX}{foreign.output}", f"{OWN}table"
    outputs = [f"{OWN}feature{number}" for number in range(width)]
    missing = helper.make_tensor(f"{OWN}missing", FLOAT, [], [float("nan")])
    graph.initializer.append(missing)
    finite = ("infinite", "missing", "cast")  # where it is infinite, missing
    graph.node.extend(
        [
            node("Cast", [out], [f"{OWN}cast"], to=FLOAT),
            node("IsInf", [f"{OWN}cast"], [f"{OWN}infinite"]),
            node("Where", [f"{OWN}{n}" for n in finite], [f"{OWN}finite"]),
            node("Reshape", [f"{OWN}finite", table], [f"{OWN}features"]),
            node("Split", [f"{OWN}features", f"{OWN}widths"], outputs, axis=1),
        ]
    )
    for name in columns:
        kind = TYPES[KINDS.get(contract.columns[name].type, "number")]
        graph.input.append(infos(f"{INPUT}{name}", kind, [None, 1]))
    graph.output.extend(infos(n, TensorProto.FLOAT, [None, 1]) for n in outputs)
    return finished(model, foreign.file)


def finished(model: ModelProto, file: str) -> bytes:
    """Return a checked model as bytes that are the same each time."""
    from onnx import checker

    opsets = sorted(model.opset_import, key=lambda opset: opset.domain)
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    try:
        checker.check_model(model)
    except checker.ValidationError as error:
        problem = " ".join(str(error).split())[:160]
        raise ContractError(f"{file} is not a valid ONNX file: {problem}") from error
    return bytes(model.SerializeToString(deterministic=True))
