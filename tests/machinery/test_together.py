"""Every setting of training at once, from params.yaml to the server's answer.

Each has its own tests; here they meet: what one leaves out, another calibrates on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from machinery import judged, tables
from mlgitops import storage
from mlgitops.pipeline import data, golden
from mlgitops.pipeline.contract import Contract
from mlgitops.serving.model import Model

pytestmark = pytest.mark.slow
RAW = Path("data/flights.parquet")
SETTINGS = {
    "weights": "balanced",
    "mitigation": {"method": "reweighing", "columns": ["shop"]},
    "calibration": "sigmoid",
    "early_stopping": {"share": 0.2, "rounds": 3},
    "monotonic": {"price": "increasing"},
    "intervals": {"coverage": 0.8, "share": 0.3, "by_class": True, "abstain": True},
    "threshold": "best",
}


def run(*command: str) -> str:
    """Run a command of the repository; return what it says."""
    done = subprocess.run(
        (sys.executable, "-m", "mlgitops", *command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Stand in a repository with every setting; return its raw rows."""
    monkeypatch.chdir(tables.copy(tmp_path / "new"))
    Path("mlgitops").symlink_to(tables.ROOT / "mlgitops")
    subprocess.run(("git", "init", "--quiet", "."), check=True)
    frame = judged.rows(3200)
    frame.to_parquet(RAW, index=False)
    storage.add(str(RAW), Path())
    contract, params = judged.contract(), judged.params(["price", "age"])
    params["train"] |= SETTINGS
    params["train"]["hist_gradient_boosting"] |= {"max_iter": 60, "learning_rate": 0.2}
    Path("contract.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    Path("behaviour.yaml").write_text("[]\n")
    stages = yaml.safe_load(Path("dvc.yaml").read_text("utf-8"))
    train = stages["stages"]["train"]
    train["params"].append("business")
    train["outs"].append("build/unmitigated.onnx")
    Path("dvc.yaml").write_text(yaml.safe_dump(stages, sort_keys=False))
    return frame


def test_all_settings_of_training_together(rows: pd.DataFrame) -> None:
    """Built, judged and served; a rise of the price never lowers a probability."""
    run("repro")
    version = json.loads(Path("build/manifest.json").read_text("utf-8"))
    chosen, entry = version["claimed"], version["intervals"]
    assert version["params"]["mitigation"] == SETTINGS["mitigation"]
    assert 0 < version["threshold"] < 1 and chosen["threshold"]["rows"] > 100
    assert 0 < chosen["early_stopping"]["rounds"] < 60
    assert len(entry["quantile"]) == 2 and entry["abstain"] and entry["by_class"]
    assert chosen["parity"]["max_difference"] < 1e-6
    report = run("validate", "--local")
    assert "Passes here" in report
    for said in ("Mitigation of bias", "Intervals", "abstains", "was chosen"):
        assert said in report, said
    contract = Contract.read(Path("contract.yaml").read_bytes())
    new = data.check(judged.rows(400, seed=9), contract)
    asked = [dict(request) for request in golden.requests(new, contract)]
    model = Model("build")
    answers = model.predictions(asked, range(len(asked)))
    undecided = [a for a in answers if a["decision"] is None]
    assert 0 < len(undecided) < len(answers)
    assert all(len(a["set"]) != 1 for a in undecided)
    covered = [
        int(y) in a["set"] for y, a in zip(new["returned"], answers, strict=True)
    ]
    assert 0.7 < np.mean(covered) < 0.9
    dearer = [{**row, "price": min(10.0, row["price"] + 1)} for row in asked]
    higher = model.predictions(dearer, range(len(dearer)))
    p, after = ([a["probability"] for a in each] for each in (answers, higher))
    assert (np.array(after) - p).min() > -1e-6
