"""Text of people and data made inert, and the pieces of Markdown around it."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from mlgitops.judgement import Prediction
from mlgitops.report.facts import Facts

PLAIN = set(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,.+=%/≥≤…→·–’"
)

MIXED = 12  # classes, or pairs of them, that a sentence names
BLOCK = re.compile(r"=|\+ |\d{1,9}[.)]( |$)")  # what starts a heading or a list


class Interval(Protocol):
    """What has the interval of a difference, or none."""

    @property
    def low(self) -> float | None:
        """The lower end."""

    @property
    def high(self) -> float | None:
        """The upper end."""


def text(value: object, limit: int = 120) -> str:
    """Return a stranger's text as inert Markdown: no markup, link, mention or break.

    At most ``limit`` letters, and at most three times as many once made inert.
    """
    words = " ".join(str(value)[: limit * 10].split())
    marks = list(map(_inert, words, f"{words[1:]} ", f" {words[:-1]}"))
    if BLOCK.match(words):
        marks[0] = f"&#{ord(words[0])};"
    shown = min(len(marks), limit)
    while sum(map(len, marks[:shown])) > 3 * limit:
        shown -= 1
    cut = "…" if shown < len(marks) else ""
    return "".join(marks[:shown]).replace("www.", "www&#46;") + cut


def code(value: object, limit: int = 80) -> str:
    """Return a stranger's text as inert inline code."""
    return f"<code>{text(value, limit)}</code>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells must be inert already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def details(title: str, body: str, shown: bool = False) -> str:
    """Return a section that can be folded, and is at first unless it is ``shown``."""
    tag = "<details open>" if shown else "<details>"
    return f"{tag}\n<summary>{title}</summary>\n\n{body}\n\n</details>"


def number(value: float | None) -> str:
    """Return a metric for people."""
    return "none" if value is None else f"{value:.4f}"


def signed(value: float | None) -> str:
    """Return a difference for people."""
    return "none" if value is None else f"{value:+.4f}"


def interval(row: Interval, digits: int = 4) -> str:
    """Return the interval of a difference, or none."""
    if row.low is None or row.high is None:
        return "none"
    return f"{row.low:+,.{digits}f} to {row.high:+,.{digits}f}"


def by(facts: Facts) -> str:
    """Return whose rows count as one in the intervals, where somebody's do."""
    found = facts.found.entity
    return f" by {text(found.column, 40)}," if found else ""


def label(facts: Facts) -> str:
    """Return the name of the primary metric."""
    found = facts.found.primary_metric
    return text(found.label, 40) if found else "the primary metric"


def answer(found: Prediction) -> str:
    """Return an answer for people: a number, or a class and its probability."""
    return f"{code(found.name)} {found.value:.3f}" if found.name else size(found.value)


def size(value: float) -> str:
    """Return a number in a unit of its own for people."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.1f}"


def plain(markdown: str) -> str:
    """Return a report for a terminal: no HTML, no charts, every word as it reads."""
    words = re.sub(r"```mermaid\n.*?```\n*", "", markdown, flags=re.DOTALL)
    words = re.sub(r"<summary>(.*?)</summary>", r"### \1", words)
    words = re.sub(r"</?(details|sub|code)>\n*", "", words)
    words = html.unescape(words).replace("\xa0", " ").replace("\u200b", "")
    return re.sub(r"\n{3,}", "\n\n", words)


def _inert(letter: str, after: str, before: str) -> str:
    """Return one letter so that no renderer gives it a meaning."""
    if letter in PLAIN or (letter.isalpha() and letter.isprintable()):
        return letter
    if letter == "-" and before.isalnum():
        return letter
    if letter == ":" and after in " 0123456789":
        return letter
    if not letter.isprintable():
        return "\ufffd"
    mark = f"&#{ord(letter)};"
    return f"{mark}&#8203;" if letter in "@#:" else mark
