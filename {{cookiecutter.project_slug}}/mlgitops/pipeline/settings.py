"""The sections of params.yaml that the stages read; pure.

Those of everyone else are in `mlgitops.settings`, so that a change of them makes no
stage run again. `params` is the parsed file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar

from mlgitops.pipeline import provenance
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.provenance import Pretrained
from mlgitops.pipeline.schema import (
    OWN,
    PARAMS,
    Between,
    Distinct,
    Entries,
    Location,
    OrInteger,
    convert,
    mapping,
    near,
    refuse_unknown,
)

FILE = Location(PARAMS)
BEST = "best"  # the threshold that decisions on rows left out are worth most with
SECTIONS = (
    *("prepare", "train", "evaluate", "experiment", "gates", "business", "fairness"),
    *("override", "compute", "monitor", "retrain", "retention", "deploy", "inventory"),
    "alerts",
)

T = TypeVar("T")
Params = Mapping[str, Any]
Days = Annotated[float, Between(1e-3, 1e5)]
Share = Annotated[float, Between(0, 1)]
Columns = Annotated[tuple[str, ...], Distinct(1)]
KEYS = {  # of the section `prepare`, by the split that they are for
    "time": ("holdout_days", "train_days"),
    "random": ("holdout_share", "seed"),
    "group": ("holdout_share", "seed"),
    "column": ("holdout",),
}
ANY_SPLIT = ("split", "batch")
AT_ONCE = ("calibration", "early_stopping", "intervals", "mitigation", "pretrained")
LEARNT = ("weights", "calibration", "monotonic", "early_stopping", "mitigation")
ROLES = {  # what a split needs of contract.yaml, and which column that is
    "time": ("time", "the column with the time of each row's event"),
    "group": ("entity", "the column of the entity, such as a customer"),
    "column": ("part", "the column that says which part of the data a row belongs to"),
}


@dataclass(frozen=True)
class Prepare:
    """How the rows are split; a key of another split has its default.

    With `batch` no more than so many rows are in memory at once.
    """

    split: Literal["time", "random", "group", "column"]
    holdout_days: Days = 0
    train_days: Days = 0
    holdout_share: Annotated[float, Between(0.001, 0.9)] = 0
    seed: Annotated[int, Between(0, 2**32 - 1)] = 0
    holdout: Annotated[tuple[Annotated[str, OrInteger()], ...], Distinct(1)] = ()
    batch: Annotated[int, Between(1_000, 10**9)] | None = None  # rows held at once


@dataclass(frozen=True)
class Intervals:
    """How often the truth is inside what is said beside a prediction.

    `share` of the training rows are not fitted on, but calibrated on. For classes only:
    `by_class` promises the coverage of each true class, not of all rows together, and
    with `abstain` nothing is decided where a set has not exactly one class.
    """

    coverage: Annotated[float, Between(0.5, 0.999)]
    share: Annotated[float, Between(0.01, 0.5)] = 0.2
    by_class: bool = False
    abstain: bool = False


@dataclass(frozen=True)
class Mitigation:
    """How the rows are weighted so that no group of these columns has a bias."""

    method: Literal["reweighing"]
    columns: Columns


@dataclass(frozen=True)
class BinaryWorth:
    """What each of the four kinds of decision is worth."""

    unit: str
    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float


@dataclass(frozen=True)
class EarlyStopping:
    """On which share of the training rows boosting stops, and how patiently."""

    share: Annotated[float, Between(0.01, 0.5)]
    rounds: Annotated[int, Between(1, 10_000)]


@dataclass(frozen=True)
class Train:
    """What is fitted on which columns; `threshold` is for the task binary.

    With `worth` the threshold is still to be chosen by it (`threshold: best`).
    """

    seed: Annotated[int, Between(0, 2**32 - 1)]
    estimator: str
    columns: Columns
    parity: Share
    threshold: Share | None = None
    intervals: Intervals | None = None
    mitigation: Mitigation | None = None
    weights: str | None = None  # balanced, or a column of the contract
    calibration: Literal["sigmoid", "isotonic"] | None = None
    monotonic: dict[str, Literal["increasing", "decreasing"]] = field(
        default_factory=dict
    )
    early_stopping: EarlyStopping | None = None
    worth: BinaryWorth | None = field(default=None, metadata=OWN)
    pretrained: Pretrained | None = None  # a file that was not trained here
    batch: Annotated[int, Between(1, 10**9)] | None = None  # rows held at once
    arguments: Mapping[str, Params] = field(default_factory=dict, metadata=OWN)
    section: Params = field(default_factory=dict, metadata=OWN)  # as it was written


@dataclass(frozen=True)
class Evaluate:
    """The settings of the metrics."""

    bins: Annotated[int, Between(1, 1000)]


def load(text: str | bytes) -> dict[str, Any]:
    """Return the parsed params.yaml; its sections are not checked.

    Raises:
        SettingsError: it is not YAML, or holds no entries.
    """
    return mapping(text, PARAMS)


def train(params: Params, task: str) -> Train:
    """Return the section `train`; sections in it are arguments of estimators."""
    from mlgitops.pipeline.task import TASKS  # it brings numpy, which some start before

    entries, location = section(params, "train")
    if not isinstance(entries, Mapping):
        return convert(Train, entries, location)
    arguments = {
        str(name): convert(dict[str, Any], value or {}, location.key(name))
        for name, value in entries.items()
        if name not in Train.__dataclass_fields__
        and (value is None or isinstance(value, Mapping))
    }
    own = Entries(entries, getattr(entries, "lines", {})).without(arguments)
    needed, worth = "threshold" in TASKS[task].needs, None
    if needed and "threshold" not in entries:
        raise location.lacks("threshold")
    if not needed and "threshold" in entries:
        problem = f"is for the task binary, not {task}: remove the line"
        raise location.key("threshold").error(problem)
    threshold = entries.get("threshold")
    if isinstance(threshold, str) and threshold.isalpha() and threshold != BEST:
        allowed = f"a number between 0 and 1, or {BEST}"
        raise location.key("threshold").wrong(allowed, threshold)
    if threshold == BEST:
        own, worth = own.without(["threshold"]), _worth_of_decisions(params)
    recipe = convert(Train, own, location)
    for name in ("by_class", "abstain"):
        if getattr(recipe.intervals, name, False) and task == "regression":
            problem = "is for classes, not regression: remove it"
            raise location.key("intervals").key(name).error(problem)
    if recipe.calibration and TASKS[task].kind != "classifier":
        problem = f"is for probabilities, which the task {task} has not"
        raise location.key("calibration").error(f"{problem}: remove the line")
    provenance.check(recipe.estimator, recipe.columns, recipe.pretrained)
    if recipe.pretrained and recipe.monotonic:
        problem = "promises nothing where train.pretrained computes features"
        raise location.key("monotonic").error(f"{problem}: remove one of them")
    if recipe.estimator == provenance.ESTIMATOR:
        for name in LEARNT:
            if getattr(recipe, name):
                problem = "is for an estimator that is trained here, and "
                problem += f"train.estimator is {recipe.estimator}: remove the line"
                raise location.key(name).error(problem)
    if recipe.batch:
        _refuse_at_once(recipe, worth, location)
    return replace(recipe, arguments=arguments, section=entries, worth=worth)


def _refuse_at_once(recipe: Train, worth: BinaryWorth | None, train: Location) -> None:
    """Refuse settings that need all training rows at once, beside `batch`."""
    lines = [name for name in AT_ONCE if getattr(recipe, name)]
    for name in [*lines, *(["threshold"] if worth else [])]:
        raise train.key(name).error(
            f"{'is best, which ' if name == 'threshold' else ''}needs all training "
            f"rows at once, and train.batch holds {recipe.batch:,} of them: remove one"
        )


def trained(manifest: Mapping[str, Any], task: str) -> Train:
    """Return the recipe that a version's manifest says it was built by.

    Raises:
        SettingsError, KeyError: it is not as the stage train writes it.
    """
    params = {"train": manifest["params"]}
    if "business" in manifest:  # by which its threshold was chosen
        params["business"] = manifest["business"]
    return train(params, task)


def _worth_of_decisions(params: Params) -> BinaryWorth:
    """Return the section `business`, by which a threshold is chosen."""
    location = FILE.key("train").key("threshold")
    if not has_section(params, "business"):
        raise location.error(
            "is best, which is chosen by what decisions are worth, and there is no "
            "section `business`: write one, or a number between 0 and 1"
        )
    worth = required(BinaryWorth, "business")(params)
    if problem := pointless(worth):
        raise FILE.key("business").error(problem)
    return worth


def pointless(worth: BinaryWorth) -> str:
    """Return why no model could decide better than one decision for every row."""
    if worth.true_positive > worth.false_negative:
        if worth.true_negative > worth.false_positive:
            return ""
    return (
        "needs true_positive above false_negative and true_negative above "
        "false_positive: a right decision has to be worth more than a wrong one"
    )


def prepare(params: Params) -> Prepare:
    """Return the section `prepare`: which split, and the keys of that split only.

    Raises:
        SettingsError: a key is missing, unknown, or of another split.
    """
    entries, location = section(params, "prepare")
    if not isinstance(entries, Mapping):
        return convert(Prepare, entries, location)
    refuse_unknown(Prepare, entries, location)
    if "split" not in entries:
        raise FILE.error(
            "required key 'prepare.split' is missing (check the spelling): write "
            "`split: time` (the newest rows are held out), or random, group or column"
        )
    rules = convert(Prepare, entries, location)
    for name in entries:
        if name not in (*ANY_SPLIT, *KEYS[rules.split]):
            owner = " and ".join(kind for kind, names in KEYS.items() if name in names)
            problem = f"is for the split {owner}, not {rules.split}: remove the line"
            raise location.key(name).error(problem)
    for name in KEYS[rules.split]:
        if name not in entries:
            raise location.lacks(name)
    return rules


def check_split(rules: Prepare, contract: Contract) -> None:
    """Refuse a split that needs a column which the contract does not name."""
    role, column = ROLES.get(rules.split, ("", ""))
    if role and not getattr(contract, role):
        others = " or ".join(kind for kind in KEYS if kind != rules.split)
        raise (
            FILE.key("prepare")
            .key("split")
            .error(
                f"is {rules.split}, and contract.yaml has no line `{role}:`; write "
                f"`{role}: NAME` there, where NAME is {column}, or split by {others}"
            )
        )


def check_mitigation(recipe: Train, contract: Contract) -> None:
    """Refuse a mitigation of columns that have no groups, or of numbers.

    Raises:
        SettingsError: with what to do.
    """
    from mlgitops.pipeline.task import TASKS

    if recipe.mitigation is None:
        return
    location = FILE.key("train").key("mitigation")
    if TASKS[contract.task].kind != "classifier":
        raise location.error(
            f"is for classes, and the task of contract.yaml is {contract.task}: remove "
            "the entry; `fairness` measures how errors differ between groups"
        )
    location, known = location.key("columns"), contract.columns
    names = recipe.mitigation.columns
    location.demand(names, known, "a column of contract.yaml")
    for index, name in enumerate(names):
        if known[name].type == "text":
            problem = f"is '{name}', free text, which has no groups"
            raise location.entry(index).error(f"{problem}: name a column of groups")


def section(params: Params, name: str) -> tuple[object, Location]:
    """Return a section and where it stands.

    Raises:
        SettingsError: there is none.
    """
    if not has_section(params, name):
        raise FILE.lacks(name)
    return params[name], FILE.key(name)


def required(kind: type[T], name: str) -> Callable[[Params], T]:
    """Return the function that reads a section, or raises SettingsError."""
    return lambda params: convert(kind, *section(params, name))


def has_section(params: Params, name: str) -> bool:
    """Tell whether there is a section; its name may be misspelt where there is not."""
    if name not in params:
        refuse_misspelt(params)
    return name in params


def refuse_misspelt(params: Params) -> None:
    """Refuse a section whose name is nearly a known one; others are a team's own."""
    for name in params:
        if name not in SECTIONS and near(name, SECTIONS).startswith("did"):
            raise FILE.unknown(name, params, SECTIONS)


evaluate = required(Evaluate, "evaluate")
