"""The class with the fewest rows: what a metric of the classes rests on; pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Rarest(NamedTuple):
    """A class and how many rows are of it."""

    name: str
    rows: int


def rarest(y: np.ndarray, classes: Sequence[str] = ()) -> Rarest:
    """Return the rarest of the classes in y, indices [n]; without names of 0 and 1."""
    names = classes or ("0", "1")
    rows = np.bincount(np.asarray(y, np.int64), minlength=len(names))
    index = int(rows.argmin())
    return Rarest(names[index], int(rows[index]))
