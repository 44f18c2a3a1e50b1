"""Which machinery is this, and is it as released? Exit 1 where it was modified.

python -m mlgitops machinery
"""

from mlgitops.machinery import machinery


def main() -> None:
    """Print version and state, then the files that differ."""
    found = machinery()
    print(found)
    for name in found.modified:
        print(f"  mlgitops/{name}")
    raise SystemExit(1 if found.modified else 0)
