"""Changes some entries of a YAML file and leaves every other byte as it is; pure.

It knows files of nested blocks such as params.yaml: an entry is its line and the lines
below it that are further to the right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import yaml

WORD = re.compile(r"[a-z_]+")  # of which YAML makes no other text
DIGITS = re.compile(r"[-+.]?\d[\d_.,:eE+-]*")
LONG = 10**6  # letters of a line: nothing is folded


def scalar(value: object) -> str:
    """Return a value as YAML writes it on one line, in quotes where it has to be.

    It may stand in a list of `[a, b]`, where a comma would divide it. A text of digits
    is always in quotes: YAML 1.1 reads 0123 as a number and 0129 as a text.
    """
    if isinstance(value, str) and DIGITS.fullmatch(value):
        return f"'{value}'"
    text = yaml.safe_dump(
        [value],
        default_flow_style=True,
        allow_unicode=True,
        width=LONG,
        sort_keys=False,
    )
    return str(text).strip()[1:-1]


def find(lines: Sequence[str], path: Sequence[str]) -> tuple[int, int] | None:
    """Return the first line of an entry and the one after its last, or None."""
    start, end, depth = 0, len(lines), -1
    for key in path:
        for number in range(start, end):
            match = re.match(r"( *)(.+?):(?=\s|$)", lines[number])
            if match and len(match[1]) > depth and _is(match[2], key):
                indent = len(match[1])
                if indent != _indent(lines, start, end):
                    continue
                break
        else:
            return None
        after = number + 1
        while after < end and _within(lines[after], indent):
            after += 1
        start, end, depth = number + 1, after, indent
    while end > start and not lines[end - 1].strip():
        end -= 1
    return start - 1, end


def _is(written: str, key: str) -> bool:
    """Tell whether a key is written so."""
    if WORD.fullmatch(written) and written != key:
        return False  # as nearly always, and without a parser
    try:
        return bool(yaml.safe_load(written) == key or written == scalar(key))
    except yaml.YAMLError:
        return False


def _indent(lines: Sequence[str], start: int, end: int) -> int:
    """Return how far the entries of a block are to the right."""
    for line in lines[start:end]:
        if line.strip() and not line.lstrip().startswith("#"):
            return len(line) - len(line.lstrip(" "))
    return 0


def put(
    text: str, path: Sequence[str], entry: Sequence[str], instead: Sequence[str] = ()
) -> str:
    """Return the text with an entry's lines in place of those that it had.

    The lines are written without the indent of their block. An entry that is not there
    takes the place of `instead`, or is added at the end of its block.
    """
    lines = text.splitlines()
    found = find(lines, path) or (find(lines, instead) if instead else None)
    parent = find(lines, path[:-1]) if len(path) > 1 else (-1, len(lines))
    if parent is None:
        raise KeyError(".".join(path[:-1]))
    indent = _indent(lines, parent[0] + 1, parent[1])
    indent = indent if len(path) == 1 or indent else 2 * (len(path) - 1)
    start, end = found or (parent[1], parent[1])
    lines[start:end] = [" " * indent + line if line else "" for line in entry]
    return "\n".join(lines) + "\n"


def remove(text: str, path: Sequence[str]) -> str:
    """Return the text without an entry, and without the empty line after it."""
    lines = text.splitlines()
    if found := find(lines, path):
        start, end = found
        if end < len(lines) and not lines[end].strip() and len(path) == 1:
            end += 1
        del lines[start:end]
    return "\n".join(lines) + "\n"


def _within(line: str, indent: int) -> bool:
    """Tell whether a line belongs to the entry above; a list's items may stand below
    its key without more spaces."""
    text = line.lstrip(" ")
    start = len(line) - len(text)
    item = start == indent and text.startswith("- ")
    return item or start > indent or not text.strip()


def value(document: object, path: Sequence[str]) -> object:
    """Return the value at a path of a parsed file; None where there is none."""
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return None
        document = document[key]
    return document
