"""The machinery's tests pass in what a user gets, with the environment of `make setup`.

The folder has an awkward name, as has the project.
"""

import re
import shutil
from pathlib import Path

import pytest

from conftest import RESULTS, Bake
from user import Project, generate

pytestmark = pytest.mark.slow  # the longest first: no file waits behind it


@pytest.fixture(scope="module")
def generated(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a repository that is set up and has its first model in `build/`."""
    folder = tmp_path_factory.mktemp("it's a folder")
    home = tmp_path_factory.mktemp("home")
    project = generate(template, folder, home, project_name="Anna's flights")
    project.run("make", "setup")
    project.run("make", "repro")
    return project


def machinery(template: Path, *files: str) -> tuple[str, ...]:
    """Return the command that runs the machinery's tests where it is typed."""
    tests = template / "tests" / "machinery"
    config = ("-c", str(tests / "pytest.ini"))
    named = [str(tests / name) for name in files] or [str(tests)]
    return ("-m", "pytest", *config, *named)


def test_machinery(generated: Project, template: Path) -> None:
    """Its tests pass in what a user gets, with the environment that `make setup` made.

    How the judge did, on planted and on drawn models, is kept.
    """
    cores = ("-n", "auto", "--dist", "worksteal")
    said = generated.run(".venv/bin/python", *machinery(template), *cores)
    assert re.search(r"\d+ passed", said) and "failed" not in said
    RESULTS.mkdir(exist_ok=True)
    for name in ("planted.md", "calibration.md"):
        shutil.copyfile(generated.folder / "build" / name, RESULTS / name)


def test_machinery_has_strict_types(generated: Project) -> None:
    """With the packages that it runs with; `model/` as shipped too."""
    config = ("--config-file", "mlgitops/pyproject.toml")
    assert "Success" in generated.run(".venv/bin/mypy", *config)


@pytest.mark.parametrize(
    ("target", "named"),
    [("edge", "edge or bundle"), ("kubernetes", "kubernetes or cluster or image")],
)
def test_machinery_of_another_target(
    generated: Project, bake: Bake, template: Path, target: str, named: str
) -> None:
    """What only that target has is tried with the environment that is there."""
    made = bake(deploy_target=target)
    other = Project(made, made.parent)
    bin = generated.folder / ".venv" / "bin"
    other.env["PATH"] = f"{bin}:{other.env['PATH']}"
    # With files of that target in all three.
    files = (f"test_{target}.py", "test_handovers.py", "test_package.py")
    said = other.run(f"{bin}/python", *machinery(template, *files), "-v", "-k", named)
    assert re.search(r"\d+ passed", said)
    assert not re.search(rf"test_{target}\.py.* SKIPPED", said)
