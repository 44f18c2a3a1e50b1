"""Opens what production leaves: the prediction log and the labels.

Either is a file, a folder, or anything that fsspec knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlgitops.settings import Monitor


class ProductionDataError(Exception):
    """The log or the labels cannot be trusted: one sentence, says what to fix."""


def lines(source: str, pattern: str) -> Iterator[str]:
    """Yield the lines of every file, in the files' order, that are not empty."""
    for _, file in files(source, pattern):
        yield from (line for line in file if line.strip())


def files(
    source: str, pattern: str, newest_first: bool = False
) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield (name, lines) of a file, or of each matching file in a folder or URL.

    Files are named by day: their names' order is that of time.

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


def check_shares(what: str, counts: Counter[str], limits: Monitor) -> None:
    """Refuse data of which too much cannot be used.

    Raises:
        ProductionDataError: more lines are corrupt or repeated than params.yaml allows.
    """
    most = {"corrupt": limits.max_corrupt, "duplicate": limits.max_duplicate}
    for kind, allowed in most.items():
        share = counts[kind] / max(counts["lines"], 1)
        if share > allowed:
            raise ProductionDataError(
                f"{counts[kind]:,} of {counts['lines']:,} lines of {what} are {kind} "
                f"({share:.1%}, at most {allowed:.0%} are allowed)"
            )


def _remote_files(
    source: str, pattern: str, newest_first: bool
) -> Iterator[tuple[str, Iterable[str]]]:
    """Do the same for anything that fsspec can open."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(source)
        one = system.isfile(path)
        paths = [path] if one else sorted(system.glob(f"{path}/{pattern}"))
        for name in reversed(paths) if newest_first else paths:
            with system.open(name, "rt", encoding="utf-8", errors="replace") as file:
                yield name.rsplit("/", 1)[-1], file
    except (OSError, ValueError, ImportError) as error:
        raise ProductionDataError(f"{source} cannot be read: {error}") from error
