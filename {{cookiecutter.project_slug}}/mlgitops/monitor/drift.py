"""Compares a window with its reference: inputs, missing values, predictions, labels.

Every threshold is drawn from the reference (`null_distribution`), for a window of this
size. The share of runs that raise an alarm without drift, ``monitor.false_alarm_rate``,
is split: half for inputs, missing values, labels and the data set as a whole, together;
a quarter for the predictions; a quarter for performance (`performance`). What is called
drift then has to pass a permutation test against other choices of as many weeks
(`permutation`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops import distance
from mlgitops.monitor import data_quality, null_distribution, permutation, season
from mlgitops.monitor.cache import cached
from mlgitops.monitor.evidence import Drift
from mlgitops.monitor.null_distribution import BINNINGS, Binning, Thresholds
from mlgitops.monitor.reference import Reference
from mlgitops.pipeline.contract import Contract
from mlgitops.settings import Monitor

if TYPE_CHECKING:
    import pandas as pd

METHODS = {"number": "wasserstein", "category": "jensenshannon"}  # both are distances
DATA_SET = "all columns"
INPUTS, PREDICTIONS, PERFORMANCE = 0.5, 0.25, 0.25  # of the false-alarm rate


@dataclass
class Comparison:
    """Everything that was compared, and both tables as Evidently is to see them."""

    columns: list[Drift] = field(default_factory=list)
    missing: list[Drift] = field(default_factory=list)
    data_set: Drift | None = None
    prediction: Drift | None = None
    target: Drift | None = None
    part_thresholds: dict[str, float] = field(default_factory=dict)  # see `confirmed`
    compared_with: str = ""  # which rows of the reference, and why
    tables: tuple[pd.DataFrame, pd.DataFrame] | None = None  # current, past


@dataclass(frozen=True)
class Samples:
    """Past and current rows, how columns are put in bins, and the false-alarm rate."""

    past: pd.DataFrame
    current: pd.DataFrame
    binnings: Mapping[str, Binning]
    contract: Contract
    block_days: float
    rate: float  # of false alarms, of all checks on these samples together

    def thresholds(
        self, days: float, key: tuple[str, str], limits: Monitor
    ) -> Thresholds:
        """Return thresholds for a window of so many days, from past rows only.

        ``key`` says which version and which of its rows: they are kept by it.
        """
        times, rows = self.past[self.contract.time], len(self.current)
        blocks, window_blocks = null_distribution.choose_blocks(
            times.dt.tz_localize(None), self.block_days, days
        )

        def draw() -> Thresholds:
            columns = {n: binning(self.past[n]) for n, binning in self.binnings.items()}
            return null_distribution.thresholds(
                columns, rows, self.rate, blocks, window_blocks
            )

        shape = [(n, sorted(b.keywords.items())) for n, b in self.binnings.items()]
        return cached(draw, (*key, shape, rows, window_blocks, limits))

    def permutation_test(self) -> permutation.Result | None:
        """Compare the window with other choices of blocks, if there are enough."""
        past, current = (
            table[self.contract.time].dt.tz_localize(None)
            for table in (self.past, self.current)
        )
        blocks = permutation.choose_blocks(past, current, self.block_days, self.rate)
        if blocks is None:
            return None
        return permutation.permutation_test(
            self.past, self.current, self.binnings, blocks, self.rate
        )


def compare(
    valid: pd.DataFrame,
    labels: pd.Series | None,
    reference: Reference,
    limits: Monitor,
) -> Comparison:
    """Return how far a window's valid rows are from the reference, with thresholds.

    ``labels`` are those of the window that have come. A column without a value in
    one of the tables is left out; what it lacks is in ``missing``.
    """
    contract, time = reference.contract, reference.contract.time
    current = thin(valid, limits.sample_rows)
    start, end = current[time].min(), current[time].max()
    rows = reference.rows
    past, season_rows = season.same_season(rows, start, end, contract, limits)
    past = thin(past, limits.sample_rows)
    days = (end - start).total_seconds() / 86_400
    comparison = Comparison(compared_with=season_rows)
    shown = _compare_inputs(comparison, past, current, labels, reference, limits, days)
    predictions = _compare_predictions(
        comparison, len(past), current, reference, limits, days
    )
    comparison.tables = (
        current[[*shown, reference.prediction]],
        past[shown].assign(**{reference.prediction: predictions.array}),
    )
    return comparison


def confirmed(
    comparison: Comparison, valid: pd.DataFrame, reference: Reference, parts: int
) -> bool:
    """Return whether something drifted in each of the window's parts, one by one.

    One storm is in one part, not in all. This can only silence an alarm. A part needs
    to reach the threshold of the reference alone: it is too short for a permutation
    test.
    """
    if parts < 2 or comparison.tables is None:
        return True
    contract, past = reference.contract, comparison.tables[1]
    prediction = [] if comparison.prediction is None else [comparison.prediction]
    drifted = [d for d in [*comparison.columns, *prediction] if d.detected]
    if not drifted:  # only the whole, or missing values: nothing to follow in parts
        return True

    def shows_drift(part: pd.DataFrame) -> bool:
        return any(
            part[d.column].notna().any()
            and column_distance(contract, d.column, past[d.column], part[d.column])
            >= comparison.part_thresholds.get(d.column, d.threshold)
            for d in drifted
        )

    pieces = np.array_split(np.arange(len(valid)), parts)
    return all(shows_drift(valid.iloc[piece]) for piece in pieces)


def column_distance(contract: Contract, name: str, past: Any, current: Any) -> float:
    """Return the distance of one column; see `distance`."""
    column = contract.columns.get(name)
    if column.type == "category" if column else contract.task == "multiclass":
        return float(distance.jensenshannon(*distance.counts(past, current)))
    return distance.wasserstein(past, current)


def thin(rows: pd.DataFrame, size: int) -> pd.DataFrame:
    """Return at most ``size`` rows, the same ones every time, in their order."""
    return rows if len(rows) <= size else rows.sample(size, random_state=0).sort_index()


def _compare_inputs(
    comparison: Comparison,
    past: pd.DataFrame,
    current: pd.DataFrame,
    labels: pd.Series | None,
    reference: Reference,
    limits: Monitor,
    days: float,
) -> list[str]:
    """Fill in columns, missing values, labels, data set; return what was compared."""
    contract, target = reference.contract, reference.contract.target
    binnings = _binnings(past, current, labels, reference, limits)
    compared = [name for name in binnings if name != target]
    if labels is not None:
        current = current.assign(**{target: labels.reindex(current.index)})
    rate = limits.false_alarm_rate * INPUTS
    samples = Samples(past, current, binnings, contract, limits.block_days, rate)
    key = reference.manifest_sha256, comparison.compared_with
    thresholds = samples.thresholds(days, key, limits)
    distances = {
        name: column_distance(contract, name, past[name], current[name])
        for name in compared
    }
    comparison.columns = [
        Drift(n, METHODS[contract.columns[n].type], distances[n], thresholds.columns[n])
        for n in compared
    ]
    comparison.part_thresholds = {n: thresholds.columns[n] for n in compared}
    if labels is not None and target in binnings:
        threshold = thresholds.columns[target]
        comparison.target = _target(contract, past[target], labels, threshold)
    whole = null_distribution.data_set_distance(distances, binnings)
    comparison.data_set = Drift(DATA_SET, "weighted", whole, thresholds.data_set)
    comparison.missing = _missing(samples, thresholds.missing, limits)
    _test_inputs(comparison, samples)
    return compared


def _test_inputs(comparison: Comparison, samples: Samples) -> None:
    """Raise thresholds that as many other weeks would pass, if one was passed."""
    whole = [comparison.data_set, comparison.target]
    drifts = [*whole, *comparison.columns, *comparison.missing]
    if not any(drift is not None and drift.detected for drift in drifts):
        return
    result = samples.permutation_test()
    if result is None:
        return
    observed, critical = result
    if comparison.data_set is not None:
        limits = observed.data_set, critical.data_set
        comparison.data_set = _raised(comparison.data_set, *limits)
    tested = observed.columns, critical.columns
    comparison.columns = [_raised_by_name(d, *tested) for d in comparison.columns]
    if comparison.target is not None:
        comparison.target = _raised_by_name(comparison.target, *tested)
    tested = observed.missing, critical.missing
    comparison.missing = [_raised_by_name(d, *tested) for d in comparison.missing]


def _compare_predictions(
    comparison: Comparison,
    most: int,
    current: pd.DataFrame,
    reference: Reference,
    limits: Monitor,
    days: float,
) -> pd.Series:
    """Fill in the drift of predictions; return the reference's, ``most`` of them.

    The model is too sure of rows that it was fitted on: only its holdout counts.
    """
    contract, name = reference.contract, reference.prediction
    past = thin(reference.holdout, min(limits.sample_rows, most))
    kind = "category" if contract.task == "multiclass" else "number"
    binnings = {name: partial(BINNINGS[kind], floor=limits.prediction)}
    rate = limits.false_alarm_rate * PREDICTIONS
    samples = Samples(past, current, binnings, contract, limits.block_days, rate)
    key = reference.manifest_sha256, "predictions"
    threshold = samples.thresholds(days, key, limits).columns[name]
    moved = column_distance(contract, name, past[name], current[name])
    drift = Drift(name, METHODS[kind], moved, threshold)
    if drift.detected and (result := samples.permutation_test()) is not None:
        observed, critical = result
        drift = _raised_by_name(drift, observed.columns, critical.columns)
    comparison.prediction = drift
    comparison.part_thresholds[name] = threshold
    return past[name].reset_index(drop=True).reindex(range(most))


def _binnings(
    past: pd.DataFrame,
    current: pd.DataFrame,
    labels: pd.Series | None,
    reference: Reference,
    limits: Monitor,
) -> dict[str, Binning]:
    """Return how each column is put in bins; those empty in one table are left out."""
    contract, binnings = reference.contract, dict[str, Binning]()
    for name, column in contract.columns.items():
        if past[name].isna().all() or current[name].isna().all():
            continue
        floor = limits.floor(column.type, name)
        weight = reference.importance.get(name, 0.0)
        binnings[name] = partial(BINNINGS[column.type], floor=floor, weight=weight)
    if labels is not None and len(labels):
        kind = "number" if contract.task == "regression" else "category"
        binnings[contract.target] = partial(
            BINNINGS[kind], floor=limits.floor(kind), first=len(labels)
        )
    return binnings


def _raised_by_name(
    drift: Drift, observed: Mapping[str, float], critical: Mapping[str, float]
) -> Drift:
    """Return a drift with the threshold that the permutation test raised, if any."""
    if drift.column not in observed:
        return drift
    return _raised(drift, observed[drift.column], critical[drift.column])


def _raised(drift: Drift, observed: float, critical: float) -> Drift:
    """Return a drift that is detected only if the permutation test detects it, too."""
    # The distance is exact, the tested one is of bins and fewer rows: as far above it.
    threshold = critical + drift.distance - observed
    return drift._replace(threshold=max(drift.threshold, threshold))


def _target(
    contract: Contract, past: pd.Series, labels: pd.Series, threshold: float
) -> Drift:
    """Return the drift of the labels."""
    if contract.task == "regression":
        moved, method = distance.wasserstein(past, labels), METHODS["number"]
    else:
        counts = distance.counts(_as_text(past), _as_text(labels))
        moved, method = float(distance.jensenshannon(*counts)), METHODS["category"]
    return Drift(contract.target, method, moved, threshold)


def _missing(
    samples: Samples, thresholds: Mapping[str, float], limits: Monitor
) -> list[Drift]:
    """Return the change of each column's share of missing values."""
    changes = []
    for name in samples.contract.columns:
        past, current = (
            data_quality.missing_share(table[name])
            for table in (samples.past, samples.current)
        )
        threshold = max(thresholds.get(name, 0.0), limits.max_missing)
        method = f"{current:.1%}, was {past:.1%}"
        changes.append(Drift(name, method, abs(current - past), threshold))
    return changes


def _as_text(labels: pd.Series) -> pd.Series:
    """Return labels as text, so that 1, 1.0 and "1" are one class."""
    return labels.map({label: _label_text(label) for label in labels.unique()})


def _label_text(label: Any) -> str:
    """Return one label as text."""
    return f"{label:g}" if isinstance(label, int | float | np.number) else str(label)
