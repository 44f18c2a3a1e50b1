"""contract.yaml, params.yaml, behaviour.yaml and dvc.yaml agree with one another."""

import yaml

from mlgitops import settings
from mlgitops.judge import behaviour, gates
from mlgitops.testing import Project


def test_settings_are_complete_and_fit_the_contract(project: Project) -> None:
    settings.check(project.params, project.contract)


def test_model_takes_columns_of_the_contract(project: Project) -> None:
    contract, taken = project.contract, project.train.columns
    assert set(taken) <= set(contract.columns)
    assert not {contract.id, contract.time, contract.target} & set(taken)


def test_estimator_is_one_of_model_estimator(project: Project) -> None:
    assert project.train.estimator in project.estimators


def test_gates_fit_the_task(project: Project) -> None:
    gates.parse(project.params, project.contract.task)


def test_fairness_names_columns_of_the_contract(project: Project) -> None:
    fairness = project.params.get("fairness") or {}
    assert set(fairness.get("columns", [])) <= set(project.contract.columns)


def test_behaviour_names_columns_and_changes_that_the_contract_has(
    project: Project,
) -> None:
    file = project.root / "behaviour.yaml"
    behaviour.parse(yaml.safe_load(file.read_text()), project.contract)


def test_experiment_tries_settings_that_there_are(project: Project) -> None:
    paths = [key for key in project.params.get("experiment") or {} if "." in key]
    for path in paths:
        found = project.params
        for key in path.split("."):
            assert key in found, f"params.yaml has no {path}"
            found = found[key]


def test_dvc_runs_a_stage_again_when_a_file_of_model_changes(project: Project) -> None:
    """A file that no stage depends on could change the model unnoticed."""
    deps = [dep for stage in project.stages.values() for dep in stage["deps"]]
    for file in sorted((project.root / "model").glob("*.py")):
        name = f"model/{file.name}"
        assert {name, "model", "model/"} & set(deps), f"no stage depends on {name}"
