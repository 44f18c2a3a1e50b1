"""The newest requests of production, for the judge to replay on both models.

Read here, where the login to the log is; the judge's child gets a table of the
contract's columns and nothing else.
"""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.data import times
from mlgitops.prediction_log import GOLDEN, PATTERN, Entry, max_text, parse
from mlgitops.production_data import ProductionDataError, files

LIMIT = 5_000  # requests that are replayed
FILE = "requests.parquet"
SINCE, UNTIL = "since", "until"  # attributes of the table, where requests have times
UNREADABLE = "unreadable"  # attribute of the table: lines among them that are not one


def bring(folder: Path, contract: Contract) -> str:
    """Write the newest requests to the folder; return why there are none, if so."""
    log = os.environ.get("PREDICTION_LOG", "").strip()
    if not log:
        return "no PREDICTION_LOG is set"
    import pandas as pd

    try:
        newest = list(_newest(log))
    except ProductionDataError as error:
        return str(error)
    entries = [e for e in newest if e is not None and _is_served(e, contract)]
    if newest and not entries:
        lines = f"{len(newest):,} newest line{'s' if len(newest) > 1 else ''}"
        return f"none of {lines} of the prediction log can be used"
    if not entries:
        return "the prediction log has no requests yet"
    requests = pd.DataFrame([entry.row for entry in entries], dtype=object)
    columns = {}
    for name in [n for n in contract.columns if n in requests]:
        values = requests[name]
        if contract.kind("number", [name]):
            columns[name] = pd.to_numeric(values, errors="coerce").astype("float32")
        else:
            texts = values.map(lambda v: v if isinstance(v, str) else None)
            is_time = contract.columns[name].type == "datetime"
            columns[name] = times(texts) if is_time else texts
    table = pd.DataFrame(columns, index=range(len(entries)))
    moments = sorted(
        t for e in entries if (t := e.time if contract.time else e.arrival)
    )
    if moments:
        table.attrs |= {SINCE: moments[0].isoformat(), UNTIL: moments[-1].isoformat()}
    table.attrs[UNREADABLE] = len(newest) - len(entries)
    table.to_parquet(folder / FILE, index=False)
    return ""


def _is_served(entry: Entry, contract: Contract) -> bool:
    """Return whether the server accepts texts as long as those of an entry.

    It refuses longer ones: such a line is not its own.
    """
    columns = contract.columns
    return all(
        len(value) <= (columns[name].max_length or max_text(columns[name].categories))
        for name, value in entry.row.items()
        if isinstance(value, str) and name in columns
    )


def _newest(log: str) -> Iterator[Entry | None]:
    """Yield the newest requests, from the newest files; None where a line is not one.

    A deployment's golden rows are nobody's request, however many came last.
    """
    left = LIMIT
    for _, lines in files(log, PATTERN, newest_first=True):
        requests = (line for line in lines if line.strip() and not _is_golden(line))
        newest = deque(requests, maxlen=left)
        yield from map(parse, newest)
        left -= len(newest)
        if left <= 0:
            return


def _is_golden(line: str) -> bool:
    """Return whether a line is a golden row's; few lines have to be parsed for that."""
    if f'"{GOLDEN[:-2]}' not in line:
        return False
    entry = parse(line)
    return entry is not None and entry.is_golden
