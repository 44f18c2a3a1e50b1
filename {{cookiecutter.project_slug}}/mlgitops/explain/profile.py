"""What the training rows and the holdout are like, column by column; pure.

No number is about fewer than `LEAST` rows: no smallest or largest value, and a rarer
category is counted among the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlgitops.pipeline.contract import FLOATS, Column, Contract
from mlgitops.pipeline.data import seconds

LEAST = 10  # rows
TOP = 6  # categories that are named
ENDS = (0.05, 0.5, 0.95)  # quantiles


@dataclass(frozen=True)
class Part:
    """A column in one part of the data; None is about too few rows."""

    missing: float | None  # share
    quantiles: tuple[float | None, ...] = ()  # of numbers, or of seconds since 1970
    shares: tuple[tuple[str, float], ...] = ()  # of categories, most frequent first
    others: float | None = None  # share of the categories that are not named


@dataclass(frozen=True)
class Profile:
    """A column in both parts; ``sensitive`` ones have no values here."""

    column: str
    kind: str
    sensitive: bool
    train: Part
    holdout: Part


def profile(
    train: pd.DataFrame, holdout: pd.DataFrame, contract: Contract
) -> list[Profile]:
    """Return the profile of each column of the contract."""
    profiles = []
    for name, column in contract.columns.items():
        hidden = name in contract.sensitive
        parts = (_part(table[name], column, hidden) for table in (train, holdout))
        profiles.append(Profile(name, column.type, hidden, *parts))
    return profiles


def _part(values: pd.Series, column: Column, hidden: bool) -> Part:
    """Return one part of a column."""
    count, absent = len(values), int(values.isna().sum())
    missing = absent / count if absent == 0 or absent >= LEAST else None
    present = values.dropna()
    if hidden or column.type == "text":
        return Part(missing)
    if column.type in ("number", "integer", "datetime"):
        numbers = seconds(present) if column.type == "datetime" else present
        return Part(missing, _quantiles(np.asarray(numbers, np.float64)))
    kind = "boolean" if column.type in FLOATS else "category"
    texts = present.map(bool).map({True: "true", False: "false"})
    counts = (texts if kind == "boolean" else present.astype(str)).value_counts()
    named = counts[counts >= LEAST][:TOP]
    rest = int(counts.sum() - named.sum())
    shares = tuple((str(name), float(n) / count) for name, n in named.items())
    return Part(missing, (), shares, rest / count if rest >= LEAST else None)


def _quantiles(numbers: np.ndarray) -> tuple[float | None, ...]:
    """Return quantiles, each with enough rows on both of its sides."""
    return tuple(
        float(np.quantile(numbers, at))
        if min(at, 1 - at) * len(numbers) >= LEAST
        else None
        for at in ENDS
    )
