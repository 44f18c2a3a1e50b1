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

from mlgitops.serving import examples, open_inference_api, schemas
from mlgitops.serving.operations import (
    BODY,
    HTML,
    Paths,
    closed,
    content,
    get,
    post,
    ref,
    sentence,
    unguarded,
)
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
OVERVIEW = (
    "One version of a model and the server that predicts with it. A path that is not "
    "listed here gets 404, another method of a listed path 405 and the header "
    "`allow`. A refusal is one sentence. If the bytes are not HTTP, the head is too "
    "large or the server has to close the connection, the response has no body."
)


ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"


def predictions(version: Version) -> Paths:
    """Describe POST /predict."""
    operation = post(
        "predict",
        "Predict rows.",
        content(ref("Rows"), golden=examples.body(version)),
        content(ref("Predictions"), golden=examples.response(version)),
        (*BODY, 422),
    )
    operation["description"] = (
        "All rows are predicted, or none. A prediction is in the log before the "
        f"response is sent. A body may also be {ARROW} or {PARQUET}, with a column for "
        "each field of a row. If `accept` names the former, the response is Arrow too."
    )
    operation["x-codeSamples"] = examples.clients(version)
    return {"/predict": {"post": operation}}


def reasons(version: Version) -> Paths:
    """Describe POST /explain and the page that asks it."""
    some = closed({"rows": {"type": "array", "minItems": 1, "items": ref("Row")}})
    some["properties"]["rows"]["maxItems"] = EXPLAINED
    operation = post(
        "explain",
        "Explain how each column moved a prediction.",
        content(some, golden=examples.body(version)),
        content(ref("Explanations")),
        (*BODY, 403, 422, 429),
    )
    operation["description"] = (
        "Nothing is logged, so take decisions from /predict. /explain has its own rate "
        "limit."
    )
    page = content({"type": "string"}, HTML)
    path = get("page", "A page to try a row, if it is turned on.", page)
    return {"/explain": {"post": operation}, "/": unguarded(path)}


def state(_version: Version) -> Paths:
    """Describe what says how the server is."""
    ok, text = content(ref("Ok")), content({"type": "string"}, "text/plain")
    return {
        "/health/live": unguarded(get("live", "Whether the process runs.", ok)),
        "/health/ready": unguarded(
            get("ready", "Whether the server can predict.", ok, ref("Reason"))
        ),
        "/info": get("info", "Which version runs.", content(ref("Info"))),
        "/metrics": get("metrics", "What the server counts, for Prometheus.", text),
    }


def itself(_version: Version) -> Paths:
    """Describe the description."""
    document, page = content({"type": "object"}), content({"type": "string"}, HTML)
    return {
        "/openapi.json": get("openapi", "This description.", document),
        "/docs": get("docs", "This description, as a page.", page),
    }


DESCRIBED: tuple[Callable[[Version], Paths], ...] = (
    predictions,
    reasons,
    state,
    itself,
    open_inference_api.paths,
)
EXPLAINED = 5  # rows of one request for reasons, as in explain.py


def components(version: Version) -> Schema:
    """Return the schemas that the paths refer to."""
    rows = {"minItems": 1, "maxItems": version.limits.rows, "items": ref("Row")}
    rows_predicted = {"type": "array", "items": ref("Prediction")}
    return {
        "Rows": closed({"rows": {"type": "array", **rows}}),
        "Row": schemas.row(version),
        "Predictions": closed({**identity(version), "predictions": rows_predicted}),
        "Prediction": schemas.prediction(version),
        "Explanations": explanations(version),
        **open_inference_api.components(),
        "Error": sentence("error"),
        "Reason": sentence("reason"),
        "Ok": closed({"status": {"const": "ok"}}),
        "Info": info(version),
    }


def identity(version: Version) -> Schema:
    """Return the properties that say which version responds: as `App.identity`."""
    return {name: {"const": value} for name, value in version.identity.items()}


def explanations(version: Version) -> Schema:
    """Return the schema of reasons."""
    number, text = {"type": "number"}, {"type": "string"}
    inputs = [*version.manifest["columns"]]
    by_column = closed(dict.fromkeys(inputs, number))
    one = closed(
        {
            "prediction": ref("Prediction"),
            "output": text,
            "class": {"type": "string"},
            "value": number,
            "baseline": number,
            "contributions": by_column,
            "exact": {"type": "boolean"},
            "standard_errors": {"anyOf": [by_column, schemas.NULL]},
            "method": text,
            "source": text,
        }
    )
    if version.manifest["task"] != "multiclass":
        one["required"].remove("class")
    return closed(
        {
            **identity(version),
            "logged": {"const": False},
            "reference": text,
            "explanations": {"type": "array", "items": one},
        }
    )


def info(version: Version) -> Schema:
    """Return the schema of /info."""
    manifest = version.manifest
    count = {"type": "integer", "minimum": 0}
    lines = closed(dict.fromkeys(("written", "queued", "dropped", "lost"), count))
    text, maybe = {"type": "string"}, {"type": ["string", "null"]}
    constant = ("name", "task", "threshold", "classes", "intervals", "pretrained")
    lines["properties"]["left_out"] = count  # where a sample is logged
    known = closed(
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
    for name in ("canary", "shadow"):  # where the server has one
        known["properties"][name] = {"type": "object"}
    return known


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
