"""Chooses the decision threshold by what decisions are worth; pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlgitops.pipeline.settings import FILE, BinaryWorth

Array = NDArray[np.float64]
PER = 1_000  # decisions
DIGITS = range(2, 10)  # after the point: as few as decide the same


class Choice(NamedTuple):
    """A threshold above 0 and below 1, and what it was chosen by."""

    threshold: float
    rows: int  # predictions that were not fitted on
    worth: float  # per 1,000 decisions on these rows


def best(y: Array, p: Array, worth: BinaryWorth) -> Choice:
    """Return the threshold by which decisions on these rows are worth most.

    `y` is 0 or 1, [n], `p` the probability of 1, [n]. Every way to part the rows in two
    is tried. Of thresholds that part them alike, it is one half way, with few digits.

    Raises:
        SettingsError: worth most is the same decision for every row.
    """
    p = p.astype(np.float32)  # as the file's predictions are
    order = np.argsort(-p, kind="stable")
    ranked, positive = p[order], y[order] == 1
    yes = np.where(positive, worth.true_positive, worth.false_positive)
    no = np.where(positive, worth.false_negative, worth.true_negative)
    total = float(no.sum()) + np.append(0.0, np.cumsum(yes - no))
    ends = np.append(0, np.flatnonzero(np.append(np.diff(ranked) != 0, True)) + 1)
    count = int(ends[np.argmax(total[ends])])  # how many rows are decided yes
    if count in (0, len(p)):
        raise (
            FILE.key("train")
            .key("threshold")
            .error(
                f"is best, and by business it is best to decide {int(count > 0)} for "
                f"every one of {len(p):,} rows that were left out in turn: no model is "
                "needed for that; improve it, or correct what decisions are worth"
            )
        )
    mean = float(total[count] / len(p))
    return Choice(_between(ranked[count], ranked[count - 1]), len(p), PER * mean)


def _between(below: np.float32, above: np.float32) -> float:
    """Return a number with few digits that is above one, and at most the other."""
    middle = (float(below) + float(above)) / 2
    for digits in DIGITS:
        rounded = round(middle, digits)
        if below < np.float32(rounded) <= above and 0 < rounded < 1:
            return rounded
    return float(above) if above < 1 else float(np.nextafter(above, below))
