"""Downloads every object of dvc.lock and the .dvc pointers from storage.

python -m mlgitops pull        (make pull)
"""

from mlgitops import lock, storage
from mlgitops.commands.expected import expected_errors


def main() -> None:
    """Pull and print a summary."""
    with expected_errors():
        outs = lock.tracked()
        storage.pull(outs)
        print(f"pull: {lock.objects(len(outs))}, storage is {storage.url()}")
