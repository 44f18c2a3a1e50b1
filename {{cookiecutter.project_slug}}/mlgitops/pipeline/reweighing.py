"""Weights that make a class as frequent in each group as in all training rows; pure.

w = P(group) P(class) / P(group, class): Kamiran and Calders (2012), Data preprocessing
techniques for classification without discrimination, Knowledge and Information Systems
33(1). Whoever asks for a prediction need not send the group: only training reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import seconds, truth

if TYPE_CHECKING:
    import pandas as pd

Weights = NDArray[np.float64]
Codes = NDArray[np.int64]
VALUES = 4  # of a number; with more of them its groups are the quarters of the rows


def weights(
    rows: pd.DataFrame,
    contract: Contract,
    columns: Sequence[str],
    counts: Weights | None = None,
) -> Weights:
    """Return the weight of each training row, [n], 1 where the class has no bias.

    Groups are the combinations of the columns' values; a missing value is one of them.
    The weights of a group add up to its rows, if it has a row of every class. Where
    rows count differently otherwise, by `counts` [n], it is by these that the product
    of both has no bias.
    """
    group = groups(rows, contract, columns)
    _, target = np.unique(truth(rows, contract), return_inverse=True)
    cells = np.zeros((group.max() + 1, target.max() + 1))
    np.add.at(cells, (group, target), 1.0 if counts is None else counts)
    products = np.outer(cells.sum(axis=1), cells.sum(axis=0))
    inside = cells[group, target] * cells.sum()
    # Where none of a cell's rows counts, their weight does not either.
    return np.asarray(products[group, target] / np.where(inside > 0, inside, 1.0))


def groups(rows: pd.DataFrame, contract: Contract, columns: Sequence[str]) -> Codes:
    """Return the number of each row's group, [n].

    Raises:
        ContractError: the rows do not have a column.
    """
    codes = np.zeros(len(rows), np.int64)
    for name in columns:
        if name not in rows:
            raise ContractError(f"the rows have no {name}, by which they are weighted")
        values = _values(rows[name], contract.columns[name].type)
        codes = codes * (values.max() + 1) + values
        codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    return codes


def _values(column: pd.Series, kind: str) -> Codes:
    """Return the number of each row's value, [n]; 0 where it is missing."""
    import pandas as pd

    if kind == "datetime":
        column = pd.Series(seconds(column), column.index)
    codes, values = pd.factorize(column)
    if kind in ("category", "boolean") or len(values) <= VALUES:
        return np.asarray(codes + 1, np.int64)
    numbers = column.to_numpy(np.float64)
    edges = np.unique(np.nanquantile(numbers, (0.25, 0.5, 0.75)))
    quarter = np.searchsorted(edges, numbers, side="left") + 1
    return np.where(np.isnan(numbers), 0, quarter)
