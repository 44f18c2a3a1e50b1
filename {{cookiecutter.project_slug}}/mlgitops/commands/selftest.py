"""Runs the machinery's own tests for the version at hand: `make selftest`.

    python -m mlgitops selftest [--template ADDRESS] [OPTIONS OF PYTEST...]

They are in the template's repository, where they ran before the version was released;
here they matter once `mlgitops/` was modified. The template is fetched, its example is
generated in a temporary folder with the `mlgitops/` of this repository, and the tests
run there: data, contract and model of a team are what `make test` is for.

The address is that of --template, or of .cruft.json, or of [tool.mlgitops] in
pyproject.toml.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import git
from mlgitops.commands.expected import expected_errors
from mlgitops.machinery import FOLDER, SUMS, machinery

FENCE = "{{cookiecutter.project_slug}}/mlgitops"  # in the template's repository
TESTS = "tests/machinery"
SHORT = {  # what cookiecutter understands, too
    "gh:": "https://github.com/{}.git",
    "gl:": "https://gitlab.com/{}.git",
    "bb:": "https://bitbucket.org/{}",
}
NEEDED = {"pytest": "pytest", "xdist": "pytest-xdist", "cookiecutter": "cookiecutter"}


class SelftestError(Exception):
    """The tests could not be run: one sentence."""


def main() -> None:
    """Run the tests and leave with their exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--template", default="", help="address or folder")
    options, pytest_args = parser.parse_known_args()
    with expected_errors("selftest: ", SelftestError):
        raise SystemExit(selftest(options.template or address(), pytest_args))


def selftest(template: str, pytest_args: list[str]) -> int:
    """Fetch, generate and run; return pytest's exit code."""
    if absent := [name for module, name in NEEDED.items() if not find_spec(module)]:
        raise SelftestError(f"{', '.join(absent)} is not installed; type `make setup`")
    with TemporaryDirectory(prefix="selftest-") as name:
        clone = Path(name, "template")
        fetch(template, clone)
        commit = released(clone, template)
        git.run("checkout", "--quiet", commit, cwd=clone)
        print(f"{machinery()}; its tests are from {template} at {commit[:12]}")
        project = generate(clone, Path(name))
        return run(project, clone / TESTS, pytest_args)


def address(folder: Path = Path()) -> str:
    """Return where the template is, as this repository has recorded it."""
    cruft, project = folder / ".cruft.json", folder / "pyproject.toml"
    template: object = None
    try:
        if cruft.is_file():
            template = json.loads(cruft.read_text(encoding="utf-8")).get("template")
        elif project.is_file():
            tools = tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {})
            template = tools.get("mlgitops", {}).get("template")
    except (ValueError, AttributeError) as error:
        raise SelftestError(f"the template's address cannot be read: {error}") from None
    if not template or not isinstance(template, str):
        raise SelftestError(
            "the template's address is not recorded: type `make selftest "
            'TEMPLATE=address`, or write template = "address" below [tool.mlgitops] in '
            "pyproject.toml"
        )
    return template


def fetch(template: str, clone: Path) -> None:
    """Clone the template's repository, with all of its history."""
    url = template
    for start, form in SHORT.items():
        if template.startswith(start):
            url = form.format(template.removeprefix(start))
    try:
        git.run("clone", "--quiet", "--no-checkout", "--", url, str(clone))
    except git.GitError as error:
        raise SelftestError(
            f"the template could not be fetched from {template} ({error}); type "
            "`make selftest TEMPLATE=address` with an address or a folder of it"
        ) from error


def released(clone: Path, template: str) -> str:
    """Return the newest commit whose machinery is the one that was vendored here.

    That is the one with this SHA256SUMS. Where the list was changed here too, it is
    the newest with this VERSION.
    """
    names = ("VERSION", SUMS)
    vendored = [blob(FOLDER / name) for name in names]
    same_version = ""
    for commit in git.run("rev-list", "HEAD", "--tags", cwd=clone).split():
        paths = [f"{commit}:{FENCE}/{name}" for name in names]
        blobs = git.run("rev-parse", "--quiet", *paths, cwd=clone, check=False).split()
        if blobs == vendored:
            return commit
        if not same_version and blobs[:1] == vendored[:1]:
            same_version = commit
    if not same_version:
        raise SelftestError(
            f"no commit of {template} has the machinery {machinery().version}; is that "
            "the template that this repository came from?"
        )
    return same_version


def generate(clone: Path, folder: Path) -> Path:
    """Return the template's example, generated, with the machinery of here."""
    config = folder / "cookiecutterrc"
    folders = {key: str(folder / key) for key in ("cookiecutters_dir", "replay_dir")}
    config.write_text(json.dumps(folders), encoding="utf-8")  # JSON is YAML
    targets = [name for name in ("kubernetes", "edge") if Path("deploy", name).is_dir()]
    answers = [f"deploy_target={name}" for name in targets[:1]]
    options = ("--no-input", "--config-file", config, "--output-dir", folder / "out")
    arguments = map(str, (*options, clone, *answers))
    command = (sys.executable, "-m", "cookiecutter", *arguments)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise SelftestError(f"the example could not be generated ({' '.join(last)})")
    (project,) = (folder / "out").iterdir()
    shutil.rmtree(project / "mlgitops")
    unwanted = shutil.ignore_patterns("__pycache__", ".*_cache")
    shutil.copytree(FOLDER, project / "mlgitops", ignore=unwanted)
    return project


def run(project: Path, tests: Path, pytest_args: list[str]) -> int:
    """Run the tests in the generated repository; return pytest's exit code."""
    if not (tests / "pytest.ini").is_file():
        raise SelftestError(f"the template has no {TESTS} at that commit")
    cores = ("-n", "auto", "--dist", "worksteal")
    command = (sys.executable, "-m", "pytest", "-c", str(tests / "pytest.ini"))
    # Settings of this repository must not reach the tests of the example.
    settings = re.compile(r"GIT_|GITHUB_|GH_|PYTEST_|PYTHONPATH")
    env = {key: value for key, value in os.environ.items() if not settings.match(key)}
    arguments = (*command, *cores, *pytest_args, str(tests))
    return subprocess.run(arguments, cwd=project, env=env).returncode


def blob(file: Path) -> str:
    """Return the name that git gives to a file's content; "" for no file."""
    exists = file.is_file()
    return git.run("hash-object", "--no-filters", "--", str(file)) if exists else ""
