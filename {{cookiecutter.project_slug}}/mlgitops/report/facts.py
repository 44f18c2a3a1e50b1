"""What a report is made of: the judgement, what came of it, and where to look."""

from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec

from mlgitops.judgement import Check, Curves, Judgement

T = TypeVar("T")
State = Literal["ready", "here", "blocked"]


class Setting(msgspec.Struct, frozen=True):
    """A setting of training that the two models differ in, as params.yaml has it."""

    name: str
    champion: object
    challenger: object


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """How the challenger was built, and what that cost, where a price is set."""

    stages_run: list[str]
    restored: bool
    seconds: float
    before: float | None = 0.0  # of the earlier run that built it; None: not recorded
    cost: float | None = None  # of both
    priced: bool = False  # whether params.yaml has a price
    currency: str = ""


class Facts(msgspec.Struct, kw_only=True):
    """All that a report says; what is not known stays out of it.

    ``next``, ``expectation`` and the cautions are Markdown: what a stranger wrote in
    them has to be inert already.
    """

    state: State
    verdict: str
    next: str = ""
    checks: list[Check] = []
    cautions: list[str] = []
    judgement: Judgement = msgspec.field(default_factory=Judgement)
    expectation: str = ""
    no_replay: str = ""  # why production's requests were not replayed
    params: list[Setting] = []
    build: Build | None = None
    uses: int = 0  # of the holdout
    override: bool = False  # whether all that failed may be overruled
    manifest_sha256: str = ""
    data_sha256: str = ""
    head_sha: str = ""
    rules_sha: str = ""
    machinery: str = ""
    project: str = ""
    model: str = ""
    champion: str = ""  # its version
    date: str = ""
    pull_request: int = 0
    run_url: str = ""
    artifact_url: str = ""

    def by_model(self, part: Callable[[Curves], T | None]) -> dict[str, T]:
        """Return a part of each model's curves by the model, where it was measured."""
        curves = self.judgement.curves
        parts = [(name, part(each)) for name, each in curves.items()] if curves else []
        return {name: values for name, values in parts if values}
