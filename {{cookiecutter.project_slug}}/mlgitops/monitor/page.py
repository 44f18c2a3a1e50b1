"""Writes a monitoring record as Markdown, and as HTML above Evidently's report."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from mlgitops.report import table, text

MARKS = {True: "ok", False: "look", None: "pending"}
COLUMNS = ("check", "state", "value", "limit", "meaning")
STYLE = """<style>
.ours{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;
padding:0 1rem}
.ours table{border-collapse:collapse;display:block;overflow-x:auto}
.ours td,.ours th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left}
.ours .look{background:#fff2cc}
</style>"""

HEAD = (
    '<meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1">'
)
LONG = 1000  # characters of one cell

Record = Mapping[str, Any]


def markdown(record: Record) -> str:
    """Return the one-page summary."""
    parts = [f"# Monitoring: {record['decision']}", text(record["sentence"], LONG)]
    parts += [text(_about(record), LONG), evidence(record)]
    parts += [text(line(record), LONG) for line in (_counts, promise)]
    return "\n\n".join(part for part in parts if part) + "\n"


def evidence(record: Record) -> str:
    """Return the checks as a Markdown table; what a data set named is made inert."""
    rows = [[text(cell, LONG) for cell in _cells(c)] for c in record["checks"]]
    return table(COLUMNS, rows)


def promise(record: Record) -> str:
    """Say how many false alarms the settings promise."""
    if not (rate := record.get("false_alarms")):
        return ""
    return (
        f"False alarms: {rate['rate']:.1%} of runs without drift, over all checks "
        f"together; {rate['per_year']:.2g} expected a year."
    )


def page(record: Record, evidently: str) -> str:
    """Return Evidently's page with our summary on top, or the summary alone."""
    rows = "".join(
        f'<tr class="{MARKS[c["passed"]]}">'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(c))
        + "</tr>"
        for c in record["checks"]
    )
    head = "".join(f"<th>{name}" for name in COLUMNS)
    lines = [record["sentence"], _about(record), _counts(record), promise(record)]
    words = "".join(f"<p>{html.escape(line)}</p>" for line in lines if line)
    ours = (
        f'{STYLE}<section class="ours"><h1>Monitoring: {record["decision"]}</h1>{words}'
        f"<table><tr>{head}</tr>{rows}</table></section>"
    )
    title = f"<title>Monitoring: {record['decision']}</title>"
    if not evidently:
        return f'<!DOCTYPE html><html lang="en">{HEAD}{title}{ours}</html>'
    with_title = evidently.replace("</head>", f"{title}</head>", 1)
    return with_title.replace("<body>", f"<body>{ours}", 1)


def _cells(check: Record) -> list[str]:
    """Return a check as the cells of a row."""
    return [
        check["name"],
        MARKS[check["passed"]],
        check["value"],
        check["limit"],
        check["why"],
    ]


def _about(record: Record) -> str:
    """Say which rows of which version were looked at."""
    window = record["window"]
    if not window["until"]:
        return f"Version {record['version']} ({record['manifest_sha256'][:12]})."
    return (
        f"Version {record['version']} ({record['manifest_sha256'][:12]}), "
        f"{window['rows']:,} rows from {window['from'][:10]} until "
        f"{window['until'][:10]}, {window['labels']:,} with a label."
    )


def _counts(record: Record) -> str:
    """Say how many lines were read and set aside."""
    parts = [
        f"{feed}: " + ", ".join(f"{number:,} {what}" for what, number in counts.items())
        for feed, counts in record["counts"].items()
    ]
    return "Read: " + "; ".join(parts) + "." if parts else ""
