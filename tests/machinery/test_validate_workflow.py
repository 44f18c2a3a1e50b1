"""The whole of `validate` on what `train` really built: ledger, comment, status."""

import hashlib
import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from machinery import warm
from machinery.judged import (
    Hub,
    Project,
    Record,
    first,
    git,
    kept,
    packed,
    params,
    rows,
)
from machinery.test_validate import linear
from mlgitops import lock, recipe, report, storage
from mlgitops.commands import explain
from mlgitops.fleet.records import read as records_of
from mlgitops.judge import gates, local, override, workflow
from mlgitops.judge.verdict import ValidationError
from mlgitops.ledger import Ledger
from mlgitops.settings import Override

pytestmark = pytest.mark.slow
Given = tuple[Project, Record, bytes]


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    """A first model, in a folder of the test's own, judged from a clone of main."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    project, pull, data = first()
    return project.copy(tmp_path / "home"), pull, data


@pytest.fixture
def passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    """The same after `validate` has passed it."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    _, pull, data = first()
    return judged_first()[0].copy(tmp_path / "home"), pull, data


@cache
def judged_first() -> tuple[Project, Hub]:
    """Return a project whose first model has passed, and what GitHub was told.

    Made once in a process, for all files of tests; nobody changes this one.
    """
    made, pull, data = first()
    project = made.copy(kept("judged"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        return project, validate(project, pull, data, patch)


def validate(
    project: Project, pull: Record, data: bytes, patch: pytest.MonkeyPatch, **run: Any
) -> Hub:
    """Run the program of `validate` in a fresh clone of main."""
    event, others = run.pop("event", None), run.pop("others", {})
    hub = Hub(pull, data, **run)
    hub.event, hub.others = event, others
    with patch.context() as place:
        hub.plug(place, project.home / "run.json")
        place.chdir(project.checkout("judge"))
        place.setattr(sys, "executable", warm.python())
        workflow.run()
        page = Path("build/report.html")
        hub.page = page.read_bytes() if page.exists() else b""
    return hub


def verdicts(project: Project) -> list[Record]:
    """Return all that the ledger holds, oldest first."""
    ledger = Ledger(project.clone)
    found = [ledger.read(path) or {} for path in ledger.paths("verdicts/")]
    return sorted(found, key=lambda record: int(record["seq"]))


def altered(data: bytes, **files: bytes) -> bytes:
    """Return the artifact with other bytes in some files."""
    source = zipfile.ZipFile(io.BytesIO(data))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, files.get(name.replace(".", "_"), source.read(name)))
    return target.getvalue()


def read(data: bytes, name: str) -> bytes:
    """Return one file of an artifact."""
    return zipfile.ZipFile(io.BytesIO(data)).read(name)


def test_from_proposal_to_ready(passed: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged and ready by one push; after words only, restored instead of trained."""
    (project, pull, data), (_, hub) = passed, judged_first()
    assert hub.statuses[-1][:2] == (pull["head"]["sha"], "success")
    assert "Ready to merge" in hub.comments[1]
    (verdict,) = verdicts(project)
    assert verdict["passed"]
    (typed,) = records_of(Ledger(project.clone)).verdicts
    found = explain._verdict(typed, verdict)["judgement"]
    assert found.importance and found.dependence and found.slices, "for `explain`"
    kept_lock = Ledger(project.clone).lock(verdict["lock_sha256"])
    assert kept_lock == read(data, "dvc.lock"), "the lock that CI built is kept"
    head = pull["head"]["sha"]
    assert verdict["recipe"] == recipe.at(head, project.clone), "main has not moved"
    assert f"manifest: `{verdict['manifest_sha256']}`" in hub.comments[1]
    kept = Ledger(project.clone).read_bytes(verdict["report"]["path"]) or b""
    assert kept == hub.page, "what is handed over is what is kept"
    assert hashlib.sha256(kept).hexdigest() == verdict["report"]["sha256"]
    assert verdict["manifest_sha256"] in kept.decode()
    built = lock.parse(read(data, "dvc.lock"))
    assert storage.missing(built.outs, project.clone) == []

    project.write("README.md", "words\n")
    project.commit("words")
    again = project.push("first", 1)
    second = project.built(again)
    build = json.loads(read(second, "build.json"))
    assert build["restored"] is True and build["stages_run"] == []
    assert "monitor last ran" not in hub.comments[1]
    old = {"decision": "none", "time": "2020-01-01T00:00:00+00:00"}
    Ledger(project.clone).append({"monitoring/00000001.json": old}, "monitor: none")
    hub = validate(project, again, second, monkeypatch)
    assert "The monitor last ran" in hub.comments[1]
    assert hub.statuses[-1][1] == "success"
    assert "Ready to merge" in hub.comments[1]
    first = verdicts(project)[0]["build"]
    assert first == {"seconds": first["seconds"], "restored": False}
    assert f"{first['seconds']:g} to build it, then" in hub.comments[1]
    assert [v["seq"] for v in verdicts(project)] == [0, 2], "the monitor has 1"


def test_better_and_worse_and_the_same_against_a_champion(
    passed: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three proposals on top of a version that production runs."""
    project, pull, _ = passed
    commit = project.merge(pull)
    champion = verdicts(project)[0]["manifest_sha256"]
    project.release(champion, commit)

    project.write("README.md", "only words\n")
    words = project.propose("words")
    built = project.built(words)
    assert json.loads(read(built, "build.json"))["stages_run"] == []
    hub = validate(project, words, built, monkeypatch)
    assert hub.statuses[-1][1] == "success" and "no model change" in hub.comments[2]
    git("switch", "-q", "main", cwd=project.clone)

    project.params(["shop", "price", "age"])
    better = project.propose("better")
    built = project.built(better)
    assert json.loads(read(built, "build.json"))["stages_run"] == ["train", "evaluate"]
    hub = validate(project, better, built, monkeypatch)
    assert "better than the champion" in hub.comments[3]
    assert hub.statuses[-1][1] == "success"
    assert verdicts(project)[-1]["metrics"][0]["low"] > 0
    assert "has decided on 2 models, this one included" in hub.comments[3]
    assert "This holdout has decided on 2 models**" not in hub.comments[3]
    git("switch", "-q", "main", cwd=project.clone)

    project.params(["shop"])
    project.write("mlgitops/report.py", "# a proposal may try\n")
    worse = project.propose("worse")
    hub = Hub(worse, packed_by_hand(project, worse))
    gated = gates.parse(params(["shop"]), "binary")
    fewer = replace(gated.rules.holdout, max_uses=2)
    few = replace(gated, rules=replace(gated.rules, holdout=fewer))
    monkeypatch.setattr(gates, "parse", lambda *_: few)
    hub = validate(project, worse, hub.data, monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    assert "## ⛔ Blocked" in hub.comments[4]
    assert "It changes what judges it" in hub.comments[4]
    assert (
        "**This holdout has decided on 3 models**, more than the 2" in hub.comments[4]
    )
    newest = verdicts(project)[-1]
    assert not newest["passed"] and newest["champion"] == champion
    failed = [check["id"] for check in newest["checks"] if not check["passed"]]
    gated_metrics = ["roc_auc.min", "roc_auc.margin"]
    gated_metrics += ["decision_value.min", "decision_value.margin"]
    assert failed == [*gated_metrics, "slices"]

    reason = {"pull_request": "4", "reason": "the shop closes | anyway"}
    reason["manifest"] = newest["manifest_sha256"][:12]
    event = {"inputs": reason, "sender": {"login": "olga"}}
    hub = validate(project, worse, hub.data, monkeypatch, event=event)
    assert hub.statuses[-1][1] == "failure"
    assert "An override was asked for, and refused" in hub.comments[4]
    rules = Override(tuple(failed), "maintain")
    monkeypatch.setattr(override, "parse", lambda *_: rules)
    hub = validate(project, worse, hub.data, monkeypatch, event=event)
    assert hub.statuses[-1][1] == "success"
    assert "olga overruled ROC AUC" in hub.comments[4]
    newest = verdicts(project)[-1]
    assert newest["passed"] and newest["override"]["reason"] == reason["reason"]
    hub = validate(project, worse, hub.data, monkeypatch)
    assert hub.statuses[-1][1] == "success", "it holds for the same model"


def packed_by_hand(project: Project, pull: Record) -> bytes:
    """Build with the proposal's own ops, which it broke only in the report."""
    done = project.train(pull)
    assert done.returncode == 0, done.stdout + done.stderr
    return packed(project.home / "runner" / "artifact")


def test_an_artifact_that_is_not_the_proposals_is_refused_and_condemns_nobody(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another model under a manifest, and somebody else's whole artifact."""
    project, pull, data = given
    other = altered(data, model_onnx=linear({"price": 1.0}).SerializeToString())
    hub = validate(project, pull, other, monkeypatch)
    assert hub.statuses[-1][1] == "failure" and "model.onnx" in hub.comments[1]

    text = read(data, "manifest.json")
    named = json.loads(text)["contract"]["json_sha256"].encode()
    lie = text.replace(named, b"0" * 64)
    was, now = (hashlib.md5(file).hexdigest().encode() for file in (text, lie))
    lock_bytes = read(data, "dvc.lock").replace(was, now)
    other = altered(data, manifest_json=lie, dvc_lock=lock_bytes)
    hub = validate(project, pull, other, monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    assert "the manifest says that contract.json" in hub.comments[1]

    git("switch", "-q", "main", cwd=project.clone)
    project.params(["shop", "price", "age"])
    thief = project.propose("thief")
    hub = validate(project, thief, data, monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    assert "the manifest says that columns" in hub.comments[2]
    assert all(v["manifest_sha256"] is None for v in verdicts(project))
    assert not Ledger(project.clone).paths("locks/")


def test_the_judge_runs_main_and_never_the_proposal(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gates opened, and a judge that always agrees, in the same pull request."""
    project, _, data = given
    git("switch", "-q", "main", cwd=project.clone)
    text = (project.clone / "params.yaml").read_text()
    project.write("params.yaml", text.replace("min: 0.6\n", "min: 0.0\n"))
    main = project.clone / "params.yaml"
    assert "min: 0.0\n" in main.read_text()
    pull = project.propose("open")
    strict = text.replace("min: 0.6\n", "min: 0.97\n")
    git("switch", "-q", "main", cwd=project.clone)
    project.write("params.yaml", strict)
    project.commit("stricter")
    git("push", "-q", "origin", "main", cwd=project.clone)
    hub = validate(project, pull, data, monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    assert "≥ 0.97" in hub.comments[pull["number"]]
    assert "params.yaml: gates" in hub.comments[pull["number"]].replace("&#46;", ".")
    assert "Main has moved on" in hub.comments[pull["number"]]
    for broken in ({"conclusion": "failure"}, {"data": b"no zip"}):
        artifact = broken.pop("data", data)
        hub = validate(project, pull, artifact, monkeypatch, **broken)
        said = hub.comments[pull["number"]].replace("&#46;", ".")
        assert "It changes what judges it" in said and "params.yaml: gates" in said


@pytest.mark.parametrize("conclusion", ["failure", "cancelled", "timed_out"])
def test_a_failed_train_is_red_and_says_so(
    conclusion: str, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, pull, _ = given
    hub = validate(project, pull, b"", monkeypatch, conclusion=conclusion)
    assert hub.statuses == [(pull["head"]["sha"], "failure", hub.statuses[0][2])]
    assert conclusion.replace("_", " ") in hub.comments[1]
    assert "It changes what judges it" not in hub.comments[1]
    assert verdicts(project) == []


def test_no_artifact_is_red(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    project, pull, _ = given
    hub = validate(project, pull, b"no zip", monkeypatch)
    assert hub.statuses[-1][1] == "failure" and "zip" in hub.comments[1]


def test_a_pull_request_that_moved_on_is_left_alone(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, pull, data = given
    hub = validate(project, pull, data, monkeypatch, head_sha="0" * 40)
    assert hub.statuses == [] and hub.comments == {} and verdicts(project) == []


def test_a_base_that_main_does_not_contain_is_refused(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, pull, data = given
    build = {**json.loads(read(data, "build.json")), "base_sha": pull["head"]["sha"]}
    lie = altered(data, build_json=json.dumps(build).encode())
    hub = validate(project, pull, lie, monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    assert "a commit that main does not contain" in hub.comments[1]


def test_storage_that_is_down_is_an_error_not_a_pass(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, pull, data = given
    shutil.rmtree(project.home / "store")
    hub = Hub(pull, data)
    with (
        monkeypatch.context() as place,
        pytest.raises(ValidationError, match="storage"),
    ):
        hub.plug(place, project.home / "run.json")
        place.chdir(project.checkout("judge"))
        place.setattr(sys, "executable", warm.python())
        workflow.run()
    assert hub.statuses[-1][1] == "error" and verdicts(project) == []


def test_other_bytes_of_a_released_version_are_refused(
    passed: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proposal of words cannot bring another model for main's own recipe."""
    project, pull, data = passed
    commit = project.merge(pull)
    project.release(verdicts(project)[0]["manifest_sha256"], commit)
    project.write("README.md", "only words\n")
    words = project.propose("words")
    text = read(data, "dvc.lock").replace(b"size: ", b"size: 1")
    hub = validate(project, words, altered(data, dvc_lock=text), monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    assert "other bytes were uploaded" in hub.comments[2]


def test_a_commit_keeps_the_bytes_that_were_judged_first(
    passed: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is started again brings no other model behind a reviewer's back."""
    project, pull, data = passed
    text = read(data, "dvc.lock").replace(b"size: ", b"size: 1")
    hub = validate(project, pull, altered(data, dvc_lock=text), monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    assert "other bytes were uploaded" in hub.comments[1]
    hub = validate(project, pull, data, monkeypatch)
    assert hub.statuses[-1][1] == "success", "the control"


def test_a_proposal_of_words_brings_no_other_model_than_was_merged(
    passed: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while what was merged waits for its deployment."""
    project, pull, data = passed
    project.merge(pull)
    project.write("README.md", "only words\n")
    words = project.propose("words")
    text = read(data, "dvc.lock").replace(b"size: ", b"size: 1")
    merged = {"pulls/1": {**pull, "merged": True}}
    other = altered(data, dvc_lock=text)
    hub = validate(project, words, other, monkeypatch, others=merged)
    assert hub.statuses[-1][1] == "failure"
    assert "other bytes were uploaded" in hub.comments[2]


def test_here_it_judges_what_is_in_build(
    given: Given, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project, pull, data = given
    runner = project.checkout("here", pull["head"]["sha"])
    (runner / "build").mkdir()
    for name in zipfile.ZipFile(io.BytesIO(data)).namelist():
        (runner / "build" / name).write_bytes(read(data, name))
    shutil.move(runner / "build" / "dvc.lock", runner)
    frame = rows()
    frame.to_parquet(runner / "data" / "flights.parquet", index=False)
    monkeypatch.chdir(runner)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert local.run() is True
    printed = capsys.readouterr().out
    assert printed.startswith("## ✅ Passes here") and "those of main" in printed
    kept = (runner / "build" / "report.md").read_text()
    assert printed.startswith(report.plain(kept)), "the same words"
    assert "build/report.html" in printed
    gates = (runner / "params.yaml").read_text()
    (runner / "params.yaml").write_text(gates.replace("min: 0.6", "min: 0.9"))
    assert local.run() is False
    for name in ("data/flights.parquet", "build/holdout.parquet"):
        (runner / name).unlink()
        with pytest.raises(ValidationError, match=f"{name} is missing: run `make"):
            local.run()
    locked = (runner / "dvc.lock").read_text()
    (runner / "dvc.lock").write_text(locked.replace("manifest.json", "other.json"))
    with pytest.raises(ValidationError, match=r"manifest.json .* failed: run `make"):
        local.run()


@pytest.fixture(autouse=True)
def no_event(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave nothing of a workflow that these tests themselves may run in."""
    for name in [n for n in os.environ if n.startswith(("GITHUB_", "GH_", "APP_"))]:
        monkeypatch.delenv(name)
    yield
