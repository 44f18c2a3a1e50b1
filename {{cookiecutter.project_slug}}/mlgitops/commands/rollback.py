"""Brings an older, reviewed version back to an environment, and leaves a trace.

    python -m mlgitops rollback --request v1.0.0 [--environment staging] [--reason TEXT]
    python -m mlgitops rollback production v1.0.0 reason

The first, which is ``make rollback VERSION=v1.0.0``, asks GitHub to run the workflow;
the second is what the workflow runs. The old version's tag, verdict and bytes are
verified before anything is touched.
"""

import argparse
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import git, github
from mlgitops.ledger import Ledger, LedgerError
from mlgitops.release import (
    MAIN,
    Record,
    ReleaseError,
    TargetError,
    admit,
    assets,
    environments,
    model_name,
    on_main,
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

ERRORS = (ReleaseError, LedgerError, git.GitError, github.GitHubError)


def main() -> None:
    """Ask for a rollback, or do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--request", metavar="VERSION", help="start the workflow")
    parser.add_argument("--environment", default="production", help="with --request")
    parser.add_argument("--reason", default="", help="with --request")
    parser.add_argument("words", nargs="*", metavar="ENVIRONMENT VERSION REASON")
    given = parser.parse_args()
    try:
        if given.request is not None:
            print(request(given.request, given.environment, given.reason))
            return
        if len(given.words) != 3:
            parser.error("needs an environment, a version and a reason")
        sentence = rollback(*given.words)
    except ERRORS as error:
        raise github.fail(str(error)) from error
    github.tell(sentence)


def request(version: str, environment: str = "production", reason: str = "") -> str:
    """Start the rollback workflow and return where to watch it."""
    if not version:
        raise ReleaseError("which version? Type `make rollback VERSION=v1.0.0`")
    _spelt(environment, version)
    why = reason or os.environ.get("REASON") or "asked for with `make rollback`"
    inputs = {"environment": environment, "version": version, "reason": why}
    fields = {"ref": MAIN, "inputs": inputs}
    github.api("actions/workflows/rollback.yml/dispatches", "POST", fields, raw=True)
    place = f"https://github.com/{github.repo()}/actions/workflows/rollback.yml"
    return f"asked for {version} in {environment}; watch it at {place}"


def rollback(environment: str, version: str, reason: str) -> str:
    """Bring a version back; return what happened as one sentence.

    Raises:
        ReleaseError: the version is not there, was never reviewed, or its bytes are
            not the reviewed ones; or the target did not come up with it.
    """
    _spelt(environment, version)
    name = model_name()
    ledger = Ledger()
    registry.fetch(name)
    found = registry.get(name, version)
    before = ledger.champion(environment)
    if before is None:
        raise ReleaseError(f"{environment} runs nothing yet: there is no way back")
    verdict, manifest = verified(ledger, found)
    seconds = settings().timeout_seconds
    why, golden = reason or "no reason given", manifest["golden"]
    code, image = way_back(ledger, environment, found)
    wish = Promotion(
        name, environment, found, code, image, "rollback", why, golden, seconds
    )
    there = promote.current(ledger, wish)
    record = there or before
    if there is None or not promote.finished(there):
        record = do(ledger, wish, verdict)
    if record["action"] != "rollback":
        return f"Nothing to do: {environment} has {found.tag} already."
    first = _first(ledger.history(environment), record)
    left = first["previous"]
    bad = revert.registry_version(name, left) if left else None
    link = revert.pull_request(first, bad)
    return f"{environment} has {found.tag} again: {record['state']}; {link}"


def _spelt(environment: str, version: str) -> None:
    """Refuse what can be neither an environment nor a version, before anyone is asked.

    Raises:
        ReleaseError: which of them, and what to type.
    """
    environments.known(environment)
    registry.spelt(version)


def way_back(
    ledger: Ledger, environment: str, version: Version
) -> tuple[Server, str | None]:
    """Return the server and the image with which a version comes back.

    Those that it last ran with; of the version that runs now, those before, unless
    they are what a rollback has brought back already.
    """
    now = ledger.champion(environment)
    same = now and now["manifest_sha256"] == version.manifest_sha256
    record = server.last(ledger, environment, version)
    if now and same and (record is None or now["action"] == "rollback"):
        record = now
    if record is None:
        return server.at(version.commit), None
    return server.of(record), record.get("image")


def do(ledger: Ledger, wish: Promotion, verdict: Record) -> Record:
    """Promote the old version; put back what ran if the target refuses it."""
    try:
        return promote.run(ledger, wish, lambda _: verdict)
    except TargetError as error:
        record = ledger.release(wish.environment) or {}
        back = revert.put_back(ledger, wish.name, record, str(error))
        raise ReleaseError(
            f"{wish.environment} did not take {wish.version.tag} and has "
            f"{back['tag']} again: {error}"
        ) from error


def verified(ledger: Ledger, version: Version) -> tuple[Record, Record]:
    """Return the verdict and the manifest of a version after checking all of it.

    Raises:
        ReleaseError: its commit is not on main, nobody let it pass, or its bytes in
            storage or on its release are missing or altered.
    """
    if not on_main(version.commit):
        raise ReleaseError(f"{version.tag} is on {version.commit}, which {MAIN} lacks")
    signature.demand(version.tag, new=False)  # it may be older than the key
    passed = [
        verdict
        for verdict in admit.verdicts(ledger, version.manifest_sha256)
        if verdict["passed"]
    ]
    if not passed:
        raise ReleaseError(f"{version.tag} has no passing verdict: it was not reviewed")
    with TemporaryDirectory() as folder:
        stored, released = Path(folder, "storage"), Path(folder, "release")
        try:
            admit.bring(version.commit, stored, version.manifest_sha256)
            manifest = assets.bring(version, released)
        except ReleaseError as error:
            raise ReleaseError(f"no rollback to {version.tag}: {error}") from error
    # the first one registered it; later ones are other proposals that left it alone
    return passed[0], manifest


def _first(history: list[Record], record: Record) -> Record:
    """Return the first record of the rollback that a record belongs to."""
    same = [r for r in history if r["deployment_id"] == record["deployment_id"]]
    same = [r for r in same if r["action"] == "rollback"]
    return same[0] if same else record
