"""Which machinery runs, and whether it is as released: said by all who hand it on."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from machinery import tiny
from mlgitops.machinery import SUMS, machinery, sums
from mlgitops.release import server

Change = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a small machinery, as released."""
    made = tmp_path / "mlgitops"
    (made / "serving").mkdir(parents=True)
    (made / "VERSION").write_text("2.3.4\n")
    (made / "__init__.py").write_text("")
    (made / "serving/app.py").write_text("served = 1\n")
    (made / "ledger.py").write_text("kept = 1\n")
    (made / SUMS).write_text(sums(made))
    return made


def edit(folder: Path) -> None:
    (folder / "serving/app.py").write_text("served = 2\n")


def forget(folder: Path) -> None:
    (folder / "ledger.py").unlink()


def add(folder: Path) -> None:
    (folder / "serving/more.py").write_text("more = 1\n")


def test_as_released(folder: Path) -> None:
    found = machinery(folder)
    assert (found.version, found.modified) == ("2.3.4", ())
    assert str(found) == "machinery 2.3.4, as released"
    assert found.record() == {"version": "2.3.4", "modified": []}


@pytest.mark.parametrize(
    ("change", "name"),
    [(edit, "serving/app.py"), (forget, "ledger.py"), (add, "serving/more.py")],
)
def test_a_change_is_named(folder: Path, change: Change, name: str) -> None:
    change(folder)
    found = machinery(folder)
    assert found.record() == {"version": "2.3.4", "modified": [name]}
    assert str(found) == "machinery 2.3.4, modified here (1 file)"


def test_changes_are_counted(folder: Path) -> None:
    for change in (edit, forget, add):
        change(folder)
    assert str(machinery(folder)) == "machinery 2.3.4, modified here (3 files)"


def test_a_part_may_lack_files_but_alters_none(folder: Path) -> None:
    forget(folder)
    assert machinery(folder, part=True).modified == ()
    edit(folder)
    add(folder)
    names = ("serving/app.py", "serving/more.py")
    assert machinery(folder, part=True).modified == names


def test_what_python_leaves_behind_changes_nothing(folder: Path) -> None:
    (folder / "serving/__pycache__").mkdir()
    (folder / "serving/__pycache__/app.cpython-313.pyc").write_bytes(b"\0")
    assert machinery(folder).modified == ()


@pytest.mark.parametrize("text", [b"", b"nonsense\n", b"\xff\xfe  \xff\n\n", None])
def test_without_a_sound_list_everything_is_modified(
    folder: Path, text: bytes | None
) -> None:
    """A server starts all the same: the list is a statement, not a condition."""
    (folder / SUMS).unlink() if text is None else (folder / SUMS).write_bytes(text)
    assert len(machinery(folder, part=True).modified) == 4


def test_a_version_that_is_missing_is_unknown(folder: Path) -> None:
    (folder / "VERSION").unlink()
    assert machinery(folder).record() == {"version": "unknown", "modified": ["VERSION"]}


def test_the_list_is_what_sha256sum_checks(folder: Path) -> None:
    if not shutil.which("sha256sum"):
        pytest.skip("there is no sha256sum")
    check = ("sha256sum", "--check", "--strict", "--quiet", SUMS)
    assert subprocess.run(check, cwd=folder).returncode == 0
    edit(folder)
    assert subprocess.run(check, cwd=folder, capture_output=True).returncode == 1


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Copy the whole machinery into a folder of its own, listed as it is."""
    bare = shutil.ignore_patterns("__pycache__")
    shutil.copytree("mlgitops", tmp_path / "here/mlgitops", ignore=bare)
    made = tmp_path / "here/mlgitops"
    (made / SUMS).write_text(sums(made))
    return tmp_path / "here"


def test_the_command_says_it_and_fails_where_it_was_modified(here: Path) -> None:
    def said() -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "mlgitops", "machinery")
        return subprocess.run(command, cwd=here, capture_output=True, text=True)

    version = (here / "mlgitops/VERSION").read_text().strip()
    done = said()
    assert (done.returncode, done.stdout) == (0, f"machinery {version}, as released\n")
    (here / "mlgitops/ledger.py").open("a").write("# changed\n")
    done = said()
    assert done.returncode == 1
    assert "modified here (1 file)" in done.stdout
    assert "mlgitops/ledger.py" in done.stdout


def test_a_server_says_it(here: Path, tmp_path: Path) -> None:
    """Such as a target has: the server's part of the machinery only."""
    tiny.version(tmp_path / "m")
    for name in (*server.PATHS, *server.STATED):
        if not name.startswith("mlgitops/"):
            continue
        source, goal = here / name, tmp_path / "target" / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, goal)

    def said() -> str:
        with tiny.server(tmp_path / "m", code=tmp_path / "target") as (port, _):
            return str(tiny.call(port, "/info")[1]["machinery"])

    version = (here / "mlgitops/VERSION").read_text().strip()
    assert said() == f"machinery {version}, as released"
    (tmp_path / "target/mlgitops/serving/app.py").open("a").write("# changed\n")
    assert said() == f"machinery {version}, modified here (1 file)"
