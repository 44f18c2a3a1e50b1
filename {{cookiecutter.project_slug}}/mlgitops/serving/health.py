"""How a server is doing since it started, from its counts, as HTML."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import accumulate
from math import inf
from typing import Any

from mlgitops.serving.metrics import BUCKETS, STATES, Counts

Cells = tuple[str, str, bool]  # what, how much, whether it deserves attention


def health(counts: Counts, info: Mapping[str, Any], seconds: float) -> str:
    """Return the numbers; `info` is what /info says, `seconds` since the start."""
    state = "Ready" if info["ready"] else "Not ready"
    mark = "good" if info["ready"] else "bad"
    rows = [
        *_requests(counts),
        *_unseen("Unknown categories", counts.unknown),
        *_unseen("Numbers out of range", counts.outside),
        *_log(info["log"]),
    ]
    cells = "".join(
        f'<tr{" class=attention" if attention else ""}><th scope="row">{name}</th>'
        f"<td>{escape(value)}</td></tr>"
        for name, value, attention in rows
    )
    return (
        '<section id="health" aria-labelledby="health-title">'
        '<h2 id="health-title">Health</h2>\n'
        f'<p><b class="{mark}">{state}</b>, running for {_duration(seconds)}. Numbers '
        "of this server since its start: "
        '<button type="button" id="refresh" class="quiet">Refresh</button></p>\n'
        f"<table>{cells}</table></section>"
    )


def _requests(counts: Counts) -> list[Cells]:
    """Return how requests were answered, and how fast."""
    served, refused, failed = _statuses(counts, "/predict")
    explained, not_explained, broken = _statuses(counts, "/explain")
    durations = counts.durations
    rows = [
        ("Predictions", f"{_many(served)}, {_many(counts.rows, 'row')}", False),
        ("Refused", _many(refused), refused > served),
        ("Failed", _many(failed + broken), failed + broken > 0),
    ]
    if sum(durations):
        half, high = (_within(durations, share) for share in (0.5, 0.99))
        mean = counts.seconds / sum(durations) * 1e3
        text = f"mean {mean:.2g} ms; half within {half}, 99% within {high}"
        rows.append(("Time of a prediction", text, False))
    rows.append(("Explained", f"{_many(explained)}, {not_explained:,} refused", False))
    return rows


def _many(number: int, thing: str = "request") -> str:
    """Return a number and what it counts."""
    return f"{number:,} {thing}{'s' if number != 1 else ''}"


def _statuses(counts: Counts, path: str) -> tuple[int, int, int]:
    """Return how many requests were answered, refused, and failed."""
    totals = [0, 0, 0]
    for (route, status), number in [*counts.responses.items()]:
        if route == path:
            totals[min(max(status // 100 - 3, 0), 2)] += number
    return totals[0], totals[1], totals[2]


def _within(durations: Sequence[int], share: float) -> str:
    """Return the bound of the bucket that a share of the durations is within."""
    least, bounds = share * sum(durations), (*BUCKETS, inf)
    totals = zip(bounds, accumulate(durations), strict=True)
    bound = next(bound for bound, total in totals if total >= least)
    return "more than 10 s" if bound == inf else f"{bound * 1e3:g} ms"


def _unseen(name: str, numbers: Mapping[str, int]) -> list[Cells]:
    """Return what training never saw, by column."""
    parts = [f"{column}: {number:,}" for column, number in sorted(numbers.items())]
    return [(name, ", ".join(parts) or "none", bool(parts))]


def _log(state: Mapping[str, int] | None) -> list[Cells]:
    """Return what became of the lines of the prediction log."""
    if state is None:
        return [("Prediction log", "none: started without --log", False)]
    parts = ", ".join(f"{state[name]:,} {name}" for name in STATES)
    return [("Prediction log", parts, bool(state["dropped"] or state["lost"]))]


def _duration(seconds: float) -> str:
    """Return a duration in the largest unit that it fills."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            return _many(int(seconds // length), unit)
    return "less than a minute"
