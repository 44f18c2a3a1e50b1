"""Compares the newest window of production with the training data, and decides.

    python -m mlgitops monitor [--record | --canary] [--history]

PREDICTION_LOG (a folder or URL with predictions-*.jsonl) and LABELS (CSV) say where
to look. ``--record`` writes the decision to the ledger; without it nothing leaves this
machine. ``--canary`` looks at the canary alone, where one answers: it is taken back by
the same rules, and nothing else is recorded. The history is written to
build/monitoring/ as static pages; MONITOR_PAGES=true puts it on the branch that GitHub
Pages serves. Nothing here opens a pull request: that is `mlgitops.commands.retrain`.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlgitops import git, github, heartbeat, lock, settings, storage
from mlgitops.cluster.backend import ClusterError
from mlgitops.ledger import Ledger, LedgerError
from mlgitops.monitor import (
    evidently_report,
    history,
    page,
    primary_metric,
    record,
    reference,
)
from mlgitops.monitor.canary import Canary, Comparison
from mlgitops.monitor.decide import decide
from mlgitops.monitor.evidence import Evidence
from mlgitops.monitor.evidently_report import EvidentlyError
from mlgitops.monitor.inspect import Window, inspect
from mlgitops.monitor.window import read_log
from mlgitops.pipeline.contract import ContractError
from mlgitops.production_data import ProductionDataError
from mlgitops.release import ReleaseError
from mlgitops.release import canary as canaries
from mlgitops.report import plain
from mlgitops.serving.verify import VerifyError

PAGE = Path("build", "monitor.html")
MISTAKES = (
    ClusterError,
    ContractError,
    EvidentlyError,
    LedgerError,
    ProductionDataError,
    ReleaseError,
    VerifyError,
    git.GitError,
    lock.LockError,
    storage.StorageError,
)


class AlreadyRecorded(Exception):
    """The ledger has the same record, perhaps since a moment ago."""


def examine(
    source: str, labels: str | None, ledger: Ledger
) -> tuple[record.Record, str]:
    """Return the record of this run and its page.

    Raises:
        one of MISTAKES: there is no version to compare with, say.
    """
    params = _params()
    allowed = settings.monitor(params)
    days = max(allowed.window_days, settings.retrain(params).keep_days)
    release = ledger.champion()
    with TemporaryDirectory() as folder:
        version = _reference(release, Path(folder))
        begun = canaries.running(ledger)
        canary = Canary.of(begun, datetime.now(UTC)) if begun else None
        try:
            by_arrival = not version.contract.time
            classes = version.contract.classes
            backend = settings.backend(params)
            facts = (bool(labels), by_arrival, classes, backend)
            log = read_log(source, allowed, days, *facts)
            window = inspect(version, log, labels, params, canary)
        except ProductionDataError as error:  # a log that is mostly corrupt, say
            metric = primary_metric.of(version.contract, version.holdout)
            window = Window(Evidence(0, metric, broken=str(error)))
            if canary:
                sha256, reason = canary.manifest_sha256, str(error)
                window.canary = Comparison(
                    sha256, metric=metric.label, unmeasured=reason
                )
    decision, sha256 = decide(window.evidence, allowed), version.manifest_sha256
    entry = record.build(version.version, sha256, window, decision, allowed)
    time = datetime.now(UTC).isoformat(timespec="seconds")  # to be read, not ordered by
    entry |= {"run_url": github.run_url(), "time": time}
    return entry, page.page(entry, _evidently(window))


def append(entry: record.Record, ledger: Ledger, every_days: float) -> str:
    """Write the record to the ledger, unless the newest one says the same.

    After half a period it is written all the same: it shows that the monitor still runs
    (`mlgitops.heartbeat`).
    """
    paths: list[str] = []

    def files(seq: int) -> dict[str, Any]:
        newest = heartbeat.newest(ledger)
        if newest and record.equal(newest[1], entry):
            if heartbeat.age_days(newest[1]) < every_days / 2:
                raise AlreadyRecorded(newest[0])
        name = f"{seq:08d}"
        paths.append(f"monitoring/{name}.json")
        text = page.markdown(entry).encode()
        complete = {**entry, "seq": seq}
        return {paths[-1]: complete, f"monitoring/reports/{name}.md": text}

    try:
        ledger.append(files, f"monitor: {entry['decision']}")
    except AlreadyRecorded as existing:
        return f"not recorded: {existing} says the same"
    return f"recorded as {paths[-1]}"


def summarise(markdown: str) -> None:
    """Add to the job's summary; in a terminal print it as it reads, without HTML."""
    in_job = "GITHUB_STEP_SUMMARY" in os.environ
    github.summary(markdown if in_job else plain(markdown))


def main() -> None:
    """Print the decision; exit 1 when the data is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="write to the ledger")
    text = "only look at the canary, and take it back if it does worse"
    parser.add_argument("--canary", action="store_true", help=text)
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
        if args.canary and canaries.running(ledger) is None:
            print("No canary answers in production: there is nothing to take back.")
            return
        labels = os.environ.get("LABELS", "").strip() or None
        entry, text = examine(source, labels, ledger)
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
        summarise(page.markdown(entry))
        if args.record:
            print(append(entry, ledger, settings.monitor(_params()).every_days))
        if args.record or args.canary:
            found = entry.get("canary") or {}
            if reason := found.get("take_back"):
                judged = found.get("manifest_sha256")
                print(canaries.end(ledger, "taken back", reason, judged))
        if args.canary:
            print(canary_sentence(entry))
            return
        history.publish(ledger, entry)
        if os.environ.get("MONITOR_PAGES", "").lower() == "true":
            history.push()
    except MISTAKES as error:
        raise github.fail(str(error)) from error
    print(f"{entry['sentence']} ({PAGE}; history: {history.FOLDER / 'index.html'})")
    if entry["decision"] == "watch" and os.environ.get("GITHUB_ACTIONS"):
        print(f"::warning::{entry['sentence']}")  # nothing will follow by itself
    if entry["decision"] == "stop":
        raise github.fail(str(entry["sentence"]))


def canary_sentence(entry: record.Record) -> str:
    """Return what a look at the canary alone has found, in one line."""
    found = entry.get("canary") or {}
    if reason := found.get("take_back"):
        return f"The canary does worse: {reason}."
    if reason := found.get("unmeasured"):
        return f"The canary cannot be compared yet: {reason}."
    return "The canary goes on: there is no reason to take it back."


def _params() -> settings.Params:
    """Return params.yaml."""
    return settings.load(Path("params.yaml").read_bytes())


def _evidently(window: Window) -> str:
    """Return Evidently's page on what was compared, at the monitor's thresholds."""
    evidence = window.evidence
    if window.tables is None or evidence.prediction is None:
        return ""
    drifts = [*evidence.columns, evidence.prediction]
    return evidently_report.report(*window.tables, drifts)


def _reference(release: dict[str, Any] | None, folder: Path) -> reference.Reference:
    """Return the version in production, or what `make repro` built when none is."""
    if release is None:
        return reference.load(Path("build"), "build")
    files = reference.fetch(release, folder)
    return reference.load(files, str(release["version"]), release["manifest_sha256"])
