"""How the proposed data differs from the champion's: rows, values, distributions.

Rows are the same when their id is, and changed when any value of the contract differs.
Distances are the monitor's: Wasserstein in standard deviations, Jensen-Shannon.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlgitops import distance
from mlgitops.judge import large
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judge.large import Table
from mlgitops.judgement import Changes, ColumnChange, RowChanges
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.data import seconds
from mlgitops.pipeline.repeated import hashes
from mlgitops.pipeline.schema import one_line

SHOWN = 5  # new categories named per column
Rows = NDArray[np.bool_]


class _Moved(NamedTuple):
    """Which rows differ: of the challenger's table, then of the champion's."""

    added: Rows
    added_inside: Rows
    removed: Rows
    removed_inside: Rows
    changed: Rows

    @property
    def counts(self) -> RowChanges:
        """How many they are."""
        return RowChanges(
            champion=len(self.removed),
            challenger=len(self.added),
            **{name: int(rows.sum()) for name, rows in self._asdict().items()},
        )


def add(evaluation: Evaluation) -> None:
    """Add how the rows differ from the champion's; cautions for rewritten history."""
    before, after = evaluation.champion_rows, evaluation.rows
    judgement, contract = evaluation.judgement, evaluation.contract
    if evaluation.champion is None:
        return
    if evaluation.same_data or before is None:
        judgement.changes = Changes(same=evaluation.same_data)
        return
    moved, target = _moved(before, after, contract), contract.target
    judgement.changes = Changes(
        same=False,
        rows=moved.counts,
        target=evaluation.task.targets(before[target], after[target], contract.classes),
        columns=[
            _column(name, *_texts_measured(name, before, after, contract))
            for name in contract.columns
        ],
    )
    days = evaluation.split.holdout_days
    judgement.cautions += _rewritten(moved, before, after, contract, days)


def _moved(before: Table, after: Table, contract: Contract) -> _Moved:
    """Return which rows were added, removed and changed."""
    earlier, later = (_hashes(table, contract) for table in (before, after))
    removed = ~earlier.index.isin(later.index)
    shared = earlier.index[~removed]
    added_inside, removed_inside = np.zeros(len(after), bool), removed
    changed = np.zeros(len(before), bool)
    changed[~removed] = earlier[shared].to_numpy() != later[shared].to_numpy()
    added = ~later.index.isin(earlier.index)
    if contract.time:
        times, after_times = before[contract.time], after[contract.time]
        added_inside = added & (after_times <= times.max()).to_numpy()
        removed_inside = removed & (times >= after_times.min()).to_numpy()
    return _Moved(
        added=added,
        added_inside=added_inside,
        removed=removed,
        removed_inside=removed_inside,
        changed=changed,
    )


def _rewritten(
    moved: _Moved,
    before: Table,
    after: Table,
    contract: Contract,
    days: float,
) -> list[str]:
    """Return cautions about the period of the champion's data, each with an example.

    Without a time every row may be of that period, and what was added is not known to
    be newer; ``days`` are those held out, 0 where that is not by time.
    """
    cautions, counts = [], moved.counts
    if counts.changed:
        cautions.append(
            "Other values than in the champion's data: "
            f"{_some(before, moved.changed, contract)}. History was rewritten: make "
            "sure that this was intended."
        )
    if counts.removed_inside:
        period = " from the period that this data covers" if contract.time else ""
        cautions.append(
            f"Gone{period}: "
            f"{_some(before, moved.removed_inside, contract)} of the champion's data. "
            "Make sure that this was intended."
        )
    if counts.added_inside:
        until = before[contract.time].max()
        start = until - pd.Timedelta(days=days)
        late = moved.added_inside & (after[contract.time] > start).to_numpy()
        earlier = moved.added_inside & ~late
        first = earlier if earlier.any() else late
        others = "Make sure that they are."
        if earlier.any():
            others = (
                f"Older ones: {int(earlier.sum()):,}. Make sure where they are from."
            )
        cautions.append(
            "Added to the period of the champion's data, which ends at "
            f"{until:%Y-%m-%d %H:%M}: "
            f"{_some(after, moved.added_inside, contract, first)}{_late(late, days)}. "
            f"{others}"
        )
    return cautions


def _late(late: Rows, days: float) -> str:
    """Return how many added rows are of the days held out, where days are."""
    count = int(late.sum())
    return f", {count:,} in its last {days:g} days, as late labels are" if days else ""


def _some(
    table: Table, rows: Rows, contract: Contract, first: Rows | None = None
) -> str:
    """Return how many rows these are, with the first of them as an example."""
    example = large.row(table, large.first(table, rows if first is None else first))
    count = int(rows.sum())
    of = f" of {example[contract.time]:%Y-%m-%d}" if contract.time else ""
    return (
        f"{count:,} {'row' if count == 1 else 'rows'} (such as "
        f"{one_line(example[contract.id])}{of})"
    )


def _hashes(table: Table, contract: Contract) -> pd.Series:
    """Return one number per id for all the other values of its row.

    Of a large table an id is 64 bits of it.
    """

    def values(rows: pd.DataFrame) -> pd.Series:
        rest = rows.drop(columns=[contract.id])
        return pd.util.hash_pandas_object(rest, index=False)

    numbers, name = large.by_row(table, values), contract.id
    if isinstance(table, pd.DataFrame):
        return pd.Series(numbers, index=table[name].astype(object))
    ids = large.by_row(table, lambda rows: hashes(rows[name]), [name])
    return pd.Series(numbers, index=ids)


def _texts_measured(
    name: str, before: Table, after: Table, contract: Contract
) -> tuple[pd.Series, pd.Series, bool]:
    """Return a column of both tables, and whether its values may be shown.

    Of a text it is the number of characters.
    """
    shown = name not in contract.sensitive
    if contract.columns[name].type != "text":
        return before[name], after[name], shown

    def lengths(rows: pd.DataFrame) -> pd.Series:
        return rows[name].str.len().astype(np.float64)

    columns = [large.by_row(table, lengths, [name]) for table in (before, after)]
    return pd.Series(columns[0]), pd.Series(columns[1]), shown


def _column(
    name: str, before: pd.Series, after: pd.Series, show_values: bool
) -> ColumnChange:
    """Return how far a column moved; values only where they may be shown."""
    missing = (float(before.isna().mean()), float(after.isna().mean()))
    if not (before.notna().any() and after.notna().any()):
        return ColumnChange(column=name, missing=missing)
    if pd.api.types.is_datetime64_any_dtype(after):
        before, after = (pd.Series(seconds(part)).dropna() for part in (before, after))
    if pd.api.types.is_numeric_dtype(after):
        numbers = (before.to_numpy(np.float64), after.to_numpy(np.float64))
        moved = float(distance.wasserstein(*numbers))
        return ColumnChange(column=name, missing=missing, distance=moved)
    shares = np.array(distance.counts(before, after))
    # A sum of floats depends on their order, which is that of a large table's batches.
    shares = shares[:, np.lexsort(shares)]
    categories = set(after.dropna().unique()) - set(before.dropna().unique())
    return ColumnChange(
        column=name,
        missing=missing,
        distance=float(distance.jensenshannon(*shares)),
        new=sorted(map(str, categories))[:SHOWN] if show_values else [],
        new_count=len(categories),
    )
