"""What to try is checked on its line; trials are recorded, and the tree stays as is."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from machinery import rows, searched
from mlgitops import git, settings
from mlgitops.commands import experiment
from mlgitops.pipeline.contract import ContractError
from mlgitops.search import strategies, trial
from mlgitops.space import Range

GRID: dict[str, list[float]] = {"train.a.rate": [0.05, 0.1], "train.seed": [1, 2]}
TRAIN = {"a": {"rate": 0.1}, "seed": 1, "trees": 9, "threshold": 0.5}


def parsed(entries: Any) -> Any:
    """Return the section as settings read it."""
    text = yaml.safe_dump({"prepare": {"split": "time"}, "train": TRAIN})
    text += f"experiment: {json.dumps(entries)}\n"
    return settings.experiment(settings.load(text))


def test_every_combination_is_one_trial() -> None:
    """Named after its settings, so that the same trial has the same name."""
    found = strategies.grid(parsed(GRID).space)
    assert [t.name for t in found] == [
        *("rate-0.05.seed-1", "rate-0.05.seed-2", "rate-0.1.seed-1", "rate-0.1.seed-2")
    ]
    assert found[1].changes == {"train.a.rate": 0.05, "train.seed": 2}


def test_the_options_of_a_search() -> None:
    options = {"search": "halving", "trials": 9, "minutes": 2, "folds": 3}
    found = parsed({**options, "resource": "train.trees", **GRID, "train.a.rate": R})
    assert found.options.search == "halving" and found.options.resource == "train.trees"
    assert found.space["train.a.rate"] == Range(0.1, 1, log=True)
    assert found.space["train.seed"] == (1, 2)
    assert parsed(GRID).options.folds == 5


R = {"min": 0.1, "max": 1, "log": True}
REFUSED: list[tuple[object, str]] = [
    (None, "got nothing"),
    ({}, "settings with values to try"),
    ({"folds": 3}, "settings with values to try"),
    ({"train.seed": 1}, "list such as"),
    ({"train.seed": []}, "a list of 1 or more"),
    ({"train.seed": [1, 1]}, "again"),
    ({"train.sed": [1]}, "did you mean train.seed?"),
    ({**GRID, "trails": 3}, "did you mean trials?"),
    ({**GRID, "search": "greedy"}, "grid or random or halving or optuna"),
    ({**GRID, "trials": 3}, "a grid tries every combination"),
    ({**GRID, "folds": 1}, "between 2 and 50"),
    ({"train.a.rate": R}, "a grid needs a list"),
    ({"search": "random", "train.a.rate": {"min": 1, "max": 1}}, "must be below"),
    ({"search": "random", "train.a.rate": {**R, "min": 0}}, "above 0"),
    ({"search": "random", "train.a.rate": {**R, "step": 1}}, "is not known"),
    ({**GRID, "resource": "train.trees"}, "is for the search halving"),
    ({"search": "halving", **GRID, "resource": "train.seed"}, "that is not tried"),
    ({"search": "halving", **GRID, "resource": "train.a.rate"}, "that is not tried"),
    ({"prepare.split": ["time"]}, "compares fits on the same rows"),
    ({"train.threshold": [0.1]}, "changes no fit"),
]


@pytest.mark.parametrize(("entries", "words"), REFUSED)
def test_what_cannot_be_tried_is_refused(entries: object, words: str) -> None:
    with pytest.raises(settings.SettingsError) as error:
        parsed(entries)
    assert words in str(error.value) and "experiment" in str(error.value)


@pytest.mark.parametrize("key", ["trails", "train.sed", "prepare.split"])
def test_the_line_is_named(key: str) -> None:
    text = f"prepare:\n  split: time\ntrain:\n  seed: 1\nexperiment:\n  {key}: [1]\n"
    with pytest.raises(settings.SettingsError, match=r"\(line 6\)"):
        settings.experiment(settings.load(text))


def test_the_grid_of_the_shipped_file_is_one() -> None:
    assert settings.experiment(settings.load((rows.ROOT / "params.yaml").read_bytes()))


def test_names_are_safe_in_git_and_never_of_two_trials() -> None:
    for values in (
        {"a.b": 1, "c.b": 2},
        {"a.b": "x y"},
        {"a.b": "../x"},
        {"a.b": [[]]},
    ):
        assert trial.named(values).name.startswith("trial-")
    assert trial.named({"a.b": ["x", "y"]}).name == "b-x+y"
    found = {trial.named({"a.b": v}).name for v in ("x y", "x  y", "x.lock")}
    assert len(found) == 3


def test_a_trial_changes_its_lines_of_params_and_nothing_else() -> None:
    """The reason stays on its line; a block of lines becomes one."""
    changes = {"train.logistic_regression.C": 0.01, "train.columns": ["x1", "x2"]}
    text = trial.rewritten(searched.PARAMS, changes)
    assert "    C: 0.01 # smaller regularises more\n" in text
    assert "  columns: [x1, x2] # the current ones\n" in text
    before, after = searched.PARAMS.splitlines(), text.splitlines()
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 2
    shipped = (rows.ROOT / "params.yaml").read_text()
    columns = yaml.safe_load(shipped)["train"]["columns"][:2]
    text = trial.rewritten(shipped, {"train.columns": columns})
    assert yaml.safe_load(text)["train"]["columns"] == columns
    with pytest.raises(settings.SettingsError, match="a line of its own"):
        trial.rewritten("train: {seed: 1}\n", {"train.seed": 2})


PREPARE = """\
import pathlib, shutil
shutil.copy("rows.parquet", "build/train.parquet")
pathlib.Path("build/holdout.parquet").write_bytes(b"rows of the judge")
"""
STAGES = """\
stages:
  prepare:
    cmd: python prepare.py
    deps: [rows.parquet, prepare.py]
    outs: [build/train.parquet, build/holdout.parquet]
  train:
    cmd: python never.py
    deps: [build/train.parquet]
metrics:
  - build/search.json
"""


def dvc(*args: str) -> str:
    """Run DVC; return what it prints."""
    command = [sys.executable, "-m", "dvc", *args]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.slow
def test_trials_are_experiments_of_dvc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown, applied, and made only from rows that the stage prepare gives now."""
    monkeypatch.chdir(tmp_path)
    here = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", here + os.pathsep + os.environ["PATH"])
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / ".git/site"))
    searched.table(150, 1).to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "dvc.yaml").write_text(STAGES)
    (tmp_path / "prepare.py").write_text(PREPARE)
    git.run("init", "--quiet", "--initial-branch=main")
    dvc("init", "--quiet")
    what = {"folds": 2, "train.logistic_regression.C": [0.1, 0.01]}
    searched.write(tmp_path, searched.table(150, 1), what)
    Path("build/train.parquet").unlink()
    with pytest.raises(ContractError, match="make repro"):
        experiment.search()
    dvc("repro", "--quiet", "--no-run-cache", "prepare")
    holdout = Path("build/holdout.parquet")
    holdout.unlink()
    holdout.mkdir()  # nothing reads it as a file
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    outcome = experiment.search()
    assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    assert git.run("status", "--porcelain", "--untracked-files=no") == ""

    shown = json.loads(dvc("exp", "show", "--json"))
    found = {e["name"]: e["revs"][0]["data"] for e in shown[1]["experiments"]}
    assert sorted(found) == ["C-0.01", "C-0.1"]
    for row in outcome.rows:
        metrics = found[row.trial.name]["metrics"]["build/search.json"]["data"]
        assert metrics["cross_validation"]["roc_auc"] == row.trial.mean
    holdout.rmdir()
    dvc("exp", "apply", "C-0.01")
    changed = git.run("diff", "--unified=0", "--", "params.yaml")
    assert "+    C: 0.01 # smaller regularises more" in changed
    git.run("checkout", "--quiet", "params.yaml")

    Path("rows.parquet").write_bytes(b"newer rows")
    git.run("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qam", "newer")
    with pytest.raises(ContractError, match="is not what"):
        experiment.search()
