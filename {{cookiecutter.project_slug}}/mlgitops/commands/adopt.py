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

from mlgitops import git, github
from mlgitops.ledger import Ledger, LedgerError

WORKFLOW = ".github/workflows/train.yml"
LARGEST = 1_000_000  # bytes of a lock
ERRORS = (git.GitError, github.GitHubError, LedgerError, zipfile.BadZipFile, KeyError)


def main() -> None:
    """Adopt the lock of one pull request; a failure is one sentence."""
    typed = " ".join(sys.argv[1:])
    if not (typed.isascii() and typed.isdecimal()):
        problem = "no pull request was named"
        if typed:
            problem = f'"{typed}" is not a pull request number'
        raise SystemExit(f"nothing was adopted: {problem}; type `make adopt PR=7`")
    try:
        print(adopt(int(typed)))
    except ERRORS as error:
        raise SystemExit(f"nothing was adopted: {error}") from error


def adopt(number: int) -> str:
    """Commit the judged lock to the branch and push it; return a sentence."""
    pull = github.api(f"pulls/{number}")
    head = str(pull["head"]["sha"])
    if git.run("rev-parse", "HEAD") != head:
        raise SystemExit(
            f"HEAD is not the head of pull request {number} ({head[:12]}): check out "
            f"its branch, `git switch {pull['head']['ref']} && git pull`, and repeat"
        )
    data = built(head)
    judged(data, head)
    file = Path("dvc.lock")
    if file.is_file() and git.show("HEAD", "dvc.lock") == data:
        return "the lock that CI built is already committed"
    file.write_bytes(data)
    git.run("add", "dvc.lock")
    git.run("commit", "-q", "-m", "adopt the lock that CI built", "--", "dvc.lock")
    git.remote_run(
        "push", "-q", _remote_of(pull), f"HEAD:refs/heads/{pull['head']['ref']}"
    )
    return f"pull request {number} has the lock that CI built; CI judges it again"


def built(head: str) -> bytes:
    """Return the dvc.lock that the newest run of `train` for a commit uploaded."""
    fields = {"event": "pull_request", "head_sha": head}
    runs = github.api("actions/runs", fields=fields)["workflow_runs"]
    runs = [run for run in runs if str(run["path"]).split("@")[0] == WORKFLOW]
    if not runs:
        raise SystemExit(
            f"`train` has not run for {head[:12]}: wait for it, then repeat"
        )
    newest = max(runs, key=lambda run: int(run["id"]))
    artifacts = github.api(f"actions/runs/{newest['id']}/artifacts")["artifacts"]
    named = [a for a in artifacts if a["name"] == "challenger" and not a["expired"]]
    if not named:
        raise SystemExit(
            "the run of `train` left no artifact: run it again, then repeat"
        )
    last = max(named, key=lambda artifact: int(artifact["id"]))
    data = github.api(f"actions/artifacts/{last['id']}/zip", raw=True)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if archive.getinfo("dvc.lock").file_size > LARGEST:
            raise SystemExit("the dvc.lock in the artifact is too large")
        return archive.read("dvc.lock")


def judged(data: bytes, head: str) -> None:
    """Refuse a lock whose newest verdict is not a pass for this commit."""
    lock_sha256 = hashlib.sha256(data).hexdigest()
    ledger = Ledger()
    records = [ledger.read(path) or {} for path in ledger.paths("verdicts/")]
    verdicts = [r for r in records if r.get("lock_sha256") == lock_sha256]
    newest = max(verdicts, key=lambda r: int(r["seq"]), default=None)
    if newest is None:
        raise SystemExit("CI has not judged that lock yet: wait for `validate`")
    if newest["head_sha"] != head:
        raise SystemExit("CI judged that lock for another commit: wait for `validate`")
    if not newest["passed"]:
        raise SystemExit(f"the lock did not pass: {newest['summary']}")


def _remote_of(pull: Mapping[str, Any]) -> str:
    """Return the remote of the branch: origin, or the address of its fork."""
    source, base = pull["head"].get("repo") or {}, pull["base"]["repo"]
    is_origin = source.get("full_name") in (None, base["full_name"])
    return "origin" if is_origin else str(source["clone_url"])
