"""What a CHANGELOG has that an earlier one had not; pure."""

import re
from collections.abc import Iterator
from typing import NamedTuple

HEADING = re.compile(r"#{2,} ")


class Entry(NamedTuple):
    """An item of a list, and the headings that it stands below."""

    headings: tuple[str, ...]
    text: str


def newer(before: str, after: str) -> str:
    """Return the items of ``after`` that ``before`` lacks, below their headings."""
    known = {entry.text for entry in _entries(before)}
    lines, written = list[str](), tuple[str, ...]()
    for entry in _entries(after):
        if entry.text in known:
            continue
        if entry.headings != written:
            lines += [""] * bool(lines)
            lines += [h for h in entry.headings if h not in written] + [""]
            written = entry.headings
        lines.append(entry.text)
    return "\n".join(lines)


def _entries(text: str) -> Iterator[Entry]:
    """Yield the items of a CHANGELOG, each with the lines that continue it."""
    headings, item = list[str](), list[str]()
    for line in [*text.splitlines(), "## "]:
        if item and not line.startswith("  "):
            yield Entry(tuple(headings), "\n".join(item))
            item = []
        if HEADING.match(line):
            level = len(line) - len(line.lstrip("#"))
            headings = [h for h in headings if len(h) - len(h.lstrip("#")) < level]
            headings.append(line)
        elif line.startswith("- "):
            item = [line]
        elif item:
            item.append(line)
