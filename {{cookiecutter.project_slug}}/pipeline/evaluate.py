"""Stage evaluate: score the exported model on the holdout.

python -m pipeline.evaluate MODEL MANIFEST HOLDOUT METRICS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from pipeline import metrics
from pipeline.contract import Contract, ContractError, sentence, settings
from pipeline.data import inputs
from pipeline.model import score


def measure(y: Any, p: Any, threshold: float, bins: int) -> dict[str, Any]:
    """Return every measure of one model on one holdout."""
    return {
        "rows": len(y),
        "positive_rate": float(y.mean()),
        "roc_auc": metrics.roc_auc(y, p),
        "average_precision": metrics.average_precision(y, p),
        "log_loss": metrics.log_loss(y, p),
        "brier": metrics.brier(y, p),
        "calibration_error": metrics.calibration_error(y, p, bins),
        "threshold": threshold,
        **metrics.confusion(y, p, threshold),
        "calibration": metrics.calibration(y, p, bins),
    }


def evaluate(model: Path, manifest: Path, holdout: Path, out: Path) -> None:
    """Read model and holdout, write the measures as canonical JSON."""
    contract = Contract.parse(yaml.safe_load(Path("contract.yaml").read_text()))
    params = yaml.safe_load(Path("params.yaml").read_text())
    bins = settings(params, "evaluate")["bins"]
    version, rows = json.loads(manifest.read_text()), pd.read_parquet(holdout)
    p = score(model.read_bytes(), inputs(rows, contract, version["columns"]))
    found = measure(rows[contract.target], p, version["threshold"], bins)
    out.write_text(json.dumps(found, sort_keys=True, indent=2) + "\n")
    print(f"{out}: ROC AUC {found['roc_auc']:.4f} on {found['rows']:,} rows")


def main() -> None:
    """Run the stage; an ordinary mistake is one sentence, exit 1."""
    if len(sys.argv) != 5:
        raise SystemExit("Type: python -m pipeline.evaluate MODEL MANIFEST HOLDOUT OUT")
    try:
        evaluate(*map(Path, sys.argv[1:]))
    except (ContractError, OSError, yaml.YAMLError, ValueError) as error:
        raise SystemExit(f"evaluate: {sentence(error)}") from None


if __name__ == "__main__":
    main()
