"""The ledger: an orphan branch that records verdicts and deployments.

It is append-only: a record is never changed or removed. Only
``environments/<name>/release.json``, ``canary.json`` and the manifests beside them,
which targets follow, are replaced; each release is also kept in
``environments/<name>/history/``, each state of a canary in ``canaries/``. Records are
ordered by ``seq``, the number of commits before them, never by a clock.

From record `BLOCK` on, records lie in blocks of so many, as
``blocks/00012/monitoring/00012345.json``: each commit writes the folders of its files
again, so that in one folder the history would grow with the square of the records.
Readers name a record by its path without the block.
"""

import hashlib
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlgitops import environment_order, git

BRANCH = "ledger"
SPEC = f"+refs/heads/{BRANCH}*:refs/remotes/origin/{BRANCH}*"  # it may not exist yet
REPLACED = re.compile(
    r"environments/[a-z0-9-]+/((release|canary)\.json|kubernetes/manifests\.yaml)"
)
TRIES = 20
CHAMPION = environment_order.CHAMPION
NUMBER = re.compile(r"/(\d+)(?:-[^/]*)?\.json$")  # the seq in a record's name
BLOCKS = re.compile(r"blocks/\d{5}/")
BLOCK = 1_000  # records; GitHub asks for folders of at most 3,000 entries
LISTING = ("ls-tree", "--full-tree", "-z", "--name-only")
HOST = "host"  # the `fault` for which a release left that is not withdrawn
Record = dict[str, Any]
Files = Mapping[str, Record | bytes]


class LedgerError(Exception):
    """The ledger could not be read or written; the message says what to do."""


class Ledger:
    """The ledger as it is on origin; a missing branch is an empty ledger."""

    def __init__(self, cwd: str | Path = ".") -> None:
        """Fetch the branch."""
        self.cwd = Path(cwd)
        self.refresh()

    def refresh(self) -> None:
        """Fetch the branch again."""
        self.commit = git.fetch_branch(BRANCH, self.cwd)

    @classmethod
    def at(cls, commit: str | None, cwd: Path) -> "Ledger":
        """Return the ledger as it is at a commit that is here."""
        ledger = cls.__new__(cls)
        ledger.cwd, ledger.commit = cwd, commit
        return ledger

    @property
    def seq(self) -> int:
        """The number of commits so far."""
        if self.commit is None:
            return 0
        return int(git.run("rev-list", "--count", self.commit, cwd=self.cwd))

    def paths(self, prefix: str = "") -> list[str]:
        """Return the paths that begin with ``prefix``, sorted."""
        if self.commit is None:
            return []
        paths, _ = _paths(self.commit, self.cwd)
        first = bisect_left(paths, prefix)
        last = bisect_left(paths, prefix + "\U0010ffff", first)
        return list(paths[first:last])

    def read_bytes(self, path: str) -> bytes | None:
        """Return the file's bytes, or None."""
        if self.commit is None:
            return None
        data = _file(self.commit, path, self.cwd)
        if data is None and not REPLACED.fullmatch(path):
            if (inside := self.where(path)) != path:
                return _file(self.commit, inside, self.cwd)
        return data

    def where(self, path: str) -> str:
        """Return where the branch has a record: in its block, if it is in one."""
        if self.commit is None:
            return path
        _, in_blocks = _paths(self.commit, self.cwd)
        return in_blocks.get(path, path)

    def each(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (path, bytes) of many files, in their order, read by one process."""
        if self.commit is not None:
            names = list(paths)
            files = git.each(self.commit, map(self.where, names), self.cwd)
            for name, (_, data) in zip(names, files, strict=True):
                yield name, data

    def read(self, path: str) -> Record | None:
        """Return the JSON record at that path, or None."""
        data = self.read_bytes(path)
        return None if data is None else dict(json.loads(data))

    def verdicts(self, manifest_sha256: str) -> list[Record]:
        """Return the verdicts on a version, oldest first, each with its ``path``."""
        verdicts = self._all(f"verdicts/{manifest_sha256}/")
        return [{**verdict, "path": path} for path, verdict in verdicts.items()]

    def judged(self, newest_first: bool = False, having: str = "") -> Iterator[Record]:
        """Yield the verdicts on all versions, oldest first, each with its ``path``.

        Memory holds one at a time. ``having`` leaves out those whose JSON lacks a text,
        such as a hash, before they are parsed.
        """
        paths = [path for path in self.paths("verdicts/") if path.endswith(".json")]
        paths.sort(key=_order, reverse=newest_first)
        for path, data in self.each(paths):
            if having.encode() in data:
                yield {**json.loads(data), "path": path}

    def on_recipe(self, recipe: str) -> list[Record]:
        """Return the verdicts on what a recipe builds, oldest first, with their path.

        One on bytes that are not what the proposal describes, which anybody can upload,
        says nothing where there are others.
        """
        judged = self.judged(having=recipe)
        verdicts = [verdict for verdict in judged if verdict.get("recipe") == recipe]
        return [v for v in verdicts if v.get("manifest_sha256")] or verdicts

    def released(self, recipe: str) -> Record | None:
        """Return the verdict of the newest release with a recipe, or None."""
        releases = sorted(self.releases(), key=lambda record: -int(record["seq"]))
        named = dict.fromkeys(str(release["verdict"]) for release in releases)
        there = set(self.paths("verdicts/"))
        for path, data in self.each(path for path in named if path in there):
            if recipe.encode() in data:  # parsing is what takes time
                verdict = json.loads(data)
                if verdict.get("recipe") == recipe:
                    return {**verdict, "path": path}
        return None

    def lock(self, sha256: str) -> bytes:
        """Return the dvc.lock with that sha256, as CI built it.

        Raises:
            LedgerError: the ledger lacks it, or has other bytes under its name.
        """
        path = lock_path(sha256)
        data = self.read_bytes(path)
        if data is None:
            raise LedgerError(f"the ledger has no {path}: propose the change again")
        return _verified(path, data)

    def locks(self, hashes: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield each hash with the dvc.lock of it, as `lock`, read by one process."""
        by_path = {lock_path(sha256): sha256 for sha256 in sorted(hashes)}
        for path, data in self.each(by_path):
            yield by_path[path], _verified(path, data)

    def signatures(self, manifest_sha256: str) -> list[Record]:
        """Return the signatures of the releases of a version, oldest first."""
        return self.records(f"signatures/{manifest_sha256}/")

    def records(self, prefix: str) -> list[Record]:
        """Return the JSON records under a prefix, oldest first, read by one process."""
        return list(self._all(prefix).values())

    def retired(self) -> dict[str, Record]:
        """Return what retired each version whose objects left storage, by manifest.

        A version that passed again since then is back.
        """
        records = self.records("retired/")
        newest = {str(record["manifest_sha256"]): record for record in records}
        for verdict in self.judged() if newest else ():
            record = newest.get(str(verdict.get("manifest_sha256")))
            if record and verdict.get("passed") and verdict["seq"] > record["seq"]:
                del newest[str(record["manifest_sha256"])]
        return newest

    def release(self, environment: str) -> Record | None:
        """Return what the targets of an environment follow, or None."""
        return self.read(f"environments/{environment}/release.json")

    def champion(self, environment: str = CHAMPION) -> Record | None:
        """Return the release that is assigned to production, or None."""
        release = self.release(environment)
        return None if release is None or release.get("state") == "failed" else release

    def environments(self) -> list[str]:
        """Return every environment that ever had a release, sorted."""
        return sorted({p.split("/")[1] for p in self.paths("environments/")})

    def history(self, environment: str) -> list[Record]:
        """Return every release of an environment, oldest first."""
        return self.records(f"environments/{environment}/history/")

    def releases(self) -> list[Record]:
        """Return every release of every environment, each one's oldest first."""
        return [r for name in self.environments() for r in self.history(name)]

    def withdrawal(self, manifest_sha256: str, server_sha256: str) -> Record | None:
        """Return the newest record that took a release back, unless it returned since.

        A release is a model and its server; where the model stayed, only that server
        was taken back. A rollback calls a release bad in production only: before it,
        one tries things. A fault of the host says nothing about the release.
        """
        release = (manifest_sha256, server_sha256)
        ends = (self._end(name, release) for name in self.environments())
        newest = (record for record in ends if record)
        return max(newest, key=lambda record: int(record["seq"]), default=None)

    def append(self, make: Files | Callable[[int], Files], message: str) -> int:
        """Add records in one commit on origin and return its ``seq``.

        ``make`` is the files, or a function from ``seq`` to the files; it is called
        again when another writer pushed first.

        Raises:
            LedgerError: a record exists already, or origin cannot be reached.
        """
        if not git.has_remote(self.cwd):
            raise LedgerError("there is no remote `origin` to keep the ledger on")
        for _ in range(TRIES):
            seq = self.seq
            files = make(seq) if callable(make) else make
            commit = self._commit(files, message, seq)
            if self._push(commit):
                self.commit = commit
                return seq
            self.refresh()
            if self._contains(commit):  # it arrived, and the answer was lost
                return seq
        raise LedgerError(
            f"other writers were faster {TRIES} times: run the command again"
        )

    def _end(self, environment: str, release: tuple[str, str]) -> Record | None:
        """Return the first record since which a release is out of an environment."""
        end: Record | None = None
        manifest, server = release
        backwards = ("revert", "rollback") if environment == CHAMPION else ("revert",)
        for record in self.history(environment):
            same_model = record["manifest_sha256"] == manifest
            code = (record.get("server") or {}).get("sha256")
            left = withdraws(record) and record["action"] in backwards
            if left and record["previous"] == manifest:
                if not same_model or record.get("previous_server") == server:
                    end = end or record  # a confirmation repeats the record
            elif end and same_model and code == server:
                end = None
            elif end and same_model and end["manifest_sha256"] != manifest:
                end = None  # the model was taken back, and is here with any server
        return end

    def _all(self, prefix: str) -> dict[str, Record]:
        """Return the JSON records under a prefix by path, ordered by seq."""
        if self.commit is None:
            return {}
        records = _records(self.commit, prefix, self.cwd)
        return {path: dict(record) for path, record in records}

    def _commit(self, files: Files, message: str, seq: int) -> str:
        """Write a commit on top of the ledger without touching the working tree."""
        new = {path: block(path, seq) for path in files if not REPLACED.fullmatch(path)}
        if taken := self._taken(new, seq):
            raise LedgerError(
                f"the ledger already has {taken[0]}, and records are never replaced"
            )
        contents = {new.get(p, p): encode(content) for p, content in files.items()}
        return git.commit(contents, message, BRANCH, self.commit, self.cwd)

    def _taken(self, new: Mapping[str, str], seq: int) -> list[str]:
        """Return those of new records, by where they are put, that the ledger has.

        What has a number is new where no file is; other names may be in any block.
        """
        taken = _present(self.commit, {*new, *new.values()}, self.cwd)
        named = [path for path in new if _order(path)[0] != seq]
        if seq >= BLOCK and self.commit and named and not taken:
            _, in_blocks = _paths(self.commit, self.cwd)
            taken = [path for path in named if path in in_blocks]
        return taken

    def _contains(self, commit: str) -> bool:
        """Tell whether the ledger has a commit."""
        if self.commit is None:
            return False
        args = ("merge-base", commit, self.commit)
        return git.run(*args, cwd=self.cwd, check=False) == commit

    def _push(self, commit: str) -> bool:
        """Push; return False when another writer pushed first."""
        lease = f"--force-with-lease=refs/heads/{BRANCH}:{self.commit or ''}"
        target = f"{commit}:refs/heads/{BRANCH}"
        try:
            return git.push(lease, target, cwd=self.cwd)
        except git.GitError as error:
            raise LedgerError(f"the ledger was not written: {error}") from error


def lock_path(sha256: str) -> str:
    """Return where the ledger keeps a dvc.lock that CI built and that passed."""
    return f"locks/{sha256}.lock"


def _verified(path: str, data: bytes) -> bytes:
    """Return a lock's bytes, which its name is the hash of."""
    if lock_path(hashlib.sha256(data).hexdigest()) != path:
        raise LedgerError(
            f"the ledger's {path} has other bytes than its name says: find out who "
            "changed it before anything is deployed"
        )
    return data


def withdraws(record: Record) -> bool:
    """Tell whether a record took a release back, and not for a fault of its host."""
    backwards = record["action"] in ("revert", "rollback")
    return backwards and record.get("fault") != HOST


def encode(content: Record | bytes) -> bytes:
    """Return a record as canonical JSON."""
    if isinstance(content, bytes):
        return content
    return (json.dumps(content, sort_keys=True, indent=2) + "\n").encode()


def block(path: str, seq: int) -> str:
    """Return where a new record is put that has so many commits before it."""
    return path if seq < BLOCK else f"blocks/{seq // BLOCK:05d}/{path}"


def without_block(path: str) -> str:
    """Return the path by which readers name a record."""
    match = BLOCKS.match(path)
    return path[match.end() :] if match else path


def _order(path: str) -> tuple[int, str]:
    """Return what orders records by their names: the seq that is in each."""
    match = NUMBER.search(path)
    return int(match[1]) if match else 0, path


@lru_cache(2)  # what a commit contains never changes
def _paths(commit: str, cwd: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the paths of a commit's records, sorted, and where those in blocks are.

    No block hides what lies outside, or has what is replaced, whoever pushed it there.
    """
    listed = git.run(*LISTING, "-r", commit, cwd=cwd).split("\0")
    others = {path for path in listed if path and not path.startswith("blocks/")}
    inside = {without_block(p): p for p in listed if p.startswith("blocks/")}
    for path in others.intersection(inside) | {*filter(REPLACED.fullmatch, inside)}:
        del inside[path]
    return tuple(sorted({*others, *inside})), inside


@lru_cache(8)
def _records(commit: str, prefix: str, cwd: Path) -> tuple[tuple[str, Record], ...]:
    """Return the JSON records of a commit under a prefix, by path, ordered by seq."""
    ledger = Ledger.at(commit, cwd)
    paths = (path for path in ledger.paths(prefix) if path.endswith(".json"))
    records = [(path, dict(json.loads(data))) for path, data in ledger.each(paths)]
    return tuple(sorted(records, key=lambda each: each[1].get("seq", 0)))


def _present(commit: str | None, paths: Iterable[str], cwd: Path) -> list[str]:
    """Return those of some paths that a commit has; only their folders are read."""
    if commit is None or not (asked := sorted(paths)):
        return []
    listed = git.run(*LISTING, commit, "--", *asked, cwd=cwd)
    return list(filter(None, listed.split("\0")))


@lru_cache(256)
def _file(commit: str, path: str, cwd: Path) -> bytes | None:
    """Return the bytes of a commit's file, or None."""
    return git.show(commit, path, cwd)
