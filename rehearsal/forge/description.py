"""The part of GitHub's own OpenAPI description that covers the forge's routes.

``python -m rehearsal.forge.description`` writes ``description.json`` anew from the npm
package ``@octokit/openapi``; the tests hold every answer of the forge against it.
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
from .state import Json

FILE = Path(__file__).with_name("description.json")
SOURCE = "package/generated/api.github.com.json"
KEPT = ("type", "enum", "items", "properties", "anyOf", "oneOf", "allOf", "nullable")


def fetch() -> Json:
    """Return GitHub's description, from the package registry that npm uses."""
    with tempfile.TemporaryDirectory() as folder:
        command = ("npm", "pack", "--silent", "@octokit/openapi")
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            member = packed.extractfile(SOURCE)
            assert member
            found: Json = json.load(member)
            return found


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
        answer = operation["responses"].get(str(route.status), {})
        if "$ref" in answer:
            answer = _resolve(description, answer["$ref"])
        content = answer.get("content", {}).get("application/json", {})
        operations[f"{route.method} {route.path}"] = {
            "statuses": sorted(operation["responses"]),
            "schema": _reduce(description, content.get("schema", {}), schemas),
        }
    return {
        "version": description["info"]["version"],
        "operations": operations,
        "schemas": dict(sorted(schemas.items())),
    }


def _resolve(description: Json, ref: str) -> Any:
    """Return what a reference points to."""
    found: Any = description
    for key in ref.removeprefix("#/").split("/"):
        found = found[key]
    return found


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
    found: Json = {}
    for key in KEPT:
        value = schema.get(key)
        if value is None:
            continue
        if key == "properties":
            found[key] = {
                name: _reduce(description, each, schemas)
                for name, each in value.items()
            }
        elif isinstance(value, list) and key != "enum" and key != "type":
            found[key] = [_reduce(description, each, schemas) for each in value]
        else:
            found[key] = _reduce(description, value, schemas)
    return found


def text(extracted: Json) -> str:
    """Return the extract as JSON, one operation or schema on each line."""
    parts = [f'"version": {json.dumps(extracted["version"])}']
    for key in ("operations", "schemas"):
        rows = (
            f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}"
            for name, value in sorted(extracted[key].items())
        )
        parts.append(f'"{key}": {{\n' + ",\n".join(rows) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    assert ROUTES  # their import has filled the table
    FILE.write_text(text(extract(fetch())), encoding="utf-8")
