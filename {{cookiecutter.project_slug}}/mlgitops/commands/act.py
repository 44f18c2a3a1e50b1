"""Runs the workflow `train` for the current branch on this machine: `make act`.

act runs the unchanged workflow file in host mode, without a container, a token or a
network, in a clean clone of the last commit: uncommitted changes are not part of it, as
on GitHub. Two of GitHub's actions are replaced: this machine's Python is used, and the
artifact that would be uploaded is written to build/act/.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import git, storage
from mlgitops.commands.expected import expected_errors
from mlgitops.train_run import WORKFLOW

KEPT = Path("build", "act")
USES = re.compile(r"uses: (actions/(?:setup-python|upload-artifact))@(\w+)")
STAND_IN = """\
name: stand-in
description: replaces one of GitHub's actions
inputs: {python-version: {default: ""}, path: {default: "."}, name: {default: ""},
  if-no-files-found: {default: ""}, retention-days: {default: ""}}
runs:
  using: composite
  steps: [{shell: bash, run: 'if test -n "$NAME"; then cp -R "$FROM/." "$ACT_KEPT"; fi',
    env: {NAME: "${{ inputs.name }}", FROM: "${{ inputs.path }}"}}]
"""


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
    """Clone, write the event, run act with the arguments; exit as act does."""
    with expected_errors(), TemporaryDirectory(prefix="act-") as folder:
        try:
            payload = clone(Path(folder))
        except git.GitError as error:
            problem = f"make act needs a commit and a branch `main`: {error}"
            raise git.GitError(problem) from error
        raise SystemExit(run(Path(folder), payload, sys.argv[1:]))


def clone(folder: Path) -> dict[str, object]:
    """Clone the merge of this branch with main into `folder`; return the event."""
    head, base = git.run("rev-parse", "HEAD"), git.run("rev-parse", "main")
    branch = git.run("rev-parse", "--abbrev-ref", "HEAD")
    path = folder / "clone"
    git.run("clone", "--quiet", "--branch=main", ".", str(path))
    git.run("remote", "set-url", "origin", origin(folder), cwd=path)
    if base != head:
        identity = ("-c", "user.name=act", "-c", "user.email=act@localhost")
        git.run(*identity, "merge", "--quiet", "--no-ff", "-m", "merge", head, cwd=path)
    if not (storage.branch_folder() and git.has_remote()):
        setting = f"['remote \"{storage.REMOTE}\"']\n    url = {storage.url()}\n"
        (path / ".dvc" / "config.local").write_text(setting)
    return event(base, head, branch)


def origin(folder: Path) -> str:
    """Return this repository's origin, or a bare clone in place of it."""
    if git.has_remote():
        return git.run("remote", "get-url", "origin")
    bare = folder / "origin.git"
    git.run("clone", "--quiet", "--bare", ".", str(bare))
    return str(bare)


def run(folder: Path, payload: dict[str, object], more: list[str]) -> int:
    """Run act in the clone and return its exit code."""
    (folder / "event.json").write_text(json.dumps(payload))
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    options = (
        f"--workflows={WORKFLOW}",
        f"--eventpath={folder / 'event.json'}",
        "--platform=ubuntu-latest=-self-hosted",
        "--use-gitignore=false",  # .dvc/config.local says where storage is
        f"--env=ACT_KEPT={KEPT.resolve()}",
        *stand_ins(folder),
    )
    command = ("act", "pull_request", *options, *more)
    code = subprocess.run(command, cwd=folder / "clone").returncode
    if code == 0:
        print(f"the artifact of `train` is in {KEPT}/")
    return code


def stand_ins(folder: Path) -> list[str]:
    """Write the replaced actions; return the arguments that let act find them."""
    (folder / "action").mkdir()
    (folder / "action" / "action.yml").write_text(STAND_IN)
    files = (folder / "clone" / ".github").rglob("*.yml")
    used = {f"{n}@{ref}" for file in files for n, ref in USES.findall(file.read_text())}
    return [f"--local-repository={name}={folder / 'action'}" for name in sorted(used)]
