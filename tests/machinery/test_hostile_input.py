"""What a stranger sends ends in a sentence: no crash, no hang, whatever it is."""

import io
import json
import signal
import time
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from machinery import tiny
from machinery.judged import Hub, Record
from machinery.test_validate import members, zipped
from mlgitops import git, github, lock, storage
from mlgitops.judge import artifact, intake, sandbox, workflow
from mlgitops.judge.verdict import ValidationError
from mlgitops.judgement import Refused
from mlgitops.lock import LockError
from mlgitops.pipeline.contract import ContractError, mapping
from mlgitops.serving.verify import VerifyError, load_manifest

MD5 = "0" * 32
BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)
)
YAML = {
    "an alias bomb": BOMB,
    "a bomb of merged keys": "a: &a {k: 1}\nb: &b {<<: [*a, *a]}\nc: {<<: [*b, *b]}",
    "a reference to itself": "a: &a [*a]",
    "a key that is itself": "&a ? *a\n: 1",
    "no truth value": "a: !!bool perhaps",
    "no time": "a: !!timestamp soon",
    "no number": "a: !!int ''",
    "no fraction": "a: !!float x",
    "no base64": "a: !!binary é",
    "a month that is none": "a: 2025-13-41",
    "an object of Python": "a: !!python/object/apply:os.system [x]",
    "a list of pairs that is none": "a: !!pairs [1]",
    "an ordered map that is none": "a: !!omap [x]",
    "a set that is none": "a: !!set [x]",
    "a key that is a list": "[a]: 1",
    "a key that is a map": "{a: 1}: 1",
    "nested too deep": "a: " + "[" * 5_000,
    "a number in base 60 of many digits": "a: 1" + ":1" * 200_000,
    "a number of many digits": "a: " + "1" * 500_000,
    "a number in base 16 of many digits": "a: 0x" + "f" * 500_000,
    "two million letters": "a: " + "x" * 2_000_000,
    "two documents": "a: 1\n---\nb: 2",
    "a list": "[1, 2]",
    "bytes that are no text": b"a: \xff\xfe\x80",
    "a control character": "a: \x07",
}


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_hostile_yaml_is_refused_in_time(text: str | bytes) -> None:
    started = time.process_time()  # as a busy machine takes its time
    with pytest.raises(ContractError) as caught:
        mapping(text, "contract.yaml")
    assert len(str(caught.value)) < 400
    with pytest.raises(LockError):
        lock.parse(text if isinstance(text, bytes) else text.encode())
    assert time.process_time() - started < 20


@pytest.mark.parametrize(
    "text", ["a: 1", "a: 0x1f", "a: 1:30", f"a: {'9' * 390}", "a: {b: [c, d]}"]
)
def test_ordinary_yaml_is_read(text: str) -> None:
    assert list(mapping(text, "contract.yaml")) == ["a"]


ENTRIES: list[Record] = [
    {"path": ["build", "model.onnx"]},
    {"path": {"a": 1}},
    {"path": 7},
    {"path": "build/\0"},
    {"path": "build/\ud800"},
    {"path": "build/a\nb"},
    {"path": "build/" + "x" * 300},
    {"path": "build/" + "é" * 200},
    {"path": "x/" * 3_000 + "y"},
    {"size": True},
    {"size": 10**400},
    {"size": 1.5},
    {"size": None},
    {"md5": 0},
    {"md5": [MD5]},
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry)[:40])
def test_an_odd_entry_of_a_lock_is_refused(entry: Record) -> None:
    out = {"path": "build/model.onnx", "md5": MD5, "size": 3}
    control = json.dumps({"stages": {"train": {"outs": [out]}}})
    assert lock.parse(control.encode()).out("model.onnx").size == 3
    text = json.dumps({"stages": {"train": {"outs": [out | entry]}}})  # is YAML, too
    with pytest.raises(LockError) as caught:
        lock.parse(text.encode())
    str(caught.value).encode()


def test_more_pointers_than_anybody_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    git.run("init", "-q")
    blob = git.run("hash-object", "-w", "--stdin", data=b"outs: []\n")
    lines = "".join(f"100644 blob {blob}\t{n}.dvc\n" for n in range(1_001))
    folder = git.run("mktree", data=lines.encode())
    tree = git.run("mktree", data=f"040000 tree {folder}\tdata\n".encode())
    with pytest.raises(LockError, match="allowed 1,000"):
        lock.pointers(tree)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_broken_contents_of_any_method_are_refused(method: int, tmp_path: Path) -> None:
    files = members()
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content * 50 if name == "model.onnx" else content)
    for start in range(30, len(data.getvalue()), 97):
        broken = bytearray(data.getvalue())
        broken[start : start + 6] = b"\xff" * 6
        with pytest.raises(Refused) as caught:
            artifact.unpack(bytes(broken), tmp_path, 10**6)
            artifact.check_objects(tmp_path, lock.parse(files["dvc.lock"]))
        assert caught.value.check.id in ("artifact", "lock")


@pytest.mark.parametrize("seconds", [-1, 1e300, "1"])
def test_a_build_that_took_an_absurd_time_is_refused(
    seconds: Any, tmp_path: Path
) -> None:
    build = {**json.loads(members()["build.json"]), "seconds": seconds}
    (tmp_path / "build.json").write_text(json.dumps(build))
    with pytest.raises(Refused, match=r"build\.json"):
        artifact.read_build(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": 10**400},
        {"threshold": True},
        {"model": {"file": "model.onnx", "sha256": "0" * 64, "bytes": 1e400}},
        {"columns": [[]]},
        {"golden": [{"row": {}, "probability": 10**400}]},
    ],
    ids=lambda change: str(change)[:40],
)
def test_an_absurd_manifest_is_refused(change: Record, tmp_path: Path) -> None:
    tiny.version(tmp_path)
    file = tmp_path / "manifest.json"
    manifest = load_manifest(file)
    file.write_text(json.dumps({**manifest, **change}))
    with pytest.raises(VerifyError):
        load_manifest(file)


def test_a_refusal_is_short_and_of_valid_text() -> None:
    refusal = Refused("lock", "\ud800" + "x" * 10_000)
    assert str(refusal).encode() == refusal.check.reason.encode()
    assert len(refusal.check.reason) == 2_000


def test_what_a_child_does_not_bear_is_refused(tmp_path: Path) -> None:
    """Its end is a refusal; what it bears is left to the judge to refuse."""
    for files in (members(), {"x": b""}):
        file, folder = tmp_path / "a.zip", tmp_path / f"{len(files)}"
        folder.mkdir()
        file.write_bytes(zipped(files))
        intake.unpack(file, folder, 10**6)
    with pytest.raises(Refused, match="cannot be read: FileNotFoundError"):
        intake.unpack(tmp_path / "none", tmp_path, 10**6)


def test_a_lock_that_is_a_bomb_is_refused_as_such(tmp_path: Path) -> None:
    files = members()
    files["dvc.lock"] = BOMB.encode()
    with pytest.raises(Refused, match="alias") as caught:
        artifact.unpack(zipped(files), tmp_path, 10**6)
    assert caught.value.check.id == "lock"


def test_what_takes_too_long_is_refused() -> None:
    def busy() -> None:
        while True:
            pass

    with pytest.raises(Refused, match="longer than 1 seconds"):
        with sandbox.deadline(1):
            busy()
    before = signal.getsignal(signal.SIGALRM)
    with sandbox.deadline(60):
        assert signal.getsignal(signal.SIGALRM) != before
    assert signal.alarm(0) == 0  # the control: nothing is left of it
    assert signal.getsignal(signal.SIGALRM) == before


PULL = {
    "number": 7,
    "state": "open",
    "user": {"login": "ann"},
    "head": {"sha": "a" * 40, "ref": "change", "repo": {"full_name": "o/r"}},
    "base": {"ref": "main", "repo": {"full_name": "o/r", "default_branch": "main"}},
}
CRASHES = [
    KeyError("params"),
    RecursionError("too deep"),
    MemoryError(),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    OverflowError("int too large to convert to float"),
    OSError("Invalid data stream"),
    AttributeError("'NoneType' object has no attribute 'get'"),
]


def run(patch: pytest.MonkeyPatch, folder: Path, error: Exception) -> Hub:
    """Run the program of `validate` where judging raises this."""

    def judge(_: object) -> None:
        raise error

    hub = Hub(PULL, b"")
    hub.plug(patch, folder / "event.json")
    patch.setattr(workflow, "_judge", judge)
    patch.setattr(workflow.cautions, "unbuilt", lambda _: [])
    patch.setattr(workflow.git, "run", lambda *_: "c" * 40)
    patch.chdir(folder)
    with pytest.raises(ValidationError):
        workflow.run()
    return hub


@pytest.mark.parametrize("error", CRASHES, ids=lambda error: type(error).__name__)
def test_a_crash_is_a_refusal_with_status_and_comment(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = run(monkeypatch, tmp_path, error)
    ((sha, state, words),) = hub.statuses
    assert (sha, state) == ("a" * 40, "failure")
    assert type(error).__name__ in words
    assert "No verdict" in hub.comments[7] and "pull_request=7" in hub.comments[7]


def test_a_fault_of_the_surroundings_is_an_error_with_status_and_comment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = run(monkeypatch, tmp_path, storage.StorageError("storage is down \ud800"))
    ((_, state, words),) = hub.statuses
    assert state == "error" and "storage is down ?" in words
    assert "storage is down" in hub.comments[7]


def test_when_github_does_not_say_who_proposed_the_commit_has_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(PULL, b"")
    hub.plug(monkeypatch, tmp_path / "event.json")

    def down(*_: object) -> None:
        raise github.GitHubError(502, "GitHub is down")

    monkeypatch.setattr(github, "pages", down)
    with pytest.raises(github.GitHubError):
        workflow.run()
    assert hub.statuses == [("a" * 40, "error", "No verdict: GitHub is down")]


def test_a_submodule_in_place_of_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child refuses it: `git show` cannot show it."""
    monkeypatch.chdir(tmp_path)
    git.run("init", "-q")
    tree = git.run(
        "mktree", "--missing", data=f"160000 commit {'1' * 40}\tparams.yaml\n".encode()
    )
    for name in ("mlgitops", "model"):
        (tmp_path / name).symlink_to(tiny.ROOT / name)
    (tmp_path / "params.yaml").write_text("train: {}\n")
    (tmp_path / "dvc.lock").write_bytes(members()["dvc.lock"])
    with pytest.raises(git.GitError):
        partial(git.show, tree)("params.yaml")
    with pytest.raises(Refused, match="GitError"):
        intake.identify(tmp_path, tree)
