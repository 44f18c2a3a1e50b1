"""Says whether a version may be deployed: every refusal is here, with its sentence.

The repository's protection settings are not asked: what counts is the ledger, main's
dvc.lock and the bytes in storage.
"""

from dataclasses import dataclass
from pathlib import Path

from mlgitops import git, lock, storage
from mlgitops.ledger import Ledger
from mlgitops.lock import Lock
from mlgitops.release import MAIN, Record, ReleaseError, on_main
from mlgitops.release.registry import Version
from mlgitops.serving.verify import VerifyError, sha256_file, verify


@dataclass(frozen=True)
class Candidate:
    """A version's bytes, verified, in a folder."""

    folder: Path
    commit: str
    lock_sha256: str
    manifest_sha256: str
    manifest: Record


def bring(commit: str, folder: Path, expected: str | None = None) -> Candidate:
    """Pull the version that a commit's dvc.lock names and verify every byte of it.

    Raises:
        ReleaseError: an object is missing, altered, or not what the manifest names.
    """
    dvc_lock = locked(commit)
    folder.mkdir(parents=True, exist_ok=True)
    contract = git.show(commit, "contract.yaml")
    if contract is None:
        raise ReleaseError(f"contract.yaml is missing at {commit}")
    try:
        storage.pull(map(dvc_lock.out, ("manifest.json", "model.onnx")), folder)
        (folder / "contract.yaml").write_bytes(contract)
        manifest = verify(folder, expected)
    except (storage.StorageError, lock.LockError, VerifyError) as error:
        raise ReleaseError(f"not deployed: {error}") from error
    sha256 = sha256_file(folder / "manifest.json")
    return Candidate(folder, commit, dvc_lock.sha256, sha256, manifest)


def locked(commit: str) -> Lock:
    """Return the dvc.lock at a commit, which must be there."""
    try:
        dvc_lock = lock.at(commit)
    except lock.LockError as error:
        raise ReleaseError(str(error)) from error
    if dvc_lock is None:
        raise ReleaseError(f"there is no dvc.lock at {commit}")
    return dvc_lock


def same_model(commit: str, reference: str) -> bool:
    """Tell whether the locks at two commits name the same manifest."""
    try:
        outs = [locked(each).out("manifest.json") for each in (commit, reference)]
    except (lock.LockError, ReleaseError):
        return False
    return (outs[0].md5, outs[0].size) == (outs[1].md5, outs[1].size)


def demand_merged(version: Version) -> None:
    """Refuse a version whose commit is not on the main branch of origin."""
    if not on_main(version.commit):
        raise ReleaseError(
            f"{version.tag} is on {version.commit}, which is not on {MAIN}"
        )


def verdict(ledger: Ledger, manifest_sha256: str, lock_sha256: str) -> Record:
    """Return the newest verdict on a version and its lock, if it lets them pass.

    A verdict on the same version with another lock is of another proposal: it says
    nothing about what main names. The record has its ``path``.

    Raises:
        ReleaseError: nobody judged these bytes, they were refused, or main's lock
            is not a judged one.
    """
    records, short = ledger.verdicts(manifest_sha256), manifest_sha256[:12]
    own = [record for record in records if record["lock_sha256"] == lock_sha256]
    if not records:
        raise ReleaseError(
            f"there is no verdict on version {short}: nobody judged these bytes; "
            "propose them in a pull request, and merge it when `validate` is green"
        )
    passed = [record for record in records if record["passed"]]
    newest = next(reversed(own or passed or records))
    if not newest["passed"]:
        raise ReleaseError(
            f"the newest verdict refuses version {short}: {newest['summary']} "
            "Revert the merge, or make it pass in a new pull request"
        )
    if not own:
        raise ReleaseError(
            f"main's dvc.lock ({lock_sha256[:12]}) is not the one that was judged "
            f"({newest['lock_sha256'][:12]}): run `make adopt "
            f"PR={newest['pull_request']}` in a new pull request, and merge that"
        )
    return newest


def not_refused(ledger: Ledger, lock_sha256: str) -> None:
    """Refuse a dvc.lock whose newest verdict refuses it, before any byte is moved.

    The objects of a refused proposal never enter storage: "they are missing" would be
    true, and would send the reader the wrong way.
    """
    newest = ledger.verdict_on_lock(lock_sha256)
    if newest and not newest["passed"]:
        raise ReleaseError(
            f"not deployed: #{newest['pull_request']} was refused, and main names what "
            f"it proposed. {newest['summary']} Revert it on main, or make it pass in a "
            "new pull request"
        )


def check(
    ledger: Ledger, manifest_sha256: str, lock_sha256: str, server_sha256: str
) -> Record:
    """Return the verdict that lets a version be deployed now, with this server.

    Raises:
        ReleaseError: there is no such verdict, the version was taken back and no
            verdict brings it back on purpose, or it was compared with another champion
            than today's.
    """
    record = verdict(ledger, manifest_sha256, lock_sha256)
    end = ledger.withdrawal(manifest_sha256, server_sha256)
    if end and not _brought_back(ledger, manifest_sha256, end):
        short = manifest_sha256[:12]
        # A first version that failed has none before it, and so no revert.
        revert = "Merge the revert pull request. "
        advice = "" if end.get("state") == "failed" else revert
        raise ReleaseError(
            f"version {short} was taken out of {end['environment']} by a "
            f"{end['action']} ({end['reason']}), and no verdict since brings it back "
            f"on purpose. {advice}To deploy it again, propose it after that; or run "
            "`gh workflow run validate.yml -f pull_request=NUMBER "
            f"-f manifest={short} -f reason=WHY` for an open pull request that has it"
        )
    release = ledger.champion()
    champion = release["manifest_sha256"] if release else None
    if champion not in (record["champion"], manifest_sha256):
        raise ReleaseError(
            "the champion changed since the verdict: it compared with "
            f"{(record['champion'] or 'none')[:12]}, production has "
            f"{(champion or 'none')[:12]}; run `gh workflow run validate.yml -f "
            f"pull_request={record['pull_request']}`, then `gh workflow run deploy.yml`"
        )
    return record


def _brought_back(ledger: Ledger, manifest_sha256: str, end: Record) -> bool:
    """Tell whether a passing verdict names the record that took a version back."""
    verdicts = ledger.verdicts(manifest_sha256)
    named = ((v["passed"], (v.get("returns") or {}).get("seq")) for v in verdicts)
    return (True, end["seq"]) in named
