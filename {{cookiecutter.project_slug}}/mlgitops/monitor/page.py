"""Writes a monitoring record as Markdown, and as HTML above Evidently's report."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlgitops.monitor import canary, shadow
from mlgitops.monitor.wording import plural
from mlgitops.report import table, text
from mlgitops.report.document import document

STATES = {True: "passed", False: "failed", None: "–"}
FACTS = ("on real requests", "value", "note")  # of a challenger
COLUMNS = ("check", "state", "value", "limit", "note")
STYLE = Path(__file__).with_name("page.css")
CAVEATS = "What this run cannot tell"
LONG = 1000  # characters of one cell

Record = Mapping[str, Any]


def markdown(record: Record) -> str:
    """Return the one-page summary."""
    parts = [f"# {_title(record)}", text(record["sentence"], LONG)]
    parts += [text(_examined(record), LONG), evidence(record)]
    parts += [text(line(record), LONG) for line in (_counts, false_alarms)]
    for title, facts in _challengers(record):
        rows = [[text(cell, LONG) for cell in row] for row in facts]
        title = text(title, LONG)
        parts.append(f"## {title}\n\n{table(FACTS, rows)}")
    if caveats := record.get("caveats"):
        items = "\n".join(f"- {text(caveat, LONG)}" for caveat in caveats)
        parts.append(f"## {CAVEATS}\n\n{items}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(record: Record) -> str:
    """Return the decision as a title."""
    decision = record["decision"]
    return f"Monitoring: {'nothing to do' if decision == 'none' else decision}"


def _challengers(record: Record) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return the title and the rows of each challenger that saw real requests."""
    sections = [
        ("Shadow", each, shadow.rows(each)) for each in record.get("shadow", ())
    ]
    if each := record.get("canary"):
        sections.append(("Canary", each, canary.rows(each)))
    return [
        (
            f"{kind}: {c['version'] or 'a challenger'} ({c['manifest_sha256'][:12]})",
            rows,
        )
        for kind, c, rows in sections
    ]


def evidence(record: Record) -> str:
    """Return the checks as a Markdown table; what a data set named is made inert."""
    rows = [[text(cell, LONG) for cell in _cells(c)] for c in record["checks"]]
    return table(COLUMNS, rows)


def false_alarms(record: Record) -> str:
    """Say how many false alarms to expect with these settings."""
    if not (alarms := record.get("false_alarms")):
        return ""
    return (
        f"False alarms: {alarms['rate']:.1%} of runs without drift, over all checks "
        f"together; {alarms['per_year']:.2g} expected a year."
    )


def page(record: Record, evidently: str) -> str:
    """Return Evidently's page with the summary on top, or the summary alone.

    ``evidently`` has a policy of its own, as it cannot do without scripts.
    """
    rows = "".join(
        f'<tr class="{STATES[c["passed"]]}">'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(c))
        + "</tr>"
        for c in record["checks"]
    )
    head = "".join(f"<th>{name}" for name in COLUMNS)
    lines = [record["sentence"], _examined(record), _counts(record)]
    lines.append(false_alarms(record))
    paragraphs = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
    title = _title(record)
    caveats = "".join(f"<li>{html.escape(c)}" for c in record.get("caveats") or [])
    summary = (
        f'<section class="monitor-summary"><h1>{html.escape(title)}</h1>{paragraphs}'
        f"<table><tr>{head}</tr>{rows}</table>"
        + "".join(_html(*challenger) for challenger in _challengers(record))
        + (f"<h2>{CAVEATS}</h2><ul>{caveats}</ul>" if caveats else "")
        + "</section>"
    )
    if not evidently:
        return document(title, summary, [STYLE])
    style = f"<style>{STYLE.read_text(encoding='utf-8')}</style>"
    named = f"<title>{html.escape(title)}</title>{style}"
    with_title = evidently.replace("</head>", f"{named}</head>", 1)
    return with_title.replace("<body>", f"<body>{summary}", 1)


def _html(title: str, facts: Iterable[Iterable[str]]) -> str:
    """Return what is known of a challenger as HTML."""
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in facts
    )
    head = "".join(f"<th>{name}" for name in FACTS)
    return f"<h2>{html.escape(title)}</h2><table><tr>{head}</tr>{rows}</table>"


def _cells(check: Record) -> list[str]:
    """Return a check as the cells of a row."""
    state = STATES[check["passed"]]
    return [check["name"], state, check["value"], check["limit"], check["note"]]


def _examined(record: Record) -> str:
    """Say which rows of which version were examined."""
    window = record["window"]
    version = f"Version {record['version']} ({record['manifest_sha256'][:12]})"
    if not window["until"]:
        return f"{version}."
    that = " that arrived" if window.get("by") == "arrival" else ""
    return (
        f"{version}, {plural(window['rows'], 'row')}{that} from "
        f"{window['from'][:10]} until "
        f"{window['until'][:10]}, {window['labels']:,} with a label."
    )


def _counts(record: Record) -> str:
    """Say how many lines were read and set aside."""
    parts = [f"{name}: {_count(counts)}" for name, counts in record["counts"].items()]
    return "Read: " + "; ".join(parts) + "." if parts else ""


def _count(counts: Mapping[str, int]) -> str:
    """Return the lines of one source by kind."""
    if "no file" in counts:
        return "no file yet"
    parts = [
        plural(number, "line") if kind == "lines" else f"{number:,} {kind}"
        for kind, number in counts.items()
    ]
    return ", ".join(parts) or "no lines"
