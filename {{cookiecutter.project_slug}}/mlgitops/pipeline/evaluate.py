"""Stage evaluate: score the exported model on the holdout.

python -m mlgitops evaluate MODEL MANIFEST HOLDOUT METRICS

One row group of the holdout is held at once; of all rows target and prediction alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Required, TypedDict

import numpy as np
from pyarrow import parquet

from mlgitops import metrics
from mlgitops.pipeline import imports, intervals, settings
from mlgitops.pipeline.contract import Contract, ContractError, sentence
from mlgitops.pipeline.data import inputs, truth
from mlgitops.pipeline.fitting import score
from mlgitops.pipeline.row_groups import Rows
from mlgitops.pipeline.task import TASKS, Array


class Version(TypedDict, total=False):
    """The entries of a manifest that scoring depends on."""

    columns: Required[list[str]]
    threshold: float  # of a binary task
    classes: list[str]  # of a multiclass task
    intervals: intervals.Entry  # where something is said beside predictions


Scores = dict[str, object]


def score_model(task: str, y: Array, p: Array, version: Version, bins: int) -> Scores:
    """Return every metric of one model, given its manifest, on one holdout."""
    values = {metric.key: metric.value(y, p) for metric in metrics.of(task)}
    if stated := version.get("intervals"):
        values["coverage"] = float(intervals.covered(y, p, stated).mean())
        values["mean_size"] = float(intervals.sizes(p, stated).mean())
    return {"rows": len(y), **values, **DETAILS[task](y, p, version, bins)}


def _binary(y: Array, p: Array, version: Version, bins: int) -> Scores:
    """Return the decisions at the threshold, and the calibration."""
    return {
        "positive_rate": float(y.mean()),
        "calibration_error": metrics.binary.calibration_error(y, p, bins),
        "threshold": version["threshold"],
        **metrics.binary.confusion(y, p, version["threshold"]),
        "calibration": metrics.binary.calibration(y, p, bins),
    }


def _multiclass(y: Array, p: Array, version: Version, bins: int) -> Scores:
    """Return the confusion matrix, and the calibration of the top class."""
    top = metrics.multiclass.top(y, p)
    return {
        "classes": version["classes"],
        "calibration_error": metrics.binary.calibration_error(*top, bins),
        "confusion_matrix": metrics.multiclass.confusion_matrix(
            y, p, len(version["classes"])
        ),
        "calibration": metrics.binary.calibration(*top, bins),
    }


def _regression(y: Array, p: Array, version: Version, bins: int) -> Scores:
    """Return the residuals, by the prediction."""
    return {
        "mean": float(y.mean()),
        "residuals": metrics.regression.residuals(y, p, bins),
    }


DETAILS = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}


def evaluate(model: Path, manifest: Path, holdout: Path, out: Path) -> None:
    """Read model and holdout, write the metrics as canonical JSON."""
    contract = Contract.read(Path("contract.yaml").read_bytes())
    params = settings.load(Path("params.yaml").read_bytes())
    bins = settings.evaluate(params).bins
    version: Version = json.loads(manifest.read_text())
    task = contract.task
    y, p = _scored(holdout, model.read_bytes(), contract, version["columns"])
    result = score_model(task, y, p, version, bins)
    imports.demand_listed("evaluate")
    out.write_text(json.dumps(result, sort_keys=True, indent=2) + "\n")
    primary = metrics.METRICS[task][0]
    print(f"{out}: {primary.label} {result[primary.key]:.4f} on {len(y):,} rows")


def _scored(
    holdout: Path, model: bytes, contract: Contract, columns: list[str]
) -> tuple[Array, Array]:
    """Return the target [n] and the prediction, [n] or [n, k], of each row."""
    with holdout.open("rb") as file:
        metadata = parquet.ParquetFile(file).metadata
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        largest = max((1, *(group.num_rows for group in groups)))
    names, output = [*columns, contract.target], TASKS[contract.task].output
    targets, predictions = [], []
    for rows in Rows(holdout, largest).batches(names):
        targets.append(truth(rows, contract))
        arrays = inputs(rows, contract, columns)
        predictions.append(score(model, arrays, output))
    return np.concatenate(targets), np.concatenate(predictions)


def main() -> None:
    """Run the stage; an ordinary mistake is one sentence, exit 1."""
    if len(sys.argv) != 5:
        raise SystemExit("Type: python -m mlgitops evaluate MODEL MANIFEST HOLDOUT OUT")
    try:
        evaluate(*map(Path, sys.argv[1:]))
    except (ContractError, OSError, ValueError) as error:
        raise SystemExit(f"evaluate: {sentence(error)}") from None
