"""What `make prune` would retire, and which objects nothing names then."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mlgitops import storage
from mlgitops.ledger import Ledger, Record, withdraws
from mlgitops.release import canary, registry
from mlgitops.retention import named, rule
from mlgitops.retention.rule import Kept
from mlgitops.settings import Retention
from mlgitops.store import objects, owner

YOUNG = timedelta(days=1)  # an object that nobody named may be on its way: a push


def retiring(ledger: Ledger, name: str, rules: Retention) -> list[Kept]:
    """Return the versions that retire now."""
    before = ledger.retired()
    tags = {v.manifest_sha256: v for v in registry.versions(name)}
    last: dict[str, datetime] = {}
    proposed: dict[str, str] = {}
    heads, open_ = named.heads(), set()
    for verdict in filter(named.passed, ledger.judged()):
        _later(last, str(verdict["manifest_sha256"]), verdict)
        number = verdict.get("pull_request")
        proposed[str(verdict["manifest_sha256"])] = f"#{number}, never merged"
        if verdict.get("head_sha") in heads:  # its branch is there: it can be merged
            open_.add(str(verdict["manifest_sha256"]))
    histories = []
    for environment in ledger.environments():
        history = ledger.history(environment)
        histories += [_manifests(history), _manifests(_good(history))]
        for record, end in zip(history, [*history[1:], history[-1]], strict=True):
            _later(last, str(record["manifest_sha256"]), end)
    if running := ledger.read(canary.FILE):
        histories.append([str(running["manifest_sha256"])])
    versions = []
    for manifest, time in last.items():
        tag = tags.get(manifest)
        text = tag.tag if tag else proposed.get(manifest, manifest)
        if manifest not in before and (tag or manifest not in open_):
            versions.append(Kept(manifest, tag.number if tag else (), text, time))
    moment = newest(last)
    return rule.retiring(versions, rule.in_use(histories), rules, moment)


def _manifests(history: Sequence[Record]) -> list[str]:
    """Return the manifests of releases."""
    return [str(record["manifest_sha256"]) for record in history]


def _good(history: Sequence[Record]) -> list[Record]:
    """Return the releases that one would go back to: neither failed nor taken back."""
    taken = {record.get("previous") for record in history if withdraws(record)}
    return [
        record
        for record in history
        if record.get("state") != "failed" and record["manifest_sha256"] not in taken
    ]


def newest(last: Mapping[str, datetime]) -> datetime:
    """Return what days are counted from: the newest record's time, or the clock here.

    The earlier one: a clock that is wrong, here or where the record was written,
    retires nothing.
    """
    return min([datetime.now(UTC), *sorted(last.values())[-1:]])


def _later(last: dict[str, datetime], manifest: str, record: Record) -> None:
    """Note that a version was there at a record's time."""
    if not record.get("time"):
        return
    time = datetime.fromisoformat(str(record["time"]))
    last[manifest] = max(last.get(manifest, time), time)


@dataclass(frozen=True)
class Free:
    """What may be deleted: objects by md5 and uploads by path, with their bytes."""

    objects: dict[str, int]
    uploads: dict[str, int]  # that broke off, and are not `YOUNG`
    unnamed: int  # objects that were never named here, and stay


def free(ledger: Ledger, name: str, retired: Collection[str], alone: bool) -> Free:
    """Return the objects that nothing names.

    Those that were never named here are free if `alone`, and if they are not `YOUNG`.

    Raises:
        StorageError: another repository keeps objects there.
    """
    keep = named.kept(ledger, registry.versions(name), retired)
    ours = named.ever(ledger)
    here = objects.here()
    contents = here.listing()
    owner.refuse_others(here, contents)
    unnamed = {md5: s for md5, s in contents.sizes.items() if md5 not in keep}
    since = datetime.now(UTC) - YOUNG
    if alone:
        branch = storage.branch_folder()  # whose files are as old as the clone
        times = {} if branch else contents.times
        ours |= {md5 for md5 in unnamed if md5 not in times or times[md5] < since}
    free = {md5: s for md5, s in unnamed.items() if md5 in ours}
    old = {p: s for p, s in contents.unfinished.items() if contents.times[p] < since}
    return Free(free, old, len(unnamed) - len(free))
