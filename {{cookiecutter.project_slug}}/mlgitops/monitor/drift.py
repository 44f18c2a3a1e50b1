"""Compares a window with its reference: inputs, missing values, predictions, labels.

Every threshold is drawn from the reference (`null_distribution`), for a window of this
size. The share of runs that raise an alarm without drift, ``monitor.false_alarm_rate``,
is split: half for inputs, missing values, labels and the data set as a whole, together;
a quarter for the predictions; a quarter for performance (`performance`). What is called
drift then has to pass a permutation test against other choices of as many weeks
(`permutation`).

Where rows have no time of an event, the reference has no weeks to draw. Its rows are
drawn one by one then, or all rows of an entity together where the contract names one.
What is called drift has to be larger, too, than what the window's own days differ by:
rows that arrived together may resemble each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mlgitops import distance
from mlgitops.monitor import (
    comparable,
    data_quality,
    null_distribution,
    permutation,
    season,
)
from mlgitops.monitor.cache import cached
from mlgitops.monitor.evidence import Drift
from mlgitops.monitor.null_distribution import (
    BINNINGS,
    Binned,
    Binning,
    Integers,
    Thresholds,
)
from mlgitops.monitor.reference import Reference
from mlgitops.pipeline.contract import Contract
from mlgitops.settings import Monitor

if TYPE_CHECKING:
    import pandas as pd

METHODS = {"number": "wasserstein", "category": "jensenshannon"}  # both are distances
DATA_SET = "all columns"
SMALLEST = 1e-9  # below it a distance is none, whatever its limit
INPUTS, PREDICTIONS = 0.5, 0.25  # of the false-alarm rate; the rest is performance's


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
    vocabularies: comparable.Vocabularies = field(default_factory=dict)


@dataclass(frozen=True)
class Samples:
    """Past and current rows, how columns are put in bins, and the false-alarm rate."""

    past: pd.DataFrame
    current: pd.DataFrame
    binnings: Mapping[str, Binning]
    reference: Reference
    limits: Monitor
    rate: float  # of false alarms, of all checks on these samples together

    @property
    def times(self) -> tuple[pd.Series, pd.Series]:
        """The time of each row of both samples, without a zone."""
        name = self.reference.contract.time
        past, current = self.past[name], self.current[name]
        return past.dt.tz_localize(None), current.dt.tz_localize(None)

    def thresholds(self, rows: str) -> Thresholds:
        """Return thresholds for a window like the current one, from past rows only.

        ``rows`` says which of the version's rows those are: thresholds are kept by it.
        """
        block_days, count = self.limits.block_days, len(self.current)
        blocks, window_blocks = self._blocks()

        def draw() -> Thresholds:
            columns = {n: binning(self.past[n]) for n, binning in self.binnings.items()}
            return null_distribution.thresholds(
                columns, count, self.rate, blocks, window_blocks
            )

        shape = [(n, sorted(b.keywords.items())) for n, b in self.binnings.items()]
        size = min(count, null_distribution.MOST_ROWS), window_blocks
        limits = (
            self.rate,
            block_days,
            self.limits.sample_rows,
            null_distribution.METHOD,
        )
        key = self.reference.manifest_sha256, rows, shape, *size, *limits
        return cached(draw, key)

    def tested(
        self, columns: list[Drift], missing: list[Drift], data_set: list[Drift]
    ) -> tuple[list[Drift], list[Drift], list[Drift]]:
        """Return the drifts with thresholds that as many other weeks do not pass.

        They are raised where the permutation test asks for more; it runs if something
        is detected, and there are enough blocks.
        """
        if not any(drift.detected for drift in [*columns, *missing, *data_set]):
            return columns, missing, data_set
        if not self.reference.contract.time:
            return self._tested_by_arrival(columns, missing, data_set)
        blocks = permutation.choose_blocks(
            *self.times, self.limits.block_days, self.rate
        )
        if blocks is None:
            return columns, missing, data_set
        observed, critical = permutation.permutation_test(
            self.past, self.current, self.binnings, blocks, self.rate
        )

        def raised(
            drift: Drift, distances: Mapping[str, float], limits: Mapping[str, float]
        ) -> Drift:
            if (name := drift.column) not in distances or not drift.detected:
                return drift
            # The distance is exact, the tested one is of bins and fewer rows: the
            # threshold is to one what the limit is to the other.
            if distances[name] < SMALLEST:
                return drift._replace(threshold=drift.distance + limits[name])
            threshold = drift.distance * limits[name] / distances[name]
            return drift._replace(threshold=max(drift.threshold, threshold))

        weighted, limit = {DATA_SET: observed.data_set}, {DATA_SET: critical.data_set}
        return (
            [raised(drift, observed.columns, critical.columns) for drift in columns],
            [raised(drift, observed.missing, critical.missing) for drift in missing],
            [raised(drift, weighted, limit) for drift in data_set],
        )

    def _blocks(self) -> tuple[Integers | None, int]:
        """Return the block of each past row, if any, and how many the window is."""
        contract = self.reference.contract
        if contract.time:
            past, current = self.times
            days = (current.max() - current.min()).total_seconds() / 86_400
            block_days = self.limits.block_days
            return null_distribution.choose_blocks(past, block_days, days)
        if contract.entity not in self.past:
            return None, 0
        if contract.entity in self.current:
            groups = self.current[contract.entity].nunique()
        else:  # requests do not have it: as many rows each as in the reference
            rows = self.reference.rows[contract.entity]
            groups = round(len(self.current) * rows.nunique() / len(rows))
        return null_distribution.group_blocks(self.past[contract.entity], groups)

    def _tested_by_arrival(
        self, columns: list[Drift], missing: list[Drift], data_set: list[Drift]
    ) -> tuple[list[Drift], list[Drift], list[Drift]]:
        """Return the drifts with thresholds that the window's own days do not pass.

        Days of the window are drawn, and compared with a reference of such days, as
        many more as it has more rows: so far the window might be from its reference by
        the days that happen to be in both.
        """
        arrivals = self.current[self.reference.contract.time].dt.tz_localize(None)
        blocks, window_blocks = arrival_blocks(arrivals, self.limits)
        if blocks is None:
            return columns, missing, data_set

        def binned(name: str, binning: Binning) -> Binned:
            column = binning(self.current[name])
            if column.centres is None:
                return column
            past = self.past[name].dropna().to_numpy(np.float64)
            return replace(column, spread=distance.spread(past))

        limits = null_distribution.thresholds(
            {name: binned(name, binning) for name, binning in self.binnings.items()},
            len(self.current),
            self.rate,
            blocks,
            window_blocks,
            max(round(window_blocks * len(self.past) / len(self.current)), 1),
        )

        def raised(drift: Drift, limit: float) -> Drift:
            return drift._replace(threshold=max(drift.threshold, limit))

        return (
            [raised(drift, limits.columns.get(drift.column, 0)) for drift in columns],
            [raised(drift, limits.missing.get(drift.column, 0)) for drift in missing],
            [raised(drift, limits.data_set) for drift in data_set],
        )


def arrival_blocks(arrivals: pd.Series, limits: Monitor) -> tuple[Integers | None, int]:
    """Return the day, or the week, of each row's arrival and how many there are.

    (None, 0) where they are too few to see whether rows of one resemble each other, or
    where ``monitor.block_days`` says that they do not.
    """
    days = (arrivals.max() - arrivals.min()).total_seconds() / 86_400
    return null_distribution.choose_blocks(arrivals, limits.block_days, days)


def compare(
    valid: pd.DataFrame, labels: pd.Series | None, reference: Reference, limits: Monitor
) -> Comparison:
    """Return how far a window's valid rows are from the reference, with thresholds.

    ``labels`` are those of the window that have come. A column without a value in
    one of the tables is left out; what it lacks is in ``missing``.
    """
    contract, prediction = reference.contract, reference.prediction
    known = comparable.vocabularies(reference.rows, contract)
    current = comparable.table(thin(valid, limits.sample_rows), contract, known)
    times = current[contract.time]
    weekdays = comparable.show_weekdays(times)
    reference = comparable.reference(reference, weekdays, known)
    rows = reference.rows
    past, season_rows = season.same_season(
        rows, times.min(), times.max(), contract, limits
    )
    past = thin(past, limits.sample_rows)
    comparison = Comparison(compared_with=season_rows, vocabularies=known)
    _compare_inputs(comparison, past, current, labels, reference, limits)
    predictions = _compare_predictions(
        comparison, len(past), current, reference, limits
    )
    comparison.missing = _by_column(comparison.missing, contract)
    shown = [drift.column for drift in comparison.columns]
    comparison.tables = (
        current[[*shown, prediction]],
        past[shown].assign(**{prediction: predictions.array}),
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
    known, past = comparison.vocabularies, comparison.tables[1]
    contract = comparable.contract(reference.contract, known=known)
    valid = comparable.table(valid, reference.contract, known)
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


def kind(contract: Contract, name: str) -> str:
    """Return whether a column, the target or the prediction is number or category."""
    if name in contract.columns:
        return contract.columns[name].type
    numeric = {"regression"} if name == contract.target else {"regression", "binary"}
    return "number" if contract.task in numeric else "category"


def column_distance(
    contract: Contract, name: str, past: pd.Series, current: pd.Series
) -> float:
    """Return the distance of one column; see `distance`."""
    if kind(contract, name) == "number":
        return distance.wasserstein(past, current)
    if name == contract.target:
        past, current = _as_text(past), _as_text(current)
    return float(distance.jensenshannon(*distance.counts(past, current)))


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
) -> None:
    """Fill in the drift of columns, missing values, labels and the data set."""
    contract, target = reference.contract, reference.contract.target
    binnings = _binnings(past, current, labels, reference, limits)
    values = {name: current[name] for name in binnings if name != target}
    if labels is not None and target in binnings:
        current = current.assign(**{target: labels.reindex(current.index)})
        values[target] = labels
    rate = limits.false_alarm_rate * INPUTS
    samples = Samples(past, current, binnings, reference, limits, rate)
    if not binnings:  # all columns are sensitive, or empty
        comparison.missing = _missing(samples, {})
        return
    thresholds = samples.thresholds(comparison.compared_with)
    columns = [
        _drift(contract, name, past[name], values[name], thresholds.columns[name])
        for name in values
    ]
    distances = {d.column: d.distance for d in columns if d.column != target}
    weighted = null_distribution.data_set_distance(distances, binnings)
    data_set = Drift(DATA_SET, "weighted", weighted, thresholds.data_set)
    missing = _missing(samples, thresholds.missing)
    columns, comparison.missing, (comparison.data_set,) = samples.tested(
        columns, missing, [data_set]
    )
    comparison.part_thresholds = {n: thresholds.columns[n] for n in distances}
    comparison.columns = [drift for drift in columns if drift.column != target]
    comparison.target = next((d for d in columns if d.column == target), None)


def _compare_predictions(
    comparison: Comparison,
    count: int,
    current: pd.DataFrame,
    reference: Reference,
    limits: Monitor,
) -> pd.Series:
    """Fill in the drift of predictions; return the reference's, at most ``count``.

    The model is too sure of rows that it was fitted on: only its holdout counts.
    """
    contract, name = reference.contract, reference.prediction
    past = thin(reference.holdout, min(limits.sample_rows, count))
    binning = partial(BINNINGS[kind(contract, name)], floor=limits.min_shift_prediction)
    rate = limits.false_alarm_rate * PREDICTIONS
    samples = Samples(past, current, {name: binning}, reference, limits, rate)
    threshold = samples.thresholds("predictions").columns[name]
    drift = _drift(contract, name, past[name], current[name], threshold)
    (comparison.prediction,), _, _ = samples.tested([drift], [], [])
    comparison.part_thresholds[name] = threshold
    return past[name].reset_index(drop=True).reindex(range(count))


def _drift(
    contract: Contract, name: str, past: pd.Series, current: pd.Series, limit: float
) -> Drift:
    """Return the drift of one column."""
    method = METHODS[kind(contract, name)]
    return Drift(name, method, column_distance(contract, name, past, current), limit)


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
        target_kind = kind(contract, contract.target)
        binnings[contract.target] = partial(
            BINNINGS[target_kind], floor=limits.floor(target_kind), first=len(labels)
        )
    return binnings


def _missing(samples: Samples, thresholds: Mapping[str, float]) -> list[Drift]:
    """Return the change of each column's share of missing values."""
    changes = []
    for name in samples.reference.contract.columns:
        past, current = (
            data_quality.missing_share(table[name])
            for table in (samples.past, samples.current)
        )
        threshold = max(thresholds.get(name, 0.0), samples.limits.max_missing)
        method = f"{current:.1%}, was {past:.1%}"
        changes.append(Drift(name, method, abs(current - past), threshold))
    return changes


def _by_column(missing: list[Drift], contract: Contract) -> list[Drift]:
    """Return the changes by the contract's columns: parts of one are missing as one."""
    by_part = {drift.column: drift for drift in missing}
    first = {n: comparable.parts(contract, n)[0].name for n in contract.columns}
    return [by_part[part]._replace(column=name) for name, part in first.items()]


def _as_text(labels: pd.Series) -> pd.Series:
    """Return labels as text, so that 1, 1.0 and "1" are one class."""
    numeric = int | float | np.number
    texts = {n: f"{n:g}" if isinstance(n, numeric) else str(n) for n in labels.unique()}
    return labels.map(texts)
