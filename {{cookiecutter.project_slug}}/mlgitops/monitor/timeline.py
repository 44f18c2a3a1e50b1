"""The first page of the history: current state, charts, runs, events; pure."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlgitops.monitor.page import false_alarms
from mlgitops.monitor.sparkline import Line, chart
from mlgitops.monitor.style import STYLE

CLASSES = {"not enough data": "few", "no verdict": "few"}

Record = Mapping[str, Any]


def index(records: Sequence[Record], events: Sequence[Record]) -> str:
    """Return the first page: current state, charts, runs, versions and proposals."""
    title = "Monitoring"
    body = f"<h1>{title}</h1>"
    body += _newest(records[-1]) if records else "<p>No run yet.</p>"
    body += f'<div class="charts">{_charts(records, events)}</div>'
    if records:
        rows = "".join(_run(record) for record in reversed(records))
        head = "<th>window until<th>decision<th>version<th>rows<th>reason<th>"
        body += (
            f'<h2>Runs</h2><div class="scroll"><table class="runs"><thead><tr>{head}'
        )
        body += f"</thead><tbody>{rows}</tbody></table></div>"
    if events:
        rows = "".join(_event(event) for event in reversed(events))
        body += f'<h2>Versions and proposals</h2><div class="scroll"><table>{rows}'
        body += "</table></div>"
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}'
        '</title><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{STYLE}</style></head><body>{body}</body></html>\n"
    )


def _newest(record: Record) -> str:
    """Return the newest decision, and how many false alarms to expect."""
    reference = record.get("compared_with")
    compared = f"Compared with {reference}." if reference else ""
    return (
        f'<div class="now">{_badge(record)} <span class="soft">{_text(record, "time")}'
        f"</span><p>{_text(record, 'sentence')}</p>"
        f'<p class="soft">{html.escape(false_alarms(record))} '
        f"{html.escape(compared)}</p>"
        "</div>"
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

    rows: list[float | None] = [r["window"]["rows"] for r in records]
    labels = Line("labels", [r["window"]["labels"] for r in records], "other")
    observed = line("observed", "performance")
    estimated = line("estimated", "estimated", "other")
    holdout = line("holdout", "holdout", "limit")
    label = str(records[-1].get("metric", "ROC AUC")) if records else "ROC AUC"
    drift = line("largest", "drift")
    alarm = Line("alarm from", [1.0] * len(records), "limit")
    errors = [_estimation_error(record) for record in records]
    return "".join(
        (
            chart(label, (observed, estimated, holdout), marks),
            chart("Drift (alarm from 1)", (drift, alarm), marks, 2)
            if any(v is not None for v in drift.values)
            else "",
            chart("Estimated minus observed", (Line("error", errors),), marks),
            chart("Calibration error", (line("mean", "calibration_error"),), marks),
            *(chart(name, drawn, marks) for name, drawn in _gates(records)),
            chart("Rows", (Line("rows", rows), labels), marks, 0),
            chart(
                "Label delay in days", (line("newest", "label_delay_days"),), marks, 1
            ),
        )
    )


def _gates(records: Sequence[Record]) -> Iterator[tuple[str, list[Line]]]:
    """Yield (name, lines) of each metric that has a gate in the newest run."""
    runs = [{g["id"]: g for g in record.get("gates") or []} for record in records]
    for key, newest in (runs[-1] if runs else {}).items():
        lines = [
            Line(name, [run.get(key, {}).get(field) for run in runs], kind)
            for name, field, kind in (
                ("observed", "value", "main"),
                ("holdout", "holdout", "other"),
                ("limit", "limit", "limit"),
            )
        ]
        yield str(newest["label"]), lines


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
    window = record["window"]
    links = f'<a href="runs/{file_name(record)}">report</a>'
    if str(record.get("run_url") or "").startswith("https://"):
        links += f' <a href="{html.escape(str(record["run_url"]))}">run</a>'
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


def _link(text: str, url: Any) -> str:
    """Return text as a link where there is an address to link to."""
    if not str(url or "").startswith(("https://", "http://")):
        return html.escape(text)
    return f'<a href="{html.escape(str(url))}">{html.escape(text)}</a>'


def _order(record: Record) -> int:
    """Return a run's number in the ledger; one that is not in it yet is the newest."""
    seq = record.get("seq")
    return 10**9 if seq is None else int(seq)


def file_name(record: Record) -> str:
    """Return the name of a run's page."""
    seq = record.get("seq")
    return "newest.html" if seq is None else f"{int(seq):08d}.html"


def _badge(record: Record) -> str:
    """Return the decision as a badge."""
    decision = html.escape(str(record["decision"]))
    kind = CLASSES.get(decision, decision)
    return f'<span class="badge {kind}">{decision}</span>'


def _text(record: Record, key: str) -> str:
    """Return a field as text that cannot be markup."""
    return html.escape(str(record.get(key) or ""))
