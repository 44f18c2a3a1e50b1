"""200 times other bytes are handed over; 200 times they are refused, by name.

The hand-overs: out of storage, off the GitHub Release, at the start of a server, onto a
host, and in the edge bundle. At each of them bits are flipped, files are cut, swapped,
replaced by a twin with the same MD5, by another version, another contract.
"""

import hashlib
import itertools
import math
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from machinery import tiny
from machinery.world import git, sha, world
from mlgitops import storage
from mlgitops.edge import build, run
from mlgitops.host import agent
from mlgitops.release import ReleaseError, assets, eligibility, registry
from mlgitops.serving.__main__ import load
from mlgitops.serving.verify import VerifyError, verify

Files = dict[str, bytes]
Offer = Callable[[Files, Files], str]  # what was reviewed, what comes -> refusal, or ""
NAMES = ("manifest.json", "model.onnx", "contract.yaml")
# Of forty: how often which; the rest follows in the same proportion.
KINDS = (
    *("flip",) * 12,
    *("truncate",) * 8,
    *("swap",) * 6,
    *("same md5",) * 4,
    *("wrong version",) * 5,
    *("wrong contract",) * 5,
)
# One block each, the same MD5: Marc Stevens, "Single-block collision attack on MD5",
# 2012, https://eprint.iacr.org/2012/040
TWINS = tuple(
    bytes.fromhex(
        "4dc968ff0ee35c209572d4777b721587d36fa7b21bdc56b74a3dc0783e7b9518"
        f"afbfa20{one}a8284bf36e8e4b55b35f427593d849676da0d1{two}d8360fb5f07fea2"
    )
    for one, two in (("0", "555"), ("2", "d55"))
)


def version(folder: Path, slope: float, more: str = "", model: bytes = b"") -> Files:
    """Return the files of a whole version; with a model of one's own bytes."""
    contract = tiny.CONTRACT + more
    named = {"file": "model.onnx", "sha256": sha(model), "bytes": len(model)}
    changes: dict[str, Any] = {"model": named} if model else {}
    changes["contract"] = tiny.contract_hashes(contract)
    tiny.version(folder, slope, **changes)
    (folder / "contract.yaml").write_text(contract)
    if model:
        (folder / "model.onnx").write_bytes(model)
    assert verify(folder)
    return {name: (folder / name).read_bytes() for name in NAMES}


class Bytes:
    """What was reviewed, another version, and one whose model has a twin."""

    def __init__(self, home: Path) -> None:
        self.good = version(home / "good", 0.001)
        self.other = version(home / "other", 0.002, "# another\n")
        self.one = version(home / "one", 0.001, model=TWINS[0] + b"the rest")

    def mutations(self, seed: str) -> Iterator[tuple[str, tuple[str, ...], Files]]:
        """Yield what comes instead, its kind, and the names that may be blamed."""
        chance = random.Random(seed)
        for kind in itertools.islice(itertools.cycle(KINDS), COUNT):
            yield kind, *self.mutated(kind, chance)

    def mutated(
        self, kind: str, chance: random.Random
    ) -> tuple[tuple[str, ...], Files]:
        """Return the names that changed, and all files."""
        name, bad = chance.choice(NAMES), dict(self.good)
        data = bytearray(bad[name])
        match kind:
            case "flip":
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                return (name,), {**bad, name: bytes(data)}
            case "truncate":
                return (name,), {
                    **bad,
                    name: bytes(data[: chance.randrange(len(data))]),
                }
            case "swap":
                one, two = chance.sample(NAMES, 2)
                return (one, two), {**bad, one: bad[two], two: bad[one]}
            case "same md5":
                model = TWINS[1] + self.one["model.onnx"][64:]
                return ("model.onnx",), {**self.one, "model.onnx": model}
            case "wrong version":
                return NAMES, dict(self.other)
        contract = self.other["contract.yaml"] + b"#" * chance.randrange(99)
        return ("contract.yaml",), {**bad, "contract.yaml": contract}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Bytes:
    return Bytes(tmp_path_factory.mktemp("files"))


def test_the_twins_are_twins() -> None:
    one, two = TWINS
    assert one != two and sha(one) != sha(two) and len(one) == len(two) == 64
    for rest in (b"", b"the rest"):
        md5 = {hashlib.md5(block + rest).hexdigest() for block in TWINS}
        assert len(md5) == 1


def from_storage(
    home: Path, patch: pytest.MonkeyPatch, files: Bytes
) -> Iterator[Offer]:
    """Out of storage, whatever DVC lets through, or lies in a folder."""
    with world(home, patch) as here:
        patch.undo()
        patch.chdir(here.clone)
        Path(".dvc").mkdir()
        Path(".dvc/config").write_text("['remote \"storage\"']\n    url = ../../s\n")
        coming: Files = {}

        def transfer(scratch: Path, *_: str) -> str:
            for place in scratch.glob("*/*.dvc"):
                place.with_suffix("").write_bytes(coming[place.stem])
            return ""

        patch.setattr(storage, "_transfer", transfer)
        roads = itertools.cycle((None, home / "s"))  # DVC's, and that of a folder
        patch.setattr(storage, "_objects", lambda cwd: next(roads))

        def offer(good: Files, bad: Files) -> str:
            lines = ["schema: '2.0'", "stages:", "  train:", "    outs:"]
            for name in NAMES[:2]:
                md5 = hashlib.md5(good[name]).hexdigest()
                lines += [f"    - path: build/{name}", f"      md5: {md5}"]
                lines += [f"      size: {len(good[name])}"]
                place = home / "s" / md5[:2] / md5[2:]
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(bad[name])
            lock_bytes = "\n".join([*lines, ""]).encode()
            expected = hashlib.sha256(good["manifest.json"]).hexdigest()
            Path("contract.yaml").write_bytes(bad["contract.yaml"])
            git("add", "contract.yaml")
            git("commit", "-q", "--allow-empty", "-m", "offered")
            coming.update(bad)
            folder = here.home / "brought"
            shutil.rmtree(folder, ignore_errors=True)
            try:
                head = git("rev-parse", "HEAD")
                eligibility.bring(head, folder, expected, lock_bytes)
            except ReleaseError as error:
                return str(error)
            return ""

        yield offer


def from_release(
    home: Path, patch: pytest.MonkeyPatch, files: Bytes
) -> Iterator[Offer]:
    """Off the GitHub Release: `deploy`, `rollback`."""
    with world(home, patch) as here:

        def offer(good: Files, bad: Files) -> str:
            here.hub.kept.clear()
            here.hub.data.clear()
            identity = sha(good["manifest.json"])
            named = registry.Version("v1.0.0", "flights@v1.0.0", "c" * 40, identity)
            assets.put(named, good, "")
            for name in good:
                here.hub.alter(name, bad[name])
            try:
                assets.bring(named, home / "brought")
            except ReleaseError as error:
                return str(error)
            return ""

        yield offer


def onto_a_host(home: Path, patch: pytest.MonkeyPatch, files: Bytes) -> Iterator[Offer]:
    """Onto a host, over HTTP; and once there, on its disk."""
    from machinery.test_agent import Api
    from machinery.test_agent import World as Host

    api = Api()
    try:
        host = Host(home, api)
        (home / "agent/releases").mkdir(parents=True)
        given = agent.parse(["--git", str(host.bare), "--home", str(home / "agent")])
        source = agent.Source(str(host.bare), api.url, "me/flights", "")
        follower = agent.Agent(given, source)
        api.releases["flights@v1"] = home / "published"
        chance = random.Random(1)

        def write(folder: Path, some: Files) -> None:
            folder.mkdir(exist_ok=True)
            for name, data in some.items():
                (folder / name).write_bytes(data)

        def offer(good: Files, bad: Files) -> str:
            identity = sha(good["manifest.json"])
            release = {"manifest_sha256": identity, "commit": host.commit}
            release |= {"version": "v1", "tag": "flights@v1"}
            release["server"] = {"commit": host.commit, "sha256": "4" * 64}
            shutil.rmtree(home / "agent/releases")
            (home / "agent/releases").mkdir()
            here = chance.random() < 0.5
            write(home / "published", good if here else bad)
            try:
                if here:  # downloaded whole, altered afterwards
                    write(follower.fetch(release) / "model", bad)
                follower.fetch(release)
            except agent.TransientError as error:
                return str(error)
            return ""

        yield offer
    finally:
        api.shutdown()
        api.server_close()


def in_the_bundle(
    home: Path, patch: pytest.MonkeyPatch, files: Bytes
) -> Iterator[Offer]:
    """In the edge bundle, on a machine without a network."""

    def offer(good: Files, bad: Files) -> str:
        shutil.rmtree(home)
        home.mkdir()
        for name, data in good.items():
            (home / name).write_bytes(data)
        for name, data in build.contents(home).items():
            place = home / "bundle" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        for name, data in bad.items():
            (home / "bundle/model" / name).write_bytes(data)
        try:
            run.check(home / "bundle")
            verify(home / "bundle/model")
        except (run.BundleError, VerifyError) as error:
            return str(error)
        return ""

    yield offer


def at_the_start(
    home: Path, patch: pytest.MonkeyPatch, files: Bytes
) -> Iterator[Offer]:
    """At the start of a server, in an image or on a host."""

    def offer(good: Files, bad: Files) -> str:
        for name, data in bad.items():
            (home / name).write_bytes(data)
        model, reason = load(home, sha(good["manifest.json"]), 1)
        assert (model is None) == bool(reason)
        return reason

    yield offer


HANDOVERS = [from_storage, from_release, onto_a_host, in_the_bundle, at_the_start]
COUNT = math.ceil(200 / len(HANDOVERS))


@pytest.mark.parametrize("handover", HANDOVERS, ids=lambda h: h.__name__)
def test_mutations_are_refused_by_name(
    handover: Any, files: Bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, int] = {}
    for offer in handover(tmp_path, monkeypatch, files):
        assert offer(files.good, files.good) == "", "the reviewed bytes are taken"
        for kind, names, bad in files.mutations(handover.__name__):
            good = files.one if kind == "same md5" else files.good
            said = offer(good, bad)
            assert any(name in said for name in names), (kind, names, said)
            seen[kind] = seen.get(kind, 0) + 1
        assert offer(files.good, files.good) == "", "and taken again afterwards"
    assert set(seen) == set(KINDS) and sum(seen.values()) == COUNT


def test_they_are_two_hundred() -> None:
    assert len(HANDOVERS) * COUNT >= 200
