"""Judges two models on one holdout, in a child that holds no token.

    python -m mlgitops.judge.judge FOLDER

FOLDER holds raw.parquet, challenger/ and perhaps champion/. The contract, the split,
the measures and the gates are those of the code this runs from. It writes
FOLDER/judgement.json; whatever a stranger's file does here, there is nothing to steal.
"""

import json
import sys
from pathlib import Path
from typing import Any

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
from mlgitops.judge.gates import Check, Refused
from mlgitops.judge.trial import Trial
from mlgitops.pipeline import data, task
from mlgitops.pipeline.contract import Contract, ContractError
from model.prepare import prepare

Judgement = dict[str, Any]
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
    folder = Path(sys.argv[1])
    judgement: Judgement = {"checks": [], "headline": None}
    try:
        contract = Contract.read(Path("contract.yaml").read_bytes())
        params = settings.load(Path("params.yaml").read_bytes())
        judge(folder, contract, params, judgement)
    except Refused as refusal:
        judgement["checks"].append(refusal.check)
    except settings.SettingsError as error:  # main's: no fault of the challenger
        raise SystemExit(str(error)) from None
    except ContractError as error:
        judgement["checks"].append(
            Check("Data", False, "", "contract.yaml", str(error))
        )
    judgement["checks"] = [check.record() for check in judgement["checks"]]
    (folder / "judgement.json").write_text(json.dumps(judgement))
    sandbox.leave()


def judge(
    folder: Path, contract: Contract, params: dict[str, Any], into: Judgement
) -> None:
    """Fill in what the raw data, the challenger and the champion say, part by part.

    Raises:
        Refused, ContractError: a step that the rest needs did not pass.
    """
    rules = gates.parse(params.get("gates") or {}, contract.task)
    checks: list[Check] = into["checks"]
    challenger, champion = (trial.read(folder / w) for w in ("challenger", "champion"))
    if challenger is None:
        raise Refused("Manifest", "the challenger has no manifest")
    if (found := _kind(challenger.manifest)) != (wanted := _kind(contract)):
        why = f"the model is for {found}, and main's contract.yaml for {wanted}"
        raise Refused("Manifest", why)
    into["task"] = contract.task
    if champion and (found := _kind(champion.manifest)) != wanted:
        into.setdefault("cautions", []).append(
            f"Nothing is compared: the champion is for {found}, and contract.yaml "
            f"for {wanted} now. Only the absolute rules apply."
        )
        champion = None
    table = _table(folder / "raw.parquet")
    if added := _added(folder / "challenger", table, contract):
        into.setdefault("cautions", []).append(
            f"New in this contract: {', '.join(added)}. Main's has no rule for "
            "it: its values are not judged, and no model may use it before this "
            "contract is on main."
        )
        if used := sorted(set(added) & set(challenger.manifest["columns"])):
            why = (
                f"the model needs {', '.join(used)}, which main's contract.yaml does "
                "not have: propose contract and data first, the model after that"
            )
            raise Refused("Model columns", why)
    rows = data.check(prepare(table.drop(columns=added)), contract)
    _, holdout = data.split(rows, contract, settings.prepare(params))
    checks.append(
        Check("Data", True, f"{len(rows):,} rows", "contract.yaml", "as agreed")
    )
    checks.append(unseen(folder / "challenger", holdout, contract))
    compared = holdout
    if champion:
        compared = _after(holdout, contract.time, champion.manifest)
    times = holdout[contract.time]
    into["held_out"] = [times.min().isoformat(), times.max().isoformat()]
    into["rows"] = _described(rows, holdout, compared, contract)
    enough = gates.rows(len(compared), rules)
    if not enough.passed:
        checks.append(enough)
        return
    about = task.TASKS[contract.task]
    if lack := about.lacking(compared[contract.target], contract.classes):
        why = f"the rows that both models are new to have {lack} of {contract.target}"
        raise Refused("Holdout rows", why, f"{len(compared):,}")
    for side in filter(None, (champion, challenger)):
        trial.score(side, compared, contract)
    before = None if champion is None else _before(champion.folder, contract)
    tried = Trial(
        contract,
        params,
        rules,
        compared,
        challenger,
        champion,
        checks,
        into,
        rows,
        before,
        champion is None or _read_the_same(champion, challenger),
    )
    for part in PARTS:
        part.add(tried)
    parity = challenger.manifest["parity"]
    checks.append(gates.export(parity, challenger.golden, rules))
    checks.append(enough)


def unseen(folder: Path, holdout: pd.DataFrame, contract: Contract) -> Check:
    """Refuse rows of main's holdout in the table that the challenger learnt from.

    A row is known by its id, under another id by its time and all its values, and
    whatever its values by a time on the holdout's side of main's split.
    """
    train = _table(folder / "train.parquet")
    if not len(train):
        raise Refused("Holdout unseen", "train.parquet holds no rows", "0 rows", "some")
    lacking = [name for name in holdout.columns if name not in train]
    if lacking:
        raise Refused("Holdout unseen", f"train.parquet has no column {lacking[0]}")
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
        raise Refused("Holdout unseen", why) from error
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
    return Check("Holdout unseen", passed, f"{seen:,} rows", "0 rows", why)


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
        name, classes = found.task, found.classes
    else:
        name, classes = found.get("task", "binary"), found.get("classes") or ()
    return f"the task {name}" + (f" of {', '.join(classes)}" if classes else "")


def _after(holdout: pd.DataFrame, time: str, champion: dict[str, Any]) -> pd.DataFrame:
    """Return the holdout rows newer than all that the champion learnt from."""
    until = pd.Timestamp(champion["data"]["train_until"])
    return holdout[holdout[time] > until]


def _before(folder: Path, contract: Contract) -> pd.DataFrame | None:
    """Return the champion's data, where it was brought and fits today's contract."""
    file = folder / "raw.parquet"
    if not file.is_file():
        return None
    try:
        return data.check(prepare(_table(file)), contract)
    except (ContractError, Refused):
        return None


def _read_the_same(champion: trial.Side, challenger: trial.Side) -> bool:
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
        raise Refused("Data", why) from error


def _described(
    rows: pd.DataFrame,
    holdout: pd.DataFrame,
    compared: pd.DataFrame,
    contract: Contract,
) -> dict[str, str]:
    """Return what the report says about the rows."""
    times = holdout[contract.time]
    about = {
        "rows in the data": f"{len(rows):,}",
        "rows held out": f"{len(holdout):,}",
        "held out from": times.min().isoformat(),
        "held out until": times.max().isoformat(),
        "target": task.TASKS[contract.task].summary(holdout[contract.target]),
    }
    if len(compared) < len(holdout):
        left = f"{len(compared):,} (the rest is older than the champion's newest row)"
        about["rows both models are new to"] = left
    return about


if __name__ == "__main__":
    main()
