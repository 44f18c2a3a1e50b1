"""The host agent where the host, its network or its disk is at fault."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from machinery import lengths, test_agent, tiny
from machinery.test_agent import Handler, World, children
from mlgitops.host import agent
from mlgitops.release import target
from rehearsal import ports

world = test_agent.world
YEAR = 365 * 86_400
QUICK = {"TEND_SECONDS": 0.1, "MAX_BACKOFF_SECONDS": 0.1}  # a restart without a wait


class Faulty(Handler):
    """The same API behind a network with faults; also a proxy that reaches only it."""

    fault = ""  # what happens to a file
    proxied = 0

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.netloc:
            type(self).proxied += 1
            if url.port != self.server.server_address[1]:
                return self.send(502, b'{"error": "the proxy cannot reach that"}')
            self.path = url.path
        return super().do_GET()

    def send(self, status: int, body: bytes) -> None:
        fault = self.fault if self.path.startswith("/files/") else ""
        if not fault:
            return super().send(status, body)
        if fault == "hang":
            time.sleep(600)  # in a thread that ends with this process
            return None
        if fault == "portal":  # of a hotel, say, which answers everything itself
            return super().send(200, b"<html>Please log in</html>")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            return None
        try:  # trickle
            for number in range(len(body)):
                self.wfile.write(body[number : number + 1])
                time.sleep(0.05)
        except OSError:
            pass
        return None


@pytest.fixture
def faulty(world: World) -> Iterator[type[Faulty]]:
    """Yield the handler of the world's API: its faults are set there."""
    handler = type("Handler", (Faulty,), {})
    world.api.RequestHandlerClass = handler
    yield handler
    handler.fault = ""


def limited(world: World, *options: str, **limits: float) -> list[str]:
    """Return the command of an agent with other limits, which restarts at once."""
    lines = [f"agent.{name} = {value}" for name, value in (QUICK | limits).items()]
    code = "\n".join(["from mlgitops.host import agent", *lines, "agent.main()"])
    return [sys.executable, "-c", code, *world.command(*options)[2:]]


@contextmanager
def running(
    world: World, command: list[str] | None = None, **env: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run an agent, perhaps by a command; it ends within seconds, whatever hangs."""
    with (world.home / "agent.err").open("a") as errors:
        full = os.environ | {"AGENT_TOKEN": test_agent.TOKEN} | env
        command = command or limited(world)
        process = subprocess.Popen(command, stderr=errors, env=full)
        try:
            yield process
            process.terminate()
            process.wait(120)
        finally:
            process.kill()
            process.wait()


def failed(world: World) -> dict[str, Any]:
    return world.state()["failed"] or {}


def test_a_proxy_variable_is_for_the_network_only(
    world: World, faulty: type[Faulty]
) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with running(world, http_proxy=world.api.url, no_proxy=""):
        world.until(lambda: world.settled(one))
        assert world.state()["failed"] is None
    assert faulty.proxied  # the network does go through it


@pytest.fixture
def python(world: World) -> Path:
    """Return an interpreter that fails while there is a file `broken` beside it."""
    script = world.home / "python"
    broken = world.home / "broken"
    script.write_text(
        f'#!/bin/sh\n[ -e {broken} ] && exit 1\nexec "{sys.executable}" "$@"\n'
    )
    script.chmod(0o755)
    return script


@pytest.mark.slow
def test_a_fault_of_this_host_is_not_held_against_a_release(
    world: World, python: Path
) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    broken = python.with_name("broken")
    with world.agent("--python", str(python), "--poll", "0.1"):
        world.until(lambda: world.settled(one))
        broken.touch()
        two = world.release("v1.1.0", 0.002)["manifest_sha256"]
        world.until(lambda: ("102", "error") in reported(world))
        assert failed(world)["fault"] == "other"
        assert failed(world)["tries"] >= agent.TRIES
        assert "the cause is this machine" in failed(world)["reason"]
        assert world.serves() == one
        broken.unlink()
        world.until(lambda: world.settled(two))  # with no other word from the ledger
        world.until(lambda: ("102", "success") in reported(world))
    assert world.state()["failed"] is None
    assert "Traceback" not in world.words()


def reported(world: World) -> list[tuple[str, str]]:
    return [(number, state) for number, state, _ in world.api.statuses]


def test_a_fault_of_a_release_is_final(world: World) -> None:
    """The control: the release that runs passes the same check, so it is no other's."""
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with world.agent():
        world.until(lambda: world.settled(one))
        golden = [{"row": tiny.ROW, "probability": 0.01}]
        world.release("v1.1.0", 0.002, golden=golden)
        world.until(lambda: ("102", "failure") in reported(world))
        time.sleep(0.5)  # two more looks
        assert world.words().count("v1.1.0: deploying") == 1
        assert failed(world)["fault"] == "release"
        assert world.serves() == one


ELSEWHERE = "import sys; print('serving on http://127.0.0.1:' + sys.argv[1]); input()"


@pytest.mark.parametrize("answers", [False, True])
def test_silence_is_no_verdict(answers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine makes a good server silent; one that ends has said something."""
    monkeypatch.setattr(agent, "ASK_SECONDS", 0.1)
    release = FINE | {"manifest_sha256": "a" * 64}
    with socket.create_server(("127.0.0.1", 0)) as busy:  # connects, and no more
        code = ELSEWHERE if answers else "input()"
        command = [sys.executable, "-uc", code, str(busy.getsockname()[1])]
        monkeypatch.setattr(agent, "START_SECONDS", 60 if answers else 0.3)
        for script, error in ((code, agent.TransientError), ("", agent.RefusedError)):
            command[2] = script
            server = agent.Server(release, "production", command, None)
            try:
                if not script:
                    server.process.wait()
                with pytest.raises(error):
                    server.check(Path("nowhere"))
            finally:
                server.kill()


def test_without_a_control_the_first_release_is_tried_again(
    world: World, python: Path
) -> None:
    python.with_name("broken").touch()
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with world.agent("--python", str(python)):
        world.until(lambda: failed(world).get("tries", 0) > 1)
        assert "Nothing else runs here" in failed(world)["reason"]
        python.with_name("broken").unlink()
        world.until(lambda: world.settled(one))


@pytest.fixture
def hanging(world: World) -> Path:
    """Put a git first on the path that hangs while a file is there; return the file."""
    flag, folder = world.home / "hang", world.home / "bin"
    folder.mkdir()
    script = folder / "git"
    script.write_text(
        f"#!/bin/sh\nif [ -e {flag} ]; then\n"
        f"  echo $$ > {flag}.pid; mv {flag}.pid {flag}ing; exec sleep 600\nfi\n"
        f'exec {shutil.which("git")} "$@"\n'
    )
    script.chmod(0o755)
    return flag


def shimmed(world: World) -> str:
    return f"{world.home / 'bin'}{os.pathsep}{os.environ['PATH']}"


def restarts(world: World, process: "subprocess.Popen[bytes]", identity: str) -> None:
    """Kill the server; the agent has to start it again."""
    (old,) = children(process)
    os.kill(old, signal.SIGKILL)
    world.until(lambda: world.serves() == identity and children(process) != [old])


def test_a_hanging_git_stops_neither_tending_nor_the_agents_end(
    world: World, hanging: Path
) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with running(world, PATH=shimmed(world)) as process:
        world.until(lambda: world.settled(one))
        hanging.touch()
        world.until(hanging.with_name("hanging").exists)
        restarts(world, process, one)
        started = time.monotonic()
        process.terminate()
        process.wait(120)
        assert time.monotonic() - started < 60, "git would sleep for 600"
    hanging.unlink()


def test_what_an_agent_runs_ends_with_it(world: World, hanging: Path) -> None:
    """Killed hard, it can end nothing itself."""
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with running(world, PATH=shimmed(world)) as process:
        world.until(lambda: world.settled(one))
        hanging.touch()
        world.until(hanging.with_name("hanging").exists)
        number = int(hanging.with_name("hanging").read_text())
        assert not test_agent.gone(number)
        process.kill()
        world.until(lambda: test_agent.gone(number))


def test_a_hanging_git_is_ended_in_time(world: World, hanging: Path) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with running(world, limited(world, GIT_SECONDS=0.5), PATH=shimmed(world)):
        world.until(lambda: world.settled(one))
        two = world.release("v1.1.0", 0.002)["manifest_sha256"]
        hanging.touch()
        world.until(lambda: "git took over 0.5 s" in world.words())
        hanging.unlink()
        world.until(lambda: world.settled(two))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("trickle", "took over 1 s to download"),
        ("hang", "fetching v1.1.0 took over 2 s"),
        ("cut", "manifest.json"),
        ("portal", "is not the expected version"),
    ],
)
def test_a_download_that_fails_is_told_and_tried_again(
    fault: str, reason: str, world: World, faulty: type[Faulty]
) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    fetching = 2 if fault == "hang" else 20  # a slow machine must not run into it
    limits = {"DOWNLOAD_SECONDS": 1, "FETCH_SECONDS": fetching, "MAX_RETRY_SECONDS": 1}
    with running(world, limited(world, **limits)) as process:
        world.until(lambda: world.settled(one))
        faulty.fault = fault
        two = world.release("v1.1.0", 0.002)["manifest_sha256"]
        world.until(lambda: "v1.1.0: deploying" in world.words())
        restarts(world, process, one)
        world.until(lambda: failed(world))
        assert failed(world)["fault"] == "other"
        assert reason in failed(world)["reason"]
        faulty.fault = ""
        world.until(lambda: world.settled(two))
    assert "Traceback" not in world.words()


def test_a_clock_set_back_removes_nothing_that_runs(world: World) -> None:
    """What was made before the clock was set back looks newer than what runs."""
    for name in ("a", "b", "c", "d"):
        old = world.home / "agent/releases" / name
        old.mkdir(parents=True)
        os.utime(old, (time.time() + YEAR, time.time() + YEAR))
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    releases = world.home / "agent/releases"
    with running(world) as process:
        world.until(lambda: world.settled(one))
        world.until(lambda: len([*releases.iterdir()]) == agent.KEEP + 1)
        assert [*releases.glob(f"{one[:16]}-*")]
        restarts(world, process, one)


def damaged(name: str, data: bytes | None) -> Callable[[Path], None]:
    """Return what writes a file into the clone, or removes one."""

    def damage(clone: Path) -> None:
        agent.remove(clone / name)
        if data is not None:
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes(data)

    return damage


def a_file(clone: Path) -> None:
    shutil.rmtree(clone)
    clone.write_text("no folder")


def empty_objects(clone: Path) -> None:
    for path in (clone / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"")


DAMAGE = {
    "shallow.lock": damaged("shallow.lock", b""),
    "a lock of the branch": damaged("refs/heads/ledger.lock", b""),
    "broken HEAD": damaged("HEAD", b"\0\0\0\0"),
    "no HEAD": damaged("HEAD", None),
    "broken config": damaged("config", b"[core\n"),
    "broken shallow": damaged("shallow", b"nonsense\n"),
    "broken branch": damaged("refs/heads/ledger", b"nonsense\n"),
    "no objects": damaged("objects", None),
    "empty objects": empty_objects,
    "a file": a_file,
    "nothing": shutil.rmtree,
}


WAYS = (
    "the ledger moved",  # and the agent looks
    "it did not",  # as where an agent has just started
    "code",  # is asked for
)


@pytest.mark.slow
def test_a_damaged_clone_is_made_again(world: World) -> None:
    """Each damage is found in one of three ways, the next day in another."""
    home = world.home / "agent"
    home.mkdir()
    release = world.release("v1.0.0", 0.001)
    source = agent.Source(str(world.bare), world.api.url, None, "")
    assert source.latest(home, "production")[1] == release
    for number, (name, damage) in enumerate(DAMAGE.items()):
        first = number % len(WAYS)
        for way in lengths.turn(WAYS[first:] + WAYS[:first]):
            damage(home / "git")
            if way == "code":
                code = world.home / f"code{number}"
                code.mkdir()
                source.fetch_code(home, world.commit, code)
                assert (code / "mlgitops/serving/verify.py").is_file(), name
                continue
            damage(home / "main/git")
            if way == "the ledger moved":
                release = world.name("v1.0.0", release["manifest_sha256"])
            assert source.latest(home, "production")[1] == release, (name, way)


def test_a_damaged_note_of_the_ledger_is_written_again(world: World) -> None:
    """It says how far the ledger was: what is not a commit says nothing."""
    home = world.home / "agent"
    home.mkdir()
    source = agent.Source(str(world.bare), world.api.url, None, "")
    note = home / "ledger"

    def folder() -> None:
        note.unlink()
        note.mkdir()

    damages = [note.unlink, folder]
    damages += [lambda d=data: note.write_bytes(d) for data in (b"", b"\xff\0", b"5")]
    manifest = world.release("v1.0.0", 0.001)["manifest_sha256"]
    assert source.latest(home, "production")[1]
    for damage in damages:
        damage()
        release = world.name("v1.0.0", manifest)
        assert source.latest(home, "production")[1] == release
        assert note.read_text().strip() == world.git("rev-parse", "HEAD")


FINE = {"seq": 1, "version": "v1", "tag": "m@v1", "manifest_sha256": "a" * 64}
FINE |= {"commit": "b" * 40, "server": {"commit": "b" * 40, "sha256": "c" * 64}}
ODD: list[Any] = [5, None, [], "x", True, 1e300, {}, [[]], {"seq": []}, {"a": None}]
NO_STATE = {"running": None, "failed": None, "report": None, "used": []}


def test_an_odd_state_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state.json"
    texts = [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"running": NaN}']
    texts += [json.dumps(odd).encode() for odd in ODD]
    for text in texts:
        path.write_bytes(text)
        assert agent.read_state(path) == NO_STATE, text
    path.unlink(missing_ok=True)
    path.mkdir()
    assert agent.read_state(path) == NO_STATE and not path.exists()
    good = {"running": FINE, "failed": FINE | {"tries": 2}, "used": ["releases/a"]}
    good["report"] = [FINE | {"deployment_id": 1}, "success", "v1 serves"]
    for name in good:
        for odd in (*ODD, FINE | {"server": 5}, FINE | {"tries": "x"}):
            path.write_text(json.dumps(good | {name: odd}))
            capsys.readouterr()
            state = agent.read_state(path)
            others = {key: good[key] for key in good if key != name}
            assert state | others == state, "what is not damaged stays"
            kept = state[name] != NO_STATE[name]
            message = f"'{name}' in" in capsys.readouterr().err
            assert kept or message or odd == NO_STATE[name]
    path.write_text(json.dumps(good))
    assert agent.read_state(path) == good


@pytest.mark.parametrize("text", ["5", "null", '{"running": 5, "failed": [], "x": 1}'])
def test_an_agent_starts_from_an_odd_state(text: str, world: World) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    home = world.home / "agent"
    home.mkdir()
    state = home / "state.json"
    state.write_text(text)
    (home / "state.json.part").mkdir()
    (home / "venvs").write_text("no folder")
    with world.agent():
        world.until(lambda: world.serves() == one)  # what was damaged is gone by then
        world.until(lambda: state.is_file() and one in state.read_text())
        world.until(lambda: world.settled(one))
    assert "is damaged" in world.words() and "Traceback" not in world.words()


def test_what_was_altered_on_this_disk_is_fetched_again(world: World) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with running(world) as process:
        world.until(lambda: world.settled(one))
        (folder,) = (world.home / "agent/releases").iterdir()
        (folder / "model/model.onnx").write_bytes(b"altered")
        restarts(world, process, one)
    assert "is not the reviewed file" in world.words()


def test_an_environment_whose_interpreter_is_gone_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade of the system's Python."""
    made = []

    def install(venv: Path, lock: Path) -> None:
        made.append(venv)
        (venv / "bin").mkdir(parents=True)
        (venv / "bin/python").symlink_to(sys.executable)

    monkeypatch.setattr(agent, "install", install)
    options = agent.parse(["--git", "x/y/z", "--home", str(tmp_path)])
    follower = agent.Agent(options, agent.Source("x/y/z", "", None, ""))
    lock = tmp_path / "release/code/mlgitops/requirements/serving.txt"
    lock.parent.mkdir(parents=True)
    lock.write_text("# none")
    python = follower.python(tmp_path / "release")
    assert follower.python(tmp_path / "release") == python and len(made) == 1
    python.unlink()
    python.symlink_to("/usr/bin/python-of-before")
    assert follower.python(tmp_path / "release") == python and len(made) == 2
    monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-999")
    assert follower.python(tmp_path / "release") != python and len(made) == 3


def test_of_two_agents_on_one_port_the_second_refuses(world: World) -> None:
    """Even while no server listens yet: the first has no release."""
    other = ["--home", str(world.home / "other")]
    command = limited(world, *other, BIND_SECONDS=0.3)
    with running(world):
        world.until(lambda: "no earlier state" in world.words())
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert f"port {world.port}" in done.stderr and "another agent" in done.stderr
        world.port, port = ports.free(), world.port  # another port is another's affair
        with running(world, limited(world, *other)) as process:
            world.until(lambda: world.words().count("no earlier state") == 2)
            assert process.poll() is None
    world.port = port
    with running(world, limited(world, *other)) as process:
        world.until(lambda: world.words().count("no earlier state") == 3)
        assert process.poll() is None


@pytest.mark.parametrize(
    ("environment", "code", "model", "reason"),
    [
        ("staging", "4", 0.001, "environment is staging, expected production"),
        ("production", "5", 0.001, "code is 5"),
        ("production", "4", 0.002, "manifest is"),
        ("production", "4", 0.001, "did not take the public port"),
        ("", "4", 0.001, "did not take the public port"),  # an older server
    ],
)
def test_no_agent_takes_another_servers_answer_for_its_own(
    environment: str,
    code: str,
    model: float,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent, "ACCEPT_SECONDS", 0.1)
    monkeypatch.setenv("MODEL_ENVIRONMENT", environment)
    monkeypatch.setenv("SERVER_SHA256", code * 64)
    identity = tiny.version(tmp_path / "mine/model", 0.001)
    tiny.version(tmp_path / "theirs", model)
    release = FINE | {"manifest_sha256": identity}
    release["server"] = {"commit": "b" * 40, "sha256": "4" * 64}
    with tiny.server(tmp_path / "theirs") as (port, _):
        command = [sys.executable, "-uc", ELSEWHERE, str(port)]
        server = agent.Server(release, "production", command, None)
        try:
            with pytest.raises((agent.RefusedError, agent.TransientError)) as caught:
                server.check(tmp_path / "mine")
                server.accept()
        finally:
            server.kill()
    assert reason in str(caught.value)


def test_deploy_does_not_take_staging_for_production(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = {"manifest_sha256": "a", "server_sha256": "b", "environment": "staging"}
    monkeypatch.setattr(target, "_get", lambda *_: info)
    message, ready = target.identify("http://x", "a", "b", "production")
    assert not ready and "staging" in message
    assert target.identify("http://x", "a", "b", "staging")[1]
    info["environment"] = None  # type: ignore[assignment]
    assert target.identify("http://x", "a", "b", "production")[1]


def test_a_full_disk_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = agent.parse(["--git", "x/y/z", "--home", str(tmp_path)])
    follower = agent.Agent(options, agent.Source("x/y/z", "", None, ""))
    disk = tmp_path.resolve()
    while not disk.is_mount():
        disk = disk.parent
    script = "echo 'error: No space left on device' >&2; echo fatal >&2; exit 1"
    with pytest.raises(OSError) as caught:
        agent.run(["sh", "-c", script])
    for error in (caught.value, OSError(errno.EDQUOT, "quota")):
        assert f"the disk is full: {disk} (" in follower.describe(error)
    assert "disk" not in follower.describe(OSError(errno.EACCES, "denied"))
    assert "disk" not in follower.describe(ValueError("x"))

    def full(*_: Any) -> None:
        raise caught.value

    with monkeypatch.context() as patch:
        patch.setattr(agent, "write", full)
        follower.save(used=["releases/a"])  # what runs goes on running
    assert f"state.json cannot be written: the disk is full: {disk} (" in (
        capsys.readouterr().err
    )
    next(follower.poll())  # and the next poll writes it
    assert agent.read_state(tmp_path / "state.json")["used"] == ["releases/a"]


@pytest.fixture
def small_disk(world: World) -> Iterator[Path]:
    """Mount a disk of 12 MB as the agent's home."""
    home = world.home / "agent"
    home.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(home))
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let a small disk be mounted")
    try:
        yield home
    finally:
        subprocess.run(("umount", "-l", str(home)), check=True)


def fill(home: Path) -> Path:
    """Fill a disk to its last byte."""
    with (home / "full").open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return home / "full"


def test_on_a_full_disk_the_old_model_serves_and_the_disk_is_named(
    world: World, small_disk: Path
) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with running(world) as process:
        world.until(lambda: world.settled(one))
        full = fill(small_disk)
        two = world.release("v1.1.0", 0.002)["manifest_sha256"]
        world.until(lambda: f"the disk is full: {small_disk} (" in world.words())
        restarts(world, process, one)
        full.unlink()
        world.until(lambda: world.settled(two))
    assert "Traceback" not in world.words()


DOCKER = """\
import json, os, sys
from pathlib import Path
home, python = Path({home!r}), {python!r}
arguments = sys.argv[1:]
if arguments[0] == "run":
    mounts = [a.partition("src=")[2] for a in arguments if a.startswith("--mount=")]
    paths = {{path: src for src, path in (m.split(",dst=") for m in mounts)}}
    image = next(n for n, a in enumerate(arguments) if "@sha256:" in a)
    version, options = arguments[image].split(":")[0], arguments[image + 1:]
    for path, src in paths.items():
        if path == "/run/agent":  # the name of a socket may not be long
            os.chdir(src)
            src = "."
        options = [option.replace(path, src, 1) for option in options]
    model = str(home / "published" / version)
    os.execv(python, [python, "-m", "mlgitops.serving", "--model", model, *options])
if arguments[:2] == ["image", "inspect"]:
    version = arguments[-1].split(":")[0]
    print(json.dumps({{"model.manifest.sha256": (home / version).read_text()}}))
"""


def test_a_container_is_checked_and_tended_as_a_process_is(world: World) -> None:
    """With a program that starts the server as the engine would; see test_agent_docker.

    Only there is a network, a right or a container that could be left behind.
    """
    script = world.home / "bin/docker"
    script.parent.mkdir()
    text = DOCKER.format(home=str(world.home), python=sys.executable)
    script.write_text(f"#!/usr/bin/env python3\n{text}")
    script.chmod(0o755)

    def publish(version: str, slope: float, **changes: Any) -> str:
        folder = world.home / "published" / version
        manifest = tiny.version(folder, slope, **changes)
        world.api.releases[f"flights@{version}"] = folder
        (world.home / version).write_text(manifest)
        world.name(version, manifest, image=f"{version}:1@sha256:{'0' * 64}")
        return manifest

    one = publish("v1.0.0", 0.001)
    command = limited(world, "--runtime", "docker")
    with running(world, command, PATH=shimmed(world)) as process:
        world.until(lambda: world.settled(one))
        restarts(world, process, one)
        two = publish("v1.1.0", 0.002)
        world.until(lambda: world.settled(two))
        publish("v1.2.0", 0.003, golden=[{"row": tiny.ROW, "probability": 0.01}])
        world.until(lambda: failed(world).get("fault") == "release")
        assert "golden" in failed(world)["reason"]
        assert world.settled(two)
        publish("v1.3.0", 0.003)
        (world.home / "published/v1.3.0/model.onnx").unlink()  # its server is not ready
        world.until(lambda: failed(world).get("version") == "v1.3.0")
    assert "Traceback" not in world.words()
