"""Turns a newly generated folder into a repository: `make setup`.

It sets up git, lets DVC track the data, makes the first commit and installs the
pre-commit hooks. It changes nothing that exists already.
"""

import os
import subprocess
from pathlib import Path

from mlgitops import git, lock, storage
from mlgitops.commands.expected import expected_errors

# For the first commit only, and only where git has no user.name and user.email.
NOBODY = ("-c", "user.name=setup", "-c", "user.email=setup@localhost")


def start_git() -> bool:
    """Make the folder a git repository with a branch `main`, unless it is one."""
    if Path(".git").exists():
        return False
    git.run("init", "--quiet", "--initial-branch=main")
    return True


def track_data() -> list[str]:
    """Let DVC track each data file without a pointer; return their names."""
    files = [f for name in lock.FOLDERS for f in sorted(Path(name).glob("*.parquet"))]
    untracked = [file for file in files if not Path(f"{file}.dvc").exists()]
    for file in untracked:
        storage.add(file)
    return [file.name for file in untracked]


def first_commit() -> bool:
    """Commit everything, if the repository has no commit yet."""
    if git.run("rev-parse", "--quiet", "--verify", "HEAD", check=False):
        return False
    git.run("add", "--all")
    author = git.run("var", "GIT_AUTHOR_IDENT", check=False)
    email = git.run("config", "user.email", check=False)
    has_author = bool(author and (email or os.environ.get("GIT_AUTHOR_EMAIL")))
    commit = ("commit", "--quiet", "--no-verify", "-m", "Start from the template")
    git.run(*(() if has_author else NOBODY), *commit)
    if not has_author:
        print(
            "The author of the first commit is `setup`, as git does not know you: "
            "type `git config user.name NAME` and `git config user.email ADDRESS`."
        )
    return True


def install_hooks() -> bool:
    """Install the pre-commit hook, unless there is one."""
    hooks = Path(git.run("rev-parse", "--git-path", "hooks"))
    elsewhere = git.run("config", "core.hooksPath", check=False)
    if elsewhere or (hooks / "pre-commit").exists():
        return False
    subprocess.run(("pre-commit", "install"), check=True, capture_output=True)
    return True


def main() -> None:
    """Do what is missing, and print what was done."""
    with expected_errors("make setup failed: "):
        done = [
            "git initialised" if start_git() else "",
            f"tracked {', '.join(names)}" if (names := track_data()) else "",
            "first commit made" if first_commit() else "",
            "commit hooks installed" if install_hooks() else "",
        ]
        absent = [path for path in lock.pointers() if not Path(path).exists()]
    print("; ".join(filter(None, done)) or "Everything is already set up.")
    if absent:
        print(f"Missing data: {', '.join(absent)}. Type `make pull` to download it.")
