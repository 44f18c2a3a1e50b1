"""Every task from the contract to the answer: checked, fitted, exported, served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import yaml

from machinery import rows, tiny
from mlgitops import metrics
from mlgitops.host import agent
from mlgitops.pipeline import data, evaluate, manifest, parity, settings
from mlgitops.pipeline import fitting as model
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.task import TASKS
from mlgitops.serving import verify
from mlgitops.serving.model import Model, ModelError
from mlgitops.serving.predictions import TASKS as SERVED

COLUMNS = ["temp", "carrier", "distance"]
ROW = {"temp": 40.5, "carrier": "UA", "distance": 1400}
ESTIMATORS = [
    ("binary", "hist_gradient_boosting"),
    ("binary", "logistic_regression"),
    ("multiclass", "hist_gradient_boosting"),
    ("multiclass", "logistic_regression"),
    ("regression", "hist_gradient_boosting"),
    ("regression", "ridge"),
]
NEW = ["multiclass", "regression"]


class Built:
    """One estimator of one task, fitted and exported, as a version in a folder."""

    def __init__(self, task: str, estimator: str, folder: Path) -> None:
        """Do what the stages do, on made-up rows."""
        self.document = {**yaml.safe_load(rows.SMALL), **rows.TASKS[task]}
        self.contract = Contract.parse(self.document)
        self.rows = data.check(rows.make(self.contract), self.contract)
        self.recipe = rows.recipe(task, estimator=estimator)
        fitted = model.fit(self.rows, self.contract, self.recipe)
        self.model = model.export(fitted, self.contract, COLUMNS)
        arrays = data.inputs(self.rows, self.contract, COLUMNS)
        self.proof = parity.parity(fitted, self.model, arrays, self.contract)
        self.answers = model.score(self.model, arrays, TASKS[task].output)
        self.golden = parity.golden(self.model, self.rows, self.contract, COLUMNS)
        agreed = yaml.safe_dump(self.document).encode()
        self.text = manifest.manifest(
            self.contract,
            self.recipe,
            ("model.onnx", self.model),
            contract=tiny.contract_hashes(agreed.decode()),
            code={"sha256": "0" * 64},
            requirements={"sha256": "1" * 64},
            golden=self.golden,
        )
        self.folder = folder
        (folder / "model.onnx").write_bytes(self.model)
        (folder / "contract.yaml").write_bytes(agreed)
        (folder / "manifest.json").write_text(self.text)


@pytest.fixture(scope="module", params=ESTIMATORS, ids=" ".join)
def built(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Built:
    """Each estimator of each task."""
    return Built(*request.param, tmp_path_factory.mktemp("version"))


def test_names_are_the_same_on_both_sides() -> None:
    """Training and serving share no code, so that serving stays small."""
    assert {name: task.output for name, task in TASKS.items()} == verify.OUTPUTS
    assert TASKS.keys() == SERVED.keys() == metrics.METRICS.keys()
    assert TASKS.keys() == metrics.PAIRED.keys() == metrics.LOSSES.keys()
    assert all(m[0].better == "higher" for m in metrics.METRICS.values())


def test_the_file_has_one_output_of_the_tasks_name(built: Built) -> None:
    session = onnxruntime.InferenceSession(built.model)
    (output,) = session.get_outputs()
    assert output.name == TASKS[built.contract.task].output
    k = len(built.contract.classes)
    assert built.answers.shape == ((2000, k) if k else (2000,))


def test_the_export_answers_as_the_estimator(built: Built) -> None:
    """On every row, and on every row with one value blank or unknown."""
    assert built.proof["rows"] == 4000
    parity.demand(built.proof, 1e-5)


def test_a_wrong_export_is_noticed(built: Built) -> None:
    """That of a model which learnt from fewer rows."""
    other = model.fit(built.rows.iloc[:400], built.contract, built.recipe)
    arrays = data.inputs(built.rows, built.contract, COLUMNS)
    with pytest.raises(ContractError, match="fitted model"):
        parity.demand(parity.parity(other, built.model, arrays, built.contract), 1e-5)


def test_it_learns_something(built: Built) -> None:
    """More than always saying the same."""
    y = data.truth(built.rows, built.contract)
    head = metrics.METRICS[built.contract.task][0]
    assert head.value(y, built.answers) > 0.8
    found = evaluate.score_model(
        built.contract.task, y, built.answers, json.loads(built.text), 10
    )
    assert found[head.key] == head.value(y, built.answers)
    json.dumps(found, allow_nan=False)


def test_a_version_is_verified_and_answers_its_golden_rows(built: Built) -> None:
    served = Model(built.folder)
    assert served.check_golden() <= 1e-5
    (answer,) = served.predictions([ROW], ["a"])
    task = built.contract.task
    if task == "multiclass":
        assert list(answer["probabilities"]) == ["none", "some", "much"]
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        best = max(answer["probabilities"], key=answer["probabilities"].get)
        assert answer["class"] == best
    elif task == "regression":
        assert set(answer) == {"id", "value"} and 0 < answer["value"] < 1000
    else:
        assert answer["decision"] == (answer["probability"] >= 0.3)


@pytest.mark.parametrize("by", [1e-6, 1e-3])
def test_golden_rows_notice_another_model(built: Built, by: float) -> None:
    """Noise of another processor is fine, another answer is not."""
    (name,) = built.golden[0].keys() - {"row"}
    changed = json.loads(json.dumps(built.golden))
    values = [entry[name] for entry in changed]
    if isinstance(values[0], dict):
        values[3]["some"] += by if values[3]["some"] < 0.5 else -by
    else:
        scale = max(values) if name == "value" else 1.0
        changed[3][name] += by * scale * (-1 if values[3] > 0.5 else 1)
    served = Model(built.folder)
    served.manifest["golden"] = changed
    told = served.predictions([entry["row"] for entry in changed], range(len(changed)))
    assert verify.distance(changed, told) == pytest.approx(by, rel=0.5)
    if by < 1e-5:
        assert served.check_golden() <= 1e-5
        return
    with pytest.raises(ModelError, match="golden rows differ"):
        served.check_golden()


def test_the_agent_compares_what_the_verifier_does(built: Built) -> None:
    """It is one file without imports, so it has its own few lines."""
    asked = [entry["row"] for entry in built.golden]
    predictions = Model(built.folder).predictions(asked, range(len(asked)))
    for entry, prediction in zip(built.golden, predictions, strict=True):
        pairs = agent.golden_pairs(entry, prediction)
        assert len(pairs) == max(len(built.contract.classes), 1)
        assert all(p == pytest.approx(expected, abs=1e-5) for p, expected in pairs)


def test_other_classes_are_no_answer() -> None:
    """An answer that names other classes cannot be compared."""
    golden = [{"row": {}, "probabilities": {"a": 0.5, "b": 0.5}}]
    with pytest.raises(ValueError, match="classes"):
        verify.distance(golden, [{"probabilities": {"a": 0.5, "c": 0.5}}])
    assert np.isnan(verify.distance([{"row": {}, "value": 1}], [{"value": np.nan}]))


def test_the_server_answers_and_logs(built: Built, tmp_path: Path) -> None:
    """What it says is what it logs, and what the monitor reads."""
    if built.recipe.estimator != "hist_gradient_boosting":
        return
    log, task = tmp_path / "log", built.contract.task
    with tiny.server(built.folder, "--log", str(log)) as (port, process):
        status, said = tiny.call(port, "/predict", {"rows": [{"id": "a", **ROW}]})
        info = tiny.call(port, "/info")[1]
        process.terminate()
        process.wait(120)
    (answer,) = said["predictions"]
    assert status == 200 and answer["id"] == "a" and info["task"] == task
    assert info["classes"] == (list(built.contract.classes) or None)
    assert answer == Model(built.folder).predictions([ROW], ["a"])[0]
    (line,) = tiny.logged(log)
    assert {name: line[name] for name in answer} == answer


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"task": "regression", "classes": ["a", "b"]}, "classes is for the task"),
        ({"classes": ["a", "b"]}, "classes is for the task"),
        ({"task": "multiclass"}, "classes must be"),
        ({"task": "multiclass", "classes": ["a"]}, "classes must be"),
        ({"task": "multiclass", "classes": ["a", "a"]}, "each once"),
        ({"task": "ranking"}, "must be binary or multiclass or regression"),
    ],
)
def test_a_contract_says_what_its_task_needs(
    entries: dict[str, Any], words: str
) -> None:
    """And nothing that it has no use for."""
    with pytest.raises(ContractError, match=words):
        Contract.parse({**yaml.safe_load(rows.SMALL), **entries})


@pytest.mark.parametrize("task", NEW)
def test_a_threshold_is_for_decisions_of_two(task: str) -> None:
    """A setting that would do nothing is refused."""
    with pytest.raises(ContractError, match=r"train\.threshold is for the task bin"):
        settings.train({"train": rows.PARAMS}, task)
    good = rows.settings(task)
    assert settings.train({"train": good}, task).section == good


@pytest.mark.parametrize(
    ("task", "estimator", "words"),
    [
        ("regression", "logistic_regression", "hist_gradient_boosting or ridge"),
        ("multiclass", "ridge", "hist_gradient_boosting or logistic_regression"),
    ],
)
def test_an_estimator_of_another_task_is_refused(
    task: str, estimator: str, words: str
) -> None:
    """With those that fit."""
    with pytest.raises(ContractError, match=words):
        model.build(rows.small(task), rows.recipe(task, estimator=estimator))


@pytest.mark.parametrize(
    ("task", "value", "words"),
    [
        ("multiclass", "lots", "3 of 2,000 values are not a class"),
        ("multiclass", None, "3 of 2,000 values are missing"),
        ("multiclass", "", "3 of 2,000 values are missing"),
        ("regression", "lots", "3 of 2,000 values are not numbers"),
        ("regression", None, "3 of 2,000 values are missing"),
        ("regression", float("inf"), "3 of 2,000 values are not finite"),
    ],
)
def test_a_broken_target_is_named(task: str, value: object, words: str) -> None:
    """In one sentence, as a column is."""
    contract = rows.small(task)
    frame = rows.make(contract)
    frame["late"] = frame["late"].astype(object)
    frame.loc[:2, "late"] = value
    with pytest.raises(ContractError) as refused:
        data.check(frame, contract)
    assert '"late"' in str(refused.value) and words in str(refused.value)


def test_classes_may_be_numbers() -> None:
    """As the data has them: 3, 3.0 and "3" are one class."""
    words = {**yaml.safe_load(rows.SMALL), "task": "multiclass", "classes": [1, 2, 3]}
    contract = Contract.parse(words)
    frame = rows.make(contract)
    whole = frame.assign(late=frame["late"].astype(int))
    for table in (frame, whole, frame.assign(late=whole["late"].astype(float))):
        checked = data.check(table, contract)
        assert set(checked["late"]) == {"1", "2", "3"}
        assert set(data.truth(checked, contract)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("task", "value", "words"),
    [
        ("multiclass", "none", r'no row of class "some" of "late"'),
        ("regression", 7.0, r'not two values of "late"'),
    ],
)
def test_a_window_without_variety_is_refused(
    task: str, value: object, words: str
) -> None:
    """Nothing can be learnt from it, or judged on it."""
    contract = rows.small(task)
    frame = data.check(rows.make(contract), contract)
    newest = frame[contract.time] > frame[contract.time].max() - pd.Timedelta(days=14)
    frame.loc[newest, "late"] = value
    with pytest.raises(ContractError, match=words):
        data.split(
            frame, contract, settings.Prepare("time", holdout_days=14, train_days=60)
        )
