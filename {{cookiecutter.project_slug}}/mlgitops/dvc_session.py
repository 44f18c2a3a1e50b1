"""Is DVC for one `dvc repro` after another: DVC takes half a second to load.

Each line of stdin is a request: a token that nobody else knows, then arguments of
`dvc`. When that command has ended, the token and its exit code are written to stdout.
A stage reads nothing here: its stdin is empty.
"""

import os
import sys


def main() -> None:
    """Run one command after another, until stdin ends."""
    requests = os.fdopen(os.dup(0))
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    from dvc.cli import main as dvc

    for line in requests:
        token, *arguments = line.rstrip("\n").split("\t")
        code = dvc(arguments)
        sys.stderr.flush()
        print(f"{token}{code}", flush=True)


if __name__ == "__main__":
    main()
