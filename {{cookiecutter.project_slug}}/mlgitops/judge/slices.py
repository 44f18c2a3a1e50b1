"""Where the challenger does worse: every category and quarter of the raw columns.

Compared by the loss of rows (`metrics.LOSSES`: Brier score, or squared error), which
any slice has, whatever its targets. A slice is refused when it is surely worse than the
champion by more than the margin, after Holm's correction for the slices looked at.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from mlgitops import metrics
from mlgitops.judge import compare
from mlgitops.judge.trial import Trial
from mlgitops.judgement import TITLES, Check, Slice, Slices
from mlgitops.metrics.groups import quantile, variances

SHOWN = 10
QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")


def add(trial: Trial) -> None:
    """Add the worst slices, and with a champion the gate on them."""
    losses, label = metrics.LOSSES[trial.task.name]
    errors = {who: losses(trial.y, side.scores) for who, side in trial.sides.items()}
    rows = [
        row
        for column in trial.contract.columns
        if column not in trial.contract.sensitive
        for row in _column(trial, column, errors)
    ]
    if trial.champion and rows:
        _judge(trial, rows, label)
    order = "difference" if trial.champion else "challenger"
    rows.sort(key=lambda row: -row[order])
    shown = [Slice(**row) for row in rows[:SHOWN]]
    trial.found.slices = Slices(label, len(rows), shown)


def _column(
    trial: Trial, name: str, errors: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Give each value of a column that has enough rows, with the errors in it."""
    codes, labels = parts(trial.holdout[name])
    counts = np.bincount(codes, minlength=len(labels))
    means = {
        who: np.bincount(codes, each, len(labels)) / np.maximum(counts, 1)
        for who, each in errors.items()
    }
    enough = counts >= trial.rules.slices.min_rows
    if "champion" in errors:
        gaps = errors["challenger"] - errors["champion"]
        variance, rests = variances(gaps, codes, len(labels), trial.clusters)
        if trial.clusters is None:
            variance *= (counts - 1) / np.maximum(counts, 1)
            rests = np.full(len(labels), np.inf)
        enough &= rests > 1  # of one entity nothing is known
    for number in np.flatnonzero(enough):
        row: dict[str, Any] = {
            "column": name,
            "value": labels[number],
            "rows": int(counts[number]),
            "champion": None,
            **{who: float(mean[number]) for who, mean in means.items()},
        }
        if row["champion"] is not None:
            gap = row["challenger"] - row["champion"]
            row |= {"difference": gap, "error": float(variance[number]) ** 0.5}
            row["freedom"] = float(rests[number]) - 1
        yield row


def parts(column: "pd.Series[Any]") -> tuple[Any, list[str]]:
    """Return the number of each row's slice, and the slices' names."""
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(np.float64)
        known = values[~np.isnan(values)]
        if not len(known):
            return np.zeros(len(values), int), ["missing"]
        edges = np.unique(np.quantile(known, (0.25, 0.5, 0.75)))
        codes = np.searchsorted(edges, values, side="left")
        codes[np.isnan(values)] = 4
        return codes, [*QUARTERS, "missing"]
    codes, names = pd.factorize(column.astype(object))
    return np.where(codes < 0, len(names), codes), [*map(str, names), "missing"]


def _judge(trial: Trial, rows: list[dict[str, Any]], label: str) -> None:
    """Mark the slices that are surely worse by more than the margin; add the check."""
    rules, margin = trial.rules, trial.rules.slices.margin
    gaps, errors, freedom = (
        np.array([row[name] for row in rows])
        for name in ("difference", "error", "freedom")
    )
    errors = np.maximum(errors, 1e-12)
    p = stdtr(freedom, (margin - gaps) / errors)
    for row, adjusted in zip(rows, compare.holm(p), strict=True):
        error = row.pop("error") * quantile(rules.confidence, row.pop("freedom"))
        row |= {"low": row["difference"] - error, "high": row["difference"] + error}
        row["failed"] = bool(adjusted < 1 - rules.confidence)
    bad = np.array([row["failed"] for row in rows])
    # By Holm's steps: some slice fails where the bound of the likeliest is above.
    place = int(np.argmax(np.where(bad, gaps, -np.inf)) if bad.any() else np.argmin(p))
    left = len(rows) - int(np.argsort(np.argsort(p, kind="stable"))[place])
    level = 1 - (1 - rules.confidence) / left
    bound = gaps[place] - stdtrit(freedom[place], level) * errors[place]
    named, where = rows[place], f"{rows[place]['column']} is {rows[place]['value']}"
    trial.found.checks.append(
        Check(
            id="slices",
            title=TITLES["slices"],
            passed=not bool(bad.any()),
            reason=f"worse than the champion where {where}, by more than "
            f"{margin:g} of {label}"
            if bad.any()
            else f"none of {len(rows)} slices is shown to be worse by more than the "
            f"margin; nearest to it is the one where {where}",
            metric=label,
            statistic="lower bound",
            value=float(bound),
            operator="<=",
            limit=margin,
            estimate=named["difference"],
            gate=True,
        )
    )
