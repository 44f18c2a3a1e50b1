"""The tests that a team gets are green for its own data, contract and model."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from machinery import lengths, warm
from mlgitops.pipeline.schema import SettingsError
from mlgitops.testing import Project

ROOT = Path.cwd()
LEFT = shutil.ignore_patterns(
    ".venv", ".git", ".dvc", "build", "example", "data", "__pycache__"
)
WAGES = {
    "name": "wages",
    "task": "regression",
    "id": "person",
    "time": "interviewed",
    "target": "hourly",
    "entity": "household",
    "columns": {
        "schooling": {"type": "number", "min": 0, "missing": False},
        "tenure": {"type": "number", "missing": True},
        "sector": {
            "type": "category",
            "categories": ["farm", "factory", "office"],
            "missing": True,
        },
    },
}
PENGUINS = {
    "name": "penguins",
    "task": "multiclass",
    "classes": ["adelie", "chinstrap", "gentoo"],
    "id": "ring",
    "time": "seen",
    "target": "species",
    "columns": {
        "bill": {"type": "number", "min": 20, "max": 70, "missing": True},
        "island": {
            "type": "category",
            "categories": ["Biscoe", "Dream", "Torgersen"],
            "missing": False,
        },
    },
}
# What a team adds to model/: an estimator, and a metric of its own.
LASSO = """
from sklearn.linear_model import Lasso  # noqa: E402

REGRESSORS["lasso"] = (for_linear, Lasso())
"""
METRIC = """
METRICS["within_ten"] = lambda y, prediction: float((abs(y - prediction) < 10).mean())
"""


def wages(count: int = 3000) -> pd.DataFrame:
    """Return people whose pay follows schooling and sector."""
    rng = np.random.default_rng(3)
    schooling = rng.integers(6, 20, count).astype(float)
    sector = rng.choice(["farm", "factory", "office", None], count)
    extra = pd.Series(sector).map({"farm": 0, "factory": 4, "office": 9}).fillna(2)
    tenure = np.where(rng.random(count) < 0.2, np.nan, rng.integers(0, 30, count))
    return pd.DataFrame(
        {
            "person": [f"p{n}" for n in range(count)],
            "interviewed": pd.date_range("2021-03-01", periods=count, freq="h"),
            "household": [f"h{n}" for n in rng.integers(0, count // 2, count)],
            "schooling": schooling,
            "tenure": tenure,
            "sector": sector,
            "hourly": 3 + schooling + extra + rng.normal(0, 2, count),
        }
    )


def penguins(count: int = 2400) -> pd.DataFrame:
    """Return penguins of three kinds, the last of them rare."""
    rng = np.random.default_rng(4)
    kind = rng.choice(3, count, p=[0.6, 0.3, 0.1])
    bill = np.array([38, 48, 56])[kind] + rng.normal(0, 3, count)
    return pd.DataFrame(
        {
            "ring": [f"r{n}" for n in range(count)],
            "seen": pd.date_range("2022-11-01", periods=count, freq="h"),
            "bill": np.where(rng.random(count) < 0.1, np.nan, bill.clip(20, 70)),
            "island": rng.choice(["Biscoe", "Dream", "Torgersen"], count),
            "species": np.array(PENGUINS["classes"])[kind],
        }
    )


def replaced(folder: Path, contract: dict[str, Any], table: pd.DataFrame) -> Path:
    """Copy the repository and make it the team's: data, contract, settings, model."""
    shutil.copytree(ROOT, folder, ignore=LEFT)
    name = f"data/{contract['name']}.parquet"
    (folder / name).parent.mkdir(parents=True)
    table.to_parquet(folder / name, index=False)
    (folder / "contract.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))
    (folder / "behaviour.yaml").write_text("[]\n")

    stages = (folder / "dvc.yaml").read_text()
    source = re.search(r"data/\S+\.parquet", stages)
    assert source
    (folder / "dvc.yaml").write_text(stages.replace(source[0], name))

    params = yaml.safe_load((folder / "params.yaml").read_text())
    for section in ("business", "fairness"):
        del params[section]
    params["prepare"] = {"split": "time", "holdout_days": 20, "train_days": 200}
    params["train"]["columns"] = list(contract["columns"])
    params["gates"]["holdout"]["min_rows"] = 100
    if contract["task"] != "binary":
        del params["train"]["threshold"]
    if contract["task"] == "multiclass":
        params["gates"]["roc_auc_macro"] = params["gates"].pop("roc_auc")
    if contract["task"] == "regression":
        params["train"]["estimator"] = "lasso"
        params["train"]["lasso"] = {"alpha": 0.1}
        for key in ("roc_auc", "calibration_error"):
            del params["gates"][key]
        params["gates"]["r2"] = {"min": 0.2, "max": 0.99, "margin": 0.01}
        for file, text in (("estimator", LASSO), ("metrics", METRIC)):
            with (folder / f"model/{file}.py").open("a") as module:
                module.write(text)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return folder


def run(folder: Path, *more: str) -> str:
    """Run the tests as their team does; return what pytest printed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    env |= {"PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        (warm.python(), "-m", "pytest", "-p", "no:cacheprovider", *more),
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("contract", "table"),
    lengths.turn([(WAGES, wages()), (PENGUINS, penguins())]),
    ids=lambda given: given["name"] if isinstance(given, dict) else "rows",
)
def test_green_after_data_contract_and_model_were_replaced(
    contract: dict[str, Any], table: pd.DataFrame, tmp_path: Path
) -> None:
    said = run(replaced(tmp_path / "team", contract, table))
    assert re.search(r"\n\d+ passed( in|,)", said), said
    assert "skipped" not in said and "failed" not in said, said


@pytest.mark.slow
@pytest.mark.parametrize("split", lengths.turn(["random", "group", "column"]))
def test_green_without_a_time_by_any_split(split: str, tmp_path: Path) -> None:
    table, contract = wages().drop(columns="interviewed"), dict(WAGES)
    del contract["time"]
    rules: dict[str, Any] = {"split": split, "holdout_share": 0.2, "seed": 1}
    if split == "column":
        contract["part"], rules = "wave", {"split": split, "holdout": [3]}
        table["wave"] = np.arange(len(table)) % 4
    folder = replaced(tmp_path / "team", contract, table)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    text = yaml.safe_dump({**params, "prepare": rules}, sort_keys=False)
    (folder / "params.yaml").write_text(text)
    said = run(folder)
    assert re.search(r"\n\d+ passed( in|,)", said), said
    assert "skipped" not in said and "failed" not in said, said


def test_an_estimator_that_is_not_chosen_needs_none_of_its_settings(
    tmp_path: Path,
) -> None:
    """A linear model in model/estimator.py is tested while trees stop early.

    The control: chosen, it is refused by its name.
    """
    for name in ("params.yaml", "contract.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    params["train"] |= {
        "weights": "balanced",
        "early_stopping": {"share": 0.1, "rounds": 5},
        "monotonic": {"distance": "increasing"},
    }
    for chosen in ("hist_gradient_boosting", "logistic_regression"):
        params["train"]["estimator"] = chosen
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        project = Project(tmp_path)
        rows = project.made_up_rows(400)
        if chosen == "logistic_regression":
            with pytest.raises(SettingsError, match="LogisticRegression"):
                project.fit(rows, chosen)
            continue
        for estimator in project.estimators:
            fitted = project.fit(rows, estimator)
            assert project.difference(fitted, project.export(fitted), rows) < 1e-5


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository about penguins."""
    return replaced(tmp_path_factory.mktemp("t") / "team", PENGUINS, penguins())


FAULTS = {  # what somebody breaks: (file, old, new), and the test that says so
    "test_rows_fit_the_contract": ("contract.yaml", "max: 70", "max: 60"),
    "test_model_takes_columns": ("contract.yaml", "  bill:", "  beak:"),
    "test_gates_fit_the_task": ("params.yaml", "  roc_auc", "  rock_auc"),
    "test_experiment_tries_settings": (
        "params.yaml",
        "  train.hist_gradient_boosting.learning_rate",
        "  train.hist_gradient_boosting.learning_speed",
    ),
    "test_dvc_runs_a_stage_again": ("dvc.yaml", "      - model/features.py\n", ""),
    "test_training_and_holdout": (
        "params.yaml",
        "holdout_days: 20",
        "holdout_days: 2",
    ),
    "test_new_categories": (
        "model/features.py",
        'handle_unknown="ignore"',
        'handle_unknown="error"',
    ),
    "test_complete_rows_give": (
        "model/features.py",
        '"passthrough"',
        "FunctionTransformer(lambda x: x.where(x > 50))",
    ),
}


@pytest.mark.parametrize("test", list(FAULTS))
def test_a_fault_is_found(team: Path, test: str) -> None:
    """A test that cannot fail would prove nothing."""
    name, old, new = FAULTS[test]
    file = team / name
    good = file.read_text()
    assert old in good
    bad = good.replace(old, new).replace(
        "preprocessing import", "preprocessing import FunctionTransformer,"
    )
    try:
        file.write_text(bad)
        said = run(team, "-x", "-k", test)
    finally:
        file.write_text(good)
    assert f"::{test}" in said and re.search(r"\d (failed|error)", said), said


def test_skipped_with_the_reason_where_the_data_is_not(team: Path) -> None:
    """And not skipped where nothing says that there is data at all."""
    file = team / "data/penguins.parquet"
    kept = file.read_bytes()
    file.unlink()
    pointer = file.with_name("penguins.parquet.dvc")
    try:
        said = run(team, "tests/test_data.py")
        assert "there is neither it nor" in said and "error" in said, said
        pointer.write_text("outs: []\n")
        said = run(team, "tests/test_data.py", "tests/test_pipeline.py")
    finally:
        pointer.unlink(missing_ok=True)
        file.write_bytes(kept)
    assert "penguins.parquet is not here yet: type make pull" in said, said
    assert "5 skipped" in said and "failed" not in said, said
