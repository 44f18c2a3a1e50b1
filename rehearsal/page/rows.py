"""Runs, deployments, reports and decisions of the monitor, one row each."""

import re
from pathlib import Path

from rehearsal.page.facts import Entry, duration, label, moment, sha
from rehearsal.page.markup import Html, el, html, icon, local

CONCLUSIONS = {
    "success": ("check-circle-fill", "good"),
    "failure": ("x-circle-fill", "bad"),
    "timed_out": ("x-circle-fill", "bad"),
    "cancelled": ("stop", "muted"),
    "skipped": ("skip", "muted"),
    "action_required": ("alert", "wait"),
}
DEPLOYMENTS = {
    "success": ("check-circle-fill", "good"),
    "confirmed": ("check-circle-fill", "good"),
    "failure": ("x-circle-fill", "bad"),
    "failed": ("x-circle-fill", "bad"),
    "error": ("x-circle-fill", "bad"),
    "inactive": ("skip", "muted"),
}
DECISIONS = {"none": "good", "watch": "wait", "retrain": "done", "stop": "bad"}
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f]")
LINES, CHARACTERS = 80, 12_000


def run(entry: Entry, folder: Path) -> Html:
    """Return a workflow run: what it was, how it ended, how long, and its log."""
    ended = str(entry.get("conclusion") or entry.get("status") or "in progress")
    name, style = CONCLUSIONS.get(ended, ("dot-fill", "wait"))
    line = html(
        el("span", icon(name, ended), class_=style),
        el("b", entry.get("workflow")),
        el("span", entry.get("title"), class_="grow"),
        el("span", entry.get("event"), class_="tag"),
        el("span", duration(float(entry.get("seconds") or 0)), class_="seconds"),
    )
    log = _log(str(entry.get("log") or ""), folder)
    inside = el("details", el("summary", line), log) if log else el("p", line)
    return el("li", inside, id=f"run-{entry['id']}")


def _log(path: str, folder: Path) -> Html | None:
    """Return a log's end and a link to all of it; nothing outside the folder."""
    url, file = local(path) if path else None, (folder / path).resolve()
    if not url or not file.is_relative_to(folder.resolve()) or not file.is_file():
        return el("p", f"log: {path}", class_="muted") if path else None
    text = ANSI.sub("", file.read_text(encoding="utf-8", errors="replace"))
    lines = text.strip().splitlines()
    end = "\n".join(lines[-LINES:])[-CHARACTERS:]
    title = "Open the log as a file"
    if len(lines) > LINES or len(text) > CHARACTERS:
        title = f"Open the whole log ({len(lines)} lines)"
    link = el("a", title, href=url, target="_blank")
    return html(el("pre", end, class_="log", tabindex=0), el("p", link))


def deployment(entry: Entry) -> Html:
    """Return a deployment: version, environment, outcome."""
    state = str(entry.get("state") or "pending")
    name, style = DEPLOYMENTS.get(state, ("rocket", "wait"))
    manifest = str(entry.get("manifest_sha256") or "")
    action = str(entry.get("action") or "deploy")
    line = html(
        el("span", icon(name, state), class_=style),
        el("b", entry.get("version")),
        el(
            "span", el("span", f"{action} to "), entry.get("environment"), class_="grow"
        ),
        sha(manifest) if manifest else None,
        el("span", state, class_=f"tag {style}"),
        moment(entry.get("time")) if entry.get("time") else None,
    )
    return el("li", el("p", line), id=f"deployment-{entry['id']}")


def report(entry: Entry) -> Html:
    """Return a link to a report beside the page."""
    path = str(entry.get("path") or "")
    url, title = local(path), entry.get("title") or path
    if not url:
        return el("li", el("p", title, class_="muted"))
    link = el("a", title, href=url, target="_blank", class_="grow")
    return el("li", el("p", icon("graph"), link, el("span", "report", class_="tag")))


def decision(entry: Entry) -> Html:
    """Return what the monitor decided: a record of the ledger's `monitoring/`."""
    record = entry.get("record") or entry
    outcome = str(record.get("decision") or "none")
    window = record.get("window") or {}
    span = [f"{window['from']} to {window['until']}"] if "until" in window else []
    rows = [f"{window['rows']:,} rows"] if isinstance(window.get("rows"), int) else []
    line = html(
        el("span", outcome, class_=f"tag {DECISIONS.get(outcome, 'muted')}"),
        el("span", record.get("sentence"), class_="grow"),
        el("span", ", ".join(span + rows), class_="muted"),
    )
    path = entry.get("path")
    return html(el("li", el("p", line)), report(entry) if path else None)


def text(entry: Entry) -> Html:
    """Return a text as it was printed, in a box that scrolls by itself."""
    title = el("h3", entry.get("title"))
    return el("div", title, el("pre", entry.get("body"), tabindex=0), class_="text")


def missing(kind: object, key: object) -> Html:
    """Say that something that a step refers to is not in the story."""
    return el("li", el("p", f"{label(kind)} {key}: not recorded", class_="muted"))
