"""Whether the rows that a proposal adds to the holdout are as hard as main's were.

A holdout that is easier lets a worse model pass. The champion tells: it is scored on
the rows that are new here, and on those that its own data held out.
"""

import numpy as np
import pandas as pd

from mlgitops import metrics
from mlgitops.judge import large
from mlgitops.judge.compare import Array, Codes
from mlgitops.judge.evaluation import Evaluation, inputs, new_to, predict
from mlgitops.judgement import Refused
from mlgitops.pipeline import data

FEWEST = 300  # rows of each kind
CONFIDENCE = 0.99  # of the interval: every retraining is asked


def add(evaluation: Evaluation) -> None:
    """Add a caution where the champion does better, or worse, on the new rows.

    Rows of one day, or of one entity, resemble each other: the widest interval counts.
    """
    champion, before = evaluation.champion, evaluation.champion_rows
    contract, holdout = evaluation.contract, evaluation.holdout
    if champion is None or before is None:
        return
    ids, new = holdout[contract.id].astype(object), np.ones(len(holdout), bool)
    for rows in large.batches(before, [contract.id]):
        new &= ~ids.isin(set(rows[contract.id].astype(object))).to_numpy()
    unknown = new_to(
        champion, before, contract, evaluation.split.split, evaluation.split.batch
    )
    old = large.where(
        before, np.ones(len(before), bool) if unknown is None else unknown
    )
    # Sums of floats depend on their order, which is the batches' in a large table.
    old = old.sort_values(data.sort_keys(contract), ignore_index=True)
    if min(new.sum(), len(old)) < FEWEST:
        return
    try:
        predictions = predict(champion, [inputs(champion, old, contract)], contract)
        samples = ((holdout[new], champion.predictions[new]), (old, predictions))
        scores = [_score(evaluation, *sample) for sample in samples]
    except (Refused, ValueError):  # the champion's own fault; rows of one class
        return
    difference = scores[0][0] - scores[1][0]
    reach = float(np.hypot(scores[0][1], scores[1][1]))
    metric = evaluation.task.primary_metric
    margin = next(
        gate.bounds.margin or 0.0
        for gate in evaluation.gates.metrics
        if gate.metric.key == metric.key
    )
    if abs(difference) - reach <= margin:
        return
    kind = "easier" if difference > 0 else "harder"
    evaluation.judgement.cautions.append(
        f"The {new.sum():,} rows that are new in this holdout are {kind} than those "
        f"that main held out: the champion has {metric.label} {scores[0][0]:.4f} on "
        f"them, and {scores[1][0]:.4f} on those (difference {difference:+.4f}, "
        f"interval {difference - reach:+.4f} to {difference + reach:+.4f}). Make sure "
        "that production will get such rows."
    )


def _score(
    evaluation: Evaluation, rows: pd.DataFrame, predictions: Array
) -> tuple[float, float]:
    """Return the primary metric, and half of its interval's width.

    Raises:
        ValueError: the metric is not defined on these rows.
    """
    contract = evaluation.contract
    y = data.truth(rows, contract)
    constant = np.zeros(predictions.shape)
    if not evaluation.task.classifies:
        constant += y.mean()
    paired = metrics.PAIRED[contract.task]
    groups: list[Codes | None] = [None]
    if contract.time:
        groups.append(_codes(rows[contract.time].dt.floor("D")))
    if contract.entity:
        groups.append(_codes(rows[contract.entity]))
    results = [paired(y, constant, predictions, CONFIDENCE, g) for g in groups]
    widths = [result.high - result.difference for result in results]
    return results[0].challenger, max(widths)


def _codes(column: pd.Series) -> Codes:
    """Return the number of each row's group [n]."""
    return np.asarray(pd.factorize(column)[0])
