"""Reads what a stranger sent once in a child, before the judge reads it itself.

    python -m mlgitops.judge.intake unpack ZIP FOLDER LIMIT
    python -m mlgitops.judge.intake identify FOLDER TREE

A file that its parser cannot bear (a bomb, a number of a million digits, a crash in C)
ends the child, at its limits of time and memory, and that is a refusal. What the child
has borne is bounded: the judge reads the same bytes by the same functions after it.
"""

import sys
from functools import partial
from pathlib import Path

from mlgitops import git, lock, recipe
from mlgitops.judge import artifact, cautions, identity, sandbox
from mlgitops.judgement import Refused
from mlgitops.lock import LockError

MEMORY = 4_000_000_000  # bytes of address space
SECONDS = 120


def unpack(data: Path, folder: Path, limit: int) -> None:
    """Let a child unpack an artifact.

    Raises:
        Refused: it did not bear it.
    """
    sandbox.run("artifact", __name__, "unpack", data, folder, str(limit))


def identify(folder: Path, tree: str) -> None:
    """Let a child compare the unpacked artifact with the proposal's tree.

    Raises:
        Refused: it did not bear it.
    """
    sandbox.run("manifest", __name__, "identify", folder, tree)


def _unpack(file: str, folder: str, limit: str) -> None:
    """Unpack, and read what is parsed before the proposal is known."""
    artifact.unpack(Path(file).read_bytes(), Path(folder), int(limit))
    artifact.read_build(Path(folder))


def _identify(folder: str, tree: str) -> None:
    """Read the files of the proposal and of the artifact in the judge's order."""
    data, read_file = Path(folder, "dvc.lock").read_bytes(), partial(git.show, tree)
    cautions.settings_changed(read_file("params.yaml"))
    pointers = lock.pointers(tree)
    recipe.at(tree)
    identity.identify(Path(folder), lock.parse(data), read_file)
    identity.raw_data(data, pointers)


def main() -> None:
    """Confine this process, then read; a refusal is left to the judge to find."""
    name, *arguments = sys.argv[1:]
    allowed = int(arguments[-1]) if name == "unpack" else 0  # bytes of the artifact
    largest = max(sandbox.LARGEST, allowed)
    sandbox.confine(MEMORY + 2 * allowed, SECONDS, largest)
    try:
        if name == "unpack":
            _unpack(*arguments)
        else:
            _identify(*arguments)
    except (Refused, LockError):
        pass
    except Exception as error:  # whatever a parser raises for what it does not expect
        lines = str(error).strip().splitlines() or [""]
        problem = f"it cannot be read: {type(error).__name__} {lines[0][:200]}"
        raise SystemExit(problem.strip()) from None
    sandbox.leave()


if __name__ == "__main__":
    main()
