"""One model of a fleet, as facts: they become JSON or a page."""

from dataclasses import dataclass, field
from typing import Literal

from mlgitops.fleet.compliance import Row
from mlgitops.ledger import CHAMPION

Level = Literal["failing", "attention"]
LEVELS = ("failing", "attention", "fine")  # in the order of the page


@dataclass(frozen=True)
class Reason:
    """Why somebody should look at a model."""

    level: Level
    text: str


@dataclass(frozen=True)
class Serving:
    """What an environment runs, by its ledger."""

    environment: str
    version: str  # "" where nothing is left there
    manifest_sha256: str
    since: str
    age_days: float | None
    state: str
    action: str


@dataclass(frozen=True)
class Measurement:
    """The primary metric of one run of the monitor, beside what was promised."""

    time: str
    version: str
    decision: str
    rows: int
    labels: int
    measured: float | None  # once labels arrived
    estimated: float | None  # without labels
    validated: float | None  # on the holdout, by the verdict on that version
    floor: float | None  # the gate's limit then
    drift: float | None  # the largest, where 1 is where the alarm begins


@dataclass(frozen=True)
class OpenProposal:
    """A retraining pull request that the ledger does not know to be closed."""

    pull: int
    url: str
    opened: str


@dataclass(frozen=True)
class Model:
    """One row of the fleet; what is not known is empty or None."""

    address: str
    name: str
    commit: str = ""  # of the ledger
    records: int = 0
    reasons: list[Reason] = field(default_factory=list)
    owner: str = ""
    risk: str = ""
    licence: str = ""
    task: str = ""
    serving: list[Serving] = field(default_factory=list)
    canary: str = ""
    shadow: list[str] = field(default_factory=list)
    metric: str = ""
    validated: float | None = None
    measured: float | None = None  # in production, by the newest run with labels
    floor: float | None = None
    ceiling: float | None = None
    history: list[Measurement] = field(default_factory=list)
    decision: str = ""  # of the newest run of the monitor, with its sentence
    sentence: str = ""
    drift: float | None = None
    last_run: str = ""
    next_run: str = ""
    proposals: list[OpenProposal] = field(default_factory=list)
    machinery: str = ""
    modified: bool = False
    thresholds: list[Row] = field(default_factory=list)

    @property
    def level(self) -> str:
        """Return the gravest level of its reasons, or "fine"."""
        levels = {reason.level for reason in self.reasons}
        return next((level for level in LEVELS if level in levels), "fine")

    @property
    def production(self) -> Serving | None:
        """Return what production runs, if anything."""
        return next((s for s in self.serving if s.environment == CHAMPION), None)
