"""The first page of the history: current state, charts, runs, events; pure."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlgitops.monitor import sparkline
from mlgitops.monitor.page import false_alarms
from mlgitops.monitor.sparkline import Line
from mlgitops.report import plots
from mlgitops.report.document import document

STYLES = (Path(__file__).with_name("history.css"), plots.STYLE)
CLASSES = {"not enough data": "few", "no verdict": "few"}
RUNS = "<th>window until<th>decision<th>version<th>rows<th>reason<th>"
UNRECORDED = 10**9  # the number of a run that is not in the ledger yet: the newest
OLDER = (
    "Older runs, in the ledger alone: {:,}. "
    "<code>git ls-tree -r --name-only origin/ledger | grep monitoring/</code> lists "
    "them, <code>git show origin/ledger:PATH</code> shows one."
)
NO_RUN = (
    "No run is recorded in the ledger yet: the monitor on GitHub records each of its "
    "own. The newest run on this machine is build/monitor.html."
)

Record = Mapping[str, Any]


def index(
    records: Sequence[Record], events: Sequence[Record], left_out: int = 0
) -> str:
    """Return the first page: current state, charts, runs, versions and proposals.

    ``left_out`` is how many older runs the ledger holds.
    """
    body = "<h1>Monitoring</h1>"
    body += _newest(records[-1]) if records else f"<p>{NO_RUN}</p>"
    if records:
        body += f'<div class="charts">{_charts(records, events)}</div>'
        rows = "".join(map(_run, reversed(records)))
        body += (
            '<h2>Runs</h2><div class="scroll"><table class="runs"><thead><tr>'
            f"{RUNS}</thead><tbody>{rows}</tbody></table></div>"
        )
    if left_out:
        body += f'<p class="soft">{OLDER.format(left_out)}</p>'
    if events:
        rows = "".join(map(_event, reversed(events)))
        body += '<h2>Versions and proposals</h2><div class="scroll"><table>'
        body += f"{rows}</table></div>"
    return document("Monitoring", body, STYLES)


def file_name(record: Record) -> str:
    """Return the name of a run's page."""
    seq = record.get("seq")
    return "newest.html" if seq is None else f"{int(seq):08d}.html"


def _newest(record: Record) -> str:
    """Return the newest decision, and how many false alarms to expect."""
    reference = record.get("compared_with")
    compared = f"Compared with {reference}." if reference else ""
    if record.get("caveats"):
        compared += " The report says what this run cannot tell."
    time = html.escape(str(record.get("time") or "")[:16].replace("T", " "))
    return (
        f'<div class="now">{_badge(record)} <span class="soft">{time} UTC</span>'
        f"<p>{_text(record, 'sentence')}</p>"
        f'<p class="soft">{html.escape(false_alarms(record))} '
        f"{html.escape(compared)}</p></div>"
    )


def _charts(records: Sequence[Record], events: Sequence[Record]) -> str:
    """Return the charts over all runs; versions and proposals are marked."""
    marks = []
    for event in events:
        later = [i for i, r in enumerate(records) if _order(r) > int(event["seq"])]
        if later:
            marks.append((later[0], str(event["what"])))

    def line(name: str, key: str, kind: str = "main") -> Line:
        numbers = [(r.get("measured") or {}).get(key) for r in records]
        return Line(name, numbers, kind)

    rows = [Line("rows", [r["window"]["rows"] for r in records])]
    rows.append(Line("labels", [r["window"]["labels"] for r in records], "other"))
    unlogged = [r["window"].get("unlogged", 0) for r in records]
    if any(unlogged):
        rows.append(Line("not logged", unlogged, "limit"))
    performance = [
        line("observed", "performance"),
        line("estimated", "estimated", "other"),
        line("holdout", "holdout", "limit"),
    ]
    drift = [line("largest", "drift")]
    if any(value is not None for value in drift[0].values):
        drift.append(Line("alarm from", [1.0] * len(records), "limit"))
    errors = Line("error", [_estimation_error(record) for record in records])
    delay = line("newest", "label_delay_days")
    charts: list[tuple[str, list[Line], int]] = [
        (str(records[-1].get("metric", "ROC AUC")), performance, 3),
        ("Drift (alarm from 1)", drift, 2),
        *((name, lines, 3) for name, lines in _gates(records)),
        ("Estimated minus observed", [errors], 3),
        ("Calibration error", [line("mean", "calibration_error")], 3),
        ("Rows", rows, 0),
        ("Label delay in days", [delay], 1),
    ]
    days = [str(record["window"]["until"] or "no rows")[:10] for record in records]
    return "".join(
        sparkline.chart(name, lines, marks, digits, days)
        for name, lines, digits in charts
    )


def _gates(records: Sequence[Record]) -> Iterator[tuple[str, list[Line]]]:
    """Yield (name, lines) of each metric that has a gate in the newest run."""
    runs = [{g["id"]: g for g in record.get("gates") or []} for record in records]
    kinds = ("value", "main"), ("holdout", "other"), ("limit", "limit")
    for key, newest in runs[-1].items():
        lines = [
            Line(name, [run.get(key, {}).get(name) for run in runs], kind)
            for name, kind in kinds
        ]
        yield f"Gate: {newest['label']}", lines


def _estimation_error(record: Record) -> float | None:
    """Return the estimate minus what labels show, where both are there."""
    numbers = record.get("measured") or {}
    estimated = numbers.get("estimated_labelled")
    observed = numbers.get("observed_labelled")
    if not estimated or not observed:
        return None
    return float(estimated - observed)


def _run(record: Record) -> str:
    """Return one run as a row."""
    window, run_url = record["window"], str(record.get("run_url") or "")
    links = f'<a href="runs/{file_name(record)}">report</a>'
    if run_url.startswith("https://"):
        links += f' <a href="{html.escape(run_url)}">run</a>'
    until = html.escape(str(window["until"] or "no rows")[:10])
    return (
        f'<tr><td class="day">{until}<td>{_badge(record)}<td>{_text(record, "version")}'
        f'<td>{window["rows"]:,}<td class="text">{_text(record, "sentence")}'
        f'<td class="day">{links}'
    )


def _event(event: Record) -> str:
    """Return a version or a proposal as a row."""
    cell = _link(str(event["what"]), event.get("url"))
    if pull := str(event.get("pull") or ""):
        cell += " from " + _link(f"#{pull.rsplit('/', 1)[-1]}", pull)
    return f'<tr><td class="day">{html.escape(str(event["time"])[:10])}<td>{cell}'


def _link(text: str, url: object) -> str:
    """Return text as a link where there is an address to link to."""
    if not str(url or "").startswith(("https://", "http://")):
        return html.escape(text)
    return f'<a href="{html.escape(str(url))}">{html.escape(text)}</a>'


def _order(record: Record) -> int:
    """Return a run's number in the ledger."""
    seq = record.get("seq")
    return UNRECORDED if seq is None else int(seq)


def _badge(record: Record) -> str:
    """Return the decision as a badge."""
    decision = html.escape(str(record["decision"]))
    kind = CLASSES.get(decision, decision)
    return f'<span class="badge {kind}">{decision}</span>'


def _text(record: Record, key: str) -> str:
    """Return a field as text that cannot be markup."""
    return html.escape(str(record.get(key) or ""))
