"""Storage moves elsewhere whole, or stays: interrupted, altered, absent, full, slow."""

import configparser
import errno
import hashlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from machinery.world import git
from mlgitops import storage
from mlgitops.commands import pull
from mlgitops.commands import storage as command
from mlgitops.ledger import Ledger, lock_path
from mlgitops.storage import StorageError
from mlgitops.store import move, objects, owner, switch

CONFIG = """[core]
    remote = storage
['remote "storage"']
    url = ../../store
    verify = true
"""
Write = Any


def stored(store: Path, text: str) -> str:
    """Put an object into a storage that is a folder; return its md5."""
    md5 = hashlib.md5(text.encode()).hexdigest()
    file = store / "files" / "md5" / md5[:2] / md5[2:]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return md5


def pointer(md5: str, text: str, name: str) -> str:
    """Return an entry of a pointer or a lock."""
    return f"- md5: {md5}\n  size: {len(text)}\n  path: {name}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a repository with a version, newer data and a lock in the ledger."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    git("clone", "-q", "origin", "here", cwd=tmp_path)
    monkeypatch.chdir(tmp_path / "here")
    git("checkout", "-q", "-b", "main")
    for name in (".dvc", "data"):
        Path(name).mkdir()
    Path(".dvc/config").write_text(CONFIG)
    Path(".dvc/.gitignore").write_text("/tmp\n/config.local\n")
    store = tmp_path / "store"
    for text in ("old rows", "new rows"):
        data = pointer(stored(store, text), text, "rows.parquet")
        Path("data/rows.parquet.dvc").write_text(f"outs:\n{data}")
        if text == "old rows":
            model = pointer(stored(store, "model"), "model", "build/model.onnx")
            entry = model.replace("\n", "\n    ").rstrip()
            Path("dvc.lock").write_text(f"stages:\n  train:\n    outs:\n    {entry}\n")
        git("add", "--all")
        git("commit", "-qm", text)
        if text == "old rows":
            git("tag", "-a", "-m", "v", "flights@v1.0.0")
            git("rm", "-q", "--cached", "dvc.lock")
    git("push", "-q", "origin", "main", "--tags")
    lock = Path("dvc.lock").read_bytes().replace(
        hashlib.md5(b"model").hexdigest().encode(), stored(store, "judged").encode()
    )  # fmt: skip
    lock = lock.replace(b"size: 5", b"size: 6")
    sha256 = hashlib.sha256(lock).hexdigest()
    Ledger().append({lock_path(sha256): lock}, "a verdict")
    Path("dvc.lock").unlink()
    stored(store, "named by nobody")
    return tmp_path


def relocate(to: Path | str, login: Path | None = None, **more: Any) -> str:
    """Move storage; return what was said."""
    options = {"log": "", "dry_run": False, "without_absent": False, **more}
    return "\n".join(command.relocate(str(to), login, **options))


def files(folder: Path) -> dict[str, bytes]:
    """Return what lies in a folder, but the names of repositories."""
    found = (path for path in folder.rglob("*") if path.is_file())
    paths = {str(path.relative_to(folder)): path for path in found}
    whose = objects.OWNERS
    return {n: p.read_bytes() for n, p in paths.items() if not n.startswith(whose)}


def test_every_object_moves_and_old_versions_are_still_there(here: Path) -> None:
    """Of the version, the newer data, the verdict, and of nobody: all are there."""
    before = files(here / "store")
    assert "5 objects copied, 5 read back" in relocate("../new")
    assert files(here / "new") == before == files(here / "store")
    assert storage.url() == str(here / "new")
    shutil.rmtree(here / "store")
    git("commit", "-qam", "storage moved")
    git("push", "-q", "origin", "main")
    git("checkout", "-q", "flights@v1.0.0")
    assert storage.url() == str(here / "store")  # as it was then
    pull.main()
    assert Path("data/rows.parquet").read_text() == "old rows"
    assert Path("build/model.onnx").read_text() == "model"


def test_on_a_branch_pull_leaves_the_settings_alone(here: Path) -> None:
    git("checkout", "-q", "-b", "mine", "flights@v1.0.0")
    Path(".dvc/config").write_text(CONFIG.replace("../../store", "../../elsewhere"))
    pull.use_storage_of_main()
    assert storage.url() == str(here / "elsewhere")


def test_a_dry_run_says_what_it_would_copy(here: Path) -> None:
    said = relocate("../new", dry_run=True)
    assert "5 objects" in said and "nothing was copied" in said
    assert not (here / "new").exists() and storage.url() == str(here / "store")


def test_a_dry_run_finishes_no_move_that_broke_off(here: Path) -> None:
    """The settings that wait are another run's; the control: the command finishes."""
    relocate("../new")
    waiting = switch.NEXT / "config"
    waiting.parent.mkdir(parents=True)
    waiting.write_text(Path(".dvc/config").read_text())
    before = files(here / ".dvc")
    with pytest.raises(StorageError, match="DRY=1"):
        relocate("../new", dry_run=True)
    assert files(here / ".dvc") == before and waiting.is_file()
    relocate("../new")
    assert not waiting.exists()


def test_what_came_in_between_is_brought_by_the_same_command(here: Path) -> None:
    relocate("../new")
    stored(here / "store", "stored meanwhile")
    assert "1 object copied" in relocate("../new")
    assert files(here / "new") == files(here / "store")
    shutil.rmtree(".dvc/tmp")
    with pytest.raises(StorageError, match="already"):
        relocate("../new")


def test_killed_in_the_middle_it_goes_on(here: Path) -> None:
    """Kill -9 while the third object is written: none is half under its name."""
    process = os.fork()
    if not process:
        count = 0

        def killing(self: objects.Objects, md5: str) -> bool:
            nonlocal count
            count += 1
            if count == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return True

        objects.Objects.has = killing  # type: ignore[method-assign]
        try:
            relocate("../new")
        finally:
            os._exit(1)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    assert storage.url() == str(here / "store")
    arrived = {k: v for k, v in files(here / "new").items() if ".moving" not in k}
    assert arrived and arrived.items() <= files(here / "store").items()
    name = next(iter(arrived))
    (here / "new" / f"{name}.moving").write_text("half")  # a remainder is no obstacle
    (here / "new" / name).write_text("half")
    relocate("../new")
    whole = {k: v for k, v in files(here / "new").items() if ".moving" not in k}
    assert whole == files(here / "store") and storage.url() == str(here / "new")


class Breaking:
    """A file system of which one call fails, or is slow."""

    def __init__(self, system: Any, verb: str, problem: Any) -> None:
        self.system, self.verb, self.problem = system, verb, problem

    def __getattr__(self, name: str) -> Any:
        if name != self.verb:
            return getattr(self.system, name)

        def call(*args: Any, **more: Any) -> Any:
            if isinstance(self.problem, BaseException):
                raise self.problem
            time.sleep(self.problem)
            return getattr(self.system, name)(*args, **more)

        return call


def break_target(patch: pytest.MonkeyPatch, verb: str, problem: Any) -> None:
    """Let a call of the new storage fail, or be slow."""
    connect = storage.connect

    def broken(config: Any, address: str, name: str) -> Any:
        system, root = connect(config, address, name)
        return Breaking(system, verb, problem), root

    patch.setattr(storage, "connect", broken)


@pytest.mark.parametrize(
    ("verb", "problem", "words"),
    [
        ("put_file", PermissionError("Access Denied"), "cannot be written.*Access Den"),
        ("put_file", OSError(errno.ENOSPC, "No space left on device"), "No space left"),
        ("find", ConnectionError("unreachable"), "cannot be listed: unreachable"),
        ("open", TimeoutError(), "cannot be read back from .*: TimeoutError"),
        ("put_file", KeyboardInterrupt(), "interrupted"),
    ],
    ids=["read-only", "full", "down", "timeout", "ctrl-c"],
)
def test_a_target_that_fails_leaves_storage_as_it_was(
    here: Path, verb: str, problem: BaseException, words: str
) -> None:
    before = files(here / "store")
    with pytest.MonkeyPatch.context() as patch:
        break_target(patch, verb, problem)
        with pytest.raises(StorageError, match=words) as error:
            relocate("../new")
    assert "\n" not in str(error.value)
    assert storage.url() == str(here / "store") and files(here / "store") == before
    if verb != "find":
        assert "type the same command again" in str(error.value)
    relocate("../new")
    assert files(here / "new").items() >= before.items()


def test_a_slow_target_says_how_far_it_is(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(move, "EVERY", 0.02)
    break_target(monkeypatch, "put_file", 0.05)
    relocate("../new")
    assert "of 5 objects are there" in capsys.readouterr().out


def test_an_object_that_comes_back_otherwise_is_refused(here: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects.Objects, "has", lambda self, md5: False)
        with pytest.raises(StorageError, match="other bytes than were written"):
            relocate("../new")
    assert storage.url() == str(here / "store")


def test_an_altered_object_stops_the_move_and_is_named(here: Path) -> None:
    md5 = hashlib.md5(b"model").hexdigest()
    (here / "store/files/md5" / md5[:2] / md5[2:]).write_text("modal")
    with pytest.raises(StorageError, match=f"{md5} of .* was altered"):
        relocate("../new")
    assert storage.url() == str(here / "store")
    stored(here / "store", "model")
    assert "5 read back" in relocate("../new")


def test_a_missing_object_is_named_with_who_needs_it(here: Path) -> None:
    md5 = hashlib.md5(b"judged").hexdigest()
    (here / "store/files/md5" / md5[:2] / md5[2:]).unlink()
    with pytest.raises(StorageError, match=r"model\.onnx of the ledger's locks/.*"):
        relocate("../new")
    assert not (here / "new").exists()
    assert "4 objects copied" in relocate("../new", without_absent=True)


@pytest.mark.parametrize("what", ["a file", "an object"])
def test_a_target_that_holds_something_else_is_refused(here: Path, what: str) -> None:
    (here / "new").mkdir()
    if what == "a file":
        (here / "new" / "thesis.txt").write_text("years of work")
    else:
        stored(here / "new", "of another model")
    before = files(here / "new")
    with pytest.raises(StorageError, match="something else"):
        relocate("../new")
    assert files(here / "new") == before and storage.url() == str(here / "store")


def test_a_branch_moves_to_a_folder(here: Path) -> None:
    """What a repository begins with: the newest branch of origin is read."""
    Path(".dvc/config").write_text(CONFIG.replace("../../store", "branch"))
    branch = Path(".dvc/branch")
    storage.fresh()
    shutil.copytree(here / "store", branch, dirs_exist_ok=True)
    assert "5 objects copied" in relocate("../new")
    assert files(here / "new") == files(here / "store")


def test_the_login_is_not_committed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is secret, and paths of this machine, go to config.local; all else stays."""
    file = here / "login"
    file.write_text(
        "['remote \"storage\"']\n    endpointurl = http://minio\n"
        "    secret_access_key = hunter2\n    access_key_id = anna\n"
        "    keyfile = /home/anna/key\n"
    )
    Path(".dvc/config.local").write_text("['remote \"storage\"']\n    user = old\n")
    new = here / "new"
    monkeypatch.setattr(command, "find_spec", lambda name: name)

    def connect(config: Any, address: str, name: str) -> Any:
        import fsspec

        return fsspec.filesystem("file", auto_mkdir=True), str(new)

    monkeypatch.setattr(storage, "connect", connect)
    said = relocate("s3://bucket/flights", file)
    assert "make setup" in said and "hunter2" not in said
    shared, own = configparser.ConfigParser(), configparser.ConfigParser()
    shared.read(".dvc/config"), own.read(".dvc/config.local")
    section = dict(shared[storage.SECTION])
    assert section == {
        "endpointurl": "http://minio",
        "url": "s3://bucket/flights",
        "verify": "true",
    }
    assert shared["core"]["remote"] == "storage"
    assert own[storage.SECTION]["secret_access_key"] == "hunter2"
    assert {"keyfile", "access_key_id"} <= set(own[storage.SECTION])
    assert Path(".dvc/config.local").stat().st_mode & 0o777 == 0o600
    kept = Path(".dvc/tmp/storage-before")
    assert (kept / "config").read_text() == CONFIG
    assert "user = old" in (kept / "config.local").read_text()


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("branch", "first steps"),
        ("hdfs://host/models", "no packages for hdfs"),
        ("s3://anna:hunter2@bucket/models", "has a login in it"),
        ("gs://bucket", "storage-gs.txt"),
    ],
)
def test_an_address_that_cannot_be_is_refused(here: Path, to: str, words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "find_spec", lambda name: None)
        with pytest.raises(StorageError, match=words) as error:
            relocate(to)
    assert "hunter2" not in str(error.value)


def test_the_prediction_log_comes_along(here: Path) -> None:
    log = here / "log"
    log.mkdir()
    (log / "predictions-2026-01-02.jsonl").write_text("one\n")
    said = relocate("../new", log=str(log))
    assert f"PREDICTION_LOG --body {here / 'new'}/log" in said
    (log / "predictions-2026-01-02.jsonl").write_text("one\ntwo\n")
    (log / "predictions-2026-01-03.jsonl").write_text("three\n")
    assert "2 files copied" in relocate("../new", log=str(log))
    assert files(here / "new" / "log") == files(log)
    with pytest.raises(StorageError, match="no prediction log"):
        relocate("../new", log=str(here / "nowhere"))


@pytest.mark.parametrize("step", range(5))
@pytest.mark.parametrize("login", [True, False])
def test_killed_while_it_writes_the_settings_it_goes_on(
    here: Path, step: int, login: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files: nobody reads the new address with the old login, or none."""
    local, file = Path(".dvc/config.local"), here / "login"
    local.write_text("['remote \"storage\"']\n    user = old\n")
    file.write_text("['remote \"storage\"']\n    keyfile = /home/anna/key\n")
    given = file if login else None
    replace, left = Path.replace, [step]

    def killed(self: Path, target: Path) -> Path:
        if self.name.startswith(("config", "storage-next")) and not left[0]:
            raise KeyboardInterrupt
        left[0] -= self.name.startswith(("config", "storage-next"))
        return replace(self, target)

    keep = switch.keep
    monkeypatch.setattr(switch, "keep", lambda: None)  # another test's
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        keep()
        patch.setattr(Path, "replace", killed)
        relocate("../new", given)
        raise KeyboardInterrupt  # fewer steps without a login
    if storage.UNFINISHED.is_dir():
        with pytest.raises(StorageError, match="interrupted.*same command again"):
            storage.url()
    elif storage.url() == str(here / "store"):
        assert "user = old" in local.read_text(), "all as it was"
    said = relocate("../new", given)
    assert "5 read back" in said and storage.url() == str(here / "new")
    assert local.exists() == login
    if login:
        assert "anna" in local.read_text() and "old" not in local.read_text()
        assert local.stat().st_mode & 0o777 == 0o600
    kept = Path(".dvc/tmp/storage-before")
    assert "old" in (kept / "config.local").read_text()
    assert "../../store" in (kept / "config").read_text()
    assert {path.name for path in Path(".dvc/tmp").iterdir()} == {"storage-before"}


def test_what_was_kept_of_an_older_move_is_not_mixed_in(here: Path) -> None:
    Path(".dvc/config.local").write_text("['remote \"storage\"']\n    user = old\n")
    relocate("../new")
    relocate("../newer")
    kept = Path(".dvc/tmp/storage-before")
    assert "../new" in (kept / "config").read_text()
    assert not (kept / "config.local").exists()


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("files/md5/e8/.1kXL8rezzwLbJwtVC0XgMA.tmp", True),
        ("files/md5/e8/c6bc34f0.moving", True),
        ("files/md5/e8/.notes.tmp", False),
        (".1kXL8rezzwLbJwtVC0XgMA.tmp", False),
    ],
)
def test_what_a_broken_upload_left_is_nobody_elses(
    name: str, is_ours: bool, tmp_path: Path
) -> None:
    """Else the same command would refuse its own storage for ever."""
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("half")
    place = objects.Objects(str(tmp_path), *storage.filesystem(str(tmp_path)))
    assert place.listing().others == ([] if is_ours else [name])


def test_a_storage_of_another_repository_is_no_target(here: Path) -> None:
    relocate("../new")
    assert (here / "new/repositories" / owner.name()).is_file()
    Path(".dvc/config").write_text(CONFIG)
    (here / "new/repositories/octo").mkdir(parents=True)
    (here / "new/repositories/octo/other").write_text("octo/other")
    with pytest.raises(StorageError, match="something else.*octo/other"):
        relocate("../new")
    (here / "new/repositories/octo/other").unlink()
    relocate("../new")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/Octo/Flights.git", "octo/flights"),
        ("https://x:y@github.com/octo/flights/", "octo/flights"),
        ("git@github.com:octo/flights.git", "octo/flights"),
        ("ssh://git@github.com:22/octo/my.model", "octo/my.model"),
        ("/srv/git/fl ights", "git/fl-ights"),
        ("/srv/../..", "srv"),
        ("..", ""),
    ],
)
def test_a_repository_has_one_name(here: Path, url: str, expected: str) -> None:
    git("remote", "set-url", "origin", url)
    assert owner.name() == expected
