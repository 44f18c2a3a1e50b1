"""Makes the next training data: the old rows and the answered rows with a label."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from mlgitops.monitor import feed
from mlgitops.monitor.reference import OUTPUTS
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import check
from mlgitops.source import FeedError

if TYPE_CHECKING:
    import pandas as pd


class Harvest(NamedTuple):
    """The new table, and how many rows were added, set aside and let go."""

    table: pd.DataFrame
    counts: dict[str, int]


def harvest(
    old: pd.DataFrame,
    labelled: pd.DataFrame,
    contract: Contract,
    keep_days: float,
    max_broken: float,
) -> Harvest:
    """Return old and labelled rows, one per id, of the newest ``keep_days``.

    ``labelled`` comes as logged: rows that break the contract, or hold a category
    that it lacks, or are nobody's though the contract names an entity, are set aside
    and counted. Where an id is in both, the old row stays.

    Raises:
        FeedError: more than the share ``max_broken`` of the labelled rows is broken.
        ContractError: what is left does not keep the contract.
    """
    import pandas as pd

    if contract.sensitive:
        raise ContractError(
            f'the prediction log never holds "{contract.sensitive[0]}" (sensitive in '
            "contract.yaml): make the next training data by hand"
        )
    past = check(old, contract)
    once = labelled.drop_duplicates(contract.id)
    for name in contract.beside:
        once = once.assign(**{name: _whose(once, past, name)})
    checked = feed.quarantine(once, contract)
    if checked.broken > max_broken * len(once):
        raise FeedError(
            f"{checked.broken:,} of {len(once):,} labelled rows break the contract "
            f"({checked.worst}), so nothing is trained on them: fix the feed"
        )
    known = feed.known_categories(checked.good, contract)
    for name in contract.beside:
        known &= checked.good[name].notna()
    answers = list(set(OUTPUTS[contract.task]))
    fresh = check(checked.good[known].drop(columns=answers), contract)
    # As objects: Arrow looks up text among many others several times slower.
    ids, there = (side[contract.id].astype(object) for side in (fresh, past))
    fresh = fresh[~ids.isin(set(there))]
    both = pd.concat([past, fresh], ignore_index=True)
    newest = both[contract.time].max()
    kept = both[both[contract.time] > newest - pd.Timedelta(days=keep_days)]
    new = int((kept.index >= len(past)).sum())
    kept = kept.sort_values([contract.time, contract.id], ignore_index=True)
    counts = {
        "rows": len(kept),
        "new": new,
        "let go": len(both) - len(kept),
        "quarantined": checked.broken + int((~known).sum()),
    }
    return Harvest(check(kept, contract), counts)


def _whose(rows: pd.DataFrame, past: pd.DataFrame, name: str) -> pd.Series:
    """Return whose the rows are, typed as in the past: no request says, labels may."""
    import pandas as pd

    found = rows[name] if name in rows else pd.Series(None, rows.index, dtype=object)
    if not found.notna().any():
        raise ContractError(
            f'neither the prediction log nor the labels say "{name}" (the entity in '
            "contract.yaml): add that column to the labels"
        )
    if pd.api.types.infer_dtype(past[name]) != "integer":
        return found
    numbers = pd.to_numeric(found, errors="coerce")
    return numbers.astype("Int64").astype(object).where(numbers.notna(), None)


def parquet(table: pd.DataFrame) -> bytes:
    """Return the table as a file: the same rows give the same bytes."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd", compression_level=17)
    return buffer.getvalue()
