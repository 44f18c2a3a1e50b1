"""Downloads the data that this branch names, and the model that belongs to it.

    python -m mlgitops pull        (make pull)

The model is the version that HEAD builds; where it builds none yet, that in production,
so that `make repro` runs only the stages that differ from it. Its dvc.lock is put here.
"""

from pathlib import Path

from mlgitops import git, lock, recipe, storage
from mlgitops.commands.expected import expected_errors
from mlgitops.ledger import Ledger
from mlgitops.lock import Lock


def main() -> None:
    """Pull and print a summary."""
    with expected_errors():
        version = version_lock(Ledger())
        outs = [*lock.pointers().values(), *(version.outs if version else ())]
        storage.pull(outs)
        print(f"pull: {lock.objects(len(outs))}, storage is {storage.url()}")


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
    """Return the dvc.lock of the version that HEAD builds, or None."""
    if not git.run("rev-parse", "-q", "--verify", "HEAD", check=False):
        return None
    released = ledger.released(recipe.at("HEAD"))
    return ledger.lock(str(released["lock_sha256"])) if released else None
