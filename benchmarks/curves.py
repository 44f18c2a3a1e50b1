"""Draws what something costs along the rows of a table: lines on log scales, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

WIDTH, HEIGHT, EDGE = 340, 240, 46
COLOURS = ("#1f77b4", "#d95f02", "#2a9d5c", "#8e44ad", "#b8860b", "#c0392b")
STYLE = "text{font:11px sans-serif;fill:#777}polyline{fill:none;stroke-width:2}"


class Panel(NamedTuple):
    """One plot: its unit, and values by the rows, of each name."""

    title: str
    curves: Mapping[str, Mapping[int, float]]


def chart(panels: list[Panel]) -> str:
    """Return an SVG with the plots side by side; a name has one colour in all."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.curves))
    colours = dict(zip(names, COLOURS, strict=False))
    drawn = [_panel(p, colours, n * (WIDTH + EDGE)) for n, p in enumerate(panels)]
    box = f"0 0 {len(panels) * (WIDTH + EDGE)} {HEIGHT + EDGE}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">'
        f"<style>{STYLE}</style>{''.join(drawn)}</svg>\n"
    )


def _panel(panel: Panel, colours: Mapping[str, str], left: float) -> str:
    """Return one plot, `left` from the border."""
    values = [v for curve in panel.curves.values() for v in curve.values()]
    sizes = sorted({rows for curve in panel.curves.values() for rows in curve})
    low, high = math.log10(sizes[0]), math.log10(sizes[-1]) + 1e-9
    least = math.floor(math.log10(min(values)))
    most = max(math.ceil(math.log10(max(values))), least + 1)

    def point(rows: int, value: float) -> tuple[float, float]:
        x = left + EDGE + (math.log10(rows) - low) / (high - low) * (WIDTH - EDGE)
        share = (math.log10(value) - least) / (most - least)
        return x, HEIGHT - share * (HEIGHT - 20)

    parts = [f'<text x="{left + EDGE}" y="12">{panel.title}</text>']
    for power in range(least, most + 1):
        x, y = point(sizes[0], 10.0**power)
        line = f'<line x1="{x}" x2="{left + WIDTH}" y1="{y}" y2="{y}" stroke="#ddd"/>'
        words = f"{10.0**power:,.10g}"
        text = f'<text x="{x - 4}" y="{y + 4}" text-anchor="end">{words}</text>'
        parts += [line, text]
    for rows in sizes:
        x, _ = point(rows, 1)
        text = f'<text x="{x}" y="{HEIGHT + 16}" text-anchor="middle">{rows:,}</text>'
        parts.append(text)
    step = (WIDTH - EDGE) / max(len(panel.curves), 1)
    for number, (name, curve) in enumerate(panel.curves.items()):
        points = [point(rows, value) for rows, value in sorted(curve.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" stroke="{colours[name]}"/>')
        dots = (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
        parts.append(f'<g fill="{colours[name]}">{"".join(dots)}</g>')
        x, y = left + EDGE + step * number, HEIGHT + 34
        text = f'<text x="{x:.0f}" y="{y}" style="fill:{colours[name]}">{name}</text>'
        parts.append(text)
    return "".join(parts)
