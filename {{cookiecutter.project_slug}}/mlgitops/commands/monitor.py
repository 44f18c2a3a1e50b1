"""Compares the newest window of production with the training data and decides.

    python -m mlgitops monitor [--record] [--history]

It reads PREDICTION_LOG (a folder or URL with predictions-*.jsonl) and LABELS (a CSV
file). ``--record`` writes the decision to the ledger; without it nothing leaves this
machine. The history is written to build/monitoring/ as static pages; MONITOR_PAGES=true
puts it on the branch that GitHub Pages serves. `python -m mlgitops retrain` opens the
pull request.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlgitops import git, github, heartbeat, lock, settings, storage
from mlgitops.ledger import Ledger, LedgerError
from mlgitops.monitor import checks, history, page, record, reference
from mlgitops.monitor.checks import CheckError
from mlgitops.monitor.decide import Decision, Evidence, decide
from mlgitops.monitor.inspect import Window, inspect
from mlgitops.monitor.window import read_log
from mlgitops.pipeline.contract import ContractError
from mlgitops.serving.verify import VerifyError
from mlgitops.source import FeedError

PAGE = Path("build", "monitor.html")
MISTAKES = (
    CheckError,
    ContractError,
    FeedError,
    LedgerError,
    VerifyError,
    git.GitError,
    lock.LockError,
    storage.StorageError,
)


class Unchanged(Exception):
    """The newest record in the ledger says the same."""


def look(source: str, labels: str | None, ledger: Ledger) -> tuple[record.Record, str]:
    """Return the record of this run and its page.

    Raises:
        FeedError: the log of the reference cannot be read.
    """
    params = _params()
    allowed = settings.monitor(params)
    days = max(allowed.window_days, settings.retrain(params).keep_days)
    release = ledger.champion()
    with TemporaryDirectory() as folder:
        champion = _reference(release, Path(folder))
        try:
            log = read_log(source, allowed, days=days, labelled=bool(labels))
            window = inspect(champion, log, labels, params)
        except FeedError as error:  # too many unusable lines
            window = Window(Evidence(0, broken=str(error)))
    decision: Decision = decide(window.evidence, allowed)
    outcome = record.build(
        champion.version, champion.manifest_sha256, window, decision, allowed
    )
    outcome |= {"run_url": github.run_url(), "time": _time_of_run()}
    return outcome, page.page(outcome, _evidently(window))


def keep(outcome: record.Record, ledger: Ledger, every_days: float) -> str:
    """Write the record to the ledger, unless the newest one says the same.

    After half a period it is written all the same, to show that the monitor still runs
    (`mlgitops.heartbeat`).
    """
    paths: list[str] = []

    def files(seq: int) -> dict[str, Any]:
        newest = heartbeat.newest(ledger)
        if newest and record.same(newest[1], outcome):
            if heartbeat.age_days(newest[1]) < every_days / 2:
                raise Unchanged(newest[0])
        name = f"{seq:08d}"
        paths.append(f"monitoring/{name}.json")
        text = page.markdown(outcome).encode()
        complete = {**outcome, "seq": seq}
        return {paths[-1]: complete, f"monitoring/reports/{name}.md": text}

    try:
        ledger.append(files, f"monitor: {outcome['decision']}")
    except Unchanged as unchanged:
        return f"not recorded: {unchanged} says the same"
    return f"recorded as {paths[-1]}"


def main() -> None:
    """Print the decision; exit 1 when the log or the labels cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--record", action="store_true", help="write to the ledger")
    parser.add_argument("--history", action="store_true", help="only write the pages")
    args = parser.parse_args()
    if args.history:
        print(history.publish(Ledger()))
        return
    source = os.environ.get("PREDICTION_LOG", "").strip()
    if not source:
        print(
            "Monitoring is not configured: set PREDICTION_LOG to the folder or URL of "
            "the prediction log, and LABELS to the CSV of labels."
        )
        return
    try:
        ledger = Ledger()
        if ledger.champion() is None and not Path("build/manifest.json").exists():
            print("No version is in production yet: there is nothing to compare with.")
            return
        labels = os.environ.get("LABELS", "").strip() or None
        outcome, text = look(source, labels, ledger)
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
        github.summary(page.markdown(outcome))
        if args.record:
            print(keep(outcome, ledger, settings.monitor(_params()).every_days))
        history.publish(ledger, outcome)
        if os.environ.get("MONITOR_PAGES", "").lower() == "true":
            history.push()
    except MISTAKES as error:
        raise github.fail(str(error)) from error
    print(f"{outcome['sentence']} ({PAGE}; history: {history.FOLDER / 'index.html'})")
    if outcome["decision"] == "watch" and os.environ.get("GITHUB_ACTIONS"):
        print(f"::warning::{outcome['sentence']}")  # nothing else happens by itself
    if outcome["decision"] == "stop":
        raise github.fail(str(outcome["sentence"]))


def _params() -> settings.Params:
    """Return params.yaml."""
    return settings.load(Path("params.yaml").read_bytes())


def _evidently(window: Window) -> str:
    """Return Evidently's page on the window, at the monitor's thresholds."""
    evidence = window.evidence
    if window.sides is None or evidence.prediction is None:
        return ""
    return checks.report(*window.sides, [*evidence.columns, evidence.prediction])


def _reference(release: dict[str, Any] | None, folder: Path) -> reference.Reference:
    """Return the version in production, or the one in build/ when there is none."""
    if release is None:
        return reference.load(Path("build"), "build")
    fetched = reference.fetch(release, folder)
    return reference.load(fetched, str(release["version"]), release["manifest_sha256"])


def _time_of_run() -> str:
    """Return the time of this run: for readers, never to sort by."""
    return datetime.now(UTC).isoformat(timespec="seconds")
