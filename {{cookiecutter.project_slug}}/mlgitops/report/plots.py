"""Plots as SVG: numbers and inert words in, one line of SVG out.

Their colours are in `plots.css`, so that a plot is readable on a light and on a dark
screen. A line is told from another by its dashes and its mark, never by its colour
alone.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

STYLE = Path(__file__).with_suffix(".css")
WIDTH, HEIGHT = 480, 330  # narrow: words stay readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 32, 76
ROW, LETTER = 40, 7.5  # the height of a row of intervals; the usual width of a letter
LONGEST = 14  # letters of a label that are written
MARKED = 12  # points up to which each has its mark
KINDS = {"champion": "other", "challenger": "main"}
Point = tuple[float, float | None]  # without a y it is a gap


class Line(NamedTuple):
    """A line of a plot, with its name in the legend."""

    name: str
    points: Sequence[Point]
    kind: str = "main"  # or other, reference, limit: its colour, dashes and mark


class Interval(NamedTuple):
    """One row of a list of intervals; `worse` marks what speaks against it."""

    name: str
    ends: tuple[float, float, float]  # low, middle, high
    numbers: str
    worse: bool = False


def of_models(points: Mapping[str, Sequence[Point]], reference: str = "") -> list[Line]:
    """Return a line for each model; after a diagonal, if the reference has a name."""
    lines = [Line(name, line, KINDS[name]) for name, line in points.items()]
    diagonal = Line(reference, [(0.0, 0.0), (1.0, 1.0)], "reference")
    return [diagonal, *lines] if reference and lines else lines


def lines(
    across: str,
    up: str,
    drawn: Sequence[Line],
    labels: Sequence[str] | None = None,
    shares: bool = False,
    events: Iterable[tuple[float, str]] = (),
    height: int = HEIGHT,
) -> str:
    """Return a plot of lines; `labels` are those of 0, 1, ... on the x axis.

    Both axes go from 0 to 1 if they are `shares`, else around the points. `events` are
    marked at an x, with their words as a hint.
    """
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y for line in drawn for _, y in line.points if y is not None]
    if not ys:
        return ""
    left, right = (0.0, 1.0) if shares else _ends(xs)
    low, high = (0.0, 1.0) if shares else _ends(ys)
    end, bottom = WIDTH - RIGHT, height - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        """Return where a point is in the plot."""
        return (
            LEFT + (x - left) / (right - left) * (end - LEFT),
            bottom - (y - low) / (high - low) * (bottom - TOP),
        )

    longest = int((WIDTH - LEFT) / LETTER)
    parts = [_text(8, 16, up[:longest], "start")]
    parts.append(_text((LEFT + end) / 2, bottom + 40, across[:longest], "middle"))
    for tick in _ticks(low, high):
        _, y = at(left, tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{end}"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{tick:,g}", "end"))
    ticks = (
        list(enumerate(labels))
        if labels
        else [(t, f"{t:,g}") for t in _ticks(left, right)]
    )
    width = max(min(len(label), LONGEST) for _, label in ticks) + 1
    fitting = max(1, int((end - LEFT) / (width * LETTER)))
    for tick, label in ticks[:: math.ceil(len(ticks) / fitting)]:
        parts.append(_text(at(tick, low)[0], bottom + 18, label[:LONGEST], "middle"))
    for x, event in events:
        path = f'<path class="event" d="M{at(x, low)[0]:.1f} {TOP}V{bottom}">'
        parts.append(f"{path}<title>{_inert(event)}</title></path>")
    start = 8.0
    for line in drawn:
        for known, points in groupby(line.points, lambda point: point[1] is not None):
            if known:
                parts += _piece(line, [at(x, y) for x, y in points if y is not None])
        key = f'<path class="line {line.kind}" d="M{start} {height - 14}h28"/>'
        parts += [key, _text(start + 36, height - 10, line.name, "start")]
        start += 50 + LETTER * len(line.name)
    return _svg(height, f"{up} by {across}", parts)


def _piece(line: Line, points: Sequence[tuple[float, float]]) -> list[str]:
    """Return an unbroken piece of a line, with marks if its points are few."""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    parts = [f'<path class="line {line.kind}" d="{path}"/>']
    few = len(line.points) <= MARKED or len(points) == 1
    if few and line.kind == "main":
        parts += [
            f'<circle class="dot main" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
            for x, y in points
        ]
    elif few and line.kind == "other":
        size = 'width="8" height="8"'
        parts += [
            f'<rect class="dot other" x="{x - 4:.1f}" y="{y - 4:.1f}" {size}/>'
            for x, y in points
        ]
    return parts


def intervals(rows: Sequence[Interval], across: str, shared: bool = True) -> str:
    """Return intervals around zero, one a row; on one scale, or each on its own."""
    if not rows:
        return ""
    longest = max(abs(end) for row in rows for end in row.ends)
    caption = wrap(across, int(WIDTH / LETTER))
    middle, room = WIDTH / 2, WIDTH / 2 - RIGHT
    bottom = ROW * len(rows)
    parts = [f'<path class="zero" d="M{middle} 4V{bottom}"/>']
    for n, row in enumerate(rows):
        scale = (longest if shared else max(map(abs, row.ends))) or 1.0
        low, dot, high = (
            middle + max(-1.0, min(1.0, end / scale)) * room for end in row.ends
        )
        y, kind = 16 + n * ROW, "worse" if row.worse else "main"
        name = row.name[: int(2 * room / LETTER) - len(row.numbers) - 1]
        parts += [_text(RIGHT, y, name, "start")]
        parts += [_text(WIDTH - RIGHT, y, row.numbers, "end")]
        y += 13
        parts.append(f'<path class="line {kind}" d="M{low:.1f} {y}H{high:.1f}"/>')
        parts.append(f'<circle class="dot {kind}" cx="{dot:.1f}" cy="{y}" r="4"/>')
    for n, line in enumerate(caption, 1):
        parts.append(_text(middle, bottom + 20 * n, line, "middle"))
    return _svg(bottom + 20 * len(caption) + 12, across, parts)


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    """Return the figure, on one line: Markdown takes it as it is."""
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{_inert(title)}">{"".join(parts)}</svg></figure>\n\n'
    )


def _text(x: float, y: float, line: str, anchor: str) -> str:
    """Return a line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_inert(line)}</text>'


def _inert(text: str) -> str:
    """Return text on one line, so that nothing in it is markup or hidden."""
    line = " ".join(text.split())
    return escape("".join(c if c.isprintable() else "\ufffd" for c in line))


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Return both ends of an axis around the values."""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Return about three to seven round numbers between the ends."""
    rough = (high - low) / 7
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]
