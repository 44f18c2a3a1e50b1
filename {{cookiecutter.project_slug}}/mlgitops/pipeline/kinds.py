"""Refuses a column whose values have several types, or one that has no order; pure.

Ids are sorted, compared and written to Parquet: pandas and Arrow take some such
columns, change others, and raise what names no column for the rest.
"""

from __future__ import annotations

import datetime
import decimal
from typing import TYPE_CHECKING

import numpy as np

from mlgitops.pipeline.contract import ContractError
from mlgitops.pipeline.schema import one_line

if TYPE_CHECKING:
    import pandas as pd

WITHOUT_ZONE = "times without one"
# Of values that have an order and a type in Parquet.
KINDS: dict[str, type | tuple[type, ...]] = {
    "texts": str,
    "true or false": (bool, np.bool_),
    "numbers": (int, float, np.integer, np.floating),
    "decimals": decimal.Decimal,
    "bytes": bytes,
    "times with a zone": datetime.datetime,
    WITHOUT_ZONE: datetime.datetime,  # no order among those with one
    "dates": datetime.date,
    "times of day": datetime.time,
    "durations": (datetime.timedelta, np.timedelta64),
}
LARGEST = 2**63  # of a whole number in Parquet; below it


class OfSomeRows(ContractError):
    """What is counted in the rows at hand: by batch it is said which rows they are."""


def kind(value: object) -> str:
    """Return what a value is called, by its type; that type's name where none fits."""
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        return "whole numbers of more than 64 bits"
    if isinstance(value, datetime.datetime) and value.tzinfo is None:
        return WITHOUT_ZONE
    names = (name for name, types in KINDS.items() if isinstance(value, types))
    return next(names, f"values of the type {type(value).__name__}")


def demand_one(values: pd.Series, name: str) -> None:
    """Refuse a column [n] of several types, or of one that nothing orders.

    Raises:
        OfSomeRows: with how many values there are of each, an example and advice.
    """
    if values.dtype != object and values.dtype.kind != "c":
        return
    present = values[values.notna()]
    kinds = present.map(kind)
    counts = kinds.value_counts()
    if len(counts) <= 1 and set(counts.index) <= KINDS.keys():
        return
    listed = " and ".join(
        f"{count:,} are {each} (such as {one_line(present[kinds == each].iloc[0])})"
        for each, count in counts.items()
    )
    raise OfSomeRows(
        f'Column "{name}": of {len(values):,} values, {listed}; they need one type '
        f"that can be sorted: write rows[{name!r}] = rows[{name!r}].astype(str) in "
        "prepare() of model/prepare.py, or correct the data."
    )


def without_arrays(values: pd.Series) -> pd.Series:
    """Return a column [n], its arrays as lists: no `==` compares an array as one."""
    import pandas as pd

    if values.dtype != object or not any(isinstance(v, np.ndarray) for v in values):
        return values
    plain = [v.tolist() if isinstance(v, np.ndarray) else v for v in values]
    return pd.Series(plain, values.index, object, values.name)
