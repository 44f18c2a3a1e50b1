"""What the models depend on: importance of raw columns and partial dependence.

On the exported files and a seeded sample, smaller for a wide table, so that the cost
does not grow with the holdout, and memory no faster than the columns. Permutation
importance: Breiman (2001), Machine Learning 45(1); partial dependence: Friedman (2001),
Annals of Statistics 29(5). A text has no few values that it could be set to: it has an
importance and no dependence.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import numpy as np
import pandas as pd

from mlgitops.judge.columns import Change
from mlgitops.judge.compare import Array
from mlgitops.judge.evaluation import Evaluation, Model, inputs, predict
from mlgitops.judgement import Dependence, Fall, Importance

SAMPLE = 2_000  # rows whose columns are shuffled,
CELLS = 200_000  # or as many as have so many cells together,
FEWEST = 200  # but no fewer
REPEATS = 3
AVERAGED = 200  # rows that a dependence is averaged over, about
TOP = 3  # columns whose dependence is shown
VALUES = 8  # of a dependence

Grid = Mapping[str, Sequence[object]]  # the values that each column is set to


def add(evaluation: Evaluation) -> None:
    """Add the importance of each column, and the dependence on the foremost."""
    holdout, contract = evaluation.holdout, evaluation.contract
    sample = evaluation.sample(rows(len(contract.columns)), seed=0)
    texts = contract.kind("text", [*contract.columns])
    evaluation.judgement.texts = texts
    names = [n for n in contract.columns if n not in (*contract.sensitive, *texts)]
    try:
        falls = evaluation.each(lambda m: _falls(evaluation, m, sample))
    except ValueError:  # a class is so rare that the sample has no row of it
        return
    lost = {column: fall[0] for column, fall in falls["challenger"].items()}
    columns = set().union(*falls.values())
    order = sorted(columns, key=lambda column: (-lost.get(column, 0), column))
    evaluation.judgement.importance = [
        Importance(column=c, **{name: fall.get(c) for name, fall in falls.items()})
        for c in order
    ]
    grid = {
        name: values
        for name in (column for column in order if column in falls["challenger"])
        if name in names
        and (values := _grid(holdout[name], contract.columns[name].type))
    }
    top = {name: grid[name] for name in list(grid)[:TOP]}
    means = evaluation.each(lambda m: _means(evaluation, m, sample, top))
    evaluation.judgement.dependence = [
        _dependence(evaluation, column, grid[column], means) for column in top
    ]


def rows(columns: int) -> int:
    """Return how many rows are shuffled: fewer of a wide table."""
    return min(SAMPLE, max(FEWEST, CELLS // columns))


def _falls(evaluation: Evaluation, model: Model, rows: Array) -> dict[str, Fall]:
    """Return how the primary metric falls with each column shuffled.

    That is mean, least and most of the repeats. One child predicts them all.
    """
    y, sample = evaluation.y[rows], evaluation.holdout.iloc[rows]
    random, columns = np.random.default_rng(1), model.columns
    everyone = np.arange(len(rows))
    changes = [
        Change(columns[0], everyone, everyone),  # none
        *(
            Change(name, everyone, random.permutation(len(rows)))
            for name in columns
            for _ in range(REPEATS)
        ),
    ]
    plain = inputs(model, sample, evaluation.contract)
    predictions = predict(model, [plain], evaluation.contract, changes=changes)
    value = evaluation.task.primary_metric.value
    first, *others = (value(y, p) for p in np.split(predictions, len(changes)))
    falls = (first - np.array(others)).reshape(len(columns), REPEATS)
    return {
        name: (float(fall.mean()), float(fall.min()), float(fall.max()))
        for name, fall in zip(columns, falls, strict=True)
    }


def _means(
    evaluation: Evaluation, model: Model, rows: Array, grid: Grid
) -> dict[str, Array]:
    """Return the mean predictions with a column set to each value [values, ...]."""
    shown = {name: values for name, values in grid.items() if name in model.columns}
    if not shown:
        return {}
    sample = evaluation.holdout.iloc[rows[:: max(1, len(rows) // AVERAGED)]]
    everyone = np.arange(len(sample))
    changes = [
        Change(name, everyone, np.full(len(sample), len(sample) + index))
        for name, values in shown.items()
        for index in range(len(values))
    ]
    table = pd.concat([sample, _table(sample, shown)], ignore_index=True)
    plain = inputs(model, table, evaluation.contract)
    predictions = predict(model, [plain], evaluation.contract, changes=changes)
    means = iter(np.split(predictions, len(changes)))
    return {
        name: np.array([next(means).mean(axis=0) for _ in values])
        for name, values in shown.items()
    }


def _table(sample: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Return rows that hold the values of each column, row by row."""
    rows = sample.iloc[np.zeros(VALUES, int)]
    columns = {
        name: pd.array(list(islice(cycle(values), VALUES)), dtype=rows[name].dtype)
        for name, values in grid.items()
    }
    return rows.assign(**columns)


def _grid(column: pd.Series, kind: str) -> list[object]:
    """Return the values a column is set to: its quantiles, or its most common."""
    if pd.api.types.is_datetime64_any_dtype(column):
        if column.isna().all():
            return [pd.NaT]
        times = column.quantile(np.linspace(0.05, 0.95, VALUES)).dt.floor("D")
        return list(dict.fromkeys(times))
    if not pd.api.types.is_numeric_dtype(column):
        return list(column.value_counts().index[:VALUES])
    numbers = column.dropna().to_numpy(np.float64)
    if not len(numbers):
        return [np.nan]
    if kind == "boolean":
        return list(np.unique(numbers) == 1)
    quantiles = np.quantile(numbers, np.linspace(0.05, 0.95, VALUES))
    if kind == "integer":
        return list(dict.fromkeys(np.round(quantiles).tolist()))
    return [float(f"{quantile:.4g}") for quantile in dict.fromkeys(quantiles)]


def _shown(value: object) -> str:
    """Return a value as the report names it."""
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}"
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    return f"{value:.7g}" if isinstance(value, float) else str(value)


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
        places=[_shown(value) for value in values],
        of="" if moved is None else evaluation.contract.classes[moved],
        **{
            name: task.of_class(model[column], index).tolist()
            for name, model in means.items()
            if column in model
        },
    )
