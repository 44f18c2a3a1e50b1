"""Downloads the data that this branch names, and the model that belongs to it.

    python -m mlgitops pull        (make pull)

The model is the version whose tag is checked out, or the one that HEAD builds; where it
builds none yet, that in production, so that `make repro` runs only the stages that
differ from it. Its dvc.lock is put here. Data that was changed here is left alone.
"""

from pathlib import Path

from mlgitops import git, lock, recipe, storage
from mlgitops.commands.expected import expected_errors
from mlgitops.ledger import Ledger
from mlgitops.lock import Lock, Out
from mlgitops.release import MAIN


def main() -> None:
    """Pull and print a summary."""
    with expected_errors():
        use_storage_of_main()
        data = [*lock.pointers().values()]
        keep_changed(data)
        version = version_lock(Ledger())
        outs = [*data, *(version.outs if version else ())]
        storage.pull(outs)
        print(f"pull: {lock.objects(len(outs))}, storage is {storage.url()}")


def use_storage_of_main() -> None:
    """Where a version is checked out, read storage where main has it: it may move.

    On a branch .dvc/config is what somebody works on, and is left alone.
    """
    at_version = git.run("tag", "--points-at", "HEAD", "--list", "*@v*", check=False)
    if not at_version or git.run("symbolic-ref", "-q", "HEAD", check=False):
        return
    config, file = git.show(f"origin/{MAIN}", ".dvc/config"), Path(".dvc", "config")
    if config is not None and file.read_bytes() != config:
        print("storage has moved since this version: reading it where main has it")
        file.write_bytes(config)


def keep_changed(data: list[Out]) -> None:
    """Refuse to replace data that is neither tracked nor stored.

    Raises:
        StorageError: a file has other bytes than its pointer.
    """
    if changed := [out.path for out in data if not storage.unchanged(out)]:
        names = " ".join(changed)
        raise storage.StorageError(
            f"{', '.join(changed)} was changed here, and would be replaced: type `dvc "
            f"add {names}` to keep the change, or `rm {names}` to drop it, then `make "
            "pull` again"
        )


def version_lock(ledger: Ledger) -> Lock | None:
    """Put the dvc.lock of HEAD's version, or of production's, here; return it."""
    data = released_lock(ledger)
    champion = ledger.champion()
    if data is None and champion:
        git.bring(champion["commit"])
        data = git.show(champion["commit"], "dvc.lock")
    if data is None:
        return None
    Path("dvc.lock").write_bytes(data)
    return lock.parse(data)


def released_lock(ledger: Ledger) -> bytes | None:
    """Return the dvc.lock of the version that HEAD is, or builds, or None."""
    if not git.run("rev-parse", "-q", "--verify", "HEAD", check=False):
        return None
    if git.run("tag", "--points-at", "HEAD", "--list", "*@v*"):
        return git.show("HEAD", "dvc.lock")
    released = ledger.released(recipe.at("HEAD"))
    return ledger.lock(str(released["lock_sha256"])) if released else None
