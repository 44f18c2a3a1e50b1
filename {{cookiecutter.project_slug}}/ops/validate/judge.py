"""Judges two models on one holdout, in a child that holds no token.

    python -m ops.validate.judge FOLDER

FOLDER holds raw.parquet, challenger/ and perhaps champion/. The contract, the split,
the measures and the gates are those of the code this runs from. It writes
FOLDER/judgement.json; whatever a stranger's file does here, there is nothing to steal.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ops.validate import gates, sandbox
from ops.validate.gates import Check, Gates, Refused
from pipeline import data, metrics
from pipeline.contract import Contract, ContractError, settings

Judgement = dict[str, Any]


def main() -> None:
    """Judge the folder; a refusal is a failed check, anything else is one sentence."""
    sandbox.confine()
    folder = Path(sys.argv[1])
    contract = Contract.parse(yaml.safe_load(Path("contract.yaml").read_bytes()))
    params = yaml.safe_load(Path("params.yaml").read_bytes())
    judgement: Judgement = {"checks": [], "headline": None}
    try:
        judge(folder, contract, params, judgement)
    except Refused as refusal:
        judgement["checks"].append(refusal.check)
    except ContractError as error:
        judgement["checks"].append(
            Check("Data", False, "", "contract.yaml", str(error))
        )
    judgement["checks"] = [check.record() for check in judgement["checks"]]
    (folder / "judgement.json").write_text(json.dumps(judgement))


def judge(
    folder: Path, contract: Contract, params: dict[str, Any], into: Judgement
) -> None:
    """Fill in what the raw data, the challenger and the champion say, step by step.

    Raises:
        Refused, ContractError: a step that the rest needs did not pass.
    """
    rules = gates.parse(params.get("gates") or {})
    checks: list[Check] = into["checks"]
    manifest = json.loads((folder / "challenger" / "manifest.json").read_bytes())
    rows = data.check(_table(folder / "raw.parquet"), contract)
    _, holdout = data.split(rows, contract, settings(params, "prepare"))
    checks.append(
        Check("Data", True, f"{len(rows):,} rows", "contract.yaml", "as agreed")
    )
    checks.append(unseen(folder / "challenger", holdout[contract.id], contract.id))
    champion = _champion(folder)
    compared = holdout
    if champion:
        compared = _after(holdout, contract.time, champion)
    into["rows"] = _described(rows, holdout, compared, contract)
    enough = gates.rows(len(compared), rules)
    if not enough.passed:
        checks.append(enough)
        return
    y = compared[contract.target].to_numpy()
    new, golden = scores(folder / "challenger", manifest, compared, contract)
    old = None
    if champion:
        old, _ = scores(folder / "champion", champion, compared, contract)
    _measure(into, y, old, new, rules)
    checks.append(gates.export(manifest["parity"], golden, rules))
    checks.append(gates.size(manifest["model"]["bytes"], rules))
    checks.append(enough)
    bins = settings(params, "evaluate")["bins"]
    sides = {"champion": old, "challenger": new}
    into["calibration"] = {
        who: metrics.calibration(y, side, bins)
        for who, side in sides.items()
        if side is not None
    }


def unseen(folder: Path, holdout: "pd.Series[Any]", name: str) -> Check:
    """Refuse rows of main's holdout in the table that the challenger learnt from."""
    train = _table(folder / "train.parquet", [name])[name]
    seen = int(holdout.isin(train).sum())
    passed = seen == 0
    why = (
        "the challenger has not seen the holdout"
        if passed
        else "the challenger was trained on rows of the holdout that main's split gives"
    )
    return Check("Holdout unseen", passed, f"{seen:,} rows", "0 rows", why)


def scores(
    folder: Path, manifest: dict[str, Any], rows: pd.DataFrame, contract: Contract
) -> tuple[np.ndarray, float]:
    """Return P(target = 1), float64 (rows,), and the worst golden-row difference.

    Raises:
        Refused: the file cannot be scored, or answers what is no probability.
    """
    golden = manifest["golden"]
    known = pd.DataFrame([item["row"] for item in golden], dtype=object)
    try:
        arrays = data.inputs(rows, contract, manifest["columns"])
        extra = data.inputs(known, contract, manifest["columns"])
    except (ContractError, KeyError, TypeError, ValueError) as error:
        why = f"main's contract does not give what the model needs: {error}"
        raise Refused("Model columns", why) from error
    feeds = {name: np.concatenate([arrays[name], extra[name]]) for name in arrays}
    plain = {n: a.astype(str) if a.dtype == object else a for n, a in feeds.items()}
    inputs, result = folder / "inputs.npz", folder / "scores.npy"
    np.savez(inputs, **plain)  # type: ignore[arg-type]
    model = folder / manifest["model"]["file"]
    sandbox.run("Model file", "ops.validate.score", model, inputs, result)
    answers = np.load(result, allow_pickle=False)
    if answers.shape != (len(rows) + len(golden),) or answers.dtype != np.float64:
        raise Refused("Predictions", "the model does not give one probability a row")
    good = (answers >= 0) & (answers <= 1)
    if not good.all():
        value = f"{int((~good).sum()):,} rows"
        why = "the model answers NaN or numbers that are no probability"
        raise Refused("Predictions", why, value, "0 rows")
    wanted = np.array([float(item["probability"]) for item in golden])
    return answers[: len(rows)], float(np.abs(answers[len(rows) :] - wanted).max())


def _measure(
    into: Judgement,
    y: np.ndarray,
    old: np.ndarray | None,
    new: np.ndarray,
    rules: Gates,
) -> None:
    """Add the metrics, the headline and the gates on them."""
    measures = {
        "ROC AUC": (metrics.roc_auc, "higher"),
        "Average precision": (metrics.average_precision, "higher"),
        "Log loss": (metrics.log_loss, "lower"),
        "Brier score": (metrics.brier, "lower"),
        "Calibration error": (metrics.calibration_error, "lower"),
    }
    into["metrics"] = [
        {
            "name": name,
            "champion": None if old is None else measure(y, old),
            "challenger": measure(y, new),
            "better": better,
        }
        for name, (measure, better) in measures.items()
    ]
    auc = into["metrics"][0]["challenger"]
    head = dict.fromkeys(("champion", "difference", "low", "high"))
    into["headline"] = {"metric": "roc_auc", "challenger": auc, **head}
    into["headline"]["confidence"] = rules.confidence
    into["checks"].append(gates.floor(auc, rules))
    if old is None:
        into["checks"].append(gates.alone())
        return
    found = metrics.delong(y, old, new, rules.confidence)
    into["headline"].update(found._asdict())
    compared = gates.compared(found.difference, found.low, found.high, rules)
    into["checks"].append(compared)


def _champion(folder: Path) -> dict[str, Any] | None:
    """Return the champion's manifest, if there is a champion."""
    file = folder / "champion" / "manifest.json"
    return dict(json.loads(file.read_bytes())) if file.is_file() else None


def _after(holdout: pd.DataFrame, time: str, champion: dict[str, Any]) -> pd.DataFrame:
    """Return the holdout rows newer than all that the champion learnt from."""
    until = pd.Timestamp(champion["data"]["train_until"])
    return holdout[holdout[time] > until]


def _table(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file that may be anything."""
    try:
        return pd.read_parquet(path, columns=columns)
    except Exception as error:  # pyarrow's errors have no common class
        why = f"{path.name} is not a table that can be read: {str(error)[:200]}"
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
        f"share of {contract.target}": f"{holdout[contract.target].mean():.1%}",
    }
    if len(compared) < len(holdout):
        left = f"{len(compared):,} (the rest is older than the champion's newest row)"
        about["rows both models are new to"] = left
    return about


if __name__ == "__main__":
    main()
