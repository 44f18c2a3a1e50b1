"""Turns a folder that was just generated into a repository, once: `make setup`.

It starts git, lets DVC track the data, makes the first commit and installs the
pre-commit hooks. Whatever is there already is left as it is.
"""

import os
import subprocess
from pathlib import Path

from mlgitops import git, lock, storage

# Used for the first commit only, and only where git knows nobody.
NOBODY = ("-c", "user.name=setup", "-c", "user.email=setup@localhost")


def start_git() -> bool:
    """Make the folder a git repository with a branch `main`, if it is none."""
    if Path(".git").exists():
        return False
    git.run("init", "--quiet", "--initial-branch=main")
    return True


def track_data() -> list[str]:
    """Let DVC track each data file that has no pointer; return their names."""
    files = [f for name in lock.FOLDERS for f in sorted(Path(name).glob("*.parquet"))]
    new = [file for file in files if not Path(f"{file}.dvc").exists()]
    for file in new:
        storage.add(file)
    return [file.name for file in new]


def absent_data() -> list[str]:
    """Return the data files that a pointer names and that are not here."""
    return [path for path in lock.pointers() if not Path(path).exists()]


def first_commit() -> bool:
    """Commit everything, if the repository has no commit yet."""
    if git.run("rev-parse", "--quiet", "--verify", "HEAD", check=False):
        return False
    git.run("add", "--all")
    known = git.run("var", "GIT_AUTHOR_IDENT", check=False)
    email = git.run("config", "user.email", check=False)
    somebody = bool(known and (email or os.environ.get("GIT_AUTHOR_EMAIL")))
    who = () if somebody else NOBODY
    git.run(*who, "commit", "--quiet", "--no-verify", "-m", "Start from the template")
    if not somebody:
        print(
            "The first commit is by `setup`, as git does not know you yet: "
            "type `git config user.name` and `git config user.email` with your own."
        )
    return True


def install_hooks() -> bool:
    """Let pre-commit look at each commit, if no hook is there yet."""
    hooks = Path(git.run("rev-parse", "--git-path", "hooks"))
    if (hooks / "pre-commit").exists() or git.run(
        "config", "core.hooksPath", check=False
    ):
        return False
    subprocess.run(("pre-commit", "install"), check=True, capture_output=True)
    return True


def main() -> None:
    """Do what is not done yet, and say what that was."""
    try:
        done = [
            "git started" if start_git() else "",
            f"tracked {', '.join(names)}" if (names := track_data()) else "",
            "first commit made" if first_commit() else "",
            "commit hooks installed" if install_hooks() else "",
        ]
        absent = absent_data()
    except (git.GitError, storage.StorageError, lock.LockError) as error:
        raise SystemExit(f"make setup stopped: {error}") from error
    print("; ".join(filter(None, done)) or "Everything was set up already.")
    if absent:
        print(f"Not here yet: {', '.join(absent)}. Type `make pull` to fetch.")
