"""Uploads the data that the .dvc pointers track to storage.

    python -m mlgitops push        (make push)

Not what the stages build: CI builds that itself, and stores what passed. But objects of
the version that HEAD builds, which storage has lost, are sent back where they are here.
"""

from pathlib import Path

from mlgitops import git, lock, storage
from mlgitops.commands.expected import expected_errors
from mlgitops.commands.pull import released_lock
from mlgitops.ledger import Ledger
from mlgitops.lock import Out
from mlgitops.storage import StorageError
from mlgitops.store import owner


def main() -> None:
    """Push and print a summary."""
    with expected_errors():
        print(send([*lock.pointers().values()]))
        if restored := lost(Ledger()):
            _claim(restored)
            storage.push({Path(out.path): out for out in restored})
            print(f"push: {lock.objects(len(restored))} of a version sent back")


def lost(ledger: Ledger) -> list[Out]:
    """Return what storage lacks of the version that HEAD builds, and is here whole."""
    data = released_lock(ledger)
    outs = lock.parse(data).outs if data else ()
    here = [out for out in outs if Path(out.path).is_file() and storage.unchanged(out)]
    return storage.missing(here)


def _claim(outs: list[Out]) -> None:
    """Write this repository's name into storage, unless it has all of this already.

    Raises:
        StorageError: it cannot be written, as with a login that only reads.
    """
    try:
        if outs:
            owner.claim_here()
    except StorageError:
        if storage.missing(outs):
            raise


def send(outs: list[Out]) -> str:
    """Upload the files that are here; return a summary.

    Raises:
        StorageError: a file is neither here nor in storage, so it may be lost; or it
            was changed here since it was tracked.
    """
    if changed := " ".join(out.path for out in outs if not storage.unchanged(out)):
        raise StorageError(
            f"changed here since it was tracked: {changed}. Type `dvc add {changed}` "
            "and commit what that changes, then `make push` again"
        )
    present = {Path(out.path): out for out in outs if Path(out.path).is_file()}
    _claim([*present.values()])
    storage.push(present)
    elsewhere = [out for out in outs if Path(out.path) not in present]
    if lost := storage.missing(elsewhere):
        names = ", ".join(out.path for out in lost)
        raise StorageError(
            f"sent {len(present)} of {lock.objects(len(outs))}; neither here nor in "
            f"storage: {names}. Run `make push` on the machine that has them."
        )
    summary = f"push: {lock.objects(len(present))} sent, storage is {storage.url()}"
    if elsewhere:
        summary += f"; {len(elsewhere)} more already stored"
    if storage.branch_folder() and not git.has_remote():
        summary += ", on this machine only: push again once there is an `origin`"
    return summary
