"""Reads the entries of the newest window from the prediction log; makes tables of them.

Windows are cut by the events' own time, never by the clock of this machine, and end no
later than what has arrived allows (`end`). Where the contract names no time, that of an
entry is its arrival, by the server's clock (``by_arrival``). Lines that cannot be read
are skipped and counted; above a share the log is not trusted. Memory is bounded: what
fell out of the window is dropped, beyond `MAX_ENTRIES` or `MAX_CHARACTERS` those whose
ids have the smallest hashes stay, and a log on this machine that is longer than
`sample.LONG` is drawn from. Of what was shipped the columns are read, and the lines of
what stays (`columns`): with the same counts and entries as by line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops.monitor import columns, sample, scan, shadow
from mlgitops.monitor.reference import class_names, outputs
from mlgitops.monitor.wording import plural
from mlgitops.prediction_log import (
    EARLIEST,
    LATEST,
    PATTERN,
    UNLOGGED,
    Entry,
    Unlogged,
    parse,
    parse_unlogged,
)
from mlgitops.production_data import (
    ProductionDataError,
    check_shares,
    folder_of,
    lines,
    lines_of,
    located,
)
from mlgitops.settings import Monitor

if TYPE_CHECKING:
    import pandas as pd

    from mlgitops.pipeline.contract import Contract

PRUNE = 100_000  # entries kept before those that fell out of the window are dropped
# Entries in memory, about a gigabyte; a log with more is thinned by id.
MAX_ENTRIES = 500_000
MAX_CHARACTERS = 500_000_000  # of their lines, which may be longer than a server's
STRAY = 0.01  # of all entries; fewer, dated after a gap, are a clock's mistake
GAP = timedelta(days=30)  # without an arrival, after which a few are not believed
ROOM = 0.9  # of them that may stay: the next ones need room before it is done again
TRIES = 20  # lines drawn for a wanted entry, when most are of other windows
LOG = "the prediction log"


@dataclass
class Log:
    """Entries in the log's order, each with a time, and how many lines were what."""

    entries: list[Entry] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    share: float = 1.0  # of the log's lines that were looked at
    unlogged: list[Unlogged] = field(default_factory=list)  # by the hour of counting
    by_arrival: bool = False  # an entry's time is that of its arrival
    sample: float = 1.0  # of the answered rows, the share that servers logged
    shadows: list[shadow.Answers] = field(default_factory=list)  # of the same ids
    unread_shadow: str = ""  # why a challenger's log cannot be read

    def estimated(self, entries: int) -> int:
        """Return how many entries of the log so many entries here stand for."""
        return entries if self.share >= 1 else round(entries / self.share)

    def keep_newest(self, days: float | None) -> None:
        """Drop entries that are more than ``days`` older than the window's end."""
        if days is not None and self.entries:
            start = self.end(self.entries) - timedelta(days=days)
            self.entries = [e for e in self.entries if e.event_time > start]

    def due(self) -> list[Entry]:
        """Return the entries that are not dated after the newest window's end."""
        until = self.end(self.entries) if self.entries else LATEST
        return [entry for entry in self.entries if entry.event_time <= until]

    def end(self, entries: Sequence[Entry]) -> datetime:
        """Return where the newest window of entries ends."""
        return last_arrival(entries) if self.by_arrival else end(entries)


def end(entries: Sequence[Entry]) -> datetime:
    """Return where the newest window of entries ends: at their newest event.

    An event may be dated ahead of its arrival, as a flight of tomorrow is. One that is
    further ahead of the newest arrival than half of the entries were of their own does
    not count: a single row dated in the future would hide all others.
    """
    arrived = [(a, e.event_time - a) for e in entries if (a := e.arrival) is not None]
    events = [entry.event_time for entry in entries]
    if not arrived:
        return max(events)
    leads = sorted(max(lead, timedelta()) for _, lead in arrived)
    latest = max(arrival for arrival, _ in arrived) + leads[(len(leads) - 1) // 2]
    return max((time for time in events if time <= latest), default=max(events))


def last_arrival(entries: Sequence[Entry]) -> datetime:
    """Return where the newest window ends by arrival: with the newest entry.

    A few that a server dated long after all others do not count: its clock was wrong
    for a while, and they would hide all others.
    """
    times = sorted(entry.event_time for entry in entries)
    believed = max(len(times) - int(STRAY * len(times)), 1)
    later = range(believed, len(times))
    after_a_gap = (n for n in later if times[n] - times[n - 1] > GAP)
    return times[next(after_a_gap, len(times)) - 1]


def fits(entry: Entry, contract: Contract) -> bool:
    """Return whether an entry's prediction is one of the contract's task."""
    prediction = entry.prediction
    if contract.task == "multiclass":
        return isinstance(prediction, list) and len(prediction) == len(contract.classes)
    if isinstance(prediction, list):
        return False
    return contract.task == "regression" or 0 <= prediction <= 1


def read_log(
    source: str,
    limits: Monitor,
    days: float | None = None,
    labelled: bool = True,
    by_arrival: bool = False,
    classes: Sequence[str] = (),
    backend: str = "local",
) -> Log:
    """Return the entries of the newest ``days``, of every version.

    An id that the same version predicted before is a duplicate and skipped; the first
    entry stays, as far as the window goes back. An entry whose event has no time
    belongs to no window and is counted. With ``by_arrival``, for a contract without a
    time, an entry's time is that of its arrival. ``classes`` are the contract's.
    ``backend`` says where the parts of a shipped log are read (`scan`).

    Raises:
        ProductionDataError: too many lines are corrupt or repeated, or there is nothing
            to read.
    """
    files = sample.partitions(source, PATTERN)
    if sum(size for _, size in files) > sample.LONG:
        log = _drawn(files, limits, days, labelled, by_arrival)
    else:
        log = _parsed(source, limits, days, by_arrival, backend)
    log.unlogged = read_unlogged(source)
    log.sample = sample_share(log.entries)
    log.share *= log.sample
    ids = {entry.id for entry in log.entries}
    try:
        log.shadows = shadow.read_answers(source, ids, classes)
    except ProductionDataError as error:  # what the champion answered is no worse
        log.unread_shadow = str(error)
    return log


def sample_share(entries: Sequence[Entry]) -> float:
    """Return which share of the rows of that time was logged: 1 but for a sample."""
    return len(entries) / sum(1 / e.sample for e in entries) if entries else 1.0


def read_unlogged(source: str) -> list[Unlogged]:
    """Return how many rows were answered and are not in a log, by the hour.

    The server counts them in files beside the log; without a loss there are none.
    """
    by_hour = dict[datetime, Unlogged]()
    for line in lines(folder_of(source), UNLOGGED):
        if (count := parse_unlogged(line)) is not None:
            hour = count.until.replace(minute=0, second=0, microsecond=0)
            rows, since, until = by_hour.get(hour, (0, count.since, count.until))
            since, until = min(since, count.since), max(until, count.until)
            by_hour[hour] = Unlogged(rows + count.rows, since, until)
    return [by_hour[hour] for hour in sorted(by_hour)]


def inventory(log: Log) -> str:
    """Say what a log holds that has no entry of the version."""
    total = log.counts["lines"]
    if not total:
        return f"no lines in files named {PATTERN}; check PREDICTION_LOG"
    kinds = [f"{n:,} {kind}" for kind, n in log.counts.items() if kind != "lines" and n]
    others = total - sum(n for kind, n in log.counts.items() if kind != "lines")
    kinds += [f"{others:,} of other versions"] if others else []
    return f"of {plural(total, 'line')}, {', '.join(kinds)}"


def frame(
    entries: list[Entry], labels: Mapping[str, Any], contract: Contract
) -> pd.DataFrame:
    """Return entries as a table: id, time, columns as logged, prediction, target.

    The prediction's column is named by `reference.outputs`; of k classes, the
    likeliest. The target is NaN where no label has come; a column that a row does not
    have is None. Where the contract names no time, the column "" has the arrivals.
    """
    import pandas as pd

    table: dict[str, Any] = {
        contract.id: pd.Series([entry.id for entry in entries], dtype="str"),
        contract.time: pd.to_datetime([entry.time for entry in entries], utc=True),
    }
    for name in contract.columns:
        values = [entry.row.get(name) for entry in entries]
        table[name] = pd.Series(values, dtype=object)
    predictions: list[Any] = [entry.prediction for entry in entries]
    raw, shown = outputs(contract)
    if contract.task == "multiclass":
        table[raw] = pd.Series(predictions, dtype=object)
        likeliest = np.array([np.argmax(each) for each in predictions])
        predictions = class_names(contract, likeliest)
    table[shown] = predictions
    target = [labels.get(entry.id) for entry in entries]
    kind: Any = object if contract.task == "multiclass" else "float64"
    table[contract.target] = pd.Series(target, dtype=kind)
    return pd.DataFrame(table)


def _parsed(
    source: str, limits: Monitor, days: float | None, by_arrival: bool, backend: str
) -> Log:
    """Return the entries of a log that is read whole: by lines, or by columns."""
    log = Log(by_arrival=by_arrival)
    kept, (paths, opened) = _Kept(log, days), located(source, PATTERN)
    with scan.reader(backend, source, paths, opened, by_arrival) as parts:
        for path, content in parts.pieces(kept):
            if content and columns.offer(path, content, kept, log.counts, by_arrival):
                continue
            for line in lines_of(path, opened):
                if line.strip() and (entry := _counted(log, line)):
                    kept.offer(entry, len(line))
        log.share = kept.max_hash / columns.EVERY
        log.keep_newest(days)
        log.entries, corrupt = columns.filled(log.entries, parts.entries)
    if corrupt:
        log.counts["corrupt"] += corrupt
    check_shares(LOG, log.counts, limits)
    return log


@dataclass
class _Kept:
    """The entries of a log that are kept while it is read, at most `MAX_ENTRIES`."""

    log: Log
    days: float | None
    max_hash: int = (
        columns.EVERY
    )  # an entry with such a hash of its id is not looked at
    keys: set[tuple[str, str]] = field(default_factory=set)
    prune_at: int = field(default_factory=lambda: PRUNE)
    size: float = 0.0  # characters of their lines

    def offer(self, entry: Entry, size: int) -> None:
        """Keep an entry, or count why not; ``size`` is that of its line."""
        log, key = self.log, _key(entry)
        if self.max_hash < columns.EVERY and columns.id_hash(entry.id) >= self.max_hash:
            log.counts["not looked at"] += 1
        elif key in self.keys:
            log.counts["duplicate"] += 1
        else:
            self.keys.add(key)
            log.entries.append(entry)
            self.size += size
            full = len(log.entries) >= min(self.prune_at, MAX_ENTRIES)
            if full or self.size > MAX_CHARACTERS:
                self._prune()

    def _prune(self) -> None:
        """Drop what fell out of the window, and thin what is too much for memory."""
        log, mean_size = self.log, self.size / len(self.log.entries)
        log.keep_newest(self.days)
        self.max_hash = _thin(log, self.max_hash, mean_size)
        self.keys = set(map(_key, log.entries))
        self.prune_at = max(PRUNE, 2 * len(log.entries))
        self.size = mean_size * len(log.entries)


def _thin(log: Log, max_hash: int, mean_size: float) -> int:
    """Keep the entries with the smallest hashes; return the limit of these."""
    while len(log.entries) > ROOM * min(MAX_ENTRIES, MAX_CHARACTERS / mean_size):
        max_hash //= 2
        log.entries = [
            entry for entry in log.entries if columns.id_hash(entry.id) < max_hash
        ]
    return max_hash


def _drawn(
    files: list[tuple[Path, int]],
    limits: Monitor,
    days: float | None,
    labelled: bool,
    by_arrival: bool,
) -> Log:
    """Return entries of a log that is too long to parse, until there are enough.

    Enough are ``sample_rows`` in the window itself, however much longer ``days`` go
    back, and ``probe_rows`` in all where labels let them be learnt from.
    """
    log, keys, recent, size = Log(by_arrival=by_arrival), set[tuple[str, str]](), 0, 0
    scan = sample.scan(files)
    window_rows, log_rows = limits.sample_rows, limits.probe_rows * labelled
    max_lines = max(window_rows, log_rows) * TRIES
    window, look_at = timedelta(days=limits.window_days), 1
    start = oldest = EARLIEST  # of the window, and of what is kept
    for drawn, line in enumerate(sample.draw(scan.stretches)):
        enough = len(log.entries) >= log_rows and recent >= window_rows
        full = len(log.entries) >= MAX_ENTRIES or size > MAX_CHARACTERS
        if enough or full or drawn >= max_lines:
            break
        entry = _counted(log, line)
        if entry is None or _key(entry) in keys:
            continue
        keys.add(_key(entry))
        if entry.event_time > oldest:
            log.entries.append(entry)
            size += len(line)
            recent += entry.event_time > start
        if len(log.entries) >= look_at:  # where the window lies, better each time
            log.keep_newest(days)
            until = log.end(log.entries)
            start = until - window
            oldest = EARLIEST if days is None else until - timedelta(days=days)
            recent = sum(entry.event_time > start for entry in log.entries)
            look_at = 2 * len(log.entries)
    log.counts["corrupt"] += scan.too_long
    check_shares(LOG, log.counts + Counter(lines=scan.too_long), limits)
    log.share = min(log.counts["lines"] / max(scan.lines, 1), 1.0)
    log.counts["looked at"] = log.counts["lines"]
    log.counts["lines"] = scan.lines
    log.keep_newest(days)
    return log


def _counted(log: Log, line: str) -> Entry | None:
    """Count a line, and return its entry if it can belong to a window."""
    log.counts["lines"] += 1
    entry = parse(line)
    if entry is None:
        log.counts["corrupt"] += 1
        return None
    if log.by_arrival:
        if entry.is_golden:
            log.counts["asked by a deployment"] += 1
            return None
        entry.time = entry.arrival
    if entry.time is None:
        log.counts["without a time"] += 1  # golden rows of a deployment, say
        return None
    return entry


def _key(entry: Entry) -> tuple[str, str]:
    """Return what makes two entries the same prediction."""
    return entry.id, entry.manifest_sha256
