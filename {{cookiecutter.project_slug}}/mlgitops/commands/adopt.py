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
    data = built(head)
    judged(data, head)
    file = Path("dvc.lock")
    if file.is_file() and git.show("HEAD", "dvc.lock") == data:
        return "the lock that CI built is already committed"
    file.write_bytes(data)
    git.run("add", "dvc.lock")
    git.run("commit", "-q", "-m", "adopt the lock that CI built", "--", "dvc.lock")
    git.remote_run("push", "-q", _remote_of(pull), f"HEAD:refs/heads/{branch}")
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
    verdict = Ledger().verdict_on_lock(hashlib.sha256(data).hexdigest())
    if verdict is None:
        raise SystemExit("CI has not judged that lock yet: wait for `validate`")
    if verdict["head_sha"] != head:
        raise SystemExit("CI judged that lock for another commit: wait for `validate`")
    if not verdict["passed"]:
        raise SystemExit(f"the lock did not pass: {verdict['summary']}")


def _remote_of(pull: Mapping[str, Any]) -> str:
    """Return the remote of the branch: origin, or the address of its fork."""
    source, base = pull["head"].get("repo") or {}, pull["base"]["repo"]
    is_origin = source.get("full_name") in (None, base["full_name"])
    return "origin" if is_origin else str(source["clone_url"])
