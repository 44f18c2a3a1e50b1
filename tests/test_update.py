"""`make update` in projects of plain cookiecutter: a branch, a merge, one revert."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import FOLDER
from machinery import lengths
from test_cruft import (
    GONE,
    ROOT,
    changed,
    commit,
    committed,
    contents,
    create,
    cruft,
    edit,
    generated_at,
    git,
    history,
    make_own,
    repository,
)
from user import baked

__all__ = ["committed", "repository"]  # the fixtures
pytestmark = pytest.mark.bakes
PARTS = ("mlgitops/", ".github/")


def update(project: Path, template: Path, *options: str, fails: bool = False) -> str:
    """Type the command with the template's newest code; return what it prints."""
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "Ada"), ("EMAIL", "ada@example.com"))
    }
    command = (sys.executable, "-P", "-m", "mlgitops", "update", "--apply")
    done = subprocess.run(
        (*command, "--template", str(template), *options),
        cwd=project,
        env=os.environ | who | {"PYTHONPATH": str(ROOT / FOLDER)},
        capture_output=True,
        text=True,
    )
    assert bool(done.returncode) is fails, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def plain(repository: Path, out: Path, **answers: str) -> Path:
    """Bake a project with cookiecutter, which leaves no link; commit it."""
    out.mkdir()
    project = baked(repository, out, answers)
    assert not (project / ".cruft.json").exists()
    git(project, "init", "--quiet", "--initial-branch=main")
    commit(project, "start")
    return project


def move_on(repository: Path, owned: dict[str, str]) -> str:
    """Let the template go on, also where it is the team's; return its commit."""
    inside = repository / FOLDER
    fence = inside / "mlgitops"
    with (fence / "git.py").open("a") as file:
        file.write("# newer\n")
    (fence / "newer.py").write_text('"""Newer."""\n')
    (fence / "VERSION").write_text("99.0.0\n")
    with (fence / "SHA256SUMS").open("a") as file:
        file.write(f"{'0' * 64}  newer.py\n")
    git(repository, "rm", "-rq", str(fence / "host"))
    with (inside / ".github/workflows/ci.yml").open("a") as file:
        file.write("# newer\n")
    edit(inside, {path: "# newer\n" for path in owned if (inside / path).exists()})
    edit(inside, {"model/newest.py": "", "deploy/newest.yaml": "", "tests/new.py": ""})
    git(repository, "rm", "-q", str(inside / "model/prepare.py"))
    log = repository / "CHANGELOG.md"
    entry = "## [99.0.0]\n\n- Something new\n  on two lines.\n\n## [Unreleased]"
    log.write_text(log.read_text().replace("## [Unreleased]", entry, 1))
    return commit(repository, "newer")


def test_an_update_is_one_commit_that_one_revert_takes_back(
    repository: Path, tmp_path: Path
) -> None:
    project = plain(repository, tmp_path / "out", deploy_target="kubernetes")
    owned = make_own(project)
    before, files = git(project, "rev-parse", "HEAD"), contents(project)
    newest = move_on(repository, owned)
    said = update(project, repository)
    assert "- Something new\n  on two lines." in said
    assert "## [99.0.0]" in said and said.count("\n- ") == 1, "only what is new"
    branch = f"update/99.0.0-{newest[:12]}"
    assert git(project, "branch", "--show-current") == branch
    assert git(project, "rev-parse", "main", f"{branch}~1").split() == [before] * 2
    paths = set(git(project, "diff", "--name-only", "main", branch).splitlines())
    assert paths == {
        ".github/workflows/ci.yml",
        "mlgitops/SHA256SUMS",
        "mlgitops/VERSION",
        "mlgitops/git.py",
        "mlgitops/host/agent.py",
        "mlgitops/newer.py",
    }
    for path, text in owned.items():
        assert (project / path).read_text() == text, path
    assert not any((project / path).exists() for path in GONE)
    assert changed(project) == set(), "nothing is left to commit"
    assert "Up to date" in update(project, repository)
    git(project, "revert", "--no-edit", "HEAD")
    assert contents(project) == files


def test_a_modified_machinery_is_merged_or_the_conflict_named(
    repository: Path, tmp_path: Path
) -> None:
    project = plain(repository, tmp_path / "out")
    file = project / "mlgitops/git.py"
    file.write_text('"""Ours."""\n' + file.read_text())
    (project / ".github/workflows/score.yml").unlink()
    commit(project, "ours")
    move_on(repository, {})
    update(project, repository)
    text = file.read_text()
    assert text.startswith('"""Ours."""\n') and text.endswith("# newer\n")
    assert not (project / ".github/workflows/score.yml").exists()
    git(project, "switch", "-q", "main")
    git(project, "branch", "-qD", *branches(project))
    file.write_text(file.read_text() + "# ours\n")
    commit(project, "ours too")
    files = contents(project)
    said = update(project, repository, fails=True)
    assert "mlgitops/git.py" in said and "cherry-pick --continue" in said
    assert "<<<<<<<" in file.read_text()
    git(project, "cherry-pick", "--abort")
    git(project, "switch", "-q", "-")
    assert contents(project) == files


def branches(project: Path) -> list[str]:
    """Return the branches of updates."""
    names = git(project, "branch", "--format=%(refname:short)").splitlines()
    return [name for name in names if name.startswith("update/")]


def test_what_cannot_be_updated_is_one_sentence(
    repository: Path, tmp_path: Path
) -> None:
    project = plain(repository, tmp_path / "out")
    assert "Up to date" in update(project, repository)
    move_on(repository, {})
    (project / "model/mine.py").write_text("")
    assert "commit them first" in update(project, repository, fails=True)
    commit(project, "mine")
    update(project, repository)
    git(project, "switch", "-q", "main")
    assert "already" in update(project, repository, fails=True)
    assert "nothing" in update(project, repository, "--to", "nothing", fails=True)
    assert "fetched" in update(project, tmp_path / "away", fails=True)
    git(project, "branch", "-qD", *branches(project))
    with (project / "mlgitops/SHA256SUMS").open("a") as file:
        file.write("ours\n")
    commit(project, "a list of our own")
    assert "--base COMMIT" in update(project, repository, fails=True)
    assert branches(project) == [] and changed(project) == set()
    start = git(repository, "rev-parse", "HEAD~1")
    said = update(project, repository, "--base", start, fails=True)
    assert "mlgitops/SHA256SUMS" in said, "both changed the list"


def test_what_cruft_recorded_goes_on(repository: Path, tmp_path: Path) -> None:
    """A project of cruft can be updated by either, in any order."""
    project = create(repository, tmp_path / "out")
    newest = move_on(repository, {})
    update(project, repository)
    assert json.loads((project / ".cruft.json").read_text())["commit"] == newest
    assert git(project, "rev-list", "--count", "main..HEAD") == "1"
    assert "up to date" in cruft(project, "update", "--skip-apply-ask")


def test_the_workflows_tell_states_with_one_machinery_apart(
    repository: Path, tmp_path: Path
) -> None:
    """The template changed only workflows, before and after the project was made."""
    workflow = repository / FOLDER / ".github/workflows/ci.yml"
    project = plain(repository, tmp_path / "out")
    with workflow.open("a") as file:
        file.write("# newer\n")
    commit(repository, "only a workflow")
    update(project, repository)
    assert (project / ".github/workflows/ci.yml").read_text().endswith("# newer\n")


@pytest.mark.parametrize("age", lengths.turn(["the first fence", "the fence before"]))
def test_a_project_of_an_earlier_commit_takes_the_newest(
    age: str, tmp_path: Path
) -> None:
    """By the newest command: nothing of the team's, and one revert takes it back."""
    states = history(f"{FOLDER}/mlgitops/SHA256SUMS")
    start = states[0] if age == "the first fence" else states[-2:][0]
    copy, project = generated_at(start, tmp_path, "deploy_target=kubernetes")
    git(project, "rm", "-q", ".cruft.json")
    owned = make_own(project)
    files = contents(project)
    newest = git(copy, "rev-parse", "HEAD")
    update(project, copy)
    paths = git(project, "diff", "--name-only", "main", "HEAD").splitlines()
    assert paths and all(path.startswith(PARTS) for path in paths)
    for part in PARTS:
        theirs = git(copy, "rev-parse", f"{newest}:{FOLDER}/{part.rstrip('/')}")
        assert git(project, "rev-parse", f"HEAD:{part.rstrip('/')}") == theirs
    for path, text in owned.items():
        assert (project / path).read_text() == text, path
    git(project, "revert", "--no-edit", "HEAD")
    assert contents(project) == files


def test_a_project_from_before_the_fence_is_told_what_to_do(tmp_path: Path) -> None:
    """What is its team's was where the old machinery was: no update may rewrite it."""
    start = history(f"{FOLDER}/mlgitops")[0]
    copy, project = generated_at(f"{start}~1", tmp_path)
    assert not (project / "mlgitops").exists()
    files = contents(project)
    assert "From before mlgitops/" in update(project, copy, fails=True)
    assert contents(project) == files and branches(project) == []
