"""Tables as Markdown, plots as SVG, drawn by hand: no library to install."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

COLOURS = ("#0b63c5", "#b45309", "#1a7f37", "#8250df", "#cf222e", "#57606a")
COLOURS += ("#bf3989", "#1b7c83")
WIDTH, HEIGHT, LEFT, BOTTOM = 720, 360, 60, 40
# part -> (x, lines, logarithmic y, group, title)
PLOTS: dict[str, tuple[str, tuple[str, ...], bool, str, str]] = {
    **{
        f"monitoring-false-{name}": (
            "rows",
            (
                "alarms",
                "95 % bound",
                "Evidently: data set drifted",
                "Evidently: any column",
            ),
            False,
            "",
            f"Alarms in windows of {name} without drift",
        )
        for name in ("flights", "census")
    },
    "monitoring-power": (
        "rows",
        ("alarms",),
        False,
        "shift",
        "Windows with an alarm, by their size and what moved",
    ),
    "monitoring-cost": (
        "rows",
        ("seconds", "Evidently, seconds"),
        True,
        "",
        "Seconds for a verdict on 20 columns",
    ),
}


def write(place: Path, rows: list[dict[str, Any]]) -> None:
    """Write a table, and the plot that belongs to it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [f"| {' | '.join(_cell(r.get(n)) for n in names)} |" for r in rows]
    place.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if place.name in PLOTS:
        drawn = _svg(place.name, _by_size(rows) if PLOTS[place.name][3] else rows)
        place.with_suffix(".svg").write_text(drawn, encoding="utf-8")


def _by_size(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each column of a table that is named as "1,000 rows"."""
    return [
        {**row, "rows": int(name.split()[0].replace(",", "")), "alarms": value}
        for row in rows
        for name, value in row.items()
        if name.endswith(" rows")
    ]


def _cell(value: Any) -> str:
    """Return a number with as many digits as matter."""
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return str(value)
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{float(value):.3f}" if abs(value) < 100 else f"{float(value):,.0f}"


def _svg(name: str, rows: list[dict[str, Any]]) -> str:
    """Return lines over the logarithm of rows."""
    key, lines, logarithmic, group, title = PLOTS[name]
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for line in lines:
            label = row[group] if group else line
            series.setdefault(label, []).append((float(row[key]), float(row[line])))
    flat = [y for points in series.values() for _, y in points]
    ys = [_scale(y, logarithmic) for y in flat]
    xs = [math.log10(x) for points in series.values() for x, _ in points]
    low, high = (min(ys), max(ys)) if logarithmic else (0.0, max(ys) or 1.0)

    def at(x: float, y: float) -> tuple[float, float]:
        span = max(max(xs) - min(xs), 1e-9)
        across = LEFT + (WIDTH - LEFT - 20) * (math.log10(x) - min(xs)) / span
        up = (_scale(y, logarithmic) - low) / max(high - low, 1e-9)
        return across, HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 30) * up

    drawn = f'<text x="{LEFT}" y="18" font-weight="600">{title}</text>'
    for x in sorted({x for points in series.values() for x, _ in points}):
        across = at(x, flat[0])[0]
        drawn += f'<text x="{across:.0f}" y="{HEIGHT - 18}" '
        drawn += f'text-anchor="middle">{x:,.0f}</text>'
    for step in range(5):
        value = low + (high - low) * step / 4
        real = 10**value if logarithmic else value
        height = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 30) * step / 4
        drawn += f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{height:.0f}" '
        drawn += f'y2="{height:.0f}" stroke="#ddd"/><text x="{LEFT - 6}" '
        drawn += f'y="{height + 4:.0f}" text-anchor="end">{real:.3g}</text>'
    for number, (label, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*p) for p in points))
        drawn += f'<polyline points="{path}" fill="none" stroke="{colour}" '
        drawn += f'stroke-width="2"/><text x="{WIDTH + 5}" y="{40 + 20 * number}" '
        drawn += f'fill="{colour}">{label}</text>'
    drawn += f'<text x="{WIDTH / 2}" y="{HEIGHT - 2}" text-anchor="middle">{key}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 360} {HEIGHT}" '
        f'font-family="system-ui,sans-serif" font-size="13">'
        f'<rect width="100%" height="100%" fill="#fff"/>{drawn}</svg>\n'
    )


def _scale(value: float, logarithmic: bool) -> float:
    """Return where a value lies on its axis."""
    return math.log10(max(value, 1e-6)) if logarithmic else value
