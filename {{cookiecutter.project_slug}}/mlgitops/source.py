"""Opens the prediction log or the labels: a file, a folder, or an fsspec URL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlgitops.settings import Monitor


class FeedError(Exception):
    """The log or the labels cannot be used: one sentence that says what to fix."""


def lines(source: str, pattern: str) -> Iterator[str]:
    """Yield the lines of every file that are not empty, in the order of the files."""
    for _, lines in files(source, pattern):
        yield from (line for line in lines if line.strip())


def files(
    source: str, pattern: str, newest_first: bool = False
) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield (name, lines) of a file, or of each matching file in a folder or URL.

    Files are named by day, so the order of their names is the order of time.
    """
    if "://" in source:
        yield from _remote(source, pattern, newest_first)
        return
    path = Path(source)
    if not path.exists():
        raise FeedError(f"{source} does not exist: correct PREDICTION_LOG")
    paths = [path] if path.is_file() else sorted(path.glob(pattern))
    for file_path in reversed(paths) if newest_first else paths:
        with file_path.open(encoding="utf-8", errors="replace", newline="") as stream:
            yield file_path.name, stream


def believe(feed: str, counts: Counter[str], limits: Monitor) -> None:
    """Refuse a log or labels with too many unusable lines.

    Raises:
        FeedError: more lines are corrupt or repeated than params.yaml allows.
    """
    allowed = {"corrupt": limits.max_corrupt, "duplicate": limits.max_duplicate}
    for kind, limit in allowed.items():
        share = counts[kind] / max(counts["lines"], 1)
        if share > limit:
            raise FeedError(
                f"{counts[kind]:,} of {counts['lines']:,} lines of {feed} are {kind} "
                f"({share:.1%}, limit {limit:.0%})"
            )


def _remote(
    source: str, pattern: str, newest_first: bool
) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield (name, lines) of anything that fsspec can open."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(source)
        names = (
            [path] if system.isfile(path) else sorted(system.glob(f"{path}/{pattern}"))
        )
        for name in reversed(names) if newest_first else names:
            with system.open(name, "rt", encoding="utf-8", errors="replace") as file:
                yield name.rsplit("/", 1)[-1], file
    except (OSError, ValueError, ImportError) as error:
        raise FeedError(f"{source} cannot be read: {error}") from error
