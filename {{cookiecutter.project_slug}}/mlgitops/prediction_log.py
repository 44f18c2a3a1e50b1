"""The prediction log: the one definition of its lines; standard library only.

The server writes one JSON object per predicted row into `predictions-<day>.jsonl`, by
the day of the row's event (`line`, `file_name`). The monitor, the judge and the audit
read lines here and nowhere else (`parse`).
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any

PATTERN = "predictions-*.jsonl"
GOLDEN = "golden-{}"  # the id of a golden row that a deployment asks a server

Value = str | int | float | bool | None


@dataclass(slots=True)
class Entry:
    """One predicted row, as it was logged."""

    id: str
    time: datetime | None  # of the event; None where the request had none
    manifest_sha256: str
    version: str | None
    prediction: float | list[float]  # P(1), P of each class in order, or a number
    decision: bool | str | None  # P(1) >= threshold; the likeliest class; None
    logged_at: str
    row: dict[str, Value]

    @property
    def event_time(self) -> datetime:
        """The time of the event, for entries that have one."""
        if self.time is None:
            raise ValueError(f"the entry {self.id} has no time")
        return self.time

    @property
    def is_golden(self) -> bool:
        """Whether a deployment asked this to check the server: nobody's request."""
        start, number = GOLDEN[:-2], self.id.removeprefix(GOLDEN[:-2])
        return self.time is None and self.id.startswith(start) and number.isdecimal()


def file_name(day: str) -> str:
    """Return the name of the file for a day such as 2026-11-28."""
    return PATTERN.replace("*", day)


def line(
    prediction: Mapping[str, object],
    time: datetime | None,
    manifest_sha256: str,
    version: str | None,
    logged_at: str,
    row: Mapping[str, Value],
) -> dict[str, object]:
    """Return the fields of a line; ``prediction`` is the server's response for the row.

    That is its id, with `probability` and `decision`, or `probabilities` by class and
    `class`, or `value`.
    """
    return {
        "id": str(prediction["id"]),
        "time": time and time.isoformat(),
        "manifest_sha256": manifest_sha256,
        "version": version,
        **{name: value for name, value in prediction.items() if name != "id"},
        "logged_at": logged_at,
        "row": row,
    }


def parse(text: str) -> Entry | None:
    """Return a line as an entry, or None if it is not one."""
    try:
        fields = json.loads(text)
        time = datetime.fromisoformat(fields["time"]) if fields["time"] else None
        if time is not None and time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        version, decision = fields.get("version"), fields.get("decision")
        decision = fields.get("class") if decision is None else decision
        return Entry(
            str(fields["id"]),
            time,
            _shared(str(fields["manifest_sha256"])),
            _shared(version),
            _prediction(fields),
            _shared(decision),
            _shared(str(fields.get("logged_at") or "")),
            {_shared(name): _shared(value) for name, value in fields["row"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _shared(value: Any) -> Any:
    """Return text as the same object as in other entries, to save memory.

    Each line brings its own copy of every column's name, which is most of its size.
    """
    return sys.intern(value) if type(value) is str else value


def _prediction(fields: Mapping[str, Any]) -> float | list[float]:
    """Return the prediction; ValueError, KeyError or TypeError where there is none."""
    if "value" in fields:
        if not isfinite(value := float(fields["value"])):
            raise ValueError("not a number")
        return value
    by_class = fields.get("probabilities")
    if isinstance(by_class, Mapping):  # in the order of the version's own list
        by_class = list(by_class.values())
    probabilities = [float(p) for p in (by_class or [fields["probability"]])]
    if not all(0 <= p <= 1 for p in probabilities):
        raise ValueError("not a probability")
    return probabilities if by_class else probabilities[0]
