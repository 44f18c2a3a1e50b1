"""The body of a request with rows in JSON, which /predict and /explain read alike."""

import msgspec

from mlgitops.prediction_log import Value
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
        message = f'the body is not {{"rows": [{{...}}, ...]}}: {error}.'
        raise RefusalError(400, message) from None
    count = len(rows)
    if not 0 < count <= limit:
        message = f"the body has {count} rows; 1 to {limit} are allowed."
        raise RefusalError(413 if rows else 422, message)
    return rows
