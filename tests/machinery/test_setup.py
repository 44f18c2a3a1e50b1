"""`make setup` on machines as they are: git's settings, branches, folders."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from machinery.world import git
from mlgitops import lock, storage
from mlgitops.commands import setup
from mlgitops.lock import Out

ROOT = Path.cwd()
KEPT = (
    ".dvc/config",
    ".dvcignore",
    ".gitattributes",
    ".gitignore",
    "contract.yaml",
)
KEPT += ("dvc.yaml", "requirements/dev.txt", "model/features.py", "tests/conftest.py")
KEPT += ("data/README.md", "deploy/README.md", ".github/workflows/ci.yml")
DATA = b"PAR1 as good as any"


def project(folder: Path) -> Path:
    """Make a folder with a part of what the template generates."""
    for name in (name for name in KEPT if (ROOT / name).exists()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "data/flights.parquet").write_bytes(DATA)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home whose git settings are the test's own."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in a newly generated folder."""
    folder = project(tmp_path / "new")
    monkeypatch.chdir(folder)
    yield folder


def committed() -> set[str]:
    """Return what the first commit holds."""
    return set(git("ls-files").splitlines())


def set_up(dvc: bool = False) -> None:
    """Do what `make setup` does, but for pre-commit's hooks and, mostly, for DVC."""
    setup.start_git()
    setup.name_main()
    if dvc:
        setup.track_data()
    else:
        Path("data/.gitignore").write_text("/flights.parquet\n")
        Path("data/flights.parquet.dvc").write_text("outs: []\n")
    setup.first_commit()


def test_what_a_gitignore_of_the_machine_hides_is_committed_all_the_same(
    here: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And later, too: a new pointer and dvc.lock are not hidden."""
    git("config", "--global", "core.excludesFile", str(home / "ignore"))
    hidden = ["data/", "*.dvc", "*.lock", "*.txt", "deploy", ".github", "tests/"]
    hidden += ["*.yaml", "requirements", "junk"]
    (home / "ignore").write_text("\n".join(hidden))
    (here / "example").mkdir()
    (here / "example/later.parquet").write_bytes(DATA)
    set_up(dvc=True)
    expected = {name for name in KEPT if (here / name).exists()}
    expected |= {"data/flights.parquet.dvc", "data/.gitignore"}
    expected |= {"example/later.parquet.dvc", "example/.gitignore"}
    assert committed() == expected
    assert lock.pointers()["data/flights.parquet"].size == len(DATA)

    (here / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (here / "data/more.parquet").write_bytes(DATA)
    storage.add("data/more.parquet")
    git("add", "--all")
    assert committed() - expected == {"dvc.lock", "data/more.parquet.dvc"}
    (here / "junk").write_text("mine")
    git("add", "--all")
    assert "junk" not in committed(), "what the project does not need stays hidden"


def test_one_process_of_dvc_tracks_all_data(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each more would take the second or two of its start."""
    started = list[tuple[str, ...]]()
    monkeypatch.setattr(
        storage, "_dvc", lambda cwd, problem, *args: started.append(args)
    )
    assert setup.track_data() == ["flights.parquet"]
    (here / "data/more.parquet").write_bytes(DATA)
    assert setup.track_data() == ["flights.parquet", "more.parquet"]
    assert [args[2:] for args in started] == [
        ("data/flights.parquet",),
        ("data/flights.parquet", "data/more.parquet"),
    ]


def test_a_reason_of_dvc_is_shown(here: Path) -> None:
    """Not an empty one: here a gitignore nearer than the project's hides a pointer."""
    setup.start_git()
    (here / "data/.gitignore").write_text("*.dvc\n")
    with pytest.raises(storage.StorageError, match=r"failed: .*git-ignored"):
        setup.track_data()


def test_a_new_repository_says_what_to_type_next(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of one's own, or the example; not once there is a commit."""
    monkeypatch.setattr(setup, "track_data", list)
    monkeypatch.setattr(setup, "install_hooks", bool)
    setup.main()
    said = capsys.readouterr().out
    assert "make data FILE=" in said and "make repro" in said
    setup.main()
    assert "make data" not in capsys.readouterr().out


@pytest.mark.parametrize("autocrlf", ["true", "input"])
def test_a_commit_has_the_same_bytes_on_every_machine(
    here: Path, home: Path, tmp_path: Path, autocrlf: str
) -> None:
    """A manifest has hashes of files: a changed line end would be another version."""
    git("config", "--global", "core.autocrlf", autocrlf)
    (here / "model/features.py").write_bytes(b"one\r\ntwo\n")
    set_up()
    clone = tmp_path / "clone"
    git("clone", "-q", str(here), str(clone))
    for name in committed():
        data = (here / name).read_bytes()
        assert (clone / name).read_bytes() == data, name
        assert setup.git.show("HEAD", name) == data, name


@pytest.mark.slow
def test_objects_on_the_storage_branch_keep_their_bytes(
    here: Path, home: Path, tmp_path: Path
) -> None:
    """Text is among them, such as a manifest; a gitignore may name their folder."""
    git("config", "--global", "core.autocrlf", "true")
    git("config", "--global", "core.excludesFile", str(home / "ignore"))
    (home / "ignore").write_text("files/\n")
    git("init", "-q", "--bare", "-b", "main", str(tmp_path / "origin"))
    config = "[core]\n    remote = storage\n['remote \"storage\"']\n    url = branch\n"
    (here / ".dvc/config").write_text(config)
    set_up()
    git("remote", "add", "origin", str(tmp_path / "origin"))
    git("push", "-q", "origin", "main")
    files = {}
    for name, data in (("lf", b"a\nb\n"), ("crlf", b"a\r\nb\r\n")):
        (here / name).write_bytes(data)
        md5 = subprocess.check_output(("md5sum", name), text=True).split()[0]
        files[here / name] = Out("train", name, md5, len(data))
    storage.push(files)
    other = tmp_path / "other"
    git("clone", "-q", str(tmp_path / "origin"), str(other))
    storage.pull(files.values(), tmp_path / "got", other)
    for path in files:
        assert (tmp_path / "got" / path.name).read_bytes() == path.read_bytes()


def test_a_conflict_leaves_a_lock_that_can_be_read(here: Path) -> None:
    """On one's own side, and marked as a conflict: `git rm dvc.lock` ends it."""
    (here / "dvc.lock").write_text("stages: {}\n")
    set_up()
    for branch, text in (("other", "theirs: 1\n"), ("main", "mine: 1\n")):
        git("switch", "-q", *(("-c",) if branch == "other" else ()), branch)
        (here / "dvc.lock").write_text(f"stages: {{}}\n{text}")
        git("commit", "-qam", branch)
    with pytest.raises(subprocess.CalledProcessError):
        git("merge", "-q", "other")
    assert (here / "dvc.lock").read_text() == "stages: {}\nmine: 1\n"
    assert git("diff", "--name-only", "--diff-filter=U") == "dvc.lock"


def test_a_repository_without_a_commit_gets_the_branch_main(here: Path) -> None:
    git("init", "-q", "-b", "master")
    set_up()
    assert git("branch", "--show-current") == "main"
    assert git("log", "--format=%s", "main") == "Start from the template"


def test_a_branch_with_commits_keeps_its_name_and_the_command_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git("init", "-q", "-b", "trunk")
    git("commit", "-q", "--allow-empty", "-m", "mine")
    set_up()
    assert "type `git branch -m main`" in capsys.readouterr().out
    git("branch", "-m", "main")
    git("switch", "-q", "-c", "better-model")
    setup.name_main()
    assert capsys.readouterr().out == "", "any branch is fine beside main"


def test_inside_another_repository_it_gets_its_own(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git("init", "-q", "-b", "main", str(here.parent))
    set_up()
    assert f"inside the repository {here.parent}" in capsys.readouterr().out
    assert Path(git("rev-parse", "--show-toplevel")) == here
    assert "data/flights.parquet.dvc" in committed()


def test_files_that_another_repository_tracks_are_refused(here: Path) -> None:
    git("init", "-q", "-b", "main", str(here.parent))
    git("add", "--all")
    with pytest.raises(setup.SetupError, match="tracks the files of this folder"):
        setup.start_git()
    assert not (here / ".git").exists()


def test_a_folder_in_the_place_of_a_table_is_refused_before_a_commit(
    here: Path,
) -> None:
    """Once its pointer is committed, every other command would refuse it."""
    (here / "data/days.parquet").mkdir()
    with pytest.raises(setup.SetupError, match=r"days\.parquet is a folder.*make data"):
        set_up(dvc=True)
    assert not list(Path("data").glob("*.dvc"))
    assert not git("log", "--all", "--format=%s")
