"""What a version's server takes and returns, as OpenAPI 3.1; standard library only.

    python -m mlgitops openapi [FOLDER] [--version v1.0.0] > openapi.json

The server serves the same bytes at /openapi.json, and a release carries them. They
follow from the contract, the manifest and the limits alone. A path of the server stands
in one of the functions of `DESCRIBED`; a test finds the one that does not.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlgitops.serving import examples, schemas
from mlgitops.serving.schemas import Schema, Version
from mlgitops.serving.verify import (
    MANIFEST,
    Manifest,
    VerifyError,
    contract_path,
    read_verified,
    sha256_file,
    verify,
)

FILE = "openapi.json"
Paths = dict[str, dict[str, Any]]  # by path, then by method
JSON = "application/json"
OVERVIEW = (
    "The description of one version of a model and of the server that answers for it. "
    "A path that is not here is answered with 404, another method of a path that is "
    "with 405 and the header `allow`. Each refusal is one sentence. Where bytes are "
    "not HTTP, a head is too large or a client has to leave, the response has no body "
    "and the connection is closed."
)


def ref(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def content(schema: Schema, kind: str = JSON, golden: Any = None) -> Schema:
    """Return the content of a body: its type, its schema and perhaps an example."""
    example = {} if golden is None else {"examples": {"golden": {"value": golden}}}
    return {kind: {"schema": schema, **example}}


REFUSED = content(ref("Error"))
RETRY = {"retry-after": {"schema": {"type": "integer"}, "description": "Seconds."}}
STATUSES: dict[int, Schema] = {  # of refusals
    400: {"description": "The body is not what it must be, or is not JSON."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": "More rows or bytes than one request may have."},
    422: {"description": "A row is not one of the contract; the sentence names it."},
    429: {"description": "Too many requests.", "headers": RETRY},
    431: {"description": "The head is too large or has too many headers."},
    500: {"description": "The server failed; its log says why."},
    503: {"description": "There is no model, or too much to do.", "headers": RETRY},
}
ANY = (431, 500, 503)  # can come from any path
BODY = (400, 408, 413)  # from any path that reads a body


def refusals(*statuses: int, schema: Schema | None = None) -> dict[str, Schema]:
    """Return the responses of these statuses and of those that any path can have."""
    bodies: dict[int, Schema] = {431: {}, 500: {"content": REFUSED}}  # of any path
    body = {"content": content(schema) if schema else REFUSED}
    return {
        str(status): STATUSES[status] | bodies.get(status, body)
        for status in sorted({*statuses, *ANY})
    }


def get(
    name: str, summary: str, ok: Schema, schema: Schema | None = None
) -> dict[str, Any]:
    """Return what a path says to GET, and to HEAD without the body.

    `ok` is the content of a response with 200, `schema` that of a refusal.
    """
    responses = {"200": {"description": summary, "content": ok}}
    responses |= refusals(schema=schema)
    heads = {
        status: {key: value for key, value in each.items() if key != "content"}
        for status, each in responses.items()
    }
    body = {"operationId": name, "summary": summary, "responses": responses}
    head = {"operationId": f"{name}_head", "summary": f"{summary[:-1]}: status alone."}
    return {"get": body, "head": head | {"responses": heads}}


def predictions(version: Version) -> Paths:
    """Describe POST /predict."""
    body = content(ref("Predictions"), golden=examples.response(version))
    ok = {
        "description": "A prediction for each row, in their order.",
        "content": body,
    }
    operation = {
        "operationId": "predict",
        "summary": "Predict rows.",
        "description": "All rows are predicted, or none. A prediction is in the log "
        "before the response is sent.",
        "requestBody": {
            "required": True,
            "content": content(ref("Rows"), golden=examples.body(version)),
        },
        "responses": {"200": ok} | refusals(*BODY, 422),
        "x-codeSamples": examples.clients(version),
    }
    return {"/predict": {"post": operation}}


def state(_version: Version) -> Paths:
    """Describe what says how the server is."""
    ok, text = content(ref("Ok")), content({"type": "string"}, "text/plain")
    return {
        "/health/live": get("live", "The process answers.", ok),
        "/health/ready": get("ready", "Predictions are answered.", ok, ref("Reason")),
        "/info": get("info", "Which version answers.", content(ref("Info"))),
        "/metrics": get("metrics", "What the server counts, for Prometheus.", text),
    }


def itself(_version: Version) -> Paths:
    """Describe the description."""
    document, page = content({"type": "object"}), content({"type": "string"}, HTML)
    return {
        "/openapi.json": get("openapi", "This description.", document),
        "/docs": get("docs", "This description, as a page.", page),
    }


HTML = "text/html"
DESCRIBED: tuple[Callable[[Version], Paths], ...] = (predictions, state, itself)


def sentence(name: str) -> Schema:
    """Return the schema of an object with one sentence."""
    return closed({name: {"type": "string"}})


def closed(properties: Schema) -> Schema:
    """Return the schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def components(version: Version) -> Schema:
    """Return the schemas that the paths refer to."""
    rows = {"minItems": 1, "maxItems": version.limits.rows, "items": ref("Row")}
    sha256 = {"const": version.manifest_sha256}
    rows_predicted = {"type": "array", "items": ref("Prediction")}
    return {
        "Rows": closed({"rows": {"type": "array", **rows}}),
        "Row": schemas.row(version),
        "Predictions": closed(
            {"manifest_sha256": sha256, "predictions": rows_predicted}
        ),
        "Prediction": schemas.prediction(version),
        "Error": sentence("error"),
        "Reason": sentence("reason"),
        "Ok": closed({"status": {"const": "ok"}}),
        "Info": info(version),
    }


def info(version: Version) -> Schema:
    """Return the schema of /info."""
    manifest = version.manifest
    count = {"type": "integer", "minimum": 0}
    lines = closed(dict.fromkeys(("written", "queued", "dropped", "lost"), count))
    text, maybe = {"type": "string"}, {"type": ["string", "null"]}
    constant = ("name", "task", "threshold", "classes", "intervals", "pretrained")
    return closed(
        {
            "manifest_sha256": {"const": version.manifest_sha256},
            **{name: {"const": manifest.get(name)} for name in constant},
            "version": maybe,
            "server_sha256": maybe,
            "environment": maybe,
            "machinery": text,
            "ready": {"type": "boolean"},
            "refused": count,
            "log": {"anyOf": [lines, schemas.NULL]},
        }
    )


def document(version: Version) -> dict[str, Any]:
    """Return the description of a version."""
    paths: Paths = {}
    for describe in DESCRIBED:
        paths |= describe(version)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": version.manifest["name"],
            "version": version.version or version.manifest_sha256[:12],
            "description": OVERVIEW,
            "x-manifest-sha256": version.manifest_sha256,
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components(version)},
    }


def text(version: Version) -> bytes:
    """Return the description as the bytes that are served and released."""
    return json.dumps(document(version), indent=1, allow_nan=False).encode() + b"\n"


def of(
    contract: bytes, manifest: Manifest, manifest_sha256: str, version: str | None
) -> Version:
    """Return what is described, of the bytes of contract.yaml."""
    import yaml  # not at the top: a server has its contract, and needs none for this

    return Version(yaml.safe_load(contract), manifest, manifest_sha256, version)


def from_folder(folder: Path, version: str | None = None) -> Version:
    """Return what a folder with a whole version says; VerifyError if it is altered."""
    manifest = verify(folder)
    contract = read_verified(contract_path(folder), manifest["contract"]["sha256"])
    return of(contract, manifest, sha256_file(folder / MANIFEST), version)


def main() -> None:
    """Write the description of a version to standard output."""
    parser = argparse.ArgumentParser(prog=sys.argv[0], description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, nargs="?", default="build", help="with a version: build")
    add("--version", help="its name, such as v1.0.0")
    options = parser.parse_args()
    try:
        version = from_folder(options.folder, options.version)
    except VerifyError as error:
        raise SystemExit(f"no description: {error} Type `make repro` first.") from None
    sys.stdout.buffer.write(text(version))


if __name__ == "__main__":
    main()
