"""The rows to judge on: the proposal's, prepared by main, unseen in training."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from mlgitops import settings
from mlgitops.judge import checks, large
from mlgitops.judge.gates import Rules
from mlgitops.judge.identity import TIMES
from mlgitops.judge.large import Table
from mlgitops.judgement import Check, Judgement, Refused, Split
from mlgitops.pipeline import by_batch, data, golden, manifest, row_groups, sides, task
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.schema import one_line, shown
from mlgitops.pipeline.settings import Prepare
from mlgitops.rarest import rarest
from model.prepare import prepare

END = 0.25  # of the days held out, the newest, that should have
Source: TypeAlias = pd.DataFrame | large.File
FEW = 0.02  # of its rows at least
SAMPLE = 1_000  # rows that show which columns main's `prepare` leaves


def proposed(
    folder: Path,
    read: Mapping[str, list[str]],
    contract: Contract,
    params: settings.Params,
    judgement: Judgement,
) -> tuple[Table, Contract]:
    """Return the proposal's rows, prepared and checked by main's rules, and these.

    A contract can grow by a pull request: first a column, then its use. It can shrink
    by one: first no use, then no column. `read` are the columns that each model reads.

    Raises:
        Refused, ContractError: the rows or the model's columns break the contract.
    """
    size = settings.prepare(params).batch
    source, model_columns = _source(folder / "raw.parquet", size), read["challenger"]
    names = list(source.columns)
    own = folder / "challenger" / "contract.yaml"
    if added := _added(own, names, contract):
        judgement.cautions.append(
            f"New in this contract: {', '.join(added)}. Main's contract has no rule "
            "for it: its values are not judged, and no model may use it before this "
            "contract is on main."
        )
        if used := sorted(set(added) & set(model_columns)):
            reason = (
                f"the model needs {', '.join(used)}, which main's contract.yaml does "
                "not have: propose contract and data first, the model after that"
            )
            raise Refused("model_columns", reason)
    if isinstance(source, pd.DataFrame):
        source = prepare(source.drop(columns=added))
        kept = list(source)
    else:
        by_batch.demand_by_batch(prepare)
        sample = next(source.batches()).head(SAMPLE)
        kept = list(prepare(sample.drop(columns=added)))
    if removed := _removed(own, kept, contract):
        contract = _without(removed, read, contract, params, judgement)
    try:
        rows = _checked(source, contract, folder / "rows", added)
    except ContractError as error:
        raw = folder / "raw.parquet"
        if not (set(contract.columns) <= set(names) and _allowed(own, raw, size)):
            raise
        problem = str(error).removesuffix(f"; {data.ADVICE}.")
        raise Refused(
            "data",
            "main's contract.yaml judges these rows and does not allow them, while the "
            f"proposal's does: {problem}. Propose contract.yaml first, without the "
            "rows; the rows once it is on main",
        ) from error
    reason = "the rows match contract.yaml"
    judgement.checks.append(checks.passed("data", reason, value=len(rows), unit="rows"))
    return rows, contract


def _checked(
    source: Source,
    contract: Contract,
    folder: Path,
    added: Collection[str] = (),
    removed: Collection[str] = (),
) -> Table:
    """Return rows that are prepared, or a file that is not, checked.

    A file is prepared without what was `added`, and what was `removed` is dropped then.
    """
    if isinstance(source, pd.DataFrame):
        return data.check(source, contract)

    def clean(batch: pd.DataFrame) -> pd.DataFrame:
        rows = prepare(batch.drop(columns=list(added)))
        return rows.drop(columns=list(removed), errors="ignore")

    folder.mkdir()
    return by_batch.prepared(source, clean, contract, folder)


def _removed(file: Path, columns: list[str], contract: Contract) -> list[str]:
    """Return the columns that neither the proposal's contract nor its rows have."""
    if not file.is_file():
        return []
    roles = {contract.id, contract.time, contract.target}
    kept = {*Contract.read(file.read_bytes()).columns, *columns, *roles}
    kept |= {contract.entity, contract.part}
    return [name for name in contract.columns if name not in kept]


def _without(
    removed: list[str],
    read: Mapping[str, list[str]],
    contract: Contract,
    params: settings.Params,
    judgement: Judgement,
) -> Contract:
    """Return main's contract without columns that nothing of main's depends on.

    Raises:
        Refused: a model or a rule of main reads one: without it, it could not be held
            against the champion, or would escape the rule.
    """
    fairness = settings.fairness(params, contract)
    users = {
        "the champion reads": read.get("champion", []),
        "the model reads": read["challenger"],
        "main's section fairness compares": list(fairness.columns) if fairness else [],
    }
    for use, names in users.items():
        if used := [name for name in removed if name in names]:
            raise Refused(
                "data",
                f"{use} {', '.join(used)}, which neither this contract.yaml nor its "
                "rows have: propose first that it does so no longer (params.yaml), "
                "and rows and contract without it once that is on main",
            )
    judgement.cautions.append(
        f"No longer in this contract: {', '.join(removed)}. No model reads it, and "
        "its slices are not compared. A server of this version refuses requests that "
        "name it."
    )
    left = {n: c for n, c in contract.columns.items() if n not in removed}
    hidden = tuple(name for name in contract.sensitive if name in left)
    return replace(contract, columns=left, sensitive=hidden)


def champion(
    folder: Path, contract: Contract, rules: Prepare, removed: Collection[str] = ()
) -> Table | None:
    """Return the champion's rows, where they are known and match today's contract."""
    file = folder / "raw.parquet"
    try:
        if not file.is_file():
            return None
        source = _source(file, rules.batch)
        if isinstance(source, pd.DataFrame):
            source = prepare(source).drop(columns=list(removed), errors="ignore")
        return _checked(source, contract, folder / "rows", removed=removed)
    except (ContractError, Refused):
        return None


def unseen(
    folder: Path, holdout: pd.DataFrame, contract: Contract, split: Prepare
) -> Check:
    """Return the check that the challenger was not trained on main's holdout.

    A row is known by its id, and whatever its values by being on the holdout's side of
    main's split. Where that is by time, also by its time and all its values under
    another id: else such rows may be alike by nature (see `copies`).

    Raises:
        Refused: the training table cannot be compared with the holdout.
    """
    train = trained(folder, holdout, contract, split.batch)
    seen, wrong = np.zeros(len(holdout), bool), 0
    # As objects: pandas would compare Arrow's strings one by one.
    ids, own = holdout[contract.id].astype(object), _values(holdout, contract)
    try:
        for rows in large.batches(train):
            seen |= ids.isin(rows[contract.id].astype(object)).to_numpy()
            if split.split == "time":
                seen |= own.isin(_values(rows[list(holdout)], contract)).to_numpy()
                times = pd.to_datetime(rows[contract.time], utc=True, errors="coerce")
                # A time that is missing is wrong, too.
                early = (times < holdout[contract.time].min()).to_numpy()
                wrong += int((~early).sum())
            else:
                wrong += int(sides.held_out(rows, contract, split).sum())
    except TypeError as error:
        reason = "train.parquet holds lists or records where values belong"
        raise Refused("holdout_unseen", reason) from error
    reasons = (
        "the challenger was not trained on the holdout",
        "the challenger was trained on rows of the holdout that main's split gives",
    )
    count = max(int(seen.sum()), wrong)
    return checks.held(
        "holdout_unseen", count, "<=", 0, reasons, unit="rows", gate=False
    )


def _values(table: pd.DataFrame, contract: Contract) -> pd.Series:
    """Return a hash of each row without its id, [n]."""
    values = table.drop(columns=[contract.id])
    return pd.util.hash_pandas_object(values, index=False)


def trained(
    folder: Path, holdout: pd.DataFrame, contract: Contract, size: int | None = None
) -> Table:
    """Return the training table, typed as the holdout where that is possible.

    Raises:
        Refused: it has no rows, or lacks a column.
    """
    train = _source(folder / "train.parquet", size)
    if not len(train):
        raise Refused("holdout_unseen", "train.parquet holds no rows")
    columns = list(train.columns)
    if missing := [name for name in holdout.columns if name not in columns]:
        raise Refused(
            "holdout_unseen",
            f"train.parquet has no column {missing[0]}, which main's contract.yaml "
            "demands: a proposal takes a column out of contract.yaml and of its rows",
        )
    types = holdout.dtypes.drop(contract.id).to_dict()
    if isinstance(train, pd.DataFrame):
        return train[list(holdout.columns)].astype(types, errors="ignore")
    return train.typed(list(holdout.columns), types)


def thin_end(
    table: Table, holdout: pd.DataFrame, contract: Contract, days: Prepare
) -> list[str]:
    """Return a caution where a few rows at the newest end move the split."""
    if days.split != "time":
        return []
    times, all_times = holdout[contract.time], table[contract.time]
    length = pd.Timedelta(days=days.holdout_days)
    newest, border = times.max(), times.max() - length
    end = times > newest - END * length
    if not 0 < end.sum() < FEW * len(times):
        return []
    start = times[~end].max() - length
    moved = int(((all_times > start) & (all_times <= border)).sum())
    if not moved:
        return []
    last = holdout[contract.id].iloc[-1]
    rows = "row" if end.sum() == 1 else "rows"
    return [
        f"The last {END * days.holdout_days:g} of the {days.holdout_days:g} days held "
        f"out have {end.sum():,} {rows} of {len(times):,} (such as {one_line(last)} of "
        f"{newest:%Y-%m-%d %H:%M}). Without them, {moved:,} rows that are trained on "
        "would be held out. Check their times."
    ]


def on_both_sides(
    train: pd.DataFrame, holdout: pd.DataFrame, contract: Contract, split: Prepare
) -> list[str]:
    """Return a caution where rows of one entity are trained on and held out.

    By time that is as in production; else the holdout may only show what the model has
    learnt of each.
    """
    name = contract.entity
    if not name or split.split == "time":
        return []
    known = holdout[name].isin(train[name].unique())
    if not known.any():
        return []
    return [
        f"{known.sum():,} of {len(holdout):,} rows held out belong to a {name} that is "
        f"trained on as well. Production may bring a {name} that is new, and this "
        "report does not show how the model does there: `prepare.split: group` would."
    ]


def described(holdout: pd.DataFrame, contract: Contract, split: Prepare) -> Split:
    """Return how main holds rows out."""
    column = sides.column(contract, split)
    return Split(
        kind=split.split,
        timed=bool(contract.time),
        share=split.holdout_share,
        seed=split.seed,
        column=column if split.split in ("group", "column") else "",
        values=list(split.holdout),
        groups=holdout[column].nunique() if split.split == "group" else 0,
    )


def enough(
    compared: pd.DataFrame, contract: Contract, rules: Rules, split: str
) -> list[Check]:
    """Return the checks that rows, classes and entities are enough to decide on.

    Raises:
        Refused: a class has no row, so that no metric is defined.
    """
    found = [checks.rows(len(compared), rules, split)]
    if not found[0].passed:
        return found
    require_every_class(compared, contract)
    if task.TASKS[contract.task].kind == "classifier":
        rare = rarest(data.truth(compared, contract), contract.classes)
        found.append(checks.classes(rare, contract.target, rules, split))
    if contract.entity:
        count = compared[contract.entity].nunique()
        found.append(checks.groups(count, contract.entity, rules, split))
    return found


def check_manifest(
    folder: Path, version: Mapping[str, Any], size: int | None = None
) -> None:
    """Refuse a training window or golden rows that the training table does not give.

    Raises:
        Refused: with the first that differs.
    """
    contract = Contract.read((folder / "contract.yaml").read_bytes())
    train = _source(folder / "train.parquet", size)
    try:
        window = manifest.window(train, contract)
        expected = golden.rows(_spread(train, contract), contract)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        reason = "train.parquet does not hold the rows that contract.yaml describes"
        raise Refused("manifest", reason) from error
    stated = {name: version["data"].get(name) for name in (*window, *TIMES)}
    for name, value in stated.items():
        if value != window.get(name):
            raise Refused(
                "manifest",
                f"the manifest says that data.{name} is {shown(value)}, and "
                f"train.parquet gives {shown(window.get(name))}: build it again",
            )
    if [entry["row"] for entry in version["golden"]] != expected:
        raise Refused(
            "manifest",
            f"the {len(version['golden'])} golden rows of the manifest are not the "
            f"{len(expected)} that train.parquet gives: build it again",
        )


def _spread(train: Source, contract: Contract) -> pd.DataFrame:
    """Return a table that has the golden rows of the training table."""
    if isinstance(train, pd.DataFrame):
        return train
    if contract.kind("text", list(contract.columns)) or len(train) < golden.SPREAD:
        return pd.concat(large.batches(train), ignore_index=True)  # the words of all
    chosen = np.zeros(len(train), bool)
    chosen[golden.spread(len(train))] = True
    return large.where(train, chosen)


def require_every_class(compared: pd.DataFrame, contract: Contract) -> None:
    """Refuse rows whose targets cannot tell two models apart."""
    target, rules = compared[contract.target], task.TASKS[contract.task]
    if lacking := rules.lacking(target, contract.classes):
        reason = (
            f"the rows that neither model was trained on have {lacking} of "
            f"{contract.target}"
        )
        raise Refused("holdout_rows", reason, value=len(compared), unit="rows")


def _added(file: Path, columns: list[str], contract: Contract) -> list[str]:
    """Return the table's columns that only the proposal's contract has."""
    if not file.is_file():
        return []
    proposal = Contract.read(file.read_bytes())
    roles = {contract.id, contract.time, contract.target}
    own = {*contract.columns, *roles, contract.entity, contract.part}
    added = {*proposal.columns, proposal.time, proposal.entity, proposal.part} - own
    return [name for name in columns if name in added]


def _allowed(file: Path, raw: Path, size: int | None) -> bool:
    """Tell whether the proposal's own contract allows its rows."""
    try:
        source = _source(raw, size)
        if isinstance(source, pd.DataFrame):
            source = prepare(source)
        contract = Contract.read(file.read_bytes())
        _checked(source, contract, raw.parent / "allowed")
    except (ContractError, OSError):
        return False
    return True


def _source(path: Path, size: int | None) -> Source:
    """Return the table of a file: all of its rows, or so many at a time.

    Raises:
        Refused: it is not a table that can be read.
    """
    return large.File(path, size) if size else _table(path)


def _table(path: Path) -> pd.DataFrame:
    """Read a Parquet file that may be anything."""
    with large.refused(path):
        table = pd.read_parquet(path)
        row_groups.refuse_twins(path, list(table.columns))
        return table
