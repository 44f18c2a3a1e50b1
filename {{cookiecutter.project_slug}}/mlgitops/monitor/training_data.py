"""Builds the next training data: the past rows and the predicted rows with a label."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

from mlgitops.monitor import data_quality
from mlgitops.monitor.labels import DECISIONS
from mlgitops.monitor.reference import outputs
from mlgitops.monitor.wording import listed, plural
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import check, sort_keys
from mlgitops.production_data import ProductionDataError

if TYPE_CHECKING:
    import pandas as pd


TIMELESS = "kept whatever their age, as rows have no time"


class Rules(NamedTuple):
    """Which rows are kept, and which labelled ones are taken.

    `max_broken` is the share of the labelled rows that may break the contract. A row
    without a sensitive value that is one of the model's `inputs` is set aside, as a
    model that learnt without it would be asked with it. A category of fewer than
    `min_group` rows is counted and not named.
    """

    keep_days: float
    max_broken: float
    inputs: Collection[str] = ()
    min_group: int = 1


class Grown(NamedTuple):
    """How many rows were added, set aside and dropped, and until when the table is.

    That is the day of the newest event or, without a time, of the newest arrival.
    ``outside`` says what the contract would have to allow to take more rows.
    """

    counts: dict[str, int]
    until: str = ""
    outside: tuple[str, ...] = ()


class Fresh(NamedTuple):
    """Labelled rows that may be trained on, and what was set aside of the others."""

    rows: pd.DataFrame
    counts: dict[str, int]
    outside: tuple[str, ...]


def build(
    past: pd.DataFrame, labelled: pd.DataFrame, contract: Contract, rules: Rules
) -> tuple[pd.DataFrame, Grown]:
    """Return past and labelled rows, one per id, of the newest ``keep_days``.

    Where rows have no time, none is known to be old: all past rows stay. Where an id
    is in both, the past row stays.

    Raises:
        ProductionDataError: more than ``max_broken`` of the labelled rows is broken.
        ContractError: what is left does not keep the contract.
    """
    import pandas as pd

    past = check(past, contract)
    fresh = fresh_rows(labelled, past, contract, rules)
    # As objects: Arrow looks up text among many others several times slower.
    ids, old_ids = (table[contract.id].astype(object) for table in (fresh.rows, past))
    additions = fresh.rows[~ids.isin(set(old_ids))]
    pooled = pd.concat([past, additions], ignore_index=True)
    kept, until = pooled, ""
    if contract.time:
        newest = pooled[contract.time].max()
        since = newest - pd.Timedelta(days=rules.keep_days)
        kept, until = pooled[pooled[contract.time] > since], str(newest.date())
    added = int((kept.index >= len(past)).sum())
    kept = kept.sort_values(sort_keys(contract), ignore_index=True)
    counts = {
        "rows": len(kept),
        "new": added,
        "dropped": len(pooled) - len(kept),
        **fresh.counts,
    }
    if not contract.time:
        counts[TIMELESS] = len(past)
    return check(kept, contract), Grown(counts, until, fresh.outside)


def fresh_rows(
    labelled: pd.DataFrame, past: pd.DataFrame, contract: Contract, rules: Rules
) -> Fresh:
    """Return the labelled rows that may be trained on, typed and with their groups.

    ``labelled`` comes as logged: rows that break the contract, hold a category that it
    does not list, or have no group though the contract names an entity, are set aside
    and counted; so are rows without a sensitive value (see `add_sensitive`) that the
    contract requires or the model takes. ``past`` says of what type a group is: some
    of its rows will do.

    Raises:
        ProductionDataError: more than ``max_broken`` of the labelled rows is broken.
        ContractError: no row has a value that each has to have.
    """
    unique = labelled.drop_duplicates(contract.id)
    unique, without = _with_needed(unique, contract, rules.inputs)
    for name in contract.labelled_only:
        role = "the entity" if name == contract.entity else "the part"
        unique = unique.assign(**{name: _group(unique, past, name, role)})
    checked = data_quality.quarantine(unique, contract, rules.min_group)
    if checked.broken > rules.max_broken * len(unique):
        raise ProductionDataError(
            f"{checked.broken:,} of {plural(len(unique), 'labelled row')} break the "
            f"contract ({checked.worst}), so nothing is trained on them: fix the "
            "input data"
        )
    usable = data_quality.known_categories(checked.valid, contract)
    for name in contract.labelled_only:
        usable &= checked.valid[name].notna()
    others = {*outputs(contract), *([] if contract.time else [contract.time])}
    rows = check(checked.valid[usable].drop(columns=list(others)), contract)
    counts = {"quarantined": checked.broken + int((~usable).sum()), **without}
    return Fresh(rows, counts, _outside(checked))


def _outside(checked: data_quality.Checked) -> tuple[str, ...]:
    """Say which rows were set aside as the contract does not allow them."""
    sentences = []
    for name, unlisted in checked.unknown.items():
        names = listed(unlisted.examples) if unlisted.examples else "none of many rows"
        sentences.append(
            f"{plural(unlisted.rows, 'row')} have a category of {name} that "
            f"contract.yaml does not list ({names}): add it to "
            f"columns.{name}.categories"
        )
    if checked.broken:
        sentences.append(
            f"{plural(checked.broken, 'row')} break a rule of contract.yaml, most "
            f"often {checked.worst}: if such values are right, let the rule allow them"
        )
    return tuple(sentences)


def add_sensitive(
    labelled: pd.DataFrame,
    by_column: Mapping[str, Mapping[str, str]],
    contract: Contract,
) -> pd.DataFrame:
    """Return labelled rows with the sensitive values that came with their labels.

    The prediction log never holds them. ``by_column`` is the value of an id, as text;
    None where there is none.
    """
    ids = labelled[contract.id]
    values = {
        name: ids.map(by_column.get(name, {})).astype(object).where(lambda v: v.notna())
        for name in _sensitive(contract)
    }
    for name in contract.kind("number", list(values)):
        boolean = contract.columns[name].type == "boolean"
        values[name] = values[name].map(_boolean if boolean else _number)
    return labelled.assign(**values)


def _sensitive(contract: Contract) -> list[str]:
    """Return the sensitive columns that a request carries: the log lacks them."""
    return [name for name in contract.sensitive if name in contract.columns]


def _number(text: object) -> object:
    """Return a text as a number; what is none stays, and breaks the contract."""
    try:
        return float(str(text)) if text == text else None
    except ValueError:
        return text


def _boolean(text: object) -> object:
    """Return a text as true or false; another stays, and breaks the contract."""
    number = DECISIONS.get(str(text).casefold())
    return text if number is None else bool(number)


def _with_needed(
    rows: pd.DataFrame, contract: Contract, inputs: Collection[str]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows with every sensitive value they need, and how many lack which.

    Raises:
        ContractError: no row has such a value.
    """
    counts = {}
    for name in _sensitive(contract):
        lacking = rows[name].isna() if name in rows else rows[contract.id].notna()
        needed = not contract.columns[name].missing or name in inputs
        if needed and len(rows) and lacking.all():
            raise ContractError(
                f'no label has "{name}" (sensitive in contract.yaml, so the prediction '
                "log never holds it): add that column to the labels, or allow it to be "
                f"missing (columns.{name}.missing) and take it out of train.columns"
            )
        if number := int(lacking.sum()):
            counts[f'without "{name}", {"set aside" if needed else "kept"}'] = number
        if needed:
            rows = rows[~lacking]
    return rows, counts


def _group(rows: pd.DataFrame, past: pd.DataFrame, name: str, role: str) -> pd.Series:
    """Return the rows' groups, typed as in the past: labels may bring them along."""
    import pandas as pd

    empty = pd.Series(None, rows.index, dtype=object)
    groups = rows[name] if name in rows else empty
    if not groups.notna().any():
        raise ContractError(
            f'neither the prediction log nor the labels have "{name}" ({role} in '
            "contract.yaml): add that column to the labels"
        )
    if pd.api.types.infer_dtype(past[name]) != "integer":
        return groups
    numbers = pd.to_numeric(groups, errors="coerce")
    return numbers.astype("Int64").astype(object).where(numbers.notna(), None)


def parquet(table: pd.DataFrame) -> bytes:
    """Return the table as a file: the same rows give the same bytes."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd", compression_level=17)
    return buffer.getvalue()
