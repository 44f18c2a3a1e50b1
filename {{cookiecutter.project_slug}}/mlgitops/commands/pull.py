"""Downloads every object of dvc.lock and the .dvc pointers from storage.

python -m mlgitops pull        (make pull)
"""

from mlgitops import git, lock, storage


def main() -> None:
    """Pull and print a summary; a failure is one sentence."""
    try:
        outs = lock.named()
        storage.pull(outs)
        print(f"pull: {lock.objects(len(outs))}, storage is {storage.url()}")
    except (storage.StorageError, git.GitError, lock.LockError) as error:
        raise SystemExit(str(error)) from error
