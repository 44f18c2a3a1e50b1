"""Makes one model's facts from its ledger; whatever that holds, there is one.

Records are ordered by ``seq``; their times are shown, and ages are counted from them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from mlgitops import git
from mlgitops.fleet import compliance, integrity
from mlgitops.fleet.integrity import moment
from mlgitops.fleet.model import (
    LEVELS,
    Measurement,
    Model,
    OpenProposal,
    Reason,
    Serving,
)
from mlgitops.fleet.reasons import about_monitor, about_production
from mlgitops.fleet.records import (
    Fault,
    Inventory,
    Records,
    Release,
    Run,
    Verdict,
    read,
)
from mlgitops.fleet.sources import Source
from mlgitops.ledger import CHAMPION, Ledger
from mlgitops.machinery import Machinery
from mlgitops.release import consistency
from mlgitops.release.facts import Period

NAMED = 5  # faults of a ledger that are named, of those there are


def models(sources: Sequence[Source], now: datetime) -> list[Model]:
    """Return each source's model, those that fail first; none is left out."""
    models_read = [_of(source, now) for source in sources]
    first = dict[str, str]()
    for number, model in enumerate(models_read):
        twin = first.setdefault(model.commit or model.address, model.address)
        if twin != model.address:
            reasons_of = Reason("attention", f"has the same ledger as {twin}")
            models_read[number] = replace(model, reasons=[*model.reasons, reasons_of])
    return sorted(models_read, key=lambda m: (LEVELS.index(m.level), m.name, m.address))


def _of(source: Source, now: datetime) -> Model:
    """Return one model; whatever its ledger holds, there is one."""
    name = source.address.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")
    unread = Model(source.address, name)
    if source.ledger is None:
        return _failing(unread, f"the ledger cannot be read: {source.problem}")
    if source.ledger.commit is None:
        reason_text = "has no ledger yet: nothing was ever judged or deployed"
        return replace(unread, reasons=[Reason("attention", reason_text)])
    try:
        return _read(unread, source.ledger, now)
    except git.GitError as error:
        return _failing(unread, f"the ledger cannot be read: {error}")


def _failing(model: Model, text: str) -> Model:
    """Return a model that fails for one reason."""
    return replace(model, reasons=[Reason("failing", text)])


def _read(model: Model, ledger: Ledger, now: datetime) -> Model:
    """Return what a ledger says."""
    records = read(ledger)
    faults = [*records.faults, *integrity.faults(ledger, records)]
    periods, problems = compliance.periods(records)
    rewritten = consistency.rewritten(ledger)
    reasons_of = [*_few(rewritten), *_few(faults), *problems]
    reasons = [Reason("failing", each) for each in reasons_of]
    clock = _few(integrity.skewed(records, now))
    reasons += [Reason("attention", f"clock: {each}") for each in clock]
    release = next(reversed(records.history(CHAMPION)), None)
    verdict = _verdict(records, release)
    newest = records.runs[-1] if records.runs else None
    stated = _inventory(records)
    made = Machinery("")
    if release and release.machinery:
        made = Machinery(release.machinery.version, tuple(release.machinery.modified))
    numbers = verdict
    if release and not (verdict and verdict.metrics):
        numbers = records.measured(release.manifest_sha256)
    low, high = _limits(numbers)
    primary = _primary(numbers)
    history = [_measurement(records, run) for run in records.runs]
    reasons += about_production(records, release, verdict, made)
    reasons += about_monitor(records, release, now)
    return replace(
        model,
        name=stated.name
        or (release.tag.rpartition("@")[0] if release else "")
        or model.name,
        commit=str(ledger.commit),
        records=len(records.all()),
        reasons=reasons,
        owner=stated.owner,
        risk=stated.risk,
        licence=stated.licence,
        task=next((v.task for v in reversed(records.verdicts) if v.task), ""),
        serving=_serving(periods, now),
        canary=_canary(records, release),
        shadow=_shadow(newest),
        metric=primary[0] or (newest.metric if newest else ""),
        validated=primary[1],
        measured=next(
            (m.measured for m in reversed(history) if m.measured is not None), None
        ),
        floor=low,
        ceiling=high,
        history=history,
        decision=newest.decision if newest else "",
        sentence=newest.sentence if newest else "",
        drift=newest.measured.get("drift") if newest else None,
        last_run=newest.time if newest else "",
        next_run=_next(newest),
        proposals=_open(records),
        machinery=made.state if made.version else "",
        modified=bool(made.modified),
        thresholds=compliance.rows(records, periods),
    )


def _few(faults: Iterable[Fault | str]) -> list[str]:
    """Return the first faults, and how many more there are."""
    named = list(map(str, faults))
    more = len(named) - NAMED
    return [*named[:NAMED], *([f"and {more} more of this kind"] if more > 0 else [])]


def _inventory(records: Records) -> Inventory:
    """Return what main stated last of its model."""
    entries: list[Verdict | Release] = [*records.verdicts, *records.releases]
    for entry in sorted(entries, key=lambda each: -each.seq):
        if entry.inventory and not entry.inventory.problem:
            return entry.inventory
    return Inventory()


def _verdict(records: Records, release: Release | None) -> Verdict | None:
    """Return the verdict that let a release pass, if it can be read."""
    return records.verdict(release.verdict if release else None)


def _primary(verdict: Verdict | None) -> tuple[str, float | None]:
    """Return the primary metric's name and its value on the holdout."""
    for metric in verdict.metrics if verdict else ():
        if verdict and metric.id == verdict.primary:
            return metric.label, metric.challenger
    return "", None


def _limits(verdict: Verdict | None) -> tuple[float | None, float | None]:
    """Return the floor and the leakage ceiling of the primary metric then."""
    if verdict is None:
        return None, None
    limits = {check.id: check.limit for check in verdict.checks}
    return limits.get(f"{verdict.primary}.min"), limits.get(f"{verdict.primary}.max")


def _measurement(records: Records, run: Run) -> Measurement:
    """Return one run beside what the verdict on its version found."""
    verdict = records.measured(run.manifest_sha256)
    return Measurement(
        run.time,
        run.version,
        run.decision,
        run.window.rows,
        run.window.labels,
        run.measured.get("performance"),
        run.measured.get("estimated"),
        _primary(verdict)[1],
        _limits(verdict)[0],
        run.measured.get("drift"),
    )


def _serving(periods: Sequence[Period], now: datetime) -> list[Serving]:
    """Return what each environment runs, production last."""
    models_read = []
    for period in {each.environment: each for each in periods}.values():
        began, gone = moment(period.began), period.until is not None
        models_read.append(
            Serving(
                period.environment,
                "" if gone else period.version,
                "" if gone else period.manifest_sha256,
                period.until or period.began,
                (now - began).total_seconds() / 86_400 if began and not gone else None,
                "failed" if gone else period.state,
                period.action,
            )
        )
    return sorted(models_read, key=lambda s: (s.environment == CHAMPION, s.environment))


def _canary(records: Records, release: Release | None) -> str:
    """Return the canary that nothing has ended yet."""
    newest = records.canaries[-1] if records.canaries else None
    if newest is None or newest.state != "running" or release is None:
        return ""
    if newest.champion != release.manifest_sha256:
        return ""
    return f"{newest.version}, {newest.share:.0%} of the rows"


def _shadow(run: Run | None) -> list[str]:
    """Return the challengers that saw real requests by the newest run."""
    return [
        str(each.get("version") or str(each.get("manifest_sha256") or "?")[:12])
        for each in (run.shadow if run else ())
    ]


def _next(run: Run | None) -> str:
    """Return when the monitor is to run next, by its own period."""
    time = moment(run.time) if run else None
    if run is None or time is None or not 0 < run.every_days < 10_000:
        return ""
    return (time + timedelta(days=run.every_days)).isoformat(timespec="seconds")


def _open(records: Records) -> list[OpenProposal]:
    """Return the proposals that were neither closed by the monitor nor deployed."""
    deployed = {release.pull_request for release in records.releases}
    newest = {proposal.pull: proposal for proposal in records.proposals}
    return [
        OpenProposal(pull, proposal.url, proposal.time)
        for pull, proposal in newest.items()
        if proposal.action != "closed" and pull not in deployed
    ]
