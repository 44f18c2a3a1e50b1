"""GitHub's own description of its API, and what in a value breaks it."""

import json
from pathlib import Path
from typing import Any

from .state import Json, Refusal

FILE = Path(__file__).with_name("description.json")
DESCRIPTION: Json = json.loads(FILE.read_text(encoding="utf-8"))
TYPES: dict[str, type | tuple[type, ...]] = {
    "array": list,
    "object": dict,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def hold(
    operation: str, known: frozenset[str], query: dict[str, str], data: bytes
) -> None:
    """Hold a request against the description: no misspelt name, no wrong type.

    GitHub takes some of them and does nothing with them, in which a mistake could hide.

    Raises:
        Refusal: 422, with what is wrong.
    """
    if unknown := query.keys() - known:
        raise Refusal(422, f"Invalid request. The forge has no query {min(unknown)!r}.")
    schema = DESCRIPTION["operations"].get(operation, {}).get("body")
    if schema is None:
        return
    try:
        body = json.loads(data or b"{}")
    except ValueError as error:
        raise Refusal(400, "Problems parsing JSON") from error
    if problems := wrong(schema, body, complete=True):
        raise Refusal(422, f"Invalid request. {'; '.join(problems)}")


def wrong(
    schema: Any, value: Any, at: str = "$", *, complete: bool = False
) -> list[str]:
    """Say what in a value a schema does not allow.

    Missing keys are allowed, as the forge leaves much out of what it answers, unless
    the value has to be ``complete``.
    """
    if "$ref" in schema:
        named = DESCRIPTION["schemas"][schema["$ref"].split("/")[-1]]
        return wrong(named, value, at, complete=complete)
    if value is None and (schema.get("nullable") or not schema):
        return []
    problems: list[str] = []
    for key in ("anyOf", "oneOf"):
        if key in schema:
            found = [wrong(e, value, at, complete=complete) for e in schema[key]]
            problems += sorted(found, key=len)[0]
    if "allOf" in schema:
        return problems + wrong(_merged(schema), value, at, complete=complete)
    kind = schema.get("type")
    if kind and not _is(kind, value):
        return [f"{at}: {value!r} is not of type {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at}: must be one of {schema['enum']}, got {value!r}"]
    if isinstance(value, list):
        for i, each in enumerate(value):
            items = schema.get("items", {})
            problems += wrong(items, each, f"{at}[{i}]", complete=complete)
    elif isinstance(value, dict):
        problems += _wrong_keys(schema, value, at, complete)
    return problems


def _wrong_keys(schema: Any, value: Json, at: str, complete: bool) -> list[str]:
    """Say what in an object is wrong."""
    missing = set(schema.get("required", [])) - value.keys() if complete else ()
    problems = [f"{at}.{key}: GitHub needs it" for key in sorted(missing)]
    known = schema.get("properties") or {}
    for key, each in value.items() if known else ():
        if key in known:
            problems += wrong(known[key], each, f"{at}.{key}", complete=complete)
        else:
            problems.append(f"{at}.{key}: GitHub has no such key")
    return problems


def _is(kind: str, value: Any) -> bool:
    """Compare a value with a JSON type; a boolean is not a number."""
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, TYPES[kind])


def _merged(schema: Any) -> Any:
    """Return the parts of an allOf as one object."""
    merged: Json = {"type": "object", "properties": {}, "required": []}
    for part in schema["allOf"]:
        if "$ref" in part:
            part = DESCRIPTION["schemas"][part["$ref"].split("/")[-1]]
        part = _merged(part) if "allOf" in part else part
        merged["properties"] |= part.get("properties", {})
        merged["required"] += part.get("required", [])
    return merged
