"""The server of a release: the code that answers beside a version's bytes.

A version is a manifest; a release is a version and its server, and a change of either
rolls out. A server is known by the hash of its files, not by a commit: a merge that
leaves them alone makes no new one.
"""

from dataclasses import asdict, dataclass

from mlgitops import git, server_code
from mlgitops.ledger import Ledger, withdraws
from mlgitops.release import Record, ReleaseError
from mlgitops.release.registry import Version

PATHS = server_code.PATHS
# A server carries these too, so that /info can name its machinery. They are no part of
# its identity: both change with every release of the machinery, and a change elsewhere
# in it must not roll out a server whose code is the same. That server goes on naming
# the machinery that it was released with, which is true.
STATED = ("mlgitops/VERSION", "mlgitops/SHA256SUMS")


@dataclass(frozen=True)
class Server:
    """A server's code: a commit that has it, and the hash of its files."""

    commit: str
    sha256: str


def at(commit: str) -> Server:
    """Return the server at a commit, under the newest commit that changed it."""
    here = git.resolve(commit)
    newest = git.run("log", "-1", "--format=%H", here, "--", *PATHS)
    unchanged = newest and server_code.files(newest) == server_code.files(here)
    return Server(newest if unchanged else here, server_code.sha256(here))


def of(record: Record) -> Server:
    """Return the server of a release's record.

    Raises:
        ReleaseError: the record names none.
    """
    try:
        code = record["server"]
        return Server(code["commit"], code["sha256"])
    except (KeyError, TypeError):
        what = f"{record.get('action')} of {record.get('tag')}"
        raise ReleaseError(f"the ledger's record ({what}) names no server") from None


def release(version: Version, code: Server, image: str | None) -> Record:
    """Return a release as its record names it: all that decides what a target runs."""
    return {**asdict(version), "server": asdict(code), "image": image}


def identity(record: Record) -> tuple[str, str]:
    """Return what makes a release another one: its manifest and its server."""
    return record["manifest_sha256"], of(record).sha256


def replaced(record: Record, successor: Record) -> bool:
    """Tell whether a record's release is the one that a later record replaced."""
    return identity(record) == (successor["previous"], successor["previous_server"])


def last(ledger: Ledger, environment: str, version: Version) -> Record | None:
    """Return the release by which a version is brought back to an environment.

    The one that ran there last; for the version that runs now, the one with the server
    before. What was taken back does not count.
    """
    champion = ledger.champion(environment)
    for name in (environment, *ledger.environments()):
        history = ledger.history(name)
        undone = [record for record in history if withdraws(record)]
        for record in reversed(history):
            if (
                record["manifest_sha256"] == version.manifest_sha256
                and record["state"] != "failed"
                and not any(
                    replaced(record, successor)
                    for successor in undone
                    if successor["seq"] > record["seq"]  # it may have returned since
                )
                and not (champion and identity(record) == identity(champion))
            ):
                return record
    return None
