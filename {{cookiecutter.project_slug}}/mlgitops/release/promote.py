"""Brings a version to an environment, or finishes what an earlier run began.

Every step looks at what is there first: the deployment on GitHub, the record on the
ledger that targets follow, the stage tag, the target's own answer, its confirmation.
A run that dies between two of them is finished by running it again.
"""

import json
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from mlgitops import github
from mlgitops.ledger import Ledger
from mlgitops.machinery import machinery
from mlgitops.release import (
    Record,
    ReleaseError,
    actor,
    by_dispatch,
    dispatched,
    environments,
    manifests,
    registry,
    server,
    target,
)
from mlgitops.release.registry import Version
from mlgitops.release.server import Server

Check = Callable[[Ledger], Record]


@dataclass(frozen=True)
class Promotion:
    """What is to happen: which version and server, where, and by which act."""

    name: str
    environment: str
    version: Version
    server: Server
    image: str | None = None  # by digest
    action: str = "deploy"
    reason: str | None = None
    golden: list[Record] = field(default_factory=list)
    seconds: float = 300.0


def run(ledger: Ledger, wish: Promotion, check: Check) -> Record:
    """Promote a version and return its record, confirmed if there is a target.

    ``check`` returns the verdict that allows it, and raises if nothing does.

    Raises:
        ReleaseError: refused, and nothing has changed.
        TargetError: the target did not come up; the caller takes it back.
    """
    record = publish(ledger, wish, check)
    assign(wish)
    if finished(record):
        return record
    state = record["state"]
    if state == "published":
        state = target.wait(record, wish.golden, wish.seconds)
    return confirm(ledger, record, state)


def current(ledger: Ledger, wish: Promotion) -> Record | None:
    """Return the environment's record if it is of this release and not failed."""
    found = ledger.champion(wish.environment)
    release = (wish.version.manifest_sha256, wish.server.sha256)
    if found and server.identity(found) == release:
        return found if wish.image in (None, found.get("image")) else None
    return None


def finished(record: Record) -> bool:
    """Tell whether nothing is left to do for a record, on the ledger or on GitHub."""
    if record["state"] == "failed" or record["deployment_id"] is None:
        return True
    if record["state"] == "published" and target.address(record["environment"]):
        return False
    return target.reported(record["deployment_id"])["state"] in target.FINAL


def publish(ledger: Ledger, wish: Promotion, check: Check) -> Record:
    """Write the record that targets follow, unless it is there.

    GitHub gets its deployment when the first check has passed; it is closed again when
    another run was faster and a later check refuses, or finds nothing left to do.
    """
    mine: Record = {"deployment_id": None, "environment": wish.environment}

    def make(seq: int) -> Record:
        if found := current(ledger, wish):
            raise Settled(found)
        verdict = check(ledger)
        with ThreadPoolExecutor(1) as pool:  # who approved, beside GitHub's deployment
            people = pool.submit(approvers, wish, verdict["pull_request"])
            mine["deployment_id"] = mine["deployment_id"] or deployment_of(wish)
            said = {**verdict, "approvers": people.result()}
        return record_of(ledger, wish, said, mine["deployment_id"], seq)

    line = f"{wish.action} {wish.version.tag} to {wish.environment}"
    try:
        record = write(ledger, make, line)
    except ReleaseError as error:
        if mine["deployment_id"]:
            close(mine, "inactive", str(error))
        raise
    if mine["deployment_id"] not in (None, record["deployment_id"]):
        close(mine, "inactive", "another run promoted it first")
    return record


class Settled(Exception):
    """Nothing is to be written: the record that settles it is there."""

    def __init__(self, record: Record) -> None:
        """Keep the record."""
        super().__init__("settled")
        self.record = record


def write(ledger: Ledger, make: Callable[[int], Record], line: str) -> Record:
    """Put a release record on the ledger, as current one and as history.

    ``make`` gets its ``seq``; it is asked again when somebody else was faster, and
    raises ``Settled`` when that made its record needless.
    """
    written: list[Record] = []

    def files(seq: int) -> dict[str, Record | bytes]:
        written.append(make(seq))
        folder = f"environments/{written[-1]['environment']}"
        names = ("release.json", f"history/{seq:08d}.json")
        records = {f"{folder}/{name}": written[-1] for name in names}
        return records | manifests.files(written[-1])

    try:
        ledger.append(files, line)
    except Settled as settled:
        return settled.record
    return written[-1]


def record_of(
    ledger: Ledger, wish: Promotion, verdict: Record, deployment: int, seq: int
) -> Record:
    """Return the record of a promotion; ``verdict`` has its ``approvers``, too."""
    before = ledger.champion(wish.environment)
    by_hand = wish.action != "deploy"
    return {
        "schema": 1,
        "seq": seq,
        "environment": wish.environment,
        "action": wish.action,
        "version": wish.version.version,
        "tag": wish.version.tag,
        "manifest_sha256": wish.version.manifest_sha256,
        "commit": wish.version.commit,
        "pull_request": verdict["pull_request"],
        "author": actor() if by_hand else verdict["author"],
        "approvers": verdict["approvers"],
        "verdict": verdict["path"],
        "server": asdict(wish.server),
        "machinery": machinery().record(),
        "image": wish.image,
        "deployment_id": deployment,
        "run_url": github.run_url(),
        "reason": wish.reason,
        "previous": before["manifest_sha256"] if before else None,
        "previous_server": server.of(before).sha256 if before else None,
        "state": "published",
        "time": now(),
    }


def now() -> str:
    """Return the time, for people: nothing is ordered by it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def deployment_of(wish: Promotion) -> int:
    """Return GitHub's deployment of this promotion: an open one, or a new one."""
    payload = {
        "version": wish.version.version,
        "manifest_sha256": wish.version.manifest_sha256,
        "server_sha256": wish.server.sha256,
        "action": wish.action,
    }
    where = {"environment": wish.environment, "sha": wish.version.commit}
    for found in github.pages("deployments", where):
        said = found.get("payload")
        said = json.loads(said) if isinstance(said, str) and said else said
        same = said == payload and found["environment"] == wish.environment
        if same and target.reported(found["id"])["state"] not in target.FINAL:
            return int(found["id"])
    fields = {
        "ref": wish.version.commit,
        "environment": wish.environment,
        "description": f"{wish.action} {wish.version.tag}",
        "required_contexts": [],  # the ledger decides, not the checks of a commit
        "auto_merge": False,
        "production_environment": wish.environment == environments.CHAMPION,
        "payload": payload,
    }
    return int(github.api("deployments", "POST", fields)["id"])


def approvers(wish: Promotion, number: int) -> list[str]:
    """Return who approved the pull request or this run's environment, sorted.

    Of what is not a deployment by itself, such as a rollback, only the run is asked.
    """
    found: set[str] = set()
    if wish.action == "deploy":
        state: dict[str, str] = {}
        for review in github.pages(f"pulls/{number}/reviews"):
            if review["state"] in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"):
                state[review["user"]["login"]] = review["state"]
        found = {login for login, last in state.items() if last == "APPROVED"}
    if run_id := os.environ.get("GITHUB_RUN_ID"):
        for approval in github.api(f"actions/runs/{run_id}/approvals") or []:
            names = [place["name"] for place in approval.get("environments") or []]
            if approval["state"] == "approved" and wish.environment in names:
                found.add(approval["user"]["login"])
    if wish.environment == environments.CHAMPION and by_dispatch() and dispatched():
        found.add(actor())  # whoever started it is who let it go there
    return sorted(found)


def assign(wish: Promotion) -> str:
    """Give the version the stage of the environment; return the stage's tag."""
    note = f"{wish.action} {wish.version.tag} to {wish.environment}"
    return registry.assign(wish.name, wish.environment, wish.version, note)


def confirm(ledger: Ledger, record: Record, state: str) -> Record:
    """Write down what the target said, on the ledger and on GitHub."""
    if record["state"] != state:

        def make(seq: int) -> Record:
            there = ledger.release(record["environment"]) or {}
            if there.get("deployment_id") != record["deployment_id"]:
                raise Settled(record)  # something else was promoted meanwhile
            return {**record, "seq": seq, "state": state, "time": now()}

        line = f"{record['tag']} in {record['environment']} is {state}"
        record = write(ledger, make, line)
    words = "published, unconfirmed" if state == "published" else state
    close(record, "success", f"{record['tag']}: {words}")
    return record


def close(record: Record, state: str, description: str) -> None:
    """Give GitHub's deployment its final status, unless it has one."""
    deployment = record["deployment_id"]
    if target.reported(deployment)["state"] in target.FINAL:
        return
    url = target.address(record["environment"])
    fields = {
        "state": state,
        "description": re.sub(r"\s+", " ", description)[:140],
        "log_url": github.run_url(),
        "environment_url": url if url.startswith("http") else "",
    }
    github.api(f"deployments/{deployment}/statuses", "POST", fields)
