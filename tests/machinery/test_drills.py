"""What a team adds in one or two files: a gate, a metric, an estimator, a section.

Each drill counts the files that it changes, and has its control: what violates the new
rule is refused by it, what does not passes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.metrics import average_precision_score

from machinery import traffic
from machinery.judged import Hub, Project, Record, first, git, params
from machinery.test_compare import bad_in_one_shop, evaluation, good
from machinery.test_monitor_gates import monitored, rarer
from machinery.test_validate_workflow import validate, verdicts
from mlgitops import metrics, report
from mlgitops.judge import gates, override, performance
from mlgitops.judgement import failed
from mlgitops.settings import SettingsError
from model import metrics as team

LIFT = """\
METRICS["lift"] = lambda y, prediction: float(
    y[prediction >= np.quantile(prediction, 0.9)].mean() / y.mean()
)
"""
NETWORK = (
    "from sklearn.neural_network import MLPClassifier\n"
    'CLASSIFIERS["network"] = (for_linear, MLPClassifier(early_stopping=False))\n'
)
Given = tuple[Project, Record, bytes]


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    """A first model, built by `train`, in a folder of the test's own."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made, pull, built = first()
    project = made.copy(tmp_path / "home")
    git("switch", "-q", "main", cwd=project.clone)
    return project, pull, built


def settle(project: Project, gate: Record, **files: str) -> set[str]:
    """Add gates, and lines to files, on main; return the files that this changed."""
    before = git("rev-parse", "HEAD", cwd=project.clone)
    text = (project.clone / "params.yaml").read_text()
    settings = yaml.safe_load(text)
    settings["gates"] |= gate
    project.write("params.yaml", yaml.safe_dump(settings, sort_keys=False))
    for name, lines in files.items():
        path = f"model/{name}.py"
        project.write(path, (project.clone / path).read_text() + lines)
    project.commit("a rule of ours")
    git("push", "-q", "origin", "main", cwd=project.clone)
    return set(git("diff", "--name-only", before, cwd=project.clone).splitlines())


def judged(given: Given, patch: pytest.MonkeyPatch) -> tuple[Hub, Record, Record]:
    """Judge the first model by main; return what was told, the verdict, its checks."""
    project, pull, built = given
    hub = validate(project, pull, built, patch)
    verdict = verdicts(project)[-1]
    return hub, verdict, {check["id"]: check for check in verdict["checks"]}


def watched(project: Project, folder: Path, share: float) -> dict[str, bool]:
    """Return which gates the monitor finds kept, once 1s are rarer by a share."""
    folder.mkdir()
    gates = yaml.safe_load((project.clone / "params.yaml").read_text())["gates"]
    table = rarer(traffic.flights(6000, 80, 28), share)
    _, _, entry = monitored(folder, table, gates)
    return {gate["id"]: gate["passed"] for gate in entry["gates"]}


@pytest.mark.slow
def test_a_gate_on_a_known_metric_is_one_line_of_one_file(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ledger, report, monitor know it; it refuses what violates it and nothing else."""
    project = given[0]
    gate = {"average_precision": {"min": 0.25, "margin": 0.02}}
    assert settle(project, gate) == {"params.yaml"}
    hub, verdict, checks = judged(given, monkeypatch)
    assert verdict["passed"] and hub.statuses[-1][1] == "success"
    found = checks["average_precision.min"]
    assert (found["operator"], found["limit"]) == (">=", 0.25)
    assert found["metric"] == "average_precision" and found["value"] > 0.25
    assert verdict["machinery"]["version"] and "average_precision.margin" in checks
    assert verdict["inventory"]["name"] == "demand"
    assert report.code("average_precision.min") in hub.comments[1]
    assert watched(project, tmp_path / "as before", 0)["average_precision"]
    fallen = watched(project, tmp_path / "rarer", 0.8)
    assert not fallen["average_precision"]

    settle(project, {"average_precision": {"min": 0.99, "margin": 0.02}})
    hub, verdict, checks = judged(given, monkeypatch)
    assert hub.statuses[-1][1] == "failure" and not verdict["passed"]
    refused = [name for name, check in checks.items() if not check["passed"]]
    assert refused == ["average_precision.min"]
    assert "Average precision" in hub.statuses[-1][2]


@pytest.mark.slow
def test_a_metric_of_ours_is_one_function_and_a_line(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By main's function: one that the proposal brings is not the judge."""
    project, own = given[0], dict[str, Any]()
    exec(LIFT, {"METRICS": own, "np": np})  # this process has another `model`
    monkeypatch.setitem(team.METRICS, "lift", own["lift"])
    changed = settle(project, {"lift": {"min": 1.1}}, metrics=LIFT)
    assert changed == {"params.yaml", "model/metrics.py"}
    hub, verdict, checks = judged(given, monkeypatch)
    assert verdict["passed"] and checks["lift.min"]["value"] > 1.1
    assert re.search(r"\| lift \| \d", hub.comments[1])
    assert [m["id"] for m in verdict["metrics"]][-1] == "lift"
    assert watched(project, tmp_path / "as before", 0)["lift"]

    settle(project, {"lift": {"min": 9.0}})
    hub, verdict, checks = judged(given, monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    assert [n for n, c in checks.items() if not c["passed"]] == ["lift.min"]


@pytest.mark.slow
def test_an_estimator_of_ours_is_one_entry_and_its_arguments(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fitted, exported, proved and judged as those that were there."""
    project = given[0]
    text = (project.clone / "model/estimator.py").read_text()
    project.write("model/estimator.py", text + NETWORK)
    arguments = {"hidden_layer_sizes": [4], "learning_rate_init": 0.02}
    project.params(["shop", "price"], estimator="network", network=arguments)
    pull = project.propose("network")
    files = git("diff", "--name-only", "main", "network", cwd=project.clone)
    assert set(files.splitlines()) == {"params.yaml", "model/estimator.py"}
    hub = validate(project, pull, project.built(pull), monkeypatch)
    verdict = verdicts(project)[-1]
    assert verdict["passed"] and hub.statuses[-1][1] == "success", hub.comments
    built = json.loads((project.home / "runner/build/manifest.json").read_bytes())
    assert built["params"]["estimator"] == "network"


# --- a section of the report --------------------------------------------------------

SECTIONS = "mlgitops/report/sections/__init__.py"
ENTRY = """\
    Section(
        "holdout",
        "Uses of the holdout",
        lambda facts: table(["Uses"], [[f"{facts.uses}"]]),
        lambda facts: plots.lines(
            "use", "models decided", [plots.Line("uses", [(0, 0), (1, facts.uses)])]
        ),
    ),
"""
REPORT = """\
from mlgitops import report
from mlgitops.report import page
facts = report.Facts(state="ready", verdict="Every check passed.", uses=41)
print(report.render(facts), page.page(facts), sep="\\0")
"""


def test_a_section_of_ours_with_its_plot_is_one_entry_of_one_file(
    tmp_path: Path,
) -> None:
    """It stands where its entry stands; only the page holds the plot."""
    for name in ("mlgitops", "model"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path.cwd() / name, tmp_path / name, ignore=ignored)
    git("init", "-q", cwd=tmp_path)
    git("add", "-A", cwd=tmp_path)

    def told() -> list[str]:
        env = os.environ | {"PYTHONPATH": str(tmp_path)}
        command = (sys.executable, "-c", REPORT)
        text = subprocess.check_output(command, cwd=tmp_path, env=env, text=True)
        return text.split("\0")

    for text in told():
        assert "Uses of the holdout" not in text and "<figure>" not in text
    file = tmp_path / SECTIONS
    text, place = file.read_text(), '    Section("reproduce"'
    assert text.count(place) == 1
    imports = (
        "from mlgitops.report import plots\nfrom mlgitops.report.text import table\n"
    )
    before, _, after = text.replace(place, ENTRY + place).partition("from mlgitops")
    file.write_text(f"{before}{imports}from mlgitops{after}")
    assert git("diff", "--name-only", cwd=tmp_path).splitlines() == [SECTIONS]
    body, html = told()
    for text in (body, html):
        assert "<summary>Uses of the holdout</summary>" in text
        assert text.index("Uses of the holdout") < text.index("Reproduce this")
    assert "| 41 |" in body and "<svg" not in body
    assert "<td>41</td>" in html and html.count("<figure>") == 1
    assert "models decided" in html


# --- the same on an evaluation, against a champion ----------------------------------


def gated(gate: Record, new: Any = good) -> list[str]:
    """Return the ids of the checks of performance that a challenger failed."""
    loose = {"calibration_error": {"max": 1}}  # these scores are no probabilities
    settings = params(["price"])["gates"] | loose | gate
    evaluated = evaluation(good, new, gates=settings)
    performance.add(evaluated)
    ids = {check.id for check in evaluated.judgement.checks}
    for name, rules in gate.items():
        assert {f"{name}.{bound}" for bound in rules} <= ids
    return [check.id for check in failed(evaluated.judgement.checks)]


@pytest.mark.parametrize(
    "metric", ["average_precision", "log_loss", "brier", "calibration_error"]
)
def test_a_margin_on_any_metric_refuses_what_is_worse(metric: str) -> None:
    """In the metric's own direction, by the interval that the metric has."""
    gate = {metric: {"margin": 0.02, "max": 9 if metric != "average_precision" else 1}}
    assert f"{metric}.margin" in gated(gate, bad_in_one_shop)
    assert gated(gate) == []


@pytest.fixture
def lift(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the team have a metric: scikit-learn's average precision, by another name."""
    monkeypatch.setitem(team.METRICS, "precision_of_ours", average_precision_score)
    yield


@pytest.mark.usefixtures("lift")
def test_a_metric_of_ours_has_an_interval_a_margin_and_an_override() -> None:
    """The interval is about that of the same metric, which the judge knows better."""
    evaluated = evaluation(good, bad_in_one_shop)
    performance.add(evaluated)
    found = {metric.id: metric for metric in evaluated.judgement.metrics}
    ours, known = found["precision_of_ours"], found["average_precision"]
    assert ours.method == "paired bootstrap" and ours.better == "higher"
    assert ours.difference == pytest.approx(known.difference)
    width = known.high - known.low
    assert ours.low == pytest.approx(known.low, abs=0.25 * width)
    assert ours.high == pytest.approx(known.high, abs=0.25 * width)
    gate = {"precision_of_ours": {"min": 0.25, "margin": 0.02}}
    assert "precision_of_ours.margin" in gated(gate, bad_in_one_shop)
    assert gated(gate) == []
    known_ids = override.overridable("binary")
    assert {"precision_of_ours.min", "precision_of_ours.margin"} <= set(known_ids)
    assert "precision_of_ours.max" not in known_ids, "of leakage"


BROKEN = {
    "raises": (lambda y, p: 1 / 0, "mine raised ZeroDivisionError"),
    "no number": (lambda y, p: float("nan"), "mine gave nan"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_metric_of_ours_that_is_broken_passes_nobody(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, words = BROKEN[name]
    monkeypatch.setitem(team.METRICS, "mine", function)
    with pytest.raises(SettingsError, match=words):
        performance.add(evaluation(good, good))


def test_a_metric_that_few_resamples_have_closes_its_gate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Defined on all the rows alone: without an interval nothing shows no harm."""

    def whole(y: Any, prediction: Any) -> float:
        if len(np.unique(prediction)) < 5_000:
            raise ValueError("too few")
        return 1.0

    monkeypatch.setitem(team.METRICS, "whole", whole)
    assert gated({"whole": {"margin": 1.0}}) == ["whole.margin"]


TAKEN = ["roc_auc", "slices", "fairness", "decision_value", "a metric", "x.y"]


@pytest.mark.parametrize("name", TAKEN)
def test_a_metric_of_ours_takes_no_name_that_is_taken(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(team.METRICS, name, average_precision_score)
    with pytest.raises(SettingsError, match=r"model/metrics\.py"):
        gates.parse(params(["price"]), "binary")
    assert len(metrics.METRICS["binary"]) == 5
