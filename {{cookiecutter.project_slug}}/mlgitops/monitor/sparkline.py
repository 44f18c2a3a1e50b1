"""Draws small charts as SVG, without a script or a network; pure."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import NamedTuple

WIDTH, HEIGHT, EDGE = 560, 90, 6


class Line(NamedTuple):
    """One line of a chart: its values in the order of the runs, None where unknown."""

    name: str
    values: Sequence[float | None]
    kind: str = "main"  # or "other", "limit": the CSS class


def chart(
    title: str,
    lines: Sequence[Line],
    events: Sequence[tuple[int, str]],
    digits: int = 3,
) -> str:
    """Return a chart with its newest values as text; nothing when all is unknown.

    ``events`` are (run, what happened just before it).
    """
    values = [v for line in lines for v in line.values if v is not None]
    if not values:
        return ""
    low, high = min(values), max(values)
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    count = max(len(line.values) for line in lines)

    def point(run: int, value: float) -> tuple[float, float]:
        x = EDGE + (WIDTH - 2 * EDGE) * (run / (count - 1) if count > 1 else 0.5)
        return x, HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (value - low) / (high - low)

    marks = "".join(
        f'<line class="event" x1="{point(run, low)[0]:.1f}" '
        f'x2="{point(run, low)[0]:.1f}" y1="0" y2="{HEIGHT}">'
        f"<title>{html.escape(event)}</title></line>"
        for run, event in events
    )
    drawn = "".join(_line(line, point) for line in lines)
    newest = ", ".join(
        f'<span class="{line.kind}">{html.escape(line.name)} {value:,.{digits}f}</span>'
        for line in lines
        if (value := next((v for v in reversed(line.values) if v is not None), None))
        is not None
    )
    label = html.escape(f"{title}, from {low:,.{digits}f} to {high:,.{digits}f}")
    return (
        f"<figure><figcaption><b>{html.escape(title)}</b> {newest}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}" '
        f'preserveAspectRatio="none">{marks}{drawn}</svg></figure>'
    )


def _line(line: Line, point: Callable[[int, float], tuple[float, float]]) -> str:
    """Return a line, broken where values are unknown, and a dot for single ones."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for run, value in enumerate(line.values):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(point(run, value))
    drawn = ""
    for piece in filter(None, pieces):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in piece)
        drawn += f'<polyline class="{line.kind}" points="{points}"/>'
        if len(piece) == 1:
            x, y = piece[0]
            drawn += f'<circle class="{line.kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    return drawn
