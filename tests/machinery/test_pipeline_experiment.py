"""Trials: every combination once, on a commit, and the working tree as it was."""

import os
import sys
from pathlib import Path

import pytest
import yaml

from machinery import rows
from mlgitops import git, settings
from mlgitops.commands import experiment

GRID: dict[str, list[float]] = {"train.a.rate": [0.05, 0.1], "train.seed": [1, 2]}


def test_every_combination_is_one_trial() -> None:
    """Named after its settings, so that the same trial has the same name."""
    found = dict(experiment.trials(GRID))
    assert len(found) == 4
    assert found["rate-0.05.seed-2"] == ["train.a.rate=0.05", "train.seed=2"]


@pytest.mark.parametrize(
    "grid",
    [None, {}, {"train.seed": 1}, {"train.seed": []}, {"train.sed": [1]}],
)
def test_a_grid_that_is_none_is_refused(grid: object) -> None:
    """So is a path that is misspelt: DVC would add it, and change nothing."""
    train = {"a": {"rate": 0.1}, "seed": 1}
    found = settings.experiment({"experiment": GRID, "train": train})
    assert {path: list(values) for path, values in found.items()} == GRID
    with pytest.raises(settings.SettingsError, match="experiment"):
        settings.experiment({"experiment": grid, "train": train})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a committed project whose one stage is quick, as the current folder."""
    stage = {
        "cmd": "python stage.py",
        "deps": ["stage.py"],
        "params": ["train"],
        "outs": [],
        "metrics": ["metrics.json"],
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
    (tmp_path / "params.yaml").write_text("train: {seed: 1}  # a comment\n")
    (tmp_path / "stage.py").write_text(
        "import json, yaml\n"
        "seed = yaml.safe_load(open('params.yaml'))['train']['seed']\n"
        "json.dump({'roc_auc': seed / 10}, open('metrics.json', 'w'))\n"
    )
    monkeypatch.chdir(tmp_path)
    here = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", here + os.pathsep + os.environ["PATH"])
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / ".git/site"))
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A Person")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "person@example.org")
    git.run("init", "--quiet", "--initial-branch=main")
    experiment.dvc("init", "--quiet")
    experiment.dvc("repro", "--quiet", "--no-run-cache")
    git.run("add", ".")
    git.run("commit", "--quiet", "--message", "first")
    return tmp_path


@pytest.mark.slow
def test_trials_are_recorded_and_the_tree_is_as_it_was(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A second run adds nothing; a change that is not committed is refused."""
    before = {p.name: p.read_bytes() for p in project.iterdir() if p.is_file()}
    for _ in range(2):
        experiment.experiment({"train.seed": [2, 3]}, "roc_auc")
        assert git.run("status", "--porcelain") == ""
        assert before == {
            p.name: p.read_bytes() for p in project.iterdir() if p.is_file()
        }
        refs = git.run("for-each-ref", "--format=%(refname)", "refs/exps")
        assert sorted(ref.rsplit("/", 1)[1] for ref in refs.splitlines()) == [
            "seed-2",
            "seed-3",
        ]
        table = capfd.readouterr().out
        assert table.index("seed-3") < table.index("seed-2")  # the better one first
    (project / "params.yaml").write_text("train: {seed: 9}\n")
    with pytest.raises(SystemExit, match="not committed"):
        experiment.experiment({"train.seed": [4]}, "roc_auc")
    assert not experiment.recorded("seed-4")


def test_the_grid_of_the_shipped_file_is_one() -> None:
    assert settings.experiment(settings.load((rows.ROOT / "params.yaml").read_bytes()))
