"""Opens, or updates, the one pull request that proposes newer training data.

    python -m mlgitops retrain

Does so when the newest monitoring record says ``retrain``. The pull request changes
one file, the pointer to the data; `train` and `validate` then treat it like any other,
and a person merges it or does not. Run twice, it finds nothing left to do. When the
newest record says ``none``, a pull request that is still open is closed, with the
reason. What was done is kept in the ledger's ``proposals/``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from mlgitops import git, github, heartbeat, lock, settings, storage
from mlgitops.cluster.backend import ClusterError
from mlgitops.ledger import Ledger, LedgerError
from mlgitops.monitor import proposal, training_data, window
from mlgitops.monitor.labels import read_labels
from mlgitops.monitor.page import evidence
from mlgitops.monitor.wording import plural
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.settings import prepare, train
from mlgitops.production_data import ProductionDataError
from mlgitops.report import plain, text
from mlgitops.store import owner

if TYPE_CHECKING:
    import pandas as pd

MISTAKES = (
    ClusterError,
    ContractError,
    LedgerError,
    git.GitError,
    github.GitHubError,
    lock.LockError,
    storage.StorageError,
    ProductionDataError,
)
Record = dict[str, Any]


def reason(ledger: Ledger) -> Record | str:
    """Return the record that asks for retraining, or why there is none."""
    newest = heartbeat.newest(ledger)
    if newest is None:
        return "The monitor has recorded nothing yet: nothing to propose."
    path, record = newest
    if record["decision"] != "retrain":
        return f"The monitor decided `{record['decision']}`: nothing to propose."
    champion = ledger.champion()
    if champion is None or champion["manifest_sha256"] != record["manifest_sha256"]:
        return (
            "Production has another version since the monitor ran: nothing to propose."
        )
    return record | {"path": path}


def collect(
    data: Path, contract: Contract, params: settings.Params, out: Path
) -> training_data.Grown:
    """Write the next training data from today's, the log and the labels."""
    allowed, keep = settings.monitor(params), settings.retrain(params).keep_days
    source, by_arrival = os.environ["PREDICTION_LOG"], not contract.time
    backend = settings.backend(params)
    log = window.read_log(
        source, allowed, days=keep, by_arrival=by_arrival, backend=backend
    )
    ids = {entry.id for entry in log.entries}
    labels = read_labels(os.environ["LABELS"], ids, contract, allowed)
    due = log.due()  # a row dated in the future would make all others too old to keep
    entries = [entry for entry in due if entry.id in labels.by_id]
    labelled = window.frame(entries, labels.by_id, contract)
    for name in contract.labelled_only:
        values = labels.part_by_id if name == contract.part else labels.group_by_id
        labelled[name] = labelled[contract.id].map(values).astype(object)
    labelled = training_data.add_sensitive(labelled, labels.sensitive, contract)
    groups = settings.fairness(params, contract)
    recipe = train(params, contract.task)
    weighed = recipe.mitigation.columns if recipe.mitigation else ()
    needed = {*recipe.columns, *(groups.columns if groups else ()), *weighed}
    rules = training_data.Rules(keep, allowed.max_broken, needed, allowed.min_group)
    newer = build(data, labelled, contract, rules, prepare(params).batch, out)
    newer.counts["corrected"] = labels.counts["corrected"]
    newer.counts["contradictory"] = labels.counts["contradictory"]
    newer.counts["without a label"] = len(due) - len(entries)
    newer.counts["dated in the future"] = len(log.entries) - len(due)
    arrivals = [arrival for entry in entries if (arrival := entry.arrival)]
    if contract.time or not arrivals:
        return newer
    return newer._replace(until=str(max(arrivals).date()))


def build(
    data: Path,
    labelled: pd.DataFrame,
    contract: Contract,
    rules: training_data.Rules,
    batch: int | None,
    out: Path,
) -> training_data.Grown:
    """Write the next training data, with at most ``batch`` past rows in memory."""
    import pandas as pd

    from mlgitops.monitor import training_file

    if batch:
        return training_file.build(data, batch, labelled, contract, rules, out)
    past = pd.read_parquet(data)
    table, newer = training_data.build(past, labelled, contract, rules)
    out.write_bytes(training_data.parquet(table))
    return newer


def propose(record: Record) -> proposal.Outcome:
    """Store the new data, push the branch, open or update the pull request."""
    base = git.fetch_branch("main")
    if base is None:
        raise git.GitError("origin has no branch `main`: push it first")
    contract = Contract.read(git.show(base, "contract.yaml") or b"")
    params = settings.load(git.show(base, "params.yaml") or b"")
    pointer = lock.read_by_stages(base)
    with TemporaryDirectory() as folder:
        (file,) = storage.pull([pointer], Path(folder))
        newer = Path(folder, "newer", file.name)
        newer.parent.mkdir()
        data = collect(file, contract, params, newer)
        out = store(newer, pointer)
    if out.md5 == pointer.md5 or data.counts["new"] == 0:
        return proposal.Outcome("main has every labelled row: nothing to propose.")
    until = data.until
    message = f"data: {contract.name} until {until}\n\n{proposal.MARK} {record['path']}"
    path = f"{pointer.path}.dvc"
    change = proposal.Change(
        branch=f"retrain/{until}-{record['version']}",
        title=f"Retrain {contract.name} on data until {until}",
        body=body(record, data.counts, data.outside),
        message=message,
        file=(path, repoint(git.show(base, path) or b"", out)),
    )
    return proposal.submit(change, base, settings.retrain(params).min_days)


def store(file: Path, pointer: lock.Out) -> lock.Out:
    """Put a file into storage, if its bytes are new, and return their name."""
    with file.open("rb") as content:
        md5 = hashlib.file_digest(content, "md5").hexdigest()
    out = lock.Out("data", pointer.path, md5, file.stat().st_size)
    if md5 != pointer.md5 and storage.missing([out]):
        owner.claim_here()
        storage.push({file: out})
    return out


def withdraw(ledger: Ledger) -> proposal.Outcome | None:
    """Close the open pull request when the newest record finds no drift any more."""
    newest, base = heartbeat.newest(ledger), git.fetch_branch("main")
    if newest is None or newest[1]["decision"] != "none" or base is None:
        return None
    sentence = f"{text(newest[1]['sentence'], 600)} (`ledger:{newest[0]}`)"
    return proposal.withdraw(f"the newest window shows no drift. {sentence}", base)


def keep(outcome: proposal.Outcome, ledger: Ledger) -> None:
    """Write to the ledger what was done to which pull request."""
    entry = {
        "schema": 1,
        "action": outcome.action,
        "pull": outcome.number,
        "url": outcome.url,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    ledger.append(
        lambda seq: {f"proposals/{seq:08d}.json": {**entry, "seq": seq}},
        f"retrain: {outcome.action} #{outcome.number}",
    )


def repoint(pointer: bytes, out: lock.Out) -> bytes:
    """Return DVC's pointer file with another md5 and size in it."""
    document = yaml.safe_load(pointer)
    document["outs"][0] |= {"md5": out.md5, "size": out.size}
    return bytes(yaml.safe_dump(document, sort_keys=False), "utf-8")


def body(record: Record, counts: dict[str, int], outside: Sequence[str] = ()) -> str:
    """Return the pull request's text: the evidence, the expectation, the data."""
    window_ = record["window"]
    version = f"version {record['version']} (`{record['manifest_sha256'][:12]}`)"
    run = f", [run]({record['run_url']})" if record.get("run_url") else ""
    parts = [
        f"<!-- retraining: {record['path']} -->",
        text(record["sentence"], 600),
        f"### What the monitor found\n{plural(window_['rows'], 'prediction')} of "
        f"{version} from {window_['from'][:10]} until {window_['until'][:10]}, "
        f"{window_['labels']:,} with a label (`ledger:{record['path']}`{run}).",
        evidence(record),
        f"### What to expect\n{_expectation(record)}",
        f"### The data\n{_data(counts)}{_outside(outside)}",
        f"### Next step\n{_next_step()}",
    ]
    return "\n\n".join(parts)


def main() -> None:
    """Propose, or say why not."""
    if not os.environ.get("PREDICTION_LOG") or not os.environ.get("LABELS"):
        print("Retraining is not configured: set PREDICTION_LOG and LABELS.")
        return
    try:
        ledger = Ledger()
        record = reason(ledger)
        if isinstance(record, str):
            outcome = withdraw(ledger) or proposal.Outcome(record)
        else:
            outcome = propose(record)
        if outcome.action:
            keep(outcome, ledger)
    except MISTAKES as error:
        raise github.fail(str(error)) from error
    in_job = "GITHUB_STEP_SUMMARY" in os.environ
    github.summary(outcome.sentence if in_job else plain(outcome.sentence))


def _data(counts: dict[str, int]) -> str:
    """Say how many rows the new data has, and how many were not taken."""
    parts = [f"{number:,} {kind}" for kind, number in counts.items() if kind != "rows"]
    return ", ".join([plural(counts["rows"], "row"), *parts])


def _outside(sentences: Sequence[str]) -> str:
    """Say which rows were set aside, and how a person may let them in."""
    if not sentences:
        return ""
    lines = [f"- {text(sentence, 600)}." for sentence in sentences]
    advice = (
        "Set aside, as nobody has looked at such values. To train on them, change "
        "contract.yaml in a pull request of its own; when it is merged, the next run "
        "of the monitor updates this one."
    )
    return "\n\n" + "\n".join([*lines, "", advice])


def _expectation(record: Record) -> str:
    """Say what validation should find, if the monitor is right."""
    gain = record.get("expectation")
    if gain is None:
        reason = text(record.get("no_expectation", ""), 600)
        return f"No estimate: {reason or 'there was none to make'}."
    by_arrival = record["window"].get("by") == "arrival"
    rows = "newer rows that are held out" if by_arrival else "the newest days"
    return (
        f"On {rows}, {record.get('metric', 'ROC AUC')} "
        f"{gain['challenger']:.3f} instead of the "
        f"champion's {gain['champion']:.3f}: {gain['difference']:+.3f} "
        f"[{gain['low']:+.3f}, {gain['high']:+.3f}] at {gain['confidence']:.0%} "
        "confidence. The validation report compares this with what it finds."
    )


def _next_step() -> str:
    """Say what a person does next."""
    if os.environ.get("APP_CLIENT_ID"):
        return "The checks start by themselves. A person merges this, or closes it."
    return (
        "This was opened with the workflow's own token, so the checks wait: press "
        "**Approve workflows to run**. A person merges this, or closes it."
    )
