"""All that a page says of one version, as facts."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlgitops.explain.counterfactual import Counterfactual
from mlgitops.explain.error_tree import ErrorTree
from mlgitops.explain.profile import Profile
from mlgitops.judgement import Judgement


@dataclass(frozen=True)
class Watched:
    """One run of the monitor on this version."""

    time: str
    decision: str
    sentence: str
    rows: int
    labels: int
    measured: float | None  # the primary metric, once labels arrived
    drift: float | None  # the largest, where 1 is where the alarm begins


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One version; `judgement` is what its verdict kept, empty without one."""

    name: str
    version: str  # "" of what is in build/
    manifest_sha256: str
    task: str
    made: str
    machinery: str
    train: int  # rows
    holdout: int
    judgement: Judgement = field(default_factory=Judgement)
    judged: str = ""  # when
    report: str = ""  # the whole report's path on the ledger
    loss: str  # the name of what a row loses
    errors: ErrorTree
    chosen: bool  # whether a person chose the rows, by their ids
    counterfactuals: list[Counterfactual] | None  # None: nothing is decided
    public: bool = False  # for all who see the release: no single row, no later run
    unchanged: list[str]  # columns that a counterfactual may not change
    profiles: list[Profile]
    runs: list[Watched]
