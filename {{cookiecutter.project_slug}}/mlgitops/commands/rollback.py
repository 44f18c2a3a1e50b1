"""Deploys an older, reviewed version to an environment again, and records it.

    python -m mlgitops rollback --request v1.0.0 [--environment staging] [--reason TEXT]
    python -m mlgitops rollback production v1.0.0 reason

The first, ``make rollback VERSION=v1.0.0``, starts the workflow on GitHub; the second
is what the workflow runs. The old version's tag, verdict and bytes are verified before
anything changes.
"""

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import github
from mlgitops.commands.expected import expected_errors
from mlgitops.ledger import Ledger
from mlgitops.release import (
    MAIN,
    Record,
    ReleaseError,
    assets,
    canary,
    challengers,
    eligibility,
    environments,
    model_name,
    promote,
    registry,
    revert,
    server,
    settings,
    signature,
)
from mlgitops.release.promote import Promotion
from mlgitops.release.registry import Version
from mlgitops.release.server import Server


def main() -> None:
    """Request a rollback, or do it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--request", metavar="VERSION", help="start the workflow")
    parser.add_argument("--environment", default="production", help="with --request")
    parser.add_argument("--reason", default="", help="with --request")
    parser.add_argument("target", nargs="*", metavar="ENVIRONMENT VERSION REASON")
    arguments = parser.parse_args()
    with expected_errors():
        if arguments.request is not None:
            print(request(arguments.request, arguments.environment, arguments.reason))
        elif len(arguments.target) != 3:
            parser.error("needs an environment, a version and a reason")
        else:
            github.tell(rollback(*arguments.target))


def request(version: str, environment: str = "production", reason: str = "") -> str:
    """Start the rollback workflow and return where to watch it."""
    if not version:
        raise ReleaseError("no version was named: type `make rollback VERSION=v1.0.0`")
    _check_names(environment, version)
    reason = reason or os.environ.get("REASON") or "requested with `make rollback`"
    inputs = {"environment": environment, "version": version, "reason": reason}
    fields = {"ref": MAIN, "inputs": inputs}
    github.api("actions/workflows/rollback.yml/dispatches", "POST", fields, raw=True)
    url = github.page_url("actions/workflows/rollback.yml")
    return f"requested {version} in {environment}; watch it at {url}"


def rollback(environment: str, version: str, reason: str) -> str:
    """Deploy an older version again; return what happened as one sentence.

    Raises:
        ReleaseError: the version is not there, was never reviewed, or its bytes are
            not the reviewed ones; or the target did not come up with it.
    """
    _check_names(environment, version)
    name = model_name()
    ledger = Ledger()
    registry.fetch(name)
    target = registry.get(name, version)
    before = ledger.champion(environment)
    if before is None:
        raise ReleaseError(
            f"{environment} runs nothing yet, so there is nothing to roll back"
        )
    eligibility.refuse_retired(ledger, target.manifest_sha256, target.tag)
    verdict, manifest = verified(ledger, target)
    seconds = settings().timeout_seconds
    reason, golden = reason or "no reason given", manifest["golden"]
    code, image = way_back(ledger, environment, target)
    signed = signature.demand(ledger, server.release(target, code, image))
    planned = Promotion(
        name,
        environment,
        target,
        code,
        image,
        signed,
        action="rollback",
        reason=reason,
        golden=golden,
        seconds=seconds,
    )
    current = promote.current(ledger, planned)
    record = current or before
    try:
        if current is None or not promote.finished(current):
            record = revert.promote_or_put_back(ledger, planned, lambda _: verdict)
    finally:
        canary.settle(ledger)
        challengers.try_to_follow(ledger, canary.running)
    if record["action"] != "rollback":
        return f"Nothing to do: {environment} has {target.tag} already."
    first = _first(ledger.history(environment), record)
    previous = first["previous"]
    replaced = revert.registry_version(name, previous) if previous else None
    link = revert.pull_request(first, replaced)
    return f"{environment} has {target.tag} again: {record['state']}; {link}"


def _check_names(environment: str, version: str) -> None:
    """Refuse an unknown environment or a malformed version before any request.

    Raises:
        ReleaseError: which of them, and what to type.
    """
    environments.check_name(environment)
    registry.check_format(version)


def way_back(
    ledger: Ledger, environment: str, version: Version
) -> tuple[Server, str | None]:
    """Return the server and the image to run an older version with.

    They are those that it last ran with. For the version that runs now they are the
    previous ones, unless a rollback has already restored those.
    """
    champion = ledger.champion(environment)
    runs_now = champion and champion["manifest_sha256"] == version.manifest_sha256
    record = server.last(ledger, environment, version)
    if champion and runs_now and (record is None or champion["action"] == "rollback"):
        record = champion
    if record is None:
        return server.at(version.commit), None
    return server.of(record), record.get("image")


def verified(ledger: Ledger, version: Version) -> tuple[Record, Record]:
    """Return the verdict and the manifest of a version after checking all of it.

    Raises:
        ReleaseError: its commit is not on main, it has no passing verdict, or its bytes
            in storage or on its release are missing or altered.
    """
    eligibility.demand_merged(version)
    verdicts = ledger.verdicts(version.manifest_sha256)
    # the first registered it; later ones are of proposals that did not change the model
    first_pass = next((verdict for verdict in verdicts if verdict["passed"]), None)
    if first_pass is None:
        raise ReleaseError(
            f"{version.tag} has no passing verdict, so it was not reviewed"
        )
    with TemporaryDirectory() as folder:
        stored, released = Path(folder, "storage"), Path(folder, "release")
        try:
            eligibility.bring(version.commit, stored, version.manifest_sha256)
            manifest = assets.bring(version, released)
        except ReleaseError as error:
            raise ReleaseError(f"no rollback to {version.tag}: {error}") from error
    return first_pass, manifest


def _first(history: list[Record], record: Record) -> Record:
    """Return the first record of the rollback that a record belongs to."""
    key = (record["deployment_id"], "rollback")
    records = (r for r in history if (r["deployment_id"], r["action"]) == key)
    return next(records, record)
