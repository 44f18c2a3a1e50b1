"""Where the challenger does worse: every category and quartile of the raw columns.

Compared by the loss of rows (`metrics.LOSSES`: Brier score, or squared error), which
any slice has, whatever its targets. A slice is refused when it is shown to be worse
than the champion by more than the margin, after Holm's correction for all slices.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from msgspec.structs import replace
from scipy.special import stdtr, stdtrit

from mlgitops import metrics
from mlgitops.judge import checks, compare
from mlgitops.judge.compare import Codes, Vector
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judgement import Slice, Slices
from mlgitops.metrics.groups import quantile, variances
from mlgitops.pipeline.data import seconds

SHOWN = 10
FLAGS = {0.0: "false", 1.0: "true"}
QUARTILES = ("first quartile", "second quartile", "third quartile", "last quartile")


class _Measured(NamedTuple):
    """A slice, and the standard error of its difference."""

    slice: Slice
    error: float = 0.0
    freedom: float = np.inf


def add(evaluation: Evaluation) -> None:
    """Add the worst slices, and with a champion the gate on them."""
    losses_of, label = metrics.LOSSES[evaluation.task.name]
    y = evaluation.y
    losses = evaluation.each(lambda model: losses_of(y, model.predictions))
    measured = [
        row
        for column in evaluation.contract.columns
        if column not in evaluation.contract.sensitive
        and evaluation.contract.columns[column].type != "text"  # each differs
        for row in _measure(evaluation, column, losses)
    ]
    slices = [row.slice for row in measured]
    if evaluation.champion and measured:
        slices = _gate(evaluation, measured, label)
    slices.sort(key=lambda s: -(s.challenger if s.difference is None else s.difference))
    evaluation.judgement.slices = Slices(label, len(slices), slices[:SHOWN])


def parts(column: pd.Series, kind: str = "") -> tuple[Codes, list[str]]:
    """Return the number of each row's slice, and the slices' names.

    A number or a time is cut into quartiles; a flag, or one of four values, into its
    values. `kind` is the column's type in the contract.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        column = pd.Series(seconds(column), column.index)
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(np.float64)
        missing = np.isnan(values)
        if missing.all():
            return np.zeros(len(values), np.int64), ["missing"]
        distinct = np.sort(pd.unique(values[~missing]))
        edges, labels = (
            distinct,
            [f"{value:.7g}" for value in distinct[: len(QUARTILES)]],
        )
        if kind == "boolean":
            labels = [FLAGS.get(value, str(value)) for value in edges.tolist()]
        elif kind == "datetime":
            labels = [str(pd.Timestamp(value, unit="s")) for value in distinct[:4]]
        if len(distinct) > len(QUARTILES):
            edges = np.unique(np.quantile(values[~missing], (0.25, 0.5, 0.75)))
            labels = list(QUARTILES)
        codes = np.searchsorted(edges, values, side="left")
        return np.where(missing, len(labels), codes), [*labels, "missing"]
    codes, names = pd.factorize(column.astype(object))
    return np.where(codes < 0, len(names), codes), [*map(str, names), "missing"]


def _measure(
    evaluation: Evaluation, column: str, losses: dict[str, Vector]
) -> Iterator[_Measured]:
    """Yield each value of a column that has enough rows, with its mean losses."""
    kind = evaluation.contract.columns[column].type
    codes, labels = parts(evaluation.holdout[column], kind)
    rows = np.bincount(codes, minlength=len(labels))
    means = {
        name: np.bincount(codes, loss, len(labels)) / np.maximum(rows, 1)
        for name, loss in losses.items()
    }
    large = rows >= evaluation.rules.slices.min_rows
    error, freedom = np.zeros(len(labels)), np.full(len(labels), np.inf)
    if "champion" in losses:
        gaps, groups = losses["challenger"] - losses["champion"], evaluation.groups
        variance, sizes = variances(gaps, codes, len(labels), groups)
        if groups is None:
            variance *= (rows - 1) / np.maximum(rows, 1)
        else:
            large &= sizes > 1  # a single entity gives no variance
            freedom = sizes - 1.0
        error = np.sqrt(variance)
    for n in np.flatnonzero(large):
        row = Slice(
            column=column,
            value=labels[n],
            rows=int(rows[n]),
            challenger=float(means["challenger"][n]),
        )
        if "champion" in means:
            champion = float(means["champion"][n])
            gap = row.challenger - champion
            row = replace(row, champion=champion, difference=gap)
        yield _Measured(row, float(error[n]), float(freedom[n]))


def _gate(evaluation: Evaluation, measured: list[_Measured], label: str) -> list[Slice]:
    """Add the check; return the slices with intervals, and with those that fail it."""
    rules, margin = evaluation.rules, evaluation.rules.slices.margin
    slices = [row.slice for row in measured]
    gaps = np.array([row.difference for row in slices])
    errors = np.maximum([row.error for row in measured], 1e-12)
    freedom = np.array([row.freedom for row in measured])
    p = stdtr(freedom, (margin - gaps) / errors)
    failed = compare.holm(p) < 1 - rules.confidence
    # By Holm's steps: some slice fails where the bound of the likeliest is above.
    worst = int(np.argmax(np.where(failed, gaps, -np.inf)))
    worst = worst if failed.any() else int(np.argmin(p))
    left = len(slices) - int(np.argsort(np.argsort(p, kind="stable"))[worst])
    level = 1 - (1 - rules.confidence) / left
    bound = gaps[worst] - stdtrit(freedom[worst], level) * errors[worst]
    condition = f"where {slices[worst].column} is {slices[worst].value}"
    reasons = (
        f"none of {len(slices)} slices is shown to be worse by more than the margin; "
        f"nearest to it is the one {condition}",
        f"worse than the champion {condition}, by more than {margin:g} of {label}",
    )
    evaluation.judgement.checks.append(
        checks.held(
            "slices",
            float(bound),
            "<=",
            margin,
            reasons,
            metric=label,
            statistic="lower bound",
            estimate=slices[worst].difference,
        )
    )
    reach = [row.error * quantile(rules.confidence, row.freedom) for row in measured]
    ends = zip(slices, (gaps - reach).tolist(), (gaps + reach).tolist(), strict=True)
    return [
        replace(row, low=low, high=high, failed=bool(failed[n]))
        for n, (row, low, high) in enumerate(ends)
    ]
