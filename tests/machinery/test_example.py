"""The example can be recognised and removed as one thing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from machinery.world import git

ROOT = Path.cwd()
# What is built later: dvc.lock names the table that the last model was trained on.
LEFT = shutil.ignore_patterns(
    ".venv", ".git", "build", "dvc.lock", "__pycache__", ".*_cache"
)
# What is about a model's data is edited by whoever brings other data.
EDITED = {
    "README.md",
    "behaviour.yaml",
    "contract.yaml",
    "data/README.md",
    "dvc.yaml",
    "params.yaml",
}
FLIGHTS = re.compile(rb"flight|airport|airline", re.I)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository as `make setup` leaves it."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT, folder, ignore=LEFT)
    (folder / ".venv").symlink_to(sys.prefix)
    git("init", "--quiet", "--initial-branch=main", cwd=folder)
    (folder / ".git/info/exclude").write_text(".venv\n")  # a link here, no folder
    for name in ("data/flights.parquet", "example/later.parquet"):
        if not (folder / name).exists():
            pytest.skip(f"{name} is not here")
        subprocess.run((".venv/bin/dvc", "add", "-q", name), cwd=folder, check=True)
    git("add", "--all", cwd=folder)
    git("commit", "--quiet", "-m", "Start from the template", cwd=folder)
    return folder


def removal(folder: Path) -> str:
    """Return what example/README.md says to type."""
    text = (folder / "example/README.md").read_text()
    removing, _ = re.findall(r"```\n(.*?)```", text, re.S)
    return str(removing)


def named(folder: Path) -> set[str]:
    """Return the team's files that speak of flights, as git has them."""
    return {
        name
        for name in git("ls-files", cwd=folder).splitlines()
        if not name.startswith("mlgitops/")
        and (FLIGHTS.search((folder / name).read_bytes()) or "flight" in name)
    }


def test_after_its_removal_only_what_a_team_edits_speaks_of_flights(
    repository: Path,
) -> None:
    before = named(repository) - {"pyproject.toml"}  # it repeats the answers
    belongs = {name for name in before if name.startswith("example/")}
    script = removal(repository)
    who = {
        f"GIT_{r}_{k}": "t@t"
        for r in ("AUTHOR", "COMMITTER")
        for k in ("NAME", "EMAIL")
    }
    subprocess.run(
        ("sh", "-e", "-c", script), cwd=repository, env=os.environ | who, check=True
    )
    assert belongs and not (repository / "example").exists()
    assert named(repository) - {"pyproject.toml"} <= EDITED
    assert git("status", "--porcelain", cwd=repository) == ""
    assert not list(repository.glob("data/*.parquet*"))


def test_every_file_of_the_example_is_listed(repository: Path) -> None:
    text = (repository / "example/README.md").read_text()
    listed = set(re.findall(r"`([\w./]+\.\w+)`", text))
    tracked = set(git("ls-files", "example", cwd=repository).splitlines())
    ours = {name.removesuffix(".dvc") for name in tracked}
    ours -= {"example/README.md", "example/.gitignore"}
    assert ours <= listed
    assert all((repository / name).exists() for name in listed)
    assert named(repository) - {"pyproject.toml", "README.md"} <= (
        {name for file in listed for name in (file, f"{file}.dvc")}
        | {"example/README.md", "data/.gitignore"}
    )


@pytest.mark.parametrize("folder", ["model", "tests", "deploy", ".github"])
def test_a_teams_code_never_spoke_of_flights(folder: str) -> None:
    for path in (ROOT / folder).rglob("*"):
        if path.is_file() and path.suffix not in (".pyc",):
            assert not re.search(rb"flight|airline", path.read_bytes(), re.I), path
