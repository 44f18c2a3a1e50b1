"""A lock is read as data: what DVC does not write for single files is refused."""

import copy
from pathlib import Path

import pytest
import yaml

from mlgitops.lock import LockError, parse, pointers

MD5 = "0" * 32


def lock(**entry: object) -> bytes:
    """Give a dvc.lock with one stage and one file."""
    out = {"path": "build/model.onnx", "hash": "md5", "md5": MD5, "size": 3, **entry}
    stages = {"train": {"cmd": "python -m mlgitops train", "outs": [out]}}
    return yaml.safe_dump({"schema": "2.0", "stages": stages}).encode()


def test_a_lock_of_dvc_is_read() -> None:
    """Name, stage and bytes come back."""
    found = parse(lock())
    assert {out.stage for out in found.outs} == {"train"}
    assert found.out("model.onnx").md5 == MD5


def test_a_file_that_no_stage_wrote_is_named() -> None:
    """The message says which file and what to type."""
    with pytest.raises(LockError, match=r"manifest\.json: a stage"):
        parse(lock()).out("manifest.json")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"path": "../../etc/passwd"}, "outside"),
        ({"path": "/etc/passwd"}, "outside"),
        ({"path": ""}, "outside"),
        ({"md5": MD5 + ".dir"}, "single file"),
        ({"md5": "short"}, "single file"),
        ({"size": -1}, "single file"),
        ({"size": "3"}, "single file"),
    ],
)
def test_hostile_entries_are_refused(entry: dict[str, object], why: str) -> None:
    """Folders, escapes and odd hashes never reach a transfer."""
    with pytest.raises(LockError, match=why):
        parse(lock(**entry))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"stages: 3", b"stages: {a: {outs: 3}}", b"a: [", b"\xff\xfe"]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    """Anything but a lock ends in one sentence."""
    with pytest.raises(LockError):
        parse(data)


def conflict() -> bytes:
    """Return what git leaves of a lock that both sides changed."""
    ours, theirs = lock(size=3), lock(size=4)
    return b"<<<<<<< HEAD\n" + ours + b"=======\n" + theirs + b">>>>>>> main\n"


def test_a_conflict_says_the_way_out() -> None:
    """One command; without a conflict the message is another."""
    with pytest.raises(
        LockError, match="has a merge conflict: type .git rm dvc.lock && make repro"
    ):
        parse(conflict())
    with pytest.raises(LockError) as refused:
        parse(b"a: [")
    assert "conflict" not in str(refused.value)


def test_a_conflict_in_a_pointer_says_its_own_way_out(tmp_path: Path) -> None:
    """Which data is meant is a choice: no command makes it again."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/flights.parquet.dvc").write_bytes(conflict())
    with pytest.raises(LockError) as refused:
        pointers(cwd=tmp_path)
    command = "git checkout origin/main -- data/flights.parquet.dvc"
    assert f"`{command}`" in str(refused.value)


def test_two_files_alike_are_refused() -> None:
    """Files are found by name, so a name stands for one file."""
    body = yaml.safe_load(lock())
    body["stages"]["other"] = dict(
        body["stages"]["train"], outs=copy.deepcopy(body["stages"]["train"]["outs"])
    )
    with pytest.raises(LockError, match="same file name"):
        parse(yaml.safe_dump(body).encode())
