"""What 20 features and all settings of training cost: `make training`.

A table of a million rows and 12 columns, of which `model/features.py` makes 20
features; a fifth of the rows is held out. `make repro` (prepare, fit, export, evaluate)
and `make validate` run on it, first with the features alone, then with all settings of
docs/training.md, which fit 24 models in place of one. `ROWS=` chooses other sizes.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmarks.cost import GIT, PYTHON, Cost, Page, project, run

ROWS = int(os.environ.get("ROWS", "1000000"))
WIDTH, FEATURES = 10, 20  # numbers in the table, beside two categories; features of it
SECONDS, PEAK = 60, 2_000  # of the judge
TITLE = "20 features and all settings of training"
DATA = Path("data", "flights.parquet")  # the path that dvc.yaml names
CODE = """\
    made = {f"log{n}": xp.log1p(xp.abs(columns[f"n{n}"])) for n in range(3)}
    made |= {f"ratio{n}": columns[f"n{n}"] / columns[f"n{n + 1}"] for n in range(3, 6)}
    made["clipped"] = xp.clip(columns["n8"], -1, 1)
    made["chosen"] = xp.where(columns["k1"] == "a", columns["n9"], 0)
    return {**columns, **made}
"""
ALL: dict[str, Any] = {
    "weights": "balanced",
    "mitigation": {"method": "reweighing", "columns": ["k2"]},
    "calibration": "sigmoid",
    "early_stopping": {"share": 0.1, "rounds": 10},
    "monotonic": {"n7": "increasing"},
    "intervals": {"coverage": 0.9, "share": 0.2, "by_class": True, "abstain": True},
    "threshold": "best",
}


def table(rows: int) -> pd.DataFrame:
    """Return rows over 100 days; what some features say tells the target."""
    random = np.random.default_rng(1)
    start = pd.Timestamp("2025-01-01", tz="UTC").as_unit("us")
    hours = pd.to_timedelta(np.linspace(0, 100 * 24, rows), unit="h")
    frame = {"row": [f"r{n}" for n in range(rows)], "at": (start + hours).floor("s")}
    frame |= {k: random.choice(["a", "b", "c"], rows) for k in ("k1", "k2")}
    numbers = random.normal(size=(rows, WIDTH)).astype("float32")
    frame |= {f"n{n}": numbers[:, n] for n in range(WIDTH)}
    signal = numbers[:, 7] + np.log1p(np.abs(numbers[:, 1])) + (frame["k1"] == "a")
    chance = 1 / (1 + np.exp(2 - signal))
    return pd.DataFrame({**frame, "y": (random.random(rows) < chance).astype("int8")})


def laid_out(home: Path, rows: int, settings: dict[str, Any]) -> None:
    """Put table, contract, features and settings into a repository, and commit them."""
    table(rows).to_parquet(home / DATA)
    columns: dict[str, Any] = {
        k: {"type": "category", "categories": ["a", "b", "c"], "missing": False}
        for k in ("k1", "k2")
    }
    number = {"type": "number", "min": -99, "max": 99, "missing": False}
    columns |= {f"n{n}": dict(number) for n in range(WIDTH)}
    contract = {"name": "big", "task": "binary", "id": "row", "time": "at"}
    contract |= {"target": "y", "sensitive": [], "columns": columns}
    params = yaml.safe_load((home / "params.yaml").read_bytes())
    params["prepare"] = {"split": "time", "holdout_days": 20, "train_days": 90}
    params["train"] |= {"columns": list(columns), **settings}
    params["gates"]["latency"]["p99_max_ms"] = 999  # a busy machine is not judged
    params["fairness"]["columns"] = ["k2"]
    stages = yaml.safe_load((home / "dvc.yaml").read_bytes())
    if settings:
        stages["stages"]["train"]["params"].append("business")
        stages["stages"]["train"]["outs"].append("build/unmitigated.onnx")
    documents = {"contract": contract, "params": params, "dvc": stages}
    for name, document in documents.items():
        text = yaml.safe_dump(document, sort_keys=False)
        (home / f"{name}.yaml").write_text(text)
    (home / "behaviour.yaml").write_text("[]\n")
    file = home / "model" / "features.py"
    text = file.read_text()
    file.write_text(text.replace("    return columns\n", CODE, 1))
    run(("git", "rm", "--quiet", "--cached", str(DATA)), home)
    run((PYTHON, "-m", "dvc", "add", str(DATA)), home)
    run(("git", "add", "--all"), home)
    run((*GIT, "commit", "--quiet", "-mBenchmark"), home)


def measured(rows: int, settings: dict[str, Any]) -> dict[str, Cost]:
    """Return what each command costs on so many rows."""
    with TemporaryDirectory(prefix="training-") as name:
        home = project(Path(name) / "project")
        laid_out(home, rows, settings)
        repro = (PYTHON, "-m", "dvc", "repro", "--quiet", "--no-run-cache")
        validate = (PYTHON, "-m", "mlgitops", "validate", "--local")
        return {"repro": run(repro, home), "validate": run(validate, home)}


def main() -> None:
    """Measure both, print the table, and write benchmarks/training.md."""
    page = Page("training.md", TITLE, f"make training ROWS={ROWS}")
    load = os.getloadavg()[0]
    page.say(f"{ROWS:,} rows, {FEATURES} features, a fifth held out; load {load:.1f}")
    page.say(f"{'settings':>12} {'command':>9} {'CPU s':>7} {'wall s':>7} {'MB':>6}")
    for name, settings in (("features", {}), ("all", ALL)):
        for command, cost in measured(ROWS, settings).items():
            numbers = f"{cost.cpu:>7,.0f} {cost.wall:>7,.0f} {cost.peak:>6,.0f}"
            page.say(f"{name:>12} {command:>9} {numbers}")
            page.write()  # what was measured so far
    page.say(f"limits of validate: {SECONDS} s, {PEAK:,} MB")
    page.write()


if __name__ == "__main__":
    main()
