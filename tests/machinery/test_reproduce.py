"""A version is built again from its tag: the same bytes, or why not, by name."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from machinery.judged import ROOT, WHO, Project, git, new, rows
from mlgitops import lock, machine, storage
from mlgitops.commands import reproduce
from mlgitops.ledger import Ledger
from mlgitops.lock import Lock, Out
from mlgitops.release import ReleaseError, registry

CPU = "x86_64 one"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Make a project whose first version was built, judged and registered."""
    project = new(tmp_path_factory.mktemp("built"))
    where = project.clone
    command = (sys.executable, "-m", "dvc", "repro", "--no-run-cache")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = machine.environment(PATH=path, DVC_SITE_CACHE_DIR=str(project.home / "s"))
    subprocess.run(command, cwd=where, env=env, check=True, capture_output=True)
    outs = lock.read(where / "dvc.lock")
    assert outs
    storage.push({where / out.path: out for out in outs.outs}, where)
    project.commit("model")
    git("push", "-q", "origin", "main", cwd=where)
    return project


@pytest.fixture
def here(
    built: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """Stand in a copy of it."""
    for name in [n for n in os.environ if n.startswith(("GITHUB_", "GH_"))]:
        monkeypatch.delenv(name)
    for name, value in WHO.items():
        monkeypatch.setenv(name, value)
    project = built.copy(tmp_path / "copy")
    monkeypatch.chdir(project.clone)
    yield project


def registered(cpu: str = "") -> registry.Version:
    """Judge and register what main names, built on some type of processor."""
    data = Path("build/manifest.json").read_bytes()
    sha = reproduce.eligibility.sha256_file(Path("build/manifest.json"))
    assert json.loads(data)["name"] == "demand"
    verdict = {"manifest_sha256": sha, "passed": True, "cpu": cpu or machine.cpu()}
    path = f"verdicts/{sha}/00000000-1.json"
    Ledger().append({path: {**verdict, "seq": 0}}, "pass")
    return registry.register("demand", sha, git("rev-parse", "origin/main"))


@pytest.mark.slow
def test_a_version_comes_out_with_the_same_bytes(here: Project) -> None:
    """With an environment of its own, from that commit's hashed requirements."""
    registered()
    shutil.rmtree("build")  # nothing of the working tree is used
    shutil.rmtree(".dvc/cache", ignore_errors=True)
    Path("params.yaml").write_text("not what was committed\n")
    Path(".venv").symlink_to(ROOT / ".venv")  # environments are kept there
    said = reproduce.reproduce("v1.0.0")
    assert "demand@v1.0.0 is reproduced: 5 of 5 files have the same bytes" in said


def test_other_data_and_another_seed_are_refused_by_name(
    here: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag on a commit that does not hold what was registered."""
    here.data(rows(seed=1))
    here.params(["shop", "price"], seed=7)
    here.commit("planted")
    git("push", "-q", "origin", "main")
    registered()
    programs = Path(sys.executable).parent
    monkeypatch.setattr(reproduce, "environment", lambda *_: programs)
    with pytest.raises(ReleaseError) as caught:
        reproduce.reproduce("v1.0.0")
    said = str(caught.value)
    assert "is not reproduced" in said and "params.seed" in said
    assert "data.sha256" in said and "code" not in said.partition("registered;")[2]


def test_requirements_that_cannot_be_installed_are_said(here: Project) -> None:
    """A hash that no package has."""
    pins = here.home / "pins.txt"
    pins.write_text(f"colorama==0.4.6 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ReleaseError, match=r"pipeline\.txt of that commit cannot be"):
        reproduce.environment(pins, here.home)


def test_it_says_what_it_does_not_know(here: Project) -> None:
    assert "production has no version yet" in reproduce.reproduce()
    with pytest.raises(ReleaseError, match=r"no version v9\.0\.0 of demand"):
        reproduce.reproduce("v9.0.0")
    registered()
    git("commit", "-q", "--allow-empty", "-m", "aside")
    registry.register("demand", "a" * 64, git("rev-parse", "HEAD"))
    with pytest.raises(ReleaseError, match="not on main"):
        reproduce.reproduce("v1.1.0")


MEASURED = {"rows": 900, "roc_auc": 0.7, "brier": 0.2, "tp": 40}


@pytest.mark.parametrize(
    ("here_cpu", "there", "found", "words"),
    [
        (CPU, CPU, MEASURED, "other bytes"),
        ("x86_64 two", CPU, {**MEASURED, "roc_auc": 0.702}, "roc_auc is 0.702 instead"),
        ("x86_64 two", CPU, {"roc_auc": 0.7}, "brier is None instead of 0.2"),
    ],
    ids=["same type", "too far", "gone"],
)
def test_other_bytes_are_refused(
    here: Project,
    monkeypatch: pytest.MonkeyPatch,
    here_cpu: str,
    there: str,
    found: dict[str, float],
    words: str,
) -> None:
    with pytest.raises(ReleaseError, match=words):
        judged(here, monkeypatch, here_cpu, there, found)


@pytest.mark.parametrize("there", [CPU, ""])
def test_metrics_within_the_tolerance_pass_on_another_processor(
    here: Project, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    found = {**MEASURED, "roc_auc": 0.7005, "tp": 41}
    said = judged(here, monkeypatch, "x86_64 two", there, found)
    assert "by its metrics, within 0.001" in said
    assert "other bytes in build/model.onnx" in said
    assert (there or "an unknown type") in said and "this is x86_64 two" in said


def judged(
    here: Project,
    monkeypatch: pytest.MonkeyPatch,
    cpu: str,
    there: str,
    found: dict[str, float],
) -> str:
    """Let other bytes be judged, with the metrics that came out."""

    def pull(outs: Any, into: Path, cwd: str = ".") -> None:
        (into / "metrics.json").write_text(json.dumps(MEASURED))

    monkeypatch.setattr(storage, "pull", pull)
    monkeypatch.setattr(machine, "cpu", lambda: cpu)
    monkeypatch.setattr(reproduce, "built_on", lambda *_: there)
    file = here.home / "found.json"
    file.write_text(json.dumps(found))
    out = Out("evaluate", "build/metrics.json", "0" * 32, 5)
    version = registry.Version("v1.0.0", "demand@v1.0.0", "c" * 40, "a" * 64)
    other = ["build/model.onnx"]
    ledger = Ledger()
    return reproduce.by_metrics(version, ledger, other, Lock("0" * 64, (out,)), file)


def test_the_ledger_says_what_built_a_version(here: Project) -> None:
    version = registered("x86_64 three")
    assert reproduce.built_on(Ledger(), version) == "x86_64 three"
    other = registry.Version("v9", "t", "c", "f" * 64)
    assert reproduce.built_on(Ledger(), other) == ""


def test_stages_run_without_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GH_TOKEN", "AWS_SECRET_ACCESS_KEY", "ACTIONS_RUNTIME_TOKEN"):
        monkeypatch.setenv(name, "secret")
    found = machine.environment(MORE="x")
    assert "secret" not in found.values() and found["MORE"] == "x"
    assert machine.cpu()
