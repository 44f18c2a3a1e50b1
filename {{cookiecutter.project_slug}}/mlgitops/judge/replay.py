"""What would have been decided otherwise: production's newest requests, asked again."""

from typing import Any

import pandas as pd

from mlgitops.judge.trial import Side, Trial, fed, predict
from mlgitops.judgement import Affected, Refused, Replay

FEWEST = 30  # requests of a group below which it is not named
SHOWN = 5


def add(trial: Trial) -> None:
    """Add how many decisions would flip, which way, and for whom."""
    file = trial.challenger.folder.parent / "requests.parquet"
    if trial.champion is None or not file.is_file():
        return
    table = pd.read_parquet(file)
    for side in (trial.champion, trial.challenger):
        lacking = [n for n in side.manifest["columns"] if n not in table]
        if lacking:
            why = f"the log does not hold {lacking[0]}, which a model needs"
            trial.found.replay = Replay(why=why)
            return
    try:
        old, new = (
            _decided(s, table, trial) for s in (trial.champion, trial.challenger)
        )
    except Refused as refusal:
        trial.found.replay = Replay(why=str(refusal))
        return
    task, classes = trial.task, trial.contract.classes
    times = sorted(t for t in table["time"] if t)
    trial.found.replay = Replay(
        requests=len(table),
        since=times[0] if times else "unknown",
        until=times[-1] if times else "unknown",
        moves=task.moves(old, new, classes),
        groups=_groups(table, task.other(old, new), trial),
    )


def _decided(side: Side, table: pd.DataFrame, trial: Trial) -> Any:
    """Return what a model decides on each request, [n]."""
    scores = predict(side, [fed(side, table, trial.contract)], trial.contract)
    return trial.task.decided(scores, side.manifest)


def _groups(table: pd.DataFrame, flipped: Any, trial: Trial) -> list[Affected]:
    """Return the categories whose requests flip most often, or move farthest."""
    found = []
    for name, column in trial.contract.columns.items():
        if column.type != "category" or name in trial.contract.sensitive:
            continue
        if name not in table:
            continue
        counted = pd.Series(flipped).groupby(table[name]).agg(["size", "sum"])
        for value, (size, flips) in counted.iterrows():
            if size >= FEWEST and flips:
                found.append(Affected(name, str(value), int(size), float(flips)))
    return sorted(found, key=lambda g: -g.flips / g.requests)[:SHOWN]
