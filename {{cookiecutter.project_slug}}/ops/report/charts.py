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
    top = math.ceil(max(map(max, values.values())) * 10 - 1e-9) / 10 or 0.1
    chart = [
        "```mermaid",
        f"%%{{init: {json.dumps(style)}}}%%",
        "xychart-beta",
        f'  title "{title}: {legend}"',
        f'  x-axis "{across}" [{axis}]',
        f'  y-axis "{up}" 0 --> {top:.1f}',
        *(
            f"  line [{', '.join(f'{v:.3f}' for v in line)}]"
            for line in values.values()
        ),
        "```",
    ]
    return "\n".join(chart) + "\n\n"


def at(curve: Sequence[Sequence[float]], x: float) -> float:
    """Return a curve's height at x, between its points [[x, y], ...] in order."""
    before = max((p for p in curve if p[0] <= x), key=lambda p: (p[0], p[1]))
    after = min((p for p in curve if p[0] > x), default=before, key=lambda p: p[0])
    if after[0] == before[0]:
        return before[1]
    share = (x - before[0]) / (after[0] - before[0])
    return before[1] + share * (after[1] - before[1])
