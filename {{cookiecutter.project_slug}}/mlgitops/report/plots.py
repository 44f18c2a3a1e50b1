"""Plots as SVG, drawn by hand: numbers and inert words in, one line of SVG out.

Colours are those of the page's style sheet (`page.css`), so that a plot is readable on
a light and on a dark screen. A line is told from another by its dashes and its mark,
never by its colour alone.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import NamedTuple

Point = tuple[float, float]
WIDTH, HEIGHT = 480, 330  # narrow: words stay readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 76
ROW, LETTER = 40, 7.5  # the height of a row of intervals; the usual width of a letter
LONGEST = 14  # letters of a place's name that are written


class Interval(NamedTuple):
    """One row of a list of intervals; `worse` marks what speaks against it."""

    name: str
    low: float
    middle: float
    high: float
    words: str
    worse: bool = False


def lines(
    across: str,
    up: str,
    series: Mapping[str, Sequence[Point]],
    labels: Sequence[str] | None = None,
    whole: bool = False,
) -> str:
    """Return a chart of lines by name; `labels` name the places 0, 1, ... of x.

    Both axes go from 0 to 1 if it is `whole`, else around the points.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    xs = (0.0, 1.0) if whole else _ends(p[0] for p in points)
    ys = (0.0, 1.0) if whole else _ends(p[1] for p in points)

    def at(point: Point) -> tuple[float, float]:
        x = LEFT + (point[0] - xs[0]) / (xs[1] - xs[0]) * (WIDTH - LEFT - RIGHT)
        y = (
            HEIGHT
            - BOTTOM
            - (point[1] - ys[0]) / (ys[1] - ys[0]) * (HEIGHT - TOP - BOTTOM)
        )
        return x, y

    parts = []
    for value in _ticks(*ys):
        _, y = at((xs[0], value))
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{value:g}", "end"))
    marks = list(enumerate(labels)) if labels else [(v, f"{v:g}") for v in _ticks(*xs)]
    longest = max(min(len(words), LONGEST) for _, words in marks) + 1
    fit = max(1, int((WIDTH - LEFT - RIGHT) / (longest * LETTER)))
    for value, words in marks[:: math.ceil(len(marks) / fit)]:
        x, _ = at((value, ys[0]))
        parts.append(_text(x, HEIGHT - BOTTOM + 18, words[:LONGEST], "middle"))
    most = int((WIDTH - LEFT) / LETTER)
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - BOTTOM + 40, across[:most], "middle"))
    parts.append(
        f'<g transform="translate(14 {(HEIGHT - BOTTOM + TOP) / 2:.0f}) rotate(-90)">'
        f"{_text(0, 0, up, 'middle')}</g>"
    )
    for place, (who, line) in enumerate(series.items()):
        where = [at(point) for point in line]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in where)
        parts.append(f'<path class="line {escape(who)}" d="{path}"/>')
        if len(where) <= 12 and who in ("champion", "challenger"):
            parts += [_mark(who, x, y) for x, y in where]
        x = LEFT + place * 130
        key = f'<path class="line {escape(who)}" d="M{x} {HEIGHT - 14}h28"/>'
        parts += [key, _text(x + 36, HEIGHT - 10, who, "start")]
    return _svg(HEIGHT, f"{up} by {across}", parts)


def intervals(rows: Sequence[Interval], across: str, shared: bool = True) -> str:
    """Return intervals around zero, one a row; on one scale, or each on its own."""
    if not rows:
        return ""
    most = max(max(abs(row.low), abs(row.high)) for row in rows) or 1.0
    caption = wrap(across, int(WIDTH / LETTER))
    middle, room = WIDTH / 2, WIDTH / 2 - RIGHT
    height = ROW * len(rows) + 20 * len(caption) + 12
    parts = [f'<path class="zero" d="M{middle} 4V{ROW * len(rows)}"/>']
    for place, row in enumerate(rows):
        own = most if shared else max(abs(row.low), abs(row.high)) or 1.0
        low, dot, high = (
            middle + max(-1.0, min(1.0, value / own)) * room
            for value in (row.low, row.middle, row.high)
        )
        y = 16 + place * ROW
        look = "worse" if row.worse else "challenger"
        name = row.name[: int(2 * room / LETTER) - len(row.words) - 1]
        parts += [_text(RIGHT, y, name, "start")]
        parts += [_text(WIDTH - RIGHT, y, row.words, "end")]
        y += 13
        parts.append(f'<path class="line {look}" d="M{low:.1f} {y}H{high:.1f}"/>')
        parts.append(f'<circle class="dot {look}" cx="{dot:.1f}" cy="{y}" r="4"/>')
    for place, words in enumerate(caption):
        y = ROW * len(rows) + 20 * (place + 1)
        parts.append(_text(middle, y, words, "middle"))
    return _svg(height, across, parts)


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    """Return the figure, on one line: Markdown takes it as it is."""
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{_inert(title)}">{"".join(parts)}</svg></figure>\n\n'
    )


def _text(x: float, y: float, words: str, anchor: str) -> str:
    """Return words at a place."""
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f"<text {where}>{_inert(words)}</text>"


def _inert(words: str) -> str:
    """Return words on one line, so that nothing in them is markup or hidden."""
    line = " ".join(words.split())
    return escape("".join(c if c.isprintable() else "\ufffd" for c in line))


def _mark(who: str, x: float, y: float) -> str:
    """Return the mark of a model: a square for the champion, a dot for the other."""
    if who == "champion":
        return (
            f'<rect class="dot champion" x="{x - 4:.1f}" y="{y - 4:.1f}" '
            'width="8" height="8"/>'
        )
    return f'<circle class="dot challenger" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'


def _ends(values: Iterable[float]) -> tuple[float, float]:
    """Return both ends of an axis around the values."""
    found = list(values)
    low, high = min(found), max(found)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Return four to eight round numbers between the ends."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]
