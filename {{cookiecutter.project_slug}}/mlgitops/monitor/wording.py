"""Numbers with their noun, singular or plural; pure."""


def plural(number: int, noun: str) -> str:
    """Return such as "1 row" or "1,200 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(number: float, noun: str) -> str:
    """Return such as "1 day" or "3.5 days"."""
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"
