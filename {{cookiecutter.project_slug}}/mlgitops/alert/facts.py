"""What an alert is about: facts of the ledger, each with a name that decides "once"."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

from mlgitops import github, heartbeat
from mlgitops.ledger import CHAMPION, Ledger

Record = dict[str, Any]
NEWS = timedelta(days=7)  # what is older tells nobody anything who hears of it now
QUIET = ("none", "not enough data")  # decisions of the monitor that ask for nothing
BACK = ("revert", "rollback")  # actions that take a release out of an environment
LONGEST = 1_000  # letters of a sentence
ENDED = {  # how GitHub calls the end of a job that did not do its work
    "failure": ("failed", "Nothing else tells of it: the log of the run says why."),
    "cancelled": (
        "was cancelled",
        "It took longer than its `timeout-minutes`, or somebody cancelled it: the log "
        "of the run says which. What it had begun is finished by running it again.",
    ),
}


@dataclass(frozen=True)
class Fact:
    """One thing that happened."""

    name: str  # the same for the same fact, in whatever run
    kind: str  # monitor, deployment, canary, heartbeat or failure
    title: str
    sentence: str
    url: str  # a page for people; "" without one


def facts(ledger: Ledger, job: str) -> Iterator[Fact]:
    """Yield what a job has to tell: `monitor`, `register`, or an environment's name.

    OUTCOME is the job's own so far: whether it failed, or was cancelled.
    """
    news = [*_verdict(ledger)] if job == "monitor" else [*_taken_back(ledger, job)]
    if job in ("monitor", CHAMPION):
        news += _canary(ledger)
    yield from news
    run = github.run_url()
    ended = ENDED.get(os.environ.get("OUTCOME", ""))
    if ended and run not in [f.url for f in news]:
        name = f"runs/{os.environ.get('GITHUB_RUN_ID', '')}-{job}"
        yield Fact(name, "failure", f"The job {job} {ended[0]}", ended[1], run)


def _verdict(ledger: Ledger) -> Iterator[Fact]:
    """Yield the monitor's newest verdict, if it asks for something."""
    path, record = heartbeat.newest(ledger) or ("", {})
    if record and record["decision"] not in QUIET and _is_news(record):
        title = f"The monitor says: {record['decision']}"
        yield _fact(path, "monitor", title, record["sentence"], record)


def _taken_back(ledger: Ledger, environment: str) -> Iterator[Fact]:
    """Yield that an environment's newest release came by a way back.

    It is named after its first record: a confirmation repeats that one.
    """
    release = ledger.release(environment)
    if not release or release["action"] not in BACK or not _is_news(release):
        return
    history = reversed(ledger.history(environment))
    same = [*takewhile(lambda record: _way(record) == _way(release), history)]
    number = int((same or [release])[-1]["seq"])
    path = f"environments/{environment}/history/{number:08d}.json"
    runs = f"it runs {release['tag']} again"
    if release["state"] == "failed":
        runs = f"{release['tag']} failed, and there is nothing to go back to"
    title = f"{environment}: {release['action']}, {runs}"
    yield _fact(path, "deployment", title, _reason(release), release)


def _way(record: Record) -> tuple[object, ...]:
    """Return what a release and its confirmation have in common."""
    return tuple(record.get(key) for key in ("action", "deployment_id", "previous"))


def silence(ledger: Ledger) -> Iterator[Fact]:
    """Yield that the monitor is late; once for each time that it falls silent."""
    newest, late = heartbeat.newest(ledger), heartbeat.late(ledger)
    if newest and late:
        name = f"heartbeat/{PurePosixPath(newest[0]).stem}"
        url = github.page_url("actions/workflows/monitor.yml")
        yield Fact(name, "heartbeat", "The monitor does not run", late, url)


def _canary(ledger: Ledger) -> Iterator[Fact]:
    """Yield that the newest canary was taken back."""
    record = ledger.read(f"environments/{CHAMPION}/canary.json") or {}
    if record.get("state") == "taken back" and _is_news(record):
        path = f"environments/{CHAMPION}/canaries/{int(record['seq']):08d}.json"
        title = f"The canary {record['tag']} was taken back"
        yield _fact(path, "canary", title, _reason(record), record)


def _reason(record: Record) -> str:
    """Return why a record was made."""
    return str(record.get("reason") or "no reason given")


def _fact(path: str, kind: str, title: str, sentence: str, record: Record) -> Fact:
    """Return the fact that a record of the ledger tells."""
    name, url = path.removesuffix(".json"), str(record.get("run_url") or "")
    return Fact(name, kind, title, sentence[:LONGEST], url)


def _is_news(record: Record) -> bool:
    """Tell whether a record was made just now, by its own time."""
    age = datetime.now(UTC) - datetime.fromisoformat(str(record["time"]))
    return age < NEWS
