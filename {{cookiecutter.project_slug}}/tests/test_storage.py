"""No transfer is believed: bytes are hashed on arrival and pushes read back."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from ops import storage
from ops.lock import Out

pytestmark = pytest.mark.machinery

CONFIG = """[core]
    remote = storage
    analytics = false
['remote "storage"']
    url = {url}
    verify = true
"""


def git(*args: str, cwd: Path) -> str:
    """Run git as a person with a name."""
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    done = subprocess.run(
        ("git", *who, *args), cwd=cwd, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


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


@pytest.fixture(params=["branch", "../../store"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path, str]:
    """Give a clone, a file of 1 kB, and where storage is."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    here = clone(tmp_path, "here", request.param)
    file = tmp_path / "model.onnx"
    file.write_bytes(bytes(range(256)) * 4)
    return here, file, request.param


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
    with pytest.raises(storage.StorageError, match="not the file that was named"):
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


def test_a_branch_refuses_big_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub refuses big files, so we do first, and name the way out."""
    git("init", "-q", "--bare", "-b", "main", "origin", cwd=tmp_path)
    monkeypatch.setattr(storage, "BRANCH_LIMIT", 3)
    file = tmp_path / "model.onnx"
    file.write_bytes(b"bytes")
    here = clone(tmp_path, "here", "branch")
    with pytest.raises(storage.StorageError, match="s3, gs, azure or ssh"):
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
