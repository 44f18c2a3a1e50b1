"""No transfer is believed: bytes are hashed on arrival and pushes read back."""

import hashlib
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from machinery import process_group
from machinery.world import git
from mlgitops import login, machine, storage
from mlgitops.commands import push
from mlgitops.judge import publish
from mlgitops.lock import Out
from mlgitops.store import objects, owner

ROOT = Path.cwd()
CONFIG = """[core]
    remote = storage
    analytics = false
['remote "storage"']
    url = {url}
    verify = true
"""


def clone(folder: Path, name: str, url: str) -> Path:
    """Give a clone of the bare repository with DVC's settings in it."""
    git("clone", "-q", "origin", name, cwd=folder)
    (folder / name / ".dvc").mkdir()
    (folder / name / ".dvc" / "config").write_text(CONFIG.format(url=url))
    return folder / name


def out(path: Path, name: str = "model.onnx") -> Out:
    """Name the bytes of a file."""
    data = path.read_bytes()
    return Out("train", f"build/{name}", hashlib.md5(data).hexdigest(), len(data))


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path, Out]:
    """Give a clone whose storage is a folder, a file, and its name."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    file = tmp_path / "model.onnx"
    file.write_bytes(b"model")
    return clone(tmp_path, "here", "../../store"), file, out(file)


@pytest.fixture(params=["branch", "folder", "elsewhere"])
def place(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path, str]:
    """Give a clone, a file of 1 kB, and where storage is; elsewhere, DVC moves all."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    url = "branch" if request.param == "branch" else "../../store"
    if request.param == "elsewhere":
        monkeypatch.setattr(storage, "_objects", lambda cwd: None)
    here = clone(tmp_path, "here", url)
    file = tmp_path / "model.onnx"
    file.write_bytes(bytes(range(256)) * 4)
    return here, file, url


def test_what_was_pushed_comes_back_elsewhere(
    place: tuple[Path, Path, str], tmp_path: Path
) -> None:
    """Another clone pulls the same bytes; missing ones are told without moving any."""
    here, file, url = place
    named = out(file)
    storage.push({file: named}, here)
    there = clone(tmp_path, "there", url)
    absent = Out("train", "build/other.bin", "0" * 32, 5)
    assert storage.missing([named, absent], there) == [absent]
    (found,) = storage.pull([named], cwd=there)
    assert found == there / "build" / "model.onnx"
    assert found.read_bytes() == file.read_bytes()


def test_f4_an_altered_object_is_refused(place: tuple[Path, Path, str]) -> None:
    """An object that changed in storage is named, and nothing is left behind."""
    here, file, _ = place
    named = out(file)
    storage.push({file: named}, here)
    (kept,) = Path(storage.url(here)).rglob(named.md5[2:])
    for data in (b"x" * named.size, file.read_bytes()[:-1]):
        kept.unlink(missing_ok=True)  # DVC removes an object that it found altered
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(data)
        if (here / ".dvc" / "branch").exists():
            git("add", "--all", cwd=here / ".dvc" / "branch")
            git("commit", "-qm", "altered", cwd=here / ".dvc" / "branch")
            git("push", "-q", "origin", "HEAD:storage", cwd=here / ".dvc" / "branch")
        with pytest.raises(storage.StorageError, match=r"build/model\.onnx"):
            storage.pull([named], cwd=here)
        assert not (here / "build" / "model.onnx").exists()


def test_f2_a_missing_object_names_the_command(place: tuple[Path, Path, str]) -> None:
    """The message says which object and what to type."""
    here, file, _ = place
    with pytest.raises(storage.StorageError, match=r"model\.onnx.*make push"):
        storage.pull([out(file)], cwd=here)


def test_a_push_of_other_bytes_is_refused(place: tuple[Path, Path, str]) -> None:
    """What is not the file that the lock names never enters storage."""
    here, file, _ = place
    named = out(file)
    file.write_bytes(b"other")
    with pytest.raises(storage.StorageError, match="not the expected file"):
        storage.push({file: named}, here)
    assert storage.missing([named], here) == [named]


def test_f1_storage_that_is_down_fails_the_push(tmp_path: Path) -> None:
    """A remote that cannot be written is an error, not a warning."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    blocker = tmp_path / "store"
    blocker.write_text("a file where the folder should be")
    here = clone(tmp_path, "here", "../../store")
    file = tmp_path / "model.onnx"
    file.write_bytes(b"bytes")
    with pytest.raises(storage.StorageError):
        storage.push({file: out(file)}, here)
    blocker.unlink()
    storage.push({file: out(file)}, here)


def test_f1_storage_that_breaks_in_the_middle_of_a_push(tmp_path: Path) -> None:
    """One object arrives, the next does not: red; run again, both are there."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    here = clone(tmp_path, "here", "../../store")
    files = {}
    for name in ("model.onnx", "manifest.json"):
        (tmp_path / name).write_text(name)
        files[tmp_path / name] = out(tmp_path / name, name)
    storage.push({tmp_path / "model.onnx": files[tmp_path / "model.onnx"]}, here)
    second = files[tmp_path / "manifest.json"]
    blocker = tmp_path / "store/files/md5" / second.md5[:2]
    blocker.write_text("a file where the folder should be")
    with pytest.raises(storage.StorageError):
        storage.push(files, here)
    blocker.unlink()
    storage.push(files, here)
    there = clone(tmp_path, "there", "../../store")
    found = storage.pull(files.values(), cwd=there)
    assert [path.read_text() for path in found] == ["model.onnx", "manifest.json"]


PUSH = """
import hashlib, sys
from pathlib import Path
from mlgitops import storage
from mlgitops.lock import Out
file = Path(sys.argv[2])
data = file.read_bytes()
named = Out("train", f"build/{file.name}", hashlib.md5(data).hexdigest(), len(data))
storage.push({file: named}, sys.argv[1])
"""
NOBODY = """
import hashlib, os, sys
from pathlib import Path
from mlgitops import storage
from mlgitops.lock import Out
here, file = sys.argv[1], Path(sys.argv[2])
data = file.read_bytes()
named = Out("train", "build/model.onnx", hashlib.md5(data).hexdigest(), len(data))
os.setgid(65534)
os.setuid(65534)
for call in (
    lambda: storage.missing([named], here),
    lambda: storage.pull([named], cwd=here),
    lambda: storage.push({file: named}, here),
):
    try:
        call()
        print("it worked")
    except storage.StorageError as error:
        print(error)
"""
KILLS = 30 if os.environ.get("PROOF") else 2


@pytest.mark.parametrize("number", range(KILLS))
def test_f3_a_push_that_was_killed_is_complete_or_red(
    tmp_path: Path, number: int
) -> None:
    """Kill -9 at a random moment: what is missing is named, a re-run completes it.

    Every other one goes to a branch.
    """
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    url = "branch" if number % 2 else "../../store"
    here = clone(tmp_path, "here", url)
    files = {}
    for at in range(3):
        file = tmp_path / f"{at}.bin"
        file.write_bytes(bytes([at]) * 10_000_000)
        files[file] = out(file, file.name)
    script = (
        "import sys; from pathlib import Path; from mlgitops import storage; "
        "from mlgitops.lock import Out; from machinery.test_storage import out; "
        "files = [Path(name) for name in sys.argv[2:]]; "
        "storage.push({file: out(file, file.name) for file in files}, sys.argv[1])"
    )
    command = [sys.executable, "-c", script, str(here), *map(str, files)]
    push = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    place = here / ".dvc/branch" if url == "branch" else tmp_path / "store"
    while push.poll() is None and not [*place.glob("files/md5/*/*")]:
        time.sleep(0.001)
    try:
        push.wait(random.Random(number + 5).uniform(0, 0.5 if number % 2 else 0.05))
    except subprocess.TimeoutExpired:
        os.killpg(push.pid, signal.SIGKILL)  # the push and git, which it started
    assert push.wait() in (0, -signal.SIGKILL), "it did not begin"
    process_group.gone(push.pid)  # git may die later than who started it
    there = clone(tmp_path, "there", url)
    gone = storage.missing(files.values(), there)
    if push.returncode == 0:
        assert gone == []
    for named in gone:
        with pytest.raises(storage.StorageError, match=named.name):
            storage.pull([named], cwd=there)
    storage.push(files, here)
    for file, path in zip(files, storage.pull(files.values(), cwd=there), strict=True):
        assert path.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("how", ["writable", "read-only", "truncated"])
def test_f5_a_corrupted_cache_is_never_believed(tmp_path: Path, how: str) -> None:
    """DVC's cache on this disk holds other bytes under the right name."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    here, file = clone(tmp_path, "here", "../../store"), tmp_path / "model.onnx"
    file.write_bytes(bytes(range(256)) * 4)
    named = out(file)
    storage.push({file: named}, here)
    cached = here / ".dvc/cache/files/md5" / named.md5[:2] / named.md5[2:]
    cached.parent.mkdir(parents=True)
    data = file.read_bytes()
    cached.write_bytes(data[:-1] if how == "truncated" else b"x" * len(data))
    cached.chmod(0o644 if how == "writable" else 0o444)
    (found,) = storage.pull([named], cwd=here)
    assert found.read_bytes() == data


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_f22_a_full_disk_leaves_nothing_half(tmp_path: Path) -> None:
    """Pulling onto a disk of 400 kB, and pushing to it; with room, both end."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    far = clone(tmp_path, "far", "../../store")
    file = tmp_path / "model.onnx"
    file.write_bytes(random.Random(1).randbytes(1_000_000))
    named = out(file)
    storage.push({file: named}, far)
    small = tmp_path / "small"
    small.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small))
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let a small disk be mounted")
    try:
        git("clone", "-q", "../origin", "here", cwd=small)
        here = small / "here"
        (here / ".dvc").mkdir()
        text = CONFIG.format(url=tmp_path / "store")
        (here / ".dvc/config").write_text(text)
        with pytest.raises(storage.StorageError, match="model"):
            storage.pull([named], cwd=here)
        assert not (here / "build/model.onnx").exists()
        other = tmp_path / "other.bin"
        other.write_bytes(random.Random(2).randbytes(1_000_000))
        near = clone(tmp_path, "near", str(small / "store"))
        absent = out(other, "other.bin")
        with pytest.raises(storage.StorageError, match=r"other\.bin.*No space"):
            storage.push({other: absent}, near)
        assert storage.missing([absent], near) == [absent]
        assert [*small.rglob(f"*{storage.PART}")] == []
        remount = ("mount", "-o", "remount,size=40m", str(small))
        subprocess.run(remount, check=True)
        (found,) = storage.pull([named], cwd=here)
        assert found.read_bytes() == file.read_bytes()
        storage.push({other: absent}, near)
        assert storage.missing([absent], near) == []
    finally:
        subprocess.run(("umount", "-l", str(small)), check=True)


def test_a_branch_refuses_big_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub refuses big files, so we do first, and name the way out."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    monkeypatch.setattr(storage, "BRANCH_LIMIT", 3)
    file = tmp_path / "model.onnx"
    file.write_bytes(b"bytes")
    here = clone(tmp_path, "here", "branch")
    with pytest.raises(storage.StorageError, match=", ".join(storage.kinds())):
        storage.push({file: out(file)}, here)
    elsewhere = clone(tmp_path, "elsewhere", "../../store")
    storage.push({file: out(file)}, elsewhere)


def test_two_clones_fill_one_branch(tmp_path: Path) -> None:
    """Objects of two clones that did not know of one another both stay."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    named = []
    for name in ("one", "two"):
        here = clone(tmp_path, name, "branch")
        file = tmp_path / f"{name}.bin"
        file.write_text(name)
        named.append(out(file, file.name))
        if name == "two":
            shutil.rmtree(here / ".dvc" / "branch", ignore_errors=True)
        storage.push({file: named[-1]}, here)
    assert storage.missing(named, tmp_path / "one") == []


def test_what_was_deleted_on_a_branch_is_not_brought_back(tmp_path: Path) -> None:
    """By the next push of another clone, which had it (`make prune`, then a push)."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    one, two = (clone(tmp_path, name, "branch") for name in ("one", "two"))
    named = []
    for here, name in ((one, "gone"), (two, "late"), (two, "new")):
        file = tmp_path / name
        file.write_text(name)
        named.append(out(file, name))
        storage.push({file: named[-1]}, here)
        if name == "late":
            gone = named[0]
            storage.fresh(one)
            (one / ".dvc/branch/files/md5" / gone.md5[:2] / gone.md5[2:]).unlink()
            storage.publish(one)
    assert storage.missing(named, one) == [gone]


def test_a_push_names_what_is_neither_here_nor_in_storage(
    place: tuple[Path, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is absent here and was sent before is fine; what is nowhere is not."""
    here, file, _ = place
    monkeypatch.chdir(here)
    sent, other = out(file), tmp_path / "other"
    other.write_bytes(b"never sent")
    storage.push({file: sent}, here)
    said = push.send([sent])
    assert "0 objects sent" in said and "1 more" in said
    lost = out(other, "holdout.parquet")
    with pytest.raises(storage.StorageError, match=r"storage: build/holdout\.parquet"):
        push.send([sent, lost])


def test_a_push_without_origin_says_that_nothing_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a branch as storage and no origin, the bytes are on this machine only."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    here = clone(tmp_path, "here", "branch")
    monkeypatch.chdir(here)
    (here / "build").mkdir()
    (here / "build" / "model.onnx").write_bytes(b"model")
    named = out(here / "build" / "model.onnx")
    assert "this machine only" not in push.send([named])
    git("remote", "remove", "origin", cwd=here)
    assert "on this machine only" in push.send([named])


def test_a_login_is_read_from_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the text of .dvc/config.local; code of a proposal never sees it."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(CONFIG.format(url="webdav://host/x"))
    text = "['remote \"storage\"']\n    password = hunter2\n"
    monkeypatch.setenv(login.LOGIN, text)
    section = storage._config(tmp_path)[storage.SECTION]
    assert (section["url"], section["password"]) == ("webdav://host/x", "hunter2")
    assert login.LOGIN not in machine.environment()
    monkeypatch.setenv(login.LOGIN, "password = hunter2")
    with pytest.raises(storage.StorageError, match=login.LOGIN) as error:
        storage.url(tmp_path)
    assert "hunter2" not in str(error.value)


def test_what_cannot_be_opened_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some packages log in, or connect, as soon as they are made; some are absent."""

    def refuse(**_: object) -> None:
        raise ConnectionRefusedError("ssh://anna:secret@host\n refuses")

    made = SimpleNamespace(get_cloud_fs=lambda *_, **__: (refuse, {}, "folder"))
    modules: dict[str, Any] = {"dvc.fs": made, "dvc_ssh": None}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.chdir(tmp_path)
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text(CONFIG.format(url="ssh://host/folder"))
    said = "ssh://host/folder cannot be opened: ssh://...@host refuses; when .* again"
    with pytest.raises(storage.StorageError, match=f"^{said}$"):
        objects.here()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("Failure"), "Failure (all that sftp says of a full disk or quota)"),
        ("not sent - Failure ERROR: 1 failed", "Failure (all that"),
        (OSError("Failure to connect"), "Failure to connect"),
        (OSError(), "OSError"),
        (OSError("Access\n  Denied"), "Access Denied"),
        (OSError("x" * 300), f"{'x' * 198} …"),
    ],
    ids=["sftp", "by DVC", "another", "without a word", "two lines", "long"],
)
def test_why_storage_failed_is_one_line(error: object, said: str) -> None:
    assert said in storage.reason(error)
    assert "\n" not in storage.reason(error) and len(storage.reason(error)) <= 200


def test_a_bucket_is_neither_looked_for_nor_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A writer of objects may have no right to either."""
    written: dict[str, bytes] = {}
    bucket = SimpleNamespace(exists=written.__contains__, pipe_file=written.__setitem__)
    monkeypatch.setattr(owner, "name", lambda: "octo/flights")
    for _ in range(2):
        owner.claim(objects.Objects("s3://bucket/folder", bucket, "bucket/folder"))
    path = "bucket/folder/repositories/octo/flights"
    assert written == {path: b"octo/flights\n"}
    with pytest.raises(storage.StorageError, match="makedirs"):
        owner.claim(objects.Objects("/folder", bucket, "/folder"))


def test_only_what_was_altered_is_written_over(
    model: tuple[Path, Path, Out], tmp_path: Path
) -> None:
    here, file, named = model
    storage.push({file: named}, here)
    stored = tmp_path / "store/files/md5" / named.md5[:2] / named.md5[2:]
    inode = stored.stat().st_ino
    storage.push({file: named}, here)
    assert stored.stat().st_ino == inode, "the control"
    stored.chmod(0o644)
    stored.write_bytes(b"other")
    storage.push({file: named}, here)
    assert stored.read_bytes() == b"model"
    assert [path.name for path in stored.parent.iterdir()] == [stored.name]


def test_a_file_that_changes_while_it_is_sent_is_no_object(
    model: tuple[Path, Path, Out], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its hash and its copy."""
    (here, file, named), make = model, storage._make
    monkeypatch.setattr(
        storage, "_make", lambda *args: file.write_bytes(b"later") and make(*args)
    )
    with pytest.raises(storage.StorageError, match="not the expected file"):
        storage.push({file: named}, here)
    assert storage.missing([named], here) == [named]
    monkeypatch.undo()
    assert [*(tmp_path / "store").rglob(f"*{storage.PART}")] == []
    file.write_bytes(b"model")
    storage.push({file: named}, here)


@pytest.mark.parametrize("damage", ["half", "HEAD", "objects", "refs", "no git"])
def test_half_a_clone_of_the_branch_is_made_whole(damage: str, tmp_path: Path) -> None:
    """A full disk or a kill left it: git would take the repository around for it."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    here = clone(tmp_path, "here", "branch")
    git("commit", "-q", "--allow-empty", "-m", "my work", cwd=here)
    work = git("rev-parse", "HEAD", cwd=here)
    file, own = tmp_path / "model.onnx", here / ".dvc/branch/.git"
    file.write_bytes(b"model")
    storage.push({file: out(file)}, here)
    if damage == "HEAD":
        (own / "HEAD").write_text("")
    else:
        shutil.rmtree(own / damage if damage in ("objects", "refs") else own)
    if damage == "half":
        (own / "hooks").mkdir(parents=True)
    file.write_bytes(b"another")
    storage.push({file: out(file)}, here)
    assert git("rev-parse", "HEAD", cwd=here) == work
    assert git("symbolic-ref", "HEAD", cwd=here) == "refs/heads/main"
    sent = git("ls-tree", "-r", "--name-only", "storage", cwd=tmp_path / "origin")
    assert len(sent.split()) == 2 and all("files/md5/" in n for n in sent.split())


def test_a_push_from_a_hook_of_git_works_on_the_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook has the repository's name in its environment."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    here = clone(tmp_path, "here", "branch")
    git("commit", "-q", "--allow-empty", "-m", "my work", cwd=here)
    work = git("rev-parse", "HEAD", cwd=here)
    file = tmp_path / "model.onnx"
    file.write_bytes(b"model")
    with monkeypatch.context() as hook:
        hook.chdir(here)
        hook.setenv("GIT_DIR", str(here / ".git"))
        hook.setenv("GIT_INDEX_FILE", str(here / ".git/index"))
        storage.push({file: out(file)})
    assert git("rev-parse", "HEAD", cwd=here) == work
    assert git("status", "--porcelain", "--untracked-files=no", cwd=here) == ""
    assert storage.missing([out(file)], clone(tmp_path, "there", "branch")) == []


def test_pushes_to_one_clone_wait_for_one_another(tmp_path: Path) -> None:
    """And the lock that a killed git left holds nobody up."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    here = clone(tmp_path, "here", "branch")
    files = [tmp_path / f"{n}.bin" for n in range(6)]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * 1_000)
    storage.push({files[0]: out(files[0], "0.bin")}, here)
    lock = here / ".dvc/branch/.git/index.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    command = [sys.executable, "-c", PUSH, str(here)]
    pushes = [subprocess.Popen([*command, str(file)], cwd=ROOT) for file in files]
    assert [push.wait(300) for push in pushes] == [0] * len(files)
    named = [out(file, file.name) for file in files]
    assert storage.missing(named, clone(tmp_path, "there", "branch")) == []


@pytest.mark.parametrize(("shared", "mode"), [("group", 0o2775), ("", 0o755)])
def test_a_group_may_add_to_a_storage_that_it_shares(
    shared: str, mode: int, model: tuple[Path, Path, Out], tmp_path: Path
) -> None:
    """As DVC does with `shared = group`; without it, rights are those of this user."""
    here, file, named = model
    with (here / ".dvc/config").open("a") as config:
        config.write(f"    shared = {shared}\n" if shared else "")
    before = os.umask(0o022)
    try:
        storage.push({file: named}, here)
    finally:
        os.umask(before)
    folders = [path for path in (tmp_path / "store").rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {mode}
    assert len(folders) == 3


def test_a_disk_without_rights_of_its_own_takes_objects(
    model: tuple[Path, Path, Out], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some of a network, which refuse to change them."""
    here, file, named = model

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    storage.push({file: named}, here)
    assert storage.missing([named], here) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_folder_that_one_may_not_enter_is_told(
    model: tuple[Path, Path, Out], tmp_path: Path
) -> None:
    """Looked up, downloaded and sent by somebody else."""
    here, file, named = model
    storage.push({file: named}, here)
    (tmp_path / "store/files/md5" / named.md5[:2]).chmod(0o700)
    for path in (tmp_path, *tmp_path.parents[:-1]):
        os.chmod(path, path.stat().st_mode | 0o011)
    for path in (here, *here.rglob("*")):
        os.chown(path, 65534, 65534)
    done = subprocess.run(
        [sys.executable, "-c", NOBODY, str(here), str(file)],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    looked, pulled, pushed = done.stdout.splitlines()
    assert "cannot be looked up in storage" in looked and "Permission" in looked
    assert "not downloaded" in pulled and "Permission" in pulled
    assert "not stored" in pushed and "Permission" in pushed


def test_an_address_that_is_a_url_of_a_folder_is_refused(tmp_path: Path) -> None:
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    here = clone(tmp_path, "here", f"file://{tmp_path}/store")
    with pytest.raises(storage.StorageError, match="write the path of the folder"):
        storage.missing([Out("train", "build/model.onnx", "0" * 32, 5)], here)


def test_what_a_killed_push_left_is_no_object(tmp_path: Path) -> None:
    """Half an object is not sent to the branch, and keeps nothing else from it."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    here = clone(tmp_path, "here", "branch")
    file = tmp_path / "model.onnx"
    file.write_bytes(b"model")
    named = out(file)
    storage.push({file: named}, here)
    folder = here / ".dvc/branch/files/md5" / named.md5[:2]
    assert stat.S_IMODE((folder / named.md5[2:]).stat().st_mode) == 0o444
    (folder / f"{named.md5[2:]}.x{storage.PART}").write_bytes(b"mod")
    storage.push({file: named}, here)
    file.write_bytes(b"another")
    storage.push({file: out(file)}, here)
    sent = git("ls-tree", "-r", "--name-only", "storage", cwd=tmp_path / "origin")
    assert len(sent.split()) == 2 and storage.PART not in sent


def test_who_stores_nothing_needs_no_right_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there already is no reason to write a repository's name."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    monkeypatch.chdir(clone(tmp_path, "here", "../../store"))
    Path("build").mkdir()
    file = Path("build/model.onnx")
    file.write_bytes(b"model")
    named = out(file)
    push.send([named])
    assert (tmp_path / "store/repositories" / owner.name()).is_file()

    def refuse() -> None:
        raise storage.StorageError("the name cannot be written")

    monkeypatch.setattr(owner, "claim_here", refuse)
    assert "1 object sent" in push.send([named])
    ledger = SimpleNamespace(paths=lambda path: [path])
    built = SimpleNamespace(outs=[named], sha256="0" * 64)
    case: Any = SimpleNamespace(champion=None, built=built, ledger=ledger)
    case.challenger = file.parent
    publish.store(case)
    publish.keep(case)
    file.write_bytes(b"another model")
    built.outs = [out(file)]
    for store in (publish.store, publish.keep, lambda case: push.send(case.built.outs)):
        with pytest.raises(storage.StorageError, match="the name cannot be written"):
            store(case)
