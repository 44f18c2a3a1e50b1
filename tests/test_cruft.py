"""The same project through cruft, and updates that leave alone what is the user's."""

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from conftest import FOLDER, Bake

pytestmark = pytest.mark.bakes


def git(folder: Path, *args: str) -> str:
    """Run git as somebody and return what it printed."""
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")
    done = subprocess.run(
        ("git", *who, *args), cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    """Commit everything and return the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def cruft(folder: Path, *args: str) -> str:
    """Run cruft and return what it printed."""
    done = subprocess.run(
        ("cruft", *args), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def repository(template: Path, tmp_path: Path) -> Path:
    """Return a git repository that holds the template."""
    folder = tmp_path / "template"
    subprocess.run(("cp", "-r", str(template), str(folder)), check=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "the template")
    return folder


def create(repository: Path, out: Path, *answers: str) -> Path:
    """Create a project with cruft, committed."""
    out.mkdir()
    more = ("--extra-context", json.dumps(dict(a.split("=") for a in answers)))
    cruft(out, "create", str(repository), "--no-input", *(more if answers else ()))
    (project,) = out.iterdir()
    git(project, "init", "--quiet", "--initial-branch=main")
    commit(project, "start")
    return project


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file outside .git."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts[:1]
    }


def test_cruft_and_cookiecutter_give_the_same(
    repository: Path, bake: Bake, tmp_path: Path
) -> None:
    project = create(repository, tmp_path / "out", "storage=s3", "deploy_target=edge")
    ours = contents(project)
    assert ours.pop(".cruft.json")
    assert ours == contents(bake(storage="s3", deploy_target="edge"))


def test_update_brings_the_new_and_leaves_what_is_the_users(
    repository: Path, tmp_path: Path
) -> None:
    project = create(repository, tmp_path / "out")

    # The user goes on: own data, own settings, own README, own code.
    mine = {
        "params.yaml": (project / "params.yaml").read_text() + "# mine\n",
        "behaviour.yaml": "[]\n",
        "contract.yaml": "name: churn\n",
        "README.md": "# Mine\n",
        ".dvc/config": (project / ".dvc" / "config").read_text() + "# mine\n",
        "CODEOWNERS": "* @me\n",
        "dvc.lock": "schema: '2.0'\n",
        "requirements/pipeline.txt": "# mine\n",
        "pipeline/mine.py": '"""Mine."""\n',
    }
    for path, text in mine.items():
        (project / path).write_text(text)
    (project / "data" / "later.parquet").unlink()
    commit(project, "mine")

    # So does the template: a module changes, one comes, one goes, and so do all those.
    inside = repository / FOLDER
    with (inside / "ops" / "git.py").open("a") as file:
        file.write("# newer\n")
    (inside / "ops" / "newer.py").write_text('"""Newer."""\n')
    (inside / "ops" / "act.py").unlink()
    for path in (
        "params.yaml",
        "behaviour.yaml",
        "contract.yaml",
        "README.md",
        "requirements/pipeline.txt",
    ):
        with (inside / path).open("a") as file:
            file.write("# newer\n")
    (inside / "data" / "later.parquet").write_bytes(b"newer")
    newest = commit(repository, "newer")

    cruft(project, "update", "--skip-apply-ask")

    assert (project / "ops" / "git.py").read_text().endswith("# newer\n")
    assert (project / "ops" / "newer.py").exists()
    assert not (project / "ops" / "act.py").exists()
    for path, text in mine.items():
        assert (project / path).read_text() == text, path
    assert not (project / "data" / "later.parquet").exists()
    assert json.loads((project / ".cruft.json").read_text())["commit"] == newest
    assert not list(project.rglob("*.rej"))
    commit(project, "update")
    assert "up to date" in cruft(project, "update", "--skip-apply-ask")


def test_update_from_an_earlier_commit_of_this_repository(tmp_path: Path) -> None:
    """The history that people have: from the first commit that could be generated."""
    root = Path(__file__).parent.parent
    first = git(root, "log", "--format=%H", "--reverse", "--", "cookiecutter.json")
    if not first or git(root, "rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("the history of the template is not here")
    copy = tmp_path / "template"
    git(tmp_path, "clone", "--quiet", str(root), str(copy))
    out = tmp_path / "out"
    out.mkdir()
    start = first.splitlines()[0]
    cruft(out, "create", str(copy), "--no-input", "--checkout", start)
    (project,) = out.iterdir()
    git(project, "init", "--quiet", "--initial-branch=main")
    (project / "params.yaml").write_text("mine: true\n")
    commit(project, "start")
    newest = git(copy, "rev-parse", "HEAD")
    cruft(project, "update", "--skip-apply-ask", "--checkout", newest)
    assert (project / "params.yaml").read_text() == "mine: true\n"
    assert not list(project.rglob("*.rej"))
    state = json.loads((project / ".cruft.json").read_text())
    assert state["commit"] == newest


def test_what_is_the_users_is_listed_and_exists(bake: Bake) -> None:
    project = bake()
    with (project / "pyproject.toml").open("rb") as file:
        skipped = tomllib.load(file)["tool"]["cruft"]["skip"]
    assert all((project / path).exists() for path in skipped if path != "dvc.lock")
