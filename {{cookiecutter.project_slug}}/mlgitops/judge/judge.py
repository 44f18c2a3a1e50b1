"""Judges two models on one holdout, in a child that holds no token.

    python -m mlgitops.judge.judge FOLDER

FOLDER holds raw.parquet, challenger/ and perhaps champion/. The contract, the split,
the metrics and the gates are those of the code this runs from. It writes
FOLDER/judgement.json. Whatever a file of the proposal does, there is nothing to steal.
"""

import sys
from pathlib import Path

import msgspec
import pandas as pd

from mlgitops import settings
from mlgitops.judge import (
    behaviour,
    business,
    changes,
    checks,
    copies,
    decision_value,
    difficulty,
    entities,
    evaluation,
    explain,
    fairness,
    flips,
    gates,
    latency,
    online,
    performance,
    rare,
    replay,
    rows,
    sandbox,
    slices,
)
from mlgitops.judge.evaluation import Evaluation, Model
from mlgitops.judgement import Check, Judgement, Refused, Rows
from mlgitops.pipeline import data, task
from mlgitops.pipeline.contract import Contract, ContractError

PARTS = (
    entities,
    performance,
    rare,
    business,
    decision_value,
    slices,
    fairness,
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
    table = rows.proposed(folder, challenger.columns, contract, judgement)
    days = settings.prepare(params)
    _, holdout = data.split(table, contract, days)
    judgement.cautions += rows.thin_end(table, holdout, contract, days)
    known = rows.champion(champion.folder, contract) if champion else None
    unseen = _unseen(challenger, holdout, contract, known, judgement)
    judgement.checks.append(unseen)
    if unseen.passed:
        rows.check_manifest(challenger.folder, challenger.manifest)
    compared = _compared(table, holdout, champion, contract, judgement)
    enough = checks.rows(len(compared), gated.rules)
    if not enough.passed:
        judgement.checks.append(enough)
        return
    rows.require_every_class(compared, contract)
    context = Evaluation(
        contract=contract,
        params=params,
        gates=gated,
        holdout=compared,
        challenger=challenger,
        champion=champion,
        rows=table,
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
    judgement.checks += [checks.export(parity, golden, gated.rules), enough]


def _unseen(
    challenger: Model,
    holdout: pd.DataFrame,
    contract: Contract,
    known: pd.DataFrame | None,
    judgement: Judgement,
) -> Check:
    """Return the check that no row of the holdout, or copy of it, was trained on.

    What may be a copy by chance is a caution.
    """
    unseen = rows.unseen(challenger.folder, holdout, contract)
    if not unseen.passed:
        return unseen
    train = rows.trained(challenger.folder, holdout, contract)
    copied = copies.find(train, holdout, contract, challenger.columns, known)
    if copied is None:
        return unseen
    if copied.sure:
        return copies.check(copied)
    judgement.cautions.append(
        f"{copies.sentence(copied)}. Make sure that none is a copy."
    )
    return unseen


def _compared(
    table: pd.DataFrame,
    holdout: pd.DataFrame,
    champion: Model | None,
    contract: Contract,
    judgement: Judgement,
) -> pd.DataFrame:
    """Describe the holdout; return its rows newer than all the champion saw."""
    compared, times = holdout, holdout[contract.time]
    if champion is not None:
        compared = holdout[times > pd.Timestamp(champion.data["train_until"])]
    since, until = times.min().isoformat(), times.max().isoformat()
    judgement.held_out = (since, until)
    judgement.rows = Rows(
        data=len(table),
        held_out=len(holdout),
        since=since,
        until=until,
        compared=len(compared),
        target=task.TASKS[contract.task].summary(holdout[contract.target]),
    )
    return compared


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
