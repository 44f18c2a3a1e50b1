"""Artifacts and proposals altered at random: the judge never ends without a status.

Some dozens here, always the same; 5,000 with PROOF=1, which takes hours. Everything is
the real program of `validate` but GitHub, storage, and the start of its children, which
are forks; the parts of the judge that only describe are left out without PROOF.
"""

import hashlib
import io
import json
import os
import random
import runpy
import signal
import sys
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machinery.judged import Hub, first, git
from machinery.test_hostile_input import YAML
from mlgitops import github, storage
from mlgitops.judge import (
    artifact,
    behaviour,
    business,
    changes,
    explain,
    fairness,
    flips,
    proposal,
    replay,
    sandbox,
    slices,
    workflow,
)
from mlgitops.judge.verdict import ValidationError
from mlgitops.judgement import Refused
from mlgitops.lock import Out
from mlgitops.storage import StorageError

pytestmark = pytest.mark.slow
PROOF = bool(os.environ.get("PROOF"))
CASES = 5_000 if PROOF else 24
PARTS = (behaviour, business, changes, explain, fairness, flips, replay, slices)
SECONDS = 60  # for one child; the real limit is five times as long
Files = dict[str, bytes]
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    10**400,
    1e308,
    2**63,
    "",
    "x" * 5_000,
    "\ud800",
    "\0",
    "../../etc/passwd",
    "2099-01-01",
    [],
    {},
    [[[[[[]]]]]],
    {"a": {"b": [1, "c"]}},
]
OUTPUTS = sorted(artifact.OUTS)
PROPOSED = ("contract.yaml", "params.yaml", "data/flights.parquet.dvc", "dvc.yaml")


class Judge:
    """A proposal that passes, and a judge that is asked about altered ones."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        made, self.pull, self.data = first()
        self.project = made.copy(home)
        with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
            self.files: Files = {n: archive.read(n) for n in archive.namelist()}
        self.hub = Hub(self.pull, self.data)
        self.hub.plug(patch, home / "run.json")
        self.folder = self.project.checkout("judge")
        patch.chdir(self.folder)
        patch.setattr(sandbox, "run", forked)
        patch.setattr(sandbox, "confine", lambda *_: signal.alarm(SECONDS))
        patch.setattr(storage, "push", lambda *_: None)
        patch.setattr(github, "summary", lambda _: None)
        for part in () if PROOF else PARTS:  # they see numbers of the judge's own
            patch.setattr(part, "add", lambda _: None)
        patch.setattr(storage, "bring", self.bring)
        self.tree, merge = "", proposal.merge
        patch.setattr(proposal, "merge", lambda *a: self.tree or merge(*a))
        self.base = git("rev-parse", f"{self.pull['head']['sha']}^{{tree}}")

    def bring(self, targets: Mapping[Path, Out]) -> dict[Path, StorageError]:
        """Stand in for storage, which has the author's data and nothing else."""
        file = self.project.clone / "data/flights.parquet"
        known = hashlib.md5(file.read_bytes()).hexdigest()
        absent = {p: StorageError(f"{o.path} is missing") for p, o in targets.items()}
        for path, out in targets.items():
            if out.md5 == known:
                path.write_bytes(file.read_bytes())
                del absent[path]
        return absent

    def ask(self, data: bytes, proposed: Files) -> tuple[str, str]:
        """Return the last status of `validate` and its comment."""
        self.hub.data, self.hub.statuses, self.hub.comments = data, [], {}
        self.tree = self.altered(proposed) if proposed else ""
        try:
            workflow.run()
        except ValidationError:
            pass  # a red run, once the author has been told
        for folder in (self.folder, self.project.home / "origin"):
            names = git("for-each-ref", "--format=%(refname)", cwd=folder).split()
            for name in names:
                if name.endswith("/ledger"):
                    git("update-ref", "-d", name, cwd=folder)
        ((_, state, words),) = self.hub.statuses
        assert words and self.hub.comments[1]
        return state, words

    def altered(self, proposed: Files) -> str:
        """Return the proposal's tree with other bytes in some files."""
        git("read-tree", self.base)
        for name, content in proposed.items():
            file = self.folder.parent / "blob"
            file.write_bytes(content)
            blob = git("hash-object", "-w", str(file))
            git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}")
        return git("write-tree")


def forked(check: str, module: str, *arguments: object, **_: object) -> None:
    """Stand in for sandbox.run: the same module, in a fork, which starts at once."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        os.dup2(writer, 2)
        _run(module, [str(argument) for argument in arguments])
    os.close(writer)
    with open(reader, "rb") as stream:
        errors = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise Refused(check, sandbox._ending(code, errors))


def _run(module: str, arguments: list[str]) -> NoReturn:
    """Run a module as `python -m` does, and end this process."""
    sys.argv, code = [module, *arguments], 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        os.write(2, str(error.code).encode(errors="replace"))
    except BaseException:
        os.write(2, traceback.format_exc().encode(errors="replace"))
    os._exit(code)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """Give a judge."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        yield Judge(tmp_path_factory.mktemp("fuzz"), patch)


def scrambled(data: bytes, luck: random.Random) -> bytes:
    """Return bytes with a few of them changed, cut out, put in or repeated."""
    found = bytearray(data)
    for _ in range(luck.choice((1, 1, 2, 8))):
        at = luck.randrange(len(found) + 1)
        match luck.randrange(5):
            case 0:
                found[at : at + 1] = bytes([luck.randrange(256)])
            case 1:
                found[at : at + luck.choice((1, 4, 400))] = b""
            case 2:
                found[at:at] = luck.randbytes(luck.choice((1, 4, 400)))
            case 3:
                found[at : at + 4] = luck.choice((b"\xff" * 4, b"\0" * 4))
            case 4:
                del found[at:]
    return bytes(found)


def odd(document: Any, luck: random.Random) -> Any:
    """Return a document with something odd in it, in place of any part of it."""
    if isinstance(document, dict) and document and luck.random() < 0.9:
        name = luck.choice(sorted(document, key=str))
        rest = {k: v for k, v in document.items() if k != name}
        if luck.random() < 0.1:
            return rest
        return rest | {name: odd(document[name], luck)}
    if isinstance(document, list) and document and luck.random() < 0.9:
        at = luck.randrange(len(document))
        return [*document[:at], odd(document[at], luck), *document[at + 1 :]]
    return luck.choice(ODD)


def text(name: str, data: bytes, luck: random.Random) -> bytes:
    """Return a file of text with something odd in it; JSON is YAML, too."""
    if luck.random() < 0.2:
        return scrambled(data, luck)
    if not name.endswith(".json") and luck.random() < 0.4:
        hostile = luck.choice(list(YAML.values()))
        more = hostile if isinstance(hostile, bytes) else hostile.encode()
        return luck.choice((more, data + b"\n" + more))
    return json.dumps(odd(yaml.safe_load(data), luck), default=str).encode()


def consistent(files: Files) -> Files:
    """Return an artifact whose manifest and lock name its files as they are."""
    try:
        manifest = json.loads(files["manifest.json"])
        model = files["model.onnx"]
        manifest["model"]["bytes"] = len(model)
        manifest["model"]["sha256"] = hashlib.sha256(model).hexdigest()
        train = hashlib.sha256(files["train.parquet"]).hexdigest()
        manifest["data"]["train_sha256"] = train
        files = {**files, "manifest.json": json.dumps(manifest).encode()}
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    document = yaml.safe_load(files["dvc.lock"])
    for stage in document["stages"].values():
        for out in stage["outs"]:
            content = files[Path(out["path"]).name]
            out |= {"md5": hashlib.md5(content).hexdigest(), "size": len(content)}
    return {**files, "dvc.lock": yaml.safe_dump(document).encode()}


def zipped(files: Files, luck: random.Random) -> bytes:
    """Return the files as a zip, of any method."""
    methods = (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", luck.choice(methods)) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def archive(judge: Judge, luck: random.Random) -> tuple[bytes, Files]:
    """Alter the zip itself."""
    data = zipped(judge.files, luck)
    return scrambled(data[-2_000:] if luck.random() < 0.1 else data, luck), {}


def output(judge: Judge, luck: random.Random) -> tuple[bytes, Files]:
    """Alter an output of the stages, which manifest and lock then name."""
    name = luck.choice(OUTPUTS)
    alter: Callable[..., bytes] = text if name.endswith(".json") else _binary
    files = {**judge.files, name: alter(name, judge.files[name], luck)}
    return zipped(consistent(files), luck), {}


def _binary(_: str, data: bytes, luck: random.Random) -> bytes:
    return scrambled(data, luck)


def record(judge: Judge, luck: random.Random) -> tuple[bytes, Files]:
    """Alter what the artifact says of itself, and nothing else."""
    name = luck.choice(("dvc.lock", "dvc.lock", "build.json", "contract.yaml"))
    files = {**judge.files, name: text(name, judge.files[name], luck)}
    return zipped(files, luck), {}


def proposed(judge: Judge, luck: random.Random) -> tuple[bytes, Files]:
    """Alter a file of the pull request."""
    name = luck.choice(PROPOSED)
    source = (judge.project.clone / name).read_bytes()
    return judge.data, {name: text(name, source, luck)}


KINDS = (archive, output, record, proposed)


def test_the_control_passes(judge: Judge) -> None:
    state, words = judge.ask(judge.data, {})
    assert state == "success", words
    luck = random.Random(0)
    state, words = judge.ask(zipped(consistent(judge.files), luck), {})
    assert state in ("success", "failure"), "a manifest that was written anew"


SEEN = Counter[str]()


@settings(
    max_examples=CASES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32))
def test_nothing_ends_without_a_status(judge: Judge, kind: Any, seed: int) -> None:
    data, files = kind(judge, random.Random(seed))
    state, words = judge.ask(data, files)
    assert state in ("success", "failure", "error")
    words.encode()
    SEEN[f"{kind.__name__}: {state}"] += 1


def test_the_cases_went_everywhere() -> None:
    if not SEEN:
        pytest.skip("the cases were not run")
    print(dict(SEEN))
    assert {name.split(":")[0] for name in SEEN} == {k.__name__ for k in KINDS}
    assert SEEN["archive: failure"] and SEEN["record: failure"]
