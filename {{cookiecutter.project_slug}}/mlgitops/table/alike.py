"""Texts that look alike and are not the same, as é in its two spellings; pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

SELECTORS = range(0xFE00, 0xFE10)  # how an emoji is drawn


def alike(texts: Iterable[str]) -> list[str]:
    """Return the first texts that look the same to a reader; none where all differ."""
    by_shape: dict[str, list[str]] = {}
    for text in texts:
        by_shape.setdefault(_drawn(text), []).append(text)
    return next((group for group in by_shape.values() if len(group) > 1), [])


def spelt(texts: Sequence[str]) -> str:
    """Return texts with each letter beyond ASCII by its number: what differs shows."""
    return " and ".join(ascii(text) for text in sorted(texts))


def _drawn(text: str) -> str:
    """Return what a reader sees: without what has no shape, and with plain blanks."""
    shown = "".join(
        letter
        for letter in unicodedata.normalize("NFC", text)
        if unicodedata.category(letter) != "Cf" and ord(letter) not in SELECTORS
    )
    return " ".join(shown.split())
