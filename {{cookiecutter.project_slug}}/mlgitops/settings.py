"""params.yaml, a dataclass per section: the one schema of the whole file; pure.

`params` is the parsed file. A section is checked when it is asked for, so that a
mistake in one stops nobody who reads another; `check` reads all of them. The gates are
in `mlgitops.judge.gates`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar

from mlgitops import environment_order
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.schema import (
    Between,
    Distinct,
    Location,
    OrInteger,
    SettingsError,
    convert,
    near,
)
from mlgitops.pipeline.settings import (
    FILE,
    BinaryWorth,
    Params,
    Prepare,
    Share,
    Train,
    check_mitigation,
    check_split,
    evaluate,
    has_section,
    load,
    pointless,
    prepare,
    refuse_misspelt,
    required,
    section,
    train,
    trained,
)
from mlgitops.space import experiment

__all__ = ["BinaryWorth", "Params", "Prepare", "SettingsError", "Train"]
__all__ += ["evaluate", "experiment", "load", "prepare", "section", "train", "trained"]

T = TypeVar("T")
D = TypeVar("D")
Class = Annotated[str, OrInteger()]
Positive = Annotated[float, Between(0)]
Count = Annotated[int, Between(0, 10**9)]
Distance = Annotated[float, Between(1e-3, 10)]
SAMPLE_CONFIDENCE = 0.99  # that a sample is as precise as monitor.sample_precision says


@dataclass(frozen=True)
class MulticlassWorth:
    """What each decision is worth, by the true class and the decided one."""

    unit: str
    worth: dict[Class, dict[Class, float]]


@dataclass(frozen=True)
class RegressionWorth:
    """What predicting one unit too much or too little costs."""

    unit: str
    over: Positive
    under: Positive


@dataclass(frozen=True)
class Fairness:
    """Which columns hold groups, and the fewest rows of a group that is compared."""

    columns: Annotated[tuple[str, ...], Distinct()]
    min_rows: Count

    def limit(self, name: str) -> float:
        """Return the largest gap of a rate that is allowed, by the setting's name."""
        return float(getattr(self, name))


@dataclass(frozen=True)
class BinaryFairness(Fairness):
    """Gaps of how often 1 is decided: at all, and of each truth."""

    selection_rate_max: Positive
    equalized_odds_max: Positive


@dataclass(frozen=True)
class MulticlassFairness(Fairness):
    """Gaps of how often each class is decided, and how often wrongly."""

    selection_rate_max: Positive
    error_rate_max: Positive


@dataclass(frozen=True)
class RegressionFairness(Fairness):
    """Gaps of the mean error and the mean absolute error."""

    mean_error_max: Positive
    absolute_error_max: Positive


@dataclass(frozen=True)
class Override:
    """Which refusals a person may overrule, and with which role on GitHub."""

    checks: Annotated[tuple[str, ...], Distinct()]
    role: Literal["write", "maintain", "admin"]


@dataclass(frozen=True)
class Compute:
    """What a build costs, and where fits and batches run."""

    price_per_minute: Positive
    currency: str
    backend: Literal["local", "dask"] = "local"  # where searches, files and scans run


@dataclass(frozen=True)
class Monitor:
    """How production is compared with what a version was trained on."""

    window_days: Annotated[float, Between(0.01, 10_000)]
    every_days: Annotated[float, Between(0.01, 366)]
    min_rows: Annotated[int, Between(30, 10**9)]
    min_labels: Annotated[int, Between(100, 10**9)]
    false_alarm_rate: Annotated[float, Between(1e-4, 0.2)]
    block_days: Annotated[float, Between(0, 366)]
    confirm_parts: Annotated[int, Between(1, 10)]
    cooldown_days: Annotated[float, Between(0, 10_000)]
    sample_precision: Annotated[float, Between(1e-3, 0.1)]
    min_shift_number: Distance
    min_shift_category: Annotated[float, Between(1e-3, 1)]
    min_shift_prediction: Distance
    max_missing: Share
    max_broken: Share
    max_corrupt: Share
    max_duplicate: Share
    min_group: Annotated[int, Between(10, 10**9)]
    confidence: Annotated[float, Between(0.5, 0.99999)]
    max_fall: Annotated[float, Between(0, 0.5)]
    min_gain: Annotated[float, Between(0, 0.5)]
    probe_rows: Annotated[int, Between(1000, 10**9)]
    min_shift_columns: dict[str, Annotated[float, Between(1e-3, 1e3)]] = field(
        default_factory=dict
    )
    max_unlogged: Share = 0.05

    @property
    def sample_rows(self) -> int:
        """How many rows show every share of a column within `sample_precision`.

        With 99 % confidence, for the whole distribution function at once. Massart
        (1990), Annals of Probability 18(3): n = ln(2 / 0.01) / (2 sample_precision^2).
        """
        return math.ceil(
            math.log(2 / (1 - SAMPLE_CONFIDENCE)) / (2 * self.sample_precision**2)
        )

    def floor(self, kind: str, column: str = "") -> float:
        """Return the least distance that matters, of a "number" or "category"."""
        number = kind == "number"
        floor = self.min_shift_number if number else self.min_shift_category
        return self.min_shift_columns.get(column, floor)


@dataclass(frozen=True)
class Bounds:
    """What a metric is held to by its gate; what is None bounds nothing."""

    min: float | None = None
    max: float | None = None
    margin: Positive | None = None


@dataclass(frozen=True)
class Retrain:
    """The data of the retraining pull request, and how often there may be one."""

    keep_days: Annotated[float, Between(0.01, 100_000)]
    min_days: Annotated[float, Between(0, 100_000)]


@dataclass(frozen=True)
class Retention:
    """Which versions stay in storage: so many of the newest, and so many days."""

    versions: Annotated[int, Between(2, 10**6)]
    days: Annotated[float, Between(1, 100_000)]


@dataclass(frozen=True)
class Canary:
    """Which share of production's rows the next release answers first, and how long."""

    share: Annotated[float, Between(0.001, 0.5)]
    hours: Annotated[float, Between(0.1, 8_760)]


@dataclass(frozen=True)
class Deploy:
    """Where a release goes, how it is numbered, and how long a target may take."""

    environments: Annotated[tuple[str, ...], Distinct(1)] = ("staging", "production")
    bump: Literal["major", "minor", "patch"] = "minor"
    timeout_seconds: Annotated[float, Between(1, 86_400)] = 300
    canary: Canary | None = None
    shadow: str | None = None  # an environment, whose version a cluster's pods shadow


@dataclass(frozen=True)
class Inventory:
    """What a list of all models says of this one, in the organisation's own words."""

    owner: str = ""
    risk: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Alerts:
    """How the receiver of alerts takes them; its address is a secret."""

    format: Literal["slack", "teams", "json"]


Worth = BinaryWorth | MulticlassWorth | RegressionWorth
WORTH: dict[str, type[Worth]] = {
    "binary": BinaryWorth,
    "multiclass": MulticlassWorth,
    "regression": RegressionWorth,
}
FAIRNESS: dict[str, type[Fairness]] = {
    "binary": BinaryFairness,
    "multiclass": MulticlassFairness,
    "regression": RegressionFairness,
}


def optional(kind: type[T], name: str, default: D) -> Callable[[Params], T | D]:
    """Return the function that reads a section, or has a default without one."""
    read_section = required(kind, name)
    return lambda params: read_section(params) if has_section(params, name) else default


alerts = optional(Alerts, "alerts", None)
compute = optional(Compute, "compute", None)
deploy = optional(Deploy, "deploy", Deploy())
inventory = optional(Inventory, "inventory", Inventory())
monitor = required(Monitor, "monitor")
override = optional(Override, "override", Override((), "admin"))  # nothing is overruled
retrain = required(Retrain, "retrain")
retention = required(Retention, "retention")


def backend(params: Params) -> str:
    """Return where tasks run: this process, without a section `compute`, too."""
    section = compute(params)
    return section.backend if section else "local"


def business(params: Params, contract: Contract) -> Worth | None:
    """Return the section `business` for the contract's task; None without one.

    Raises:
        SettingsError: what is wrong with it; so do all of these.
    """
    worth = optional(WORTH[contract.task], "business", None)(params)
    if isinstance(worth, MulticlassWorth):
        location = FILE.key("business").key("worth")
        _check_classes(worth.worth, location, contract)
        for name, row in worth.worth.items():
            _check_classes(row, location.key(name), contract)
    if worth and (problem := _pointless(worth)):
        raise FILE.key("business").error(problem)
    return worth


def _pointless(worth: Worth) -> str:
    """Return why no model could decide better than one decision for every row."""
    if isinstance(worth, RegressionWorth):
        good = worth.over > 0 and worth.under > 0
        return "" if good else "needs over and under above 0: a mistake has to cost"
    if isinstance(worth, MulticlassWorth):
        rows = worth.worth.values()
        best = [{d for d in row if row[d] == max(row.values())} for row in rows]
        for decision in sorted(set.intersection(*best)):
            return f"gives {decision} as the best decision for every row"
        return ""
    return pointless(worth)


def fairness(params: Params, contract: Contract) -> Fairness | None:
    """Return the section `fairness` for the contract's task; None without one."""
    rules = optional(FAIRNESS[contract.task], "fairness", None)(params)
    if rules:
        _check_columns(rules.columns, "fairness", contract)
        for index, name in enumerate(rules.columns):
            if contract.columns[name].type == "text":
                location = FILE.key("fairness").key("columns").entry(index)
                problem = f"is '{name}', free text, which has no groups to compare"
                raise location.error(f"{problem}: name a column of groups")
    return rules


def gate_bounds(params: Params, metrics: Collection[str]) -> dict[str, Bounds]:
    """Return the bounds of each of these metrics that has a gate."""
    gates, location = section(params, "gates")
    if not isinstance(gates, Mapping):
        raise location.wrong("entries such as `name: {min: 0.5}`", gates)
    return {n: metric_bounds(gates[n], location.key(n)) for n in gates if n in metrics}


def metric_bounds(entries: object, location: Location) -> Bounds:
    """Return the bounds of one metric, at least one."""
    bounds = convert(Bounds, entries, location)
    if bounds == Bounds():
        names = ", ".join(Bounds.__dataclass_fields__)
        raise location.wrong(f"entries, one or more of {names}", entries)
    low, high = bounds.min, bounds.max
    if low is not None and high is not None and low > high:
        raise location.key("min").error(f"is above max: {low:g} and {high:g}")
    return bounds


def check(params: Params, contract: Contract) -> None:
    """Refuse a file of which any section is wrong, the gates aside."""
    refuse_misspelt(params)
    for read in (alerts, evaluate, override, compute, inventory):
        read(params)
    to = deploy(params)
    order, section = to.environments, FILE.key("deploy")
    environment_order.check(order, to.shadow, to.canary is not None, section)
    check_split(prepare(params), contract)
    recipe = train(params, contract.task)
    _check_columns(recipe.columns, "train", contract)
    check_mitigation(recipe, contract)
    business(params, contract)
    fairness(params, contract)
    readers = {"experiment": experiment, "retrain": retrain, "retention": retention}
    for name, reader in readers.items():
        if name in params:
            reader(params)
    if "monitor" in params:
        columns = monitor(params).min_shift_columns
        location = FILE.key("monitor").key("min_shift_columns")
        for name in columns:
            if name not in contract.columns:
                entries = params["monitor"]["min_shift_columns"]
                raise location.unknown(name, entries, contract.columns)


def _check_columns(names: Sequence[str], section: str, contract: Contract) -> None:
    """Refuse columns that the contract does not have."""
    location = FILE.key(section).key("columns")
    location.demand(names, contract.columns, "a column of contract.yaml")


def _check_classes(
    row: Mapping[str, object], location: Location, contract: Contract
) -> None:
    """Refuse keys that are not the classes of the contract."""
    for name in row:
        if name not in contract.classes:
            guess = near(name, contract.classes)
            problem = f"is not a class of contract.yaml; {guess}"
            raise location.key(name).error(problem)
    for name in contract.classes:
        if name not in row:
            raise location.lacks(name)
