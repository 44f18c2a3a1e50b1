"""Which objects the repository names, and where: what a move must not leave behind."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from mlgitops import git, lock
from mlgitops.ledger import BRANCH as LEDGER
from mlgitops.ledger import Ledger, lock_path
from mlgitops.lock import LockError, Out
from mlgitops.storage import BRANCH as STORAGE

NOT_CODE = {LEDGER, STORAGE, "gh-pages"}  # branches


def everywhere() -> dict[str, tuple[Out, str]]:
    """Return each object that is named, by md5, with the first place that names it.

    Places are the files here, every branch, every version's tag, and each dvc.lock in
    the ledger. What origin has is fetched first.
    """
    if git.has_remote():
        git.remote_run("fetch", "-q", "--tags", "origin")
    found: dict[str, tuple[Out, str]] = {}
    for where, outs in _places():
        for out in outs:
            found.setdefault(out.md5, (out, where))
    return found


def _places() -> Iterator[tuple[str, list[Out]]]:
    """Yield a name for each place, and what it names; retired versions name nothing."""
    ledger = Ledger()
    retired = _retired(ledger)
    yield "the files here", list(lock.pointers().values())
    for tag in git.run("tag", "--list", "*@v*").splitlines():
        locked = lock.at(tag)
        if locked is None or locked.sha256 not in retired:
            yield tag, _at(tag)
    for ref in _branches():
        yield ref, _at(ref)
    hashes = {PurePosixPath(path).stem for path in ledger.paths("locks/")} - retired
    for sha256, data in ledger.locks(hashes):
        where = f"the ledger's {lock_path(sha256)}"
        yield where, list(lock.parse(data).outs)


def _retired(ledger: Ledger) -> set[str]:
    """Return the locks that only versions have whose objects left storage."""
    retired = ledger.retired()
    locks: dict[bool, set[str]] = {True: set(), False: set()}
    for verdict in ledger.judged() if retired else ():
        gone = verdict.get("manifest_sha256") in retired
        locks[gone].add(str(verdict.get("lock_sha256")))
    return locks[True] - locks[False]


def _branches() -> list[str]:
    """Return the branches with code, here and of origin."""
    refs = git.run(
        "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes/origin"
    )
    names = [ref for ref in refs.splitlines() if ref not in ("origin", "origin/HEAD")]
    return [ref for ref in names if ref.removeprefix("origin/") not in NOT_CODE]


def _at(ref: str) -> list[Out]:
    """Return what a commit names; a lock that cannot be read names nothing there.

    A branch may hold anybody's attempt; the ledger and the versions are read strictly.
    """
    try:
        locked = lock.at(ref)
        return [*lock.pointers(ref).values(), *(locked.outs if locked else ())]
    except LockError:
        if "@v" in ref:
            raise
        return []
