"""Which objects of storage something still names, and which were ever named here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from mlgitops import git, lock
from mlgitops.ledger import Ledger, Record, lock_path
from mlgitops.release.registry import Version


def kept(
    ledger: Ledger, versions: Iterable[Version], retired: Collection[str]
) -> set[str]:
    """Return the md5 of each object that has to stay.

    Those of verdicts and versions that are not retired, with the data they were built
    from; of every branch on origin; and of the files here.

    Raises:
        LockError: one of them cannot be read, so that nothing is known to be free.
    """
    locks = [lock.parse(data) for data in _locks(ledger, retired)]
    commits = [v.commit for v in versions if v.manifest_sha256 not in retired]
    refs = [*commits, *branches()]
    locks += [locked for ref in refs if (locked := lock.at(ref))]
    locks += [here] if (here := lock.read()) else []
    pointers = [*(lock.pointers(ref) for ref in refs), lock.pointers()]
    return {
        *(out.md5 for each in locks for out in each.outs),
        *(md5 for each in locks for md5 in each.read),
        *(out.md5 for outs in pointers for out in outs.values()),
    }


def ever(ledger: Ledger) -> set[str]:
    """Return the md5 of each object that this repository named at any time."""
    locks = [lock.parse(data) for data in _locks(ledger, ())]
    md5s = {out.md5 for each in locks for out in each.outs}
    md5s |= {md5 for each in locks for md5 in each.read}
    paths = [f":(glob){folder}/*.dvc" for folder in lock.FOLDERS]
    log = git.run("log", "--all", "--format=%H", "--", *paths, "dvc.lock")
    for commit in log.splitlines():
        md5s |= {out.md5 for out in _readable_pointers(commit)}
        if locked := lock.at(commit):
            md5s |= {*(out.md5 for out in locked.outs), *locked.read}
    return md5s


def branches() -> list[str]:
    """Return the branches on origin that hold work; the ledger and storage do not."""
    names = git.run("for-each-ref", "--format=%(refname)", "refs/remotes/origin")
    own = ("HEAD", "ledger", "storage")
    return [
        name
        for name in names.splitlines()
        if name.removeprefix("refs/remotes/origin/") not in own
    ]


def _locks(ledger: Ledger, retired: Collection[str]) -> Iterator[bytes]:
    """Yield each dvc.lock that a verdict passed, of versions that are not retired."""
    hashes = {
        str(verdict["lock_sha256"])
        for verdict in ledger.judged()
        if passed(verdict) and verdict["manifest_sha256"] not in retired
    }
    for sha256 in sorted(hashes):
        if ledger.read_bytes(lock_path(sha256)) is not None:
            yield ledger.lock(sha256)


def passed(verdict: Record) -> bool:
    """Tell whether a verdict let its version into storage."""
    return bool(verdict.get("passed") and verdict.get("manifest_sha256"))


def _readable_pointers(commit: str) -> list[lock.Out]:
    """Return what a commit of the past tracks; nothing where that cannot be read."""
    try:
        return [*lock.pointers(commit).values()]
    except lock.LockError:
        return []
