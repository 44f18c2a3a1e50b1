"""Reads all records of a ledger that the fleet's page is made of, none unchecked.

What cannot be read is a `Fault` with its path, and the rest is read all the same: a
ledger is written by others, perhaps by a newer machinery.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from mlgitops.judgement import Check, MetricResult
from mlgitops.ledger import Ledger, Record

RAW = ("checks", "machinery", "override", "report", "rules_sha")  # of a verdict
SCHEMA = 1  # the newest that is known here
T = TypeVar("T", bound="Entry")


class Entry(msgspec.Struct, kw_only=True):
    """What every record has; ``path`` is where it stands, ``raw`` what it says.

    That is all of a release, what is shown later of a verdict, and nothing of the
    others: there may be tens of thousands.
    """

    seq: int
    time: str
    schema: int = 1
    path: str = ""
    raw: Record = {}


class Judge(msgspec.Struct):
    """Which machinery made a record, and which files of it were changed."""

    version: str
    modified: list[str]


class Inventory(msgspec.Struct, kw_only=True):
    """What main stated of its model when a record was written."""

    name: str = ""
    owner: str = ""
    risk: str = ""
    licence: str = ""
    problem: str = ""  # why nothing could be read


class Override(msgspec.Struct, kw_only=True):
    """Who let a proposal pass, and against which checks."""

    by: str
    checks: list[str]
    reason: str | None = None


class Verdict(Entry, kw_only=True):
    """One judgement of a proposal."""

    passed: bool
    checks: list[Check]
    manifest_sha256: str | None = None
    task: str = ""
    primary: str = ""
    metrics: list[MetricResult] = []
    override: Override | None = None
    machinery: Judge | None = None
    inventory: Inventory | None = None


class Release(Entry, kw_only=True):
    """One act on an environment, or its confirmation."""

    environment: str
    action: str
    version: str
    manifest_sha256: str
    state: str
    server: dict[str, Any]
    tag: str = ""
    reason: str | None = None
    fault: str | None = None
    verdict: str | None = None
    pull_request: int | None = None
    machinery: Judge | None = None
    inventory: Inventory | None = None


class Canary(Entry, kw_only=True):
    """One state of a canary."""

    state: str
    version: str
    share: float
    champion: str | None = None  # the manifest beside which it began
    reason: str | None = None


class Gate(msgspec.Struct, kw_only=True):
    """A metric of production beside its limit, as the monitor found it."""

    id: str
    label: str
    operator: str
    passed: bool | None = None
    rows: int = 0
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None


class Window(msgspec.Struct, kw_only=True):
    """The rows that a run of the monitor looked at."""

    rows: int
    labels: int
    until: str | None = None


class Run(Entry, kw_only=True):
    """One run of the monitor."""

    decision: str
    sentence: str
    version: str
    manifest_sha256: str | None
    window: Window
    every_days: float = 0.0
    metric: str = ""
    measured: dict[str, float | None] = {}
    gates: list[Gate] = []
    shadow: list[dict[str, Any]] = []
    run_url: str | None = None


class Proposal(Entry, kw_only=True):
    """What the monitor did to a retraining pull request."""

    action: str
    pull: int
    url: str = ""


@dataclass(frozen=True)
class Fault:
    """A record that is not what it should be, and why."""

    path: str
    problem: str

    def __str__(self) -> str:
        """Return both."""
        return f"{self.path} {self.problem}"


@dataclass
class Records:
    """A ledger's records by kind, each kind in the ledger's order."""

    verdicts: list[Verdict] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)  # of all environments
    current: list[Release] = field(default_factory=list)  # what targets follow
    canaries: list[Canary] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def all(self) -> list[Entry]:
        """Return every record that is never replaced, in the ledger's order."""
        kinds = (self.verdicts, self.releases, self.canaries, self.runs, self.proposals)
        return sorted((e for kind in kinds for e in kind), key=lambda e: e.seq)

    def measured(self, manifest_sha256: str | None) -> Verdict | None:
        """Return the newest verdict that let these bytes pass and has their metrics.

        A proposal that leaves the model alone is judged as well, without any.
        """
        return self._measured.get(manifest_sha256)

    def verdict(self, path: str | None) -> Verdict | None:
        """Return the verdict at a path of the ledger, if it can be read."""
        return self._by_path.get(path or "")

    @cached_property
    def _measured(self) -> dict[str | None, Verdict]:
        """The newest such verdict of each manifest; asked once all were read."""
        return {v.manifest_sha256: v for v in self.verdicts if v.passed and v.metrics}

    @cached_property
    def _by_path(self) -> dict[str, Verdict]:
        """The verdicts by their paths; asked once all were read."""
        return {verdict.path: verdict for verdict in self.verdicts}

    def history(self, environment: str) -> list[Release]:
        """Return what happened to one environment, oldest first."""
        return [each for each in self.releases if each.environment == environment]


KINDS: tuple[tuple[str, re.Pattern[str], type[Entry]], ...] = (
    ("verdicts", re.compile(r"verdicts/[^/]+/[^/]+\.json"), Verdict),
    ("releases", re.compile(r"environments/[^/]+/history/[^/]+\.json"), Release),
    ("current", re.compile(r"environments/[^/]+/release\.json"), Release),
    ("canaries", re.compile(r"environments/[^/]+/canaries/[^/]+\.json"), Canary),
    ("runs", re.compile(r"monitoring/[^/]+\.json"), Run),
    ("proposals", re.compile(r"proposals/[^/]+\.json"), Proposal),
)


def read(ledger: Ledger) -> Records:
    """Return a ledger's records; those that cannot be read are among its faults.

    Raises:
        GitError: the ledger itself cannot be read.
    """
    records = Records()
    wanted = {path: kind for path, kind in _wanted(ledger)}
    for path, data in ledger.each(wanted):
        name, type_ = wanted[path]
        try:
            getattr(records, name).append(_record(path, data, type_))
        except ValueError as error:
            records.faults.append(Fault(path, str(error)))
    for name, _, _ in KINDS:
        getattr(records, name).sort(key=lambda entry: entry.seq)
    return records


def _wanted(ledger: Ledger) -> Iterator[tuple[str, tuple[str, type[Entry]]]]:
    """Give the path of each record with its kind."""
    for path in ledger.paths():
        for name, pattern, type_ in KINDS:
            if pattern.fullmatch(path):
                yield path, (name, type_)


def _parsed(data: bytes) -> Any:
    """Return what JSON says; what the fast parser refuses, such as NaN, is read too."""
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return json.loads(data)


def _record(path: str, data: bytes, type_: type[T]) -> T:
    """Return one record; ValueError with a sentence if it is of another kind."""
    try:
        raw = _parsed(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from error
    schema = raw.get("schema", SCHEMA) if isinstance(raw, dict) else SCHEMA
    if isinstance(schema, int) and schema > SCHEMA:
        raise ValueError(
            f"is of schema {schema}, and this machinery knows {SCHEMA}: read the fleet "
            "with a newer one"
        )
    try:
        record = msgspec.convert(raw, type_)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(f"lacks what such a record has: {error}") from error
    record.path = path
    if type_ is Release:
        record.raw = raw
    elif type_ is Verdict:
        record.raw = {name: raw[name] for name in RAW if name in raw}
    return record
