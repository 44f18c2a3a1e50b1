"""The newest requests of production, for the judge to ask both models again.

Read here, where the login to the log is; the judge's child gets a table of the
contract's columns and nothing else.
"""

import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlgitops import source
from mlgitops.pipeline.contract import Contract

PATTERN = "predictions-*.jsonl"
MOST = 5_000  # requests that are asked again
FILE = "requests.parquet"


def bring(folder: Path, contract: Contract) -> str:
    """Write the newest requests to the folder; or say why there are none."""
    place = os.environ.get("PREDICTION_LOG", "").strip()
    if not place:
        return "no PREDICTION_LOG is set"
    import pandas as pd

    try:
        rows = list(_newest(place))
    except source.FeedError as error:
        return str(error)
    if not rows:
        return "the prediction log has no requests yet"
    table = pd.DataFrame([row["row"] for row in rows], dtype=object)
    kept = {}
    for name in [n for n in contract.columns if n in table]:
        values = table[name]
        if contract.columns[name].type == "number":
            kept[name] = pd.to_numeric(values, errors="coerce").astype("float32")
        else:
            kept[name] = values.map(lambda v: v if isinstance(v, str) else None)
    times = pd.Series([str(row.get("time") or "") for row in rows], name="time")
    pd.DataFrame({**kept, "time": times}).to_parquet(folder / FILE, index=False)
    return ""


def _newest(place: str) -> Iterator[dict[str, Any]]:
    """Give the newest lines that hold a row, from the newest files."""
    left = MOST
    for _, lines in source.files(place, PATTERN, newest_first=True):
        found = [row for row in map(_row, deque(lines, maxlen=left)) if row]
        yield from found
        left -= len(found)
        if left <= 0:
            return


def _row(line: str) -> dict[str, Any] | None:
    """Return a line of the log that holds a row."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(found, dict) and isinstance(found.get("row"), dict)
    return found if whole else None
