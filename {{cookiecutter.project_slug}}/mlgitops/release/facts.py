"""The facts of an audit: what served when, and what each version is made of."""

import json
import os
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import lock, storage
from mlgitops.ledger import Ledger
from mlgitops.prediction_log import PATTERN, parse
from mlgitops.production_data import ProductionDataError, files
from mlgitops.release import Record, ReleaseError, eligibility, server, signature
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
        repeated = groups and server.identity(groups[-1][0]) == server.identity(record)
        if repeated and record["action"] != "revert":
            groups[-1].append(record)
        elif record["state"] != "failed":
            groups.append([record])
    failed = bool(history) and history[-1]["state"] == "failed"
    ends: list[Record | None] = [group[0] for group in groups[1:]]
    ends.append(history[-1] if failed else None)
    return [_period(group, end) for group, end in zip(groups, ends, strict=False)]


def _period(group: list[Record], end: Record | None) -> Period:
    """Return the period that some records of one deployment describe.

    It ended by the act, the version that followed, and the reason of ``end``.
    """
    first, ended_by = group[0], None
    if end:
        successor = "nothing" if end["state"] == "failed" else end["version"]
        reason = f": {end['reason']}" if end["reason"] else ""
        ended_by = f"{end['action']} to {successor}{reason}"
    facts: Record = {field.name: first.get(field.name) for field in fields(Period)}
    until, state = end["time"] if end else None, group[-1]["state"]
    facts |= {"began": first["time"], "until": until, "ended_by": ended_by}
    return Period(**{**facts, "state": state})


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
    spellings = [json.dumps(prediction, ensure_ascii=each) for each in (True, False)]
    records = list[Record]()
    try:
        for name, lines in files(source, PATTERN):
            for line in lines:
                if not any(spelling in line for spelling in spellings):
                    continue  # parsing is what takes time
                entry = parse(line)
                if entry is not None and entry.id == prediction:
                    time = entry.time and entry.time.isoformat()
                    records.append({**asdict(entry), "time": time, "file": name})
    except (ProductionDataError, OSError, ValueError, ImportError) as error:
        raise ReleaseError(
            f"the prediction log cannot be read: name it with LOG= ({error})"
        ) from error
    if not records:
        raise ReleaseError(f"{source} holds no prediction with the id {prediction}")
    return records


def served_then(prediction: Record, periods: list[Period]) -> list[str]:
    """Return where the version that made a prediction served at that moment.

    An hour of grace on both sides: the log's clock is another machine's.
    """
    logged = _time(str(prediction.get("logged_at")))
    return [
        f"{period.environment} since {period.began}"
        for period in periods
        if period.manifest_sha256 == prediction.get("manifest_sha256")
        and (logged is None or _around(period, logged))
    ]


def _around(period: Period, logged: datetime) -> bool:
    """Tell whether a time lies in a period, or so close that clocks may differ."""
    began, until = _time(period.began), _time(period.until or "")
    if began is not None and logged < began - GRACE:
        return False
    return until is None or logged <= until + GRACE


def _time(text: str) -> datetime | None:
    """Return a time of the log or the ledger, in UTC where it does not say."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def versions(ledger: Ledger, registered: list[Version]) -> list[Version]:
    """Return every version: as the ledger deployed it, and those only registered.

    The ledger comes first, so that a moved or deleted tag hides nothing.
    """
    by_name = {version.version: version for version in registered}
    by_name |= {record["version"]: Version.of(record) for record in ledger.releases()}
    return sorted(by_name.values(), key=lambda version: version.number)


def explain(ledger: Ledger, version: Version) -> dict[str, object]:
    """Return what a version was made from, who proposed it and what the gates said."""
    verdicts = [
        {**verdict, "report_at": ledger.where(report["path"])}
        if (report := verdict.get("report"))
        else verdict
        for verdict in ledger.verdicts(version.manifest_sha256)
    ]
    deployed = [
        record
        for record in ledger.releases()
        if record["manifest_sha256"] == version.manifest_sha256
        and record["action"] == "deploy"
    ]
    origin = _origin(verdicts, deployed)
    approvers = {
        person
        for record in deployed
        if record["pull_request"] == origin.get("pull_request")
        for person in record["approvers"]
    }
    return {
        **asdict(version),
        "signature": signature.state(version.tag),
        "data_files": [asdict(out) for out in lock.pointers(version.commit).values()],
        "made_from": manifest(version),
        "author": origin.get("author"),
        "pull_request": origin.get("pull_request"),
        "approvers": sorted(approvers),
        "verdicts": verdicts,
    }


def _origin(verdicts: list[Record], deployed: list[Record]) -> Record:
    """Return the verdict on the proposal that brought a version; {} if there is none.

    It is the one that allowed the first deployment. Later verdicts are on other pull
    requests that name the same model, such as the revert after a rollback.
    """
    if deployed:
        first = min(deployed, key=lambda record: int(record["seq"]))
        named = [each for each in verdicts if each["path"] == first["verdict"]]
        return named[0] if named else first
    return next((verdict for verdict in verdicts if verdict["passed"]), {})


def manifest(version: Version) -> dict[str, object]:
    """Return what a version's manifest says it was made from, after verifying it."""
    try:
        out = eligibility.locked(version.commit).out("manifest.json")
        with TemporaryDirectory() as folder:
            storage.pull([out], Path(folder))
            path = Path(folder, "manifest.json")
            verified = load_manifest(path, version.manifest_sha256)
    except (storage.StorageError, VerifyError, ReleaseError, lock.LockError) as error:
        return {"missing": str(error)}
    return {key: verified.get(key) for key in SECTIONS}
