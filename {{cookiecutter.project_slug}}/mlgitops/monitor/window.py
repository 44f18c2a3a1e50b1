"""Reads the prediction log and makes tables of it.

Windows are cut by the events' own time, never by the clock of this machine. Lines
that cannot be read are skipped and counted; above a share the log is not believed.
Memory is bounded: what fell out of the window is let go, beyond `MOST` rows those whose
ids have the smallest hashes stay, and a log on this machine that is longer than
`sample.LONG` is drawn from.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops.monitor import sample
from mlgitops.monitor.reference import OUTPUTS, named
from mlgitops.settings import Monitor
from mlgitops.source import believe, lines

if TYPE_CHECKING:
    import pandas as pd

    from mlgitops.pipeline.contract import Contract

PRUNE = 100_000  # rows kept before those that fell out of the window are let go
MOST = 500_000  # rows in memory, about a gigabyte; a log with more is thinned by id
ROOM = 0.9  # of them that may stay: the next ones need room before it is done again
PATTERN = "predictions-*.jsonl"
TRIES = 20  # lines drawn for a wanted row, when most are of other windows


@dataclass
class Log:
    """Answered rows in the log's order, and how many lines were what."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    share: float = 1.0  # of the log's rows that were looked at

    @property
    def until(self) -> datetime | None:
        """The newest event's time."""
        return max((row["time"] for row in self.rows), default=None)

    def estimated(self, rows: int) -> int:
        """Return how many rows of the log so many rows here stand for."""
        return rows if self.share >= 1 else round(rows / self.share)


def read_log(
    source: str,
    limits: Monitor,
    version: str | None = None,
    days: float | None = None,
    labelled: bool = True,
) -> Log:
    """Return the rows of the newest ``days``, of one version (manifest) or of all.

    A row is {"id", "time", "answer", "manifest_sha256", "row"}. An id that the same
    version answered before is a duplicate and skipped; the first answer stays, as far
    as the window goes back. A row that no event has a time for belongs to no window
    and is counted.

    Raises:
        FeedError: too many lines are corrupt or repeated, or nothing is there to read.
    """
    files = sample.partitions(source, PATTERN)
    if sum(size for _, size in files) > sample.LONG:
        return _drawn(files, limits, version, days, labelled)
    log, seen, bar, full = Log(), set[tuple[str, str]](), 2**32, PRUNE
    newest = datetime.min.replace(tzinfo=UTC)
    for line in lines(source, PATTERN):
        row = _counted(log, line, version)
        if row is None:
            continue
        if _hash(row["id"]) >= bar:
            log.counts["not looked at"] += 1
        elif _key(row) in seen:
            log.counts["duplicate"] += 1
        else:
            seen.add(_key(row))
            log.rows.append(row)
            newest = max(newest, row["time"])
            if len(log.rows) >= min(full, MOST):
                if days is not None:
                    log.rows = _since(log.rows, newest - timedelta(days=days))
                while len(log.rows) > MOST * ROOM:
                    bar //= 2
                    log.rows = [r for r in log.rows if _hash(r["id"]) < bar]
                seen, full = set(map(_key, log.rows)), max(PRUNE, 2 * len(log.rows))
    log.share = bar / 2**32
    believe("the prediction log", log.counts, limits)
    if days is not None and log.rows:
        log.rows = _since(log.rows, newest - timedelta(days=days))
    return log


def inventory(log: Log) -> str:
    """Say what a log holds that has no row to look at."""
    lines = log.counts["lines"]
    if not lines:
        return f"no lines in files named {PATTERN}; does PREDICTION_LOG name them?"
    kinds = [f"{n:,} {kind}" for kind, n in log.counts.items() if kind != "lines" and n]
    of_others = lines - sum(n for k, n in log.counts.items() if k != "lines")
    kinds += [f"{of_others:,} of other versions"] if of_others else []
    return f"of {lines:,} lines, {', '.join(kinds)}"


def frame(
    rows: list[dict[str, Any]], labels: Mapping[str, Any], contract: Contract
) -> pd.DataFrame:
    """Return the rows as a table: id, time, columns as logged, answer, target.

    The answer's column is named as in `reference.OUTPUTS`; of k classes, the likeliest.

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
    answers = [row["answer"] for row in rows]
    if contract.task == "multiclass":
        given = answers
        answers = named(contract, np.array([np.argmax(answer) for answer in answers]))
        table[OUTPUTS[contract.task][0]] = pd.Series(given, dtype=object)
    table[OUTPUTS[contract.task][1]] = answers
    found = [labels.get(row["id"]) for row in rows]
    kind: Any = object if contract.task == "multiclass" else "float64"
    table[contract.target] = pd.Series(found, dtype=kind)
    return pd.DataFrame(table)


def _row(line: str) -> dict[str, Any] | None:
    """Return a log line as a row, or None if it is not one."""
    try:
        found = json.loads(line)
        time = datetime.fromisoformat(found["time"]) if found["time"] else None
        if time is not None and time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        row = {
            "id": str(found["id"]),
            "time": time,
            "answer": _answer(found),
            "manifest_sha256": sys.intern(str(found["manifest_sha256"])),
            "row": _shared(found["row"]),
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return row


def _shared(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose words are the same objects as in other rows, to save memory.

    Each line brings its own copy of every column's name, which is most of its size.
    """
    return {
        sys.intern(name): sys.intern(value) if type(value) is str else value
        for name, value in row.items()
    }


def _answer(found: Mapping[str, Any]) -> Any:
    """Return what the model said: P(1), the probabilities of k classes, or a value.

    Raises:
        ValueError, KeyError, TypeError: it is none of these.
    """
    if "value" in found:
        if not isfinite(value := float(found["value"])):
            raise ValueError("not a number")
        return value
    several = found.get("probabilities")
    if isinstance(several, Mapping):  # by class, in the order of the version's own list
        several = list(several.values())
    given = [float(p) for p in (several or [found["probability"]])]
    if not all(0 <= p <= 1 for p in given):
        raise ValueError("not a probability")
    return given if several else given[0]


def _drawn(
    files: list[tuple[Path, int]],
    limits: Monitor,
    version: str | None,
    days: float | None,
    labelled: bool,
) -> Log:
    """Return rows of a log that is too long to parse, until there are enough.

    Enough are ``sample_rows`` in the window itself, however much longer ``days`` go
    back, and ``probe_rows`` in all where labels let them be learnt from.
    """
    log, known, recent = Log(), set[tuple[str, str]](), 0
    total = sample.count(files)
    least, most = limits.sample_rows, limits.probe_rows * labelled
    window = timedelta(days=limits.window_days)
    newest = datetime.min.replace(tzinfo=UTC)
    for tried, line in enumerate(sample.draw(files)):
        enough = len(log.rows) >= most and recent >= least
        if enough or len(log.rows) >= MOST or tried >= max(least, most) * TRIES:
            break
        row = _counted(log, line, version)
        if row is None or _key(row) in known:
            continue
        known.add(_key(row))
        if row["time"] > newest:
            newest = row["time"]
        if days is None or row["time"] > newest - timedelta(days=days):
            log.rows.append(row)
            recent += row["time"] > newest - window
    believe("the prediction log", log.counts, limits)
    log.share = min(log.counts["lines"] / max(total, 1), 1.0)
    log.counts["looked at"] = log.counts["lines"]
    log.counts["lines"] = total
    if days is not None:
        log.rows = _since(log.rows, newest - timedelta(days=days))
    return log


def _counted(log: Log, line: str, version: str | None) -> dict[str, Any] | None:
    """Return a line's row if it belongs to a window of the version; count it."""
    log.counts["lines"] += 1
    row = _row(line)
    if row is None:
        log.counts["corrupt"] += 1
    elif row["time"] is None:
        log.counts["without a time"] += 1  # golden rows of a deployment, say
    elif version is not None and row["manifest_sha256"] != version:
        log.counts["other versions"] += 1
    else:
        return row
    return None


def _key(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return what makes two rows the same answer."""
    return row["id"], row["manifest_sha256"]


def _hash(key: str) -> int:
    """Return 32 bits of an id, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big")


def _since(rows: list[dict[str, Any]], start: datetime) -> list[dict[str, Any]]:
    """Return the rows after ``start``."""
    return [row for row in rows if row["time"] > start]
