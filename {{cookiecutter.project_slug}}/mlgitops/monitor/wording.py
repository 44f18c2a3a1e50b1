"""Numbers with their noun, singular or plural, and lists; pure."""

from collections.abc import Sequence


def plural(number: int, noun: str) -> str:
    """Return such as "1 row" or "1,200 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(number: float, noun: str) -> str:
    """Return such as "1 day" or "3.5 days"."""
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"


def listed(parts: Sequence[str]) -> str:
    """Return such as "temp, distance and carrier"."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
