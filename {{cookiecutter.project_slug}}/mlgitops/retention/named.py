"""Which objects of storage something still names, and which were ever named here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from mlgitops import git, github, lock
from mlgitops.ledger import Ledger, Record, lock_path
from mlgitops.release.registry import Version

HEADS = "+refs/heads/*:refs/remotes/origin/*"  # all, in a clone of one branch too
PROPOSALS = "refs/proposals"  # in this clone: the heads of those that are open
WORK = ("refs/heads", "refs/remotes", "refs/stash", PROPOSALS)
NO_WORK = re.compile(r"refs/(heads|remotes/[^/]+)/(HEAD|ledger|storage)")


def kept(
    ledger: Ledger, versions: Iterable[Version], retired: Collection[str]
) -> set[str]:
    """Return the md5 of each object that has to stay.

    Those of verdicts and versions that are not retired, with the data they were built
    from; of every branch, on origin or only here; and of the files here.

    Raises:
        LockError: one of them cannot be read, so that nothing is known to be free.
    """
    locks = [lock.parse(data) for data in _locks(ledger, retired)]
    commits = [v.commit for v in versions if v.manifest_sha256 not in retired]
    locks += [here] if (here := lock.read()) else []
    md5s = {md5 for each in locks for md5 in _md5s(each)}
    md5s |= {out.md5 for out in lock.pointers().values()}
    for ref in [*commits, *branches()]:
        md5s.update(_of_commit(ref, strict=not ref.startswith(PROPOSALS)))
    return md5s


def _of_commit(ref: str, strict: bool) -> Iterator[str]:
    """Yield the md5s that a commit names.

    Where it is not `strict`, a file that cannot be read names nothing: anybody may
    propose such a file, or have committed one once, and nothing could go from then on.

    Raises:
        LockError: a file of it cannot be read.
    """
    for read in (_locked, _pointed):
        try:
            yield from read(ref)
        except (lock.LockError, git.GitError) as error:
            if strict:
                raise lock.LockError(f"{ref}: {error}") from error


def _locked(ref: str) -> set[str]:
    """Return the md5s of a commit's dvc.lock, if it has one."""
    locked = lock.at(ref)
    return _md5s(locked) if locked else set()


def _pointed(ref: str) -> set[str]:
    """Return the md5s of a commit's pointers."""
    return {out.md5 for out in lock.pointers(ref).values()}


def _md5s(locked: lock.Lock) -> set[str]:
    """Return the md5s of what a lock wrote and read."""
    return {*(out.md5 for out in locked.outs), *locked.read}


def ever(ledger: Ledger) -> set[str]:
    """Return the md5 of each object that origin named at any time.

    What only this clone names may be work that is not pushed yet.
    """
    locks = [lock.parse(data) for data in _locks(ledger, ())]
    md5s = {md5 for each in locks for md5 in _md5s(each)}
    paths = [f":(glob){folder}/*.dvc" for folder in lock.FOLDERS]
    pushed = ("--remotes=origin", "--tags")
    log = git.run("log", *pushed, "--format=%H", "--", *paths, "dvc.lock")
    for commit in log.splitlines():
        md5s.update(_of_commit(commit, strict=False))
    return md5s


def fetch() -> str:
    """Fetch every branch of origin, and open proposals; return what has to be said.

    The head of a proposal from a fork is on no branch of origin. Where GitHub does not
    say which ones are open, all count as open.
    """
    numbers, remark = _open()
    for ref in git.run("for-each-ref", "--format=%(refname)", PROPOSALS).splitlines():
        git.run("update-ref", "-d", ref)
    specs = [f"+refs/pull/{n}/head:{PROPOSALS}/{n}" for n in numbers]
    git.remote_run("fetch", "-q", "--prune", "origin", HEADS, *specs)
    return remark


def _open() -> tuple[list[int], str]:
    """Return the numbers of open proposals, and a remark where GitHub was not asked."""
    try:
        return [int(p["number"]) for p in github.pages("pulls", {"state": "open"})], ""
    except github.GitHubError as error:
        problem = error
    listed = git.remote_run("ls-remote", "origin", "refs/pull/*/head")
    numbers = [int(n) for n in re.findall(r"refs/pull/(\d+)/head", listed)]
    if not numbers:
        return [], ""
    return numbers, (
        f"GitHub does not say which of {len(numbers)} proposals are open ({problem}): "
        "what they name stays"
    )


def branches() -> list[str]:
    """Return the branches that hold work, and the stash: what is only here counts too.

    The ledger and storage hold none.
    """
    names = git.run("for-each-ref", "--format=%(refname)", *WORK)
    return [name for name in names.splitlines() if not NO_WORK.fullmatch(name)]


def heads() -> set[str]:
    """Return the newest commit of each of these branches."""
    return {*git.run("rev-parse", *branches()).splitlines()} if branches() else set()


def _locks(ledger: Ledger, retired: Collection[str]) -> Iterator[bytes]:
    """Yield each dvc.lock that a verdict passed, of versions that are not retired."""
    hashes = {
        str(verdict["lock_sha256"])
        for verdict in ledger.judged()
        if passed(verdict) and verdict["manifest_sha256"] not in retired
    }
    there = set(ledger.paths("locks/"))
    kept = [sha256 for sha256 in hashes if lock_path(sha256) in there]
    yield from (data for _, data in ledger.locks(kept))


def passed(verdict: Record) -> bool:
    """Tell whether a verdict let its version into storage."""
    return bool(verdict.get("passed") and verdict.get("manifest_sha256"))
