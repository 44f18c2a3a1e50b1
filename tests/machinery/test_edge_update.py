"""Devices update themselves: whatever is in the way, a whole version runs."""

import base64
import contextlib
import errno
import hashlib
import http.server
import io
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from machinery import tiny
from machinery.world import roll_out, world
from mlgitops.commands import edge, rollback
from mlgitops.edge import build, devices, update
from mlgitops.release import ReleaseError, assets

RUNNER = b"""\
import hashlib, json, sys
data = open("model/manifest.json", "rb").read()
rows = json.load(sys.stdin)["rows"]
if json.loads(data).get("bad"):
    raise SystemExit("refused: the golden rows differ")
print(json.dumps({"manifest_sha256": hashlib.sha256(data).hexdigest(), "n": len(rows)}))
"""
ROWS = b'{"rows": [{}]}'


def key(folder: Path, name: str) -> Path:
    """Make a key pair; its public half has the suffix .pub."""
    private = folder / name
    make = ("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout")
    subprocess.run((*make, "-out", str(private)), check=True)
    public = ("openssl", "ec", "-in", str(private), "-pubout")
    out = ("-out", f"{private}.pub")
    subprocess.run((*public, *out), check=True, capture_output=True)
    return private


def sign(private: Path, data: bytes) -> str:
    """Return the signature of some bytes, as an index has it."""
    command = ("openssl", "dgst", "-sha256", "-sign", str(private))
    done = subprocess.run(command, input=data, check=True, capture_output=True)
    return base64.b64encode(done.stdout).decode()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return key(folder, "ours"), key(folder, "theirs")


def manifest(number: int, **more: Any) -> bytes:
    """Return a manifest with a golden row, one for each number."""
    return json.dumps({"v": number, "golden": [{"row": {}}], **more}).encode()


def files(number: int, **more: Any) -> dict[str, bytes]:
    """Return the files of a bundle, without their list."""
    weights = bytes([number % 256]) * 3000
    model = {"model/manifest.json": manifest(number, **more), "model/m.onnx": weights}
    return {"run.py": RUNNER, **model}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def packed(
    contents: dict[str, bytes],
    extra: tuple[zipfile.ZipInfo, ...] = (),
    listed: dict[str, bytes] | None = None,
) -> bytes:
    """Return a bundle with its list of checksums, of other contents if so asked."""
    entries = sorted((contents if listed is None else listed).items())
    lines = [f"{digest(data)}  {name}\n" for name, data in entries]
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**contents, "SHA256SUMS": "".join(lines).encode()}.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        for item in extra:
            archive.writestr(item, b"x")
    return target.getvalue()


class Shop:
    """A folder of versions, as `publish` writes it."""

    def __init__(self, folder: Path, private: Path | None = None) -> None:
        self.folder, self.private = folder, private
        folder.mkdir(parents=True, exist_ok=True)

    def offer(
        self, number: int, record: Any, bundle: bytes | None = None, **changes: Any
    ) -> dict[str, Any]:
        """Publish version v1.0.NUMBER as record SEQ; return the index."""
        data = packed(files(number)) if bundle is None else bundle
        order = changes.pop("order", False)
        index = {
            "schema": 1,
            "environment": "production",
            "seq": record,
            "action": "deploy",
            "version": f"v1.0.{number}",
            "tag": f"m@v1.0.{number}",
            "manifest_sha256": digest(manifest(number)),
            "withdrawn": [],
            "bundle_sha256": digest(data),
            "bundle_bytes": len(data),
            "signature": sign(self.private, data) if self.private else "",
        } | changes
        if order and self.private:
            signed = sign(self.private, update.statement(index))
            index["order_signature"] = signed
        name = index["bundle_sha256"].replace("/", "-")
        (self.folder / f"{name}.zip").write_bytes(data)
        (self.folder / "production.json").write_text(json.dumps(index))
        return index


class Box:
    """One device."""

    def __init__(self, home: Path, *sources: str, key: Path | None = None) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        options = ["--home", str(home), "setup", "--environment", "production"]
        options += ["--device", home.name]
        for source in sources:
            options += ["--source", source]
        options += ["--key", f"{key}.pub"] if key else ["--no-key"]
        update.setup(home, update.parser().parse_args(options))

    def look(self) -> dict[str, Any]:
        return update.look(self.home)

    def runs(self) -> str | None:
        """Return what would run: the version of the first whole folder."""
        version, _ = update.runnable(self.home, update.state_of(self.home))
        return version.version if version else None

    def folder(self) -> Path:
        """Return where the current version is."""
        current = update.state_of(self.home).current
        assert current
        return update.folder_of(self.home, current)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


@pytest.fixture
def box(tmp_path: Path, shop: Shop) -> Box:
    """A device that runs v1.0.1."""
    shop.offer(1, 1)
    made = Box(tmp_path / "device", str(shop.folder))
    assert made.look()["state"] == "current"
    return made


def test_it_follows_versions_and_keeps_the_one_before(
    box: Box, shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    assert update.run(box.home, ROWS) == 0
    assert json.loads(capfd.readouterr().out)["manifest_sha256"] == digest(manifest(1))
    shop.offer(2, 5)
    report = box.look()
    assert (report["state"], report["version"], report["spare"]) == (
        "current",
        "v1.0.2",
        "v1.0.1",
    )
    shop.offer(3, 6)
    box.look()
    kept = {p.name for p in (box.home / "versions").iterdir() if p.is_dir()}
    assert len(kept) == 2 and box.runs() == "v1.0.3"
    assert box.look()["looks"] == 4  # nothing new: a heartbeat


def test_an_older_record_is_refused_and_a_rollback_followed(
    box: Box, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.offer(2, 5)
    box.look()
    shop.offer(1, 1)
    report = box.look()
    assert report["state"] == "refused" and "older" in report["reason"]
    assert box.runs() == "v1.0.2"
    shop.offer(1, 6, action="rollback", withdrawn=[digest(manifest(2))])
    monkeypatch.setattr(update, "download", None)  # the one before is still here
    assert box.look()["version"] == "v1.0.1"
    # and what was taken back does not return when the other one is damaged
    (box.folder() / "run.py").write_bytes(b"")
    assert box.runs() is None


def test_a_withdrawn_version_is_refused(box: Box, shop: Shop) -> None:
    shop.offer(2, 5, withdrawn=[digest(manifest(2))])
    report = box.look()
    assert report["state"] == "refused" and "withdrawn" in report["reason"]
    assert box.runs() == "v1.0.1"


def test_one_record_names_one_version(box: Box, shop: Shop) -> None:
    shop.offer(2, 1)
    assert "names another version" in box.look()["reason"] and box.runs() == "v1.0.1"


def test_a_record_that_was_followed_names_one_version(box: Box, shop: Shop) -> None:
    """Also one that came later than the version itself."""
    shop.offer(1, 3)
    assert box.look()["state"] == "current"
    shop.offer(2, 3)
    assert "names another version" in box.look()["reason"] and box.runs() == "v1.0.1"


def test_forget_follows_a_ledger_that_was_made_anew(
    box: Box, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.offer(2, 0)
    assert box.look()["state"] == "refused"
    monkeypatch.setattr(sys, "argv", ["update.py", "--home", str(box.home), "forget"])
    update.main()
    assert box.look()["version"] == "v1.0.2"


def altered(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new, 1)


def link(name: str) -> zipfile.ZipInfo:
    item = zipfile.ZipInfo(name)
    item.external_attr = (stat.S_IFLNK | 0o777) << 16
    return item


def unlisted(**more: bytes) -> bytes:
    """Return a bundle with a file that its list lacks."""
    return packed(files(2), (zipfile.ZipInfo("json.py"),))


BUNDLES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a name above": (lambda: packed(files(2), (zipfile.ZipInfo("../x"),)), "leaves"),
    "an absolute name": (lambda: packed(files(2), (zipfile.ZipInfo("/x"),)), "leaves"),
    "a backslash": (lambda: packed(files(2), (zipfile.ZipInfo("a\\..\\x"),)), "leaves"),
    "a link": (lambda: packed(files(2), (link("x"),)), "not a file"),
    "a folder in the way": (
        lambda: packed(files(2), (zipfile.ZipInfo("run.py/x"),)),
        "where another",
    ),
    "an unlisted file": (unlisted, "not the ones that it lists"),
    "no list": (lambda: altered(packed(files(2)), b"SHA256SUMS", b"SHA256SUMX"), "zip"),
    "no zip": (lambda: b"not a zip", "not a zip"),
    "a broken entry": (lambda: packed(files(2))[:-400], "not a zip"),
    "too many files": (
        lambda: packed(files(2) | {f"f{n}": b"" for n in range(update.MAX_FILES)}),
        "files",
    ),
    "a list without end": (
        lambda: packed(files(2), listed={"x" * update.MAX_TEXT_BYTES: b""}),
        "no list",
    ),
    "another version": (lambda: packed(files(3)), "another version"),
    "other bytes than listed": (
        lambda: packed(files(2), listed=files(2) | {"run.py": b""}),
        "run.py of the bundle is altered",
    ),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bad_bundle_is_refused(
    box: Box, shop: Shop, tmp_path: Path, name: str
) -> None:
    make, words = BUNDLES[name]
    shop.offer(2, 5, make())
    report = box.look()
    assert report["state"] == "refused" and words in report["reason"], report
    assert box.runs() == "v1.0.1" and report["version"] == "v1.0.1"
    assert not (tmp_path / "x").exists() and not Path("/x").exists()


def test_a_bomb_is_stopped(
    box: Box, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "MAX_BUNDLE_BYTES", 50_000)
    shop.offer(2, 5, packed(files(2) | {"zeros": bytes(2_000_000)}))
    report = box.look()
    assert "files" in report["reason"] and box.runs() == "v1.0.1", report


def test_golden_rows_are_checked_before_the_switch(box: Box, shop: Shop) -> None:
    """And a version that fails here is not downloaded again at each look."""
    bad = packed(files(2, bad=True))
    shop.offer(2, 5, bad, manifest_sha256=digest(manifest(2, bad=True)))
    report = box.look()
    assert report["state"] == "refused" and "golden rows differ" in report["reason"]
    assert box.runs() == "v1.0.1"
    assert "failed here 1 time" in box.look()["reason"]
    assert "golden rows differ" in box.look()["reason"]  # tried again
    shop.offer(3, 6)
    assert box.look()["version"] == "v1.0.3"


@pytest.mark.parametrize("name", ["run.py", "model/m.onnx", "SHA256SUMS"])
@pytest.mark.parametrize("how", ["altered", "gone"])
def test_a_damaged_version_gives_way_and_is_mended(
    box: Box, shop: Shop, name: str, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.offer(2, 5)
    box.look()
    file = box.folder() / name
    file.unlink() if how == "gone" else file.write_bytes(b"x")
    assert box.runs() == "v1.0.1" and update.run(box.home, ROWS) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["manifest_sha256"] == digest(manifest(1))
    assert "v1.0.1 runs" in said.err
    hidden = shop.folder.rename(shop.folder.with_name("away"))
    report = box.look()
    assert (report["state"], report["version"]) == ("damaged", "v1.0.1")
    hidden.rename(shop.folder)
    report = box.look()
    assert (report["version"], report["spare"]) == ("v1.0.2", "v1.0.1")


def test_what_runs_is_found_again_without_its_pointer(box: Box, shop: Shop) -> None:
    shop.offer(2, 5)
    box.look()
    for data in (b"", b"{", b"[]", b'{"seq": "x"}'):
        (box.home / "state.json").write_bytes(data)
        assert box.runs() == "v1.0.2"
    assert box.look()["state"] == "current"


def test_what_was_withdrawn_stays_so_when_the_pointer_is_damaged(
    box: Box, shop: Shop
) -> None:
    shop.offer(2, 5)
    box.look()
    shop.offer(1, 6, action="rollback", withdrawn=[digest(manifest(2))])
    box.look()
    before = update.state_of(box.home)
    (box.home / "state.json").write_bytes(b"{")
    assert update.state_of(box.home) == before
    (box.home / "state.copy.json").write_bytes(b"{")
    assert box.runs() == "v1.0.1"
    (box.folder() / "run.py").write_bytes(b"")
    assert box.runs() is None


def test_a_bundle_packed_otherwise_is_refused(box: Box, shop: Shop) -> None:
    """A library that unpacks it may fail in ways of its own."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_LZMA) as archive:
        for name, data in files(2).items():
            archive.writestr(name, data)
    at = target.getvalue().index(b"run.py") + 20
    data = bytearray(target.getvalue())
    data[at : at + 40] = bytes(40)
    shop.offer(2, 5, bytes(data))
    report = box.look()
    assert report["state"] == "refused" and "packed" in report["reason"]
    assert box.runs() == "v1.0.1"


# Signatures


@pytest.fixture
def signing(tmp_path: Path, keys: tuple[Path, Path]) -> tuple[Shop, Box]:
    """A device with a key that runs v1.0.1, and its folder."""
    shop = Shop(tmp_path / "shop", keys[0])
    shop.offer(1, 1)
    box = Box(tmp_path / "device", str(shop.folder), key=keys[0])
    assert box.look()["state"] == "current"
    return shop, box


def test_a_signature_is_demanded(
    signing: tuple[Shop, Box], keys: tuple[Path, Path]
) -> None:
    shop, box = signing
    data = packed(files(2))
    for signature, words in (
        ("", "not signed"),
        (sign(keys[1], data), "another key"),
        (sign(keys[0], data + b"x"), "another key"),
        ("?", "not signed"),
        (base64.b64encode(b"x" * 70).decode(), "another key"),
    ):
        shop.offer(2, 5, data, signature=signature)
        report = box.look()
        assert report["state"] == "refused" and words in report["reason"], report
    shop.offer(2, 5)
    assert box.look()["version"] == "v1.0.2"


def test_a_signed_order_stays_demanded(signing: tuple[Shop, Box]) -> None:
    """Whoever writes the folder then cannot bring an old signed version back."""
    shop, box = signing
    shop.offer(2, 5, order=True)
    assert box.look()["version"] == "v1.0.2"
    shop.offer(1, 9)
    assert "is not signed" in box.look()["reason"]
    index = shop.offer(1, 5, order=True)
    index["seq"] = 9
    (shop.folder / "production.json").write_text(json.dumps(index))
    assert "altered" in box.look()["reason"] and box.runs() == "v1.0.2"


def test_without_openssl_it_says_so(
    signing: tuple[Shop, Box], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shop, box = signing
    shop.offer(2, 5)
    monkeypatch.setenv("PATH", str(tmp_path))
    report = box.look()
    assert report["state"] == "behind" and "install it" in report["reason"]
    assert box.runs() == "v1.0.1"
    with pytest.raises(update.RefusedError, match="openssl"):
        Box(tmp_path / "other", "x", key=Path(box.home / "signing"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--source", "x"], "--key"),
        (["--source", "http://example.org/", "--no-key"], "https"),
        (["--source", "x", "--no-key", "--api", "http://git.example"], "token"),
        (["--source", "x", "--no-key", "--device", "../x"], "device's name"),
        (["--source", "x", "--no-key", "--environment", "../x"], "environment's name"),
        (["--source", "x", "--key", __file__], "public key"),
    ],
)
def test_setup_refuses_what_is_unsafe(
    tmp_path: Path, options: list[str], words: str
) -> None:
    given = ["setup", "--environment", "production", *options]
    with pytest.raises(update.RefusedError, match=words):
        update.setup(tmp_path, update.parser().parse_args(given))
    assert not (tmp_path / "settings.json").exists()


# The network


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, with one fault; keeps what is posted."""

    fault = ""
    posted: ClassVar[list[dict[str, Any]]] = []
    seen: ClassVar[list[str]] = []
    asked: ClassVar[list[str]] = []  # the ranges of bundles

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.posted.append(json.loads(self.rfile.read(length)))
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        if self.fault == "404":
            self.send_error(404)
        elif self.fault == "hang":
            time.sleep(1.0)
        elif self.fault == "trickle":
            with contextlib.suppress(OSError):
                for _ in range(100):  # or until the client leaves
                    self.wfile.write(b"H")
                    time.sleep(0.1)
        elif self.fault == "elsewhere":
            self.send_response(302)
            port = self.server.server_address[1]
            self.send_header("Location", f"http://localhost:{port}{self.path}")
            self.end_headers()
        elif self.fault == "half" and self.path.endswith(".zip"):
            data = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
        elif self.fault in RANGES and self.path.endswith(".zip"):
            self.asked.append(self.headers.get("Range", ""))
            RANGES[self.fault](self, Path(self.translate_path(self.path)).read_bytes())
        elif self.fault == "no length" and self.path.endswith(".zip"):
            data = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data[:-9])
        elif self.fault == "endless":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(40):
                    self.wfile.write(bytes(100_000))
        else:
            super().do_GET()


def ranged(
    handler: Handler, data: bytes, sent: int = 1_500, named: bool = True
) -> None:
    """Answer with the bytes that were asked for, and stop after some of them."""
    start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
    if start >= len(data):
        return handler.send_error(416)
    handler.send_response(206 if start else 200)
    if start and named:
        handler.send_header("Content-Range", f"bytes {start}-/{len(data)}")
    handler.send_header("Content-Length", str(len(data) - start))
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(data[start : start + sent])


def whole(handler: Handler, data: bytes, sent: int = 1_500) -> None:
    """Answer with all bytes, whatever was asked for, and stop after some of them."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(data[:sent])


def flipped(data: bytes) -> bytes:
    """Return the bytes with one bit in their middle changed."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


RANGES: dict[str, Callable[[Handler, bytes], None]] = {
    "cut": ranged,
    "range": lambda handler, data: ranged(handler, data, len(data)),
    "unnamed": lambda handler, data: ranged(handler, data, len(data), named=False),
    "late": lambda handler, data: ranged(handler, data[:1_000], 1_000),
    "whole": lambda handler, data: whole(handler, data, len(data)),
    "altered": lambda handler, data: whole(handler, bytes(len(data))),
    "bit": lambda handler, data: whole(handler, flipped(data), len(data)),
}


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, type[Handler]]]:
    kind = type("Own", (Handler,), {"fault": "", "posted": [], "seen": [], "asked": []})

    def handler(*arguments: Any) -> Handler:
        return kind(*arguments, directory=str(folder))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", kind
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        ("404", "offline", "404"),
        ("hang", "offline", "did not answer|does not answer"),
        ("trickle", "offline", "did not answer"),
        ("elsewhere", "offline", "sends this device"),
        ("half", "offline", "cut off"),
        ("no length", "behind", "cut off"),
        ("endless", "refused", "no index"),
    ],
)
def test_an_address_that_fails_leaves_what_runs(
    box: Box,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    state: str,
    words: str,
) -> None:
    if fault == "hang" or fault == "trickle":
        monkeypatch.setattr(update, "OPEN_SECONDS", 0.3)
    shop.offer(2, 5)
    with serving(shop.folder) as (url, kind):
        web = Box(box.home, url)
        kind.fault = fault
        begun = time.monotonic()
        report = web.look()
        assert time.monotonic() - begun < 30
        assert report["state"] == state, report
        assert any(word in report["reason"] for word in words.split("|")), report
        assert web.runs() == "v1.0.1"
        kind.fault = ""
        monkeypatch.setattr(update, "OPEN_SECONDS", 30.0)
        assert web.look()["version"] == "v1.0.2"
        assert not parts(box)


def parts(box: Box) -> dict[int, str]:
    """Return what has arrived of bundles: the bytes of each file, and its name."""
    return {p.stat().st_size: p.name for p in box.home.glob("*.part")}


def noise(number: int) -> bytes:
    """Return a bundle of several thousand bytes."""
    return packed(files(number) | {"noise": os.urandom(4_000)})


@pytest.mark.parametrize("fault", ["range", "whole", "unnamed"])
def test_a_download_goes_on_where_it_was_cut_off(
    box: Box, shop: Shop, fault: str
) -> None:
    """Also over several looks; a server that sends no range gives all of it again."""
    data = noise(2)
    name = shop.offer(2, 5, data)["bundle_sha256"]
    with serving(shop.folder) as (url, kind):
        web = Box(box.home, url)
        kind.fault = "cut"
        for arrived in (1_500, 3_000):
            report = web.look()
            assert report["state"] == "offline" and "cut off" in report["reason"]
            assert parts(box) == {arrived: f"bundle-{name}.part"}
            assert web.runs() == "v1.0.1"
        kind.fault = fault
        assert web.look()["version"] == "v1.0.2" and not parts(box)
        rest = ["bytes=3000-"] + ([""] if fault == "unnamed" else [])
        assert kind.asked == ["", "bytes=1500-", *rest]


def test_a_part_of_other_bytes_is_fetched_anew(box: Box, shop: Shop) -> None:
    """Whoever altered the first half, or a disk: the sha256 of the whole decides."""
    data = noise(2)
    name = shop.offer(2, 5, data)["bundle_sha256"]
    part = box.home / f"bundle-{name}.part"
    with serving(shop.folder) as (url, kind):
        web = Box(box.home, url)
        kind.fault = "altered"
        assert web.look()["state"] == "offline" and parts(box) == {1_500: part.name}
        kind.fault = "range"
        assert web.look()["version"] == "v1.0.2" and kind.asked[1:] == [
            "bytes=1500-",
            "",
        ]
        for number, wrong in ((3, bytes(9_999)), (4, b"x"), (5, None)):
            data = noise(number)
            name = shop.offer(number, number + 5, data)["bundle_sha256"]
            wrong = bytes(len(data)) if wrong is None else wrong
            (box.home / f"bundle-{name}.part").write_bytes(wrong)
            assert web.look()["version"] == f"v1.0.{number}" and not parts(box)
        kind.fault = "late"  # whose file is shorter than what is here already
        name = shop.offer(6, 12, data := noise(6))["bundle_sha256"]
        (box.home / f"bundle-{name}.part").write_bytes(data[:2_000])
        report = web.look()
        assert "cut off after 1000" in report["reason"] and web.runs() == "v1.0.5"
        kind.fault = "range"
        assert web.look()["version"] == "v1.0.6"


def test_a_part_belongs_to_one_bundle_and_frees_a_full_disk(
    box: Box, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.offer(2, 5, noise(2))
    with serving(shop.folder) as (url, kind):
        web, kind.fault = Box(box.home, url), "cut"
        web.look()
        shop.offer(3, 6, noise(3))
        web.look()
        assert [*parts(box)] == [1_500], "the part of the version before is gone"
        assert forked(lambda: small_files(web, 2_000)) == 0
        assert not parts(box) and web.runs() == "v1.0.1"
        web.look()
        monkeypatch.setattr(update, "ROOM_BYTES", 10**18)
        assert "disk is full" in web.look()["reason"]
        assert [*parts(box)] == [1_500], "nothing was written: it goes on later"
        monkeypatch.undo()
        shop.offer(1, 7, action="rollback")
        assert web.look()["version"] == "v1.0.1" and not parts(box)


def test_a_bundle_is_copied_from_a_stick_in_several_goes(
    box: Box, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is pulled out in the middle: the next copy begins there."""
    data = noise(2)
    shop.offer(2, 5, data)
    position, read = [0], io.BufferedReader.read1

    class Stick:
        """A file that ends with an error after some bytes."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def tell(self) -> int:
            position[0] = self.file.tell()
            return position[0]

        def read1(self, size: int) -> bytes:
            if self.file.tell() >= 3_000:
                raise OSError(errno.EIO, "Input/output error", "stick")
            return read(self.file, min(size, 3_000))

    opened = update.Folder.open

    @contextlib.contextmanager
    def pulled(self: Any, name: str, start: int = 0) -> Iterator[Any]:
        with opened(self, name, start) as file:
            yield Stick(file) if name.endswith(".zip") else file

    monkeypatch.setattr(update.Folder, "open", pulled)
    report = box.look()
    assert report["state"] == "behind" and "Input/output" in report["reason"]
    assert [*parts(box)] == [3_000] and box.runs() == "v1.0.1"
    monkeypatch.setattr(update.Folder, "open", opened)
    assert box.look()["version"] == "v1.0.2" and not parts(box)


def test_a_silent_middle_of_a_download_ends(
    box: Box, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of all of an answer is limited, and that of each pause."""
    monkeypatch.setattr(update, "DOWNLOAD_SECONDS", -1.0)
    shop.offer(2, 5)
    with serving(shop.folder) as (url, _):
        assert "took over" in Box(box.home, url).look()["reason"]


def test_it_goes_on_offline_and_takes_the_newest_of_its_sources(
    box: Box, shop: Shop, tmp_path: Path
) -> None:
    stick = Shop(tmp_path / "stick")
    both = Box(box.home, "http://127.0.0.1:1", str(stick.folder), str(shop.folder))
    shop.offer(2, 5)
    stick.offer(3, 7)
    report = both.look()
    assert (report["state"], report["version"]) == ("current", "v1.0.3")
    assert "127.0.0.1:1/production.json does not answer" in report["reason"]
    gone = Box(box.home, "http://127.0.0.1:1")
    assert gone.look()["state"] == "offline" and gone.runs() == "v1.0.3"
    fresh = Box(tmp_path / "fresh", "http://127.0.0.1:1")
    assert fresh.look()["state"] == "none"


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"schema": 1}',
        json.dumps({"schema": 1, "seq": 9}).encode(),
        bytes(update.MAX_INDEX_BYTES + 1),
    ],
)
def test_an_index_that_is_none_is_refused(box: Box, shop: Shop, index: bytes) -> None:
    (shop.folder / "production.json").write_bytes(index)
    report = box.look()
    assert report["state"] == "refused" and "no index" in report["reason"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"environment": "staging"}, "belongs to 'production'"),
        ({"seq": "9"}, "no index"),
        ({"seq": True}, "no index"),
        ({"bundle_sha256": "../../etc/passwd"}, "no index"),
        ({"manifest_sha256": "0" * 64}, "another version"),
        ({"bundle_sha256": "0" * 64}, "altered"),
        ({"bundle_bytes": 10**12}, "bytes"),
        ({"bundle_bytes": 10}, "longer than"),
        ({"withdrawn": ["x"]}, "no index"),
        ({"version": "\x1b[2J"}, "no index"),
        ({"version": 1}, "no index"),
    ],
)
def test_an_altered_index_is_refused(
    box: Box, shop: Shop, changes: dict[str, Any], words: str
) -> None:
    shop.offer(2, 5, **changes)
    report = box.look()
    assert report["state"] == "refused" and words in report["reason"], report
    assert box.runs() == "v1.0.1"


def test_a_pipe_on_a_stick_holds_nobody(box: Box, shop: Shop) -> None:
    (shop.folder / "production.json").unlink()
    os.mkfifo(shop.folder / "production.json")
    assert "is not a file" in box.look()["reason"]


def test_no_clock_decides(
    box: Box, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, now in ((2, 0.0), (3, 4e9), (4, 1.0)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        shop.offer(number, number)
        assert box.look()["version"] == f"v1.0.{number}"


# GitHub


def github(folder: Path, number: int, seq: int, private: Path, **changes: Any) -> None:
    """Write what GitHub's API answers about a release into a folder."""
    data = packed(files(number))
    record = {
        "seq": seq,
        "environment": "production",
        "action": "deploy",
        "version": f"v1.0.{number}",
        "tag": f"m@v1.0.{number}",
        "manifest_sha256": digest(manifest(number)),
        "previous": None,
        "deployment_id": number,
        "state": "published",
    } | changes
    api = folder / "repos/you/m"
    ledger = api / "contents/environments/production/release.json"
    assets = [
        {"name": "m-edge.zip", "url": f"URL/{number}.zip", "size": len(data)},
        {"name": "m-edge.zip.sig", "url": f"URL/{number}.sig", "size": 1},
    ]
    release = api / f"releases/tags/m@v1.0.{number}"
    for path, content in (
        (ledger, json.dumps(record).encode()),
        (release, json.dumps({"assets": assets}).encode()),
        (folder / f"{number}.zip", data),
        (folder / f"{number}.sig", base64.b64decode(sign(private, data))),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_it_follows_the_ledger_through_a_read_token(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_TOKEN", "secret")
    with serving(tmp_path / "api") as (url, kind):
        made = Box(tmp_path / "device", "github:you/m", key=keys[0])
        settings = json.loads((made.home / "settings.json").read_text())
        settings |= {"api": url, "report": "github:you/m"}
        (made.home / "settings.json").write_text(json.dumps(settings))
        for number, seq, changes in (
            (1, 3, {}),
            (2, 8, {"previous": digest(manifest(1))}),
            (1, 9, {"action": "rollback", "previous": digest(manifest(2))}),
        ):
            github(tmp_path / "api", number, seq, keys[0], **changes)
            for file in (tmp_path / "api").rglob("m@*"):
                file.write_text(file.read_text().replace("URL", url))
            assert made.look()["version"] == f"v1.0.{number}"
        assert set(kind.seen) == {"Bearer secret"}
        assert [p["state"] for p in kind.posted] == ["success"] * 3
        assert update.state_of(made.home).withdrawn == (digest(manifest(2)),)
        before = len(kind.seen)
        assert made.look()["state"] == "current"
        assert len(kind.seen) == before + 1 and len(kind.posted) == 3  # nothing new
        github(tmp_path / "api", 3, 10, keys[0], state="failed")
        assert made.look()["state"] == "refused"


def test_a_withdrawal_that_was_missed_is_found(
    tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    """The device slept through the rollback of what it runs, and looks at the next."""
    api = tmp_path / "api"
    history = api / "repos/you/m/contents/environments/production/history"
    with serving(api) as (url, _):
        made = Box(tmp_path / "device", "github:you/m", key=keys[0])
        settings = json.loads((made.home / "settings.json").read_text())
        (made.home / "settings.json").write_text(json.dumps(settings | {"api": url}))

        def look(number: int, seq: int, **changes: Any) -> None:
            github(api, number, seq, keys[0], **changes)
            for file in api.rglob("m@*"):
                file.write_text(file.read_text().replace("URL", url))
            assert made.look()["version"] == f"v1.0.{number}"

        look(2, 3)
        history.mkdir(parents=True)
        taken = {"action": "rollback", "previous": digest(manifest(2))}
        other = {"action": "deploy", "previous": digest(manifest(1))}
        for seq, record in ((3, {}), (5, taken), (8, other)):
            record = {"manifest_sha256": digest(manifest(1)), **record}
            (history / f"{seq:08d}.json").write_text(json.dumps(record))
        names = [{"name": path.name} for path in history.iterdir()]
        kept = history.rename(history.with_name("kept"))
        history.write_text(json.dumps(names))
        broken = made.look  # until its history can be read, what runs stays
        github(api, 3, 8, keys[0], **other)
        assert broken()["version"] == "v1.0.2"
        history.unlink()
        kept.rename(history)
        (history / "index.html").write_text(json.dumps(names))
        look(3, 8, **other)
        (made.folder() / "run.py").write_bytes(b"")
        assert made.runs() is None  # the one before was withdrawn


@pytest.mark.parametrize(
    "homes", [("", "", ""), ("", "blocks/00001/", "blocks/00002/")]
)
def test_a_withdrawal_that_lies_in_a_block_is_found(
    homes: tuple[str, ...],
    tmp_path: Path,
    keys: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the ledger has records from some number on; a folder may not be there."""
    monkeypatch.setattr(update, "RECORDS", 4)
    with serving(tmp_path / "api") as (url, _):
        made = Box(tmp_path / "device", "github:you/m", key=keys[0])
        settings = json.loads((made.home / "settings.json").read_text())
        (made.home / "settings.json").write_text(json.dumps(settings | {"api": url}))
        taken = {"action": "rollback", "previous": digest(manifest(2))}
        for number, seq, changes in (
            (2, 3, {}),
            (3, 8, {"previous": digest(manifest(1))}),
        ):
            github(tmp_path / "api", number, seq, keys[0], **changes)
            for file in (tmp_path / "api").rglob("m@*"):
                file.write_text(file.read_text().replace("URL", url))
            contents = tmp_path / "api/repos/you/m/contents"
            for home, each in zip(homes, (3, 5, 8), strict=True):
                history = contents / home / "environments/production/history"
                history.mkdir(parents=True, exist_ok=True)
                record = {"action": "deploy", "manifest_sha256": digest(manifest(1))}
                record |= taken if each == 5 else {}
                (history / f"{each:08d}.json").write_text(json.dumps(record))
                names = [{"name": path.name} for path in history.glob("*.json")]
                (history / "index.html").write_text(json.dumps(names))
            if homes[0] != homes[1]:  # an environment that is younger than blocks
                shutil.rmtree(contents / "environments/production/history")
            assert made.look()["version"] == f"v1.0.{number}"
        assert update.state_of(made.home).withdrawn == (digest(manifest(2)),)


def test_the_token_goes_to_no_other_host(tmp_path: Path) -> None:
    source = update.GitHub("github:you/m", "https://api.github.com", "secret")
    assert source.headers("https://api.github.com/x")["Authorization"]
    for url in ("http://api.github.com/x", "https://api.github.com.evil.org/x"):
        assert not source.headers(url)
    assert update.encrypted("https://a/", "https://b/")
    assert not update.encrypted("https://a/", "http://a/")
    assert not update.same_origin("https://a/", "https://b/")


def in_process(folder: Path, manifest_sha256: str) -> None:
    """Check a version without a process of its own, for many devices at once."""
    data = (folder / "model/manifest.json").read_bytes()
    assert digest(data) == manifest_sha256 and (folder / "run.py").is_file()


# The disk, the power, and two at once


def forked(work: Callable[[], Any]) -> int:
    """Do some work in a child and return how it ended."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(7)
    return os.waitpid(pid, 0)[1]


def small_files(box: Box, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    box.look()


def test_a_full_disk_leaves_what_runs(
    box: Box, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = packed(files(2) | {"noise": os.urandom(4000)})
    shop.offer(2, 5, bundle)
    for limit in (0, 100, 1_000, len(bundle) - 1):
        assert forked(lambda limit=limit: small_files(box, limit)) == 0
        assert box.runs() == "v1.0.1"
    report = json.loads((box.home / "report.json").read_text())
    assert report["state"] == "behind" and "disk is full" in report["reason"]
    monkeypatch.setattr(update, "ROOM_BYTES", 10**18)
    assert "MB are free" in box.look()["reason"]
    monkeypatch.undo()
    assert box.look()["version"] == "v1.0.2"


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts a disk")
def test_a_disk_that_is_really_full_or_read_only(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk))
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        monkeypatch.setattr(update, "ROOM_BYTES", -(10**9))  # only the disk says no
        shop.offer(1, 1)
        made = Box(disk / "device", str(shop.folder))
        assert made.look()["version"] == "v1.0.1"
        shop.offer(2, 5, packed(files(2) | {"noise": os.urandom(90_000)}))
        report = made.look()
        assert report["state"] == "behind" and "disk is full" in report["reason"]
        assert made.runs() == "v1.0.1"
        again = ("mount", "-o", "remount,ro", str(disk))
        subprocess.run(again, check=True, capture_output=True)
        report = made.look()
        assert "cannot be written" in report["reason"] and made.runs() == "v1.0.1"
        assert update.run(made.home, ROWS) == 0
    finally:
        subprocess.run(("umount", "--lazy", str(disk)), capture_output=True)


STEPS = ("replace", "rename", "fsync", "unlink", "open", "mkdir", "rmdir")


def killed_at(step: int, work: Callable[[], Any]) -> None:
    """Do some work, and die at the STEPth call that changes the disk."""
    left = [step]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return wrapper

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    opened = io.open
    io.open = counted(opened)  # type: ignore[assignment]
    work()


def test_a_kill_at_any_step_leaves_one_of_the_two(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "check", in_process)
    shop.offer(1, 1)
    step, made = 0, Box(tmp_path / "d0", str(shop.folder))
    made.look()
    number, kills, seen = 1, 0, set()
    while True:
        number, step = number + 1, step + 1
        shop.offer(number, number)
        ended = forked(lambda step=step: killed_at(step, made.look))
        runs = made.runs()
        assert runs in (f"v1.0.{number - 1}", f"v1.0.{number}"), step
        seen.add(runs == f"v1.0.{number}")
        assert made.look()["version"] == f"v1.0.{number}", step
        if ended == 0:
            break
        assert os.WTERMSIG(ended) == signal.SIGKILL
        kills += 1
    assert kills > 25 and seen == {True, False}


def test_a_power_cut_loses_nothing_that_was_switched_to(
    box: Box, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file and folder is on the disk before the pointer names it."""
    synced, pointer = [], []
    fsync, replaced = os.fsync, os.replace

    def noted(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def switched(old: Any, new: Any) -> None:
        if Path(new).name == "state.json":
            pointer.append(len(synced))
        replaced(old, new)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", switched)
    shop.offer(2, 5)
    box.look()
    before = set(synced[: pointer[0]])
    part = box.home / "versions/part"
    for path in (box.folder(), *box.folder().rglob("*")):
        assert str(part / path.relative_to(box.folder())) in before
    assert {str(box.home / "versions"), str(box.home / "state.json.part")} <= before
    assert str(box.home) in synced[pointer[0] :]  # and then the switch itself


def test_two_updaters_do_not_meet(box: Box, shop: Shop) -> None:
    shop.offer(2, 5)
    with update.only_one(box.home), pytest.raises(update.LaterError, match="another"):
        box.look()
    assert box.runs() == "v1.0.1"
    outcomes: list[str] = []

    def work() -> None:
        try:
            outcomes.append(box.look()["version"])
        except update.LaterError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes) <= {"v1.0.2", "another update is running here"}
    assert "v1.0.2" in outcomes and box.runs() == "v1.0.2"


def test_a_report_that_cannot_be_kept_or_sent_stops_nothing(
    box: Box, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = json.loads((box.home / "settings.json").read_text())
    settings["report"] = "http://127.0.0.1:1/reports"
    (box.home / "settings.json").write_text(json.dumps(settings))
    shop.offer(2, 5)
    assert box.look()["version"] == "v1.0.2"
    assert "the report is not sent" in capsys.readouterr().err


def test_a_device_that_is_not_set_up_says_so(tmp_path: Path) -> None:
    with pytest.raises(update.RefusedError, match="setup"):
        update.look(tmp_path)


# A fleet


FLEET = {  # what is wrong with each of twenty devices
    "offline": range(3),
    "full": range(3, 6),
    "forged": range(6, 8),  # its source has bundles of another key
    "altered": range(8, 10),  # one bit on the way
    "clock": range(10, 12),
    "stick": range(12, 14),
    "slow": range(14, 16),  # the line breaks after some thousand bytes
    "well": range(16, 20),
}
REASONS = {  # what a device that does not run what it should says of it
    "offline": ("offline", "does not answer"),
    "full": ("behind", "disk is full"),
    "forged": ("refused", "another key"),
    "altered": ("refused", "is altered"),
}


def test_twenty_devices_over_three_versions_and_a_rollback(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each runs what it could, or says why; nobody runs what it should not."""
    monkeypatch.setattr(update, "check", in_process)
    reports, moment = tmp_path / "reports", time.time
    reports.mkdir()
    shop, forged = Shop(tmp_path / "shop", keys[0]), Shop(tmp_path / "forged", keys[1])
    stick = tmp_path / "stick"
    stick.mkdir()
    with contextlib.ExitStack() as stack:
        urls, kinds = {}, {}
        for fault in ("offline", "forged", "altered", "slow", ""):
            folder = forged.folder if fault == "forged" else shop.folder
            urls[fault], kinds[fault] = stack.enter_context(serving(folder))
        sources = {**urls, "stick": str(stick)}
        boxes = {}
        for fault, numbers in FLEET.items():
            for n in numbers:
                source = sources.get(fault, urls[""])
                boxes[n] = Box(tmp_path / f"device-{n:02d}", source, key=keys[0])
                settings = json.loads((boxes[n].home / "settings.json").read_text())
                settings["report"] = str(reports)
                (boxes[n].home / "settings.json").write_text(json.dumps(settings))

        def look(box: Box, fault: str) -> None:
            if fault == "full":
                assert forked(lambda: small_files(box, 2_000)) == 0
            elif fault == "clock":
                now = 0.0 if box.home.name.endswith("0") else 4e9
                monkeypatch.setattr(time, "time", lambda: now)
                box.look()
                monkeypatch.setattr(time, "time", moment)
            else:
                for _ in range(3 if fault == "slow" else 1):
                    box.look()

        def round(number: int, seq: int, late: bool, **changes: Any) -> None:
            bundle = packed(big(number))
            shop.offer(number, seq, bundle, **changes)
            mirror = forged if late else Shop(forged.folder, keys[0])
            mirror.offer(number, seq, bundle)
            shutil.copytree(shop.folder, stick, dirs_exist_ok=True)
            for fault, numbers in FLEET.items():
                for n in numbers:
                    if not late:
                        boxes[n].look()
                    elif fault != "offline":
                        look(boxes[n], fault)

        round(1, 1, late=False)
        kinds["altered"].fault, kinds["slow"].fault = "bit", "cut"
        round(2, 2, late=True)
        round(3, 3, late=True)
        taken = {"action": "rollback", "withdrawn": [digest(manifest(3))]}
        round(2, 4, late=True, **taken)
        assert {"bytes=1500-", "bytes=3000-"} <= {*kinds["slow"].asked}
    for n in FLEET["offline"]:
        boxes[n].look()  # the server is gone
    expected = digest(manifest(2))
    found, broken = devices.load(reports)
    assert len(found) == 20 and not broken
    for number, device in enumerate(found):
        (fault,) = (name for name in FLEET if number in FLEET[name])
        state, words = REASONS.get(fault, ("current", ""))
        assert device.state == state and words in device.reason, device
        assert (device.manifest_sha256 == expected) == (state == "current"), device
        runs = "v1.0.2" if state == "current" else "v1.0.1"
        assert boxes[number].runs() == device.version == runs
    lines = devices.summary(found, broken, expected)
    assert lines[0] == "20 devices, 10 of them run what they should"
    assert "  v1.0.1: 10" in lines and "  v1.0.2: 10" in lines and len(lines) == 13


def big(number: int) -> dict[str, bytes]:
    """Return files of which one is larger than a small disk."""
    return files(number) | {"noise": os.urandom(3000) if number > 1 else b"small"}


def test_reports_are_data(tmp_path: Path) -> None:
    good = {
        "schema": 1,
        "device": "a",
        "environment": "production",
        "state": "current",
        "reason": "",
        "version": "v1.0.0",
        "manifest_sha256": "0" * 64,
    }
    (tmp_path / "a.json").write_text(json.dumps(good))
    (tmp_path / "b.json").write_text(json.dumps(good))  # claims to be another
    (tmp_path / "c.json").write_text("[" * 9000)
    (tmp_path / "d.json").write_bytes(bytes(devices.MAX_REPORT_BYTES + 1))
    hostile = good | {"device": "e", "reason": "\x1b[2J\nall is well", "version": None}
    (tmp_path / "e.json").write_text(json.dumps(hostile))
    (tmp_path / "f.txt").write_text("no report")
    found, broken = devices.load(tmp_path)
    assert [d.name for d in found] == ["a", "e"]
    assert broken == ["b.json", "c.json", "d.json"]
    lines = devices.summary(found, broken, "0" * 64)
    assert lines[0].startswith("2 devices, 2 of them")
    assert not any("\x1b" in line or "\n" in line for line in lines)
    assert "2 devices, 0 of them" in devices.summary(found, broken, "1" * 64)[0]
    os.utime(tmp_path / "a.json", (0, 0))
    found, _ = devices.load(tmp_path)
    assert "no report for" in found[0].problem("0" * 64)


# Publishing: the real bundle, and the ledger


def test_a_real_bundle_is_followed_and_answers_as_before(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The model's own runner, its golden rows on onnxruntime, and a damaged model."""
    number = tiny.version(tmp_path / "v1")
    other = tiny.version(tmp_path / "v2", slope=0.002)
    shop, box = Shop(tmp_path / "shop"), Box(tmp_path / "box", str(tmp_path / "shop"))
    for seq, (folder, identity) in enumerate((("v1", number), ("v2", other))):
        build.build(tmp_path / folder, tmp_path / "b.zip")
        data = (tmp_path / "b.zip").read_bytes()
        shop.offer(seq, seq, data, manifest_sha256=identity)
        report = box.look()
        assert (report["state"], report["manifest_sha256"]) == ("current", identity)
    (box.folder() / "model/model.onnx").write_bytes(b"")
    assert update.run(box.home, json.dumps({"rows": [tiny.ROW]}).encode()) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["manifest_sha256"] == number
    (prediction,) = answer["predictions"]
    assert prediction["probability"] == pytest.approx(tiny.expected(tiny.ROW), abs=1e-5)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert archive.read("update.py") == Path(update.__file__).read_bytes()


def bundle_of(tag: str) -> bytes:
    """Return a bundle with the manifest that a release on GitHub has."""
    release = assets.find(tag)
    assert release
    (asset,) = (a for a in release["assets"] if a["name"] == "manifest.json")
    return packed({"run.py": RUNNER, "model/manifest.json": assets.download(asset)})


def test_publish_writes_what_the_ledger_says(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "check", in_process)
    monkeypatch.delenv("SIGNING_KEY", raising=False)
    shop = tmp_path / "shop"
    (tmp_path / "world").mkdir()
    with world(tmp_path / "world", monkeypatch) as here:
        with pytest.raises(ReleaseError, match="deployed to production"):
            edge.publish(shop, "production")
        here.judged("one")
        one = roll_out()
        with pytest.raises(ReleaseError, match="no edge bundle"):
            edge.publish(shop, "production")
        bundle = tmp_path / "b.zip"
        bundle.write_bytes(packed(files(9)))
        with pytest.raises(ReleaseError, match="this bundle has the manifest"):
            edge.publish(shop, "production", bundle)
        assert not shop.exists()
        bundle.write_bytes(bundle_of(one.tag))
        edge.publish(shop, "production", bundle)
        box = Box(tmp_path / "plain", str(shop))
        assert box.look()["version"] == one.version
        # with a key: the release's own signature, or none
        Path("signing.pub").write_text(Path(f"{keys[0]}.pub").read_text())
        with pytest.raises(ReleaseError, match="not signed"):
            edge.publish(shop, "production", bundle)
        monkeypatch.setenv("SIGNING_KEY", keys[0].read_text())
        index = edge.publish(shop, "production", bundle)
        assert index["order_signature"]
        assert Box(tmp_path / "k", str(shop), key=keys[0]).look()["state"] == "current"
        assert Box(tmp_path / "w", str(shop), key=keys[1]).look()["state"] == "refused"
        monkeypatch.delenv("SIGNING_KEY")
        signed = bundle.with_name("b.zip.sig")
        signed.write_bytes(base64.b64decode(sign(keys[0], bundle.read_bytes())))
        with pytest.raises(ReleaseError, match="signed order"):
            edge.publish(shop, "production", bundle)
        signed.unlink()
        Path("signing.pub").unlink()
        here.judged("two")
        two = roll_out()
        release = assets.find(two.tag)
        assert release
        assets._upload(release, "m-edge.zip", bundle_of(two.tag))
        edge.publish(shop, "production")
        assert box.look()["version"] == two.version
        rollback.rollback("production", one.version, "it is worse")
        index = edge.publish(shop, "production", bundle)
        assert index["withdrawn"] == [two.manifest_sha256]
        report = box.look()
        assert report["version"] == one.version and report["state"] == "current"
        (tmp_path / "reports").mkdir()
        shutil.copy(box.home / "report.json", tmp_path / "reports/plain.json")
        lines = edge.count(tmp_path / "reports", "production")
        assert lines[0] == "1 devices, 1 of them run what they should"
        with pytest.raises(ReleaseError, match="not a folder"):
            edge.count(tmp_path / "nowhere", "production")
