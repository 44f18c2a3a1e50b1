"""Lines of the prediction log for many rows at once; what they hold says `line`.

A type is made for each set of names that a prediction has, as msgspec writes that
faster than a dict. A test holds both to the same bytes.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from mlgitops.prediction_log import UNSAID, line
from mlgitops.serving.predictions import Prediction

ENCODER = msgspec.json.Encoder()


def lines(
    predictions: Sequence[Prediction],
    times: Sequence[datetime | None],
    manifest_sha256: str,
    version: str | None,
    logged_at: str,
    rows: Iterable[Any],
) -> list[bytes]:
    """Return the line of each row, as `prediction_log.line` has its fields.

    All predictions are the version's own and have the same names.
    """
    if len(predictions) == 1:  # for which to make a record takes longer
        (row,) = rows
        facts = (manifest_sha256, version, logged_at)
        return [ENCODER.encode(line(predictions[0], times[0], *facts, row)) + b"\n"]
    names = tuple(name for name in predictions[0] if name not in UNSAID)
    record = _record(names)
    records = [
        record(
            str(prediction["id"]),
            time and time.isoformat(),
            manifest_sha256,
            version,
            *[prediction[name] for name in names],
            logged_at,
            row,
        )
        for prediction, time, row in zip(predictions, times, rows, strict=True)
    ]
    return ENCODER.encode_lines(records).splitlines(keepends=True)


@lru_cache(maxsize=16)
def _record(names: tuple[str, ...]) -> Callable[..., Any]:
    """Return what makes the fields of a line, in their order."""
    fields = {"id": "id", "time": "time", "manifest_sha256": "manifest_sha256"}
    fields |= {"version": "version"} | {f"named_{n}": f for n, f in enumerate(names)}
    fields |= {"logged_at": "logged_at", "row": "row"}
    return msgspec.defstruct("Line", [*fields], rename=fields, gc=False)
