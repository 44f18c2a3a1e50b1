"""A table of noise, or with a signal, and the settings that a search tries on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlgitops import git
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.folds import SPLIT

COLUMNS = [f"x{n}" for n in range(30)]
NUMBER = {"type": "number", "min": -9, "max": 9, "missing": False}
CONTRACT: dict[str, Any] = {
    "name": "noise",
    "task": "binary",
    "target": "y",
    "id": "row",
    "columns": {name: NUMBER for name in COLUMNS},
}
TERMS = Contract.parse(CONTRACT)
PARAMS = """\
train:
  seed: 1
  estimator: logistic_regression # or hist_gradient_boosting
  columns: [x0] # the current ones
  threshold: 0.5
  parity: 1.0e-5
  logistic_regression:
    C: 1.0 # smaller regularises more
  hist_gradient_boosting:
    max_iter: 8
gates:
  confidence: 0.95
"""


def table(count: int, seed: int, signal: float = 0.0) -> pd.DataFrame:
    """Return rows of columns that know nothing of the target, but for the last one."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {name: draw.normal(size=count).clip(-9, 9) for name in COLUMNS}
    )
    frame["row"] = [f"r{seed}-{n}" for n in range(count)]
    chance = 1 / (1 + np.exp(-signal * frame[COLUMNS[-1]]))
    frame["y"] = (draw.random(count) < chance).astype("float32")
    frame.attrs = {SPLIT: "random", "source_sha256": ""}
    return frame


def write(folder: Path, rows: pd.DataFrame, what: Mapping[str, object]) -> None:
    """Make the folder a repository with these rows and this section `experiment`."""
    (folder / "build").mkdir(exist_ok=True)
    (folder / "contract.yaml").write_text(json.dumps(CONTRACT))
    text = f"{PARAMS}experiment: {json.dumps(what)}\n"
    (folder / "params.yaml").write_text(text)
    rows.to_parquet(folder / "build" / "train.parquet")
    git.run("init", "--quiet", "--initial-branch=main", cwd=folder)
    (folder / ".gitignore").write_text("/build/\n")
    person = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    git.run("add", ".", cwd=folder)
    git.run(*person, "commit", "-qm", "settings", cwd=folder, check=False)


def subsets(count: int, width: int, seed: int) -> list[list[str]]:
    """Return subsets of the columns of noise, none twice."""
    draw, found = np.random.default_rng(seed), list[list[str]]()
    while len(found) < count:
        chosen = sorted(draw.choice(COLUMNS[:-1], width, replace=False).tolist())
        if chosen not in found:
            found.append(chosen)
    return found


def prepared() -> Path:
    """Return the rows, without asking DVC how old they are."""
    return Path("build", "train.parquet")
