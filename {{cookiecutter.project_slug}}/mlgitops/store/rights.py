"""Tries what a login of storage may do, with one small object.

The object is written, read and deleted: settings can say much, and the bucket decides.
A login that may write, but not delete, is the better one: its object stays.
"""

import errno
import re
from dataclasses import dataclass
from secrets import token_hex
from textwrap import shorten

from mlgitops import git, login, storage
from mlgitops.storage import StorageError

READER = "config.reader"  # of .dvc: the login for what runs a proposal's code
PROBE = "mlgitops-probe-"
DENIAL = re.compile(
    r"(?i)\b(forbidden|access ?denied|permission denied|not authori[sz]ed)"
)
FAILURES = (Exception,)  # whatever the package of a cloud raises


@dataclass(frozen=True)
class Rights:
    """Why storage did not let an object be written, read or deleted; else nothing."""

    write: str = ""
    read: str = ""
    delete: str = ""
    path: str = ""
    denied: bool = False  # not written for want of the right, and for no other reason


def probe(local: str = storage.LOCAL) -> Rights:
    """Write, read and delete an object, by the login in a file of .dvc.

    Raises:
        StorageError: the login cannot be used at all.
    """
    if storage.branch_folder():
        return _of_branch()
    content = token_hex(16).encode()
    system, root = storage.filesystem(storage.url(), local)
    path = f"{root.rstrip('/')}/{PROBE}{content[:8].decode()}"
    try:
        if not storage.kind():
            system.makedirs(root, exist_ok=True)
        system.pipe_file(path, content)
    except FAILURES as error:
        return Rights(write=_why(error), path=path, denied=_is_denial(error))
    read = delete = ""
    try:
        if system.cat_file(path) != content:
            read = "other bytes came back than were written"
    except FAILURES as error:
        read = _why(error)
    try:
        system.rm_file(path)
    except FAILURES as error:
        delete = _why(error)
    return Rights("", read, delete, path)


def demand_reader() -> None:
    """Refuse to go on with a login of the workflows that may write.

    Raises:
        StorageError: it may, or that cannot be told: a failure for another reason than
            a missing right says nothing.
    """
    if not login.given():
        return
    probed = probe()
    if probed.write and not probed.denied:
        raise StorageError(
            "whether the login to storage that this run has may write cannot be tried, "
            f"so nothing of the proposal was run: {probed.write}"
        )
    if not probed.write:
        raise StorageError(
            "the login to storage that this run has may write, and this run executes "
            f"a proposal's code: set the variable {login.READ_ROLE} to a role, or the "
            f"secret {login.READ_LOGIN} to a login, that only reads"
        )


def _of_branch() -> Rights:
    """Try to push a commit with one file to a branch of its own, and delete it."""
    ref = f"refs/heads/{PROBE}{token_hex(4)}"
    tree = git.run("mktree", data=b"")
    identity = ("-c", "user.name=storage", "-c", "user.email=storage@localhost")
    commit = git.run(*identity, "commit-tree", "-m", "probe", tree)
    try:
        git.remote_run("push", "-q", "origin", f"{commit}:{ref}")
    except git.GitError as error:
        return Rights(write=_why(error), path=ref, denied=_is_denial(error))
    read = delete = ""
    try:
        if commit not in git.remote_run("ls-remote", "origin", ref):
            read = "the branch that was pushed is not there"
    except git.GitError as error:
        read = _why(error)
    try:
        git.remote_run("push", "-q", "origin", f":{ref}")
    except git.GitError as error:
        delete = _why(error)
    return Rights("", read, delete, ref)


def _is_denial(error: Exception) -> bool:
    """Tell whether storage refused for want of a right.

    fsspec makes it a PermissionError for S3, ssh and folders; Google's and Azure's
    packages have errors of their own, with the status of HTTP.
    """
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    return (
        isinstance(error, PermissionError)
        or str(status) in ("401", "403")
        or (isinstance(error, OSError) and error.errno == errno.EROFS)
        or bool(DENIAL.search(str(error)))
    )


def _why(error: Exception) -> str:
    """Return an error as one line, without a login."""
    text = " ".join(str(error).split()) or type(error).__name__
    return storage.masked(shorten(text, 200, placeholder=" ..."))
