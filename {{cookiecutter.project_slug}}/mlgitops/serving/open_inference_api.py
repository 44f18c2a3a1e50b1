"""The paths of the Open Inference Protocol as OpenAPI; the protocol says the rest."""

from typing import Any

from mlgitops.serving.operations import (
    BODY,
    Paths,
    closed,
    content,
    get,
    post,
    ref,
    unguarded,
)
from mlgitops.serving.schemas import Schema, Version

SOURCE = "https://github.com/kserve/open-inference-protocol"
TYPES = ("BOOL", "BYTES", "INT64", "FP32", "FP64")


def paths(version: Version) -> Paths:
    """Describe /v2 and what is below it."""
    server = closed({"name": {}, "version": {}, "extensions": {"type": "array"}})
    live, ready = (closed({name: {"const": True}}) for name in ("live", "ready"))
    found = {
        "/v2": get("v2", "Which server runs.", content(server)),
        "/v2/health/live": unguarded(
            get("v2_live", "Whether the process runs.", content(live))
        ),
        "/v2/health/ready": unguarded(
            get("v2_ready", "Whether the server can predict.", content(ready))
        ),
    }
    name = f"/v2/models/{version.manifest['name']}"
    found |= model(name, "v2_model")
    if version.version:
        found |= model(f"{name}/versions/{version.version}", "v2_version")
    return found


def model(path: str, name: str) -> Paths:
    """Describe a model's paths; `name` begins the names of its operations."""
    ready = content(closed({"name": {}, "ready": {"const": True}}))
    infer = post(
        f"{name}_infer",
        "Predict the rows of tensors.",
        content(ref("Tensors")),
        content(ref("Inferred")),
        BODY,
    )
    infer["description"] = (
        "Each column is a tensor of its name, all of one length; binary tensors are "
        f"read too. {SOURCE}"
    )
    return {
        path: get(name, "What the model takes and returns.", content(ref("Model"))),
        f"{path}/ready": get(f"{name}_ready", "Whether the model can predict.", ready),
        f"{path}/infer": {"post": infer},
    }


def components() -> Schema:
    """Return the schemas that the paths refer to."""
    text, shape = {"type": "string"}, {"type": "array", "items": {"type": "integer"}}
    described = closed({"name": text, "datatype": {"enum": [*TYPES]}, "shape": shape})
    tensors = {"type": "array", "items": described}
    full: dict[str, Any] = {"type": "object", "required": ["name", "shape", "datatype"]}
    return {
        "Model": closed(
            {
                "name": text,
                "versions": {"type": "array", "items": text},
                "platform": text,
                "inputs": tensors,
                "outputs": tensors,
            }
        ),
        "Tensors": {
            "type": "object",
            "properties": {"inputs": {"type": "array", "items": full}},
            "required": ["inputs"],
        },
        "Inferred": {
            "type": "object",
            "properties": {"model_name": text, "outputs": {"type": "array"}},
            "required": ["model_name", "outputs"],
        },
    }
