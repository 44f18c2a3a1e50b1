"""Opens or updates the one pull request with newer training data.

    python -m mlgitops retrain

It does so when the newest monitoring record says ``retrain``. The pull request changes
one file, the pointer to the data; `train` and `validate` treat it like any other, and a
person merges it or not. A second run changes nothing. When the newest record says
``none``, a pull request that is still open is closed, with the reason. The ledger's
``proposals/`` records each action.
"""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from mlgitops import git, github, heartbeat, lock, settings, storage
from mlgitops.ledger import Ledger, LedgerError
from mlgitops.monitor import harvest, proposal, window
from mlgitops.monitor.labels import read_labels
from mlgitops.monitor.page import evidence
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.report import text
from mlgitops.source import FeedError

MISTAKES = (
    ContractError,
    LedgerError,
    git.GitError,
    github.GitHubError,
    lock.LockError,
    storage.StorageError,
    FeedError,
)
Record = dict[str, Any]


def reason(ledger: Ledger) -> Record | str:
    """Return the record that asks for retraining, or a sentence why there is none."""
    newest = heartbeat.newest(ledger)
    if newest is None:
        return "The monitor has recorded nothing yet: nothing to propose."
    path, record = newest
    if record["decision"] != "retrain":
        return f"The monitor says `{record['decision']}`: nothing to propose."
    champion = ledger.champion()
    if champion is None or champion["manifest_sha256"] != record["manifest_sha256"]:
        return (
            "Production has another version since the monitor ran: nothing to propose."
        )
    return record | {"path": path}


def collect(
    old_file: Path, contract: Contract, params: settings.Params
) -> harvest.Harvest:
    """Return the next training data from the old file, the log and the labels."""
    import pandas as pd

    allowed, keep = settings.monitor(params), settings.retrain(params).keep_days
    source, labels_at = os.environ["PREDICTION_LOG"], os.environ["LABELS"]
    log = window.read_log(source, allowed, days=keep)
    ids = {row["id"] for row in log.rows}
    labels = read_labels(labels_at, ids, contract, allowed)
    rows = [row for row in log.rows if row["id"] in labels.by_id]
    labelled = window.frame(rows, labels.by_id, contract)
    for name in contract.beside:
        labelled[name] = labelled[contract.id].map(labels.whose).astype(object)
    past, broken = pd.read_parquet(old_file), allowed.max_broken
    harvested = harvest.harvest(past, labelled, contract, keep, broken)
    harvested.counts["contradictory"] = labels.counts["contradictory"]
    harvested.counts["without a label"] = len(log.rows) - len(rows)
    return harvested


def propose(record: Record) -> proposal.Done:
    """Store the new data, push the branch, open or update the pull request."""
    base = git.fetch_branch("main")
    if base is None:
        raise git.GitError("origin has no branch `main`: push it first")
    contract = Contract.read(git.show(base, "contract.yaml") or b"")
    params = settings.load(git.show(base, "params.yaml") or b"")
    pointer = lock.read_by_stages(base)
    path = pointer.path
    with TemporaryDirectory() as folder:
        (old_file,) = storage.pull([pointer], Path(folder))
        harvested = collect(old_file, contract, params)
        data = harvest.parquet(harvested.table)
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        out = lock.Out("data", path, md5, len(data))
        if out.md5 == pointer.md5 or harvested.counts["new"] == 0:
            return proposal.Done(
                "main already has every labelled row: nothing to propose."
            )
        new_file = Path(folder, "new", out.name)
        new_file.parent.mkdir()
        new_file.write_bytes(data)
        if storage.missing([out]):
            storage.push({new_file: out})
    until = str(harvested.table[contract.time].max().date())
    branch = f"retrain/{until}-{record['version']}"
    title = f"Retrain {contract.name} on data until {until}"
    message = f"data: {contract.name} until {until}\n\n{proposal.MARK} {record['path']}"
    file = f"{path}.dvc", repoint(git.show(base, f"{path}.dvc") or b"", out)
    change = proposal.Change(
        branch, title, body(record, harvested.counts), message, file
    )
    return proposal.submit(change, base, settings.retrain(params).min_days)


def gone(ledger: Ledger) -> proposal.Done | None:
    """Close the open pull request when the newest record no longer shows drift."""
    newest, base = heartbeat.newest(ledger), git.fetch_branch("main")
    if newest is None or newest[1]["decision"] != "none" or base is None:
        return None
    finding = f"{text(newest[1]['sentence'], 600)} (`ledger:{newest[0]}`)"
    return proposal.withdraw(f"the newest window shows no drift. {finding}", base)


def keep(done: proposal.Done, ledger: Ledger) -> None:
    """Record the action on the pull request in the ledger."""
    entry = {"schema": 1, "action": done.action, "pull": done.number, "url": done.url}
    entry["time"] = datetime.now(UTC).isoformat(timespec="seconds")
    ledger.append(
        lambda seq: {f"proposals/{seq:08d}.json": {**entry, "seq": seq}},
        f"retrain: {done.action} #{done.number}",
    )


def repoint(pointer: bytes, out: lock.Out) -> bytes:
    """Return DVC's pointer file with the md5 and size of another file."""
    document = yaml.safe_load(pointer)
    document["outs"][0] |= {"md5": out.md5, "size": out.size}
    return bytes(yaml.safe_dump(document, sort_keys=False), "utf-8")


def body(record: Record, counts: dict[str, int]) -> str:
    """Return the pull request's text: the evidence, the expectation, the data."""
    window_ = record["window"]
    version = f"version {record['version']} (`{record['manifest_sha256'][:12]}`)"
    run = f", [run]({record['run_url']})" if record.get("run_url") else ""
    parts = [
        f"<!-- retraining: {record['path']} -->",
        text(record["sentence"], 600),
        f"### What the monitor found\n{window_['rows']:,} predictions of {version} "
        f"from {window_['from'][:10]} until {window_['until'][:10]}, "
        f"{window_['labels']:,} with a label (`ledger:{record['path']}`{run}).",
        evidence(record),
        f"### What it expects\n{_expectation(record)}",
        "### The data\n" + ", ".join(f"{n:,} {kind}" for kind, n in counts.items()),
        "### Next step\n" + _next(),
    ]
    return "\n\n".join(parts)


def main() -> None:
    """Propose, or print why not."""
    if not os.environ.get("PREDICTION_LOG") or not os.environ.get("LABELS"):
        print("Retraining is not configured: set PREDICTION_LOG and LABELS.")
        return
    try:
        ledger = Ledger()
        record = reason(ledger)
        if isinstance(record, str):
            done = gone(ledger) or proposal.Done(record)
        else:
            done = propose(record)
        if done.action:
            keep(done, ledger)
    except MISTAKES as error:
        raise github.fail(str(error)) from error
    github.summary(done.words)


def _expectation(record: Record) -> str:
    """Return what validation should find, if the monitor is right."""
    gain = record.get("expectation")
    if gain is None:
        return "No estimate: too few rows are newer than the champion's training data."
    return (
        f"On the newest days, {record.get('metric', 'ROC AUC')} "
        f"{gain['challenger']:.3f} instead of the "
        f"champion's {gain['champion']:.3f}: {gain['difference']:+.3f} "
        f"[{gain['low']:+.3f}, {gain['high']:+.3f}] at {gain['confidence']:.0%} "
        "confidence. The validation report says whether that holds."
    )


def _next() -> str:
    """Return what a person has to do."""
    if os.environ.get("APP_ID"):
        return "The checks run by themselves. A person merges this, or closes it."
    return (
        "The workflow's own token opened this pull request, so its checks wait: press "
        "**Approve workflows to run**. A person merges this, or closes it."
    )
