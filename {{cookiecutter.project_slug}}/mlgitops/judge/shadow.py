"""What a shadow of this very version found on production's requests.

A shadow predicts what the champion answers, for a log of its own beside the champion's
(`serving/shadow.py`). Lines count where their manifest is the one that is judged, and
pair by id with the champion's. The log's address is main's, and it is read here, where
the login is: nothing of the proposal writes it or sees it.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from mlgitops import distance
from mlgitops.judge import checks
from mlgitops.judge.compare import Array, Codes, mean_difference
from mlgitops.judge.gates import Rules, ShadowRule
from mlgitops.judge.intervals import coverage
from mlgitops.judgement import Check, Estimate, Shadow
from mlgitops.pipeline.contract import Contract
from mlgitops.prediction_log import PATTERN, SHADOW, Entry, in_order, moment, parse
from mlgitops.production_data import ProductionDataError, files, folder_of

LIMIT = 20_000  # rows of the shadow that are compared, the newest
SCAN = 1_000_000  # lines of a log that are read for them
FEWEST = 30  # pairs, below which nothing is compared
MARGIN = timedelta(days=1)  # the champion's line may be in the file of the day before
NONE = "no shadow of this version has predicted requests of production"


@dataclass
class Logged:
    """The lines of one version, by id; ids with two predictions are left out."""

    by_id: dict[str, Entry] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)

    def add(self, entry: Entry) -> None:
        """Add an entry; the first of an id stays, as a client may ask again."""
        first = self.by_id.setdefault(entry.id, entry)
        if (first.prediction, first.decision) != (entry.prediction, entry.decision):
            self.unclear.add(entry.id)


class Scan:
    """Reads the files of a log, the newest first, `SCAN` lines at most."""

    def __init__(self) -> None:
        """Begin with nothing read; `ended` tells whether the bound was reached."""
        self.left, self.ended = SCAN, False

    def files(self, source: str) -> Iterator[tuple[str, Iterable[str]]]:
        """Yield (name, lines) of each file."""
        for name, lines in files(source, PATTERN, newest_first=True):
            if not self.ended:
                yield name, self._lines(lines)

    def _lines(self, lines: Iterable[str]) -> Iterator[str]:
        """Yield the lines that the bound leaves."""
        for line in lines:
            if not self.left:
                self.ended = True
                return
            self.left -= 1
            yield line


def compare(
    manifest_sha256: str, champion_sha256: str, contract: Contract, confidence: float
) -> Shadow:
    """Return how a shadow of this version compares with the champion, or why not."""
    log = os.environ.get("PREDICTION_LOG", "").strip()
    if not log:
        return Shadow(why=f"{NONE}: no PREDICTION_LOG is set")
    scans = Scan(), Scan()
    try:
        shadow = _shadow(log, manifest_sha256, contract, scans[0])
        if not shadow.by_id:
            return Shadow(why=NONE)
        span = _span(shadow.by_id.values())
        champion, rows = _champion(
            log, champion_sha256, contract, shadow, span, scans[1]
        )
    except ProductionDataError as error:
        return Shadow(why=f"the log of shadows cannot be read: {error}")
    unclear = shadow.unclear | champion.unclear
    ids = [key for key in champion.by_id if key not in unclear]
    result = Shadow(rows=rows, pairs=len(ids), since=span[0], until=span[1])
    result.bounded = SCAN if any(scan.ended for scan in scans) else 0
    if len(ids) < FEWEST:
        predicted = f"{len(shadow.by_id):,} rows predicted by a shadow of this version"
        result.why = (
            f"{predicted}, {len(ids):,} of them answered by this champion, at least "
            f"{FEWEST} needed"
        )
        return result
    pairs = [(champion.by_id[key], shadow.by_id[key]) for key in ids]
    _measure(result, pairs, contract, confidence)
    return result


def check(result: Shadow, rule: ShadowRule) -> Check:
    """Return the check that a shadow ran, and that few enough decisions differ.

    The upper end of the interval is held against the limit.
    """
    changed = result.changed
    if result.pairs < rule.min_rows or changed is None:
        reason = (
            f"{result.why or f'{result.pairs:,} rows of both'}: gates.shadow needs "
            f"{rule.min_rows:g} rows; run this version with "
            "--shadow (docs/shadow.md of the template), then start validate again"
        )
        return Check(
            id="shadow",
            title="Shadow",
            passed=False,
            reason=reason,
            value=result.pairs,
            operator=">=",
            limit=rule.min_rows,
            unit="rows",
            gate=True,
        )
    reasons = (
        "on production's requests few enough decisions differ from the champion's",
        "on production's requests too many decisions may differ from the champion's",
    )
    return checks.held(
        "shadow",
        changed.high,
        "<=",
        rule.max_changed,
        reasons,
        statistic="upper bound",
        estimate=changed.value,
        interval=(changed.low, changed.high),
        unit="share",
    )


def checked(result: Shadow, rules: Rules) -> list[Check]:
    """Return the check, where main's gates have one."""
    return [check(result, rules.shadow)] if rules.shadow else []


def _shadow(log: str, sha256: str, contract: Contract, scan: Scan) -> Logged:
    """Return the newest predictions of a shadow of a version."""
    folder = f"{folder_of(log).rstrip('/')}/{SHADOW}"
    logged, left = Logged(), LIMIT
    if "://" not in log and not Path(folder).is_dir():
        return logged
    newest = list[Entry]()
    for _, lines in scan.files(folder):
        entries = deque(_entries(lines, sha256, contract), maxlen=left)
        newest += reversed(entries)
        left -= len(entries)
        if left <= 0:
            break
    for entry in reversed(newest):
        logged.add(entry)
    return logged


def _champion(
    log: str,
    sha256: str,
    contract: Contract,
    shadow: Logged,
    span: tuple[str, str],
    scan: Scan,
) -> tuple[Logged, int]:
    """Return the champion's answers that a shadow predicted, and how many it had.

    The latter are all of its answers in the shadow's time.
    """
    logged, rows, (since, until) = Logged(), 0, span
    first = (moment(since) - MARGIN).date().isoformat()
    for name, lines in scan.files(log):
        if _day(name) and _day(name) < first:
            break
        for entry in _entries(lines, sha256, contract):
            if entry.id in shadow.by_id:
                logged.add(entry)
                rows += 1
            elif since <= entry.logged_at <= until:
                rows += 1
    return logged, rows


def _entries(lines: Iterable[str], sha256: str, contract: Contract) -> Iterator[Entry]:
    """Yield what a version predicted of rows that somebody asked about."""
    for line in lines:
        if sha256 not in line:
            continue
        entry = parse(line)
        if entry is None or entry.manifest_sha256 != sha256 or entry.is_golden:
            continue
        if entry.arrival is not None and in_order(entry, line, contract.classes):
            yield entry


def _day(name: str) -> str:
    """Return the day in the name of a file of the log, such as 2026-11-28."""
    return name.rsplit("/", 1)[-1].partition("-")[2][:10]


def _span(entries: Iterable[Entry]) -> tuple[str, str]:
    """Return when the first and the last of some rows were logged."""
    times = [entry.logged_at for entry in entries]
    return min(times), max(times)


def _measure(
    result: Shadow,
    pairs: Sequence[tuple[Entry, Entry]],
    contract: Contract,
    confidence: float,
) -> None:
    """Fill in how the predictions of both differ, with intervals."""
    groups = _groups([champion for champion, _ in pairs], contract)
    result.entity = contract.entity if groups is not None else ""
    p, q = (np.array([pair[n].prediction for pair in pairs], float) for n in (0, 1))
    if contract.task != "regression":
        differ = np.array([a.decision != b.decision for a, b in pairs], float)
        result.changed = Estimate(
            float(differ.mean()), *_ends(differ, confidence, groups)
        )
    columns = [(p, q)] if p.ndim == 1 else [*zip(p.T, q.T, strict=True)]
    shifts = [mean_difference(a, b, confidence, groups) for a, b in columns]
    moved = [float(np.abs(b - a).mean()) for a, b in columns]
    index = int(np.argmax(moved))
    result.of = contract.classes[index] if contract.classes else ""
    shift = shifts[index]
    if np.isfinite([shift.low, shift.high]).all():  # else too few count apart
        result.shift = Estimate(shift.difference, shift.low, shift.high)
    result.moved = moved[index]
    result.distance = distance.wasserstein(*columns[index])
    result.confidence = confidence
    costs = [b.cpu_ms for _, b in pairs if b.cpu_ms is not None]
    if costs:
        p50, p99 = np.percentile(costs, [50, 99])
        result.cpu_ms = (float(p50), float(p99))


def _ends(
    differ: Array, confidence: float, groups: Codes | None
) -> tuple[float, float]:
    """Return the interval of the share of decisions that differ.

    Where all rows are alike nothing varies between entities, and each counts as one.
    """
    if groups is not None and len(np.unique(differ)) == 1:
        return coverage(differ[: len(np.unique(groups))], confidence)
    return coverage(differ, confidence, groups)


def _groups(entries: Sequence[Entry], contract: Contract) -> Codes | None:
    """Return the number of each row's entity, [n]; None where a row names none."""
    name = contract.entity
    if not name or any(entry.row.get(name) is None for entry in entries):
        return None
    codes: Array = pd.factorize(pd.Series([str(e.row[name]) for e in entries]))[0]
    return np.asarray(codes)
