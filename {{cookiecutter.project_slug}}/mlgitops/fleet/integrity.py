"""Finds where a ledger contradicts itself: what it claims, and when."""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from mlgitops.fleet.records import Entry, Fault, Records, Verdict
from mlgitops.judgement import Check
from mlgitops.ledger import CHAMPION, Ledger

GRACE = timedelta(hours=1)  # by which the clocks of runs may differ
YEARS = range(1970, 9000)
NUMBER = re.compile(r"/(\d+)(?:-[^/]*)?\.json$")  # the seq in a record's name


def faults(ledger: Ledger, records: Records) -> list[Fault]:
    """Return where the records of a ledger contradict one another or themselves.

    What was changed, removed or added later is told by `consistency.rewritten`.
    """
    faulty = list(_current(records))
    for entry in records.all():
        faulty += _numbered(entry)
    for verdict in records.verdicts:
        faulty += _judged(verdict)
    return [*faulty, *_allowed(ledger, records)]


def skewed(records: Records, now: datetime) -> list[Fault]:
    """Return the records whose clock was wrong: times are shown, never ordered by."""
    faulty, latest = list[Fault](), datetime(YEARS.start, 1, 1, tzinfo=UTC)
    for entry in sorted(records.all(), key=lambda entry: (entry.seq, entry.time)):
        time = moment(entry.time)
        if time is None:
            faulty.append(Fault(entry.path, f"has no time but {entry.time[:40]!r}"))
            continue
        if time > now + GRACE:
            faulty.append(Fault(entry.path, f"is dated in the future, {entry.time}"))
        elif time < latest - GRACE:
            problem = f"is dated {entry.time}, before the record that it follows"
            faulty.append(Fault(entry.path, problem))
        latest = max(latest, min(time, now))
    return faulty


def moment(text: str) -> datetime | None:
    """Return a record's time, in UTC where it names no zone; None if it is none."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    if time.year not in YEARS:  # one could not add a day to the last year that there is
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _numbered(entry: Entry) -> Iterator[Fault]:
    """Give where a record's number is not that of its name."""
    match = NUMBER.search(entry.path)
    if match is None or int(match[1]) != entry.seq:
        yield Fault(entry.path, f"says that it is record {entry.seq}, and is not")


def _current(records: Records) -> Iterator[Fault]:
    """Give where targets follow another release than the history names last."""
    for current in records.current:
        environment = current.path.split("/")[1]
        history = [e for e in records.releases if e.path.split("/")[1] == environment]
        if not history or history[-1].raw != current.raw:
            yield Fault(current.path, "is not the newest release of its history")
        if any(e.environment != environment for e in (current, *history)):
            yield Fault(current.path, "or its history names another environment")


def _judged(verdict: Verdict) -> Iterator[Fault]:
    """Give where a verdict says something else than its own numbers."""
    overruled = verdict.override.checks if verdict.override else []
    passed = bool(verdict.checks) and all(
        check.passed or check.id in overruled for check in verdict.checks
    )
    if verdict.passed and not passed:
        yield Fault(verdict.path, "says passed, and a check of it did not pass")
    for check in verdict.checks:
        if check.passed and _breaks(check):
            numbers = f"{check.value} {check.operator} {check.limit}"
            yield Fault(verdict.path, f"says that {check.id} passed with {numbers}")


def _breaks(check: Check) -> bool:
    """Tell whether the value of a check is beyond its limit."""
    if check.value is None or check.limit is None or not check.operator:
        return False
    least = check.operator == ">="
    return not (check.value >= check.limit if least else check.value <= check.limit)


def _allowed(ledger: Ledger, records: Records) -> Iterator[Fault]:
    """Give where production has what no verdict of this ledger allowed."""
    history = records.history(CHAMPION)
    if not history or history[-1].state == "failed":
        return
    release = history[-1]
    if any(fault.path == release.verdict for fault in records.faults):
        return  # said already
    verdict = records.verdict(release.verdict)
    if verdict is None:
        yield Fault(release.path, f"names a verdict that is missing: {release.verdict}")
        return
    if not verdict.passed or verdict.manifest_sha256 != release.manifest_sha256:
        yield Fault(release.path, f"is not what {verdict.path} let pass")
    report = verdict.raw.get("report") or {}
    if isinstance(report, dict) and "path" in report:
        data = ledger.read_bytes(str(report["path"]))
        if data is None or hashlib.sha256(data).hexdigest() != report.get("sha256"):
            yield Fault(str(report["path"]), "is not the report that was reviewed")
