"""Texts that look alike and are not the same, as é in its two spellings; pure.

They differ in what is not drawn, or in white space. Letters of other alphabets, as
of the Cyrillic one, are not looked for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

UNSEEN = (  # not the joiners 200C and 200D nor the tags of flags: they change the shape
    "\u00ad\u034f\u115f\u1160\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
)
NOT_DRAWN = re.compile(f"[{UNSEEN}]")


def alike(texts: Iterable[str]) -> list[str]:
    """Return the first texts that look the same to a reader; none where all differ."""
    by_shape: dict[str, list[str]] = {}
    for text in texts:
        by_shape.setdefault(_drawn(text), []).append(text)
    return next((group for group in by_shape.values() if len(group) > 1), [])


def escaped(texts: Sequence[str]) -> str:
    """Return texts with each letter beyond ASCII by its number: what differs shows."""
    return " and ".join(ascii(text) for text in sorted(texts))


def _drawn(text: str) -> str:
    """Return what a reader sees: without what has no shape, and with plain blanks."""
    shown = unicodedata.normalize("NFC", NOT_DRAWN.sub("", text))
    return " ".join(shown.split())
