"""What the stage `train` costs with and without `train.batch`: `make boosting`.

XGBoost on tables of 12 columns, a quarter of `ROWS=` and all of them (4 M by default).
The stage runs with all rows at once, then holding a million and a hundred thousand.
Its model file has to have the same bytes each time. Writes benchmarks/boosting.md.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from pyarrow import parquet

from benchmarks.cost import PYTHON, Cost, Page, project, run

ROWS = int(os.environ.get("ROWS", "4000000"))
BATCHES = (None, 1_000_000, 100_000)  # rows held at once; None: all
GROUP = 100_000  # rows of a row group of the file
WIDTH = 9  # columns of numbers, beside one of categories, an id and a time
ESTIMATOR = """
from xgboost import XGBClassifier

CLASSIFIERS["boosting"] = (for_trees, XGBClassifier(n_estimators=20, n_jobs=1))
"""
BUILD = Path("build")
STAGE = ("train.parquet", "model.onnx", "manifest.json")


def part(start: int) -> pd.DataFrame:
    """Return the rows of one row group, as the stage prepare writes them."""
    random = np.random.default_rng(start)
    ids = np.arange(start, start + GROUP)
    begin = pd.Timestamp("2025-01-01", tz="UTC").as_unit("us")
    frame: dict[str, Any] = {"row": [f"r{n}" for n in ids]}
    frame["at"] = begin + pd.to_timedelta(ids, unit="s").as_unit("us")
    frame["kind"] = random.choice(["a", "b", "c"], GROUP)
    numbers = random.normal(size=(GROUP, WIDTH)).astype("float32")
    frame |= {f"n{n}": numbers[:, n] for n in range(WIDTH)}
    signal = numbers[:, 0] + numbers[:, 1] * numbers[:, 2] + random.normal(size=GROUP)
    return pd.DataFrame({**frame, "y": (signal > 0.5).astype("int8")})


def write(path: Path, rows: int) -> None:
    """Write the training rows, a row group at a time."""
    first = part(0)
    first.attrs = {"source_sha256": "0" * 64}
    schema = pa.Table.from_pandas(first, preserve_index=False).schema
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, GROUP):
            table = pa.Table.from_pandas(part(start), schema, preserve_index=False)
            writer.write_table(table)


def laid_out(home: Path, rows: int) -> None:
    """Put contract, estimator and training rows into a repository."""
    number = {"type": "number", "min": -99, "max": 99, "missing": False}
    kinds = {"type": "category", "categories": ["a", "b", "c"], "missing": False}
    columns = {"kind": kinds, **{f"n{n}": dict(number) for n in range(WIDTH)}}
    contract: dict[str, Any] = {"name": "big", "task": "binary", "id": "row"}
    contract |= {"time": "at", "target": "y", "sensitive": [], "columns": columns}
    (home / "contract.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))
    with (home / "model" / "estimator.py").open("a") as file:
        file.write(ESTIMATOR)
    (home / BUILD).mkdir()
    write(home / BUILD / STAGE[0], rows)


def measured(home: Path, batch: int | None) -> tuple[Cost, str]:
    """Return what the stage costs, and the sha256 of its model file."""
    params = yaml.safe_load((home / "params.yaml").read_bytes())
    names = ["kind", *(f"n{n}" for n in range(WIDTH))]
    params["train"] |= {"estimator": "boosting", "columns": names}
    params["train"] |= {"batch": batch} if batch else {}
    (home / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    words = [str(BUILD / name) for name in STAGE]
    cost = run((PYTHON, "-m", "mlgitops", "train", *words), home)
    return cost, hashlib.sha256((home / words[1]).read_bytes()).hexdigest()


def main() -> None:
    """Measure each size and batch, print the table, and write the page."""
    title = "The stage train, holding all rows or a batch"
    page = Page("boosting.md", title, f"make boosting ROWS={ROWS}")
    page.say(f"XGBoost, 20 rounds, {WIDTH + 3} columns; load {os.getloadavg()[0]:.1f}")
    page.say(f"{'rows':>10} {'train.batch':>12} {'CPU s':>6} {'MB':>6}  model")
    for rows in (ROWS // 4, ROWS):
        with TemporaryDirectory(prefix="boosting-") as name:
            home = project(Path(name) / "project")
            laid_out(home, rows)
            for batch in BATCHES:
                cost, digest = measured(home, batch)
                held = f"{batch:,}" if batch else "none"
                costs = f"{cost.cpu:>6,.0f} {cost.peak:>6,.0f}"
                page.say(f"{rows:>10,} {held:>12} {costs}  {digest[:12]}")
                page.write()  # what was measured so far


if __name__ == "__main__":
    main()
