"""Chooses the reference's rows of the window's season, once it has a year; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlgitops.pipeline.contract import Contract
from mlgitops.settings import Monitor

if TYPE_CHECKING:
    import pandas as pd

YEAR = 365.25  # days
AROUND = 21.0  # days before and after the window that are of the same season
ALL = "all rows that the version was trained and judged on"
TIMELESS = f"{ALL}, which have no time, so not with the same season"


def same_season(
    rows: pd.DataFrame, start: Any, until: Any, contract: Contract, limits: Monitor
) -> tuple[pd.DataFrame, str]:
    """Return the reference's rows of the window's season, and which those are.

    They are all rows while the reference is shorter than a year, or has fewer than
    ``monitor.min_rows`` rows of the season, or where rows have no time.
    """
    if not contract.time:
        return rows, TIMELESS
    times = rows[contract.time]
    if not has_a_year(times):
        return rows, ALL
    middle = start + (until - start) / 2
    reach = (until - start).total_seconds() / 86_400 / 2 + AROUND
    distance = ((times - middle).dt.total_seconds() / 86_400) % YEAR
    in_season = distance.where(distance <= YEAR / 2, YEAR - distance) <= reach
    if int(in_season.sum()) < limits.min_rows:
        return rows, ALL
    season = f"{int(in_season.sum()):,} rows of the same season"
    return rows[in_season].reset_index(drop=True), season


def has_a_year(times: pd.Series) -> bool:
    """Return whether each season is there to compare with."""
    return bool((times.max() - times.min()).total_seconds() / 86_400 >= YEAR - 1)
