"""What the judge finds, as typed facts: numbers, which become text in the report only.

The judge's child writes them, whoever reads them back checks them, and the ledger keeps
them. Nothing here knows how a number is found or shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

T = TypeVar("T")

Statistic = Literal["value", "lower bound", "upper bound"]  # what of the metric is held
Operator = Literal["", ">=", "<="]
LONGEST = 2_000  # characters of a refusal's reason
IDS = (  # of the checks that are not of one metric, column or test
    *("artifact", "lock", "manifest", "merge", "train", "identity", "judge", "data"),
    *("holdout_unseen", "holdout_rows", "holdout_classes", "holdout_groups"),
    *("model_columns", "model_file", "predictions", "serving", "slices", "latency"),
    *("model_size", "pretrained", "pretrained_model", "shadow"),
)
TITLES = {name: name.replace("_", " ").capitalize() for name in IDS} | {
    "no_change": "No model change",
    "settings": "Settings of main",
    "parity": "Export parity",
    "pretrained": "Pretrained file",
    "pretrained_model": "Model of the pretrained file",
}


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One rule and what it found: ``value`` stands to ``limit`` as ``operator`` says.

    What is held against the limit is a metric's value, or an end of the interval of a
    difference; ``estimate`` and ``interval`` are then that difference's.
    """

    id: str  # stable: roc_auc.min, slices, fairness.origin.selection_rate
    title: str
    passed: bool
    reason: str
    metric: str = ""
    statistic: Statistic = "value"
    value: float | None = None
    operator: Operator = ""
    limit: float | None = None
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    unit: str = ""  # rows, share, MB, ms, of a column; none for a metric
    gate: bool = False  # shown before the rest


class Refused(Exception):
    """What was proposed cannot be judged: the check it failed and one sentence."""

    def __init__(self, check: str, reason: str, **numbers: Any) -> None:
        """Make the failed check; ``numbers`` are further fields of it."""
        # A stranger's words may be in it: of any length, and not valid Unicode.
        reason = reason[:LONGEST].encode("utf-8", "replace").decode()
        super().__init__(reason)
        self.check = Check(
            id=check, title=TITLES[check], passed=False, reason=reason, **numbers
        )


class ByModel(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One fact about each model; about the champion where there is one."""

    champion: T | None = None
    challenger: T

    def items(self) -> Iterator[tuple[str, T]]:
        """Yield each model's name and fact, the champion's first."""
        if self.champion is not None:
            yield "champion", self.champion
        yield "challenger", self.challenger


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A number of both models on the same rows, and the interval of the difference."""

    champion: float | None = None
    challenger: float
    difference: float | None = None
    low: float | None = None
    high: float | None = None


class MetricResult(Compared, frozen=True, kw_only=True):
    """A metric of both models."""

    id: str
    label: str
    better: Literal["higher", "lower"]
    method: str = ""  # of the interval


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of the holdout; times in ISO 8601, where rows have one."""

    data: int
    held_out: int
    since: str = ""
    until: str = ""
    compared: int  # of those held out, new to the champion as well
    target: str


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """How rows are held out; what a kind does not have is empty."""

    kind: Literal["time", "random", "group", "column"]
    timed: bool  # whether rows have a time
    share: float = 0.0  # of the rows, or groups, that are held out
    seed: int = 0
    column: str = ""  # of the groups, or of the parts
    values: list[str] = []  # parts that are held out
    groups: int = 0  # that are held out


class Entity(msgspec.Struct, frozen=True):
    """The column of the entities that rows belong to, and how many there are."""

    column: str
    count: int


class McNemar(msgspec.Struct, frozen=True):
    """McNemar's test: the rows that only one of the models is right on."""

    only_champion_right: int
    only_challenger_right: int
    p: float


class Power(msgspec.Struct, frozen=True):
    """The smallest true difference that these rows show with this probability."""

    smallest: float
    power: float


class Bin(msgspec.Struct, frozen=True):
    """A bin of the calibration table."""

    low: float
    high: float
    rows: int
    predicted: float
    observed: float


class Residual(msgspec.Struct, frozen=True):
    """Target minus prediction, of rows with predictions from low to high."""

    low: float
    high: float
    rows: int
    mean: float
    p10: float
    p90: float


class Confusion(msgspec.Struct, frozen=True):
    """The four counts of the decisions at a threshold."""

    threshold: float
    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


class Matrix(msgspec.Struct, frozen=True):
    """Rows by true class and decision, [k][k]."""

    classes: list[str]
    cells: list[list[int]]


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """What is drawn of one model; a task has some of them."""

    calibration: list[Bin] | None = None
    roc: list[tuple[float, float]] | None = None  # false, true positive rate
    confusion: Confusion | None = None
    matrix: Matrix | None = None
    residuals: list[Residual] | None = None


class Best(msgspec.Struct, frozen=True, kw_only=True):
    """The most that the predictions could be worth, and the change that gives it."""

    best: float
    threshold: float | None = None
    best_threshold: float | None = None
    shift: float | None = None  # added to every prediction
    expected: bool = False  # by deciding what is expected to be worth most


class Business(Compared, frozen=True, kw_only=True):
    """What ``per`` decisions are worth, in a unit of the team's.

    Without a champion the difference is to doing nothing, where the task knows that.
    """

    unit: str
    per: int
    best: Best
    nothing: float | None = None


class ChosenThreshold(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold that the build chose by `business`, and what it was chosen on."""

    threshold: float
    rows: int  # of the training rows, each predicted by a model not fitted on it
    worth: float  # per ``per`` decisions on these rows
    per: int
    unit: str


class DecisionValue(Compared, frozen=True, kw_only=True):
    """What decisions are worth: 0 as the best constant one, 1 as perfect ones.

    Without a champion the interval is that of the challenger's own value.
    """

    constant: int | float | str  # the best decision that is the same for every row
    threshold: float | None = None  # main's, which implies what a mistake costs
    stated: bool = False  # what a decision is worth is stated by main's `business`


class Covered(msgspec.Struct, frozen=True, kw_only=True):
    """How often the truth of some rows is inside what is said, and how much that is."""

    group: str = ""  # a class, or a range of predictions; empty for all rows
    rows: int
    coverage: float
    low: float  # its interval
    high: float
    size: float  # mean width of intervals, or mean number of classes in a set


class Abstention(msgspec.Struct, frozen=True, kw_only=True):
    """What deciding only on rows with exactly one class in their set is like."""

    decided: int
    rows: int
    right: float  # share of right decisions, if every row was decided
    right_decided: float | None  # on the rows that are decided
    worth: float | None = None  # of `Business.per` decisions on these


class Intervals(msgspec.Struct, frozen=True, kw_only=True):
    """What a model says beside its predictions, held against the holdout."""

    method: str
    sets: bool  # of classes; else intervals of numbers
    by_class: bool  # the coverage is promised for each true class
    promised: float
    calibrated: int  # rows of the training data that were left out of the fit
    every: Covered
    groups: list[Covered] = []
    abstention: Abstention | None = None


class Slice(Compared, frozen=True, kw_only=True):
    """A loss in the rows of one value of a column."""

    column: str
    value: str
    rows: int
    failed: bool = False


class Slices(msgspec.Struct, frozen=True):
    """The worst of the slices that were looked at."""

    metric: str
    looked_at: int
    rows: list[Slice]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The rates of one group, in the order of `Fairness.rates`."""

    group: str
    rows: int
    champion: list[float | None] | None = None
    challenger: list[float | None]


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """The largest gap of a rate, between a pair of groups, and its limit."""

    rate: str
    champion: float | None
    challenger: float
    low: float
    high: float
    pair: tuple[str, str]  # the group with the higher rate first
    limit: float


class Fairness(msgspec.Struct, frozen=True):
    """The rates of the groups of one column, and their gaps."""

    column: str
    rates: list[str]
    groups: list[Group]
    gaps: list[Gap]


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """A number of the same model without and with mitigation, on the same rows."""

    label: str
    unmitigated: float
    mitigated: float
    difference: float
    low: float | None = None
    high: float | None = None
    unit: str = ""

    @property
    def shown(self) -> int:
        """Return -1 where the difference is shown to be below 0, 1 above, else 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


class GapEffect(Effect, frozen=True, kw_only=True):
    """What mitigation does to a gap between the groups of a column."""

    column: str


class Mitigation(msgspec.Struct, frozen=True, kw_only=True):
    """How bias was mitigated, what that gains, and what it costs."""

    method: str
    columns: list[str]
    weights: tuple[float, float]  # the smallest and the largest of a training row
    worth: float  # how many unweighted rows are worth as much, as a share: Kish (1965)
    threshold: float | None = None  # of both models
    gaps: list[GapEffect]
    price: list[Effect]

    @property
    def lowers(self) -> bool:
        """Tell whether any gap is shown to be lower."""
        return any(gap.shown < 0 for gap in self.gaps)


Fall = tuple[float, float, float]  # mean, least and most of the repeats


class Importance(msgspec.Struct, frozen=True, kw_only=True):
    """How much the primary metric falls when a column is shuffled."""

    column: str
    champion: Fall | None = None
    challenger: Fall | None = None


class Dependence(msgspec.Struct, frozen=True, kw_only=True):
    """The mean prediction with a column set to each of a few values."""

    column: str
    places: list[str]
    of: str = ""  # the class whose probability it is
    champion: list[float] | None = None
    challenger: list[float] | None = None


class Prediction(msgspec.Struct, frozen=True):
    """A number; of several classes, the probability of the class that is named."""

    value: float
    name: str = ""


class Reason(msgspec.Struct, frozen=True):
    """How far a column's value moves a prediction."""

    column: str
    value: str
    moved: float


class Flip(msgspec.Struct, frozen=True, kw_only=True):
    """A row that the two models decide differently, and what moved the challenger."""

    champion: Prediction
    challenger: Prediction
    truth: int | float | str
    reasons: list[Reason]


class Footprint(msgspec.Struct, frozen=True):
    """How long one row takes, and how large the file is."""

    p50_ms: float
    p99_ms: float
    megabytes: float


class RowChanges(msgspec.Struct, frozen=True):
    """How the rows of two tables differ."""

    champion: int
    challenger: int
    added: int
    added_inside: int  # not newer than the champion's newest row
    removed: int
    removed_inside: int  # the period that the challenger's table covers
    changed: int


class TargetRate(msgspec.Struct, frozen=True, tag=True):
    """The shares of 1 in two tables."""

    old: float
    new: float


class TargetSpread(msgspec.Struct, frozen=True, tag=True):
    """Mean and standard deviation of a number in two tables."""

    mean: tuple[float, float]
    spread: tuple[float, float]


class TargetShares(msgspec.Struct, frozen=True, tag=True):
    """Each class's share in two tables, or among two models' decisions."""

    classes: list[tuple[str, float, float]]


class ColumnChange(msgspec.Struct, frozen=True, kw_only=True):
    """How far a column moved from one table to another."""

    column: str
    distance: float | None = None
    missing: tuple[float, float]
    new: list[str] = []  # categories, where they may be named
    new_count: int = 0


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """How the data differs from the champion's; unknown without rows."""

    same: bool
    rows: RowChanges | None = None
    target: TargetRate | TargetSpread | TargetShares | None = None
    columns: list[ColumnChange] = []


class YesNoMoves(msgspec.Struct, frozen=True, tag=True):
    """How decisions of yes and no change; `yes` are both models' shares of it."""

    to_yes: int
    to_no: int
    yes: tuple[float, float]


class ClassMoves(msgspec.Struct, frozen=True, tag=True):
    """How decided classes change: from, to, rows; and each class's two shares."""

    flips: int
    moves: list[tuple[str, str, int]]
    shares: list[tuple[str, float, float]]


class NumberMoves(msgspec.Struct, frozen=True, tag=True):
    """How numbers move: mean, median and 90 % of the change; both means."""

    up: int
    down: int
    change: tuple[float, float, float]
    mean: tuple[float, float]


class Affected(msgspec.Struct, frozen=True):
    """The requests of one category, and how many flip (of numbers, how far)."""

    column: str
    value: str
    requests: int
    flips: float


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """Production's newest requests, predicted again; or why they were not."""

    why: str = ""
    requests: int = 0
    unreadable: int = 0  # newest lines of the log that are no request
    since: str = ""
    until: str = ""
    moves: YesNoMoves | ClassMoves | NumberMoves | None = None
    groups: list[Affected] = []


class Estimate(msgspec.Struct, frozen=True):
    """A number and the ends of its interval."""

    value: float
    low: float
    high: float


class Shadow(msgspec.Struct, kw_only=True):
    """What a shadow of this version predicted of production's requests, or why not.

    A difference is the shadow's number minus the champion's.
    """

    why: str = ""
    rows: int = 0  # that the champion answered in this time
    pairs: int = 0  # of these, predicted by both
    bounded: int = 0  # lines of a log that were read, where it has more
    since: str = ""
    until: str = ""
    confidence: float = 0.0
    entity: str = ""  # whose rows count as one in the intervals
    changed: Estimate | None = None  # share of decisions; None for numbers
    of: str = ""  # the class, of several, whose probability moved most
    shift: Estimate | None = None  # mean of a prediction's difference
    moved: float = 0.0  # mean distance of a row's two predictions
    distance: float = 0.0  # of the distributions, in the champion's deviations
    cpu_ms: tuple[float, float] | None = None  # of a row: median and 99th percentile


class Judgement(msgspec.Struct, kw_only=True):
    """All that the judge finds about a challenger."""

    task: str = ""
    checks: list[Check] = []
    cautions: list[str] = []
    held_out: tuple[str, str] | None = None  # in ISO 8601, where that is by time
    split: Split | None = None
    rows: Rows | None = None
    entity: Entity | None = None
    primary: str = ""  # the id of the metric that decides
    confidence: float = 0.0  # of every interval
    metrics: list[MetricResult] = []
    mcnemar: McNemar | None = None
    power: Power | None = None
    curves: ByModel[Curves] | None = None
    business: Business | None = None
    chosen_threshold: ChosenThreshold | None = None
    decision_value: DecisionValue | None = None
    intervals: ByModel[Intervals | None] | None = None
    slices: Slices | None = None
    fairness: list[Fairness] = []
    mitigation: Mitigation | None = None
    importance: list[Importance] = []
    dependence: list[Dependence] = []
    texts: list[str] = []  # columns of free text, which have neither slices nor that
    flips: list[Flip] = []
    replay: Replay | None = None
    shadow: Shadow | None = None
    changes: Changes | None = None
    footprint: ByModel[Footprint] | None = None

    @property
    def primary_metric(self) -> MetricResult | None:
        """Return the primary metric, once it is known."""
        return next((m for m in self.metrics if m.id == self.primary), None)


def decode(data: bytes) -> Judgement:
    """Return what the child wrote; ValueError if that is not a judgement."""
    return msgspec.json.decode(data, type=Judgement)


def checks(records: object) -> list[Check]:
    """Return the checks of a verdict of the ledger; ValueError if they are not."""
    return msgspec.convert(records, list[Check])


def failed(checks: Sequence[Check]) -> list[Check]:
    """Return those that did not pass."""
    return [check for check in checks if not check.passed]
