"""Compares a window with its reference: inputs, missing values, answers, labels, all.

Every threshold is drawn from the reference (`calibrate`), for a window of this size.
The share of runs that raise an alarm without drift, ``monitor.false_alarm_rate``, is
split: half for inputs, missing values, labels and the data set as a whole, together;
a quarter for the answers; a quarter for performance (`performance`). What is called
drift then has to hold against other choices of as many weeks (`rearrange`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops import distance
from mlgitops.monitor import calibrate, feed, rearrange, season
from mlgitops.monitor.cache import cached
from mlgitops.monitor.calibrate import Coded
from mlgitops.monitor.checks import METHODS, Drift
from mlgitops.monitor.reference import Reference
from mlgitops.pipeline.contract import Contract
from mlgitops.settings import Monitor

if TYPE_CHECKING:
    import pandas as pd

WHOLE = "all columns"
INPUTS, ANSWERS, PERFORMANCE = 0.5, 0.25, 0.25  # of the false-alarm rate

Make = partial[Coded]  # from a column's values to its bins


@dataclass
class Found:
    """Everything that was compared, and both sides as Evidently is to see them."""

    columns: list[Drift] = field(default_factory=list)
    missing: list[Drift] = field(default_factory=list)
    whole: Drift | None = None
    prediction: Drift | None = None
    target: Drift | None = None
    drawn: dict[str, float] = field(default_factory=dict)  # what a part must reach
    compared_with: str = ""  # which rows of the reference, and why
    sides: tuple[pd.DataFrame, pd.DataFrame] | None = None


def compare(
    good: pd.DataFrame,
    labels: pd.Series | None,
    reference: Reference,
    limits: Monitor,
    seed: int = 0,
) -> Found:
    """Return how far a window's rows are from the reference, with thresholds.

    ``labels`` are those of the window that have come. A column without a value on
    one side is left out; what it lacks is in ``missing``.
    """
    good = thin(good, limits.sample_rows)
    contract, time = reference.contract, good[reference.contract.time]
    days = (time.max() - time.min()).total_seconds() / 86_400
    past, words = season.like(reference.rows, time.min(), time.max(), contract, limits)
    past = thin(past, limits.sample_rows)
    found = Found(compared_with=words)
    known = 0 if labels is None else len(labels)
    made = _made(past, good, reference, limits, known)
    key = reference.manifest_sha256, words
    limit = _null(made, past, contract, len(good), days, limits, INPUTS, key)
    distances = {
        name: gap(contract, name, past[name], good[name])
        for name in made
        if name != contract.target
    }
    found.columns = [
        Drift(n, METHODS[contract.columns[n].type], d, limit.columns[n])
        for n, d in distances.items()
    ]
    if labels is not None and contract.target in made:
        found.target = _target(contract, past, labels, limit.columns)
    together = calibrate.whole(distances, made)
    found.whole = Drift(WHOLE, "weighted", together, limit.whole)
    found.missing = _missing(contract, past, good, limit.missing, limits)
    if labels is not None:
        good = good.assign(**{contract.target: labels.reindex(good.index)})
    found.drawn = {drift.column: drift.threshold for drift in found.columns}
    _hold(found, past, good, made, contract, limits)
    found.prediction, answers, drawn = _prediction(
        good, len(past), reference, limits, days
    )
    found.drawn[found.prediction.column] = drawn
    shown, answers = list(distances), answers.reindex(range(len(past)))
    found.sides = (
        good[[*shown, reference.answer]],
        past[shown].assign(**{reference.answer: answers.array}),
    )
    return found


def confirmed(
    found: Found, good: pd.DataFrame, reference: Reference, parts: int
) -> bool:
    """Tell whether something drifted in each of the window's parts, one by one.

    One storm is a part, not all of them. This can only silence an alarm. A part is
    asked for what the reference alone allows: it is too short to stand against others.
    """
    if parts < 2 or found.sides is None:
        return True
    contract, past = reference.contract, found.sides[1]
    moved = [d for d in found.columns if d.found]
    moved += [d for d in [found.prediction] if d is not None and d.found]
    if not moved:  # only the whole, or missing values: nothing to follow in parts
        return True
    pieces = np.array_split(np.arange(len(good)), parts)
    return all(
        any(
            part[d.column].notna().any()
            and gap(contract, d.column, past[d.column], part[d.column])
            >= found.drawn.get(d.column, d.threshold)
            for d in moved
        )
        for part in (good.iloc[piece] for piece in pieces)
    )


def gap(contract: Contract, name: str, past: Any, now: Any) -> float:
    """Return the distance of one column; see `distance`."""
    column = contract.columns.get(name)
    if column.type == "category" if column else contract.task == "multiclass":
        return float(distance.jensenshannon(*distance.counts(past, now)))
    return distance.wasserstein(past, now)


def thin(rows: pd.DataFrame, size: int) -> pd.DataFrame:
    """Return at most ``size`` rows, the same ones every time, in their order."""
    return rows if len(rows) <= size else rows.sample(size, random_state=0).sort_index()


def _made(
    past: pd.DataFrame,
    good: pd.DataFrame,
    reference: Reference,
    limits: Monitor,
    labels: int,
) -> dict[str, Make]:
    """Return how each column is put in bins; those empty on one side are left out."""
    made = {}
    for name, column in reference.contract.columns.items():
        if past[name].isna().all() or good[name].isna().all():
            continue
        make = getattr(calibrate, column.type)
        floor = limits.floor(column.type, name)
        weight = reference.importance.get(name, 0.0)
        made[name] = partial(make, floor=floor, weight=weight)
    if labels:
        kind = "number" if reference.contract.task == "regression" else "category"
        make = getattr(calibrate, kind)
        made[reference.contract.target] = partial(
            make, floor=limits.floor(kind), first=labels
        )
    return made


def _hold(
    found: Found,
    past: pd.DataFrame,
    good: pd.DataFrame,
    made: Mapping[str, Make],
    contract: Contract,
    limits: Monitor,
) -> None:
    """Raise thresholds that as many other weeks would pass, if any was passed."""
    speak = [found.whole, found.target, *found.columns, *found.missing]
    seen = _held(past, good, made, contract, limits, INPUTS, speak)
    if seen is None:
        return
    lengths, beyond = seen
    if found.whole is not None:
        found.whole = _raised(found.whole, lengths.whole, beyond.whole)
    for drifts, of, to in (
        (found.columns, lengths.columns, beyond.columns),
        (found.missing, lengths.missing, beyond.missing),
    ):
        drifts[:] = [
            _raised(d, of[d.column], to[d.column]) if d.column in of else d
            for d in drifts
        ]
    if found.target is not None:
        name = found.target.column
        found.target = _raised(
            found.target, lengths.columns[name], beyond.columns[name]
        )


def _held(
    past: pd.DataFrame,
    good: pd.DataFrame,
    made: Mapping[str, Make],
    contract: Contract,
    limits: Monitor,
    share: float,
    speak: Iterable[Drift | None],
) -> rearrange.Held | None:
    """Return how the window compares with other choices of blocks, if one speaks."""
    if not any(drift is not None and drift.found for drift in speak):
        return None
    rate = limits.false_alarm_rate * share
    before, now = (side[contract.time].dt.tz_localize(None) for side in (past, good))
    blocks = rearrange.blocks(before, now, limits.block_days, rate)
    return blocks and rearrange.held(past, good, made, blocks, rate)


def _raised(drift: Drift, length: float, beyond: float) -> Drift:
    """Return a drift that is found only if its length in bins is beyond the limit."""
    # The distance is exact, the length is of bins and fewer rows: as far above it.
    least = beyond + drift.distance - length
    return drift._replace(threshold=max(drift.threshold, least))


def _null(
    made: Mapping[str, Make],
    past: pd.DataFrame,
    contract: Contract,
    rows: int,
    days: float,
    limits: Monitor,
    share: float,
    key: tuple[str, str],
) -> calibrate.Null:
    """Return the thresholds of columns for a window of so many rows and days."""
    rate = limits.false_alarm_rate * share
    naive = past[contract.time].dt.tz_localize(None)
    place, blocks = calibrate.blocks(naive, limits.block_days, days)
    shape = [(n, sorted(make.keywords.items())) for n, make in made.items()]

    def drawn() -> calibrate.Null:
        coded = {name: make(past[name]) for name, make in made.items()}
        return calibrate.null(coded, rows, rate, place, blocks)

    return cached(drawn, (*key, shape, rows, blocks, limits))


def _target(
    contract: Contract,
    past: pd.DataFrame,
    labels: pd.Series,
    thresholds: Mapping[str, float],
) -> Drift:
    """Return the drift of the labels."""
    name, known = contract.target, past[contract.target]
    if contract.task == "regression":
        moved, method = distance.wasserstein(known, labels), METHODS["number"]
    else:
        known, labels = _words(known), _words(labels)
        moved = float(distance.jensenshannon(*distance.counts(known, labels)))
        method = METHODS["category"]
    return Drift(name, method, moved, thresholds[name])


def _missing(
    contract: Contract,
    past: pd.DataFrame,
    good: pd.DataFrame,
    thresholds: Mapping[str, float],
    limits: Monitor,
) -> list[Drift]:
    """Return the change of each column's share of missing values."""
    found = []
    for name in contract.columns:
        before, now = feed.missing_share(past[name]), feed.missing_share(good[name])
        limit = max(thresholds.get(name, 0.0), limits.max_missing)
        found.append(
            Drift(name, f"{now:.1%}, was {before:.1%}", abs(now - before), limit)
        )
    return found


def _prediction(
    good: pd.DataFrame, most: int, reference: Reference, limits: Monitor, days: float
) -> tuple[Drift, pd.Series, float]:
    """Return the drift of the answers, and at most ``most`` of the reference's.

    Last comes the threshold that the reference alone gives.

    The model is too sure of rows that it was fitted on: only its holdout counts.
    """
    contract = reference.contract
    past = thin(reference.holdout, min(limits.sample_rows, most))
    kind = "category" if contract.task == "multiclass" else "number"
    name = reference.answer
    make = partial(getattr(calibrate, kind), floor=limits.prediction)
    made, key = {name: make}, (reference.manifest_sha256, "answers")
    limit = _null(made, past, contract, len(good), days, limits, ANSWERS, key)
    moved = gap(contract, name, past[name], good[name])
    drift = Drift(name, METHODS[kind], moved, limit.columns[name])
    seen = _held(past, good, made, contract, limits, ANSWERS, [drift])
    if seen is not None:
        drift = _raised(drift, seen.distances.columns[name], seen.limits.columns[name])
    return drift, past[name].reset_index(drop=True), limit.columns[name]


def _words(labels: pd.Series) -> pd.Series:
    """Return labels as text, so that 1, 1.0 and "1" are one class."""
    return labels.map({label: _word(label) for label in labels.unique()})


def _word(label: Any) -> str:
    """Return one label as text."""
    return f"{label:g}" if isinstance(label, int | float | np.number) else str(label)
