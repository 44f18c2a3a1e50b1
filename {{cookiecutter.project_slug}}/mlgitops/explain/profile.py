"""What the training rows and the holdout are like, column by column; pure.

No number is about fewer than `LEAST` rows, or entities where the contract names whose
rows they are: no smallest or largest value, and a rarer category is counted among the
others. Who the entities are is not said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlgitops.pipeline.contract import FLOATS, Column, Contract
from mlgitops.pipeline.data import seconds

LEAST = 10  # rows, or entities
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
    """A column in both parts; sensitive ones, and the entity, have no values here."""

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
        hidden = name in contract.sensitive or name == contract.entity
        parts = (
            _part(table[name], column, hidden, table.get(contract.entity))
            for table in (train, holdout)
        )
        profiles.append(Profile(name, column.type, hidden, *parts))
    return profiles


def _part(
    values: pd.Series, column: Column, hidden: bool, entities: pd.Series | None
) -> Part:
    """Return one part of a column; `entities` tells whose each row is."""
    count, absent = len(values), values.isna()
    few = absent.any() and _people(absent, entities) < LEAST
    missing = None if few else int(absent.sum()) / count
    present = values[~absent]
    if hidden or column.type == "text":
        return Part(missing)
    if column.type in ("number", "integer", "datetime"):
        numbers = seconds(present) if column.type == "datetime" else present
        people = _people(~absent, entities)
        return Part(missing, _quantiles(np.asarray(numbers, np.float64), people))
    kind = "boolean" if column.type in FLOATS else "category"
    texts = present.map(bool).map({True: "true", False: "false"})
    texts = texts if kind == "boolean" else present.astype(str)
    counts = texts.value_counts()
    per_name = counts
    if entities is not None:
        per_name = entities[texts.index].groupby(texts).nunique().reindex(counts.index)
    named = counts[per_name >= LEAST][:TOP]
    others = ~texts.isin(named.index)
    shares = tuple((str(name), float(n) / count) for name, n in named.items())
    rest = int(others.sum()) / count
    return Part(
        missing, (), shares, rest if _people(others, entities) >= LEAST else None
    )


def _people(where: pd.Series, entities: pd.Series | None) -> int:
    """Return how many rows are marked, or of how many entities those are."""
    rows = where[where].index
    return len(rows) if entities is None else int(entities[rows].nunique())


def _quantiles(numbers: np.ndarray, people: int) -> tuple[float | None, ...]:
    """Return quantiles, each with enough rows, or entities, on both of its sides."""
    return tuple(
        float(np.quantile(numbers, at)) if min(at, 1 - at) * people >= LEAST else None
        for at in ENDS
    )
