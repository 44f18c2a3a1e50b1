"""The Open Inference Protocol, version 2, over HTTP: what KServe and its tools speak.

Each column of the contract is an input tensor of its name, [n] or [n, 1], and so are a
row's id and time; each field of a prediction is an output. A missing value is NaN, ""
or, in JSON, null. Checks, counts and lines of the log are those of POST /predict.

https://github.com/kserve/open-inference-protocol, with the binary tensors of
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlgitops.serving import bulk, busy, vectors
from mlgitops.serving.model import Model
from mlgitops.serving.predictions import Prediction
from mlgitops.serving.reasons import Reason
from mlgitops.serving.routes import (
    Message,
    Receive,
    RefusalError,
    Response,
    Route,
    read_body,
)
from mlgitops.serving.rows import Array, RowError
from mlgitops.serving.vectors import Table, Vector

if TYPE_CHECKING:
    from mlgitops.serving.app import App

BINARY = b"inference-header-content-length"
NUMBERS = {f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)}
NUMBERS |= {f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)}
NUMBERS |= {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
JSON: dict[str, set[type]] = {name: {int} for name in NUMBERS}
JSON |= {name: {int, float} for name in ("FP16", "FP32", "FP64")}
JSON |= {"BOOL": {bool}, "BYTES": {str}}
TYPES = {"number": "FP64", "boolean": "BOOL"}  # said of an input; others are BYTES
OUTPUTS = {"<f4": "FP32", "<f8": "FP64", "bool": "BOOL", "text": "BYTES"}
ENCODE = msgspec.json.Encoder().encode
Parameters = dict[str, Any]


class Input(msgspec.Struct, forbid_unknown_fields=True):
    """A tensor of a request; `data` is in the JSON, or behind it."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: Parameters = {}


class Requested(msgspec.Struct, forbid_unknown_fields=True):
    """An output that a request wants."""

    name: str
    parameters: Parameters = {}


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of a request for predictions."""

    inputs: list[Input]
    id: str | None = None
    outputs: list[Requested] = []
    parameters: Parameters = {}


DECODE = msgspec.json.Decoder(Request).decode


class TensorError(RefusalError):
    """A request that cannot be read."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        """The protocol has one status for all of them."""
        super().__init__(400, reason, sentence)


def routes(app: App) -> dict[str, Route]:
    """Return the protocol's paths, those of the model where there is one."""
    paths = {
        "/v2": Route(partial(_server, app)),
        "/v2/health/live": Route(partial(_say, {"live": True})),
        "/v2/health/ready": Route(partial(_ready, app, {"ready": True})),
    }
    model = app.model
    if model is None:
        return paths
    names = [f"/v2/models/{model.name}"]
    if app.version:
        names.append(f"{names[0]}/versions/{app.version}")
    ready = {"name": model.name, "ready": True}
    for name in names:
        paths |= {
            name: Route(partial(_say, metadata(model, app.version))),
            f"{name}/ready": Route(partial(_ready, app, ready)),
            f"{name}/infer": Route(Infer(app, model).infer, ("POST",)),
        }
        app.counts.timed.add(f"{name}/infer")
    return paths


def metadata(model: Model, version: str | None) -> dict[str, Any]:
    """Return what the protocol says of a model: its inputs and its outputs."""
    inputs = []
    for name, column in model.columns.items():
        # NaN is what a missing number is: whole numbers have none.
        is_integer = column.type == "integer"
        number = "FP64" if column.missing else "INT64"
        datatype = number if is_integer else TYPES.get(column.type, "BYTES")
        inputs.append({"name": name, "datatype": datatype, "shape": [-1]})
    for name in filter(None, (model.id, model.time)):
        inputs.append({"name": name, "datatype": "BYTES", "shape": [-1]})
    golden = [entry["row"] for entry in model.manifest["golden"][:1]]
    example = vectors.outputs(model.predictions(golden, [0])) if golden else []
    outputs = [
        {"name": name, "datatype": _datatype(model, name, kind), "shape": [-1]}
        for name, kind, _ in example
    ]
    return {
        "name": model.name,
        "versions": [version] if version else [],
        "platform": "onnxruntime_onnx",
        "inputs": inputs,
        "outputs": outputs,
    }


async def _say(content: Message, _scope: Message, _receive: Receive) -> Response:
    return Response(ENCODE(content))


async def _server(app: App, _scope: Message, _receive: Receive) -> Response:
    """Return what the protocol says of the server."""
    await app.identify()
    names = {"name": "mlgitops", "version": app.machinery}
    return Response(ENCODE(names | {"extensions": ["binary_tensor_data"]}))


async def _ready(
    app: App, content: Message, _scope: Message, _receive: Receive
) -> Response:
    app.demand_ready()
    return Response(ENCODE(content))


class Infer:
    """Answers a request for predictions."""

    def __init__(self, app: App, model: Model) -> None:
        self.app, self.model = app, model
        self.names = vectors.allowed(model)
        self.turn = busy.LoopTurn()

    async def infer(self, scope: Message, receive: Receive) -> Response:
        """Predict the rows of a request's tensors."""
        body = await read_body(scope, receive, self.app.limits)
        self.turn.check()
        try:
            request, rest = _request(body, bulk.header(scope, BINARY))
            table = _table(request.inputs, rest, self.names, self.app.limits.rows)
            scored = vectors.score(self.model, table)
            outputs = _outputs(request, self.model, scored.predictions)
        except RowError as error:
            raise TensorError(error.reason, str(error)) from None
        odd = vectors.unseen(self.app.counts, table)
        self.app.counts.predicted_columns(table.rows, *odd)
        await self.app.bulk.log(self.model, scored)
        return self._response(request, outputs)

    def _response(
        self, request: Request, outputs: list[tuple[dict[str, Any], bytes | None]]
    ) -> Response:
        """Return the outputs: in JSON, or behind it."""
        content: dict[str, Any] = {"model_name": self.model.name}
        if self.app.version:
            content["model_version"] = self.app.version
        if request.id is not None:
            content["id"] = request.id
        content["parameters"] = {"manifest_sha256": self.model.manifest_sha256}
        content["outputs"] = [output for output, _ in outputs]
        text = ENCODE(content)
        behind = [data for _, data in outputs if data is not None]
        if not behind:
            return Response(text)
        length = (BINARY, b"%d" % len(text))
        return Response(text + b"".join(behind), b"application/octet-stream", (length,))


def _request(body: bytes, length: bytes) -> tuple[Request, bytes]:
    """Return the JSON of a body, and the tensors behind it."""
    if length and not (length.isdigit() and int(length[:20]) <= len(body)):
        name = BINARY.decode()
        raise TensorError(
            Reason.MALFORMED, f"the header {name} must be a length within the body."
        )
    end = int(length) if length else len(body)
    try:
        return DECODE(body[:end]), body[end:]
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        if (odd := _not_finite(body[:end])) is not None:
            raise odd from None
        raise TensorError(
            Reason.MALFORMED, f"the body is not a request of the protocol: {error}."
        ) from None


def _not_finite(text: bytes) -> TensorError | None:
    """Return what is wrong where a value is NaN, infinite or a number without end.

    JSON has none of these, so that its decoder only knows the byte.
    """
    try:
        for tensor in json.loads(text, parse_int=float)["inputs"]:
            for row, value in enumerate(tensor["data"]):
                number = value[0] if isinstance(value, list) else value
                if isinstance(number, float) and not isfinite(number):
                    sentence = (
                        f"row {row}: input {tensor['name']!r:.80} is not a finite "
                        "number; a missing value is null in JSON."
                    )
                    return TensorError(Reason.NOT_FINITE, sentence)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass  # something else is wrong, or with something else than a value
    return None


def _table(
    inputs: Sequence[Input], rest: bytes, names: Sequence[str], limit: int
) -> Table:
    """Return the tensors of a request as columns."""
    columns: dict[str, Vector] = {}
    rows: int | None = None
    for tensor in inputs:
        name = tensor.name
        if name not in names:
            allowed = ", ".join(names)
            raise TensorError(
                Reason.UNKNOWN_FIELD,
                f"the input {name[:80]!r} is unknown; allowed are {allowed}.",
            )
        if name in columns:
            raise TensorError(Reason.MALFORMED, f"two inputs are called '{name}'.")
        if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]):
            raise TensorError(
                Reason.MALFORMED, f"the shape of input '{name}' must be [n] or [n, 1]."
            )
        rows = tensor.shape[0] if rows is None else rows
        if tensor.shape[0] != rows:
            raise TensorError(
                Reason.MALFORMED, f"the input '{name}' has another number of rows."
            )
        if not 0 < rows <= limit:
            message = f"the body has {rows} rows; 1 to {limit} are allowed."
            raise RefusalError(413, Reason.TOO_LARGE, message)
        if tensor.datatype not in JSON:
            raise TensorError(
                Reason.WRONG_TYPE,
                f"input '{name}' has the datatype {tensor.datatype[:80]!r}; "
                f"one of {', '.join(JSON)} is allowed.",
            )
        columns[name], rest = _vector(tensor, rows, rest)
    if rows is None:
        raise TensorError(Reason.MALFORMED, "the request has no inputs.")
    if rest:
        raise TensorError(
            Reason.MALFORMED, f"{len(rest)} bytes behind the JSON belong to no input."
        )
    return Table(rows, columns)


def _vector(tensor: Input, rows: int, rest: bytes) -> tuple[Vector, bytes]:
    """Return a tensor's values, and what is left behind the JSON."""
    name, parameters = tensor.name, tensor.parameters
    size = parameters.get("binary_data_size")
    if odd := parameters.keys() - {"binary_data_size"}:
        raise TensorError(
            Reason.UNKNOWN_FIELD,
            f"input '{name}' has the unknown parameter {min(odd)[:80]!r}.",
        )
    if size is None:
        if tensor.data is None:
            raise TensorError(Reason.MISSING_FIELD, f"input '{name}' has no data.")
        return _from_json(tensor, tensor.data, rows), rest
    if tensor.data is not None:
        raise TensorError(
            Reason.MALFORMED, f"input '{name}' has data in the JSON and behind it."
        )
    if type(size) is not int or not 0 <= size <= len(rest):
        raise TensorError(
            Reason.MALFORMED,
            f"the binary_data_size of input '{name}' is not in the body.",
        )
    return _from_bytes(tensor, rest[:size], rows), rest[size:]


def _from_json(tensor: Input, data: list[Any], rows: int) -> Vector:
    """Return the values of a JSON list, which may be nested as its shape is."""
    if len(tensor.shape) == 2 and all(type(value) is list for value in data):
        if any(len(value) != 1 for value in data):
            raise TensorError(
                Reason.MALFORMED,
                f"the data of input '{tensor.name}' is not of its shape.",
            )
        data = [value[0] for value in data]
    if len(data) != rows:
        raise TensorError(
            Reason.MALFORMED,
            f"input '{tensor.name}' has {len(data)} values for {rows} rows.",
        )
    kinds = JSON[tensor.datatype] | {type(None)}
    for row, value in enumerate(data):
        if type(value) not in kinds:
            raise TensorError(
                Reason.WRONG_TYPE,
                f"row {row}: input '{tensor.name}' is not {tensor.datatype}.",
            )
    present = np.array([value is not None for value in data])
    if tensor.datatype == "BYTES":
        values = np.empty(rows, dtype=object)
        values[:] = ["" if value is None else value for value in data]
        return _text(values, present)
    filled = [0 if value is None else value for value in data]
    if tensor.datatype == "BOOL":
        return Vector("true or false", np.array(filled, np.bool_), present)
    is_float = tensor.datatype.startswith("FP")  # what was sent is checked, as a number
    return _number(tensor, filled, present, "<f8" if is_float else "")


def _from_bytes(tensor: Input, data: bytes, rows: int) -> Vector:
    """Return the values of a binary tensor."""
    name, present = tensor.name, np.ones(rows, np.bool_)
    if tensor.datatype == "BYTES":
        values = np.empty(rows, dtype=object)
        try:
            values[:] = [text.decode() for text in _elements(data, rows)]
        except (struct.error, ValueError):
            raise TensorError(
                Reason.MALFORMED,
                f"input '{name}' is not {rows} texts in UTF-8, each behind its length.",
            ) from None
        return _text(values, present)
    dtype = np.dtype(NUMBERS.get(tensor.datatype, "u1"))
    if len(data) != rows * dtype.itemsize:
        raise TensorError(
            Reason.MALFORMED,
            f"input '{name}' has {len(data)} bytes for {rows} {tensor.datatype}.",
        )
    numbers = np.frombuffer(data, dtype)
    if tensor.datatype == "BOOL":
        if (numbers > 1).any():
            raise TensorError(
                Reason.WRONG_TYPE, f"input '{name}' has a byte that is neither 0 nor 1."
            )
        return Vector("true or false", numbers.astype(np.bool_), present)
    return _number(tensor, numbers, present)


def _elements(data: bytes, rows: int) -> Iterator[bytes]:
    """Yield so many texts, each behind its length; ValueError if they are others."""
    position = 0
    for _ in range(rows):
        (length,) = struct.unpack_from("<I", data, position)
        position += 4 + length
        if position > len(data):
            raise ValueError("a text is cut off")
        yield data[position - length : position]
    if position != len(data):
        raise ValueError("bytes are left")


def _text(values: Array, present: Array) -> Vector:
    """Return texts; "" is a missing one."""
    return Vector("text", values, present & np.array([*map(bool, values)]))


def _number(tensor: Input, values: Any, present: Array, dtype: str = "") -> Vector:
    """Return numbers; NaN is a missing one."""
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(values, dtype or NUMBERS[tensor.datatype])
    except OverflowError:
        raise TensorError(
            Reason.OUT_OF_CONTRACT,
            f"input '{tensor.name}' has a number that is not {tensor.datatype}.",
        ) from None
    if array.dtype.kind == "f":
        present = present & ~np.isnan(array)
    return Vector("number", array, present)


def _datatype(model: Model, name: str, kind: str) -> str:
    """Return an output's datatype: a decision that may be none is a text."""
    abstains = (model.manifest.get("intervals") or {}).get("abstain")
    return "BYTES" if name == "decision" and abstains else OUTPUTS[kind]


def _outputs(
    request: Request, model: Model, predictions: Sequence[Prediction]
) -> list[tuple[dict[str, Any], bytes | None]]:
    """Return each output that is wanted: its JSON, and its bytes if they are wanted."""
    columns = {
        name: (kind, values) for name, kind, values in vectors.outputs(predictions)
    }
    requested = request.outputs or [Requested(name) for name in columns]
    usual = request.parameters.get("binary_data_output") is True
    outputs: list[tuple[dict[str, Any], bytes | None]] = []
    for output in requested:
        if output.name not in columns:
            raise TensorError(
                Reason.UNKNOWN_FIELD,
                f"the output {output.name[:80]!r} is unknown; there are "
                f"{', '.join(columns)}.",
            )
        if odd := output.parameters.keys() - {"binary_data"}:
            raise TensorError(
                Reason.UNKNOWN_FIELD,
                f"output '{output.name}' has the unknown parameter {min(odd)[:80]!r}.",
            )
        kind, values = columns[output.name]
        datatype = _datatype(model, output.name, kind)
        if datatype == "BYTES":
            values = [TEXTS.get(value, value) for value in values]
        tensor: dict[str, Any] = {"name": output.name, "datatype": datatype}
        tensor["shape"] = [len(values)]
        if output.parameters.get("binary_data", usual) is True:
            data = _binary(datatype, kind, values)
            tensor["parameters"] = {"binary_data_size": len(data)}
            outputs.append((tensor, data))
        else:
            outputs.append((tensor | {"data": values}, None))
    return outputs


TEXTS = {None: "", True: "true", False: "false"}  # of a decision, or a class


def _binary(datatype: str, kind: str, values: Sequence[Any]) -> bytes:
    """Return the bytes of an output."""
    if datatype == "BYTES":
        texts = [value.encode() for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return np.array(values, kind).tobytes()
