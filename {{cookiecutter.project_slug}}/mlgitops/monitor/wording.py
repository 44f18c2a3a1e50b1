"""Numbers with their noun, singular or plural, and lists; pure."""

from collections.abc import Sequence

from mlgitops.monitor.evidence import LabelCounts, Rare, Unlogged

EXAMPLE = 40  # letters of a value that a message shows


def shown(text: str) -> str:
    """Return the start of a stranger's text, in one line that controls nothing."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line[:EXAMPLE]


def plural(number: int, noun: str) -> str:
    """Return such as "1 row" or "1,200 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(number: float, noun: str) -> str:
    """Return such as "1 day" or "3.5 days"."""
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"


def unmatched(counts: LabelCounts) -> str:
    """Say that no label belongs to a prediction, and how the ids differ."""
    return (
        f"0 of {plural(counts.labels, 'label')} match a prediction; the newest ids "
        f'look like "{counts.newest}" and "{counts.predicted}"'
    )


def unlogged(counts: Unlogged) -> str:
    """Say how many rows were answered and are not in the log."""
    return (
        f"{counts.rows:,} of {plural(counts.answered, 'answered row')} "
        f"({counts.share:.1%}) are not in the prediction log"
    )


def few(rare: Rare) -> str:
    """Say that performance rests on few rows of a class."""
    return f"only {rare.rows:,} of {rare.labels:,} labels {rare.where} are {rare.name}"


def listed(parts: Sequence[str]) -> str:
    """Return such as "temp, distance and carrier"."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
