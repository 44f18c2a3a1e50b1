"""The words of a text, as training, server and edge bundle see them; pure.

There is one rule, and it looks at one character at a time, so that no text takes long.
Letters lose their case and their accents ("É" is "e", "ß" is "ss"). Letters, digits and
marks make words. A symbol such as an emoji is a word of its own, and so is each
character of a script that puts no spaces between words, such as Chinese. Whatever else
there is (all else of ASCII, punctuation, spaces, control characters, half characters)
ends a word. A graph that gets the words joined by single spaces needs to know nothing
of Unicode. Letters of Unicode 14 (Python 3.11) and older ones are the same in each
Python; of a newer one, an older Python knows no letter, and ends the word.

`serving/words.py` is a copy of `pipeline/words.py`, as a server has no `pipeline/`; a
test holds them equal.
"""

from __future__ import annotations

import unicodedata

MOST = 2_000  # words of a text that count: a graph takes room for each row's longest
LONGEST = 20_000  # characters that a contract may allow a text
ROWS = 1_000  # of a batch: a graph that splits texts takes room for rows times words
OPERATOR = "StringSplit"  # which such a graph has
ACCENTS = range(0x300, 0x370)  # marks above and below letters
STYLES = range(0xFE00, 0xFE10)  # of the character before, such as an emoji in colour
UNSPACED = (  # scripts without spaces between words
    range(0xE00, 0xF00),  # Thai, Lao
    range(0x1000, 0x10A0),  # Burmese
    range(0x1780, 0x1800),  # Khmer
    range(0x2E80, 0x3130),  # radicals, kana, bopomofo
    range(0x31A0, 0xA000),  # ideographs
    range(0x20000, 0x40000),
)
KEPT = 0x20000  # characters whose part of a word is remembered: at most some 20 MB


class _Parts(dict[int, str]):
    """What each character becomes, by its code; made when it is first asked for."""

    def __missing__(self, code: int) -> str:
        plain = unicodedata.normalize("NFKD", chr(code)).casefold()
        part = "".join(map(_part, unicodedata.normalize("NFKD", plain)))
        if code < KEPT:
            self[code] = part
        return part


PARTS = _Parts()


def words(text: str) -> str:
    """Return the words of a text, joined by single spaces; "" where there is none."""
    return " ".join(text.translate(PARTS).split()[:MOST])


def is_of_texts(model: bytes) -> bool:
    """Return whether an ONNX file splits texts, so that it takes `ROWS` at a time."""
    return OPERATOR.encode() in model


def _part(char: str) -> str:
    """Return what a character without case adds to a word, " " where it ends one."""
    code, kind = ord(char), unicodedata.category(char)
    if code in ACCENTS or code in STYLES or kind == "Cf":
        return ""
    if kind[0] not in "LMNS" or (kind[0] == "S" and code < 128):
        return " "  # of ASCII one character each, with which `translate` is fast
    alone = kind[0] == "S" or any(code in script for script in UNSPACED)
    return f" {char} " if alone else char
