"""Judges two models on one holdout, in a child that holds no token.

    python -m mlgitops.judge.judge FOLDER

FOLDER holds raw.parquet, challenger/ and perhaps champion/. The contract, the split,
the measures and the gates are those of the code this runs from. It writes
FOLDER/judgement.json; whatever a stranger's file does here, there is nothing to steal.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from mlgitops import settings
from mlgitops.judge import (
    behaviour,
    business,
    changes,
    entities,
    explain,
    fairness,
    gates,
    latency,
    performance,
    replay,
    sandbox,
    slices,
    trial,
)
from mlgitops.judge.trial import Side, Trial
from mlgitops.judgement import TITLES, Check, Judgement, Refused, Rows
from mlgitops.pipeline import data, task
from mlgitops.pipeline.contract import Contract, ContractError
from model.prepare import prepare

PARTS = (
    entities,
    performance,
    business,
    slices,
    fairness,
    behaviour,
    changes,
    replay,
    explain,
    latency,
)


def main() -> None:
    """Judge the folder; a refusal is a failed check, anything else is one sentence."""
    sandbox.confine()
    folder, found = Path(sys.argv[1]), Judgement()
    try:
        contract = Contract.read(Path("contract.yaml").read_bytes())
        params = settings.load(Path("params.yaml").read_bytes())
        judge(folder, contract, params, found)
    except Refused as refusal:
        found.checks.append(refusal.check)
    except ContractError as error:
        what = "settings" if isinstance(error, settings.SettingsError) else "data"
        found.checks.append(Refused(what, str(error)).check)
    (folder / "judgement.json").write_bytes(msgspec.json.encode(found))
    sandbox.leave()


def judge(
    folder: Path, contract: Contract, params: dict[str, Any], found: Judgement
) -> None:
    """Fill in what the raw data, the challenger and the champion say, part by part.

    Raises:
        Refused, ContractError: a step that the rest needs did not pass.
    """
    gated = gates.parse(params, contract.task)
    rules = gated.rules
    found.task = contract.task
    challenger, champion = _models(folder, contract, found)
    rows = _proposed(folder, challenger, contract, found)
    _, holdout = data.split(rows, contract, settings.prepare(params))
    found.checks.append(unseen(folder / "challenger", holdout, contract))
    compared = _after(holdout, contract.time, champion)
    found.rows = _described(rows, holdout, compared, contract)
    found.held_out = (found.rows.since, found.rows.until)
    enough = gates.rows(len(compared), rules)
    if not enough.passed:
        found.checks.append(enough)
        return
    _every_class(compared, contract)
    for side in filter(None, (champion, challenger)):
        trial.score(side, compared, contract)
    tried = Trial(
        contract=contract,
        params=params,
        gates=gated,
        holdout=compared,
        challenger=challenger,
        champion=champion,
        rows=rows,
        before=champion and _before(champion.folder, contract),
        same_data=champion is None or _read_the_same(champion, challenger),
        found=found,
    )
    for part in PARTS:
        part.add(tried)
    parity = gates.export(challenger.manifest["parity"], challenger.golden, rules)
    found.checks += [parity, enough]


def _models(
    folder: Path, contract: Contract, found: Judgement
) -> tuple[Side, Side | None]:
    """Return challenger and champion; a champion for another task compares nothing."""
    challenger, champion = (trial.read(folder / w) for w in ("challenger", "champion"))
    wanted = _kind(contract)
    if challenger is None:
        raise Refused("manifest", "the challenger has no manifest")
    if (kind := _kind(challenger.manifest)) != wanted:
        why = f"the model is for {kind}, and main's contract.yaml for {wanted}"
        raise Refused("manifest", why)
    if champion and (kind := _kind(champion.manifest)) != wanted:
        found.cautions.append(
            f"Nothing is compared: the champion is for {kind}, and contract.yaml "
            f"for {wanted} now. Only the absolute rules apply."
        )
        champion = None
    return challenger, champion


def _proposed(
    folder: Path, challenger: Side, contract: Contract, found: Judgement
) -> pd.DataFrame:
    """Return the proposal's rows as main prepares and agrees to them."""
    table = _table(folder / "raw.parquet")
    if added := _added(folder / "challenger", table, contract):
        found.cautions.append(
            f"New in this contract: {', '.join(added)}. Main's has no rule for "
            "it: its values are not judged, and no model may use it before this "
            "contract is on main."
        )
        if used := sorted(set(added) & set(challenger.manifest["columns"])):
            why = (
                f"the model needs {', '.join(used)}, which main's contract.yaml does "
                "not have: propose contract and data first, the model after that"
            )
            raise Refused("model_columns", why)
    rows = data.check(prepare(table.drop(columns=added)), contract)
    found.checks.append(
        Check(
            id="data",
            title=TITLES["data"],
            passed=True,
            reason="as agreed in contract.yaml",
            value=len(rows),
            unit="rows",
        )
    )
    return rows


def _every_class(compared: pd.DataFrame, contract: Contract) -> None:
    """Refuse rows whose targets cannot tell two models apart."""
    about = task.TASKS[contract.task]
    if lack := about.lacking(compared[contract.target], contract.classes):
        why = f"the rows that both models are new to have {lack} of {contract.target}"
        raise Refused("holdout_rows", why, value=len(compared), unit="rows")


def unseen(folder: Path, holdout: pd.DataFrame, contract: Contract) -> Check:
    """Refuse rows of main's holdout in the table that the challenger learnt from.

    A row is known by its id, under another id by its time and all its values, and
    whatever its values by a time on the holdout's side of main's split.
    """
    train = _table(folder / "train.parquet")
    if not len(train):
        raise Refused("holdout_unseen", "train.parquet holds no rows")
    lacking = [name for name in holdout.columns if name not in train]
    if lacking:
        raise Refused("holdout_unseen", f"train.parquet has no column {lacking[0]}")
    rest = [name for name in holdout.columns if name != contract.id]
    ids = [table[contract.id].astype(object) for table in (holdout, train)]
    typed = train[rest].astype(holdout[rest].dtypes.to_dict(), errors="ignore")
    try:
        same = ids[0].isin(ids[1])  # one by one, pandas would compare Arrow's strings
        hashes = [
            pd.util.hash_pandas_object(table[rest], index=False)
            for table in (holdout, typed)
        ]
    except TypeError as error:
        why = "train.parquet holds lists or records where values belong"
        raise Refused("holdout_unseen", why) from error
    seen = int((same | hashes[0].isin(hashes[1]).to_numpy()).sum())
    times = pd.to_datetime(train[contract.time], utc=True, errors="coerce")
    older = times < holdout[contract.time].min()
    seen = max(seen, int((~older).sum()))
    passed = seen == 0
    why = (
        "the challenger has not seen the holdout"
        if passed
        else "the challenger was trained on rows of the holdout that main's split gives"
    )
    return Check(
        id="holdout_unseen",
        title=TITLES["holdout_unseen"],
        passed=passed,
        reason=why,
        value=seen,
        operator="<=",
        limit=0,
        unit="rows",
    )


def _added(challenger: Path, table: pd.DataFrame, contract: Contract) -> list[str]:
    """Return the table's columns that the proposal's contract has and main's has not.

    So that a contract can grow by a pull request: first a column, then its use.
    """
    file = challenger / "contract.yaml"
    if not file.is_file():
        return []
    proposed = Contract.read(file.read_bytes())
    given = {*proposed.columns, proposed.entity}
    known = {*contract.columns, contract.id, contract.time, contract.target}
    return [n for n in table if n in given - known - {contract.entity}]


def _kind(found: Contract | dict[str, Any]) -> str:
    """Return what a contract, or a model's manifest, is for, in words."""
    if isinstance(found, Contract):
        name, classes = str(found.task), found.classes
    else:
        name, classes = str(found.get("task")), found.get("classes") or ()
    return f"the task {name}" + (f" of {', '.join(classes)}" if classes else "")


def _after(holdout: pd.DataFrame, time: str, champion: Side | None) -> pd.DataFrame:
    """Return the holdout rows newer than all that the champion learnt from."""
    if champion is None:
        return holdout
    return holdout[
        holdout[time] > pd.Timestamp(champion.manifest["data"]["train_until"])
    ]


def _before(folder: Path, contract: Contract) -> pd.DataFrame | None:
    """Return the champion's data, where it was brought and fits today's contract."""
    file = folder / "raw.parquet"
    if not file.is_file():
        return None
    try:
        return data.check(prepare(_table(file)), contract)
    except (ContractError, Refused):
        return None


def _read_the_same(champion: Side, challenger: Side) -> bool:
    """Tell whether both models come from one table."""
    first, second = (
        side.manifest["data"].get("sha256") for side in (champion, challenger)
    )
    return bool(first == second)


def _table(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file that may be anything."""
    try:
        return pd.read_parquet(path, columns=columns)
    except Exception as error:  # pyarrow's errors have no common class
        words = " ".join(str(error).split())[:200]
        why = f"{path.name} is not a table that can be read: {words}"
        raise Refused("data", why) from error


def _described(
    rows: pd.DataFrame,
    holdout: pd.DataFrame,
    compared: pd.DataFrame,
    contract: Contract,
) -> Rows:
    """Return what the report says about the rows."""
    times = holdout[contract.time]
    return Rows(
        data=len(rows),
        held_out=len(holdout),
        since=times.min().isoformat(),
        until=times.max().isoformat(),
        compared=len(compared),
        target=task.TASKS[contract.task].summary(holdout[contract.target]),
    )


if __name__ == "__main__":
    main()
