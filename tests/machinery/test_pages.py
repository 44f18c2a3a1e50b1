"""Each command of the pages in docs/ is typed in a new repository.

A block `sh` is typed and passes, `sh refused` fails; a block `text` below it has lines
of what it prints, but for the spaces.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from machinery import lengths, tables, warm

pytest.importorskip("duckdb")  # the group `data`
pytestmark = pytest.mark.slow
TEMPLATE = Path(__file__).parents[2]
DOCS = TEMPLATE / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md") if "```sh" in path.read_text())
BLOCK = re.compile(r"^```(sh refused|sh|text)\n(.*?)^```$", re.M | re.S)
TABLES = {"churn.md", "events.md", "prices.md", "text.md"}  # up to a proposal
BUILT = {"explain.md", "yours.md"}  # where the tutorial has been typed
WHOLE = {"fairness.md"}  # which has numbers of all flights
FEW = 4  # of so many flights the other pages have one: each builds and judges several
# What these do is in tests of its own too; the others are typed each day.
SHOWN = {"explain.md", "fairness.md", "pretrained.md", "yours.md"}
ALIKE = dict.fromkeys(TABLES, "tables") | dict.fromkeys(SHOWN, "shown")
TYPED = lengths.turn(PAGES, lambda page: ALIKE.get(page, page))
GH = '#!/bin/sh\necho "$@" >> "$HOME/gh"\n'


def plain(text: str) -> str:
    """Return a text with its columns one space apart."""
    return " ".join(text.split())


def set_up(folder: Path, step: int) -> Path:
    """Set a repository up in a folder, with each so manieth flight; return the folder.

    Beside it are its origin and a `gh`.
    """
    new = tables.copy(folder / "new")
    unneeded = shutil.ignore_patterns("__pycache__")
    shutil.copytree(tables.ROOT / "mlgitops", new / "mlgitops", ignore=unneeded)
    (new / ".venv").symlink_to(Path(warm.python()).parents[1])
    for file in new.glob("data/*.parquet"):
        pd.read_parquet(file)[::step].to_parquet(file, index=False)
    programs = folder / "programs"
    programs.mkdir()
    (programs / "gh").write_text(GH)
    (programs / "gh").chmod(0o755)
    typed(folder, "git init -q --bare -b main ../origin")
    typed(folder, ".venv/bin/python -m mlgitops setup")
    return folder


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a repository that is set up."""
    return set_up(tmp_path_factory.mktemp("started"), FEW)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same with all flights."""
    return set_up(tmp_path_factory.mktemp("whole"), 1)


@pytest.fixture(scope="module")
def built(started: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same with the example's model in build/."""
    folder = copied(started, tmp_path_factory.mktemp("built") / "home")
    typed(folder, "make repro")
    return folder


def copied(folder: Path, home: Path) -> Path:
    """Return a copy of a folder with a repository, which pushes to its own origin."""
    shutil.copytree(folder, home, symlinks=True)
    name = "git remote remove origin 2>/dev/null || true"
    typed(home, f'{name}; git remote add origin "$PWD/../origin"')
    return home


def typed(home: Path, block: str, *, fails: bool = False) -> str:
    """Type a block of commands in the repository; return what it prints."""
    env = {k: v for k, v in os.environ.items() if not re.match("GIT_|GH_|MAKE", k)}
    env |= {"HOME": str(home), "TEMPLATE": str(TEMPLATE), "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "Ada", f"GIT_{role}_EMAIL": "ada@example.com"}
    paths = (home / "programs", home / "new" / ".venv" / "bin")
    env["PATH"] = os.pathsep.join([*map(str, paths), env["PATH"]])
    env.pop("PYTHONPATH", None)
    done = subprocess.run(
        ("bash", "-e", "-c", block),
        cwd=home / "new",
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert bool(done.returncode) == fails, f"{block}\n{done.stdout[-4000:]}"
    assert "Traceback" not in done.stdout, done.stdout[-4000:]
    return done.stdout


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield each block of commands: its kind, itself, and what it should print."""
    found = BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
    for number, (kind, text) in enumerate(found):
        if kind != "text":
            after = found[number + 1] if number + 1 < len(found) else ("", "")
            yield kind, text, after[1] if after[0] == "text" else ""


def test_there_is_a_page_for_each_kind_of_table() -> None:
    """And the list of pages names each."""
    listed = (DOCS / "README.md").read_text(encoding="utf-8")
    assert set(PAGES) >= TABLES
    for page in (*PAGES, "tables.md"):
        assert f"]({page})" in listed, page


@pytest.mark.parametrize("page", TYPED)
def test_every_command_of_a_page_does_what_it_says(
    page: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kind = "built" if page in BUILT else "whole" if page in WHOLE else "started"
    home = copied(request.getfixturevalue(kind), tmp_path / "home")
    proposals = 0
    for kind, block, expected in blocks(page):
        if not os.environ.get("PROOF"):  # what these two do is tested elsewhere
            block = block.replace(" && make check && make test", "")
        out = plain(typed(home, block, fails=kind != "sh"))
        for line in expected.splitlines():
            assert plain(line) in out, f"{block}\n{line}\n\n{out}"
        proposals += block.count("gh pr create")
    if page not in TABLES:
        return
    asked = (home / "gh").read_text().splitlines()
    assert proposals and len(asked) == proposals
    pushed = typed(home, "git ls-remote --heads ../origin").splitlines()
    assert len(pushed) >= 2 + proposals, "main, the data and each proposal"
    tracked = typed(home, "git ls-tree -r --name-only main")
    assert "dvc.lock" not in tracked, "`git add --all` had it, a hook left it out"
    assert ".csv" not in tracked and ".parquet.dvc" in tracked
