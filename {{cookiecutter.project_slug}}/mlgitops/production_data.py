"""Opens the prediction log and the labels: a file, a folder, or a URL for fsspec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlgitops import storage
from mlgitops.settings import Monitor


class ProductionDataError(Exception):
    """The log or the labels cannot be used: one sentence, says what to fix."""


def lines(source: str, pattern: str) -> Iterator[str]:
    """Yield the lines of every file, in the files' order, that are not empty."""
    for _, file in files(source, pattern):
        yield from (line for line in file if line.strip())


def files(
    source: str, pattern: str, newest_first: bool = False
) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield (name, lines) of a file, or of each matching file in a folder or URL.

    File names contain the day, so that their order is that of time.

    Raises:
        ProductionDataError: there is no such file or folder, or it cannot be read.
    """
    if "://" in source:
        yield from _remote_files(source, pattern, newest_first)
        return
    path = Path(source)
    if not path.exists():
        raise ProductionDataError(f"{source} does not exist: correct PREDICTION_LOG")
    paths = [path] if path.is_file() else sorted(path.glob(pattern))
    for path in reversed(paths) if newest_first else paths:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            yield path.name, file


def check_shares(name: str, counts: Counter[str], limits: Monitor) -> None:
    """Refuse data with too many lines that cannot be used.

    Raises:
        ProductionDataError: more lines are corrupt or repeated than params.yaml allows.
    """
    max_shares = {"corrupt": limits.max_corrupt, "duplicate": limits.max_duplicate}
    for kind, allowed in max_shares.items():
        share = counts[kind] / max(counts["lines"], 1)
        if share > allowed:
            raise ProductionDataError(
                f"{counts[kind]:,} of {counts['lines']:,} lines of {name} are {kind} "
                f"({share:.1%}, at most {allowed:.0%} are allowed)"
            )


def _remote_files(
    source: str, pattern: str, newest_first: bool
) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the same of a URL."""
    try:
        system, path = storage.filesystem(source)
        is_file = system.isfile(path)
        paths = [path] if is_file else sorted(system.glob(f"{path}/{pattern}"))
        for name in reversed(paths) if newest_first else paths:
            with system.open(name, "rt", encoding="utf-8", errors="replace") as file:
                yield name.rsplit("/", 1)[-1], file
    except Exception as error:  # each kind of storage has its own
        raise ProductionDataError(f"{source} cannot be read: {error}") from error
