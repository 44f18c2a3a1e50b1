"""Text of people and data made inert, and the pieces of Markdown around it."""

import html
import re
from collections.abc import Iterable, Sequence
from itertools import accumulate

from mlgitops.judgement import Compared, Gap, Prediction
from mlgitops.report.facts import Facts

PLAIN = set(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,.+=%/≥≤…→·–’"
)

NAMED_CLASSES = 12  # classes, or pairs of them, that a sentence names
BLOCK = re.compile(r"=|(\+|\d{1,9}[.)])( |$)")  # what starts a heading or a list


def text(value: object, limit: int = 120) -> str:
    """Return a stranger's text as inert Markdown: no markup, link, mention or break.

    At most ``limit`` letters, and at most three times as many once made inert. Text
    that is too long ends after a word, unless that would leave less than half of it.
    """
    line = " ".join(str(value)[: limit * 10].split())
    marks = list(map(_inert, line, f"{line[1:]} ", f" {line[:-1]}"))
    if BLOCK.match(line):
        marks[0] = f"&#{ord(line[0])};"
    end = sum(size <= 3 * limit for size in accumulate(map(len, marks[:limit])))
    if end < len(marks):
        word_end = line.rfind(" ", end // 2, end + 1)
        marks[end if word_end < 0 else word_end :] = "…"
    return "".join(marks).replace("www.", "www&#46;")


def code(value: object, limit: int = 80) -> str:
    """Return a stranger's text as inert inline code."""
    return f"<code>{text(value, limit)}</code>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells must be inert already. Without a row, nothing."""
    body = list(rows)
    lines = [header, ["---"] * len(header), *body] if body else []
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def details(title: str, body: str, unfolded: bool = False) -> str:
    """Return a section that can be folded, and is at first unless ``unfolded``."""
    tag = "<details open>" if unfolded else "<details>"
    return f"{tag}\n<summary>{title}</summary>\n\n{body}\n\n</details>"


def number(value: float | None, sign: str = "") -> str:
    """Return a metric for people; a difference with the sign ``+``."""
    return "none" if value is None else f"{value:{sign}.4f}"


def interval(row: Compared | Gap, digits: int = 4) -> str:
    """Return the interval of a difference, or none."""
    if row.low is None or row.high is None:
        return "none"
    return f"{row.low:+,.{digits}f} to {row.high:+,.{digits}f}"


def grouping(facts: Facts) -> str:
    """Return whose rows count as one in the intervals, where somebody's do."""
    entity = facts.judgement.entity
    return f" by {text(entity.column, 40)}," if entity else ""


def primary_label(facts: Facts) -> str:
    """Return the name of the primary metric."""
    metric = facts.judgement.primary_metric
    return text(metric.label, 40) if metric else "the primary metric"


def shares(classes: Sequence[tuple[str, float, float]]) -> str:
    """Return each class's two shares, of not too many classes."""
    rows = classes[:NAMED_CLASSES]
    return ", ".join(f"{code(name)} {a:.1%} → {b:.1%}" for name, a, b in rows)


def prediction(predicted: Prediction) -> str:
    """Return a prediction for people: a number, or a class and its probability."""
    if predicted.name:
        return f"{code(predicted.name)} {predicted.value:.3f}"
    return rounded(predicted.value)


def rounded(value: float) -> str:
    """Return a number in the target's unit, with three digits or with thousands."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.1f}"


def plain(markdown: str) -> str:
    """Return a report for a terminal: no HTML, no charts, every word as it reads."""
    lines = re.sub(r"```mermaid\n.*?```\n*", "", markdown, flags=re.DOTALL)
    lines = re.sub(r"<summary>(.*?)</summary>", r"### \1", lines)
    lines = re.sub(r"</?(details|sub|code)>\n*", "", lines)
    lines = html.unescape(lines).replace("\xa0", " ").replace("\u200b", "")
    return re.sub(r"\n{3,}", "\n\n", lines)


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
