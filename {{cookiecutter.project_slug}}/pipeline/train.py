"""Stage train: fit, export to ONNX, prove the export, write the manifest.

python -m pipeline.train TRAIN MODEL MANIFEST
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from threadpoolctl import threadpool_limits

from pipeline import data, features, model, parity
from pipeline.data import Contract, ContractError

CODE = [__file__, data.__file__, features.__file__, model.__file__, parity.__file__]
SETTINGS = ["seed", "estimator", "columns", "threshold", "parity"]


def digest(path: str | Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def digests(paths: list[str]) -> str:
    """Return one sha256 over the names and digests of files."""
    found = {Path(path).name: digest(path) for path in paths}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def describe(rows: pd.DataFrame, contract: Contract, path: Path) -> dict[str, Any]:
    """Return the manifest's data entry: what was trained on, and from which file."""
    return {
        "sha256": rows.attrs["source_sha256"],
        "train_sha256": digest(path),
        "train_rows": len(rows),
        "train_from": rows[contract.time].min().isoformat(),
        "train_until": rows[contract.time].max().isoformat(),
    }


def train(source: Path, onnx: Path, manifest: Path) -> None:
    """Write the exported model and its manifest; the same inputs give the same bytes."""
    contract = Contract.parse(yaml.safe_load(Path("contract.yaml").read_text()))
    params = yaml.safe_load(Path("params.yaml").read_text())
    chosen = data.settings(params, "train", SETTINGS)
    rows, columns = pd.read_parquet(source), list(chosen["columns"])
    fitted = model.fit(rows, contract, chosen)
    exported = model.export(fitted, contract, columns)
    some = rows.iloc[:: max(1, len(rows) // 10_000)]
    proof = parity.parity(fitted, exported, data.inputs(some, contract, columns))
    if not proof["max_difference"] <= chosen["parity"]:
        raise ContractError(
            f"the ONNX file differs from the fitted model by {proof['max_difference']:g} "
            f"(at most {chosen['parity']:g}); choose an estimator that converts exactly."
        )
    onnx.write_bytes(exported)
    version = {
        "schema": 1,
        "name": contract.name,
        "task": contract.task,
        "model": {"file": onnx.name, "sha256": digest(onnx), "bytes": len(exported)},
        "contract": {"sha256": digest("contract.yaml")},
        "threshold": chosen["threshold"],
        "columns": columns,
        "data": describe(rows, contract, source),
        "code": {"sha256": digests(CODE)},
        "requirements": {"sha256": digest("requirements/pipeline.txt")},
        "params": chosen,
        "parity": proof,
        "golden": parity.golden(exported, rows, contract, columns),
    }
    manifest.write_text(json.dumps(version, sort_keys=True, indent=2) + "\n")
    print(f"{onnx}: {len(exported):,} bytes, parity {proof['max_difference']:.1e}")


def main() -> None:
    """Run the stage on one thread; an ordinary mistake is one sentence, exit 1."""
    if len(sys.argv) != 4:
        raise SystemExit("Type: python -m pipeline.train TRAIN MODEL MANIFEST")
    try:
        with threadpool_limits(1):  # the same sums in the same order on any machine
            train(*map(Path, sys.argv[1:]))
    except (ContractError, OSError, yaml.YAMLError, ValueError) as error:
        raise SystemExit(f"train: {error}") from None


if __name__ == "__main__":
    main()
