"""A storage that fails on purpose, and what each command does then.

`play` goes through `storage_cases.py` for one storage: each fault is set, the operation
must end with one sentence that names what and where, leave nothing wrong behind, and
succeed when it is done again without the fault. It runs in this process, or as a
program in an environment that has the packages of a cloud:

    python -m machinery.faulty SETTINGS.json    (prints a line of JSON for each case)
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.spec import AbstractFileSystem

from machinery.storage_cases import Case, cases, impossible
from mlgitops import git, patience, prediction_log, production_data, storage
from mlgitops.commands import storage as command
from mlgitops.lock import Out
from mlgitops.monitor import scan
from mlgitops.shipping.ship import ShipError, ship
from mlgitops.storage import StorageError
from mlgitops.store import objects

SIZE = 300_000  # bytes of an object: several pieces on their way
LIMIT = 240.0  # seconds within which a silent storage has to be told


class Proxy:
    """Stands before a server, and breaks off, falls silent, or says that it is full."""

    def __init__(self, port: int) -> None:
        """Listen on a free port of loopback."""
        self.to, self.fault, self.left = port, "", 0
        self.silent = threading.Event()  # the bytes are used up
        self.own = socket.create_server(("127.0.0.1", 0))
        self.port = self.own.getsockname()[1]
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, fault: str, after: int = 0) -> None:
        """Fail so from now on, after so many bytes; "" does not."""
        self.left, self.fault = after, fault
        self.silent.clear()
        for each in self.open:  # none goes on as it was
            _reset(each)
        self.open.clear()

    def _accept(self) -> None:
        while True:
            client, _ = self.own.accept()
            if self.fault == "down":
                _reset(client)
                continue
            server = socket.create_connection(("127.0.0.1", self.to))
            self.open += [client, server]
            for pair in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16_384):
                if self.fault == "full" and up and data.startswith((b"PUT ", b"POST ")):
                    return _refuse(source, target)
                if self.fault in ("interrupted", "slow") and self.left < len(data):
                    target.sendall(data[: self.left])
                    if self.fault == "slow":
                        self.silent.set()
                        while self.fault == "slow":
                            time.sleep(0.05)
                    _reset(source)
                    return _reset(target)
                if self.fault in ("interrupted", "slow"):
                    self.left -= len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def _reset(connection: socket.socket) -> None:
    """Break a connection off."""
    with contextlib.suppress(OSError):
        linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _refuse(client: socket.socket, server: socket.socket) -> None:
    """Read a request to its end, and answer that there is no room."""
    client.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while client.recv(65_536):
            continue
    body = b"<Error><Code>InsufficientStorage</Code><Message>the quota is used up"
    body += b"</Message></Error>"
    head = b"HTTP/1.1 507 Insufficient Storage\r\nContent-Type: application/xml\r\n"
    client.sendall(
        head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    client.sendall(body)
    time.sleep(0.1)
    client.close()
    _reset(server)  # while another thread reads it, close() alone ends nothing


@dataclass
class Ground:
    """A repository whose storage can be made to fail."""

    kind: str
    here: Path  # the repository; the process stands in it
    local: Path  # a storage that is a folder, and never fails
    fail: Callable[[str, int], Any]  # a context in which storage has a fault
    url: str
    login: str = ""  # the text of .dvc/config.local
    silent: threading.Event | None = None  # storage is, in the middle of a command
    number: int = 0

    def object(self) -> tuple[Path, Out]:
        """Return a new file, and its name as an object."""
        self.number += 1
        data = random.Random(self.number).randbytes(SIZE)
        file = self.here / f"made-{self.number}.bin"
        file.write_bytes(data)
        md5 = hashlib.md5(data).hexdigest()
        return file, Out("train", f"build/{file.name}", md5, SIZE)

    def end(self, fault: str) -> dict[str, Any]:
        """Return how a command ends: by itself, or killed once storage is silent."""
        return {"killed_when": self.silent} if fault == "killed" else {}

    def names(self, url: str, login: str = "") -> None:
        """Let .dvc/config name a storage."""
        text = (
            f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {url}\n"
        )
        (self.here / ".dvc/config").write_text(f"{text}    verify = true\n")
        (self.here / ".dvc/config.local").unlink(missing_ok=True)
        if login:
            (self.here / ".dvc/config.local").write_text(login)


def play(
    ground: Ground, chosen: Iterable[Case] | None = None
) -> Iterator[dict[str, Any]]:
    """Go through the table, or some cases of it; yield what each case did."""
    for fault, operation in cases() if chosen is None else chosen:
        case = _named(ground, fault, operation)
        if problem := impossible(ground.kind, fault, operation):
            yield {**case, "not": problem}
            continue
        begun = time.monotonic()
        ground.names(ground.url, ground.login)
        try:
            case["sentence"] = OPERATIONS[operation](ground, fault)
        except Exception as error:  # the other cases are tried all the same
            case["wrong"] = f"{type(error).__name__}: {error}"
        yield {**case, "seconds": round(time.monotonic() - begun, 1)}


def _named(ground: Ground, fault: str, operation: str) -> dict[str, str]:
    return {"kind": ground.kind, "fault": fault, "operation": operation}


def _fails(
    call: Callable[[], Any], *needed: str, killed_when: threading.Event | None = None
) -> str:
    """Return the one sentence with which a call fails, or let a process be killed."""
    if killed_when:
        return _killed(call, killed_when)
    begun = time.monotonic()
    try:
        call()
    except (StorageError, ShipError, git.GitError) as error:
        sentence = str(error)
    else:
        raise AssertionError("it did not fail")
    assert time.monotonic() - begun < LIMIT, sentence
    assert "\n" not in sentence and "Traceback" not in sentence, sentence
    for word in needed:
        assert word in sentence, (word, sentence)
    return sentence


def _killed(call: Callable[[], Any], reached: threading.Event) -> str:
    """Kill a process, and what it started, in the middle of a call."""
    process = os.fork()
    if not process:
        os.setsid()
        with contextlib.suppress(BaseException):
            call()
        os._exit(0)
    try:
        assert reached.wait(LIMIT), "it never came to the middle"
    finally:
        os.killpg(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "it ended by itself"
    return "killed"


def _names(ground: Ground, out: Out) -> tuple[str, ...]:
    """Return what a sentence has to name; a branch is fetched and pushed whole."""
    if ground.kind == "branch":
        return ("storage branch", "again")
    return (out.path, out.md5, ground.url, "again")


def _push(ground: Ground, fault: str) -> str:
    file, out = ground.object()
    with ground.fail(fault, SIZE // 2):
        sentence = _fails(
            lambda: storage.push({file: out}), *_names(ground, out), **ground.end(fault)
        )
    storage.push({file: out})
    assert storage.missing([out]) == []
    return sentence


def _pull(ground: Ground, fault: str) -> str:
    file, out = ground.object()
    _store(file, out)
    target = ground.here / out.path
    harmed = fault in ("altered", "missing")
    with _harmed(out, fault) if harmed else ground.fail(fault, SIZE // 2):
        needed = _names(ground, out) if not harmed else (out.path, out.md5, "again")
        sentence = _fails(lambda: storage.pull([out]), *needed, **ground.end(fault))
        assert not target.exists(), "nothing wrong is there"
    if harmed:  # as the message says
        storage.push({file: out})
    assert storage.pull([out]) == [Path(out.path)]
    assert target.read_bytes() == file.read_bytes()
    return sentence


def _store(file: Path, out: Out) -> None:
    """Write an object into storage, without DVC."""
    objects.here().store(out.md5, file)
    storage.publish()


@contextmanager
def _harmed(out: Out, fault: str) -> Iterator[None]:
    """Alter an object in storage, or delete it."""
    place = objects.here()
    path = place.path(out.md5)
    if fault == "altered":
        data = bytearray(place.system.cat_file(path))
        data[SIZE // 2] ^= 1
        if "://" not in place.address:  # it is read-only
            Path(path).chmod(0o644)
        place.system.pipe_file(path, bytes(data))
    else:
        place.system.rm_file(path)
    storage.publish()
    yield


def _move(ground: Ground, fault: str) -> str:
    """To this storage; where one of its objects is harmed, from it."""
    file, out = ground.object()
    harmed = fault in ("altered", "missing")
    other = ground.local / f"of-{ground.number}"
    login = ground.here / "login"
    login.write_text(ground.login or "['remote \"storage\"']\n")
    (ground.here / "data").mkdir(exist_ok=True)
    pointer = {"md5": out.md5, "size": SIZE, "hash": "md5", "path": "rows.bin"}
    (ground.here / "data/rows.bin.dvc").write_text(json.dumps({"outs": [pointer]}))
    place = ground.url if ground.kind == "branch" else f"{ground.url}/{other.name}"
    source, to = (place, str(other)) if harmed else (str(other), place)
    ground.names(source, ground.login if harmed else "")
    _store(file, out)
    options = ("", False, False)

    def relocate() -> list[str]:
        return command.relocate(to, None if harmed else login, *options)

    before = (ground.here / ".dvc/config").read_text()
    with _harmed(out, fault) if harmed else ground.fail(fault, SIZE // 2):
        needed = (out.md5,) if harmed else (place, "again")
        sentence = _fails(relocate, *needed, **ground.end(fault))
        assert (ground.here / ".dvc/config").read_text() == before
    if harmed:
        _store(file, out)
    assert any("read back and right" in line for line in relocate())
    (ground.here / "data/rows.bin.dvc").unlink()
    shutil.rmtree(ground.here / ".dvc/tmp", ignore_errors=True)
    return sentence


def _prune(ground: Ground, fault: str) -> str:
    """List, and delete: what prune does to storage."""
    file, out = ground.object()
    _store(file, out)
    place = objects.here()
    if fault == "missing":
        place.remove([out.md5])
        place.remove([out.md5])
        return "what is gone counts as deleted"

    def delete() -> None:
        place = objects.here()
        assert out.md5 in place.listing().sizes
        place.remove([out.md5])

    with ground.fail(fault, 0):
        place = ground.url if ground.kind != "branch" else "branch"
        sentence = _fails(delete, place, "again")
    delete()
    assert out.md5 not in objects.here().listing().sizes
    return sentence


def _ship(ground: Ground, fault: str) -> str:
    folder, address = _log(ground)
    with ground.fail(fault, SIZE // 4):
        needed = ("1 file stays in", "again")
        sentence = _fails(lambda: ship(folder, address), *needed, **ground.end(fault))
    assert ship(folder, address).lines == 1
    system, root = storage.filesystem(address)
    assert len(system.find(root)) == 1 and not [*folder.glob("*.jsonl")]
    return sentence


def _scan(ground: Ground, _: str) -> str:
    """A worker of a cluster: a part was written over after it was listed."""
    folder, address = _log(ground)
    ship(folder, address)
    system, root = storage.filesystem(address)
    (path,) = system.find(root)
    opened, log = production_data.opener(address), scan.Log(address, by_arrival=False)
    part = scan.Part(path, scan.marked(address, path, opened))
    (pieces,) = scan.read_pieces(log, [part])
    assert isinstance(pieces, list) and pieces, "the control"
    data = bytearray(system.cat_file(path))
    data[-1000] ^= 1  # in a folder, the end counts
    time.sleep(1.1)  # by ssh, the second
    system.pipe_file(path, bytes(data))
    system.invalidate_cache()
    (sentence,) = scan.read_pieces(log, [part])
    assert sentence == f"{path} is another file there"
    return str(sentence)


def _log(ground: Ground) -> tuple[Path, str]:
    """Return a log of one prediction, and where it may be shipped to."""
    ground.number += 1
    folder = ground.here / f"log-{ground.number}"
    folder.mkdir()
    text = random.Random(ground.number).randbytes(SIZE).hex()
    entry = {"id": "1", "time": None, "manifest_sha256": "a" * 64, "value": 1}
    line = json.dumps({**entry, "row": {"text": text}}) + "\n"
    day = prediction_log.file_name("2026-01-02")
    (folder / day).write_text(line)
    return folder, f"{ground.url.rstrip('/')}/shipped-{ground.number}"


OPERATIONS = {
    "push": _push,
    "pull": _pull,
    "move": _move,
    "prune": _prune,
    "ship": _ship,
    "scan": _scan,
}


@contextmanager
def through(proxy: Proxy, fault: str, after: int) -> Iterator[None]:
    """Let a proxy have a fault."""
    proxy.set("slow" if fault == "killed" else fault, after)
    try:
        yield
    finally:
        proxy.set("")


def main(settings: dict[str, Any]) -> None:
    """Play for a cloud whose server runs, and print each case."""
    patience.SILENT = 3
    sys.executable = settings["python"]  # which starts DVC
    AbstractFileSystem.cachable = False  # each command is a process of its own
    here = Path.cwd()
    proxy = Proxy(settings["port"])
    login = settings["writer"].replace(f":{settings['port']}", f":{proxy.port}")
    url = settings["url"].replace(f":{settings['port']}", f":{proxy.port}")

    @contextmanager
    def fail(fault: str, after: int) -> Iterator[None]:
        if fault == "read-only":
            local = here / ".dvc/config.local"
            files = [p for p in (local, here / "login") if p.is_file()]
            before = [p.read_text() for p in files]
            for path in files:
                path.write_text(settings["reader"])
            try:
                yield
            finally:
                for path, text in zip(files, before, strict=True):
                    path.write_text(text)
        elif fault == "full" and settings["disk"]:
            filler = Path(settings["disk"], "filler")
            with contextlib.suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(bytes(100_000))
                    file.flush()
            try:
                yield
            finally:
                filler.unlink()
        else:
            with through(proxy, fault, after):
                yield

    ground = Ground(
        settings["kind"], here, here / "other", fail, url, login, proxy.silent
    )
    for record in play(ground, settings["cases"]):
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
    os._exit(0)
