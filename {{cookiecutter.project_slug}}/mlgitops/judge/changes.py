"""How the proposed data differs from the champion's: rows, values, distributions.

Rows are the same when their id is, and changed when any value of the contract differs.
Distances are the monitor's: Wasserstein in standard deviations, Jensen-Shannon.
"""

import numpy as np
import pandas as pd

from mlgitops import distance
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judgement import Changes, ColumnChange, RowChanges
from mlgitops.pipeline.contract import Contract

SHOWN = 5  # new categories named per column


def add(evaluation: Evaluation) -> None:
    """Add how the rows differ from the champion's; cautions for rewritten history."""
    before, after = evaluation.champion_rows, evaluation.rows
    judgement, contract = evaluation.judgement, evaluation.contract
    if evaluation.champion is None:
        return
    if evaluation.same_data or before is None:
        judgement.changes = Changes(same=evaluation.same_data)
        return
    rows, target = _rows(before, after, contract), contract.target
    judgement.changes = Changes(
        same=False,
        rows=rows,
        target=evaluation.task.targets(before[target], after[target], contract.classes),
        columns=[
            _column(name, before[name], after[name], name not in contract.sensitive)
            for name in contract.columns
        ],
    )
    if rows.changed:
        judgement.cautions.append(
            f"{rows.changed:,} rows of the champion's data have other values now: "
            "history was rewritten. Make sure that this was intended."
        )
    if rows.removed_inside:
        judgement.cautions.append(
            f"{rows.removed_inside:,} rows of the champion's data are gone from the "
            "period that this data covers. Make sure that this was intended."
        )


def _rows(before: pd.DataFrame, after: pd.DataFrame, contract: Contract) -> RowChanges:
    """Count rows that were added, removed and changed."""
    hashes, after_hashes = (_hashes(table, contract) for table in (before, after))
    removed = ~hashes.index.isin(after_hashes.index)
    shared = hashes.index[~removed]
    inside = removed & (before[contract.time] >= after[contract.time].min()).to_numpy()
    changed = hashes[shared].to_numpy() != after_hashes[shared].to_numpy()
    return RowChanges(
        champion=len(before),
        challenger=len(after),
        added=len(after) - len(shared),
        removed=int(removed.sum()),
        removed_inside=int(inside.sum()),
        changed=int(changed.sum()),
    )


def _hashes(table: pd.DataFrame, contract: Contract) -> pd.Series:
    """Return one number per id for all the other values of its row."""
    values = table.drop(columns=[contract.id])
    hashes = pd.util.hash_pandas_object(values, index=False)
    return pd.Series(hashes.to_numpy(), index=table[contract.id].astype(object))


def _column(
    name: str, before: pd.Series, after: pd.Series, show_values: bool
) -> ColumnChange:
    """Return how far a column moved; values only where they may be shown."""
    missing = (float(before.isna().mean()), float(after.isna().mean()))
    if not (before.notna().any() and after.notna().any()):
        return ColumnChange(column=name, missing=missing)
    if pd.api.types.is_numeric_dtype(after):
        numbers = (before.to_numpy(np.float64), after.to_numpy(np.float64))
        moved = float(distance.wasserstein(*numbers))
        return ColumnChange(column=name, missing=missing, distance=moved)
    categories = set(after.dropna().unique()) - set(before.dropna().unique())
    return ColumnChange(
        column=name,
        missing=missing,
        distance=float(distance.jensenshannon(*distance.counts(before, after))),
        new=sorted(map(str, categories))[:SHOWN] if show_values else [],
        new_count=len(categories),
    )
