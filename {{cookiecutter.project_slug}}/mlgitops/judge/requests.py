"""The newest requests of production, for the judge to ask both models again.

Read here, where the login to the log is; the judge's child gets a table of the
contract's columns and nothing else.
"""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from mlgitops.pipeline.contract import Contract
from mlgitops.prediction_log import PATTERN, Entry, parse
from mlgitops.production_data import ProductionDataError, files

MOST = 5_000  # requests that are asked again
FILE = "requests.parquet"


def bring(folder: Path, contract: Contract) -> str:
    """Write the newest requests to the folder; or say why there are none."""
    log = os.environ.get("PREDICTION_LOG", "").strip()
    if not log:
        return "no PREDICTION_LOG is set"
    import pandas as pd

    try:
        entries = list(_newest(log))
    except ProductionDataError as error:
        return str(error)
    if not entries:
        return "the prediction log has no requests yet"
    table = pd.DataFrame([entry.row for entry in entries], dtype=object)
    kept = {}
    for name in [n for n in contract.columns if n in table]:
        values = table[name]
        if contract.columns[name].type == "number":
            kept[name] = pd.to_numeric(values, errors="coerce").astype("float32")
        else:
            kept[name] = values.map(lambda v: v if isinstance(v, str) else None)
    events = [entry.time for entry in entries]
    times = pd.Series([time.isoformat() if time else "" for time in events])
    pd.DataFrame({**kept, "time": times}).to_parquet(folder / FILE, index=False)
    return ""


def _newest(log: str) -> Iterator[Entry]:
    """Give the newest entries, from the newest files."""
    left = MOST
    for _, lines in files(log, PATTERN, newest_first=True):
        entries = [e for e in map(parse, deque(lines, maxlen=left)) if e is not None]
        yield from entries
        left -= len(entries)
        if left <= 0:
            return
