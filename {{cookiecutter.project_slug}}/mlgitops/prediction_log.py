"""The prediction log: the one definition of its lines; standard library only.

The server writes one JSON object per predicted row into `predictions-<day>.jsonl`, by
the UTC day on which it writes, whatever time the row names (`line`, `file_name`). The
monitor, the judge and the audit read lines here and nowhere else (`parse`). Beside
these files lie `unlogged-<day>.jsonl`, where there is reason to: how many responses
have no line, and since when (`Unlogged`). What is shipped (`shipping/`) becomes Parquet
by day; its readers get the same lines.
"""

import hashlib
import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

PATTERN = "predictions-*.jsonl"
UNLOGGED = "unlogged-*.jsonl"
SHADOW = "shadow"  # a folder beside these: what a challenger predicted
SEGMENT = "shipping-*.jsonl"  # a file of these that is on its way (`shipping/`)
DAY = "day="  # a folder for each day, of the parts that were shipped
SHIPPED = {  # where what such a file held is found then
    PATTERN: f"{DAY}*/predictions-*.parquet",
    UNLOGGED: f"{DAY}*/unlogged-*.parquet",  # both also `...-unreadable.parquet`
}
MAX_TEXT = 256  # characters of a category; more where the contract lists a longer one
LONGEST = 2**20  # characters of a line; a longer one is not the server's
EARLIEST = datetime(1700, 1, 1, tzinfo=UTC)  # of an event; a table's times, in
LATEST = datetime(2200, 1, 1, tzinfo=UTC)  # nanoseconds, do not go much further
UNSAID = ("id", "interval", "set")  # of a response: what a line has not, or elsewhere
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
    sample: float = 1.0  # of the rows of that time, the share that was logged
    beside: str | None = None  # the manifest of a canary that could have had the row
    cpu_ms: float | None = None  # of a shadow's line: processor time of the row

    @property
    def event_time(self) -> datetime:
        """The time of the event, for entries that have one."""
        if self.time is None:
            raise ValueError(f"the entry {self.id} has no time")
        return self.time

    @property
    def arrival(self) -> datetime | None:
        """When the server answered, by its clock; None where the line does not say."""
        try:
            return moment(self.logged_at)
        except ValueError:
            return None

    @property
    def is_golden(self) -> bool:
        """Whether a deployment asked this to check the server: nobody's request."""
        return self.time is None and is_golden(self.id)


class Unlogged(NamedTuple):
    """Rows that were answered between two times and have no line in the log."""

    rows: int
    since: datetime
    until: datetime  # when they were counted

    def line(self) -> str:
        """Return the line that says so."""
        since, until = self.since.isoformat(), self.until.isoformat()
        return json.dumps({"rows": self.rows, "since": since, "until": until})


def file_name(day: str, pattern: str = PATTERN) -> str:
    """Return the name of the file for a day such as 2026-11-28."""
    return pattern.replace("*", day)


def max_text(categories: Iterable[str]) -> int:
    """Return how many characters a text may have, by a column's categories."""
    return max(MAX_TEXT, *(len(str(category)) for category in categories), 0)


def metadata(columns: Container[str], timed: bool = True) -> tuple[str, str]:
    """Return what a row calls its id and its time, given the names of its columns.

    That is `id` and `time`; beside a column of that name, `row_id` and `row_time`.
    Where the contract has no time (`timed`), its name is "".
    """
    names = ["id", "time"]
    for index, name in enumerate(names):
        while name in columns:
            name = f"row_{name}"
        names[index] = name
    return names[0], names[1] if timed else ""


def line(
    prediction: Mapping[str, object],
    time: datetime | None,
    manifest_sha256: str,
    version: str | None,
    logged_at: str,
    row: Mapping[str, Value],
    beside: str | None = None,
) -> dict[str, object]:
    """Return the fields of a line; ``prediction`` is the server's response for the row.

    That is its id, with `probability` and `decision`, or `probabilities` by class and
    `class`, or `value`. An interval or a set is not logged: it follows from these and
    the manifest. `beside` is
    the canary that could have had the row, of a line that is not its own.
    """
    tried = {"beside": beside} if beside and "manifest_sha256" not in prediction else {}
    return {
        "id": str(prediction["id"]),
        "time": time and time.isoformat(),
        "manifest_sha256": manifest_sha256,
        "version": version,
        **{name: value for name, value in prediction.items() if name not in UNSAID},
        **tried,
        "logged_at": logged_at,
        "row": row,
    }


def is_golden(row_id: str) -> bool:
    """Return whether an id is one that a deployment gives a golden row."""
    start = GOLDEN[:-2]
    return row_id.startswith(start) and row_id.removeprefix(start).isdecimal()


def in_share(manifest_sha256: str, row_id: object, share: float) -> bool:
    """Return whether a row belongs to a share of all rows, by its id, and a version."""
    digest = hashlib.sha256(f"{manifest_sha256}:{row_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def parse(text: str) -> Entry | None:
    """Return a line as an entry, or None if it is not one.

    What it returns can be put into a table, compared and written to a file: whatever
    a line holds that cannot (a number without an end, half a character, a list where a
    value belongs) makes it no entry.
    """
    try:
        fields = json.loads(text)
        if "\\u" in text:  # half a character can only be written this way
            json.dumps(fields, ensure_ascii=False).encode()
        time = moment(fields["time"]) if fields["time"] else None
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
            {_shared(name): _value(value) for name, value in fields["row"].items()},
            _sample(fields.get("sample", 1.0)),
            _shared(fields.get("beside")),
            _milliseconds(fields.get("cpu_ms")),
        )
    except (ArithmeticError, ValueError, LookupError, TypeError):
        return None
    except (AttributeError, RecursionError):
        return None


def in_order(entry: Entry, text: str, classes: Sequence[str]) -> bool:
    """Put an entry's probabilities into the order of classes, if it has these.

    ``text`` is its line: a version may list its classes otherwise than another one.
    """
    if isinstance(entry.prediction, list) != bool(classes):
        return False
    if not classes:
        return True
    by_class = json.loads(text).get("probabilities")
    if not isinstance(by_class, dict) or {*by_class} != {*classes}:
        return False
    entry.prediction = [float(by_class[name]) for name in classes]
    return True


def parse_unlogged(text: str) -> Unlogged | None:
    """Return what a line of `UNLOGGED` counts, or None if it is not one."""
    try:
        fields = json.loads(text)
        rows, times = (
            fields["rows"],
            [moment(fields[name]) for name in ("since", "until")],
        )
    except (ArithmeticError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return Unlogged(rows, *times) if type(rows) is int and rows > 0 else None


def moment(text: Any) -> datetime:
    """Return a time, in UTC where it does not say; ValueError or TypeError if none."""
    time = datetime.fromisoformat(text)
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    if not EARLIEST < time < LATEST:
        raise ValueError("not a time that a table can hold")
    return time


def _sample(share: Any) -> float:
    """Return the share of rows that are logged; ValueError or TypeError if none."""
    if not 0 < (share := float(share)) <= 1:
        raise ValueError("not a share")
    return float(share)


def _milliseconds(value: Any) -> float | None:
    """Return a time, where a line has one; ValueError or TypeError if it is none."""
    if value is None:
        return None
    if not 0 <= (number := float(value)) < 1e9:
        raise ValueError("not a time")
    return number


def _value(value: Any) -> Value:
    """Return a value of a row; TypeError or OverflowError if it cannot be one."""
    if type(value) is str:
        value = _shared(value)
    elif type(value) is int:
        float(value)  # hundreds of digits are no number to compute with
    elif value is not None and type(value) not in (float, bool):
        raise TypeError("not a value")
    return value  # type: ignore[no-any-return]


def _shared(value: Any) -> Any:
    """Return text as the same object as in other entries, to save memory.

    Each line brings its own copy of every column's name, which is most of its size.
    """
    return _pooled(value) if type(value) is str and len(value) <= MAX_TEXT else value


@lru_cache(maxsize=4096)
def _pooled(text: str) -> str:
    """Return the text that was first like this, of the last few thousand texts."""
    return text


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
