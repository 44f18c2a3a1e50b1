"""Sends everything that the working tree's lock and pointers name to storage.

python -m mlgitops push        (make push)
"""

from pathlib import Path

from mlgitops import git, lock, storage
from mlgitops.lock import Out
from mlgitops.storage import StorageError


def main() -> None:
    """Push and say so; an ordinary failure is one sentence."""
    try:
        print(send(lock.named()))
    except (StorageError, git.GitError, lock.LockError) as error:
        raise SystemExit(str(error)) from error


def send(outs: list[Out]) -> str:
    """Send what is here and return what was done.

    Raises:
        StorageError: a file is neither here nor in storage, so it may be lost.
    """
    here = {Path(out.path): out for out in outs if Path(out.path).is_file()}
    storage.push(here)
    elsewhere = [out for out in outs if Path(out.path) not in here]
    if lost := storage.missing(elsewhere):
        names = ", ".join(out.path for out in lost)
        raise StorageError(
            f"sent {len(here)} of {len(outs)} objects; neither here nor in storage: "
            f"{names}. Run `make push` where they are, or `make repro` if they are "
            "built."
        )
    done = f"push: {len(here)} objects sent, storage is {storage.url()}"
    if elsewhere:
        done += f"; {len(elsewhere)} more were there"
    if storage.on_branch() and not git.has_remote():
        done += ", on this machine only: no `origin` yet, so push again when there is"
    return done
