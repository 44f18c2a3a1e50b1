"""The ledger: an orphan branch that records verdicts and deployments.

It is append-only: a record is never changed or removed. Only
``environments/<name>/release.json``, ``canary.json`` and the manifests beside them,
which targets follow, are replaced; each release is also kept in
``environments/<name>/history/``, each state of a canary in ``canaries/``. Records are
ordered by ``seq``, the number of commits before them, never by a clock.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
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

    @property
    def seq(self) -> int:
        """The number of commits so far."""
        if self.commit is None:
            return 0
        return int(git.run("rev-list", "--count", self.commit, cwd=self.cwd))

    def paths(self, prefix: str = "") -> list[str]:
        """Return the paths that begin with ``prefix``, sorted."""
        paths = _paths(self.commit, self.cwd) if self.commit else ()
        return [path for path in paths if path.startswith(prefix)]

    def read_bytes(self, path: str) -> bytes | None:
        """Return the file's bytes, or None."""
        return _file(self.commit, path, self.cwd) if self.commit else None

    def read(self, path: str) -> Record | None:
        """Return the JSON record at that path, or None."""
        data = self.read_bytes(path)
        return None if data is None else dict(json.loads(data))

    def verdicts(self, manifest_sha256: str) -> list[Record]:
        """Return the verdicts on a version, oldest first, each with its ``path``."""
        verdicts = self._all(f"verdicts/{manifest_sha256}/")
        return [{**verdict, "path": path} for path, verdict in verdicts.items()]

    def judged(self) -> list[Record]:
        """Return the verdicts on all versions, oldest first."""
        return list(self._all("verdicts/").values())

    def on_recipe(self, recipe: str) -> list[Record]:
        """Return the verdicts on what a recipe builds, oldest first, with their path.

        One on bytes that are not what the proposal describes, which anybody can upload,
        says nothing where there are others.
        """
        verdicts = [
            {**verdict, "path": path}
            for path, verdict in self._all("verdicts/").items()
            if verdict.get("recipe") == recipe
        ]
        return [v for v in verdicts if v.get("manifest_sha256")] or verdicts

    def released(self, recipe: str) -> Record | None:
        """Return the verdict of the newest release with a recipe, or None."""
        releases = sorted(self.releases(), key=lambda record: -int(record["seq"]))
        for path in dict.fromkeys(str(release["verdict"]) for release in releases):
            verdict = self.read(path) or {}
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
        if hashlib.sha256(data).hexdigest() != sha256:
            raise LedgerError(
                f"the ledger's {path} has other bytes than its name says: find out who "
                "changed it before anything is deployed"
            )
        return data

    def signatures(self, manifest_sha256: str) -> list[Record]:
        """Return the signatures of the releases of a version, oldest first."""
        return list(self._all(f"signatures/{manifest_sha256}/").values())

    def retired(self) -> dict[str, Record]:
        """Return what retired each version whose objects left storage, by manifest.

        A version that passed again since then is back.
        """
        records = self._all("retired/").values()
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
        return list(self._all(f"environments/{environment}/history/").values())

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
            commit = self._commit(files, message)
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
        paths = [path for path in self.paths(prefix) if path.endswith(".json")]
        if self.commit is None:
            return {}
        files = git.show_all(self.commit, paths, self.cwd)
        records = {path: dict(json.loads(data)) for path, data in files.items()}
        return dict(sorted(records.items(), key=lambda item: item[1].get("seq", 0)))

    def _commit(self, files: Files, message: str) -> str:
        """Write a commit on top of the ledger without touching the working tree."""
        taken = [p for p in files if p in self.paths() and not REPLACED.fullmatch(p)]
        if taken:
            raise LedgerError(
                f"the ledger already has {taken[0]}, and records are never replaced"
            )
        contents = {path: encode(content) for path, content in files.items()}
        return git.commit(contents, message, BRANCH, self.commit, self.cwd)

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


def withdraws(record: Record) -> bool:
    """Tell whether a record took a release back, and not for a fault of its host."""
    backwards = record["action"] in ("revert", "rollback")
    return backwards and record.get("fault") != HOST


def encode(content: Record | bytes) -> bytes:
    """Return a record as canonical JSON."""
    if isinstance(content, bytes):
        return content
    return (json.dumps(content, sort_keys=True, indent=2) + "\n").encode()


@lru_cache(8)  # what a commit contains never changes
def _paths(commit: str, cwd: Path) -> tuple[str, ...]:
    """Return the paths of a commit's files, sorted."""
    text = git.run("ls-tree", "-r", "--name-only", commit, cwd=cwd)
    return tuple(sorted(text.splitlines()))


@lru_cache(256)
def _file(commit: str, path: str, cwd: Path) -> bytes | None:
    """Return the bytes of a commit's file, or None."""
    return git.show(commit, path, cwd)
