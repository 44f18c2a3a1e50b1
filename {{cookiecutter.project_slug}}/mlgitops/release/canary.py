"""The canary of production: a version that answers a share of its rows, on the ledger.

``environments/production/canary.json`` is what the agents follow: the release of the
environment before production, with its share and its end. Each state is kept, in
``canaries/``: running, taken back (by the monitor), promoted, replaced. To promote one
is a person's act: `deploy` for production, started by hand. Only the way back is
automatic.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from mlgitops import github
from mlgitops.ledger import CHAMPION, Ledger
from mlgitops.release import Record, environments, promote, settings

FOLDER = f"environments/{CHAMPION}"
FILE = f"{FOLDER}/canary.json"
RUNNING = "running"


def running(ledger: Ledger) -> Record | None:
    """Return the canary that answers now, or None.

    It was begun beside one champion: where another one runs, it answers no more.
    """
    record, champion = ledger.read(FILE), ledger.champion()
    if record is None or record["state"] != RUNNING or champion is None:
        return None
    if record["champion"] != champion["manifest_sha256"]:
        return None
    over = datetime.fromisoformat(record["until"]) < datetime.now(UTC)
    return None if over else record


def follow(ledger: Ledger, release: Record) -> None:
    """Begin or end a canary after a deployment, where params.yaml asks for one."""
    if release["state"] == "failed":
        return
    if release["environment"] == CHAMPION:
        canary = ledger.read(FILE)
        if canary and canary["state"] == RUNNING:
            promoted = canary["manifest_sha256"] == release["manifest_sha256"]
            state = "promoted" if promoted else "replaced"
            github.tell(end(ledger, state, release["tag"]))
        return
    rules, before = settings().canary, environments.before(CHAMPION)
    if rules is None or before != release["environment"]:
        return
    if not environments.waits(CHAMPION):
        return  # production gets the release next, whole
    champion, latest = ledger.champion(), ledger.read(FILE) or {}
    excluded = (champion or release)["manifest_sha256"], latest.get("manifest_sha256")
    if release["manifest_sha256"] in excluded:
        return  # it answers all rows, or was a canary: one taken back stays so
    until = datetime.now(UTC) + timedelta(hours=rules.hours)
    terms = {
        "share": rules.share,
        "until": until.isoformat(timespec="seconds"),
        "champion": champion and champion["manifest_sha256"],
    }
    github.tell(_write(ledger, {**release, **terms}, RUNNING, None))


def end(ledger: Ledger, state: str, reason: str) -> str:
    """Record that a canary answers no more; return a sentence on it."""
    record = ledger.read(FILE)
    if record is None or record["state"] != RUNNING:
        return "no canary answers"
    return _write(ledger, record, state, reason)


def _write(ledger: Ledger, fields: Record, state: str, reason: str | None) -> str:
    """Put a canary's state on the ledger, for targets and as history."""
    changed: dict[str, Any] = {
        "environment": CHAMPION,
        "action": "canary",
        "state": state,
        "reason": reason,
        "run_url": github.run_url(),
        "time": promote.now(),
    }

    def files(seq: int) -> dict[str, Record | bytes]:
        record = {**fields, **changed, "seq": seq}
        return {FILE: record, f"{FOLDER}/canaries/{seq:08d}.json": record}

    share = f"{fields['share']:.0%} of the rows"
    message = f"{fields['tag']} as a canary of {CHAMPION}, {share}: {state}"
    ledger.append(files, message)
    return f"{message} ({reason})" if reason else message
