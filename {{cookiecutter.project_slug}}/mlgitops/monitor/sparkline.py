"""Plots of the history: a value for each run, the newest in the legend; pure."""

from collections.abc import Sequence
from typing import NamedTuple

from mlgitops.report import plots

HEIGHT = 220


class Line(NamedTuple):
    """One line of a plot: its values in the order of the runs, None where unknown."""

    name: str
    values: Sequence[float | None]
    kind: str = "main"  # or "other", "limit": the CSS class


def chart(
    title: str,
    lines: Sequence[Line],
    events: Sequence[tuple[int, str]],
    digits: int = 3,
    days: Sequence[str] | None = None,
) -> str:
    """Return a plot over all runs; nothing when all is unknown.

    ``events`` are (run, what happened just before it); ``days`` are the runs' labels.
    """
    drawn = []
    for name, values, kind in lines:
        if known := [value for value in values if value is not None]:
            newest = f"{name} {known[-1]:,.{digits}f}"
            drawn.append(plots.Line(newest, list(enumerate(values)), kind))
    across = "end of the window" if days else "run"
    return plots.lines(across, title, drawn, days, events=events, height=HEIGHT)
