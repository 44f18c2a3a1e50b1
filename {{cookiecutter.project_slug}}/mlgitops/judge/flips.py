"""A few rows that the two models decide differently, and what moved the challenger."""

import numpy as np
import pandas as pd

from mlgitops.judge.columns import Change
from mlgitops.judge.compare import Array
from mlgitops.judge.evaluation import Evaluation, inputs, predict
from mlgitops.judgement import Flip, Reason

ROWS = 3
REASONS = 3  # columns named for each


def add(evaluation: Evaluation) -> None:
    """Add the rows whose predictions are farthest apart, with reasons.

    The reason of a column: how far the challenger's prediction (of several classes, the
    probability of the one that it decides) moves when the column has its usual value.
    """
    champion, challenger = evaluation.champion, evaluation.challenger
    task, contract = evaluation.task, evaluation.contract
    if champion is None:
        return
    flipped = task.decision_change(champion.decisions, challenger.decisions) > 0
    distance = task.distance(champion.predictions, challenger.predictions)
    order = np.argsort(-distance, kind="stable")
    chosen = order[flipped[order]][:ROWS]
    if not len(chosen):
        return
    columns = [c for c in challenger.columns if c not in contract.sensitive]
    moves = _moves(evaluation, chosen, columns)

    def shown(name: str, values: pd.Series) -> str:
        return _text(values[name], contract.columns[name].type)

    for n, row in enumerate(chosen):
        values = evaluation.holdout.iloc[row]
        foremost = np.argsort(-np.abs(moves[:, n]))[:REASONS]
        evaluation.judgement.flips.append(
            Flip(
                champion=task.answer(champion.predictions[row], contract.classes),
                challenger=task.answer(challenger.predictions[row], contract.classes),
                truth=task.truth(evaluation.y[row], contract.classes),
                reasons=[
                    Reason(columns[c], shown(columns[c], values), float(moves[c, n]))
                    for c in foremost
                ],
            )
        )


def _moves(evaluation: Evaluation, chosen: Array, columns: list[str]) -> Array:
    """Return how far each column's usual value moves a prediction [columns, rows]."""
    model, task, contract = evaluation.challenger, evaluation.task, evaluation.contract
    if not columns:
        return np.empty((0, len(chosen)))
    rows, count = evaluation.holdout.iloc[chosen], np.arange(len(chosen))
    kinds = {c: contract.columns[c].type for c in columns}
    usual = {c: _usual(evaluation.holdout[c], kinds[c]) for c in columns}
    tables = [rows, rows[:1].assign(**usual)]
    tables = [inputs(model, table, contract) for table in tables]
    source = np.full(len(chosen), len(chosen))
    changes = [Change(column, count, source) for column in columns]
    predictions = predict(model, tables, contract, changes=changes)
    moved = np.split(predictions, len(columns))
    decided = model.decisions[chosen] if contract.classes else None
    before = task.of_class(model.predictions[chosen], decided)
    return np.array([before - task.of_class(p, decided) for p in moved])


def _usual(column: pd.Series, kind: str) -> object:
    """Return a column's median, or its most common value; of a text, none."""
    if kind == "text":
        return None
    if kind in ("number", "integer", "datetime"):
        return column.median()
    return column.mode().iloc[0] if len(column.mode()) else None


def _text(value: object, kind: str) -> str:
    """Return a cell as the report shows it; of a text only its length."""
    if kind == "text" and isinstance(value, str):
        return f"{len(value):,} characters"
    if kind == "boolean" and value == value:
        return str(bool(value)).lower()
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
