"""Brings a version to an environment, or finishes what an earlier run began.

Every step looks at what is there first: the deployment on GitHub, the record on the
ledger that targets follow, the target's own answer, its confirmation.
A run that dies between two of them is finished by running it again.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from mlgitops import github, inventory
from mlgitops.ledger import Ledger
from mlgitops.machinery import machinery
from mlgitops.release import (
    Record,
    ReleaseError,
    actor,
    announcement,
    deployments,
    manifests,
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
    signature: str | None = None  # of version, server and image, where main has a key
    action: str = "deploy"
    reason: str | None = None
    golden: list[Record] = field(default_factory=list)
    seconds: float = 300.0

    def __str__(self) -> str:
        """Return it as the message of a commit or a tag."""
        return f"{self.action} {self.version.tag} to {self.environment}"


def run(ledger: Ledger, promotion: Promotion, check: Check) -> Record:
    """Promote a version and return its record, confirmed if there is a target.

    ``check`` returns the verdict that allows it, and raises if nothing does.

    Raises:
        ReleaseError: refused, and nothing has changed.
        TargetError: the target did not come up; the caller takes it back.
    """
    record = publish(ledger, promotion, check)
    if finished(record):
        return record
    state = str(record["state"])
    if state == "published":
        state = target.wait(record, promotion.golden, promotion.seconds)
    return confirm(ledger, record, state)


def current(ledger: Ledger, promotion: Promotion) -> Record | None:
    """Return the environment's record if it is of this release and not failed.

    One without the signature that this release has by now is written again.
    """
    record = ledger.champion(promotion.environment)
    release = (promotion.version.manifest_sha256, promotion.server.sha256)
    if not record or server.identity(record) != release:
        return None
    for name in ("image", "signature"):
        if getattr(promotion, name) not in (None, record.get(name)):
            return None
    return record


def finished(record: Record) -> bool:
    """Tell whether nothing is left to do for a record, on the ledger or on GitHub."""
    if record["state"] == "failed" or record["deployment_id"] is None:
        return True
    if record["state"] == "published" and target.address(record["environment"]):
        return False
    state = deployments.reported(record["deployment_id"])["state"]
    return state in deployments.FINAL


def publish(ledger: Ledger, promotion: Promotion, check: Check) -> Record:
    """Write the record that targets follow, unless it is there.

    GitHub gets its deployment when the first check has passed; it is closed again when
    another run was faster and a later check refuses, or finds nothing left to do.
    """
    deployment: int | None = None
    environment, action = promotion.environment, promotion.action

    def make(seq: int) -> Record:
        nonlocal deployment
        if record := current(ledger, promotion):
            raise Settled(record)
        verdict = check(ledger)
        number = verdict["pull_request"] if action == "deploy" else None
        with ThreadPoolExecutor(1) as pool:  # who approved, beside GitHub's deployment
            people = pool.submit(deployments.approvers, environment, number)
            if deployment is None:
                code = promotion.server.sha256
                version = promotion.version
                deployment = deployments.find_or_open(
                    environment, version, code, action
                )
            approved = {**verdict, "approvers": people.result()}
        return record_of(ledger, promotion, approved, deployment, seq)

    try:
        record = write(ledger, make, str(promotion))
    except ReleaseError as error:
        if deployment is not None:
            deployments.close(deployment, "inactive", str(error))
        raise
    if deployment not in (None, record["deployment_id"]):
        deployments.close(deployment, "inactive", "another run promoted it first")
    return record


class Settled(Exception):
    """Nothing is to be written: the record that settles it is there."""

    def __init__(self, record: Record) -> None:
        """Keep the record."""
        super().__init__("settled")
        self.record = record


def write(ledger: Ledger, make: Callable[[int], Record], message: str) -> Record:
    """Put a release record on the ledger, as current one and as history.

    ``make`` gets its ``seq``; it is called again when another writer was faster, and
    raises ``Settled`` when that made its record needless.
    """
    record: Record = {}

    def files(seq: int) -> dict[str, Record | bytes]:
        nonlocal record
        record = make(seq)
        folder = f"environments/{record['environment']}"
        names = ("release.json", f"history/{seq:08d}.json")
        return {f"{folder}/{name}": record for name in names} | manifests.files(record)

    try:
        ledger.append(files, message)
    except Settled as settled:
        return settled.record
    return record


def record_of(
    ledger: Ledger, promotion: Promotion, verdict: Record, deployment: int, seq: int
) -> Record:
    """Return the record of a promotion; ``verdict`` has its ``approvers``, too."""
    previous, version = ledger.champion(promotion.environment), promotion.version
    return {
        "schema": 1,
        "seq": seq,
        "environment": promotion.environment,
        "action": promotion.action,
        "version": version.version,
        "tag": version.tag,
        "manifest_sha256": version.manifest_sha256,
        "commit": version.commit,
        "pull_request": verdict["pull_request"],
        "author": verdict["author"] if promotion.action == "deploy" else actor(),
        "approvers": verdict["approvers"],
        "verdict": verdict["path"],
        "server": asdict(promotion.server),
        "machinery": machinery().record(),
        "inventory": inventory.stated(),
        "image": promotion.image,
        "signature": promotion.signature,
        "deployment_id": deployment,
        "run_url": github.run_url(),
        "reason": promotion.reason,
        "previous": previous["manifest_sha256"] if previous else None,
        "previous_server": server.of(previous).sha256 if previous else None,
        "state": "published",
        "time": now(),
    }


def now() -> str:
    """Return the time, for people: nothing is ordered by it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def confirm(ledger: Ledger, record: Record, state: str) -> Record:
    """Write down what the target said: ledger, pull request, GitHub's deployment."""
    if record["state"] != state:

        def make(seq: int) -> Record:
            release = ledger.release(record["environment"]) or {}
            if release.get("deployment_id") != record["deployment_id"]:
                raise Settled(record)  # something else was promoted meanwhile
            return {**record, "seq": seq, "state": state, "time": now()}

        message = f"{record['tag']} in {record['environment']} is {state}"
        record = write(ledger, make, message)
    announcement.tell(ledger, record)
    wording = "published, unconfirmed" if state == "published" else state
    close(record, "success", f"{record['tag']}: {wording}")
    return record


def close(record: Record, state: str, description: str) -> None:
    """Give the GitHub deployment of a record its final status, unless it has one."""
    url = target.address(record["environment"])
    deployments.close(record["deployment_id"], state, description, url)
