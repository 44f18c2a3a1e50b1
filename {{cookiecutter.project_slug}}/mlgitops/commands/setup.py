"""Turns a newly generated folder into a repository: `make setup`.

It sets up git, lets DVC track the data, makes the first commit and installs the
pre-commit hooks. It changes nothing that exists already.
"""

import os
import subprocess
from pathlib import Path

from mlgitops import git, lock, storage
from mlgitops.commands.expected import expected_errors

MAIN = "main"
NEXT = (
    "Next: `make data FILE=customers.csv TARGET=churned` with a table of yours and the "
    "column to predict, or `make repro` to build the example's model."
)
# For the first commit only, and only where git has no user.name and user.email.
NOBODY = ("-c", "user.name=setup", "-c", "user.email=setup@localhost")


class SetupError(Exception):
    """This folder cannot be set up as it is: one sentence."""


def start_git() -> bool:
    """Make the folder a git repository with a branch `main`, unless it is one.

    Raises:
        SetupError: another repository tracks the files of this folder.
    """
    if Path(".git").exists():
        return False
    if outer := git.run("rev-parse", "--show-toplevel", check=False):
        if git.run("ls-files", "--", "."):
            raise SetupError(
                f"the repository {outer} tracks the files of this folder, and a model "
                "needs one of its own: move this folder out of it, or type `git rm -r "
                "--cached --quiet .` here and commit that, then type `make setup` again"
            )
        print(
            f"This folder is inside the repository {outer} and gets one of its own: "
            "list it in the .gitignore there."
        )
    git.run("init", "--quiet", f"--initial-branch={MAIN}")
    return True


def name_main() -> bool:
    """Call the branch `main` while it has no commit; say how, where it has some."""
    branch = git.run("symbolic-ref", "--short", "-q", "HEAD", check=False)
    if branch in (MAIN, ""):
        return False
    if not git.run("rev-parse", "-q", "--verify", "HEAD", check=False):
        git.run("symbolic-ref", "HEAD", f"refs/heads/{MAIN}")
        return True
    refs = (f"refs/heads/{MAIN}", f"refs/remotes/origin/{MAIN}")
    if not git.run("for-each-ref", *refs, check=False):
        print(
            f"The branch is called {branch}, and the workflows know {MAIN} only: type "
            f"`git branch -m {MAIN}`."
        )
    return False


def track_data() -> list[str]:
    """Let DVC track each data file without a pointer; return their names.

    Raises:
        SetupError: one is a folder, which no stage could read.
    """
    files = [f for name in lock.FOLDERS for f in sorted(Path(name).glob("*.parquet"))]
    if folder := next((file for file in files if file.is_dir()), None):
        raise SetupError(
            f"{folder} is a folder, not a single file: keep it elsewhere, such as "
            f"raw/{folder.name}, and type `make data FILE=raw/{folder.name} "
            "TARGET=COLUMN`, which makes one file of it"
        )
    untracked = [file for file in files if not Path(f"{file}.dvc").exists()]
    storage.add_all(untracked)
    return [file.name for file in untracked]


def first_commit() -> bool:
    """Commit everything, if the repository has no commit yet."""
    if git.run("rev-parse", "--quiet", "--verify", "HEAD", check=False):
        return False
    # A gitignore of the whole machine must not keep a file out that the project needs.
    git.run("-c", f"core.excludesFile={os.devnull}", "add", "--all")
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
    with expected_errors("make setup failed: ", SetupError):
        done = [
            "git initialised" if start_git() else "",
            f"branch called {MAIN}" if name_main() else "",
            f"tracked {', '.join(names)}" if (names := track_data()) else "",
            "first commit made" if (committed := first_commit()) else "",
            "commit hooks installed" if install_hooks() else "",
        ]
        absent = [path for path in lock.pointers() if not Path(path).exists()]
    print("; ".join(filter(None, done)) or "Everything is already set up.")
    if absent:
        print(f"Missing data: {', '.join(absent)}. Type `make pull` to download it.")
    if committed:
        print(NEXT)
