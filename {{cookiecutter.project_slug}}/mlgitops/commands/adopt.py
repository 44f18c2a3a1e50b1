"""Takes over the lock that CI built for a pull request: `make adopt PR=7`.

Bytes of training differ a little between types of processor; what CI built is what
was judged and what is deployed, so its lock is the one to merge.
"""

import hashlib
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

from mlgitops import git, github
from mlgitops.ledger import Ledger, LedgerError

WORKFLOW = ".github/workflows/train.yml"
LARGEST = 1_000_000  # bytes of a lock
ERRORS = (git.GitError, github.GitHubError, LedgerError, zipfile.BadZipFile, KeyError)


def main() -> None:
    """Adopt the lock of one pull request; an ordinary failure is one sentence."""
    given = " ".join(sys.argv[1:])
    if not (given.isascii() and given.isdecimal()):
        what = f'"{given}" is no number of a pull request' if given else "which one?"
        raise SystemExit(f"nothing was adopted: {what}; type `make adopt PR=7`")
    try:
        print(adopt(int(given)))
    except ERRORS as error:
        raise SystemExit(f"nothing was adopted: {error}") from error


def adopt(number: int) -> str:
    """Commit the judged lock on top of the branch and push it; return what was done."""
    pull = github.api(f"pulls/{number}")
    head = str(pull["head"]["sha"])
    if git.run("rev-parse", "HEAD") != head:
        raise SystemExit(
            f"this is not the head of pull request {number} ({head[:12]}): check its "
            f"branch out, `git switch {pull['head']['ref']} && git pull`, and repeat"
        )
    data = built(head)
    judged(data, head)
    file = Path("dvc.lock")
    if file.is_file() and git.show("HEAD", "dvc.lock") == data:
        return "the lock that CI built is committed already"
    file.write_bytes(data)
    git.run("add", "dvc.lock")
    git.run("commit", "-q", "-m", "adopt the lock that CI built", "--", "dvc.lock")
    git.remote_run(
        "push", "-q", _source(pull), f"HEAD:refs/heads/{pull['head']['ref']}"
    )
    return f"pull request {number} has the lock that CI built; it is judged once more"


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
            raise SystemExit("the artifact's dvc.lock is too big to be one")
        return archive.read("dvc.lock")


def judged(data: bytes, head: str) -> None:
    """Refuse a lock whose newest verdict for this commit is not a pass."""
    found = hashlib.sha256(data).hexdigest()
    ledger = Ledger()
    records = [ledger.read(path) or {} for path in ledger.paths("verdicts/")]
    same = [r for r in records if r.get("lock_sha256") == found]
    newest = max(same, key=lambda r: int(r["seq"]), default=None)
    if newest is None:
        raise SystemExit("CI has not judged that lock yet: wait for `validate`")
    if newest["head_sha"] != head:
        raise SystemExit("CI judged that lock for another commit: wait for `validate`")
    if not newest["passed"]:
        raise SystemExit(f"the lock did not pass: {newest['summary']}")


def _source(pull: dict[str, Any]) -> str:
    """Return where the branch is: origin, or the fork it came from."""
    source, base = pull["head"].get("repo") or {}, pull["base"]["repo"]
    ours = source.get("full_name") in (None, base["full_name"])
    return "origin" if ours else str(source["clone_url"])
