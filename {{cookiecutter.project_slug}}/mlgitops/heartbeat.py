"""Notices when the monitor has stopped running.

GitHub switches schedules off after 60 days without activity; without this check, a
monitor that no longer runs looks like one that finds nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from mlgitops import settings
from mlgitops.ledger import Ledger, Record

PERIODS = 2  # without a run, before the monitor is late


def newest(ledger: Ledger) -> tuple[str, Record] | None:
    """Return the path and the record of the newest monitoring run in the ledger."""
    paths = [path for path in ledger.paths("monitoring/") if path.endswith(".json")]
    record = ledger.read(paths[-1]) if paths else None
    return None if record is None else (paths[-1], record)


def age_days(record: Record, time: datetime | None = None) -> float:
    """Return how many days before a time, such as today, a record was made."""
    recorded = datetime.fromisoformat(str(record["time"]))
    return ((time or datetime.now(UTC)) - recorded).total_seconds() / 86_400


def late(ledger: Ledger, time: datetime | None = None) -> str | None:
    """Return a warning when the monitor has not run for two periods, or None.

    A monitor that never ran is not late.
    """
    file, latest = Path("params.yaml"), newest(ledger)
    if latest is None or not file.is_file():
        return None
    try:
        every = settings.monitor(settings.load(file.read_bytes())).every_days
    except settings.SettingsError as error:
        return f"cannot tell whether the monitor still runs: {error}"
    _, record = latest
    age = age_days(record, time)
    if age <= PERIODS * every:
        return None
    return (
        f"the monitor last ran {age:.0f} days ago, on {record['time'][:10]}, but "
        f"should run every {every:g} day{'' if every == 1 else 's'}: type "
        "`gh workflow enable monitor.yml`, then `gh workflow run monitor.yml`"
    )
