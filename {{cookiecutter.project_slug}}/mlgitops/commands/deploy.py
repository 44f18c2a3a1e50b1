"""Brings a registered version to an environment and waits until it answers.

    python -m mlgitops deploy staging v1.2.0

Every step looks at what is there first, so that running it again finishes what an
earlier run began. A target that does not come up gets the last version back.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import git, github
from mlgitops.ledger import SPEC, Ledger, LedgerError
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
    target,
)
from mlgitops.release.promote import Promotion
from mlgitops.release.registry import Version

ERRORS = (ReleaseError, LedgerError, git.GitError, github.GitHubError)


def main() -> None:
    """Deploy, and exit 1 with a sentence if it was refused or taken back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environment", help="one of those that params.yaml names")
    parser.add_argument("version", help="a registered version, such as v1.2.0")
    arguments = parser.parse_args()
    try:
        record = deploy(arguments.environment, arguments.version)
    except ERRORS as error:
        raise github.fail(str(error)) from error
    github.tell(said(record))


def deploy(environment: str, version: str) -> Record:
    """Return the record of the deployment.

    Raises:
        ReleaseError: refused, or taken back because the target did not come up.
    """
    if environments.waits(environments.known(environment)):
        raise ReleaseError(environments.WAITS)
    name = model_name()
    git.complete(MAIN, SPEC, *registry.specs(name))  # one fetch in place of three
    ledger = Ledger()
    registry.fetch(name)
    found = registry.get(name, version)
    with ThreadPoolExecutor(1) as pool:  # what comes, beside what it would replace
        coming = pool.submit(promotion, name, environment, found)
        way_back(ledger, name, environment, found)
        wish = coming.result()
    try:
        return promote.run(ledger, wish, lambda now: check(now, found, environment))
    except TargetError as error:
        record = ledger.release(environment) or {}
        raise ReleaseError(take_back(ledger, name, record, str(error))) from error


def promotion(name: str, environment: str, version: Version) -> Promotion:
    """Return what is to happen, with the golden rows of the version's release."""
    seconds = settings().timeout_seconds
    golden = golden_rows(version) if target.address(environment) else []
    code, image = server.at("HEAD"), os.environ.get("IMAGE") or None
    return Promotion(
        name, environment, version, code, image, golden=golden, seconds=seconds
    )


def way_back(ledger: Ledger, name: str, environment: str, new: Version) -> None:
    """Refuse to replace a version that could not be brought back, before anything.

    Raises:
        ReleaseError: the release that runs now is missing or altered on GitHub.
    """
    there = ledger.champion(environment)
    if there is None or there["manifest_sha256"] == new.manifest_sha256:
        return
    try:
        with TemporaryDirectory() as folder:
            assets.bring(registry.get(name, there["version"]), Path(folder))
    except ReleaseError as error:
        raise ReleaseError(
            f"{environment} keeps {there['tag']}: there is no verified way back to it, "
            f"so nothing replaces it; {error}"
        ) from error


def golden_rows(version: Version) -> list[Record]:
    """Return the golden rows from a version's release, after verifying all of it."""
    with TemporaryDirectory() as folder:
        return list(assets.bring(version, Path(folder))["golden"])


def in_turn(ledger: Ledger, version: Version, environment: str) -> None:
    """Refuse a release that does not run yet in the environment before this one.

    GitHub starts the jobs in the order of params.yaml, and stops at the first that
    fails; this holds whatever starts the job.

    Raises:
        ReleaseError: the environment before runs something else, or is not ready.
    """
    name = environments.before(environment)
    if name is None:
        return
    there = ledger.champion(name)
    release = (version.manifest_sha256, server.at("HEAD").sha256)
    if there is None or server.identity(there) != release:
        runs = there["tag"] if there else "nothing"
        raise ReleaseError(
            f"{version.tag} comes to {environment} after {name}, which runs {runs} or "
            "has another server: run `gh workflow run deploy.yml`"
        )
    if not promote.finished(there):
        raise ReleaseError(
            f"{name} has not confirmed {version.tag} yet, and it comes to "
            f"{environment} after that: run `gh workflow run deploy.yml`"
        )


def check(ledger: Ledger, version: Version, environment: str) -> Record:
    """Return the verdict that allows main's version to be deployed now."""
    in_turn(ledger, version, environment)
    if not on_main(version.commit):
        raise ReleaseError(f"{version.tag} is on {version.commit}, which {MAIN} lacks")
    if not admit.same_model(version.commit, f"origin/{MAIN}"):
        raise ReleaseError(
            f"{MAIN} does not name {version.tag} any more: its newest commit is "
            "deployed by its own run"
        )
    signature.demand(version.tag)
    if server.at("HEAD").sha256 != server.at(f"origin/{MAIN}").sha256:
        raise ReleaseError(
            f"{MAIN} has a newer server than this run: its newest commit is deployed "
            "by its own run"
        )
    lock_sha256 = admit.locked(f"origin/{MAIN}").sha256
    return admit.check(ledger, version.manifest_sha256, lock_sha256)


def take_back(ledger: Ledger, name: str, record: Record, why: str) -> str:
    """Put the last version back, say so on the pull request; return a sentence."""
    reverted = revert.put_back(ledger, name, record, why)
    link = revert.tell(ledger, name, reverted)
    if reverted["state"] == "failed":
        return f"{record['tag']} was taken back, and nothing ran before it: {why}"
    return (
        f"{record['tag']} was taken back, {record['environment']} has "
        f"{reverted['tag']} again: {why}; revert pull request: {link}"
    )


def said(record: Record) -> str:
    """Return a record as one sentence."""
    state = record["state"]
    words = "published, unconfirmed" if state == "published" else state
    return (
        f"{record['tag']} in {record['environment']}: {words} "
        f"(manifest {record['manifest_sha256']})"
    )
