"""JSON Schemas of what a version takes and returns; pure, standard library only.

What `rows.py` checks with code is said here in the words of JSON Schema 2020-12, so
that clients can be generated and tested. A test holds the two to the same rows.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mlgitops.prediction_log import max_text, metadata
from mlgitops.serving.routes import LIMITS, Limits

Schema = dict[str, Any]
MAX_ID = 200  # characters of a row's id, as in rows.py
MAX_INTEGER = 2**24  # of an integer, as in rows.py
FLOAT32 = float(2**128 - 2**103)  # from here on a number rounds to infinity
SHOWN = 12  # categories that a description lists; contract.yaml has all
# A time that every calendar has, of years that no zone moves out of 1700 to 2200.
YEAR = "(170[1-9]|17[1-9][0-9]|1[89][0-9]{2}|20[0-9]{2}|21[0-8][0-9]|219[0-8])"
LEAP = "((17|18|19|21)(0[48]|[2468][048]|[13579][26])|20([02468][048]|[13579][26]))"
DAY = (
    f"({YEAR}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|"
    "(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|"
    f"{LEAP}-02-29)"
)
CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
OFFSET = "(Z|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])"
TIME = f"^{DAY}([T ]{CLOCK}(:[0-5][0-9](\\.[0-9]{{1,6}})?)?{OFFSET}?)?$"
NULL: Schema = {"type": "null"}


class Version(NamedTuple):
    """What a description is made of; the same facts give the same bytes."""

    contract: Mapping[str, Any]
    manifest: Mapping[str, Any]
    manifest_sha256: str
    version: str | None = None  # such as v1.0.0, where it is registered
    limits: Limits = LIMITS

    @property
    def columns(self) -> dict[str, Mapping[str, Any]]:
        """The columns that a request may have, by name."""
        return {str(name): c for name, c in self.contract["columns"].items()}

    @property
    def identity(self) -> dict[str, str]:
        """What every response says of the version: its manifest and its name."""
        named = {"version": self.version} if self.version else {}
        return {"manifest_sha256": self.manifest_sha256, **named}

    @property
    def names(self) -> tuple[str, str]:
        """What a row calls its id, and its time: "" where rows have none."""
        return metadata(self.columns, bool(self.contract.get("time")))


def row(version: Version) -> Schema:
    """Return the schema of one row of a request."""
    id_name, time_name = version.names
    digits = {"minimum": 1 - 10 ** (MAX_ID - 1), "maximum": 10**MAX_ID - 1}
    properties: Schema = {
        id_name: {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": MAX_ID},
                {"type": "integer", **digits},
                NULL,
            ],
            "description": "Unique; the prediction log and its labels name it. "
            "Without one, the server makes one.",
        }
    }
    if time_name:
        properties[time_name] = {
            "type": ["string", "null"],
            "pattern": TIME,
            "description": "When the event happens, ISO 8601; UTC where it does not "
            "say. The monitor goes by it.",
        }
    for name, entry in version.columns.items():
        unknown = entry.get("unknown", version.contract.get("unknown", "predict"))
        properties[name] = column(entry, unknown == "refuse")
    needed = [name for name, entry in version.columns.items() if not entry["missing"]]
    return {
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": False,
    }


def column(entry: Mapping[str, Any], closed: bool = False) -> Schema:
    """Return the schema of one column; a closed one has no other categories."""
    kind, missing = entry["type"], bool(entry["missing"])
    schema = TYPES[kind](entry)
    if closed and kind == "category":
        rest = ["", None] if missing else []
        schema["enum"] = [*map(str, entry.get("categories") or ()), *rest]
    if kind in ("category", "text") and not missing:
        schema["minLength"] = 1
    if missing:
        schema["type"] = [schema["type"], "null"]
    if description := ranges(entry, closed):
        schema["description"] = description
    return schema


def _number(_entry: Mapping[str, Any]) -> Schema:
    """A number that is finite as float32."""
    return {
        "type": "number",
        "exclusiveMinimum": -FLOAT32,
        "exclusiveMaximum": FLOAT32,
    }


def _text(entry: Mapping[str, Any]) -> Schema:
    """A text of so many characters; a category that training never saw is taken."""
    longest = entry.get("max_length") or max_text(entry.get("categories") or ())
    return {"type": "string", "maxLength": longest}


TYPES: dict[str, Callable[[Mapping[str, Any]], Schema]] = {  # of contract.yaml
    "number": _number,
    "integer": lambda _: {
        "type": "integer",
        "minimum": -MAX_INTEGER,
        "maximum": MAX_INTEGER,
    },
    "boolean": lambda _: {"type": "boolean"},
    "category": _text,
    "text": _text,
    "datetime": lambda _: {"type": "string", "pattern": TIME},
}


def ranges(entry: Mapping[str, Any], closed: bool = False) -> str:
    """Say what training knows of a column; beyond it a row is predicted too."""
    categories = [str(category) for category in entry.get("categories") or ()]
    parts = []
    if categories:
        names = ", ".join(categories[:SHOWN])
        more = len(categories) - SHOWN
        rest = f" and {more} more in contract.yaml" if more > 0 else ""
        other = "refused" if closed else "predicted and counted"
        parts.append(f"Known: {names}{rest}; another one is {other}.")
    ends = [f"{label} {entry[key]}" for key, label in ENDS.items() if key in entry]
    if ends:
        parts.append(f"Known {' '.join(ends)}; beyond, it is predicted and counted.")
    if entry["missing"]:
        parts.append("May be missing.")
    return " ".join(parts)


ENDS = {"min": "from", "max": "to"}


def prediction(version: Version) -> Schema:
    """Return the schema of the prediction of one row."""
    manifest = version.manifest
    properties: Schema = {"id": {"type": ["string", "integer"]}}
    properties |= OUTPUTS[manifest["task"]](manifest)
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    } | {"properties": properties | BESIDE}


BESIDE: Schema = {  # of a prediction, where the server was started with the option
    "coerced": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Columns that were sent as another type (--coerce).",
    },
    "manifest_sha256": {
        "type": "string",
        "description": "Of the canary, if it is its.",
    },
    "version": {"type": ["string", "null"], "description": "Of the canary."},
}


def _decided(manifest: Mapping[str, Any], name: str, schema: Schema) -> Schema:
    """A decision, null where a version abstains, and its set beside it."""
    stated = manifest.get("intervals")
    if not stated:
        return {name: schema}
    if stated["abstain"]:
        schema = {"anyOf": [schema, NULL]}
    members = manifest.get("classes") or [0, 1]
    meaning = f"What the truth is to be among, with the chance {stated['coverage']:g}."
    items = {"enum": [*members]}
    return {
        name: schema,
        "set": {
            "type": "array",
            "items": items,
            "uniqueItems": True,
            "description": meaning,
        },
    }


PROBABILITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}


def _binary(manifest: Mapping[str, Any]) -> Schema:
    """The probability of 1, and whether it reaches the threshold."""
    threshold = f"Whether the probability reaches {manifest['threshold']:g}."
    decision = {"type": "boolean", "description": threshold}
    return {"probability": PROBABILITY, **_decided(manifest, "decision", decision)}


def _multiclass(manifest: Mapping[str, Any]) -> Schema:
    """The probability of each class, and the likeliest class."""
    classes = list(manifest["classes"])
    probabilities = {
        "type": "object",
        "properties": dict.fromkeys(classes, PROBABILITY),
        "required": classes,
        "additionalProperties": False,
    }
    likeliest = _decided(manifest, "class", {"enum": classes})
    return {"probabilities": probabilities, **likeliest}


def _regression(manifest: Mapping[str, Any]) -> Schema:
    """The number, and between which numbers the truth is to be."""
    fields: Schema = {"value": {"type": "number"}}
    if stated := manifest.get("intervals"):
        meaning = f"Where the truth is to be, with the chance {stated['coverage']:g}."
        ends = {"items": {"type": "number"}, "minItems": 2, "maxItems": 2}
        fields["interval"] = {"type": "array", **ends, "description": meaning}
    return fields


OUTPUTS = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}
