"""Finds rows that break the contract, and feeds that have stopped to say anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlgitops.pipeline.contract import Column, Contract

if TYPE_CHECKING:
    import pandas as pd

ALL = 0.99  # share of missing values from which a column says nothing
FEWEST = 100  # rows that say whether a column still has values
SOME = 0.5  # share of missing values up to which the reference did say something


class Checked(NamedTuple):
    """Rows that keep the contract, how many did not, and the worst column's story."""

    good: pd.DataFrame
    broken: int
    worst: str
    unknown: dict[str, int]  # rows by column whose category the contract lacks


def quarantine(table: pd.DataFrame, contract: Contract) -> Checked:
    """Type the contract's columns and set aside the rows that break it.

    A category that the contract lacks is not broken: the server answers it too. It
    is counted in ``unknown``, and stays in ``good``.
    """
    import pandas as pd

    bad = pd.Series(False, index=table.index)
    typed, stories, unknown = {}, dict[str, int](), dict[str, int]()
    for name, column in contract.columns.items():
        values, reasons = _typed(table[name], column)
        typed[name] = values
        for reason, rows in reasons.items():
            if rows.any():
                stories[f'column "{name}": {{:,}} of {len(table):,} {reason}'] = int(
                    rows.sum()
                )
            bad |= rows
        if column.type == "category":
            strange = int((values.notna() & ~values.isin(column.categories)).sum())
            unknown.update({name: strange} if strange else {})
    good = table.assign(**typed)[~bad].reset_index(drop=True)
    worst = max(stories, key=lambda story: stories[story], default="")
    return Checked(good, int(bad.sum()), worst.format(stories.get(worst, 0)), unknown)


def known_categories(table: pd.DataFrame, contract: Contract) -> pd.Series:
    """Return which rows hold only categories that the contract lists."""
    import pandas as pd

    known = pd.Series(True, index=table.index)
    for name, column in contract.columns.items():
        if column.type == "category":
            known &= table[name].isna() | table[name].isin(column.categories)
    return known


def silent_columns(
    table: pd.DataFrame, reference: pd.DataFrame, contract: Contract
) -> list[str]:
    """Return the columns that are (all but) empty now and were not in the reference.

    Now is the newest tenth of the rows: a feed that has just broken is still full of
    yesterday's values.
    """
    newest = table.tail(max(len(table) // 10, FEWEST))
    return [
        name
        for name in contract.columns
        if missing_share(newest[name]) >= ALL and missing_share(reference[name]) <= SOME
    ]


def missing_share(values: pd.Series) -> float:
    """Return the share of values that are missing: None, NaN or empty."""
    return float((values.isna() | (values == "")).mean()) if len(values) else 0.0


def _typed(values: pd.Series, column: Column) -> tuple[pd.Series, dict[str, Any]]:
    """Return a column with its type, and the rows that break each of its rules."""
    import pandas as pd

    empty = values.isna() | (values == "")
    given = values[~empty].map(type)
    right = {int, float} if column.type == "number" else {str}
    wrong = pd.Series(False, index=values.index)
    wrong[given.index] = ~given.isin(right)
    reasons = {f"are not {'numbers' if column.type == 'number' else 'text'}": wrong}
    if not column.missing:
        reasons["are missing"] = empty
    kept = values.where(~empty & ~wrong, None)
    if column.type == "category":
        return kept.astype("str").where(kept.notna(), None), reasons
    numbers = kept.astype("float64").astype("float32")
    outside = numbers.notna() & ~numbers.between(column.min, column.max)
    outside |= np.isinf(numbers)
    reasons[f"are outside {column.min:g} to {column.max:g}"] = outside
    return numbers, reasons
