"""Runs the workflow `train` for the current branch on this machine: `make act`.

The unchanged workflow file goes through act in host mode, without a container and
without a token, in a clean clone of what is committed: what you have not committed
is not part of it, as on GitHub.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from ops import git

WORKFLOW = ".github/workflows/train.yml"


def event(base: str, head: str, branch: str) -> dict[str, object]:
    """Return the part of GitHub's `pull_request` event that `train` reads."""
    repository = {"full_name": "local/local", "default_branch": "main"}
    return {
        "action": "synchronize",
        "number": 1,
        "repository": repository,
        "pull_request": {
            "number": 1,
            "head": {"ref": branch, "sha": head, "repo": repository},
            "base": {"ref": "main", "sha": base, "repo": repository},
        },
    }


def main() -> None:
    """Clone, write the event, run act; exit as act does."""
    try:
        head, base = git.run("rev-parse", "HEAD"), git.run("rev-parse", "main")
        branch = git.run("rev-parse", "--abbrev-ref", "HEAD")
    except git.GitError as error:
        raise SystemExit(f"{error}: make act needs a branch `main`") from error
    with TemporaryDirectory(prefix="act-") as folder:
        sys.exit(run(Path(folder), event(base, head, branch)))


def run(folder: Path, payload: dict[str, object]) -> int:
    """Run act in a clone inside `folder` and return its exit code."""
    clone = folder / "clone"
    git.run("clone", "--quiet", ".", str(clone))
    git.run("remote", "set-url", "origin", str(Path.cwd()), cwd=clone)
    (folder / "event.json").write_text(json.dumps(payload))
    command = (
        "act",
        "pull_request",
        f"--workflows={WORKFLOW}",
        f"--eventpath={folder / 'event.json'}",
        f"--artifact-server-path={folder / 'artifacts'}",
        "--artifact-server-addr=127.0.0.1",
        "--platform=ubuntu-latest=-self-hosted",
        "--pull=false",
    )
    return subprocess.run(command, cwd=clone).returncode


if __name__ == "__main__":
    main()
