"""The same project through cruft, which leaves alone what is the user's.

`make update` does without cruft: test_update.py.
"""

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from conftest import FOLDER, Bake

ROOT = Path(__file__).parent.parent

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


@pytest.fixture(scope="session")
def committed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a git repository that holds the template; tests take copies of it."""
    folder = tmp_path_factory.mktemp("committed") / "template"
    subprocess.run(("cp", "-r", str(template), str(folder)), check=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "the template")
    return folder


@pytest.fixture
def repository(committed: Path, tmp_path: Path) -> Path:
    """Return a git repository that holds the template."""
    folder = tmp_path / "template"
    subprocess.run(("cp", "-a", str(committed), str(folder)), check=True)
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


def changed(folder: Path) -> set[str]:
    """Return the paths that git sees as changed, added or deleted."""
    git(folder, "add", "--all")
    return set(git(folder, "diff", "--cached", "--name-only").splitlines())


def edit(project: Path, edits: dict[str, str]) -> dict[str, str]:
    """Append to files, or write new ones; return what they hold then."""
    for path, text in edits.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        with (project / path).open("a") as file:
            file.write(text)
    return {path: (project / path).read_text() for path in edits}


# What a team makes its own: model, features, gate, environment, README and tests.
TEAM = {
    "model/estimator.py": '\nCLASSIFIERS["mine"] = CLASSIFIERS["ridge"]\n',
    "model/features.py": "\nMINE = 1\n",
    "model/metrics.py": '\nMETRICS["mine"] = lambda y, prediction: 0.0\n',
    "model/more.py": '"""Mine."""\n',
    "params.yaml": "\nmine: a gate and an environment # of ours\n",
    "contract.yaml": "\n# mine\n",
    "behaviour.yaml": "\n# mine\n",
    "dvc.yaml": "\n# mine\n",
    "deploy/kubernetes/overlays/qa/kustomization.yaml": "namespace: model-qa\n",
    "deploy/kubernetes/overlays/production/kustomization.yaml": "\n# mine\n",
    "deploy/Dockerfile": "\n# mine\n",
    "README.md": "\nMine.\n",
    "tests/test_mine.py": "def test_mine() -> None: ...\n",
    "tests/test_features.py": "\n# mine\n",
    "pyproject.toml": "\n# mine\n",
    "requirements/pipeline.txt": "\n# mine\n",
    "Makefile": "\n# mine\n",
    "CODEOWNERS": "\n# mine\n",
    ".dvc/config": "\n# mine\n",
    "data/mine.parquet.dvc": "outs: []\n",
    "dvc.lock": "schema: '2.0'\n",
}
GONE = ("example", "data/flights.parquet", "tests/test_data.py", "data/README.md")


def make_own(project: Path) -> dict[str, str]:
    """Let a team take a project over, committed; return what is the team's."""
    owned = edit(project, TEAM)
    git(project, "rm", "-rq", "--ignore-unmatch", *GONE)
    commit(project, "ours")
    return owned


def update(project: Path, *options: str) -> set[str]:
    """Apply the template's news; return the paths that it changed."""
    said = cruft(project, "update", "--skip-apply-ask", *options)
    assert "Good work" in said and "Failed" not in said, said
    assert not list(project.rglob("*.rej")) and not git(project, "ls-files", "-u")
    return changed(project)


def test_cruft_and_cookiecutter_give_the_same(
    repository: Path, bake: Bake, template: Path, tmp_path: Path
) -> None:
    """But for the address that each was given."""
    project = create(repository, tmp_path / "out", "storage=s3", "deploy_target=edge")
    ours = contents(project)
    assert ours.pop(".cruft.json")
    theirs = contents(bake(storage="s3", deploy_target="edge"))
    name = "pyproject.toml"
    assert f'template = "{repository}"' in ours[name].decode()
    ours[name] = ours[name].replace(bytes(repository), bytes(template))
    assert ours == theirs


def test_update_brings_the_new_and_leaves_what_is_the_teams(
    repository: Path, tmp_path: Path
) -> None:
    project = create(repository, tmp_path / "out", "deploy_target=kubernetes")
    owned = make_own(project)

    # The template goes on: inside the fence a module changes, one comes, a folder and a
    # module go; a workflow changes; and outside it changes just what the team changed.
    inside = repository / FOLDER
    fence = inside / "mlgitops"
    with (fence / "git.py").open("a") as file:
        file.write("# newer\n")
    (fence / "newer.py").write_text('"""Newer."""\n')
    (fence / "commands" / "act.py").unlink()
    git(repository, "rm", "-rq", str(fence / "host"))
    with (inside / ".github/workflows/ci.yml").open("a") as file:
        file.write("# newer\n")
    theirs = {path for path in owned if (inside / path).exists()}
    edit(inside, dict.fromkeys(theirs, "# newer\n"))
    edit(inside, {"model/newest.py": "", "deploy/newest.yaml": "", "tests/new.py": ""})
    (inside / "data/flights.parquet").write_bytes(b"newer")
    (inside / "example/later.parquet").write_bytes(b"newer")
    git(repository, "rm", "-q", str(inside / "model/prepare.py"))
    newest = commit(repository, "newer")

    assert update(project) == {
        ".cruft.json",
        ".github/workflows/ci.yml",
        "mlgitops/commands/act.py",
        "mlgitops/git.py",
        "mlgitops/host/agent.py",
        "mlgitops/newer.py",
    }
    assert (project / "mlgitops/git.py").read_text().endswith("# newer\n")
    assert not (project / "mlgitops/commands/act.py").exists()
    for path, text in owned.items():
        assert (project / path).read_text() == text, path
    assert not any((project / path).exists() for path in GONE)
    assert (project / "model/prepare.py").exists(), "the template's loss is not ours"
    assert json.loads((project / ".cruft.json").read_text())["commit"] == newest
    commit(project, "update")
    assert "up to date" in cruft(project, "update", "--skip-apply-ask")


def history(path: str) -> list[str]:
    """Return the commits that touch a path of this repository, oldest first."""
    if git(ROOT, "rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("the history of the template is not here")
    found = git(ROOT, "log", "--format=%H", "--reverse", "--", path).splitlines()
    if not found:
        pytest.skip(f"no commit has {path} yet")
    return found


def generated_at(start: str, folder: Path, *answers: str) -> tuple[Path, Path]:
    """Return a copy of this repository, and a project of one of its commits."""
    copy, out = folder / "template", folder / "out"
    git(folder, "clone", "--quiet", str(ROOT), str(copy))
    out.mkdir()
    more = json.dumps(dict(answer.split("=") for answer in answers))
    options = ("--no-input", "--checkout", start, "--extra-context", more)
    cruft(out, "create", str(copy), *options)
    (project,) = out.iterdir()
    git(project, "init", "--quiet", "--initial-branch=main")
    commit(project, "start")
    return copy, project


def test_update_from_the_first_commit_of_this_repository(tmp_path: Path) -> None:
    """Before the fence: what that project named as its user's stays."""
    copy, project = generated_at(history("cookiecutter.json")[0], tmp_path)
    (project / "params.yaml").write_text("mine: true\n")
    commit(project, "ours")
    newest = git(copy, "rev-parse", "HEAD")
    update(project, "--checkout", newest)
    assert (project / "params.yaml").read_text() == "mine: true\n"
    assert (project / "mlgitops/VERSION").is_file()
    state = json.loads((project / ".cruft.json").read_text())
    assert state["commit"] == newest


def test_what_is_the_users_is_listed_and_exists(bake: Bake) -> None:
    project = bake()
    with (project / "pyproject.toml").open("rb") as file:
        skipped = tomllib.load(file)["tool"]["cruft"]["skip"]
    assert all((project / path).exists() for path in skipped if path != "dvc.lock")
    top = {path.name for path in project.iterdir()}
    assert top - set(skipped) == {"mlgitops", ".github"}
