"""Builds the next training data of a table that does not fit in memory.

As `training_data.build` does: the same rows, in the same order, counted the same. The
past rows are read a batch at a time, and lie sorted on disk until they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlgitops.monitor import training_data
from mlgitops.monitor.training_data import TIMELESS, Fresh, Grown, Rules
from mlgitops.pipeline import by_batch
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.row_groups import Part, Rows

if TYPE_CHECKING:
    import pandas as pd


def build(
    data: Path,
    batch: int,
    labelled: pd.DataFrame,
    contract: Contract,
    rules: Rules,
    out: Path,
) -> Grown:
    """Write past and labelled rows to a file, and return what `Grown` says of it.

    Of the past rows, in the Parquet file `data`, so many are in memory.

    Raises:
        ProductionDataError: too many of the labelled rows are broken.
        ContractError: past or labelled rows do not keep the contract.
    """
    import pandas as pd

    past = Rows(data, batch)
    first = next(past.batches([contract.id, *contract.labelled_only]))
    fresh = training_data.fresh_rows(labelled, first, contract, rules)
    with by_batch.scratch(out) as folder:
        table = by_batch.prepared(past, _as_it_is, contract, folder)
        rows = fresh.rows[~_known(fresh, past, contract)]
        for start in range(0, len(rows), past.size):
            table.runs.add(rows.iloc[start : start + past.size])
        since, until = None, ""
        if contract.time:
            newest = max(table.newest.time, *rows[contract.time])
            since = newest - pd.Timedelta(days=rules.keep_days)
            until = str(newest.date())
        part = Part(out, table.runs.schema, {}, past.size)
        for block in _since(since, table.runs.merged(), contract):
            part.add(block)
        part.close()
        (added,) = map(len, _since(since, iter((rows,)), contract))
    counts = {
        "rows": part.rows,
        "new": added,
        "dropped": len(table) + len(rows) - part.rows,
        **fresh.counts,
    }
    if not contract.time:
        counts[TIMELESS] = len(table)
    return Grown(counts, until, fresh.outside)


def _as_it_is(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows: `prepare` of model/ has its turn when they are trained on."""
    return rows


def _known(fresh: Fresh, past: Rows, contract: Contract) -> NDArray[np.bool_]:
    """Tell which labelled rows are past ones, [n]."""
    ids = fresh.rows[contract.id].astype(object)
    known = np.zeros(len(ids), bool)
    for batch in past.batches([contract.id]):
        known |= ids.isin(set(batch[contract.id].astype(object))).to_numpy()
    return known


def _since(
    time: pd.Timestamp | None, tables: Iterator[pd.DataFrame], contract: Contract
) -> Iterator[pd.DataFrame]:
    """Yield the rows of each table that are newer; all of them without a time."""
    for table in tables:
        yield table if time is None else table[table[contract.time] > time]
