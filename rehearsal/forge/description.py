"""The part of GitHub's own description that covers the forge's routes and events.

``python -m rehearsal.forge.description`` writes ``description.json`` anew from the npm
packages ``@octokit/openapi`` (requests, answers) and ``@octokit/webhooks-examples``
(payloads). The forge holds requests against it, the tests every answer and payload.
"""

import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from .forge import ROUTES
from .routes import TABLE
from .schemas import FILE
from .state import Json

OPENAPI = ("@octokit/openapi", "package/generated/api.github.com.json")
EXAMPLES = ("@octokit/webhooks-examples", "package/api.github.com/index.json")
EVENTS = ("push", "pull_request", "workflow_run", "workflow_dispatch")
NAMES = {str: "string", bool: "boolean", int: "integer", float: "number"}
SCHEMA_KEYS = "type enum items properties required anyOf oneOf allOf nullable".split()


def fetch(package: str, file: str) -> Any:
    """Return a JSON file of a package, from the registry that npm uses."""
    with tempfile.TemporaryDirectory() as folder:
        command = ("npm", "pack", "--silent", package)
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            member = packed.extractfile(file)
            assert member
            return json.load(member)


def shape(path: str) -> str:
    """Return a path with nameless parameters, so that two spellings compare."""
    return re.sub(r"\{\w+\}|(?<=/)zip$", "{}", path)


def extract(description: Json) -> Json:
    """Return the operations of the forge's routes, and the schemas that they need."""
    paths = {shape(path): item for path, item in description["paths"].items()}
    operations: Json = {}
    schemas: Json = {}
    for route in TABLE:
        operation = paths[shape(route.path)][route.method.lower()]
        response = operation["responses"].get(str(route.status), {})
        if "$ref" in response:
            response = _resolve(description, response["$ref"])
        content = response.get("content", {}).get("application/json", {})
        entry = operations[f"{route.method} {route.path}"] = {
            "statuses": sorted(operation["responses"]),
            "schema": _reduce(description, content.get("schema", {}), schemas),
            "query": _query(description, operation),
        }
        sent = operation.get("requestBody", {}).get("content", {})
        if body := sent.get("application/json", {}).get("schema"):
            entry["body"] = _reduce(description, body, schemas)
    return {
        "version": description["info"]["version"],
        "operations": operations,
        "schemas": dict(sorted(schemas.items())),
    }


def _query(description: Json, operation: Json) -> Json:
    """Return what an operation's query may name, each with GitHub's default."""
    parameters = [
        _resolve(description, p["$ref"]) if "$ref" in p else p
        for p in operation.get("parameters", [])
    ]
    return {
        p["name"]: p["schema"].get("default") for p in parameters if p["in"] == "query"
    }


def payloads(examples: list[Json]) -> Json:
    """Return a schema for each event: the keys and types in GitHub's examples."""
    examples_of = {each["name"]: each["examples"] for each in examples}
    return {event: _schema(examples_of[event]) for event in EVENTS}


def _schema(values: list[Any]) -> Json:
    """Return the schema of values that were seen in one place."""
    present = [value for value in values if value is not None]
    null: Json = {"nullable": True} if len(present) < len(values) else {}
    if not present:
        return {}
    if all(isinstance(value, dict) for value in present):
        keys = sorted({key for value in present for key in value})
        properties = {k: _schema([v[k] for v in present if k in v]) for k in keys}
        return {"type": "object", "properties": properties, **null}
    if all(isinstance(value, list) for value in present):
        items = _schema([item for value in present for item in value])
        return {"type": "array", "items": items, **null}
    kinds = sorted({NAMES[type(value)] for value in present if type(value) in NAMES})
    return {"type": kinds[0], **null} if len(kinds) == 1 else {}


def _resolve(description: Json, ref: str) -> Any:
    """Return what a reference points to."""
    target: Any = description
    for key in ref.removeprefix("#/").split("/"):
        target = target[key]
    return target


def _reduce(description: Json, schema: Any, schemas: Json) -> Any:
    """Return a schema without prose; collect the ones that it refers to."""
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].split("/")[-1]
        if name not in schemas:
            schemas[name] = {}
            target = _resolve(description, schema["$ref"])
            schemas[name] = _reduce(description, target, schemas)
        return {"$ref": f"#/schemas/{name}"}
    reduced: Json = {}
    for key in SCHEMA_KEYS:
        value = schema.get(key)
        if value is None:
            continue
        if key == "properties":
            reduced[key] = {
                name: _reduce(description, each, schemas)
                for name, each in value.items()
            }
        elif isinstance(value, list) and key not in ("enum", "type", "required"):
            reduced[key] = [_reduce(description, each, schemas) for each in value]
        else:
            reduced[key] = _reduce(description, value, schemas)
    return reduced


def text(extracted: Json) -> str:
    """Return the extract as JSON, one operation, schema or event on each line."""
    members = [f'"version": {json.dumps(extracted["version"])}']
    for key in ("operations", "schemas", "events"):
        rows = (
            f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}"
            for name, value in sorted(extracted[key].items())
        )
        members.append(f'"{key}": {{\n' + ",\n".join(rows) + "\n}")
    return "{\n" + ",\n".join(members) + "\n}\n"


if __name__ == "__main__":
    assert ROUTES  # their import has filled the table
    extracted = {**extract(fetch(*OPENAPI)), "events": payloads(fetch(*EXAMPLES))}
    FILE.write_text(text(extracted), encoding="utf-8")
