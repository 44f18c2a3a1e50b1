"""Deploys a registered version to an environment and waits until it answers.

    python -m mlgitops deploy staging v1.2.0

Every step first checks whether it is done, so that a second run finishes what an
earlier one began. If the target does not come up, the previous version is restored.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import git, github
from mlgitops.commands.expected import expected_errors
from mlgitops.ledger import SPEC, Ledger
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
    target,
)
from mlgitops.release.promote import Promotion
from mlgitops.release.registry import Version


def main() -> None:
    """Deploy; exit 1 with a sentence if it was refused or rolled back."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("environment", help="one of those that params.yaml names")
    parser.add_argument("version", help="a registered version, such as v1.2.0")
    arguments = parser.parse_args()
    with expected_errors():
        github.tell(sentence(deploy(arguments.environment, arguments.version)))


def deploy(environment: str, version: str) -> Record:
    """Return the record of the deployment.

    Raises:
        ReleaseError: refused, or rolled back because the target did not come up.
    """
    if environments.waits(environments.check_name(environment)):
        raise ReleaseError(environments.WAITS)
    name = model_name()
    git.complete(MAIN, SPEC, *registry.specs(name))  # one fetch in place of three
    ledger = Ledger()
    registry.fetch(name)
    registered = registry.get(name, version)
    with ThreadPoolExecutor(1) as pool:  # beside the check of what would be replaced
        preparing = pool.submit(promotion, ledger, name, environment, registered)
        way_back(ledger, name, environment, registered)
        planned = preparing.result()
    for reason in filter(None, (canary.unused(), challengers.unused())):
        github.tell(reason)
    try:
        record = revert.promote_or_put_back(
            ledger, planned, lambda latest: check(latest, registered, environment)
        )
    except ReleaseError:
        canary.settle(ledger)  # it may be what was taken back
        challengers.try_to_follow(ledger, canary.running)
        raise
    canary.follow(ledger, record)
    challengers.follow(ledger, canary.running)
    return record


def promotion(
    ledger: Ledger, name: str, environment: str, version: Version
) -> Promotion:
    """Return the planned promotion, with the golden rows of the version's release.

    Raises:
        ReleaseError: main has a key, and this release is not signed with it.
    """
    code, image = server.at("HEAD"), os.environ.get("IMAGE") or None
    signed = signature.demand(ledger, server.release(version, code, image))
    seconds = settings().timeout_seconds
    golden = golden_rows(version) if target.address(environment) else []
    return Promotion(
        name,
        environment,
        version,
        code,
        image,
        signed,
        golden=golden,
        seconds=seconds,
    )


def way_back(ledger: Ledger, name: str, environment: str, version: Version) -> None:
    """Refuse to replace a version that could not be restored.

    Raises:
        ReleaseError: the release that runs now is missing or altered on GitHub, or not
            signed with main's key.
    """
    champion = ledger.champion(environment)
    if champion is None:
        return
    release = (version.manifest_sha256, server.at("HEAD").sha256)
    if server.identity(champion) != release and not signature.trusted(champion):
        raise ReleaseError(
            f"{environment} keeps {champion['tag']}: it is not signed with "
            f"{signature.PUBLIC}, so that no host would follow it back. Let main name "
            "it and its server again, type `gh workflow run deploy.yml`, which signs "
            "it, and merge the change after that"
        )
    if champion["manifest_sha256"] == version.manifest_sha256:
        return
    try:
        with TemporaryDirectory() as folder:
            assets.bring(registry.get(name, champion["version"]), Path(folder))
    except ReleaseError as error:
        raise ReleaseError(
            f"{environment} keeps {champion['tag']}: it could not be restored if "
            f"it were replaced now; {error}"
        ) from error


def golden_rows(version: Version) -> list[Record]:
    """Return the golden rows from a version's release, after verifying all of it."""
    with TemporaryDirectory() as folder:
        return list(assets.bring(version, Path(folder))["golden"])


def in_turn(ledger: Ledger, version: Version, environment: str) -> None:
    """Refuse a release that does not yet run in the previous environment.

    GitHub runs the jobs in the order of params.yaml and stops at the first failure;
    this check also holds when a job is started on its own.

    Raises:
        ReleaseError: the previous environment runs another release, or is not ready.
    """
    name = environments.before(environment)
    if name is None:
        return
    champion = ledger.champion(name)
    release = (version.manifest_sha256, server.at("HEAD").sha256)
    if champion is None or server.identity(champion) != release:
        runs = champion["tag"] if champion else "nothing"
        raise ReleaseError(
            f"{version.tag} must run in {name} before {environment}, but {name} runs "
            f"{runs}, or another server: run `gh workflow run deploy.yml`"
        )
    if not promote.finished(champion):
        raise ReleaseError(
            f"{version.tag} must be confirmed in {name} before {environment}: run "
            "`gh workflow run deploy.yml`"
        )


def check(ledger: Ledger, version: Version, environment: str) -> Record:
    """Return the verdict that allows main's version to be deployed now."""
    in_turn(ledger, version, environment)
    eligibility.demand_merged(version)
    code, tip = server.at("HEAD").sha256, f"origin/{MAIN}"
    if code != server.at(tip).sha256:
        raise ReleaseError(
            f"{MAIN} has a newer server than this run: the run for its newest commit "
            "deploys that"
        )
    return eligibility.check(ledger, version.manifest_sha256, tip, code)


def sentence(record: Record) -> str:
    """Return a record as one sentence."""
    state = record["state"]
    wording = "published, unconfirmed" if state == "published" else state
    return (
        f"{record['tag']} in {record['environment']}: {wording} "
        f"(manifest {record['manifest_sha256']})"
    )
