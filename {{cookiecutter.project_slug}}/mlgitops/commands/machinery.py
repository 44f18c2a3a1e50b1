"""Prints the version of mlgitops and its local changes; exit 1 if there are any.

python -m mlgitops machinery
"""

from mlgitops.machinery import machinery


def main() -> None:
    """Print version and state, then the files that differ."""
    state = machinery()
    print(state)
    for name in state.modified:
        print(f"  mlgitops/{name}")
    raise SystemExit(1 if state.modified else 0)
