"""Common spellings of clients, read as the contract's types; off unless asked for.

"12" is a number, 1 and "true" are booleans, and a number is the text of a category as
JSON writes it. Nothing else is guessed: what does not fit stays as it is, and is
refused. A response says which columns of a row were changed, and the log has the values
that the model saw.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from mlgitops.serving.rows import Column

NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def coerced(row: dict[str, Any], schema: Mapping[str, Column]) -> list[str]:
    """Change a row's values to the types of the contract; return the columns changed.

    A column that is not in the contract, or a value that cannot be read as its type,
    stays as it is.
    """
    changed = []
    for name, value in row.items():
        column = schema.get(name)
        if column is None or value is None:
            continue
        parsed = PARSERS[column.type](value)
        if parsed is not None:
            row[name] = parsed
            changed.append(name)
    return changed


def _number(value: object) -> int | float | None:
    """Return the number that a text spells in JSON, or None."""
    if type(value) is not str or not NUMBER.fullmatch(value):
        return None
    return int(value) if value.lstrip("-").isdecimal() else float(value)


def _boolean(value: object) -> bool | None:
    """Return true or false for 1, 0 and their texts, or None."""
    if type(value) is str:
        return BOOLEANS.get(value)
    return bool(value) if type(value) in (int, float) and value in (0, 1) else None


def _text(value: object) -> str | None:
    """Return the JSON text of a number, or None."""
    return repr(value) if type(value) in (int, float) else None


def _nothing(_value: object) -> None:
    """Return None: a number is no time, as it does not say of what unit."""


PARSERS: Mapping[str, Callable[[object], Any]] = {
    "number": _number,
    "integer": _number,
    "boolean": _boolean,
    "category": _text,
    "datetime": _nothing,
    "text": _text,
}
