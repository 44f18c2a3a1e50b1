"""Reads the prediction log and the labels, line by line, and joins them by id.

Windows are cut by the events' own time, never by the clock of this machine. Lines
that cannot be read are skipped and counted; above a share the log is not believed.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.monitor.source import FeedError, files, lines

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.contract import Contract

PRUNE = 100_000  # rows kept before those that fell out of the window are let go


@dataclass
class Log:
    """Answered rows in the log's order, and how many lines were what."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def until(self) -> datetime | None:
        """The newest event's time."""
        return max((row["time"] for row in self.rows), default=None)


def read_log(
    source: str,
    limits: dict[str, Any],
    version: str | None = None,
    days: float | None = None,
) -> Log:
    """Return the rows of the newest ``days``, of one version (manifest) or of all.

    A row is {"id", "time", "probability", "manifest_sha256", "row"}. An id that the
    same version answered before is a duplicate and skipped; the first answer stays.
    A row that no event has a time for is counted and belongs to no window.

    Raises:
        FeedError: too many lines are corrupt or repeated, or nothing is there to read.
    """
    log, seen = Log(), set[tuple[str, str]]()
    newest = datetime.min.replace(tzinfo=UTC)
    for line in lines(source, "predictions-*.jsonl"):
        log.counts["lines"] += 1
        row = _row(line)
        if row is None:
            log.counts["corrupt"] += 1
        elif row["time"] is None:
            log.counts["without a time"] += 1  # golden rows of a deployment, say
        elif version is not None and row["manifest_sha256"] != version:
            log.counts["other versions"] += 1
        elif (key := (row["id"], row["manifest_sha256"])) in seen:
            log.counts["duplicate"] += 1
        else:
            seen.add(key)
            log.rows.append(row)
            newest = max(newest, row["time"])
            if days is not None and len(log.rows) % PRUNE == 0:
                log.rows = _since(log.rows, newest - timedelta(days=days))
    _believe("the prediction log", log.counts, limits)
    if days is not None and log.rows:
        log.rows = _since(log.rows, newest - timedelta(days=days))
    return log


def read_labels(
    source: str, wanted: set[str], contract: Contract, limits: dict[str, Any]
) -> tuple[dict[str, int], Counter[str]]:
    """Return the label of each wanted id, and how many were what.

    The files are CSV with the columns ``id`` and the contract's target. An id with
    two different labels has none: nobody can say which one is true.

    Raises:
        FeedError: a column is missing, too many labels are neither 0 nor 1, or
            nothing is there to read.
    """
    labels: dict[str, int] = {}
    counts: Counter[str] = Counter()
    contradictory: set[str] = set()
    if "://" not in source and not Path(source).exists():
        counts["no file"] = 1  # labels come late: the first ones may not be there yet
        return labels, counts
    for key, text in _labels(source, contract.target):
        counts["lines"] += 1
        if text not in ("0", "1"):
            counts["corrupt"] += 1
        elif key in wanted and labels.setdefault(key, int(text)) != int(text):
            contradictory.add(key)
    for key in contradictory:
        del labels[key]
    counts["contradictory"] = len(contradictory)
    _believe("the labels", counts, limits)
    return labels, counts


def frame(
    rows: list[dict[str, Any]], labels: dict[str, int], contract: Contract
) -> pd.DataFrame:
    """Return the rows as a table: id, time, columns as logged, probability, target.

    The target is NaN where no label has come; a column that a row lacks is None.
    """
    import pandas as pd

    table: dict[str, Any] = {
        contract.id: pd.Series([row["id"] for row in rows], dtype="str"),
        contract.time: pd.to_datetime([row["time"] for row in rows], utc=True),
    }
    for name in contract.columns:
        values = [row["row"].get(name) for row in rows]
        table[name] = pd.Series(values, dtype=object)
    table["probability"] = [row["probability"] for row in rows]
    found = [labels.get(row["id"]) for row in rows]
    table[contract.target] = pd.Series(found, dtype="float64")
    return pd.DataFrame(table)


def _row(line: str) -> dict[str, Any] | None:
    """Return a log line as a row, or None if it is not one."""
    try:
        found = json.loads(line)
        time = datetime.fromisoformat(found["time"]) if found["time"] else None
        if time is not None and time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        probability = float(found["probability"])
        row = {
            "id": str(found["id"]),
            "time": time,
            "probability": probability,
            "manifest_sha256": str(found["manifest_sha256"]),
            "row": dict(found["row"]),
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return row if 0 <= probability <= 1 else None


def _labels(source: str, target: str) -> Iterator[tuple[str, str]]:
    """Yield (id, label) of every CSV file; each file has its own header."""
    for name, text in files(source, "*.csv"):
        reader = csv.DictReader(text)
        lacking = {"id", target} - set(reader.fieldnames or ())
        if lacking:
            word = sorted(lacking)[0]
            raise FeedError(
                f'{name} has no column "{word}": labels are CSV with the columns '
                f"id and {target}"
            )
        for record in reader:
            yield str(record["id"]), str(record[target]).strip()


def _since(rows: list[dict[str, Any]], start: datetime) -> list[dict[str, Any]]:
    """Return the rows after ``start``."""
    return [row for row in rows if row["time"] > start]


def _believe(what: str, counts: Counter[str], limits: dict[str, Any]) -> None:
    """Refuse a feed of which too much cannot be used."""
    for kind, name in (("corrupt", "max_corrupt"), ("duplicate", "max_duplicate")):
        share = counts[kind] / max(counts["lines"], 1)
        if share > limits[name]:
            raise FeedError(
                f"{counts[kind]:,} of {counts['lines']:,} lines of {what} are {kind} "
                f"({share:.1%}, allowed are {limits[name]:.0%})"
            )
