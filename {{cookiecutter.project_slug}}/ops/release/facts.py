"""The facts of an audit: what served when, and what each version is made of."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ops import git, lock, storage
from ops.ledger import Ledger
from ops.release import MAIN, Record, ReleaseError, admit, registry
from ops.release.registry import Version
from serving.verify import VerifyError, load_manifest

ENVIRONMENTS = ("production", "staging")
SECTIONS = ("data", "code", "requirements", "params", "contract", "threshold")


@dataclass(frozen=True)
class Period:
    """A time in which an environment ran one version."""

    environment: str
    version: str
    manifest_sha256: str
    began: str
    until: str | None
    action: str
    state: str
    reason: str | None
    approvers: list[str]
    run_url: str


def served(history: list[Record], date: str | None) -> list[Period]:
    """Return the periods of an environment, oldest first; with a date, those then.

    ``date`` is a day or the beginning of a time, such as 2026-11-22T14, in UTC.
    """
    groups: list[list[Record]] = []
    for record in history:
        same = groups and groups[-1][0]["manifest_sha256"] == record["manifest_sha256"]
        if same and record["action"] != "revert":
            groups[-1].append(record)
        elif record["state"] != "failed":
            groups.append([record])
    failed = bool(history) and history[-1]["state"] == "failed"
    ends = [group[0]["time"] for group in groups[1:]]
    ends.append(history[-1]["time"] if failed else None)
    found = [_period(group, until) for group, until in zip(groups, ends, strict=False)]
    return [p for p in found if not date or _covers(p, date)]


def _period(group: list[Record], until: str | None) -> Period:
    """Return the period that some records of one deployment describe."""
    first = group[0]
    return Period(
        first["environment"],
        first["version"],
        first["manifest_sha256"],
        first["time"],
        until,
        first["action"],
        group[-1]["state"],
        first["reason"],
        first["approvers"],
        first["run_url"],
    )


def _covers(period: Period, date: str) -> bool:
    """Tell whether a period touches a day, or the beginning of a time, in UTC."""
    began, until = period.began[: len(date)], (period.until or "9")[: len(date)]
    return began <= date <= until


def answer(prediction: str, log: str | None) -> Record:
    """Return the line of the prediction log that answers an id.

    Raises:
        ReleaseError: there is no log here, or no such line in it.
    """
    folder = log or os.environ.get("PREDICTION_LOG") or "predictions"
    files = sorted(Path(folder).glob("predictions-*.jsonl"))
    if not files:
        raise ReleaseError(f"{folder} has no predictions-*.jsonl: name it with LOG=")
    mark = json.dumps(prediction).encode()
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                if mark in line and (found := _line(line)).get("id") == prediction:
                    return {**found, "file": file.name}
    raise ReleaseError(f"{folder} holds no prediction with the id {prediction}")


def _line(line: bytes) -> Record:
    """Return a line of the log, or nothing if it is torn."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}


def explain(ledger: Ledger, version: Version) -> dict[str, Any]:
    """Return what a version was made from, who proposed it and what the gates said."""
    verdicts = admit.verdicts(ledger, version.manifest_sha256)
    records = [r for place in ENVIRONMENTS for r in ledger.history(place)]
    mine = [r for r in records if r["manifest_sha256"] == version.manifest_sha256]
    approvers = {who for record in mine for who in record["approvers"]}
    return {
        **asdict(version),
        "data_files": [asdict(o) for o in lock.pointers(version.commit).values()],
        "made_from": manifest(version),
        "author": verdicts[-1]["author"] if verdicts else None,
        "pull_request": verdicts[-1]["pull_request"] if verdicts else None,
        "approvers": sorted(approvers),
        "verdicts": verdicts,
    }


def manifest(version: Version) -> dict[str, Any]:
    """Return what a version's manifest says it was made from, after verifying it."""
    try:
        out = admit.locked(version.commit).out("manifest.json")
        with TemporaryDirectory() as folder:
            storage.pull([out], Path(folder))
            path = Path(folder, "manifest.json")
            whole = load_manifest(path, version.manifest_sha256)
    except (storage.StorageError, VerifyError, ReleaseError, lock.LockError) as error:
        return {"missing": str(error)}
    return {key: whole.get(key) for key in SECTIONS}


def disagreements(ledger: Ledger, known: list[Version]) -> list[str]:
    """Return where ledger, tags and main do not say the same, as sentences."""
    said = []
    history = [r for place in ENVIRONMENTS for r in ledger.history(place)]
    try:
        registry.agree(known, history)
    except ReleaseError as error:
        said.append(str(error))
    champion = ledger.champion()
    tip = git.fetch_branch(MAIN)
    if champion and tip and not admit.same_model(champion["commit"], tip):
        said.append(
            f"main does not name what production runs ({champion['tag']}): merge the "
            "revert pull request, or let `deploy` finish"
        )
    return said
