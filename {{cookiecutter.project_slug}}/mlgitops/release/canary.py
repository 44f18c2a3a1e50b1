"""The canary of production: a version that answers a share of its rows, on the ledger.

``environments/production/canary.json`` is what the agents follow: the release of the
environment before production, with its share and its end. Each state is kept, in
``canaries/``: running, taken back (by the monitor, a rollback or a revert), promoted,
replaced. To promote one
is a person's act: `deploy` for production, started by hand. Only the way back is
automatic.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from mlgitops import github
from mlgitops.ledger import CHAMPION, Ledger, withdraws
from mlgitops.release import (
    Record,
    by_dispatch,
    challengers,
    environments,
    promote,
    settings,
)

FOLDER = f"environments/{CHAMPION}"
FILE = f"{FOLDER}/canary.json"
RUNNING = "running"


class EndedError(Exception):
    """Another writer ended the canary, or began another one, since it was read."""


def running(ledger: Ledger) -> Record | None:
    """Return the canary that nothing has ended yet, or None.

    It was begun beside one champion: where another one runs, it answers no more. After
    its hours no host lets it answer, but it can still be taken back: labels come late.
    """
    record, champion = ledger.read(FILE), ledger.champion()
    if record is None or record["state"] != RUNNING or champion is None:
        return None
    if record["champion"] != champion["manifest_sha256"]:
        return None
    return record


def unused() -> str:
    """Return why ``deploy.canary`` of params.yaml does nothing; "" if it is not so.

    A canary needs an environment before production, and a production that waits.
    """
    if settings().canary is None:
        return ""
    reason = ""
    if environments.before(CHAMPION) is None:
        reason = "no environment in deploy.environments comes before production"
    elif not by_dispatch():
        reason = (
            "production gets each release next, whole. Where the variable "
            "PRODUCTION_BY_DISPATCH is true it waits for a person: see "
            "mlgitops/GITHUB.md"
        )
    return reason and f"deploy.canary in params.yaml does nothing: {reason}"


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
    rules = settings().canary
    if rules is None or environments.before(CHAMPION) != release["environment"]:
        return
    if not environments.waits(CHAMPION):
        return  # production gets the release next, whole
    champion, latest = ledger.champion(), ledger.read(FILE) or {}
    if release["manifest_sha256"] in _taken_back(ledger):
        github.tell(f"{release['tag']} is no canary: it was one, and was taken back")
        return
    excluded = (champion or release)["manifest_sha256"], latest.get("manifest_sha256")
    if release["manifest_sha256"] in excluded:
        return  # it answers all rows, or was a canary just now
    since = datetime.now(UTC)
    until = since + timedelta(hours=rules.hours)
    terms = {
        "share": rules.share,
        "since": since.isoformat(timespec="seconds"),
        "until": until.isoformat(timespec="seconds"),
        "champion": champion and champion["manifest_sha256"],
    }
    github.tell(_write(ledger, {**release, **terms}, RUNNING, None))


def settle(ledger: Ledger) -> None:
    """End a canary whose version or champion was taken out of an environment.

    It follows from the ledger alone, so that a rollback, a revert and a second run of
    either all come to the same.
    """
    canary = ledger.read(FILE)
    if canary is None or canary["state"] != RUNNING:
        return
    tried, champion = canary["manifest_sha256"], ledger.champion()
    for name in (CHAMPION, environments.before(CHAMPION)):
        release = (name and ledger.release(name)) or {}
        gone = release.get("previous") == tried and withdraws(release)
        if gone and (
            release["manifest_sha256"] != tried or release["state"] == "failed"
        ):
            reason = f"{release['action']} in {name}: {release['reason']}"
            github.tell(end(ledger, "taken back", reason))
            return
    if champion and champion["manifest_sha256"] != canary["champion"]:
        github.tell(end(ledger, "replaced", champion["tag"]))


def end(ledger: Ledger, state: str, reason: str, judged: str | None = None) -> str:
    """Record that a canary answers no more; return a sentence on it.

    ``judged`` is the manifest that the reason is about: another canary goes on.
    """
    record = ledger.read(FILE)
    if record is None or record["state"] != RUNNING:
        return "no canary answers"
    if judged not in (None, record["manifest_sha256"]):
        return "another canary answers now"
    try:
        return _write(ledger, record, state, reason)
    except EndedError:
        return "the canary was ended meanwhile"


def _taken_back(ledger: Ledger) -> set[str]:
    """Return the manifests of all canaries that were ever taken back."""
    states = ledger.records(f"{FOLDER}/canaries/")
    return {s["manifest_sha256"] for s in states if s.get("state") == "taken back"}


def _write(ledger: Ledger, fields: Record, state: str, reason: str | None) -> str:
    """Put a canary's state on the ledger, for targets and as history.

    Raises:
        EndedError: it is to be ended, and is not the one that the ledger names now.
    """
    changed: dict[str, Any] = {
        "environment": CHAMPION,
        "action": "canary",
        "state": state,
        "reason": reason,
        "run_url": github.run_url(),
        "time": promote.now(),
    }

    def files(seq: int) -> dict[str, Record | bytes]:
        if state != RUNNING and ledger.read(FILE) != fields:
            raise EndedError
        record = {**fields, **changed, "seq": seq}
        kept = {FILE: record, f"{FOLDER}/canaries/{seq:08d}.json": record}
        if state == RUNNING:
            return kept | challengers.changed(ledger, record)
        return kept | challengers.without_canary(ledger)

    share = f"{fields['share']:.0%} of the rows"
    message = f"{fields['tag']} as a canary of {CHAMPION}, {share}: {state}"
    ledger.append(files, message)
    return f"{message} ({reason})" if reason else message
