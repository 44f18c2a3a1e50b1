"""The machinery's tests pass in what a user gets, with the environment of `make setup`.

The folder has an awkward name, as has the project.
"""

import re
import shutil
from pathlib import Path

import pytest

import bytecode
from conftest import RESULTS, SLOWEST
from machinery import warm
from rehearsal.__main__ import begin_environment
from user import Project, generate, machinery

pytestmark = pytest.mark.slow  # the longest first: no file waits behind it


@pytest.fixture(scope="module")
def built(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a repository that is set up and has its first model in `build/`."""
    folder = tmp_path_factory.mktemp("it's a folder")
    home = tmp_path_factory.mktemp("home")
    project = generate(template, folder, home, project_name="Anna's flights")
    begin_environment(project.folder)  # test_generated.py has all by `make setup`
    project.run("make", "setup")
    libraries = ", ".join((*warm.DVC, *warm.WATCHING, "pytest"))
    project.run(".venv/bin/python", "-c", f"import {libraries}")
    bytecode.keep(project.folder / ".venv")
    project.run("make", "repro")
    return project


def test_machinery(built: Project, template: Path) -> None:
    """Its tests pass in what a user gets, with the environment that `make setup` made.

    How the judge did, on planted and on drawn models, is kept; so is what took longest.
    """
    # What a file has set up serves all of its tests; those that take longest go first.
    cores = ("-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")
    said = built.run(".venv/bin/python", *machinery(template), *cores)
    assert re.search(r"\d+ passed", said) and not re.search(r"\d (failed|error)", said)
    RESULTS.mkdir(exist_ok=True)
    slowest = re.search(
        r"=+ slowest \d+ durations =+\n(.*?)\n(?=\d+ passed|=)", said, re.S
    )
    assert slowest, "nothing says where the time goes"
    SLOWEST.write_text(slowest[1])
    for name in ("planted.md", "calibration.md"):
        shutil.copyfile(built.folder / "build" / name, RESULTS / name)
