"""Looks where performance differs: by category, by sensitive group; aggregates only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

from mlgitops.monitor.measure import BINARY, Measure
from mlgitops.pipeline.contract import Contract

if TYPE_CHECKING:
    import pandas as pd


class Slice(NamedTuple):
    """The headline of one category's rows, now and on the holdout, the difference."""

    column: str
    value: str
    rows: int
    window: float
    holdout: float
    low: float
    high: float


class Group(NamedTuple):
    """How one sensitive group is answered: share decided 1, and of true 1s found."""

    column: str
    value: str
    rows: int
    selected: float
    found: float | None


def slices(
    window: pd.DataFrame,
    holdout: pd.DataFrame,
    contract: Contract,
    fewest: int,
    confidence: float,
    measure: Measure = BINARY,
) -> list[Slice]:
    """Return every category with enough labelled rows on both sides, worst first.

    Intervals hold for all slices together (Bonferroni).
    """
    measure, pairs = replace(measure, target=contract.target), []
    for name, column in contract.columns.items():
        if column.type != "category":
            continue
        for value in column.categories:
            sides = [side[side[name] == value] for side in (window, holdout)]
            areas = [
                measure.area(side)
                for side in sides
                if len(side) >= fewest and measure.defined(side)
            ]
            if len(areas) == 2:
                pairs.append((name, value, len(sides[0]), areas))
    reach = NormalDist().inv_cdf(1 - (1 - confidence) / 2 / max(len(pairs), 1))
    found = []
    for name, value, rows, ((now, a), (then, b)) in pairs:
        half = reach * (a + b) ** 0.5
        low, high = now - then - half, now - then + half
        found.append(Slice(name, value, rows, now, then, low, high))
    return sorted(found, key=lambda piece: piece.high)


def groups(
    window: pd.DataFrame,
    known: Mapping[str, Mapping[str, str]],
    contract: Contract,
    threshold: float,
    fewest: int,
) -> list[Group]:
    """Return how each sensitive group was answered; small groups are left out.

    ``known`` gives, for each sensitive column, the group of an id: labels may carry
    it, the prediction log never does.
    """
    found = []
    for name, by_id in known.items():
        column = window[contract.id].map(dict(by_id))
        for value, part in window.groupby(column):
            if len(part) < fewest:
                continue
            chosen = part["probability"] >= threshold
            true: Any = part[contract.target] == 1
            hit = float(chosen[true].mean()) if true.sum() >= fewest else None
            share = float(chosen.mean())
            found.append(Group(name, str(value), len(part), share, hit))
    return found
