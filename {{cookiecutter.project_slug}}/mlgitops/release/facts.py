"""The facts of an audit: what served when, and what each version is made of."""

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlgitops import lock, storage
from mlgitops.ledger import Ledger
from mlgitops.prediction_log import PATTERN, parse
from mlgitops.production_data import ProductionDataError, files
from mlgitops.release import Record, ReleaseError, eligibility, signature
from mlgitops.release.registry import Version
from mlgitops.serving.verify import VerifyError, load_manifest

GRACE = timedelta(hours=1)  # clocks that differ, and a target that switches later
SECTIONS = ("data", "code", "requirements", "params", "contract", "threshold")


@dataclass(frozen=True)
class Period:
    """A time in which an environment ran one version."""

    environment: str
    version: str
    manifest_sha256: str
    began: str
    until: str | None
    ended_by: str | None
    action: str
    state: str
    reason: str | None
    author: str | None
    approvers: list[str]
    run_url: str
    deployment_id: int | None
    image: str | None
    machinery: Record | None
    verdict: str | None  # the record that allowed it


def served(history: list[Record]) -> list[Period]:
    """Return the periods of an environment, oldest first."""
    groups: list[list[Record]] = []
    for record in history:
        same = groups and _release(groups[-1][0]) == _release(record)
        if same and record["action"] != "revert":
            groups[-1].append(record)
        elif record["state"] != "failed":
            groups.append([record])
    failed = bool(history) and history[-1]["state"] == "failed"
    ends: list[Record | None] = [group[0] for group in groups[1:]]
    ends.append(history[-1] if failed else None)
    return [_period(group, end) for group, end in zip(groups, ends, strict=False)]


def _release(record: Record) -> tuple[str, str | None]:
    """Return what makes a release another one: its manifest and its server."""
    code = record.get("server") or {}
    return record["manifest_sha256"], code.get("sha256")


def _period(group: list[Record], end: Record | None) -> Period:
    """Return the period that some records of one deployment describe."""
    first = group[0]
    return Period(
        first["environment"],
        first["version"],
        first["manifest_sha256"],
        first["time"],
        end["time"] if end else None,
        _end(end) if end else None,
        first["action"],
        group[-1]["state"],
        first["reason"],
        first.get("author"),
        first["approvers"],
        first["run_url"],
        first.get("deployment_id"),
        first.get("image"),
        first.get("machinery"),
        first.get("verdict"),
    )


def _end(record: Record) -> str:
    """Return what ended a period: the act, the version that followed, the reason."""
    followed = "nothing" if record["state"] == "failed" else record["version"]
    why = f": {record['reason']}" if record["reason"] else ""
    return f"{record['action']} to {followed}{why}"


def covers(period: Period, date: str) -> bool:
    """Tell whether a period touches a day, or the beginning of a time, in UTC.

    ``date`` is such as 2026-11-22 or 2026-11-22T14.
    """
    began, until = period.began[: len(date)], (period.until or "9")[: len(date)]
    return began <= date <= until


def answers(prediction: str, log: str | None) -> list[Record]:
    """Return the entries of the prediction log with an id, in its order.

    Raises:
        ReleaseError: there is no log here, or no such entry in it.
    """
    source = log or os.environ.get("PREDICTION_LOG") or "predictions"
    mark, found = json.dumps(prediction), list[Record]()
    try:
        for name, lines in files(source, PATTERN):
            entries = [parse(line) for line in lines if mark in line]
            found += [
                {**asdict(e), "time": e.time and e.time.isoformat(), "file": name}
                for e in entries
                if e is not None and e.id == prediction
            ]
    except (ProductionDataError, OSError, ValueError, ImportError) as error:
        raise ReleaseError(
            f"the prediction log cannot be read: name it with LOG= ({error})"
        ) from error
    if not found:
        raise ReleaseError(f"{source} holds no prediction with the id {prediction}")
    return found


def served_then(answer: Record, periods: list[Period]) -> list[str]:
    """Return where the version that gave an answer served at that moment.

    An hour of grace on both sides: the log's clock is another machine's.
    """
    then = _time(str(answer.get("logged_at")))
    return [
        f"{p.environment} since {p.began}"
        for p in periods
        if p.manifest_sha256 == answer.get("manifest_sha256")
        and (then is None or _around(p, then))
    ]


def _around(period: Period, then: datetime) -> bool:
    """Tell whether a time lies in a period, or so close that clocks may differ."""
    began, until = _time(period.began), _time(period.until or "")
    after = began is None or began - GRACE <= then
    return after and (until is None or then <= until + GRACE)


def _time(text: str) -> datetime | None:
    """Return a time of the log or the ledger, in UTC where it does not say."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def versions(ledger: Ledger, known: list[Version]) -> list[Version]:
    """Return every version: as the ledger deployed it, and those only registered.

    The ledger comes first, so that a moved or deleted tag hides nothing.
    """
    found = {v.version: v for v in known}
    keys = ("version", "tag", "commit", "manifest_sha256")
    for place in ledger.environments():
        for record in ledger.history(place):
            found[record["version"]] = Version(*(record[k] for k in keys))
    return sorted(found.values(), key=lambda version: version.number)


def explain(ledger: Ledger, version: Version) -> dict[str, Any]:
    """Return what a version was made from, who proposed it and what the gates said."""
    verdicts = ledger.verdicts(version.manifest_sha256)
    records = [r for place in ledger.environments() for r in ledger.history(place)]
    mine = [r for r in records if r["manifest_sha256"] == version.manifest_sha256]
    approvers = {who for record in mine for who in record["approvers"]}
    return {
        **asdict(version),
        "signature": signature.state(version.tag),
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
        out = eligibility.locked(version.commit).out("manifest.json")
        with TemporaryDirectory() as folder:
            storage.pull([out], Path(folder))
            path = Path(folder, "manifest.json")
            whole = load_manifest(path, version.manifest_sha256)
    except (storage.StorageError, VerifyError, ReleaseError, lock.LockError) as error:
        return {"missing": str(error)}
    return {key: whole.get(key) for key in SECTIONS}
