"""params.yaml, a dataclass per section: the one schema of all that it may hold; pure.

`params` is the parsed file. A section is checked when it is asked for, so that a
mistake in one stops nobody who reads another; `check` reads all of them. The gates are
in `mlgitops.judge.gates`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.schema import (
    At,
    Between,
    Distinct,
    SettingsError,
    Whole,
    near,
    read,
)
from mlgitops.pipeline.settings import (
    Params,
    Prepare,
    Share,
    Train,
    evaluate,
    load,
    misspelt,
    prepare,
    section,
    train,
)

__all__ = [
    "Params",
    "Prepare",
    "SettingsError",
    "Train",
    "evaluate",
    "load",
    "prepare",
    "section",
    "train",
]

Class = Annotated[str, Whole()]
Positive = Annotated[float, Between(0)]
Count = Annotated[int, Between(0, 10**9)]
Distance = Annotated[float, Between(1e-3, 10)]
SURE = 0.99  # that a sample is as precise as monitor.precision says


@dataclass(frozen=True)
class BinaryWorth:
    """What each of the four kinds of decision is worth."""

    unit: str
    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float


@dataclass(frozen=True)
class MulticlassWorth:
    """What each decision is worth, by the true class and the decided one."""

    unit: str
    worth: dict[Class, dict[Class, float]]


@dataclass(frozen=True)
class RegressionWorth:
    """What one unit too much and one too little cost."""

    unit: str
    over: Positive
    under: Positive


@dataclass(frozen=True)
class Fairness:
    """Which columns hold groups, and how many rows of one say something."""

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
    """What a build costs."""

    price_per_minute: Positive
    currency: str


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
    precision: Annotated[float, Between(1e-3, 0.1)]
    number: Distance
    category: Annotated[float, Between(1e-3, 1)]
    prediction: Distance
    max_missing: Share
    max_broken: Share
    max_corrupt: Share
    max_duplicate: Share
    min_group: Annotated[int, Between(10, 10**9)]
    confidence: Annotated[float, Between(0.5, 0.99999)]
    max_fall: Annotated[float, Between(0, 0.5)]
    min_gain: Annotated[float, Between(0, 0.5)]
    probe_rows: Annotated[int, Between(1000, 10**9)]
    columns: dict[str, Annotated[float, Between(1e-3, 1e3)]] = field(
        default_factory=dict
    )

    @property
    def sample_rows(self) -> int:
        """How many rows show every share of a column within `precision`.

        With 99 % confidence, for the whole distribution function at once. Massart
        (1990), Annals of Probability 18(3): n = ln(2 / 0.01) / (2 precision^2).
        """
        return math.ceil(math.log(2 / (1 - SURE)) / (2 * self.precision**2))

    def floor(self, kind: str, column: str = "") -> float:
        """Return the least distance that matters, of a "number" or "category"."""
        floor = self.number if kind == "number" else self.category
        return self.columns.get(column, floor)


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
class Deploy:
    """Where a release goes, how it is numbered, and how long a target may take."""

    environments: Annotated[tuple[str, ...], Distinct(1)] = ("staging", "production")
    bump: Literal["major", "minor", "patch"] = "minor"
    timeout_seconds: Annotated[float, Between(1, 86_400)] = 300


NOBODY = Override((), "admin")  # may overrule anything
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
GRID: Any = dict[str, Annotated[tuple[Any, ...], Distinct(1)]]  # any value to try


def business(params: Params, contract: Contract) -> Worth | None:
    """Return the section `business` for the contract's task; None without one.

    Raises:
        SettingsError: what is wrong with it; so do all of these.
    """
    if not given(params, "business"):
        return None
    found, at = section(params, "business")
    worth = read(WORTH[contract.task], found, at)
    if isinstance(worth, MulticlassWorth):
        _by_class(worth.worth, at.key("worth"), contract)
        for name, row in worth.worth.items():
            _by_class(row, at.key("worth").key(name), contract)
    return worth


def fairness(params: Params, contract: Contract) -> Fairness | None:
    """Return the section `fairness` for the contract's task; None without one."""
    if not given(params, "fairness"):
        return None
    found, at = section(params, "fairness")
    rules = read(FAIRNESS[contract.task], found, at)
    _of_contract(rules.columns, at, contract)
    return rules


def override(params: Params) -> Override:
    """Return the section `override`; without one nothing can be overruled."""
    if not given(params, "override"):
        return NOBODY
    return read(Override, *section(params, "override"))


def compute(params: Params) -> Compute | None:
    """Return the section `compute`; None without one."""
    if not given(params, "compute"):
        return None
    return read(Compute, *section(params, "compute"))


def experiment(params: Params) -> dict[str, tuple[Any, ...]]:
    """Return the grid: the path of each setting to the values to try."""
    found, at = section(params, "experiment")
    grid: dict[str, tuple[Any, ...]] = read(GRID, found, at)
    known = list(_paths({n: v for n, v in params.items() if n != "experiment"}))
    for path in grid:
        if path not in known:
            raise at.error(f"names {path}, which is not set here; {near(path, known)}")
    if not grid:
        raise at.wrong("settings with values to try, as in train.seed: [1, 2]", found)
    return grid


def monitor(params: Params) -> Monitor:
    """Return the section `monitor`."""
    return read(Monitor, *section(params, "monitor"))


def gate_bounds(params: Params, metrics: Collection[str]) -> dict[str, Bounds]:
    """Return the bounds of each of these metrics that has a gate."""
    gates, at = section(params, "gates")
    if not isinstance(gates, Mapping):
        raise at.wrong("entries such as `name: {min: 0.5}`", gates)
    return {n: metric_bounds(gates[n], at.key(n)) for n in gates if n in metrics}


def metric_bounds(entries: object, at: At) -> Bounds:
    """Return the bounds of one metric, at least one."""
    bounds = read(Bounds, entries, at)
    if bounds == Bounds():
        names = ", ".join(Bounds.__dataclass_fields__)
        raise at.wrong(f"entries, one or more of {names}", entries)
    low, high = bounds.min, bounds.max
    if low is not None and high is not None and low > high:
        raise at.key("min").error(f"is above max: {low:g} and {high:g}")
    return bounds


def retrain(params: Params) -> Retrain:
    """Return the section `retrain`."""
    return read(Retrain, *section(params, "retrain"))


def deploy(params: Params) -> Deploy:
    """Return the section `deploy`; without one its defaults."""
    if not given(params, "deploy"):
        return Deploy()
    return read(Deploy, *section(params, "deploy"))


def check(params: Params, contract: Contract) -> None:
    """Refuse a file of which any section is wrong, the gates aside."""
    misspelt(params)
    prepare(params)
    _of_contract(
        train(params, contract.task).columns, section(params, "train")[1], contract
    )
    evaluate(params)
    business(params, contract)
    fairness(params, contract)
    for each in (override, compute, deploy):
        each(params)
    for name, reader in OPTIONAL.items():
        if given(params, name):
            reader(params)


OPTIONAL = {"experiment": experiment, "monitor": monitor, "retrain": retrain}


def given(params: Params, name: str) -> bool:
    """Tell whether there is a section, whose name may have been misspelt."""
    if name not in params:
        misspelt(params)
    return name in params


def _of_contract(columns: Sequence[str], at: At, contract: Contract) -> None:
    """Refuse columns that the contract does not have."""
    for place, name in enumerate(columns):
        if name not in contract.columns:
            raise (
                at.key("columns")
                .entry(place)
                .error(
                    f"is '{name}', which is not a column of contract.yaml; "
                    f"{near(name, contract.columns)}"
                )
            )


def _by_class(row: Mapping[str, object], at: At, contract: Contract) -> None:
    """Refuse what does not name each class of the contract."""
    for name in row:
        if name not in contract.classes:
            what = f"is not a class of contract.yaml; {near(name, contract.classes)}"
            raise at.key(name).error(what)
    for name in contract.classes:
        if name not in row:
            raise at.lacks(name)


def _paths(params: Params, before: str = "") -> Iterator[str]:
    """Yield the path of every setting, such as train.seed."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _paths(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"
