"""Says whether a version may be deployed: every refusal is here, with its sentence.

The repository's protection settings are not asked: what counts is the ledger, main's
recipe and the bytes in storage. GitHub is asked one thing: which pull requests were
merged, since a verdict on one that was not is no reason to deploy what it built.
"""

from dataclasses import dataclass
from pathlib import Path

from mlgitops import built, git, lock, recipe, storage
from mlgitops.ledger import Ledger
from mlgitops.lock import Lock
from mlgitops.release import MAIN, Record, ReleaseError, base
from mlgitops.release.registry import Version
from mlgitops.serving.verify import VerifyError, sha256_file, verify

AGAIN = (
    "Propose any change, also an empty commit (`git commit --allow-empty`): CI then "
    "builds and judges it; merge it when `validate` is green"
)


@dataclass(frozen=True)
class Candidate:
    """A version's bytes, verified, in a folder."""

    folder: Path
    commit: str
    lock: bytes
    manifest_sha256: str
    manifest: Record


def bring(
    commit: str, folder: Path, expected: str, lock_bytes: bytes | None = None
) -> Candidate:
    """Pull a version, by its own commit's dvc.lock or another; verify every byte of it.

    Raises:
        ReleaseError: an object is missing, altered, or not what the manifest names.
    """
    lock_bytes = lock_bytes or git.show(commit, "dvc.lock") or b""
    folder.mkdir(parents=True, exist_ok=True)
    contract = git.show(commit, "contract.yaml")
    if contract is None:
        raise ReleaseError(f"contract.yaml is missing at {commit}")
    try:
        dvc_lock = lock.parse(lock_bytes)
        storage.pull(map(dvc_lock.out, ("manifest.json", "model.onnx")), folder)
        (folder / "contract.yaml").write_bytes(contract)
        manifest = verify(folder, expected)
    except (storage.StorageError, lock.LockError, VerifyError) as error:
        raise ReleaseError(f"not deployed: {error}") from error
    sha256 = sha256_file(folder / "manifest.json")
    return Candidate(folder, commit, lock_bytes, sha256, manifest)


def locked(commit: str) -> Lock:
    """Return the dvc.lock at a commit, which must be there."""
    try:
        dvc_lock = lock.at(commit)
    except lock.LockError as error:
        raise ReleaseError(str(error)) from error
    if dvc_lock is None:
        raise ReleaseError(f"there is no dvc.lock at {commit}")
    return dvc_lock


def same_model(ledger: Ledger, commit: str, manifest_sha256: str) -> bool:
    """Tell whether a commit of main names a version, by a verdict that passes it."""
    try:
        verdict = built.of_main(ledger, recipe.at(commit))
    except lock.LockError:
        return False
    own = verdict and verdict["passed"] and verdict["manifest_sha256"]
    return bool(own == manifest_sha256)


def demand_merged(version: Version) -> None:
    """Refuse a version that is not from a commit of the main branch of origin."""
    if base(version.commit, git.fetch_branch(MAIN)) is None:
        raise ReleaseError(
            f"{version.tag} is on {version.commit}, which is not on {MAIN}, and is not "
            f"a commit of {MAIN} with only its dvc.lock added"
        )


def named(ledger: Ledger, commit: str) -> Record:
    """Return the verdict on what a commit of main names; it has its ``path``.

    Raises:
        ReleaseError: nobody judged what main describes, or it was refused.
    """
    main = _recipe(commit)
    verdicts = ledger.on_recipe(main)
    if not verdicts:
        raise ReleaseError(
            f"there is no verdict on what main describes (recipe {main[:12]}): nobody "
            f"judged it. {AGAIN}"
        )
    if decides := built.of_main(ledger, main):
        return _passed(decides)
    pulls = ", ".join(f"#{n}" for n in sorted({v["pull_request"] for v in verdicts}))
    raise ReleaseError(
        f"what main describes (recipe {main[:12]}) was judged in {pulls} only, where "
        f"no commit that was judged was merged. {AGAIN}"
    )


def any_merged(ledger: Ledger) -> bool:
    """Tell whether any pull request that was judged was merged."""
    numbers = {int(verdict["pull_request"]) for verdict in ledger.judged()}
    return any(built.was_merged(number) for number in sorted(numbers))


def _passed(verdict: Record) -> Record:
    """Return a verdict, or refuse what it refuses."""
    if not verdict["passed"]:
        raise ReleaseError(
            f"not deployed: #{verdict['pull_request']} was refused, and main names "
            f"what it proposed. {verdict['summary']} Revert it on main, or make it "
            "pass in a new pull request"
        )
    return verdict


def _recipe(commit: str) -> str:
    """Return the recipe at a commit."""
    try:
        return recipe.at(commit)
    except lock.LockError as error:
        raise ReleaseError(str(error)) from error


def check(
    ledger: Ledger, manifest_sha256: str, commit: str, server_sha256: str
) -> Record:
    """Return the verdict that lets what main names be deployed now, with this server.

    Raises:
        ReleaseError: there is no such verdict, main names another version, this one
            was taken back and no verdict brings it back on purpose, or it was compared
            with another champion than today's.
    """
    record = named(ledger, commit)
    if record["manifest_sha256"] != manifest_sha256:
        raise ReleaseError(
            f"version {manifest_sha256[:12]} is no longer the one that {MAIN} names: "
            "the run for its newest commit deploys that"
        )
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
            f"{(champion or 'none')[:12]}. {AGAIN}"
        )
    return record


def _brought_back(ledger: Ledger, manifest_sha256: str, end: Record) -> bool:
    """Tell whether a passing verdict names the record that took a version back."""
    verdicts = ledger.verdicts(manifest_sha256)
    returns = ((v["passed"], (v.get("returns") or {}).get("seq")) for v in verdicts)
    return (True, end["seq"]) in returns


def refuse_retired(ledger: Ledger, manifest_sha256: str, tag: str) -> None:
    """Refuse to bring back a version whose files have left storage.

    Raises:
        ReleaseError: with the way out.
    """
    if record := ledger.retired().get(manifest_sha256):
        raise ReleaseError(
            f"{tag} was retired on {str(record['time'])[:10]} and its files left "
            "storage: choose a newer version (`make audit` lists them), or propose its "
            "code and data again"
        )
