"""The machinery's tests are fetched for the version at hand, and run with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from machinery.world import git
from mlgitops.commands import selftest
from mlgitops.commands.selftest import SelftestError
from mlgitops.machinery import FOLDER, SUMS

FENCED = Path(selftest.FENCE)
TEST = """
from pathlib import Path
import mlgitops

def test_which():
    assert Path(mlgitops.__file__).parent == Path.cwd() / "mlgitops"
    assert Path("from.txt").read_text() == {state!r}
    assert Path("mlgitops/machinery.py").is_file(), "the machinery of here"
    assert not Path("mlgitops/of_the_template.py").exists()
    assert {passes}
"""


class Template:
    """A template's repository that grows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        git("init", "--quiet", "--initial-branch=main", cwd=folder)
        self.commits: dict[str, str] = {}
        self.state("older", version="0.9.0\n", sums="older\n")

    def state(
        self, name: str, version: str = "", sums: str = "", passes: bool = True
    ) -> None:
        """Commit a state: by default with the machinery of here."""
        files = {
            "cookiecutter.json": '{"project_slug": "example", "deploy_target": "host"}',
            str(FENCED / "VERSION"): version or (FOLDER / "VERSION").read_text(),
            str(FENCED / SUMS): sums or (FOLDER / SUMS).read_text(),
            str(FENCED / "of_the_template.py"): "",
            str(FENCED.parent / "from.txt"): name,
            "tests/machinery/pytest.ini": "[pytest]\npythonpath = ..\n",
            "tests/machinery/test_which.py": TEST.format(state=name, passes=passes),
        }
        for path, text in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        git("add", "--all", cwd=self.folder)
        git("commit", "--quiet", "-m", name, cwd=self.folder)
        self.commits[name] = git("rev-parse", "HEAD", cwd=self.folder)


@pytest.fixture
def template(tmp_path: Path) -> Template:
    """A template whose machinery was that of here, and moved on."""
    made = Template(tmp_path / "template")
    made.state("first")
    made.state("tests mended")
    git("switch", "--quiet", "-c", "a-proposal", cwd=made.folder)
    made.state("not merged")
    git("switch", "--quiet", "main", cwd=made.folder)
    made.state("newer", version="9.0.0\n", sums="newer\n")
    return made


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a repository that was generated."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as `make selftest` does."""
    return subprocess.run(
        (sys.executable, "-m", "mlgitops", "selftest", *words),
        env={**os.environ, "PYTHONPATH": str(FOLDER.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def chosen(template: Template) -> str:
    """Return the name of the state that fits the machinery of here."""
    commit = selftest.released(template.folder, "template")
    return next(name for name, c in template.commits.items() if c == commit)


def test_the_newest_tests_of_this_machinery_are_taken(template: Template) -> None:
    assert chosen(template) == "tests mended"


def test_where_the_list_was_changed_it_is_the_newest_of_the_version(
    tmp_path: Path,
) -> None:
    template = Template(tmp_path / "template")
    template.state("first of the version", sums="others\n")
    template.state("second of the version", sums="others still\n")
    template.state("newer", version="9.0.0\n", sums="newer\n")
    assert chosen(template) == "second of the version"


def test_a_template_without_this_version_is_refused(tmp_path: Path) -> None:
    template = Template(tmp_path / "template")
    with pytest.raises(SelftestError, match="no commit of elsewhere has"):
        selftest.released(template.folder, "elsewhere")


@pytest.mark.slow
def test_it_runs_them_with_the_machinery_of_here(template: Template) -> None:
    done = command(f"--template={template.folder}", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert template.commits["tests mended"][:12] in done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.slow
def test_a_red_test_fails_the_command(template: Template) -> None:
    template.state("broken", passes=False)
    done = command(f"--template={template.folder}", "-p", "no:cacheprovider")
    assert done.returncode == 1 and "1 failed" in done.stdout


def test_the_address_is_that_of_cruft_else_of_the_project(here: Path) -> None:
    with pytest.raises(SelftestError, match="not recorded"):
        selftest.address()
    project = here / "pyproject.toml"
    project.write_text('[tool.mlgitops]\ntemplate = "gh:octo/template"\n')
    assert selftest.address() == "gh:octo/template"
    (here / ".cruft.json").write_text(json.dumps({"template": "https://x/template"}))
    assert selftest.address() == "https://x/template"
    (here / ".cruft.json").write_text("{")
    with pytest.raises(SelftestError, match="cannot be read"):
        selftest.address()


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("gh:octo/t", "https://github.com/octo/t.git"),
        ("gl:octo/t", "https://gitlab.com/octo/t.git"),
        ("https://example.com/t", "https://example.com/t"),
        ("--upload-pack=x", "--upload-pack=x"),
    ],
)
def test_an_address_reaches_git_as_one(
    typed: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what cookiecutter abbreviates; no token goes along."""
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(selftest.git, "run", lambda *args: calls.append(args))
    selftest.fetch(typed, tmp_path)
    assert calls[0][-3:] == ("--", url, str(tmp_path))


def test_each_failure_is_one_sentence(here: Path) -> None:
    empty = here / "empty"
    for words, expected in [
        ([], "not recorded"),
        ([f"--template={empty}"], "could not be fetched"),
    ]:
        done = command(*words)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("selftest: ") and expected in line
        assert "type `make selftest TEMPLATE=address`" in line


def test_a_template_that_cannot_be_generated_is_one_sentence(
    here: Path, template: Template
) -> None:
    (template.folder / "cookiecutter.json").write_text("{")
    git("add", "--all", cwd=template.folder)
    (template.folder / FENCED / "VERSION").write_text((FOLDER / "VERSION").read_text())
    (template.folder / FENCED / SUMS).write_text((FOLDER / SUMS).read_text())
    git("commit", "-qam", "broken", cwd=template.folder)
    done = command(f"--template={template.folder}")
    assert done.returncode == 1
    assert "the example could not be generated (" in done.stderr.splitlines()[-1]
