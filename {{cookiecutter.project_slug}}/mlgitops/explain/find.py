"""Finds what a page says: a version's files and rows in, facts out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlgitops import metrics
from mlgitops.explain import ExplainError
from mlgitops.explain.counterfactual import (
    Array,
    Counterfactual,
    Decider,
    Feeds,
    Search,
    nearest,
)
from mlgitops.explain.error_tree import error_tree
from mlgitops.explain.profile import profile
from mlgitops.explain.subject import Explained
from mlgitops.machinery import machinery
from mlgitops.pipeline import sides
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.data import inputs, truth
from mlgitops.serving.model import Model

NEAREST = 5  # rows, where nobody names any
MOST = 25  # that a person may name
BATCH = 50_000  # rows of one call of the runtime
TRAIN, HOLDOUT = "train.parquet", "holdout.parquet"


def explained(
    folder: Path, ids: Sequence[str] = (), *, public: bool = False, **known: Any
) -> Explained:
    """Return the facts about a version, whose files and both tables are in a folder.

    `known` are what the ledger says of it. Public ones have no single row and no time
    of their own, so that the same version and machinery give the same page.

    Raises:
        ExplainError: a row is not in the holdout, or a table is not the version's.
    """
    contract = Contract.read((folder / "contract.yaml").read_bytes())
    train, holdout = (_table(folder / name, contract) for name in (TRAIN, HOLDOUT))
    model = Model(folder, contract=None)
    decider = Decider(
        lambda feeds: _predict(model, feeds),
        contract.classes,
        0.5 if model.threshold is None else model.threshold,
    )
    p = decider.predict(inputs(holdout, contract, model.inputs))
    y = truth(holdout, contract)
    losses, label = metrics.LOSSES[contract.task]
    decides = contract.task != "regression"
    wrong = decider.decide(p) != y if decides else None
    search = None
    if decides and not public:
        search = Search(contract, model.inputs, train, decider)
    return Explained(
        name=contract.name,
        manifest_sha256=model.manifest_sha256,
        task=contract.task,
        made="" if public else datetime.now(UTC).isoformat(timespec="seconds"),
        machinery=str(machinery()),
        train=len(train),
        holdout=len(holdout),
        loss=label,
        errors=error_tree(holdout, contract, losses(y, p), wrong),
        chosen=bool(ids),
        counterfactuals=_flips(search, holdout, p, ids) if search else None,
        unchanged=[n for n in model.inputs if search and n not in search.values],
        profiles=profile(train, holdout, contract),
        public=public,
        **known,
    )


def _flips(
    search: Search, holdout: pd.DataFrame, p: Array, ids: Sequence[str]
) -> list[Counterfactual]:
    """Return the counterfactuals of the rows that are named, or of the nearest."""
    if not ids:
        rows = nearest(search.decider, p, NEAREST)
        return [search.counterfactual(holdout.iloc[[row]]) for row in rows]
    if len(ids) > MOST:
        raise ExplainError(f"{len(ids)} rows are named: name {MOST} at most")
    column = search.contract.id
    places = {sides.text(value): index for index, value in enumerate(holdout[column])}
    if unknown := [each for each in ids if each not in places]:
        raise ExplainError(
            f"no row of the holdout has the {column} {', '.join(unknown[:5])}: name "
            f"rows of {HOLDOUT} of this version, as --rows ID,ID"
        )
    return [search.counterfactual(holdout.iloc[[places[each]]], each) for each in ids]


def _predict(model: Model, feeds: Feeds) -> Array:
    """Return the exported file's predictions, some rows at a time."""
    count = len(next(iter(feeds.values())))
    parts = [
        model.predict_arrays(
            {name: value[start : start + BATCH] for name, value in feeds.items()},
            min(BATCH, count - start),
        )
        for start in range(0, count, BATCH)
    ]
    return np.concatenate(parts)


def _table(file: Path, contract: Contract) -> pd.DataFrame:
    """Return a table that a stage of the version wrote.

    Raises:
        ExplainError: it is not one of this contract.
    """
    rows = pd.read_parquet(file)
    needed = {contract.id, contract.target, *contract.columns}
    if lacking := sorted(needed - set(rows)):
        raise ExplainError(
            f"{file.name} lacks {', '.join(lacking)} of contract.yaml: type make repro"
        )
    if not len(rows):
        raise ExplainError(f"{file.name} has no rows: type make repro")
    return rows
