"""What the data has that the champion's had not: rows, values, distributions.

Rows are the same when their id is, and changed when any value of the contract differs.
Distances are the monitor's: Wasserstein in standard deviations, Jensen-Shannon.
"""

from typing import Any

import numpy as np
import pandas as pd

from mlgitops import distance
from mlgitops.judge.trial import Trial
from mlgitops.judgement import Changes, ColumnChange, RowChanges
from mlgitops.pipeline.contract import Contract

SHOWN = 5  # new categories named per column


def add(trial: Trial) -> None:
    """Add how the rows differ from the champion's; cautions for what is rewritten."""
    if trial.champion is None:
        return
    if trial.same_data or trial.before is None:
        trial.found.changes = Changes(same=trial.same_data)
        return
    old, new, contract = trial.before, trial.rows, trial.contract
    rows = _rows(old, new, contract)
    target = contract.target
    trial.found.changes = Changes(
        same=False,
        rows=rows,
        target=trial.task.targets(old[target], new[target], contract.classes),
        columns=[
            _column(name, old[name], new[name], name not in contract.sensitive)
            for name in contract.columns
        ],
    )
    cautions = trial.found.cautions
    if rows.changed:
        cautions.append(
            f"{rows.changed:,} rows that the champion's data has too hold other "
            "values now: history was rewritten. Make sure that somebody meant it."
        )
    if rows.removed_inside:
        cautions.append(
            f"{rows.removed_inside:,} rows of the champion's data are gone from the "
            "period that this data covers. Make sure that somebody meant it."
        )


def _rows(old: pd.DataFrame, new: pd.DataFrame, contract: Contract) -> RowChanges:
    """Count rows that were added, removed and changed."""
    before, now = (_hashes(table, contract) for table in (old, new))
    gone = ~before.index.isin(now.index)
    shared = before.index[~gone]
    inside = gone & (old[contract.time] >= new[contract.time].min()).to_numpy()
    changed = before[shared].to_numpy() != now[shared].to_numpy()
    return RowChanges(
        champion=len(old),
        challenger=len(new),
        added=len(new) - len(shared),
        removed=int(gone.sum()),
        removed_inside=int(inside.sum()),
        changed=int(changed.sum()),
    )


def _hashes(table: pd.DataFrame, contract: Contract) -> "pd.Series[Any]":
    """Return one number per id for all the other values of its row."""
    rest = table.drop(columns=[contract.id])
    hashes = pd.util.hash_pandas_object(rest, index=False)
    return pd.Series(hashes.to_numpy(), index=table[contract.id].astype(object))


def _column(
    name: str, old: "pd.Series[Any]", new: "pd.Series[Any]", named: bool
) -> ColumnChange:
    """Return how far a column moved; values only where they may be named."""
    missing = (float(old.isna().mean()), float(new.isna().mean()))
    if not (old.notna().any() and new.notna().any()):
        return ColumnChange(column=name, missing=missing)
    if pd.api.types.is_numeric_dtype(new):
        both = (old.to_numpy(np.float64), new.to_numpy(np.float64))
        far = float(distance.wasserstein(*both))
        return ColumnChange(column=name, missing=missing, distance=far)
    fresh = set(new.dropna().unique()) - set(old.dropna().unique())
    return ColumnChange(
        column=name,
        missing=missing,
        distance=float(distance.jensenshannon(*distance.counts(old, new))),
        new=sorted(map(str, fresh))[:SHOWN] if named else [],
        new_count=len(fresh),
    )
