"""Stage evaluate: score the exported model on the holdout.

python -m mlgitops evaluate MODEL MANIFEST HOLDOUT METRICS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from mlgitops import metrics
from mlgitops.pipeline import settings
from mlgitops.pipeline.contract import Contract, ContractError, sentence
from mlgitops.pipeline.data import inputs, truth
from mlgitops.pipeline.fitting import score
from mlgitops.pipeline.task import TASKS


def measure(task: str, y: Any, p: Any, version: Any, bins: int) -> dict[str, Any]:
    """Return every measure of one model (its manifest is `version`) on one holdout."""
    found = {m.key: m.value(y, p) for m in metrics.METRICS[task]}
    return {"rows": len(y), **found, **DETAILS[task](y, p, version, bins)}


def _binary(y: Any, p: Any, version: Any, bins: int) -> dict[str, Any]:
    """Return what is decided, and what is said and seen."""
    return {
        "positive_rate": float(y.mean()),
        "calibration_error": metrics.calibration_error(y, p, bins),
        "threshold": version["threshold"],
        **metrics.confusion(y, p, version["threshold"]),
        "calibration": metrics.calibration(y, p, bins),
    }


def _multiclass(y: Any, p: Any, version: Any, bins: int) -> dict[str, Any]:
    """Return the matrix, a row per true class, and what is said and seen of the top."""
    top = metrics.multiclass.top(y, p)
    return {
        "classes": version["classes"],
        "calibration_error": metrics.calibration_error(*top, bins),
        "confusion_matrix": metrics.confusion_matrix(y, p, len(version["classes"])),
        "calibration": metrics.calibration(*top, bins),
    }


def _regression(y: Any, p: Any, version: Any, bins: int) -> dict[str, Any]:
    """Return what is left over, by the answer."""
    return {"mean": float(y.mean()), "residuals": metrics.residuals(y, p, bins)}


DETAILS = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}


def evaluate(model: Path, manifest: Path, holdout: Path, out: Path) -> None:
    """Read model and holdout, write the measures as canonical JSON."""
    contract = Contract.read(Path("contract.yaml").read_bytes())
    params = settings.load(Path("params.yaml").read_bytes())
    bins = settings.evaluate(params).bins
    version, rows = json.loads(manifest.read_text()), pd.read_parquet(holdout)
    arrays, task = inputs(rows, contract, version["columns"]), contract.task
    p = score(model.read_bytes(), arrays, TASKS[task].output)
    found = measure(task, truth(rows, contract), p, version, bins)
    out.write_text(json.dumps(found, sort_keys=True, indent=2) + "\n")
    head = metrics.METRICS[task][0]
    print(f"{out}: {head.label} {found[head.key]:.4f} on {found['rows']:,} rows")


def main() -> None:
    """Run the stage; an ordinary mistake is one sentence, exit 1."""
    if len(sys.argv) != 5:
        raise SystemExit("Type: python -m mlgitops evaluate MODEL MANIFEST HOLDOUT OUT")
    try:
        evaluate(*map(Path, sys.argv[1:]))
    except (ContractError, OSError, ValueError) as error:
        raise SystemExit(f"evaluate: {sentence(error)}") from None
