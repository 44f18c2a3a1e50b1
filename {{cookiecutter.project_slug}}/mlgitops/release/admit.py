"""Says whether a version may be deployed: every refusal is here, with its sentence.

The repository's protection settings are not asked: what counts is the ledger, main's
dvc.lock and the bytes in storage.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlgitops import git, lock, storage
from mlgitops.ledger import Ledger
from mlgitops.lock import Lock
from mlgitops.release import Record, ReleaseError
from mlgitops.release.environments import CHAMPION
from mlgitops.serving.verify import VerifyError, sha256_file, verify


@dataclass(frozen=True)
class Candidate:
    """A version's bytes, verified, in a folder."""

    folder: Path
    commit: str
    lock_sha256: str
    manifest_sha256: str
    manifest: dict[str, Any]


def bring(commit: str, folder: Path, expected: str | None = None) -> Candidate:
    """Pull the version that a commit's dvc.lock names and verify every byte of it.

    Raises:
        ReleaseError: an object is missing, altered, or not what the manifest names.
    """
    found = locked(commit)
    folder.mkdir(parents=True, exist_ok=True)
    contract = git.show(commit, "contract.yaml")
    if contract is None:
        raise ReleaseError(f"contract.yaml is missing at {commit}")
    try:
        manifest = found.out("manifest.json")
        storage.pull([manifest, found.out("model.onnx")], folder)
        (folder / "contract.yaml").write_bytes(contract)
        checked = verify(folder, expected)
    except (storage.StorageError, lock.LockError, VerifyError) as error:
        raise ReleaseError(f"not deployed: {error}") from error
    sha256 = sha256_file(folder / "manifest.json")
    return Candidate(folder, commit, found.sha256, sha256, checked)


def locked(commit: str) -> Lock:
    """Return the dvc.lock at a commit, which must be there."""
    try:
        found = lock.at(commit)
    except lock.LockError as error:
        raise ReleaseError(str(error)) from error
    if found is None:
        raise ReleaseError(f"there is no dvc.lock at {commit}")
    return found


def same_model(one: str, other: str) -> bool:
    """Tell whether the locks at two commits name the same manifest."""
    try:
        first, second = (locked(at).out("manifest.json") for at in (one, other))
    except (lock.LockError, ReleaseError):
        return False
    return (first.md5, first.size) == (second.md5, second.size)


def verdict(ledger: Ledger, manifest_sha256: str, lock_sha256: str) -> Record:
    """Return the newest verdict on a version, with its ``path``, if it lets it pass.

    Raises:
        ReleaseError: nobody judged these bytes, they were refused, or main's lock
            is not the judged one.
    """
    found = verdicts(ledger, manifest_sha256)
    short = manifest_sha256[:12]
    if not found:
        raise ReleaseError(
            f"there is no verdict on version {short}: nobody judged these bytes; "
            "propose them in a pull request, and merge it when `validate` is green"
        )
    newest = found[-1]
    if not newest["passed"]:
        raise ReleaseError(
            f"the newest verdict refuses version {short}: {newest['summary']} "
            "Revert the merge, or make it pass in a new pull request"
        )
    if newest["lock_sha256"] != lock_sha256:
        number = newest["pull_request"]
        raise ReleaseError(
            f"main's dvc.lock ({lock_sha256[:12]}) is not the one that was judged "
            f"({newest['lock_sha256'][:12]}): run `make adopt PR={number}` in a new "
            "pull request, and merge that"
        )
    return newest


def not_refused(ledger: Ledger, lock_sha256: str) -> None:
    """Refuse a dvc.lock whose newest verdict refuses it, before any byte is moved.

    The objects of a refused proposal never enter storage: "they are missing" would be
    true, and would send the reader the wrong way.
    """
    records = [ledger.read(path) or {} for path in ledger.paths("verdicts/")]
    found = [record for record in records if record.get("lock_sha256") == lock_sha256]
    newest = max(found, key=lambda record: int(record["seq"]), default=None)
    if newest and not newest["passed"]:
        raise ReleaseError(
            f"not deployed: #{newest['pull_request']} was refused, and main names what "
            f"it proposed. {newest['summary']} Revert it on main, or make it pass in a "
            "new pull request"
        )


def verdicts(ledger: Ledger, manifest_sha256: str) -> list[Record]:
    """Return the verdicts on a version, oldest first, each with its ``path``."""
    found = []
    for path in ledger.paths(f"verdicts/{manifest_sha256}/"):
        found.append({**json.loads(ledger.read_bytes(path) or b"{}"), "path": path})
    return sorted(found, key=lambda record: int(record["seq"]))


def not_left(ledger: Ledger, manifest_sha256: str, verdict: Record) -> None:
    """Refuse a version that was taken back and not validated since."""
    record = left(ledger, manifest_sha256)
    if record and int(verdict["seq"]) <= int(record["seq"]):
        environment, action = record["environment"], record["action"]
        raise ReleaseError(
            f"version {manifest_sha256[:12]} was taken out of {environment} by a "
            f"{action} ({record['reason']}) and not validated since: merge the revert "
            "pull request, or run `validate` for the proposal again"
        )


def left(ledger: Ledger, manifest_sha256: str) -> Record | None:
    """Return the newest record by which an environment left a version, if any."""
    found = [
        record
        for environment in ledger.environments()
        for record in ledger.history(environment)
        if record["previous"] == manifest_sha256 and _leaves(record)
    ]
    return max(found, key=lambda record: int(record["seq"]), default=None)


def _leaves(record: Record) -> bool:
    """Tell whether a record says that a version was found bad.

    A rollback says so of production only: before it, one tries things.
    """
    action, environment = record["action"], record["environment"]
    return action == "revert" or (action, environment) == ("rollback", CHAMPION)


def still_champion(ledger: Ledger, manifest_sha256: str, verdict: Record) -> None:
    """Refuse a verdict that compared with another champion than today's."""
    release = ledger.champion()
    champion = release["manifest_sha256"] if release else None
    if champion in (verdict["champion"], manifest_sha256):
        return
    number = verdict["pull_request"]
    raise ReleaseError(
        f"the champion changed since the verdict: it compared with "
        f"{(verdict['champion'] or 'none')[:12]}, production has "
        f"{(champion or 'none')[:12]}; run `gh workflow run validate.yml -f "
        f"pull_request={number}`, then `gh workflow run deploy.yml`"
    )


def check(ledger: Ledger, manifest_sha256: str, lock_sha256: str) -> Record:
    """Return the verdict that lets a version be deployed now, or refuse it."""
    found = verdict(ledger, manifest_sha256, lock_sha256)
    not_left(ledger, manifest_sha256, found)
    still_champion(ledger, manifest_sha256, found)
    return found
