"""Mermaid charts; they hold nothing but our own words and numbers."""

import json
import math
from collections.abc import Mapping, Sequence

COLOURS = {  # of lines, with their names
    "ideal": ("#8c959f", "grey"),
    "chance": ("#8c959f", "grey"),
    "champion": ("#0969da", "blue"),
    "challenger": ("#bc4c00", "orange"),
}


def lines(
    title: str,
    across: str,
    up: str,
    labels: Sequence[str],
    values: Mapping[str, Sequence[float]],
) -> str:
    """Return a line chart: one line of numbers per name, over the same labels."""
    palette = ", ".join(COLOURS[name][0] for name in values)
    style = {"themeVariables": {"xyChart": {"plotColorPalette": palette}}}
    legend = ", ".join(f"{name} {COLOURS[name][1]}" for name in values)
    axis = ", ".join(f'"{label}"' for label in labels)
    low, high = _ends(values)
    chart = [
        "```mermaid",
        f"%%{{init: {json.dumps(style)}}}%%",
        "xychart-beta",
        f'  title "{title}: {legend}"',
        f'  x-axis "{across}" [{axis}]',
        f'  y-axis "{up}" {low} --> {high}',
        *(f"  line [{', '.join(map(_plain, line))}]" for line in values.values()),
        "```",
    ]
    return "\n".join(chart) + "\n\n"


def _ends(values: Mapping[str, Sequence[float]]) -> tuple[str, str]:
    """Return both ends of the axis: from 0 for shares, else around the numbers."""
    numbers = [number for line in values.values() for number in line]
    low, high = min(numbers), max(numbers)
    if low >= 0 and high <= 1:
        return "0", f"{math.ceil(high * 10 - 1e-9) / 10 or 0.1:.1f}"
    room = (high - low) / 20 or 1.0
    return _plain(low - room), _plain(high + room)


def _plain(value: float) -> str:
    """Return a number as mermaid reads it: no exponent, no more digits than needed."""
    return f"{value:.{3 if abs(value) < 1000 else 0}f}"


def height(curve: Sequence[tuple[float, float]], x: float) -> float:
    """Return a curve's height at x, between its points [[x, y], ...] in order."""
    start = max(point for point in curve if point[0] <= x)
    end = min((point for point in curve if point[0] > x), default=start)
    if end[0] == start[0]:
        return start[1]
    return start[1] + (x - start[0]) / (end[0] - start[0]) * (end[1] - start[1])
