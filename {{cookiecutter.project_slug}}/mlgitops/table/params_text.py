"""Which lines of params.yaml follow from a table, and their reasons; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from mlgitops.pipeline.schema import one_line
from mlgitops.table import yaml_lines
from mlgitops.table.baseline import WORDS, Baseline, left_out
from mlgitops.table.gates_text import Entry, gates, number, round_down
from mlgitops.table.guess import Guess
from mlgitops.table.roles import Roles
from mlgitops.table.target import Target
from mlgitops.table.typed import HOLDOUT, Measured, round_up
from mlgitops.table.yaml_lines import scalar

DAYS = 28  # of the monitor's window, or more where rows are few
MONITORED = 300  # rows of a window, or fewer where the table has few


def entries(
    measured: Measured,
    roles: Roles,
    target: Target,
    inputs: Sequence[Guess],
    sensitive: Sequence[str],
    found: Baseline,
    fairness: Entry,
) -> list[Entry]:
    """Return the entries that follow from a table; `fairness` is that of its groups."""
    task = target.task
    leaks = left_out(found, task)
    names = [g.name for g in inputs if g.name not in (*sensitive, *leaks)]
    columns = ["columns: # of contract.yaml, in the order that the model takes them"]
    if leaks:
        shown = ", ".join(map(one_line, leaks[:3])) + (", ..." if leaks[3:] else "")
        columns[0] += f"; left out, as alone it tells the target: {shown}"
    result = [
        _prepare(measured, roles),
        Entry(("train", "columns"), (*columns, *(f"  - {scalar(n)}" for n in names))),
        _threshold(measured, target),
        *_estimators(task, measured, any(g.type == "text" for g in inputs)),
        *gates(measured, target, found),
        Entry(("business",)),
        fairness,
        *_monitor(task, measured),
        _retrain(measured, roles),
    ]
    return result


def _prepare(measured: Measured, roles: Roles) -> Entry:
    """Return the section of the split."""
    if roles.split == "time":
        assert measured.span is not None
        days = (measured.span[1] - measured.span[0]).total_seconds() / 86_400
        lines = [
            "split: time # the newest rows are held out, as production comes later",
            f"holdout_days: {number(measured.holdout_days)} # the newest "
            f"{measured.holdout:,} of {measured.rows:,} rows",
            f"train_days: {number(round_up(days))} # at most this many days before "
            "them: all that there are now",
        ]
    elif roles.split == "column":
        name = " ".join(roles.part.split())
        lines = [
            f"split: column # the column {name} says which rows are held out",
            f"holdout: [{', '.join(scalar(value) for value in roles.held)}] # "
            f"{measured.holdout:,} of {measured.rows:,} rows",
        ]
    else:
        unit = "the id" if roles.split == "random" else f"the column {roles.group}"
        lines = [
            f"split: {roles.split} # a row is held out by a hash of {unit}".replace(
                "\n", " "
            ),
            f"holdout_share: {HOLDOUT} # about {measured.holdout:,} of "
            f"{measured.rows:,} rows",
            "seed: 1 # another seed holds other rows out",
        ]
    return Entry(("prepare",), ("prepare:", *(f"  {line}" for line in lines)))


def _threshold(measured: Measured, target: Target) -> Entry:
    """Return the threshold of a binary task: the share of ones."""
    path = ("train", "threshold")
    if target.task != "binary":
        return Entry(path)
    share = target.threshold
    reason = f"as often as it is in the data ({share:.2g})"
    line = f"threshold: {number(share)} # a probability of at least this is decided 1: "
    return Entry(path, (f"{line}about {reason}",))


def _estimators(task: str, measured: Measured, texts: bool) -> list[Entry]:
    """Return the arguments of the estimators to choose from."""
    leaf = max(3, min(20, measured.rows // 50))
    kind = "Regressor" if task == "regression" else "Classifier"
    trees = (
        f"hist_gradient_boosting: # arguments of HistGradientBoosting{kind}",
        "  learning_rate: 0.1 # the step of each tree",
        "  max_iter: 100 # trees",
        "  max_leaf_nodes: 31 # size of one tree",
        f"  min_samples_leaf: {leaf} # fewest rows in a leaf",
        "  l2_regularization: 0.0 # shrinks the leaves towards the mean",
    )
    found = [Entry(("train", "hist_gradient_boosting"), trees)]
    if texts:
        linear_model = "ridge" if task == "regression" else "logistic_regression"
        reason = "or hist_gradient_boosting, which looks at fewer words of a text"
        lines = (f"estimator: {linear_model} # {reason}",)
        found.append(Entry(("train", "estimator"), lines))
    if task == "regression":
        ridge = (
            "ridge: # arguments of Ridge",
            "  alpha: 1.0 # larger regularises more",
        )
        linear = ("train", "logistic_regression")
        found.append(Entry(("train", "ridge"), ridge, linear))
    return found


def _window(measured: Measured) -> tuple[int, float]:
    """Return the days of a monitor's window, whole weeks, and the rows of each."""
    if measured.span is None:
        return DAYS, measured.holdout
    days = (measured.span[1] - measured.span[0]).total_seconds() / 86_400
    rate = measured.rows / max(days, 1)
    weeks = math.ceil(1.5 * MONITORED / rate / 7)
    window = max(DAYS, min(7 * weeks, 364))
    return window, min(measured.holdout, rate * window)


def _monitor(task: str, measured: Measured) -> list[Entry]:
    """Return the monitor's sizes, and the lines whose reasons are of the example."""
    words, fall = WORDS[task], 0.05 if task == "regression" else 0.02
    window, count = _window(measured)
    half = round_down(count / 2)
    here = f"a window has some {count:,.0f} rows by what the table has"
    if measured.span is None:
        here = f"the holdout has {count:,.0f}"
    rows = {
        "window_days": (
            window,
            "of events, or of arrivals if contract.yaml names no time: whole weeks, so "
            "that each weekday has the same weight",
        ),
        "min_rows": (
            max(30, min(MONITORED, half)),
            f"with fewer rows there is no verdict; {here}",
        ),
        "min_labels": (
            max(100, min(500, half)),
            "with fewer labels, performance is pending",
        ),
        "block_days": (
            7,
            "the null distribution resamples whole weeks; 0 resamples single rows",
        ),
        "confirm_parts": (2, "parts of the window that must each show a drift"),
        "min_shift_columns": (
            "{}",
            "another smallest shift for a column, such as price: 0.5",
        ),
        "max_fall": (fall, f"largest fall of {words} from the version's holdout"),
        "min_gain": (
            0.005,
            f"{words} that the interval of that gain must reach on its "
            "lower side to propose retraining",
        ),
    }
    return [
        Entry(("monitor", name), (f"{name}: {value} # {reason}",))
        for name, (value, reason) in rows.items()
    ]


def _retrain(measured: Measured, roles: Roles) -> Entry:
    """Return how much data a retraining keeps."""
    days = 3650.0
    if measured.span:
        span = (measured.span[1] - measured.span[0]).total_seconds() / 86_400
        days = round_up(1.2 * (span + measured.holdout_days))
    reason = "before the newest labelled row"
    if roles.split == "time":
        reason += "; at least train_days + holdout_days"
    return Entry(("retrain", "keep_days"), (f"keep_days: {number(days)} # {reason}",))


def apply(text: str, wanted: Sequence[Entry]) -> str:
    """Return params.yaml with these entries."""
    for entry in wanted:
        if entry.lines:
            text = yaml_lines.put(text, entry.path, entry.lines, entry.instead)
        else:
            text = yaml_lines.remove(text, entry.path)
    return text


def kept(
    text: str, wanted: Sequence[Entry], wrote: Mapping[str, Any]
) -> tuple[list[Entry], list[str]]:
    """Return the entries to write, and the paths that the user has changed since.

    `wrote` are the values that an earlier run wrote, by their path.
    """
    document = yaml.safe_load(text)
    write, own = [], []
    for entry in wanted:
        path = ".".join(entry.path)
        now = yaml_lines.value(document, entry.path)
        if path in wrote and now != wrote[path] and now != entry.value:
            own.append(path)
        else:
            write.append(entry)
    return write, own
