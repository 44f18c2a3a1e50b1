"""Opens the files of a feed: a file, a folder, or anything that fsspec knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mlgitops.settings import Monitor


class FeedError(Exception):
    """The log or the labels cannot be believed: one sentence, says what to fix."""


def lines(source: str, pattern: str) -> Iterator[str]:
    """Yield the lines of every file, in the files' order, that are not empty."""
    for _, lines in files(source, pattern):
        yield from (line for line in lines if line.strip())


def files(
    source: str, pattern: str, newest_first: bool = False
) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield (name, lines) of a file, or of each matching file in a folder or URL.

    Files are named by day: their names' order is that of time.
    """
    if "://" in source:
        yield from _remote(source, pattern, newest_first)
        return
    place = Path(source)
    if not place.exists():
        raise FeedError(f"{source} does not exist: correct PREDICTION_LOG")
    found = [place] if place.is_file() else sorted(place.glob(pattern))
    for path in reversed(found) if newest_first else found:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            yield path.name, file


def believe(what: str, counts: Counter[str], limits: Monitor) -> None:
    """Refuse a feed of which too much cannot be used.

    Raises:
        FeedError: more lines are corrupt or repeated than params.yaml allows.
    """
    allowed = {"corrupt": limits.max_corrupt, "duplicate": limits.max_duplicate}
    for kind, most in allowed.items():
        share = counts[kind] / max(counts["lines"], 1)
        if share > most:
            raise FeedError(
                f"{counts[kind]:,} of {counts['lines']:,} lines of {what} are {kind} "
                f"({share:.1%}, allowed are {most:.0%})"
            )


def _remote(
    source: str, pattern: str, newest_first: bool
) -> Iterator[tuple[str, Iterable[str]]]:
    """Do the same for anything that fsspec can open."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(source)
        found = (
            [path] if system.isfile(path) else sorted(system.glob(f"{path}/{pattern}"))
        )
        for name in reversed(found) if newest_first else found:
            with system.open(name, "rt", encoding="utf-8", errors="replace") as file:
                yield name.rsplit("/", 1)[-1], file
    except (OSError, ValueError, ImportError) as error:
        raise FeedError(f"{source} cannot be read: {error}") from error
