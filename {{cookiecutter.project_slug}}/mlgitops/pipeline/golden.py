"""The golden rows: rows of the training data that each hand-over predicts again; pure.

They follow from the table alone, so that the judge finds the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlgitops.pipeline.contract import Contract

if TYPE_CHECKING:
    import pandas as pd

JsonValue = str | float | None
Row = dict[str, JsonValue]
UNKNOWN = "unknown"  # a category that no contract should hold
SPREAD = 18  # rows, evenly over the training window


def rows(frame: pd.DataFrame, contract: Contract) -> list[Row]:
    """Return rows spread over a table, and two more.

    Of those one has every optional column blank, one an unknown category.
    """
    import pandas as pd

    spread = np.linspace(0, len(frame) - 1, SPREAD).round().astype(int)
    chosen = frame.iloc[spread][list(contract.columns)].astype(object)
    blank = chosen.iloc[[SPREAD // 3]].copy()
    blank[[name for name, c in contract.columns.items() if c.missing]] = None
    strange = chosen.iloc[[2 * SPREAD // 3]].copy()
    strange[contract.kind("category", list(contract.columns))[:1]] = UNKNOWN
    return [
        {name: _plain(value) for name, value in row.items()}
        for row in pd.concat([chosen, blank, strange]).to_dict("records")
    ]


def _plain(value: JsonValue) -> JsonValue:
    """Return a JSON value: the shortest number that is the same float32, or None."""
    if value is None or value != value:
        return None
    return value if isinstance(value, str) else float(str(np.float32(value)))
