"""Bakes projects from a clean copy of the template, away from its caches."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bytecode
from machinery import hypothesis_profile, lengths
from user import ROOT, Project, baked, generate

RESULTS = ROOT / "build"  # what tests leave for people to read
SLOWEST = RESULTS / "slowest.txt"  # of the machinery's tests
FOLDER = "{{cookiecutter.project_slug}}"
ORDER = ("slow", "bakes")
# The two that take longest run side by side: each file has one process.
LONGEST = ("test_machinery", "test_rehearsal")
hypothesis_profile.load()
collect_ignore = ["machinery"]  # runs in a generated repository: test_machinery.py

Bake = Callable[..., Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files of fast tests first, then bakes, then what plays the loop."""

    def marks(item: pytest.Item) -> tuple[bool, ...]:
        return tuple(bool(item.get_closest_marker(mark)) for mark in ORDER)

    rank: dict[Path, tuple[bool, ...]] = {}
    for item in items:
        rank[item.path] = max(marks(item), rank.get(item.path, ()))
    items.sort(key=lambda i: (rank[i.path], i.path.stem not in LONGEST, marks(i)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which variants were played, what took long, where tables are for people."""
    terminalreporter.write_line(lengths.said())
    if SLOWEST.exists():
        terminalreporter.section("slowest of the machinery's tests, in test_machinery")
        terminalreporter.write_line(SLOWEST.read_text())
        SLOWEST.unlink()  # of this run only
    for file in sorted(RESULTS.glob("*.md")):
        terminalreporter.write_line(f"for people to read: {file.relative_to(ROOT)}")


@pytest.fixture(scope="session", autouse=True)
def packages(request: pytest.FixtureRequest) -> None:
    """Let what sets environments up take packages with their bytecode."""
    if any(item.get_closest_marker("slow") for item in request.session.items):
        bytecode.use()


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> Path:
    """Give each test an empty home, and a git that knows nobody."""
    folder = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(bytecode.user_cache()))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return folder


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what git knows of the template, and what it would add."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    copy = tmp_path_factory.mktemp("template")
    for name in sorted(set(names.decode().split("\0")) - {""}):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture
def bake(template: Path, tmp_path: Path) -> Bake:
    """Return a function that bakes a project from answers and returns its folder."""
    return lambda **answers: baked(template, tmp_path, answers)


@pytest.fixture(scope="session")
def generated(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Bake with an awkward name into an awkward folder, and `make setup` as nobody."""
    folder = tmp_path_factory.mktemp("it's a folder")
    project = generate(
        template,
        folder,
        tmp_path_factory.mktemp("home"),
        project_name="Anna's flights",
        description='Is it "late"?',
    )
    said = project.run("make", "check", fails=True)
    assert "type 'make setup' first" in said or "ruff" in said
    said = project.run("make", "setup", env={})
    assert "tracked flights.parquet, later.parquet" in said
    assert "git does not know you" in said
    return project
