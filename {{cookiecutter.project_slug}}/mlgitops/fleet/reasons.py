"""Says why somebody should look at a model: what failed first, then what to watch."""

from collections.abc import Iterator
from datetime import datetime

from mlgitops import heartbeat
from mlgitops.fleet.integrity import moment
from mlgitops.fleet.model import Reason
from mlgitops.fleet.records import Records, Release, Verdict
from mlgitops.machinery import Machinery


def about_production(
    records: Records, release: Release | None, verdict: Verdict | None, own: Machinery
) -> Iterator[Reason]:
    """Give why the release of production, or the last of another one, needs a look."""
    if release is None:
        yield Reason("attention", "nothing was deployed to production yet")
        return
    why = f": {release.reason}" if release.reason else ""
    day = release.time[:10]
    if release.state == "failed":
        text = f"production runs nothing since {day}, after a {release.action}{why}"
        yield Reason("failing", text)
    elif release.action in ("revert", "rollback"):
        text = f"{release.action} to {release.version} on {day}{why}"
        yield Reason("failing", f"a deployment was taken back: {text}")
    if over := verdict and verdict.override:
        names = ", ".join(over.checks)
        text = f"{release.version} was let pass by {over.by} against {names}"
        yield Reason("attention", text)
    if own.modified:
        yield Reason("attention", f"machinery {own.state}")
    if records.canaries and records.canaries[-1].state == "taken back":
        canary = records.canaries[-1]
        text = f"the canary {canary.version} was taken back: {canary.reason}"
        yield Reason("attention", text)


def about_monitor(
    records: Records, release: Release | None, now: datetime
) -> Iterator[Reason]:
    """Give what the newest run says, or that none came."""
    if not records.runs:
        if release is not None and release.state != "failed":
            yield Reason("attention", "the monitor has never run")
        return
    run = records.runs[-1]
    time = moment(run.time)
    if time is not None and run.every_days > 0:
        age = (now - time).total_seconds() / 86_400
        if age > heartbeat.PERIODS * run.every_days:
            text = f"last ran {age:.0f} days ago, and runs every {run.every_days:g}"
            yield Reason("failing", f"missing heartbeat: the monitor {text}")
    if run.decision == "stop":
        yield Reason("failing", f"monitor: {run.sentence}")
    elif run.decision in ("retrain", "watch"):
        yield Reason("attention", f"monitor: {run.sentence}")
    if release and release.state != "failed":
        if run.manifest_sha256 != release.manifest_sha256:
            text = f"looked at {run.version}, and production has {release.version}"
            yield Reason("attention", f"the newest run of the monitor {text}")
