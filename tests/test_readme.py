"""Every command in README is one that a test runs, and the page stays short."""

import re
import tomllib
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from conftest import Bake

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

DATA = "make data FILE=customers.csv TARGET=churned"

# Where each command of README is run.
RUN_BY = {
    "make demo": "tests/test_rehearsal.py",
    "make test": ".ci/run",
    "cookiecutter gh:your-github-name/cookiecutter-ml-gitops": "tests/test_bake.py",
    "make setup": "tests/test_generated.py",
    DATA: "docs/churn.md",  # typed by test_pages
    "make repro validate": "docs/churn.md",
}


def commands() -> list[str]:
    """Return the lines of the code blocks that have no language, but for `cd`."""
    tokens = MarkdownIt().parse(README)
    blocks = [t.content for t in tokens if t.type == "fence" and not t.info]
    lines = [line for block in blocks for line in block.splitlines() if line]
    return [line for line in lines if not line.startswith("cd ")]


def test_every_command_is_run_somewhere() -> None:
    """A command that no test runs is a promise that nobody keeps."""
    assert set(commands()) == set(RUN_BY)
    for command, place in RUN_BY.items():
        word = command.removeprefix("make ").split()[0]
        assert re.search(rf"\b{word}\b", (ROOT / place).read_text()), (command, place)


def test_inline_make_words_are_in_the_generated_makefile() -> None:
    """What README names in passing exists in what users get."""
    makefile = (ROOT / "{{cookiecutter.project_slug}}" / "Makefile").read_text()
    ours = (ROOT / "Makefile").read_text()
    for word in re.findall(r"`make (\w+)", README):
        assert re.search(rf"^{word}:", makefile + ours, re.M), word


def test_it_is_short_and_starts_with_a_table() -> None:
    """Below 150 lines: from a file to a judged model at the top, then the demo."""
    lines = README.splitlines()
    assert len(lines) < 150
    way = ["make setup", DATA, "make repro validate"]
    start = lines.index(way[0])
    assert lines[start : start + 3] == way and start < 15
    assert lines.index("make demo") < 30


@pytest.mark.parametrize("folder", [".", "{{cookiecutter.project_slug}}"])
def test_the_first_commands_bring_a_table(folder: str) -> None:
    """After generation comes `make data`: a stranger has a table, not flights."""
    text = (ROOT / folder / "README.md").read_text()
    first = next(t for t in MarkdownIt().parse(text) if t.type == "fence").content
    typed = [line.split("#")[0].strip() for line in first.splitlines()]
    assert typed[typed.index("make setup") + 1] == DATA


def test_what_it_links_to_is_there() -> None:
    """Pictures and pages of this repository exist."""
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [name for name in links if ":" not in name]
    for name in links:
        assert ":" in name or (ROOT / name).is_file(), name


@pytest.mark.bakes
@pytest.mark.parametrize("target", ["host", "kubernetes", "edge"])
@pytest.mark.parametrize("storage", ["branch", "s3"])
def test_the_generated_readme_is_short_and_names_what_there_is(
    bake: Bake, target: str, storage: str
) -> None:
    """Its first command is near the top; each file and each command of it exists."""
    project = bake(deploy_target=target, storage=storage)
    text = (project / "README.md").read_text()
    lines = text.splitlines()
    assert len(lines) <= 150
    assert next(n for n, line in enumerate(lines, 1) if line.startswith("make ")) <= 15
    opened = re.findall(r"^\| `([\w./]+)` \|", text, re.M)[:4]
    wanted = "model/features.py model/estimator.py contract.yaml params.yaml"
    assert opened == wanted.split()
    made = {"data/flights.parquet.dvc"}  # by `make setup`
    for name in re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:yaml|toml|md))`", text):
        known = (project / name).exists() or name in made or name.startswith("build/")
        assert known or name.startswith(".venv/"), name
    makefile = (project / "Makefile").read_text()
    for word in re.findall(r"(?:^|`|&& )make (\w+)", text, re.M):
        assert re.search(rf"^{word}:", makefile, re.M), word
    commands = re.findall(r"python -m mlgitops ([\w-]+)", text)
    entry = (project / "mlgitops/__main__.py").read_text()
    assert all(f'"{word}": (' in entry for word in commands)


def direct(path: Path) -> set[str]:
    """Return the names of the packages that a pyproject.toml asks for."""
    text = path.read_text().replace("{{ cookiecutter.__dvc }}", "dvc")
    groups = tomllib.loads(re.sub(r"{{.*?}}", "x", text))["dependency-groups"]
    asked = [entry for group in groups.values() for entry in group]
    return {re.split(r"[^\w.-]", name)[0] for name in asked if isinstance(name, str)}


@pytest.mark.parametrize("folder", [".", "{{cookiecutter.project_slug}}"])
def test_each_dependency_has_its_reason(folder: str) -> None:
    """A package that nobody can say the use of is one too many."""
    table = (ROOT / "ARCHITECTURE.md").read_text().split("## Dependencies")[1]
    named = set(re.findall(r"[\w.-]+", table))
    assert direct(ROOT / folder / "pyproject.toml") - named == set()
