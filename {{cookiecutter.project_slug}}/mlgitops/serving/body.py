"""The body of a request with rows in JSON, which /predict and /explain read alike."""

import json
from math import isfinite

import msgspec

from mlgitops.prediction_log import Value
from mlgitops.serving.reasons import Reason
from mlgitops.serving.routes import RefusalError


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """The body."""

    rows: list[dict[str, Value]]


DECODE = msgspec.json.Decoder(Request).decode


def rows_of(body: bytes, limit: int) -> list[dict[str, Value]]:
    """Return the rows of a body; RefusalError where it has none, or too many."""
    try:
        rows = DECODE(body).rows
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _refusal(body, error) from None
    count = len(rows)
    if not 0 < count <= limit:
        message = f"the body has {count} rows; 1 to {limit} are allowed."
        if rows:
            raise RefusalError(413, Reason.TOO_LARGE, message)
        raise RefusalError(422, Reason.MALFORMED, message)
    return rows


def _refusal(body: bytes, error: Exception) -> RefusalError:
    """Return what is wrong with a body: a number that is none, by its row and column.

    NaN, Infinity, and a number without end, as Python's and JavaScript's writers and
    readers know them, are not in JSON; so the decoder only knows the byte.
    """
    try:
        for index, row in enumerate(json.loads(body, parse_int=float)["rows"]):
            for name, value in row.items():
                if isinstance(value, float) and not isfinite(value):
                    column = f"row {index}: column {name!r:.80}"
                    sentence = f"{column} is not a finite 32-bit number."
                    return RefusalError(422, Reason.NOT_FINITE, sentence)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass  # something else is wrong, or with something else than a row
    sentence = f'the body is not {{"rows": [{{...}}, ...]}}: {error}.'
    return RefusalError(400, Reason.MALFORMED, sentence)
