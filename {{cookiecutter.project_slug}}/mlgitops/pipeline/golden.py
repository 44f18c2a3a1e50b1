"""The golden rows: rows of the training data that each hand-over predicts again; pure.

They follow from the table alone, so that the judge finds the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops.pipeline.contract import Column, Contract

if TYPE_CHECKING:
    import pandas as pd

JsonValue = str | float | bool | None
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
    return requests(pd.concat([chosen, blank, strange]), contract)


def requests(frame: pd.DataFrame, contract: Contract) -> list[Row]:
    """Return checked rows as a client sends them, without id and time."""
    columns = {
        name: [plain(value, column) for value in frame[name].astype(object)]
        for name, column in contract.columns.items()
    }
    values = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]


def plain(value: Any, column: Column) -> JsonValue:
    """Return a value of a checked table as JSON has it: None where it is missing.

    Of a number that is the shortest with the same float32, of a datetime ISO 8601.
    """
    if value is None or value != value:
        return None
    if column.type == "datetime":
        return str(value.isoformat())
    if column.type in ("integer", "boolean"):
        return bool(value) if column.type == "boolean" else int(value)
    return value if isinstance(value, str) else float(str(np.float32(value)))
