"""Fetches everything that the working tree's lock and pointers name from storage.

python -m mlgitops pull        (make pull)
"""

from mlgitops import git, lock, storage


def main() -> None:
    """Pull and say so; an ordinary failure is one sentence."""
    try:
        outs = lock.named()
        storage.pull(outs)
        print(f"pull: {len(outs)} objects, storage is {storage.url()}")
    except (storage.StorageError, git.GitError, lock.LockError) as error:
        raise SystemExit(str(error)) from error
