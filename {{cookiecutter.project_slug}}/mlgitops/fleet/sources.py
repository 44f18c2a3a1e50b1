"""Fetches the ledgers of other repositories: one branch of each, into a scratch folder.

Nothing is checked out, and nothing of theirs is run. GH_TOKEN is only ever sent to the
GitHub that it is for, whatever addresses are named.
"""

import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mlgitops import git, github
from mlgitops.fleet import FleetError
from mlgitops.ledger import BRANCH, Ledger
from mlgitops.storage import masked

TRACKED = f"refs/remotes/origin/{BRANCH}"
BRANCHES = (f"refs/heads/{BRANCH}", TRACKED)  # a clone without origin has the second
SLOW = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=30")  # bytes, seconds
AT_ONCE = 8  # ledgers that are fetched side by side
PAUSE = 2.0  # seconds before the only second try


@dataclass(frozen=True)
class Source:
    """A repository as it was named, and its ledger or why it cannot be read."""

    address: str  # without logins: it is shown
    ledger: Ledger | None = None
    problem: str = ""


def fetch_all(addresses: Iterable[str], scratch: Path) -> list[Source]:
    """Fetch the ledger of each address, in their order; the same one counts once."""
    distinct = list(dict.fromkeys(address.rstrip("/") for address in addresses))
    folders = [scratch / f"{number:04}" for number in range(len(distinct))]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(fetch, distinct, folders))


def fetch(address: str, scratch: Path) -> Source:
    """Fetch one ledger: of a local folder that of its origin, where it has one."""
    shown = masked(address)
    try:
        git.run("init", "-q", "--bare", str(scratch))
        folder = Path(address)
        if address.startswith("-") or not address:
            raise FleetError(f"{address!r} is neither a folder nor an address")
        if folder.is_dir():
            _fetch_local(folder, scratch)
        else:
            _fetch(address, BRANCHES[:1], scratch, Path())
        return Source(shown, Ledger(scratch))
    except (git.GitError, FleetError, OSError) as error:
        return Source(shown, problem=_sentence(error, address, scratch))


def of_organisation(name: str, topic: str) -> list[str]:
    """Return the addresses of an organisation's repositories with a topic, sorted.

    Of a person's account GitHub lists the public ones. Archived ones are left out:
    nothing of theirs runs any more.

    Raises:
        GitHubError: GitHub did not list them.
        FleetError: none has the topic.
    """
    try:
        listed = github.pages(f"/orgs/{name}/repos")
    except github.GitHubError as error:
        if error.status != 404:
            raise
        listed = github.pages(f"/users/{name}/repos")
    chosen = [r for r in listed if topic in r["topics"] and not r["archived"]]
    if not chosen:
        raise FleetError(
            f"none of the {len(listed)} repositories of {name} that this login sees "
            f"has the topic {topic}: add it with `gh repo edit --add-topic {topic}`"
        )
    return sorted(str(repository["clone_url"]) for repository in chosen)


def _fetch_local(folder: Path, scratch: Path) -> None:
    """Fetch the ledger of a folder's origin, else the folder's own."""
    if git.run("rev-parse", "--show-cdup", cwd=folder, check=False) or not git.run(
        "rev-parse", "--git-dir", cwd=folder, check=False
    ):
        raise FleetError(f"{folder} is not the top folder of a git repository")
    origin = git.run("config", "--get", "remote.origin.url", cwd=folder, check=False)
    if origin:
        _fetch(origin, BRANCHES[:1], scratch, folder)
    else:
        _fetch(str(folder.resolve()), BRANCHES, scratch, folder)


def _fetch(address: str, refs: Iterable[str], scratch: Path, cwd: Path) -> None:
    """Fetch the first of these refs that exists; a missing ledger is an empty one."""
    for ref in refs:
        arguments = ("--no-tags", "--", address, f"+{ref}:{TRACKED}")
        try:
            return _patiently((*_login(), *SLOW, *_into(scratch), *arguments), cwd)
        except git.GitError as error:
            if git.ABSENT not in str(error):
                raise


def _into(scratch: Path) -> tuple[str, ...]:
    """Return the command that fetches into a folder, from wherever it is started."""
    return (f"--git-dir={scratch.resolve()}", "fetch", "-q")


def _login() -> tuple[str, ...]:
    """Return how git finds GH_TOKEN, for GitHub alone."""
    if not os.environ.get("GH_TOKEN"):
        return ()
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    key = f"credential.{server}.helper"
    return ("-c", f"{key}=", "-c", f"{key}={git.CREDENTIALS}")


def _patiently(command: tuple[str, ...], cwd: Path) -> None:
    """Run git; a second time where the remote failed for the moment."""
    try:
        git.run(*command, cwd=cwd)
    except git.GitError as error:
        if not git.BROKE_OFF.search(str(error)):
            raise
        time.sleep(PAUSE)
        git.run(*command, cwd=cwd)


def _sentence(error: Exception, address: str, scratch: Path) -> str:
    """Return an error on one line, without a login or a scratch folder in it."""
    text = str(error).replace(address, masked(address)).replace(str(scratch), "scratch")
    return masked(" ".join(text.split()))
