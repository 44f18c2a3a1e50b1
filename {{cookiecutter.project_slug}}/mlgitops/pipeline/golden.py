"""The golden rows: rows of the training data that each hand-over predicts again; pure.

They follow from the table alone, so that the judge finds the same ones.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops.pipeline.contract import Column, Contract
from mlgitops.pipeline.words import words

if TYPE_CHECKING:
    import pandas as pd

JsonValue = str | float | bool | None
Row = dict[str, JsonValue]
UNKNOWN = "unknown"  # a category that no contract should hold
SPREAD = 18  # rows, evenly over the training window
STRANGE = (  # a text of what Unicode makes difficult; cut to what a column may hold
    "\u00dcber STRASSE stra\u00dfe \ufb01ne Cafe\u0301 \u6f22\u5b57\u304b\u306a "
    "\U0001f44d\U0001f3fd\u2764\ufe0f \u0130\u03a3\u03c2 \u0939\u093f\r\n\0\u200d."
)
COMMON, SEEN = 5, 2_000  # a word of golden rows is in so many of so many texts


def rows(frame: pd.DataFrame, contract: Contract) -> list[Row]:
    """Return rows spread over a table, and two more.

    Of those one has every optional column blank, one an unknown category. Of a text
    they have the words that several rows share, as a manifest is read by many, and a
    rare word may be a person's; the last row has letters of many scripts.
    """
    import pandas as pd

    chosen = frame.iloc[spread(len(frame))][list(contract.columns)].astype(object)
    texts = contract.kind("text", list(contract.columns))
    for name in texts:
        chosen[name] = _shared_words(frame[name], chosen[name])
    blank = chosen.iloc[[SPREAD // 3]].copy()
    blank[[name for name, c in contract.columns.items() if c.missing]] = None
    strange = chosen.iloc[[2 * SPREAD // 3]].copy()
    strange[contract.kind("category", list(contract.columns))[:1]] = UNKNOWN
    for name in texts:
        strange[name] = STRANGE[: contract.columns[name].max_length]
    return requests(pd.concat([chosen, blank, strange]), contract)


def spread(rows: int) -> np.ndarray:
    """Return the positions of the rows that are evenly over a table."""
    return np.linspace(0, rows - 1, SPREAD).round().astype(int)


def _shared_words(column: pd.Series, texts: pd.Series) -> pd.Series:
    """Return the texts with those of their words that several rows share."""
    filled = column.dropna()
    seen = filled.iloc[:: max(1, len(filled) // SEEN)]
    rows = Counter(word for text in seen for word in set(words(text).split()))
    common = {word for word, count in rows.items() if count >= COMMON}

    def kept(text: object) -> str | None:
        if not isinstance(text, str):
            return None
        return " ".join(word for word in words(text).split() if word in common) or "."

    return texts.map(kept)


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
