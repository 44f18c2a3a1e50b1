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
LARGEST = 1e100  # a number beyond it, or none, is a gap: no axis could hold it
MARKS = {
    "main": '<circle class="dot main" cx="{:.1f}" cy="{:.1f}" r="4"/>',
    "other": '<rect class="dot other" x="{:.1f}" y="{:.1f}" width="8" height="8"/>',
}
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
    drawn = [line._replace(points=[*map(_drawable, line.points)]) for line in drawn]
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y for line in drawn for _, y in line.points if y is not None]
    if not ys:
        return ""
    right = _Axis(*((0.0, 1.0) if shares else _ends(xs)), LEFT, WIDTH - RIGHT)
    upward = _Axis(*((0.0, 1.0) if shares else _ends(ys)), height - BOTTOM, TOP)
    parts = _scales(right, upward, labels)
    longest, middle = int((WIDTH - LEFT) / LETTER), (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(8, 16, up[:longest], "start"))
    parts.append(_text(middle, height - BOTTOM + 40, across[:longest], "middle"))
    for x, event in events:
        path = f'<path class="event" d="M{right.at(x):.1f} {TOP}V{height - BOTTOM}">'
        parts.append(f"{path}<title>{_inert(event)}</title></path>")
    key = 8.0
    for name, points, kind in drawn:
        parts.append(_strokes(points, kind, right, upward))
        parts.append(f'<path class="line {kind}" d="M{key} {height - 14}h28"/>')
        parts.append(_text(key + 36, height - 10, name, "start"))
        key += 50 + LETTER * len(name)
    return _svg(height, f"{up} by {across}", parts)


def _strokes(points: Sequence[Point], kind: str, right: "_Axis", up: "_Axis") -> str:
    """Return one line with its marks, in pieces between its gaps."""
    parts = []
    for drawable, group in groupby(points, lambda point: point[1] is not None):
        if drawable:
            piece = [(right.at(x), up.at(y)) for x, y in group if y is not None]
            if kind == "limit" and len(piece) == 1:  # it holds beside the point
                piece = [(end, piece[0][1]) for end in (right.start, right.end)]
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in piece)
            parts.append(f'<path class="line {kind}" d="{path}"/>')
            if kind in MARKS and (len(points) <= MARKED or len(piece) == 1):
                parts += [MARKS[kind].format(x, y) for x, y in piece]
    return "".join(parts)


def small(words: str, drawn: Sequence[Line], width: int = 140, height: int = 36) -> str:
    """Return lines without axes for a cell of a table; `words` say what they show."""
    drawn = [line._replace(points=[*map(_drawable, line.points)]) for line in drawn]
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y for line in drawn for _, y in line.points if y is not None]
    if not ys:
        return ""
    right = _Axis(*_ends(xs), 2, width - 2)
    upward = _Axis(*_ends(ys), height - 4, 4)
    parts = [_strokes(line.points, line.kind, right, upward) for line in drawn]
    label = _inert(words)
    return (
        f'<svg class="small" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{label}"><title>{label}</title>{"".join(parts)}</svg>'
    )


def _drawable(point: Point) -> Point:
    """Return a point; one that no axis could hold is a gap."""
    x, y = point
    return x, y if y is not None and abs(y) < LARGEST else None


class _Axis(NamedTuple):
    """The numbers at both ends of an axis, and where these are in the plot."""

    low: float
    high: float
    start: float
    end: float

    def at(self, number: float) -> float:
        """Return where a number is in the plot."""
        share = (number - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def _scales(right: _Axis, upward: _Axis, labels: Sequence[str] | None) -> list[str]:
    """Return a grid with the numbers of both axes, or the labels of the first."""
    parts = []
    for tick in _ticks(upward.low, upward.high):
        y = upward.at(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{tick:,g}", "end"))
    numbers = [(tick, f"{tick:,g}") for tick in _ticks(right.low, right.high)]
    ticks = list(enumerate(labels)) if labels else numbers
    longest = max(min(len(label), LONGEST) for _, label in ticks)
    apart = (1.5 * longest + 1) * LETTER  # the last one may move by half of it
    room = max(1, int((WIDTH - RIGHT - LEFT) / apart))
    for tick, label in ticks[:: math.ceil(len(ticks) / room)]:
        x, y, label = right.at(tick), upward.start + 18, label[:LONGEST]
        is_cut = x + len(label) * LETTER / 2 > WIDTH - RIGHT / 2
        x, anchor = (WIDTH, "end") if is_cut else (x, "middle")
        parts.append(_text(x, y, label, anchor))
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
