"""What would have been decided otherwise: production's newest requests, replayed."""

import pandas as pd

from mlgitops.judge.compare import Array
from mlgitops.judge.evaluation import Evaluation, Model, inputs, predict
from mlgitops.judge.requests import FILE, SINCE, UNREADABLE, UNTIL
from mlgitops.judgement import Affected, Refused, Replay

FEWEST = 30  # requests of a group below which it is not named
SHOWN = 5


def add(evaluation: Evaluation) -> None:
    """Add how many decisions would change, which way, and for which groups."""
    file = evaluation.challenger.folder.parent / FILE
    if evaluation.champion is None or not file.is_file():
        return
    models, table = evaluation.models.values(), pd.read_parquet(file)
    needed = [column for model in models for column in model.columns]
    if absent := [column for column in needed if column not in table]:
        reason = f"the log does not hold {absent[0]}, which a model needs"
        evaluation.judgement.replay = Replay(why=reason)
        return
    try:
        champion, challenger = (_decisions(m, table, evaluation) for m in models)
    except Refused as refusal:
        evaluation.judgement.replay = Replay(why=str(refusal))
        return
    task = evaluation.task
    evaluation.judgement.replay = Replay(
        requests=len(table),
        unreadable=int(table.attrs.get(UNREADABLE, 0)),
        since=str(table.attrs.get(SINCE, "unknown")),
        until=str(table.attrs.get(UNTIL, "unknown")),
        moves=task.moves(champion, challenger, evaluation.contract.classes),
        groups=_groups(table, task.decision_change(champion, challenger), evaluation),
    )


def _decisions(model: Model, table: pd.DataFrame, evaluation: Evaluation) -> Array:
    """Return what a model decides on each request, [n]."""
    contract = evaluation.contract
    predictions = predict(model, [inputs(model, table, contract)], contract)
    return evaluation.task.decide(predictions, model.manifest)


def _groups(
    table: pd.DataFrame, changes: Array, evaluation: Evaluation
) -> list[Affected]:
    """Return the categories whose decisions change most often, or move farthest."""
    contract, affected = evaluation.contract, []
    for name, column in contract.columns.items():
        named = column.type in ("category", "boolean")
        shown = named and name not in contract.sensitive
        if not shown or name not in table:
            continue
        counts = pd.Series(changes).groupby(table[name]).agg(["size", "sum"])
        for value, (size, flips) in counts.iterrows():
            if size >= FEWEST and flips:
                text = str(value)
                if column.type == "boolean":
                    text = str(bool(value)).lower()
                affected.append(Affected(name, text, int(size), float(flips)))
    return sorted(affected, key=lambda g: -g.flips / g.requests)[:SHOWN]
