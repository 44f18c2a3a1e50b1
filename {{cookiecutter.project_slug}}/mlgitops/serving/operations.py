"""The parts of an OpenAPI document: schemas by name, bodies, refusals, a GET path."""

from typing import Any

from mlgitops.serving.schemas import Schema

Paths = dict[str, dict[str, Any]]  # by path, then by method
JSON = "application/json"
HTML = "text/html"


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
    401: {
        "description": "The server requires a token, and got none that is valid.",
        "headers": {"www-authenticate": {"schema": {"type": "string"}}},
    },
    403: {"description": "This is turned off on the server."},
    400: {"description": "The body is not valid JSON, or lacks what it must have."},
    408: {"description": "The body did not arrive in time."},
    413: {"description": "More rows or bytes than one request may have."},
    415: {"description": "The server does not read a body of this type or encoding."},
    422: {
        "description": "A row breaks the contract; the sentence names row and column."
    },
    429: {"description": "Too many requests.", "headers": RETRY},
    431: {"description": "The head is too large or has too many headers."},
    500: {"description": "The server failed; its output says why."},
    503: {
        "description": "No version is ready, or the server is overloaded.",
        "headers": RETRY,
    },
}
ANY = (401, 431, 500, 503)  # can come from any path
BODY = (400, 408, 413, 415)  # from any path that reads a body


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


def post(
    name: str, summary: str, body: Schema, ok: Schema, refused: tuple[int, ...]
) -> dict[str, Any]:
    """Return what a path says to POST, with the content of body and response."""
    responses = {"200": {"description": summary, "content": ok}}
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": body},
        "responses": responses | refusals(*refused),
    }


def unguarded(path: dict[str, Any]) -> dict[str, Any]:
    """Return a path that wants no token."""
    for operation in path.values():
        del operation["responses"]["401"]
    return path


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
