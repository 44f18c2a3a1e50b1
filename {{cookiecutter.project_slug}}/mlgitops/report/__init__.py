"""The validation report: one Markdown text that a reviewer can decide from.

Facts in, text out: here, and only here, a number becomes words. Whatever a person or a
data set wrote passes through `text`; charts hold nothing but our own words and numbers.
"""

from mlgitops.report.facts import Build, Facts, Setting, State
from mlgitops.report.render import LIMIT, MARKER, render
from mlgitops.report.sections.record import all_checks, allowed, pairs, value
from mlgitops.report.text import code, details, interval, number, plain, table, text

__all__ = [
    "LIMIT",
    "MARKER",
    "Build",
    "Facts",
    "Setting",
    "State",
    "all_checks",
    "allowed",
    "code",
    "details",
    "interval",
    "number",
    "pairs",
    "plain",
    "render",
    "table",
    "text",
    "value",
]
