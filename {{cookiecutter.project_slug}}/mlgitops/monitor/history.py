"""Publishes the ledger's monitoring history as a folder of static pages.

The newest runs, and every version and proposal since the first of them; aggregates
only, as the records are. How many older runs the ledger holds is said.
Evidently's page is not among them: its plots count groups of one row, and weigh 4 MB.
The pages need no script, no font and no network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlgitops import git
from mlgitops.ledger import Ledger
from mlgitops.monitor import record, timeline
from mlgitops.monitor.page import page
from mlgitops.monitor.timeline import file_name

FOLDER = Path("build", "monitoring")
SHOWN = 1_000  # runs, the newest, which have a page and a place in the charts
PAGES = "gh-pages"  # the branch that GitHub Pages serves

Record = Mapping[str, Any]


def publish(
    ledger: Ledger, newest: Record | None = None, folder: Path = FOLDER
) -> Path:
    """Write the pages and return the first one.

    ``newest`` is a run that the ledger does not hold (yet).
    """
    records, left_out = _newest(ledger)
    if newest is not None and not any(record.equal(r, newest) for r in records[-1:]):
        records.append({**newest, "seq": None})
    events = _events(ledger, int(records[0]["seq"]) if left_out else 0)
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    for run in records:
        (folder / "runs" / file_name(run)).write_text(page(run, ""), encoding="utf-8")
    index = folder / "index.html"
    text = timeline.index(records, events, left_out)
    index.write_text(text, encoding="utf-8")
    return index


def push(folder: Path = FOLDER) -> None:
    """Put the folder on the branch `gh-pages`: one commit, its past is the ledger's."""
    pages = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.html"))
    }
    commit = git.commit(pages, "Monitoring history", "monitor")
    git.remote_run("push", "-q", "--force", "origin", f"{commit}:refs/heads/{PAGES}")


def _newest(ledger: Ledger) -> tuple[list[dict[str, Any]], int]:
    """Return the newest runs, oldest first, and how many older ones there are."""
    paths = [path for path in ledger.paths("monitoring/") if path.endswith(".json")]
    shown = paths[-SHOWN:]
    runs = [json.loads(data) for _, data in ledger.each(shown)]
    return runs, len(paths) - len(shown)


def _events(ledger: Ledger, since: int) -> list[dict[str, Any]]:
    """Return what happened to production and to proposals, in the ledger's order.

    ``since`` is the record from which on there are runs beside it.
    """
    events: list[dict[str, Any]] = []
    for entry in ledger.history("production"):
        event = f"{entry.get('version')} in production ({entry.get('state')})"
        if events and events[-1].get("version") == entry.get("version"):
            events[-1]["what"] = event  # the same release, in its newest state
        else:
            run = entry.get("run_url") or ""
            events.append({**entry, "what": event, "url": run, "pull": _pull(entry)})
    events += [
        {**r, "what": f"retraining pull request #{r['pull']} {r['action']}", "pull": ""}
        for r in ledger.records("proposals/")
    ]
    ordered = [
        {"time": "", "url": "", **event}
        for event in events
        if "seq" in event and int(event["seq"]) >= since
    ]
    return sorted(ordered, key=lambda event: int(event["seq"]))


def _pull(entry: Record) -> str:
    """Return the address of the pull request that a release came from, or nothing."""
    url, run, _ = str(entry.get("run_url") or "").partition("/actions/runs/")
    number = entry.get("pull_request")
    return f"{url}/pull/{int(number)}" if run and number else ""
