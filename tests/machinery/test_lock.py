"""A lock is read as data: what DVC does not write for single files is refused."""

import copy

import pytest
import yaml

from mlgitops.lock import LockError, parse

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
    with pytest.raises(LockError, match=r"manifest\.json.*make repro"):
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


def test_two_files_alike_are_refused() -> None:
    """Files are found by name, so a name stands for one file."""
    body = yaml.safe_load(lock())
    body["stages"]["other"] = dict(
        body["stages"]["train"], outs=copy.deepcopy(body["stages"]["train"]["outs"])
    )
    with pytest.raises(LockError, match="same file name"):
        parse(yaml.safe_dump(body).encode())
