"""What would have to differ for another decision: one or two columns; pure.

The smallest change that flips a decision: Wachter, Mittelstadt and Russell (2018),
Harvard Journal of Law & Technology 31(2). A number's change counts in interquartile
ranges of the training rows, any other as 1. Values are ones that training rows have and
the contract allows; sensitive columns, times and texts are never changed. It says what
the model would decide, not what would happen if somebody changed that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd

from mlgitops.pipeline.contract import FLOATS, Contract
from mlgitops.pipeline.data import inputs

Array = np.ndarray
Feeds = Mapping[str, Array]  # what the model reads, per column [n, 1]
Values = dict[str, object]  # a value for each of a few columns

GRID = 13  # values of a number that are tried
CATEGORIES = 30  # of a column, the most frequent
STEPS = 40  # towards the value that a row has, to find a smaller change
PAIRED = 6  # columns, and values of each, whose pairs are tried
SHOWN = 3  # changes of a row
NUMBERS = ("number", "integer")


@dataclass(frozen=True)
class Change:
    """A column's value, and the one that it would have to be; None is missing."""

    column: str
    before: object
    after: object


@dataclass(frozen=True)
class Option:
    """A change that flips the decision, and what the model then predicts."""

    changes: tuple[Change, ...]
    size: float
    prediction: float
    decision: str


@dataclass(frozen=True)
class Counterfactual:
    """One row: what is decided, and which changes flip that, the smallest first."""

    name: str  # the row's id where it was named, else ""
    prediction: float
    decision: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Decider:
    """A model with decisions: probabilities [n] and a threshold, or [n, k] of classes.

    `predict` is the exported file's.
    """

    predict: Callable[[Feeds], Array]
    classes: tuple[str, ...] = ()
    threshold: float = 0.5

    def decide(self, p: Array) -> Array:
        """Return each decision, [n]: 0 and 1, or the index of a class."""
        if p.ndim == 2:
            return np.asarray(p.argmax(axis=1))
        return np.asarray(p >= np.float32(self.threshold), np.int64)

    def margin(self, p: Array, decision: int) -> Array:
        """Return how far each prediction is from another decision, [n]."""
        if p.ndim == 2:
            return np.asarray(p[:, decision] - np.delete(p, decision, 1).max(axis=1))
        return np.asarray((p - self.threshold) * (1 if decision else -1))

    def shown(self, p: Array, index: int) -> tuple[float, str]:
        """Return one row's prediction, of the class that is decided, and decision."""
        decision = int(self.decide(p[index : index + 1])[0])
        if p.ndim == 2:
            return float(p[index, decision]), self.classes[decision]
        return float(p[index]), str(decision)


def nearest(decider: Decider, p: Array, count: int) -> list[int]:
    """Return the rows whose decision is nearest to another, in that order.

    Of rows with the same prediction, which are mostly alike, the first.
    """
    decisions = decider.decide(p)
    margins = np.empty(len(p))
    for decision in np.unique(decisions):
        rows = decisions == decision
        margins[rows] = decider.margin(p[rows], int(decision))
    _, first = np.unique(p, axis=0, return_index=True)
    return [int(i) for i in sorted(first, key=lambda i: (margins[i], i))[:count]]


class Search:
    """Looks for changes, among values of the training rows."""

    def __init__(
        self, contract: Contract, columns: list[str], train: pd.DataFrame, of: Decider
    ) -> None:
        """Take the values that each column may be changed to."""
        self.contract, self.columns, self.decider = contract, columns, of
        self.values: dict[str, list[object]] = {}
        self.scales: dict[str, float] = {}
        for name in columns:
            kind = contract.columns[name].type
            if name in contract.sensitive or kind not in (*FLOATS, "category"):
                continue
            self.values[name] = self._grid(train[name], name)
            if kind in NUMBERS:
                self.scales[name] = _scale(train[name])

    def counterfactual(self, row: pd.DataFrame, name: str = "") -> Counterfactual:
        """Return what flips the decision on one row, a table [1]."""
        feeds = inputs(row, self.contract, self.columns)
        p = self.decider.predict(feeds)
        prediction, decision = self.decider.shown(p, 0)
        of = int(self.decider.decide(p)[0])
        before = {name: _plain(feeds[name][0, 0]) for name in self.values}
        singles: list[Values] = [
            {column: value}
            for column, values in self.values.items()
            for value in values
            if value != before[column]
        ]
        flips = self._flipped(feeds, before, singles, of)
        if not flips:
            flips = self._flipped(feeds, before, self._pairs(feeds, singles, of), of)
            flips = self._best(flips)[:1]
        smaller = [self._shrunk(feeds, before, each, of) for each in self._best(flips)]
        options = sorted(smaller, key=lambda option: option.size)[:SHOWN]
        return Counterfactual(name, prediction, decision, tuple(options))

    def _grid(self, train: pd.Series, name: str) -> list[object]:
        """Return values of the training rows that the contract allows."""
        column = self.contract.columns[name]
        if column.type == "category":
            counts = train.dropna().astype(str).value_counts()
            common = set(counts.index[:CATEGORIES])
            return [each for each in column.categories if each in common]
        numbers = train.dropna().to_numpy(np.float64)
        if column.type == "boolean" or not len(numbers):
            return [*map(float, np.unique(numbers))]
        grid = np.quantile(numbers, np.linspace(0.01, 0.99, GRID))
        return list(dict.fromkeys(self._allowed(name, value) for value in grid))

    def _allowed(self, name: str, value: float) -> float:
        """Return a number as a person writes it, within the contract's range."""
        column = self.contract.columns[name]
        short = float(f"{value:.4g}")
        if column.type == "integer":
            short = float(round(value))
        return float(np.float32(min(max(short, column.min), column.max)))

    def _predict(self, feeds: Feeds, trials: list[Values]) -> Array:
        """Return the predictions of a row with each of the changes."""
        count = len(trials)
        table = {name: np.repeat(value, count, 0) for name, value in feeds.items()}
        for index, changes in enumerate(trials):
            for name, value in changes.items():
                table[name][index, 0] = value
        return self.decider.predict(table)

    def _flipped(
        self, feeds: Feeds, before: Values, trials: list[Values], of: int
    ) -> list[Option]:
        """Return those changes that flip the decision."""
        if not trials:
            return []
        p = self._predict(feeds, trials)
        return [
            self._option(before, trials[index], p, index)
            for index in np.flatnonzero(self.decider.decide(p) != of).tolist()
        ]

    def _option(self, before: Values, after: Values, p: Array, index: int) -> Option:
        """Return changes with their size and prediction."""
        changes = tuple(Change(n, before[n], value) for n, value in after.items())
        size = sum(map(self._size, changes))
        return Option(changes, size, *self.decider.shown(p, index))

    def _size(self, change: Change) -> float:
        """Return how large a change is."""
        scale, before, after = (
            self.scales.get(change.column),
            change.before,
            change.after,
        )
        if not (scale and isinstance(before, float) and isinstance(after, float)):
            return 1.0
        return abs(after - before) / scale

    def _pairs(self, feeds: Feeds, singles: list[Values], of: int) -> list[Values]:
        """Return changes of two columns, of those that alone move a decision most."""
        if not singles:
            return []
        margins = self.decider.margin(self._predict(feeds, singles), of)
        best: dict[str, list[Values]] = {}
        for index in np.argsort(margins, kind="stable"):
            (column,) = singles[index]
            if column in best or len(best) < PAIRED:
                best.setdefault(column, []).append(singles[index])
        return [
            {**one, **second}
            for a, b in combinations(best, 2)
            for one, second in product(best[a][:PAIRED], best[b][:PAIRED])
        ]

    def _best(self, options: list[Option]) -> list[Option]:
        """Return the smallest option of each set of columns, the smallest first."""
        best: dict[tuple[str, ...], Option] = {}
        for option in sorted(options, key=lambda option: option.size):
            best.setdefault(tuple(c.column for c in option.changes), option)
        return list(best.values())

    def _shrunk(self, feeds: Feeds, before: Values, option: Option, of: int) -> Option:
        """Return the option with its numbers as near to the row's as still flips it."""
        for change in option.changes:
            start, end = change.before, change.after
            if change.column not in self.scales or not isinstance(start, float):
                continue
            assert isinstance(end, float)
            steps = np.linspace(start, end, STEPS + 1)[1:]
            values = dict.fromkeys(self._allowed(change.column, v) for v in steps)
            after = {c.column: c.after for c in option.changes}
            trials = [{**after, change.column: v} for v in values if v != start]
            flips = self._flipped(feeds, before, trials, of)
            option = min([option, *flips], key=lambda each: each.size)
        return option


def _plain(value: object) -> object:
    """Return a value of the model's input as a fact; None is missing."""
    if isinstance(value, str):
        return value or None
    number = float(value)  # type: ignore[arg-type]
    return None if np.isnan(number) else number


def _scale(train: pd.Series) -> float:
    """Return a number's interquartile range, or its spread where that is 0."""
    numbers = train.dropna().to_numpy(np.float64)
    if not len(numbers):
        return 1.0
    low, high = np.quantile(numbers, (0.25, 0.75))
    return float(high - low) or float(numbers.std()) or 1.0
