"""The validation report: one Markdown text that a reviewer can decide from.

Facts in, text out. Whatever a person or a data set wrote passes through `text`;
charts hold nothing but our own words and numbers.
"""

from mlgitops.report.render import LIMIT, MARKER, render
from mlgitops.report.sections.record import all_checks, pairs
from mlgitops.report.text import code, details, interval, number, plain, table, text

__all__ = [
    "LIMIT",
    "MARKER",
    "all_checks",
    "code",
    "details",
    "interval",
    "number",
    "pairs",
    "plain",
    "render",
    "table",
    "text",
]
