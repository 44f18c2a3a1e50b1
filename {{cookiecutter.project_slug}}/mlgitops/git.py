"""Runs git, with GH_TOKEN for the commands that talk to a remote."""

import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from tempfile import TemporaryFile
from typing import IO, cast

from mlgitops import git_tree

# The token stays in the environment: it is never on a command line or in a file.
CREDENTIALS = (
    '!f() { test "$1" = get && echo username=x-access-token'
    ' && echo "password=$GH_TOKEN"; }; f'
)

ABSENT = "couldn't find remote ref"  # what git prints for a branch that does not exist
# What it prints when somebody else pushed since the last fetch: seen here, or by the
# remote. Any other "[remote rejected]" is a rule or a hook of the remote, which would
# refuse again; only the reason in brackets tells, as a rule's own words may be any.
BRANCH_MOVED = re.compile(
    r"! \[rejected\]|! \[remote rejected\] \S+ -> \S+ \((?:cannot lock ref"
    r"|failed to update ref|incorrect old value|reference already exists"
    r"|atomic transaction fail)"
)
# What it prints when the remote failed or the line broke: it may work a moment later.
BROKE_OFF = re.compile(
    r"(?:HTTP|returned error:) (?:5\d\d|429)|early EOF|unexpected disconnect"
    r"|hung up unexpectedly|Connection reset"
)
BLOB = re.compile(rb"[0-9a-f]{40,64} blob \d+")  # before the bytes of a file
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before the next try
SILENT = 120  # seconds without a byte over http, after which a command fails
FULL = re.compile(
    r"[0-9a-f]{40}|[0-9a-f]{64}"
)  # a name that never means another object
OF_A_HOOK = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR"}
OF_A_HOOK |= {"GIT_OBJECT_DIRECTORY", "GIT_PREFIX"}
Folder = str | os.PathLike[str]


class GitError(Exception):
    """A git command failed; the message contains git's own error."""


def run(
    *args: str,
    cwd: Folder = ".",
    check: bool = True,
    data: bytes | None = None,
    env: dict[str, str] | None = None,
) -> str:
    """Run git and return what it printed, stripped.

    Raises:
        GitError: git exited with an error and ``check`` is set.
    """
    return _bytes(args, cwd, check, data, env).decode(errors="replace").strip()


def remote_run(*args: str, cwd: Folder = ".") -> str:
    """Run a git command that talks to a remote, with GH_TOKEN when it is set.

    It is tried again where the remote failed. A push whose answer was lost is refused
    the second time, as the branch has moved: who pushes looks what is there.
    """
    login = ("-c", "credential.helper=", "-c", f"credential.helper={CREDENTIALS}")
    whole = (*login, *args) if os.environ.get("GH_TOKEN") else args
    for pause in PAUSES:
        try:
            return run(*whole, cwd=cwd)
        except GitError as error:
            if not BROKE_OFF.search(str(error)):
                raise
        time.sleep(pause)
    return run(*whole, cwd=cwd)


def push(*args: str, cwd: Folder = ".") -> bool:
    """Push to origin; return False when another writer was faster.

    Raises:
        GitError: it failed for another reason.
    """
    try:
        remote_run("push", "-q", *args[:-1], "origin", args[-1], cwd=cwd)
    except GitError as error:
        if not BRANCH_MOVED.search(str(error)):
            raise
        return False
    return True


def show(ref: str, path: str, cwd: Folder = ".") -> bytes | None:
    """Return the bytes of a file at a commit, or None if it does not exist.

    Raises:
        GitError: something else than a file is there, such as a submodule.
    """
    if path == os.path.normpath(path) and "\n" not in path:
        asked = f"{ref}:{path}\n".encode()
        answer = _bytes(("cat-file", "--batch"), cwd, False, asked, None)
        header, _, data = answer.partition(b"\n")
        if BLOB.fullmatch(header):
            return data[:-1]
    listed = run("ls-tree", "--name-only", "-z", ref, "--", path, cwd=cwd, check=False)
    if listed != f"{path}\0":
        return None
    return _bytes(("show", f"{ref}:{path}"), cwd, True, None, None)


def show_all(ref: str, paths: Iterable[str], cwd: Folder = ".") -> dict[str, bytes]:
    """Return the bytes of many files of a commit by path, read by one process."""
    return dict(each(ref, paths, cwd))


def each(
    ref: str, paths: Iterable[str], cwd: Folder = "."
) -> Iterator[tuple[str, bytes]]:
    """Yield (path, bytes) of many files of a commit, in their order, by one process.

    Memory holds one file at a time, however many there are.

    Raises:
        GitError: the commit lacks one of them, or its name has a line's end.
    """
    names = list(paths)
    if not names:
        return
    if torn := next((name for name in names if "\n" in name), None):
        raise GitError(f"{ref} has a file with a name of several lines: {torn!r}")
    with TemporaryFile() as asked:
        asked.writelines(f"{ref}:{name}\n".encode() for name in names)
        asked.seek(0)
        with subprocess.Popen(
            ("git", "cat-file", "--batch"),
            cwd=cwd,
            env=_environment(cwd),
            stdin=asked,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            output = cast("IO[bytes]", process.stdout)
            for name in names:
                header = output.readline().split()
                if not header or header[-1] == b"missing":
                    raise GitError(f"{ref} has no {name}")
                data = output.read(int(header[-1]))
                output.read(1)  # the end of its line
                yield name, data


def commit(
    files: Mapping[str, bytes],
    message: str,
    author: str,
    parent: str | None = None,
    cwd: Folder = ".",
    date: str = "",
) -> str:
    """Return a new commit with these files, by path, on top of ``parent``'s tree.

    The working tree, the index and every branch stay as they are. With a date of its
    own, the same call always makes the same commit. The author "" is who git says.

    Raises:
        GitError: git refused, or a path cannot be that of a file there.
    """
    person = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", author), ("EMAIL", f"{author}@localhost"))
        if author
    }
    if date:
        person |= {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}

    def command(args: tuple[str, ...], data: bytes) -> bytes:
        return _bytes(args, cwd, True, data, None)

    try:
        tree = git_tree.write(files, parent, command)
    except git_tree.PathError as error:
        raise GitError(str(error)) from error
    base = ("-p", parent) if parent else ()
    return run("commit-tree", tree, *base, "-m", message, cwd=cwd, env=person)


def resolve(ref: str, cwd: Folder = ".") -> str:
    """Return the full name of a commit or tree: what it contains never changes.

    Raises:
        GitError: there is no such commit here.
    """
    return ref if FULL.fullmatch(ref) else run("rev-parse", "--verify", ref, cwd=cwd)


def has_remote(cwd: Folder = ".", name: str = "origin") -> bool:
    """Tell whether the repository has that remote."""
    return name in run("remote", cwd=cwd, check=False).split()


def fetch_branch(branch: str, cwd: Folder = ".") -> str | None:
    """Fetch one branch of origin; return its commit, or None if it does not exist."""
    ref = f"refs/remotes/origin/{branch}"
    if not has_remote(cwd):
        return run("rev-parse", "-q", "--verify", ref, cwd=cwd, check=False) or None
    spec = f"+refs/heads/{branch}:{ref}"
    try:
        remote_run("fetch", "-q", "--no-tags", "origin", spec, cwd=cwd)
    except GitError as error:
        if ABSENT in str(error):
            return None
        raise
    return run("rev-parse", ref, cwd=cwd)


def bring(commit: str, cwd: Folder = ".") -> None:
    """Fetch a commit unless it is here: that of a version's tag is on no branch."""
    kind = run("cat-file", "-t", f"{commit}^{{commit}}", cwd=cwd, check=False)
    if kind != "commit":
        remote_run("fetch", "-q", "--no-tags", "origin", commit, cwd=cwd)


def complete(branch: str, *also: str, cwd: Folder = ".") -> None:
    """Fetch all of one branch's history into a shallow clone.

    The same fetch brings the refs that match ``also``, patterns such as
    ``+refs/heads/x*:refs/remotes/origin/x*``; a pattern without a match is not an
    error. Other branches, such as a storage branch, are not fetched.
    """
    if run("rev-parse", "--is-shallow-repository", cwd=cwd, check=False) == "true":
        spec = f"+refs/heads/{branch}:refs/remotes/origin/{branch}"
        fetch = ("fetch", "-q", "--no-tags", "--unshallow")
        remote_run(*fetch, "origin", spec, *also, cwd=cwd)


def _bytes(
    args: tuple[str, ...],
    cwd: Folder,
    check: bool,
    data: bytes | None,
    env: dict[str, str] | None,
) -> bytes:
    """Run git and return its raw output."""
    surroundings = {**_environment(cwd), **(env or {})}
    done = subprocess.run(
        ("git", *args), cwd=cwd, input=data, capture_output=True, env=surroundings
    )
    if check and done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        verb = next((a for a in args if not a.startswith("-") and "=" not in a), "")
        raise GitError(f"git {verb} failed: {' '.join(lines) or done.returncode}")
    return done.stdout


def _environment(cwd: Folder) -> dict[str, str]:
    """Return what git is started with: it asks nothing, its errors are in English.

    A hook of git names its repository in variables, which hold for no other folder.
    """
    waits = {"GIT_HTTP_LOW_SPEED_LIMIT": "1", "GIT_HTTP_LOW_SPEED_TIME": str(SILENT)}
    hidden = OF_A_HOOK if os.path.normpath(cwd) != "." else ()
    own = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**waits, **own, "GIT_TERMINAL_PROMPT": "0", "LANGUAGE": "en"}
