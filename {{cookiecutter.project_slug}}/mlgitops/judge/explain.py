"""What the models depend on: importance of raw columns and partial dependence.

On the exported files and a seeded sample, smaller for a wide table, so that the cost
does not grow with the holdout, and memory no faster than the columns. Permutation
importance: Breiman (2001), Machine Learning 45(1); partial dependence: Friedman (2001),
Annals of Statistics 29(5).
"""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
import pandas as pd

from mlgitops.judge.columns import Change
from mlgitops.judge.compare import Array
from mlgitops.judge.evaluation import Evaluation, Model, inputs, predict
from mlgitops.judgement import Dependence, Fall, Importance

SAMPLE = 2_000  # rows whose columns are shuffled,
CELLS = 400_000  # or as many as have so many cells together,
FEWEST = 300  # but no fewer
REPEATS = 3
AVERAGED = 10  # a dependence is the mean over one in so many of them
TOP = 3  # columns whose dependence is shown
VALUES = 8  # of a dependence

Grid = Mapping[str, Sequence[object]]  # the values that each column is set to


class _Explanation(NamedTuple):
    """What one model shows of its columns."""

    falls: dict[str, Fall]  # of the primary metric
    means: dict[str, Array]  # mean predictions, [values] or [values, k]


def add(evaluation: Evaluation) -> None:
    """Add the importance of each column, and the dependence on the foremost."""
    holdout, contract = evaluation.holdout, evaluation.contract
    sample = evaluation.sample(rows(len(contract.columns)), seed=0)
    names = [n for n in contract.columns if n not in contract.sensitive]
    grid = {name: _grid(holdout[name]) for name in names}
    try:
        explained = evaluation.each(lambda m: _explain(evaluation, m, sample, grid))
    except ValueError:  # a class is so rare that the sample has no row of it
        return
    falls = {name: each.falls for name, each in explained.items()}
    lost = {column: fall[0] for column, fall in falls["challenger"].items()}
    columns = set().union(*falls.values())
    order = sorted(columns, key=lambda column: (-lost.get(column, 0), column))
    evaluation.judgement.importance = [
        Importance(column=c, **{name: fall.get(c) for name, fall in falls.items()})
        for c in order
    ]
    means = {name: each.means for name, each in explained.items()}
    top = [column for column in order if column in means["challenger"]][:TOP]
    evaluation.judgement.dependence = [
        _dependence(evaluation, column, grid[column], means) for column in top
    ]


def rows(columns: int) -> int:
    """Return how many rows are shuffled: fewer of a wide table."""
    return min(SAMPLE, max(FEWEST, CELLS // columns))


def _explain(
    evaluation: Evaluation, model: Model, rows: Array, grid: Grid
) -> _Explanation:
    """Return the falls of the primary metric and the mean predictions, by column.

    A fall is mean, least and most of the repeats with the column shuffled; a mean
    prediction is that with the column set to one value. One child predicts them all.
    """
    y, sample = evaluation.y[rows], evaluation.holdout.iloc[rows]
    random, columns = np.random.default_rng(1), model.columns
    everyone, few = np.arange(len(rows)), np.arange(-(-len(rows) // AVERAGED))
    shown = {name: grid[name] for name in columns if grid.get(name)}
    changes = [
        Change(columns[0], everyone, everyone),  # none
        *(
            Change(name, everyone, random.permutation(len(rows)))
            for name in columns
            for _ in range(REPEATS)
        ),
        *(
            Change(name, few, np.full(len(few), len(rows) + index))
            for name, values in shown.items()
            for index in range(len(values))
        ),
    ]
    table = pd.concat([sample, _table(sample, shown)], ignore_index=True)
    plain = inputs(model, table, evaluation.contract)
    predictions = predict(model, [plain], evaluation.contract, changes=changes)
    ends = np.cumsum([len(change.rows) for change in changes])[:-1]
    first, *others = np.split(predictions, ends)
    value, shuffles = evaluation.task.primary_metric.value, len(columns) * REPEATS
    before, after = value(y, first), [value(y, p) for p in others[:shuffles]]
    falls = (before - np.array(after)).reshape(len(columns), REPEATS)
    means = iter([part.mean(axis=0) for part in others[shuffles:]])
    return _Explanation(
        {
            name: (float(fall.mean()), float(fall.min()), float(fall.max()))
            for name, fall in zip(columns, falls, strict=True)
        },
        {name: np.array([next(means) for _ in shown[name]]) for name in shown},
    )


def _table(sample: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Return rows that hold the values of each column, row by row."""
    rows = sample.iloc[np.zeros(VALUES, int)]
    columns = {
        name: pd.array(list(islice(cycle(values), VALUES)), dtype=rows[name].dtype)
        for name, values in grid.items()
    }
    return rows.assign(**columns)


def _grid(column: pd.Series) -> list[object]:
    """Return the values a column is set to: its quantiles, or its most common."""
    if not pd.api.types.is_numeric_dtype(column):
        return list(column.value_counts().index[:VALUES])
    numbers = column.dropna().to_numpy(np.float64)
    if not len(numbers):
        return [np.nan]
    quantiles = np.quantile(numbers, np.linspace(0.05, 0.95, VALUES))
    return [float(f"{quantile:.4g}") for quantile in dict.fromkeys(quantiles)]


def _dependence(
    evaluation: Evaluation,
    column: str,
    values: Sequence[object],
    means: dict[str, dict[str, Array]],
) -> Dependence:
    """Return the mean predictions at a column's values, of one class if there are."""
    task = evaluation.task
    moved = task.most_moved_class(means["challenger"][column])
    index = None if moved is None else np.full(len(values), moved)
    return Dependence(
        column=column,
        places=[f"{v:.7g}" if isinstance(v, float) else str(v) for v in values],
        of="" if moved is None else evaluation.contract.classes[moved],
        **{
            name: task.of_class(model[column], index).tolist()
            for name, model in means.items()
            if column in model
        },
    )
