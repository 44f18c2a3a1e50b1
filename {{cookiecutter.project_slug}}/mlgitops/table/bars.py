"""The small plot of a column: how often its values are, and the target along them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from mlgitops.table.baseline import codes
from mlgitops.table.words import cut

if TYPE_CHECKING:
    import pandas as pd

WIDTH, HEIGHT, BELOW = 220, 54, 12
BINS = 24
TOP = 8  # categories that are drawn


def plot(values: pd.Series, kind: str, target: np.ndarray | None) -> str:
    """Return one SVG; `target` [n] are numbers whose mean is drawn, or None.

    A text is its length. Numbers are drawn between their 1st and 99th percentile, so
    that one odd value does not hide all others.
    """
    import pandas as pd

    scale = (0.0, 1.0) if target is None else scale_of(target)
    if kind in ("category", "boolean"):
        texts = values.map(lambda v: "" if pd.isna(v) else str(v))
        counts = texts[texts != ""].value_counts()
        names = list(counts.index[:TOP])
        places = texts.map({name: n for n, name in enumerate(names)}).to_numpy(float)
        return _svg(*_heights(places, len(names), target), names, scale)
    numbers = codes(values, kind)
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return ""
    low, high = np.quantile(known, [0.01, 0.99])
    if low == high:
        low, high = known.min(), known.max()
    if low == high:
        return ""
    places = np.floor((numbers - low) / (high - low) * BINS)
    places = np.where((numbers < low) | (numbers > high), np.nan, places)
    places = np.minimum(places, BINS - 1)
    if kind == "datetime":
        ends = [f"{pd.Timestamp(v, unit='s'):%Y-%m-%d}" for v in (low, high)]
    elif kind == "text":
        ends = [f"{v:.0f} characters" for v in (low, high)]
    else:
        ends = [f"{v:.4g}" if abs(v) < 10_000 else f"{v:,.4g}" for v in (low, high)]
    return _svg(*_heights(places, BINS, target), ends, scale)


def _heights(
    places: np.ndarray, count: int, target: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of each bar, and the target's mean there (NaN where unknown)."""
    known = ~np.isnan(places)
    which = places[known].astype(int)
    rows = np.bincount(which, minlength=count)[:count]
    means = np.full(count, np.nan)
    if target is not None and len(which):
        total = np.bincount(which, target[known], minlength=count)[:count]
        enough = rows >= max(5, 0.002 * len(places))
        means[enough] = total[enough] / rows[enough]
    return rows, means


def scale_of(target: np.ndarray) -> tuple[float, float]:
    """Return the ends of the target's axis, the same in all plots of a table."""
    if set(np.unique(target)) <= {0, 1}:
        return 0.0, float(min(1.0, max(2 * target.mean(), 0.1)))
    low, high = np.quantile(target, [0.1, 0.9])
    return float(low), float(high)


def _svg(
    rows: np.ndarray,
    means: np.ndarray,
    labels: Sequence[str],
    scale: tuple[float, float],
) -> str:
    """Return the drawing; two labels are the ends of an axis, more are the bars'."""
    if not len(rows) or not rows.max():
        return ""
    step, parts = WIDTH / len(rows), []
    for number, height in enumerate(rows / rows.max() * HEIGHT):
        x, y = number * step, HEIGHT - height
        parts.append(
            f'<rect class="bar" x="{x + 0.5:.1f}" y="{y:.1f}" '
            f'width="{max(1, step - 1):.1f}" height="{height:.1f}"/>'
        )
    if (~np.isnan(means)).sum() > 1:
        low, span = scale[0], (scale[1] - scale[0]) or 1.0
        means = np.clip(means, *scale)
        points = [
            ((n + 0.5) * step, HEIGHT - 4 - (m - low) / span * (HEIGHT - 8))
            for n, m in enumerate(means)
            if not np.isnan(m)
        ]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(f'<path class="rate" d="M{path}"/>')
        parts += [
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="1.8"/>'
            for x, y in points
            if len(points) <= TOP
        ]
    if len(labels) == len(rows):
        letters = max(1, int(step / 5))
        for number, label in enumerate(labels):
            x = (number + 0.5) * step
            parts.append(_text(x, cut(label)[:letters], "middle"))
    else:
        parts += [_text(0, labels[0], "start"), _text(WIDTH, labels[-1], "end")]
    box = f"0 0 {WIDTH} {HEIGHT + BELOW}"
    return f'<svg viewBox="{box}" role="img">{"".join(parts)}</svg>'


def _text(x: float, label: str, anchor: str) -> str:
    """Return a label below the bars."""
    y = HEIGHT + BELOW - 2
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(label)}</text>'
