"""Judges two models on one holdout, in a child that holds no token.

    python -m mlgitops.judge.judge FOLDER

FOLDER holds raw.parquet, challenger/ and perhaps champion/. The contract, the split,
the metrics and the gates are those of the code this runs from. It writes
FOLDER/judgement.json. Whatever a file of the proposal does, there is nothing to steal.
"""

import sys
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlgitops import settings
from mlgitops.judge import (
    behaviour,
    business,
    changes,
    checks,
    constant,
    copies,
    decision_value,
    difficulty,
    entities,
    evaluation,
    explain,
    fairness,
    flips,
    gates,
    intervals,
    large,
    latency,
    mitigation,
    online,
    performance,
    pretrained,
    rare,
    replay,
    rows,
    sandbox,
    slices,
)
from mlgitops.judge.evaluation import Evaluation, Model
from mlgitops.judge.large import Table
from mlgitops.judgement import Check, Judgement, Refused, Rows
from mlgitops.pipeline import task
from mlgitops.pipeline.contract import Contract, ContractError

PARTS = (
    entities,
    pretrained,
    performance,
    constant,
    rare,
    business,
    decision_value,
    intervals,
    slices,
    fairness,
    mitigation,
    behaviour,
    changes,
    difficulty,
    replay,
    explain,
    flips,
    online,
    latency,
)


def main() -> None:
    """Judge the folder; a refusal is a failed check, anything else is one sentence."""
    sandbox.confine()
    folder, judgement = Path(sys.argv[1]), Judgement()
    try:
        contract = Contract.read(Path("contract.yaml").read_bytes())
        params = settings.load(Path("params.yaml").read_bytes())
        judge(folder, contract, params, judgement)
    except Refused as refusal:
        judgement.checks.append(refusal.check)
    except ContractError as error:
        check = "settings" if isinstance(error, settings.SettingsError) else "data"
        judgement.checks.append(Refused(check, str(error)).check)
    (folder / "judgement.json").write_bytes(msgspec.json.encode(judgement))
    sandbox.leave()


def judge(
    folder: Path, contract: Contract, params: settings.Params, judgement: Judgement
) -> None:
    """Fill in what the raw data, the challenger and the champion show, part by part.

    Raises:
        Refused, ContractError: a step that the rest needs did not pass.
    """
    gated = gates.parse(params, contract.task)
    judgement.task = contract.task
    challenger, champion = _models(folder, contract, judgement)
    models = {"challenger": challenger} | ({"champion": champion} if champion else {})
    read = {name: model.columns for name, model in models.items()}
    before = contract.columns
    table, contract = rows.proposed(folder, read, contract, params, judgement)
    removed = before.keys() - contract.columns.keys()
    split = settings.prepare(params)
    train, holdout = large.split(table, contract, split)
    judgement.cautions += rows.thin_end(table, holdout, contract, split)
    judgement.cautions += rows.on_both_sides(train, holdout, contract, split)
    known = None
    if champion:
        known = rows.champion(champion.folder, contract, split, removed)
    unseen = _unseen(challenger, holdout, contract, split, known, judgement)
    judgement.checks.append(unseen)
    if unseen.passed:
        rows.check_manifest(challenger.folder, challenger.manifest, split.batch)
    judgement.split = rows.described(holdout, contract, split)
    new = _new(holdout, champion, contract, split, judgement)
    if new is None:
        champion, new = None, np.ones(len(holdout), bool)
    compared = holdout[new]
    _describe(table, holdout, compared, contract, judgement)
    enough = rows.enough(compared, contract, gated.rules, split.split)
    if not all(check.passed for check in enough):
        judgement.checks += enough
        return
    context = Evaluation(
        contract=contract,
        params=params,
        gates=gated,
        holdout=compared,
        challenger=challenger,
        champion=champion,
        rows=table,
        removed=frozenset(removed),
        judgement=judgement,
    )
    if champion is not None:
        context.champion_rows = known
        context.same_data = champion.data.get("sha256") == challenger.data.get("sha256")
    online.ask(context)
    for model in context.models.values():
        evaluation.score(model, compared, contract)
    for part in PARTS:
        part.add(context)
    parity, golden = challenger.manifest["claimed"]["parity"], challenger.golden
    judgement.checks += [checks.export(parity, golden, gated.rules), *enough]


def _unseen(
    challenger: Model,
    holdout: pd.DataFrame,
    contract: Contract,
    split: settings.Prepare,
    known: Table | None,
    judgement: Judgement,
) -> Check:
    """Return the check that no row of the holdout, or copy of it, was trained on.

    What may be a copy by chance is a caution.
    """
    unseen = rows.unseen(challenger.folder, holdout, contract, split)
    if not unseen.passed:
        return unseen
    train = rows.trained(challenger.folder, holdout, contract, split.batch)
    columns, kind = challenger.columns, split.split
    copied = copies.find(train, holdout, contract, columns, known, kind)
    if copied is None:
        return unseen
    if copied.sure:
        return copies.check(copied)
    judgement.cautions.append(
        f"{copies.sentence(copied)}. Make sure that none is a copy."
    )
    return unseen


def _new(
    holdout: pd.DataFrame,
    champion: Model | None,
    contract: Contract,
    split: settings.Prepare,
    judgement: Judgement,
) -> NDArray[np.bool_] | None:
    """Return which rows the champion was not trained on, [n]; None if nobody knows."""
    if champion is None:
        return np.ones(len(holdout), bool)
    new = evaluation.new_to(champion, holdout, contract, split.split, split.batch)
    if new is None:
        judgement.cautions.append(
            "Nothing is compared: which rows the champion was trained on is not known, "
            "as contract.yaml and its split are others now. Only the absolute rules "
            "apply."
        )
    return new


def _describe(
    table: Table,
    holdout: pd.DataFrame,
    compared: pd.DataFrame,
    contract: Contract,
    judgement: Judgement,
) -> None:
    """Say how many rows there are, are held out and compared, and of when."""
    since, until = "", ""
    if contract.time:
        times = holdout[contract.time]
        since, until = times.min().isoformat(), times.max().isoformat()
    if judgement.split and judgement.split.kind == "time":
        judgement.held_out = (since, until)
    judgement.rows = Rows(
        data=len(table),
        held_out=len(holdout),
        since=since,
        until=until,
        compared=len(compared),
        target=task.TASKS[contract.task].summary(holdout[contract.target]),
    )


def _models(
    folder: Path, contract: Contract, judgement: Judgement
) -> tuple[Model, Model | None]:
    """Return challenger and champion; a champion for another task compares nothing."""
    names = ("challenger", "champion")
    challenger, champion = (evaluation.read_model(folder / name) for name in names)
    if challenger is None:
        raise Refused("manifest", "the challenger has no manifest")
    expected = evaluation.task_name(contract.task, contract.classes)
    if (actual := challenger.task) != expected:
        reason = f"the model is for {actual}, and main's contract.yaml for {expected}"
        raise Refused("manifest", reason)
    if champion and (actual := champion.task) != expected:
        judgement.cautions.append(
            f"Nothing is compared: the champion is for {actual}, and contract.yaml is "
            f"for {expected} now. Only the absolute rules apply."
        )
        champion = None
    return challenger, champion


if __name__ == "__main__":
    main()
