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
    palette = ", ".join(COLOURS[who][0] for who in values)
    style = {"themeVariables": {"xyChart": {"plotColorPalette": palette}}}
    legend = ", ".join(f"{who} {COLOURS[who][1]}" for who in values)
    axis = ", ".join(f'"{label}"' for label in labels)
    low, top = _ends(values)
    chart = [
        "```mermaid",
        f"%%{{init: {json.dumps(style)}}}%%",
        "xychart-beta",
        f'  title "{title}: {legend}"',
        f'  x-axis "{across}" [{axis}]',
        f'  y-axis "{up}" {low} --> {top}',
        *(f"  line [{', '.join(_plain(v) for v in line)}]" for line in values.values()),
        "```",
    ]
    return "\n".join(chart) + "\n\n"


def _ends(values: Mapping[str, Sequence[float]]) -> tuple[str, str]:
    """Return both ends of the axis: from 0 for shares, else around the numbers."""
    low, top = (end(map(end, values.values())) for end in (min, max))
    if low >= 0 and top <= 1:
        return "0", f"{math.ceil(top * 10 - 1e-9) / 10 or 0.1:.1f}"
    room = (top - low) / 20 or 1.0
    return _plain(low - room), _plain(top + room)


def _plain(value: float) -> str:
    """Return a number as mermaid reads it: no exponent, no more digits than needed."""
    digits = 3 if abs(value) < 1000 else 0
    return f"{value:.{digits}f}"


def at(curve: Sequence[Sequence[float]], x: float) -> float:
    """Return a curve's height at x, between its points [[x, y], ...] in order."""
    before = max((p for p in curve if p[0] <= x), key=lambda p: (p[0], p[1]))
    after = min((p for p in curve if p[0] > x), default=before, key=lambda p: p[0])
    if after[0] == before[0]:
        return before[1]
    share = (x - before[0]) / (after[0] - before[0])
    return before[1] + share * (after[1] - before[1])
