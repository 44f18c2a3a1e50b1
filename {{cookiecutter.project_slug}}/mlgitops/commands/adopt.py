"""Commits the lock that CI built for a pull request: `make adopt PR=7`.

The bytes of a trained model differ between types of processor. CI's build is the one
that was judged and will be deployed, so its lock is the one to merge.
"""

import hashlib
import io
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlgitops import git, github, train_run
from mlgitops.commands.expected import expected_errors
from mlgitops.ledger import Ledger

LARGEST = 1_000_000  # bytes of a lock


def main() -> None:
    """Adopt the lock of one pull request; a failure is one sentence."""
    number = " ".join(sys.argv[1:])
    if not (number.isascii() and number.isdecimal()):
        problem = "no pull request was named"
        if number:
            problem = f'"{number}" is not a pull request number'
        raise SystemExit(f"nothing was adopted: {problem}; type `make adopt PR=7`")
    with expected_errors("nothing was adopted: ", zipfile.BadZipFile, KeyError):
        print(adopt(int(number)))


def adopt(number: int) -> str:
    """Commit the judged lock to the branch and push it; return a sentence."""
    pull = github.api(f"pulls/{number}")
    head, branch = str(pull["head"]["sha"]), str(pull["head"]["ref"])
    if git.run("rev-parse", "HEAD") != head:
        raise SystemExit(
            f"HEAD is not the head of pull request {number} ({head[:12]}): check out "
            f"its branch, `git switch {branch} && git pull`, and repeat"
        )
    remote = _remote_of(pull, number)
    data = built(head)
    judged(data, head)
    file = Path("dvc.lock")
    if file.is_file() and git.show("HEAD", "dvc.lock") == data:
        return "the lock that CI built is already committed"
    file.write_bytes(data)
    git.run("add", "dvc.lock")
    git.run("commit", "-q", "-m", "adopt the lock that CI built", "--", "dvc.lock")
    git.remote_run("push", "-q", remote, f"HEAD:refs/heads/{branch}")
    return f"pull request {number} has the lock that CI built; CI judges it again"


def built(head: str) -> bytes:
    """Return the dvc.lock that the newest run of `train` for a commit uploaded."""
    run = train_run.newest(head)
    if run is None:
        raise SystemExit(
            f"`train` has not run for {head[:12]}: wait for it, then repeat"
        )
    artifact = train_run.artifact(run["id"])
    if artifact is None:
        raise SystemExit(
            "the run of `train` left no artifact: run it again, then repeat"
        )
    data = train_run.download(artifact["id"])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if archive.getinfo("dvc.lock").file_size > LARGEST:
            raise SystemExit("the dvc.lock in the artifact is too large")
        return archive.read("dvc.lock")


def judged(data: bytes, head: str) -> None:
    """Refuse a lock whose newest verdict is not a pass for this commit."""
    ledger, sha256 = Ledger(), hashlib.sha256(data).hexdigest()
    verdict = ledger.verdict_on_lock(sha256, head)
    if verdict is None:
        if ledger.verdict_on_lock(sha256) is None:
            raise SystemExit("CI has not judged that lock yet: wait for `validate`")
        raise SystemExit("CI judged that lock for another commit: wait for `validate`")
    if not verdict["passed"]:
        raise SystemExit(f"the lock did not pass: {verdict['summary']}")


def _remote_of(pull: Mapping[str, Any], number: int) -> str:
    """Return the remote of the branch: origin, or the address of its fork.

    A branch of a deleted fork may have the name of a branch of origin, such as main.
    """
    source, base = pull["head"].get("repo"), pull["base"]["repo"]
    if source is None:
        raise SystemExit(
            f"nothing was adopted: the fork of pull request {number} was deleted, so "
            "its branch cannot be pushed to: push your branch to this repository "
            "under a new name, and open a pull request from it"
        )
    if not github.to_default(pull):
        raise SystemExit(
            f"nothing was adopted: pull request {number} is to {pull['base']['ref']}, "
            f"and CI judges those to {base['default_branch']} only"
        )
    is_origin = source["full_name"] == base["full_name"]
    return "origin" if is_origin else str(source["clone_url"])
