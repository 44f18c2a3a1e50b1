"""Planted challengers: each a patch that somebody might send, judged by `validate`.

The bad ones are refused, each for its own reason; the honest ones pass. The table of
what happened is in build/planted.md. Those that are one thing by several ways have
their turns.
"""

import html
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from machinery import lengths
from machinery.judged import Hub, Project, Record, first, git, packed
from machinery.planted import (
    ALIKE,
    ALL,
    CODE,
    DOUBTFUL,
    FORGED,
    HONEST,
    LOCKED,
    OF_CHANGES,
    PROPOSED,
)
from machinery.test_validate_workflow import (
    altered,
    judged_first,
    read,
    validate,
    verdicts,
)
from mlgitops import lock
from mlgitops.ledger import Ledger
from mlgitops.serving.verify import sha256_file

pytestmark = pytest.mark.slow
TABLE: list[str] = []
KIND = {name: kind for kind in ALIKE for name in kind}
SENT = lengths.turn(PROPOSED, lambda name: KIND.get(name, name))
PASSING = lengths.turn(HONEST, lambda name: KIND.get(name, name))
FORGERIES = lengths.turn(FORGED, lambda name: KIND.get(name, name))
WARNED = lengths.turn(DOUBTFUL, lambda name: "changes" if name in OF_CHANGES else name)


@pytest.fixture(scope="module")
def reigning(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose champion was judged, merged and released."""
    pull, (made, hub) = first()[1], judged_first()
    project = made.copy(tmp_path_factory.mktemp("reigning"))
    noted("a first model", hub.comments[1])
    assert hub.statuses[-1][1] == "success"
    commit = project.merge(pull)
    project.release(verdicts(project)[0]["manifest_sha256"], commit)
    git("switch", "-q", "main", cwd=project.clone)
    return project


@pytest.fixture(scope="module")
def trained(
    reigning: Project, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, Record, bytes]:
    """A better model, proposed and built, whose artifact can be forged."""
    project = reigning.copy(tmp_path_factory.mktemp("trained") / "home")
    project.params(ALL)
    pull = project.propose("planted")
    return project, pull, project.built(pull)


@pytest.fixture
def project(
    reigning: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """The same in a folder of the test's own."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return reigning.copy(tmp_path / "home")


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Write what happened where a person finds it."""
    yield
    head = ["| Challenger | Verdict | Refused by |", "|---|---|---|"]
    Path("build").mkdir(exist_ok=True)
    Path("build", "planted.md").write_text("\n".join([*head, *TABLE]) + "\n")


def noted(name: str, comment: str) -> list[str]:
    """Add a row to the table; return the checks that failed."""
    lines = [line.split(" | ") for line in comment.splitlines() if "⛔&nbsp;" in line]
    failed = list(dict.fromkeys(cells[1] for cells in lines))
    verdict = comment.splitlines()[0].removeprefix("## ")
    TABLE.append(f"| {name} | {verdict} | {', '.join(failed)} |")
    return failed


def judged(
    project: Project, name: str, patch: pytest.MonkeyPatch
) -> tuple[Hub, list[str]]:
    """Train and judge what stands on the author's disk."""
    pull = project.propose("planted")
    done = project.train(pull)
    if done.returncode:
        hub = validate(project, pull, b"", patch, conclusion="failure")
    else:
        artifact = packed(project.home / "runner" / "artifact")
        hub = validate(project, pull, artifact, patch)
    return hub, noted(name, hub.comments[pull["number"]])


def test_every_check_has_a_plant_in_each_run() -> None:
    every = {**PROPOSED, **FORGED, **HONEST}
    for kind in ALIKE:
        assert len({every[name][1] for name in kind}) == 1, kind
    for all_, played in ((PROPOSED, SENT), (FORGED, FORGERIES), (HONEST, PASSING)):
        checks = {about[1] for about in all_.values()}
        assert {all_[name][1] for name in played} == checks


@pytest.mark.parametrize("name", SENT)
def test_a_bad_proposal_is_refused_for_its_own_reason(
    name: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, check = PROPOSED[name]
    plant(project)
    hub, failed = judged(project, name, monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    assert check in failed, failed


@pytest.mark.parametrize("name", WARNED)
def test_a_doubtful_proposal_is_not_judged_without_a_word(
    name: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, words = DOUBTFUL[name]
    plant(project)
    hub, _ = judged(project, name, monkeypatch)
    assert words in html.unescape(next(reversed(hub.comments.values())))


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_artifact_is_refused_for_its_own_reason(
    name: str,
    trained: tuple[Project, Record, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forge, check = FORGED[name]
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    project, pull, artifact = trained
    hub = validate(project.copy(tmp_path / "home"), pull, forge(artifact), monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    assert noted(name, hub.comments[pull["number"]]) == [check]


def test_a_stale_lock_is_refused_for_its_own_reason(
    trained: tuple[Project, Record, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The champion's, in the artifact of a model that was trained anew."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    project, pull, artifact = trained
    champion = Ledger(project.clone).champion() or {}
    stale = git("show", f"{champion['commit']}:dvc.lock", cwd=project.clone).encode()
    assert stale.strip() != read(artifact, "dvc.lock").strip()
    forged = altered(artifact, dvc_lock=stale)
    hub = validate(project.copy(tmp_path / "home"), pull, forged, monkeypatch)
    assert hub.statuses[-1][1] == "failure"
    comment = hub.comments[pull["number"]]
    assert noted("a stale lock", comment) == ["Lock"]
    assert "is not the file that the lock names" in comment


@pytest.mark.parametrize("name", LOCKED)
def test_a_committed_lock_that_ci_did_not_build_is_not_read(
    name: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    LOCKED[name](project)
    hub, failed = judged(project, name, monkeypatch)
    assert failed == [] and hub.statuses[-1][1] == "success"
    verdict, committed = verdicts(project)[-1], project.clone / "dvc.lock"
    assert verdict["lock_sha256"] != sha256_file(committed)
    assert verdict["lock_sha256"] == lock.parse(read(hub.data, "dvc.lock")).sha256


@pytest.mark.parametrize("name", PASSING)
def test_an_honest_proposal_passes(
    name: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, words, stages = HONEST[name]
    plant(project)
    hub, failed = judged(project, name, monkeypatch)
    assert hub.statuses[-1][1] == "success"
    comment = next(reversed(hub.comments.values()))
    assert failed == [] and words in comment
    assert not [doubt for _, doubt in DOUBTFUL.values() if doubt in comment]
    assert (CODE in comment) == name.endswith("code"), "that trains"
    build = json.loads((project.home / "runner/artifact/build.json").read_bytes())
    assert build["stages_run"] == stages
