"""Says when the monitor has stopped to run: a schedule can be switched off unseen.

GitHub switches schedules off after 60 days without activity; a monitor that is silent
for that reason looks like one that has nothing to say.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlgitops import settings
from mlgitops.ledger import Ledger

PERIODS = 2  # without a run


def newest(ledger: Ledger) -> tuple[str, dict[str, Any]] | None:
    """Return the newest monitoring record and its path; the order is the ledger's."""
    paths = [path for path in ledger.paths("monitoring/") if path.endswith(".json")]
    found = ledger.read(paths[-1]) if paths else None
    return None if found is None else (paths[-1], found)


def age_days(record: dict[str, Any], now: datetime | None = None) -> float:
    """Return how many days ago a record was made."""
    made = datetime.fromisoformat(str(record["time"]))
    return ((now or datetime.now(UTC)) - made).total_seconds() / 86_400


def late(ledger: Ledger, now: datetime | None = None) -> str | None:
    """Return one sentence when the monitor has not run for two periods, or None.

    Nothing is late that has never run.
    """
    file, found = Path("params.yaml"), newest(ledger)
    if found is None or not file.is_file():
        return None
    try:
        every = settings.monitor(settings.load(file.read_bytes())).every_days
    except settings.SettingsError as error:
        return f"whether the monitor still runs is not known: {error}"
    age = age_days(found[1], now)
    if age <= PERIODS * every:
        return None
    return (
        f"the monitor last ran {age:.0f} days ago, on {found[1]['time'][:10]}, and "
        f"should every {every:g}: type `gh workflow enable monitor.yml`, then "
        "`gh workflow run monitor.yml`"
    )
