"""The host agent against real Git, real servers and a small release API."""

import base64
import compileall
import contextlib
import functools
import http.client
import json
import os
import py_compile
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from machinery import lengths, tiny
from mlgitops import git
from mlgitops.host import agent
from mlgitops.machinery import sums
from mlgitops.release import signature
from rehearsal import ports

TOKEN = "t0ken"
PAUSE = 0.002 if lengths.PROOF else 0.01  # seconds of a caller between two requests


class Api(ThreadingHTTPServer):
    """GitHub's release assets and deployment statuses, as far as the agent goes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.releases: dict[str, Path] = {}
        self.statuses: list[tuple[str, str, str]] = []
        self.tokens: set[str | None] = set()
        self.broken = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        parts = self.path.strip("/").split("/")
        self.server.tokens.add(self.headers["Authorization"])
        if self.server.broken:
            return self.send(500, b"{}")
        if parts[0] == "files":  # where GitHub redirects to: must see no token
            tag, name = parts[1:]
            return self.send(200, (self.server.releases[tag] / name).read_bytes())
        tag = parts[-1].replace("%40", "@")
        if parts[:5] == ["repos", "me", "flights", "releases", "assets"]:
            self.send_response(302)
            tag, name = parts[5:]
            other = self.server.url.replace("127.0.0.1", "localhost")
            self.send_header("Location", f"{other}/files/{tag}/{name}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if tag not in self.server.releases:
            return self.send(404, b"{}")
        assets = [
            {
                "name": path.name,
                "url": f"{self.server.url}/repos/me/flights/releases/assets/{tag}/"
                + path.name,
            }
            for path in self.server.releases[tag].iterdir()
        ]
        return self.send(200, json.dumps({"assets": assets}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = self.path.split("/")[-2]
        status = (number, body["state"], body["description"])
        self.server.statuses.append(status)
        self.send(201, b"{}")

    def send(self, status: int, body: bytes) -> None:
        if "files" in self.path and self.headers["Authorization"]:
            status = 400  # the token left the API's host
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def run_git(*arguments: str, at: Path) -> str:
    """Run git as a person with a name."""
    config = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(
        ["git", *config, *arguments],
        cwd=at,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@functools.cache
def repository() -> tuple[tempfile.TemporaryDirectory[str], str]:
    """Return a folder with the server's code in a repository, and its commit.

    It is made once. Each module has its bytecode beside it, found by the hash of its
    source: no server has to compile what all of them have.
    """
    folder = tempfile.TemporaryDirectory(prefix="flights-")
    bare, work = (Path(folder.name) / name for name in ("flights.git", "work"))
    run_git("init", "--quiet", "--bare", str(bare), at=work.parent)
    run_git("init", "--quiet", "-b", "main", str(work), at=work.parent)
    for name in (*agent.SERVER, *agent.STATED):
        source, goal = tiny.ROOT / "mlgitops" / name, work / "mlgitops" / name
        goal.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, goal, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, goal)
    (work / "mlgitops/requirements/serving.txt").write_text("# none\n")
    (work / "mlgitops/SHA256SUMS").write_text(sums(work / "mlgitops"))
    by_hash = py_compile.PycInvalidationMode.CHECKED_HASH
    assert compileall.compile_dir(work, quiet=1, invalidation_mode=by_hash)
    run_git("add", "-A", "--force", at=work)
    run_git("commit", "-qm", "code", at=work)
    run_git("push", "-q", str(bare), "main", at=work)
    commit = run_git("rev-parse", "HEAD", at=work)
    run_git("checkout", "-q", "--orphan", "ledger", at=work)
    run_git("rm", "-rfq", ".", at=work)
    return folder, commit


class World:
    """A repository with a ledger, its releases, and a home for the agent."""

    def __init__(self, home: Path, api: Api) -> None:
        self.home, self.api, self.seq = home, api, 0
        self.bare, self.work = home / "me/flights.git", home / "work"
        self.port = ports.free()
        made, self.commit = repository()
        shutil.copytree(Path(made.name, "flights.git"), self.bare)
        shutil.copytree(Path(made.name, "work"), self.work)

    def git(self, *arguments: str, at: Path | None = None) -> str:
        return run_git(*arguments, at=at or self.work)

    def release(self, version: str, slope: float, **changes: Any) -> dict[str, Any]:
        """Publish a version and name it in the ledger."""
        folder = self.home / "published" / version
        identity = tiny.version(folder, slope, **changes)
        self.api.releases[f"flights@{version}"] = folder
        return self.name(version, identity)

    def name(self, version: str, identity: str, **changes: Any) -> dict[str, Any]:
        """Write the ledger's release.json."""
        self.seq += 1
        release = {
            "schema": 1,
            "seq": self.seq,
            "version": version,
            "tag": f"flights@{version}",
            "manifest_sha256": identity,
            "commit": self.commit,
            "server": {"commit": self.commit, "sha256": "4" * 64},
            "deployment_id": 100 + self.seq,
        } | changes
        path = self.work / "environments/production/release.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(release))
        self.git("add", "-A")
        self.git("commit", "-qm", version)
        self.git("push", "-q", str(self.bare), "ledger")
        return release

    def command(self, *options: str) -> list[str]:
        script = str(tiny.ROOT / "mlgitops/host/agent.py")
        given = ["--git", str(self.bare), "--home", str(self.home / "agent")]
        given += ["--host", "127.0.0.1", "--port", str(self.port), "--poll", "0.2"]
        given += ["--api-url", self.api.url, "--log", str(self.home / "log")]
        return [sys.executable, script, *given, "--python", sys.executable, *options]

    @contextmanager
    def agent(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the agent; ends it whatever happens."""
        with (self.home / "agent.err").open("a") as errors:
            env = os.environ | {"AGENT_TOKEN": TOKEN}
            process = subprocess.Popen(self.command(*options), stderr=errors, env=env)
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(120)
                finally:
                    process.kill()

    def state(self) -> dict[str, Any]:
        path = self.home / "agent/state.json"
        empty = {"running": None, "failed": None, "report": None}
        return dict(json.loads(path.read_text())) if path.exists() else empty

    def words(self) -> str:
        return (self.home / "agent.err").read_text()

    def serves(self) -> str | None:
        """Return which manifest the public port answers with."""
        try:
            return str(tiny.call(self.port, "/info")[1]["manifest_sha256"])
        except (OSError, http.client.HTTPException):
            return None

    def settled(self, identity: str) -> bool:
        """Tell whether a manifest serves and the agent has recorded that."""
        running = self.state()["running"] or {}
        recorded = running.get("manifest_sha256") == identity
        return recorded and self.serves() == identity

    def until(self, true: Callable[[], Any], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, self.words()
            time.sleep(0.05)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    api = Api()
    try:
        yield World(tmp_path, api)
    finally:
        api.shutdown()
        api.server_close()


class Callers:
    """A light load: some keep their connection, some do not; every answer counts."""

    def __init__(self, port: int) -> None:
        self.port, self.errors, self.answers = port, list[str](), list[str]()
        self.stop = threading.Event()
        self.threads = [
            threading.Thread(target=self.run, args=(kept,))
            for kept in (True, True, False)
        ]
        for thread in self.threads:
            thread.start()

    def run(self, kept: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {} if kept else {"Connection": "close"}
        body = json.dumps({"rows": [tiny.ROW]})
        while not self.stop.is_set():
            try:
                connection.request("POST", "/predict", body, headers)
                answer = connection.getresponse()
                found = json.loads(answer.read())
                assert answer.status == 200, found
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.errors.append(repr(error))
                connection.close()
                continue
            self.answers.append(found["manifest_sha256"])
            time.sleep(PAUSE)
        connection.close()

    @property
    def seen(self) -> Counter[str]:
        """How many answers each version gave; threads append, nobody adds."""
        return Counter(self.answers)

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(90)


def test_deploy_switch_refuse_roll_back_without_losing_a_request(world: World) -> None:
    first = world.release("v1.0.0", 0.001)
    one = first["manifest_sha256"]
    with world.agent():
        world.until(lambda: world.settled(one))
        callers = Callers(world.port)
        try:
            world.until(lambda: callers.seen[one])
            two = world.release("v1.1.0", 0.002)["manifest_sha256"]
            world.until(lambda: world.settled(two) and callers.seen[two])
            golden = [{"row": tiny.ROW, "probability": 0.01}]
            world.release("v1.2.0", 0.003, golden=golden)  # healthy but wrong
            world.until(lambda: world.state()["failed"])
            assert "golden" in world.state()["failed"]["reason"]
            assert world.state()["running"]["version"] == "v1.1.0"
            assert world.serves() == two
            world.name("v1.0.0", one)  # rollback
            world.until(lambda: world.settled(one))
            world.until(lambda: world.state()["running"]["seq"] == 4)
            time.sleep(0.5)
        finally:
            callers.end()
        world.until(lambda: world.state()["report"] is None)
    assert callers.errors == []
    assert set(callers.seen) == {one, two}
    assert world.state()["failed"] is None
    states = [(number, state) for number, state, _ in world.api.statuses]
    assert states == [
        ("101", "success"),
        ("102", "success"),
        ("103", "failure"),
        ("104", "success"),
    ]
    assert world.api.tokens == {f"Bearer {TOKEN}", None}
    assert "Traceback" not in world.words()
    logged = tiny.logged(world.home / "log")
    assert len(logged) == sum(callers.seen.values())  # checks are not logged
    assert len({record["id"] for record in logged}) == len(logged)


def test_altered_missing_and_foreign_bytes_never_serve(world: World) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with world.agent():
        world.until(lambda: world.settled(one))

        def refused(words: str) -> None:
            failed = lambda: world.state()["failed"] or {}  # noqa: E731
            world.until(lambda: failed().get("seq") == world.seq)
            assert words in failed()["reason"]
            assert world.serves() == one

        two = tiny.version(world.home / "published/v2", 0.002)
        folder = world.home / "published/v2"
        world.api.releases["flights@v2"] = folder
        whole = (folder / "model.onnx").read_bytes()
        (folder / "model.onnx").write_bytes(whole[:-1] + b"x")
        world.name("v2", two)
        refused("model.onnx is not the reviewed file")
        world.name("v2", "0" * 64)
        refused("manifest.json is not the expected version")
        (folder / "model.onnx").write_bytes(whole)  # not before: v2 was tried again
        (folder / "contract.yaml").unlink()
        world.name("v2", two)
        refused("has no contract.yaml")
        world.name("v2", two, server={"commit": "0" * 40, "sha256": "5" * 64})
        world.until(lambda: "which is not on main" in world.words())
        assert world.serves() == one
        (folder / "contract.yaml").write_text(tiny.CONTRACT)
        world.name("v2", two)  # and the same, whole, is accepted
        world.until(lambda: world.settled(two))


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the servers that an agent started; its short git commands are none."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(n) for n in path.read_text().split() if serving(int(n))]


def serving(number: int) -> bool:
    try:
        words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return False
    return b"mlgitops.serving" in words


def gone(number: int) -> bool:
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def test_killed_hard_it_takes_its_children_along_and_resumes(world: World) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with world.agent() as agent:
        world.until(lambda: world.settled(one))
        found = children(agent)
        assert found
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        world.until(lambda: all(gone(number) for number in found))
    assert world.serves() is None
    world.bare.rename(world.home / "away")  # no Git, no API: it resumes all the same
    world.api.broken = True
    with world.agent():
        world.until(lambda: world.settled(one))
        assert world.state()["running"]["version"] == "v1.0.0"


def source(world: World) -> tuple[agent.Source, Path]:
    """Return what an agent follows, and a home that it has looked from."""
    home = world.home / "looks"
    home.mkdir()
    return agent.Source(str(world.bare), world.api.url, None, ""), home


def test_a_ledger_that_went_back_in_time_is_not_followed(world: World) -> None:
    """Who may push to it could bring any old release, and hide that they did."""
    looks, home = source(world)
    world.release("v1.0.0", 0.001)
    old = world.git("rev-parse", "HEAD")
    assert (looks.latest(home, "production")[1] or {})["version"] == "v1.0.0"
    for version in ("v1.1.0", "v1.2.0"):  # the control: it grows
        world.release(version, 0.002)
    assert (looks.latest(home, "production")[1] or {})["version"] == "v1.2.0"
    world.git("push", "-q", "-f", str(world.bare), f"{old}:refs/heads/ledger")
    for _ in range(2):
        with pytest.raises(agent.TransientError, match="went back in time"):
            looks.latest(home, "production")
    shutil.rmtree(home / "git")  # a clone that is made again remembers
    with pytest.raises(agent.TransientError, match="went back in time"):
        looks.latest(home, "production")
    amended = world.git("commit-tree", "HEAD^{tree}", "-m", "rewritten")
    world.git("push", "-q", "-f", str(world.bare), f"{amended}:refs/heads/ledger")
    with pytest.raises(agent.TransientError, match="was rewritten"):
        looks.latest(home, "production")
    world.git("push", "-q", "-f", str(world.bare), "ledger")
    assert (looks.latest(home, "production")[1] or {})["version"] == "v1.2.0"


def test_a_commit_that_is_not_on_main_is_not_deployed(world: World) -> None:
    """A server's code is fetched by its commit, and a fork's can be fetched, too."""
    looks, home = source(world)
    first = world.release("v1.0.0", 0.001)
    assert (looks.latest(home, "production")[1] or {})["version"] == "v1.0.0"
    tree = world.git("rev-parse", f"{world.commit}^{{tree}}")
    foreign = world.git("commit-tree", tree, "-p", world.commit, "-m", "unmerged")
    world.git("push", "-q", str(world.bare), f"{foreign}:refs/pull/7/head")
    code = {"commit": foreign, "sha256": "4" * 64}
    for changes in ({"commit": foreign}, {"server": code}):
        world.name("v1.1.0", first["manifest_sha256"], **changes)
        with pytest.raises(agent.TransientError, match="not on main"):
            looks.latest(home, "production")
    world.git("push", "-q", str(world.bare), f"{foreign}:refs/heads/main")
    release = looks.latest(home, "production")[1] or {}  # the control: it was merged
    assert release["server"]["commit"] == foreign


def test_a_commit_that_only_adds_the_lock_is_deployed(world: World) -> None:
    """A version's tag stands on one; with anything else in it, or elsewhere, none."""
    looks, home = source(world)
    first = world.release("v1.0.0", 0.001)["manifest_sha256"]

    def tagged(parent: str, name: str, *paths: str) -> str:
        world.git("checkout", "-q", "--detach", parent)
        for path in paths:
            (world.work / path).write_text(name)
            world.git("add", path)
        world.git("commit", "-qm", name)
        commit = world.git("rev-parse", "HEAD")
        world.git("push", "-q", str(world.bare), f"HEAD:refs/tags/{name}")
        world.git("checkout", "-q", "ledger")
        return commit

    good = tagged(world.commit, "good", "dvc.lock")
    world.name("v1.0.0", first, commit=good)
    release = looks.latest(home, "production")[1] or {}
    assert release["commit"] == good
    code = {"commit": good, "sha256": "4" * 64}
    world.name("v1.0.1", first, commit=good, server=code)
    assert (looks.latest(home, "production")[1] or {})["version"] == "v1.0.1"
    more = tagged(world.commit, "more", "dvc.lock", "other.py")
    side = tagged(more, "side", "dvc.lock")
    absent = "0" * 39 + "1"
    for number, commit in enumerate((more, side, absent)):
        world.name(f"v1.1.{number}", first, commit=commit)
        with pytest.raises(agent.TransientError, match="not on main"):
            looks.latest(home, "production")
    world.name("v1.2.0", first, commit=good)  # the control
    assert (looks.latest(home, "production")[1] or {})["version"] == "v1.2.0"


def to_main(world: World, files: dict[str, str], branch: str = "main") -> str:
    """Merge some files; return the commit."""
    clone = world.home / f"clone{len([*world.home.iterdir()])}"
    world.git("clone", "-q", "-b", branch, str(world.bare), str(clone))
    for name, text in files.items():
        (clone / name).write_text(text)
    world.git("add", "-A", at=clone)
    world.git("commit", "-qm", "merged", at=clone)
    world.git("push", "-q", "origin", branch, at=clone)
    return world.git("rev-parse", "HEAD", at=clone)


def test_the_default_branch_may_have_another_name(world: World) -> None:
    looks, home = source(world)
    first = world.release("v1.0.0", 0.001)["manifest_sha256"]
    assert (looks.latest(home, "production")[1] or {})["commit"] == world.commit
    world.git("push", "-q", str(world.bare), "main:refs/heads/trunk")
    world.git("symbolic-ref", "HEAD", "refs/heads/trunk", at=world.bare)
    merged = to_main(world, {"words.md": "trunk"}, "trunk")
    world.name("v1.1.0", first, commit=merged)
    assert (looks.latest(home, "production")[1] or {})["commit"] == merged
    other = to_main(world, {"words.md": "main"}, "main")  # the control: a mere branch
    world.name("v1.2.0", first, commit=other)
    with pytest.raises(agent.TransientError, match="not on trunk"):
        looks.latest(home, "production")


def openssl(*arguments: str | Path, data: bytes = b"") -> bytes:
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, input=data, check=True, capture_output=True)
    return done.stdout


def new_key(file: Path) -> str:
    """Write a new private key; return its public half."""
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", file)
    return openssl("ec", "-in", file, "-pubout").decode()


def signed(world: World, file: Path, version: str, identity: str) -> None:
    """Write the ledger's release.json as `deploy` does where there is a key."""
    release = {"version": version, "tag": f"flights@{version}", "image": None}
    release |= {"manifest_sha256": identity, "commit": world.commit}
    code = {"commit": world.commit, "sha256": "4" * 64}
    statement = signature.statement(release | {"server": code})
    made = openssl("dgst", "-sha256", "-sign", file, data=statement)
    text = base64.b64encode(made).decode()
    world.name(version, identity, image=None, signature=text)


WITH_OPENSSL = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl")


@WITH_OPENSSL
def test_where_main_has_a_key_only_signed_releases_are_read(world: World) -> None:
    looks, home = source(world)
    first = world.release("v1.0.0", 0.001)
    one = first["manifest_sha256"]
    assert looks.latest(home, "production")[1] == first  # without a key all is as ever
    ours, theirs = world.home / "ours", world.home / "theirs"
    to_main(world, {"signing.pub": new_key(ours)})
    new_key(theirs)
    for forge in (
        lambda: None,  # the key is newer than what runs
        lambda: world.name("v1.0.0", one),
        lambda: world.name("v1.0.0", one, signature=5),
        lambda: signed(world, theirs, "v1.0.0", one),
    ):
        forge()
        with pytest.raises(agent.TransientError, match="is not signed with"):
            looks.latest(home, "production")
    signed(world, ours, "v1.0.0", one)  # the control
    assert (looks.latest(home, "production")[1] or {})["seq"] == world.seq


@pytest.mark.slow
@WITH_OPENSSL
def test_a_forged_push_changes_nothing_that_runs(world: World) -> None:
    ours = world.home / "ours"
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    published = world.home / "published/v1.1.0"
    two = tiny.version(published, 0.002)
    world.api.releases["flights@v1.1.0"] = published
    with world.agent():
        world.until(lambda: world.settled(one))
        to_main(world, {"signing.pub": new_key(ours)})
        world.name("v1.1.0", two)
        world.until(lambda: "is not signed with" in world.words())
        assert world.serves() == one
        assert world.state()["failed"] is None, "no release is condemned for it"
        signed(world, ours, "v1.1.0", two)  # the control
        world.until(lambda: world.settled(two))
        world.until(lambda: world.api.statuses[-1][:2] == ("103", "success"))
    assert "Traceback" not in world.words()


def test_without_openssl_no_signature_is_believed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, home = source(world)
    to_main(world, {"signing.pub": "any"})
    world.release("v1.0.0", 0.001)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(agent.TransientError, match="Install openssl"):
        looks.latest(home, "production")


def test_a_server_that_dies_is_started_again(world: World) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with world.agent() as agent:
        world.until(lambda: world.settled(one))
        (old,) = children(agent)
        os.kill(old, signal.SIGKILL)
        world.until(lambda: world.serves() == one and children(agent) != [old])


def test_what_is_out_of_reach_is_tried_again(world: World) -> None:
    world.api.broken = True
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with world.agent("--poll", "0.6"):
        world.until(lambda: "trying again" in world.words())
        world.api.broken = False
        world.until(lambda: world.settled(one))
        assert world.state()["failed"] is None


def test_what_nobody_foresaw_keeps_the_agent_alive(world: World) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with world.agent():
        world.until(lambda: world.settled(one))
        releases = world.home / "agent/releases"
        releases.rename(world.home / "agent/moved")
        releases.write_text("no folder can be made here, as on a full disk")
        two = world.release("v1.1.0", 0.002)["manifest_sha256"]
        world.until(lambda: world.state()["failed"])
        assert world.serves() == one
        releases.unlink()
        (world.home / "agent/moved").rename(releases)
        world.name("v1.1.0", two)
        world.until(lambda: world.settled(two))
    assert "Traceback" not in world.words()


def test_once_checks_and_leaves(world: World) -> None:
    def once() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            world.command("--once"), capture_output=True, text=True, timeout=300
        )

    world.release("v1.0.0", 0.001)
    done = once()
    assert done.returncode == 0 and "checked, it would serve" in done.stderr
    assert world.serves() is None
    golden = [{"row": tiny.ROW, "probability": 0.5}]
    world.release("v1.1.0", 0.002, golden=golden)
    done = once()
    assert done.returncode == 1 and "golden" in done.stderr
    assert world.api.statuses == []


@pytest.mark.slow
def test_old_releases_are_kept_but_not_for_ever(world: World) -> None:
    releases = world.home / "agent/releases"
    with world.agent():
        for number in range(1, 6):
            identity = world.release(f"v{number}", number / 1000)["manifest_sha256"]
            world.until(lambda wanted=identity: world.settled(wanted))
        world.until(lambda: len([*releases.iterdir()]) == 3)


def test_killed_while_it_removes_an_old_release_none_is_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is half would be refused as altered when a rollback asks for it."""
    given = agent.parse(["--git", "x/y/z", "--home", str(tmp_path)])
    follower = agent.Agent(given, agent.Source("x/y/z", "", None, ""))
    for number in range(6):
        folder = tmp_path / "releases" / f"{number}"
        (folder / "model").mkdir(parents=True)
        (folder / "last").touch()
        os.utime(folder, (number, number))
    whole = shutil.rmtree

    def killed(place: Path, ignore_errors: bool = False) -> None:
        if (place / "model").exists():
            whole(place / "model")
            raise KeyboardInterrupt
        whole(place, ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        follower.prune()
    monkeypatch.undo()
    left = [f for f in (tmp_path / "releases").iterdir() if f.suffix != ".part"]
    assert len(left) == 5 and all((folder / "model").exists() for folder in left)
    follower.prune()
    assert sorted(f.name for f in (tmp_path / "releases").iterdir()) == ["3", "4", "5"]


def test_two_agents_do_not_share_a_home(world: World) -> None:
    world.release("v1.0.0", 0.001)
    with world.agent():
        world.until(lambda: world.serves())
        done = subprocess.run(world.command(), capture_output=True, text=True)
    assert done.returncode == 1 and "another agent already uses" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_units_name_what_exists() -> None:
    unit = (tiny.ROOT / "deploy/agent.service").read_text()
    line = unit.replace("\\\n", " ").partition("ExecStart=")[2].splitlines()[0]
    options = {word for word in line.split() if word.startswith("--")}
    script = str(tiny.ROOT / "mlgitops/host/agent.py")
    usage = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True
    )
    assert options and all(f"{option} " in usage.stdout for option in options)
    assert "agent.socket" in unit and "KillMode=mixed" in unit
    socket_unit = (tiny.ROOT / "deploy/agent.socket").read_text()
    assert "ListenStream=127.0.0.1:8080" in socket_unit
    assert unit.replace("\\\n", " ").partition("ExecStart=")[2].count(" $ACCESS") == 1


def test_systemd_may_hold_the_port(world: World) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    code = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True); "
        "os.environ['LISTEN_PID'] = str(os.getpid()); "
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    with socket.create_server(("127.0.0.1", 0)) as held:
        world.port = held.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(held.fileno()), *world.command()],
            pass_fds=[held.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            world.until(lambda: world.settled(one))
        finally:
            process.terminate()
            process.wait(120)


@pytest.mark.slow
def test_an_environment_is_made_per_set_of_requirements(world: World) -> None:
    world.release("v1.0.0", 0.001)
    command = world.command("--once")
    del command[command.index("--python") : command.index("--python") + 2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    (venv,) = (world.home / "agent/venvs").iterdir()
    assert (venv / "complete").exists() and (venv / "bin/python").exists()
    assert done.returncode == 1  # it has no requirements, so the server cannot start
    assert "the server ended at its start" in done.stderr


@pytest.mark.parametrize(("days", "late"), [(15, True), (13, False), (None, False)])
def test_the_agent_says_that_the_monitor_stopped(
    days: float | None, late: bool, world: World
) -> None:
    if days is not None:
        made = datetime.now(UTC) - timedelta(days=days)
        record = {"time": made.isoformat(), "every_days": 7}
        place = world.work / "blocks" / "00001" / "monitoring"
        (place / "reports").mkdir(parents=True)
        (place / "00001002.json").write_text(json.dumps(record))
        old = {"time": "2020-01-01T00:00:00+00:00", "every_days": 7}
        (place / "00001001.json").write_text(json.dumps(old))
        (place / "reports" / "00001002.md").write_text("# fine")
        (world.work / "blocks" / "00002" / "locks").mkdir(parents=True)
        (world.work / "blocks" / "00002" / "locks" / "a.lock").write_text("")
        (world.work / "monitoring").mkdir()
        (world.work / "monitoring" / "00000009.json").write_text(json.dumps(old))
    identity = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with world.agent():
        world.until(lambda: world.settled(identity))
        world.until(lambda: not late or "the monitor last ran" in world.words())
        time.sleep(0.5)
    assert world.words().count("the monitor last ran") == late
    if late:
        assert re.search("last ran 15 days ago .* every 7", world.words())


@pytest.mark.parametrize(
    ("paths", "newest"),
    [
        (("monitoring/00000009.json",), 0),
        (("monitoring/00000009.json", "blocks/00001/monitoring/00001001.json"), 1),
        (("monitoring/00001002.json", "blocks/00001/monitoring/00001001.json"), 0),
        (("blocks/00001/monitoring/00001999.json", "blocks/00002/locks/a.lock"), 0),
    ],
)
def test_the_monitors_newest_record_is_found_wherever_it_lies(
    paths: tuple[str, ...], newest: int, tmp_path: Path
) -> None:
    """An earlier machinery writes it outside of blocks, whatever its number."""
    git.run("init", "-q", "--bare", "git", cwd=tmp_path)
    clone = tmp_path / "git"
    commit = git.commit(dict.fromkeys(paths, b"{}"), "m", "x", cwd=clone)
    git.run("update-ref", agent.LEDGER, commit, cwd=clone)
    names = agent.Source("", "", "you/m", "")._monitored(tmp_path)
    assert max(names, key=lambda name: name.split("/")[-1]) == paths[newest]


def test_a_change_of_the_server_alone_is_switched_to(world: World) -> None:
    one = world.release("v1.0.0", 0.001)["manifest_sha256"]
    with world.agent():
        world.until(lambda: world.settled(one))
        info = tiny.call(world.port, "/info")[1]
        assert re.fullmatch(r"machinery \S+, as released", info["machinery"])
        world.git("checkout", "-q", "main")
        (world.work / "mlgitops/serving/app.py").open("a").write("# better\n")
        world.git("commit", "-qam", "server")
        newer = {"commit": world.git("rev-parse", "HEAD"), "sha256": "5" * 64}
        world.git("push", "-q", str(world.bare), "main")
        world.git("checkout", "-q", "ledger")
        world.name("v1.0.0", one, server=newer)
        told = lambda: tiny.call(world.port, "/info")[1]["server_sha256"]  # noqa: E731
        world.until(lambda: world.state()["running"]["seq"] == world.seq)
        modified = info["machinery"].replace("as released", "modified here (1 file)")

        def switched() -> bool:  # in one answer, as the old server may give a last one
            info = tiny.call(world.port, "/info")[1]
            return (info["server_sha256"], info["machinery"]) == ("5" * 64, modified)

        world.until(switched)
        missing = {"commit": "0" * 40, "sha256": "6" * 64}
        world.name("v1.0.0", one, server=missing)
        world.until(lambda: "which is not on main" in world.words())
        assert told() == "5" * 64


def test_what_staging_runs_is_a_shadow_of_production(world: World) -> None:
    """It follows staging without a restart; altered bytes cost the champion nothing."""

    def stage(version: str, identity: str) -> None:
        about = {"version": version, "tag": f"flights@{version}"}
        release = first | about | {"manifest_sha256": identity}
        path = world.work / "environments/staging/release.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(release))
        world.git("add", "-A")
        world.git("commit", "-qm", f"staging: {version}")
        world.git("push", "-q", str(world.bare), "ledger")

    def shadow() -> dict[str, Any]:
        info = tiny.call(world.port, "/info")[1]
        return dict(info.get("shadow") or {"manifest_sha256": None, "state": None})

    first = world.release("v1.0.0", 0.001)
    one, folder = first["manifest_sha256"], world.home / "published/v1.1.0"
    two = tiny.version(folder, 0.002)
    world.api.releases["flights@v1.1.0"] = folder
    with world.agent("--shadow", "staging"):
        world.until(lambda: world.settled(one))
        assert shadow()["state"] is None  # staging has nothing
        stage("v1.1.0", two)
        world.until(lambda: shadow()["state"] == "ready")
        assert shadow()["manifest_sha256"] == two and world.serves() == one
        status, _ = tiny.call(world.port, "/predict", {"rows": [tiny.ROW]})
        assert status == 200
        world.until(lambda: shadow()["rows"] == 1)
        stage("v1.0.0", one)  # the same as production: nothing to compare
        world.until(lambda: shadow()["state"] is None)
        stage("v1.1.0", two)
        world.until(lambda: shadow()["state"] == "ready")
        whole = (folder / "model.onnx").read_bytes()
        (folder / "model.onnx").write_bytes(whole[:-1] + b"x")
        shutil.rmtree(next((world.home / "agent/releases").glob(f"{two[:16]}*")))
        world.api.releases["flights@v1.2.0"] = folder
        stage("v1.2.0", two)  # as another release
        world.until(lambda: "what runs is not touched" in world.words())
        assert world.serves() == one and shadow()["manifest_sha256"] == two
    own, others = world.home / "log", world.home / "log/shadow"
    assert [line["id"] for line in tiny.logged(own)] == [
        line["id"] for line in tiny.logged(others)
    ]
    assert world.state()["failed"] is None


@pytest.mark.parametrize(
    "options",
    [("--runtime", "docker"), (), ("--log", "l", "--environment", "a")],
)
def test_a_shadow_that_cannot_be_is_refused(options: tuple[str, ...]) -> None:
    given = ["--git", "g", "--home", "h", "--shadow", "a"]
    with pytest.raises(SystemExit):
        agent.parse([*given, *options])
    for runtime in ("process", "docker"):
        chosen = agent.parse([*given, "--log", "l", "--runtime", runtime])
        assert chosen.shadow == "a"


class Named:
    """A server that notes which challengers it is told."""

    def __init__(self) -> None:
        self.release = {"manifest_sha256": "a" * 64}
        self.process = SimpleNamespace(poll=lambda: None, returncode=-11)
        self.started_at, self.told = time.monotonic(), list[str]()
        self.challengers: dict[str, Any] = {}

    def challenge(self, role: str, release: Any, folder: Path) -> None:
        self.challengers[role] = release
        self.told.append(release["version"] if release else "none")


@pytest.fixture
def follower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> agent.Agent:
    """An agent without a server whose ledger has a canary."""
    options = ["--git", "x/y/z", "--home", str(tmp_path), "--log", str(tmp_path)]
    made = agent.Agent(
        agent.parse([*options, "--canary"]), agent.Source("x/y/z", "", None, "")
    )
    canary = {"version": "v2", "manifest_sha256": "b" * 64, "champion": "a" * 64}
    canary |= {"state": "running"}
    monkeypatch.setattr(made.source, "also", lambda *_: dict(canary))
    monkeypatch.setattr(made, "files", lambda _: made.home / "release")
    monkeypatch.setattr(made, "task", lambda _name, _seconds, work: work)
    return made


def named(follower: agent.Agent) -> list[str]:
    """Let it look at the ledger's canary; return what its server was told so far."""
    steps = follower.challenge("canary", "production/canary.json")
    with contextlib.suppress(StopIteration):
        work: Any = next(steps)
        while True:
            work = steps.send(work())
    server: Any = follower.server
    return list(server.told)


def test_a_server_that_ended_with_a_canary_runs_without_it(
    follower: agent.Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is in the server's process: it would end the next one too."""
    first: Any = Named()
    follower.server = first
    assert named(follower) == ["v2"]
    first.process.poll = lambda: -11
    follower.supervise()
    assert follower.server is None and "v2 is no canary" in capsys.readouterr().err
    other: Any = Named()
    follower.server = other
    assert named(follower) == []
    follower.ended_with.clear()  # the control
    follower.challenged.clear()
    assert named(follower) == ["v2"]


def test_a_canary_that_nobody_can_take_back_ends(follower: agent.Agent) -> None:
    """The ledger is out of reach; it is named again once it was read."""
    server: Any = Named()
    follower.server = server
    assert named(follower) == ["v2"]
    follower.unheard()
    assert server.told == ["v2"]  # not for long
    follower.heard_at -= agent.MAX_RETRY_SECONDS
    follower.unheard()
    follower.unheard()
    assert server.told == ["v2", "none"]
    assert named(follower) == ["v2", "none", "v2"]


def test_a_canary_answers_until_the_ledger_takes_it_back(world: World) -> None:
    """The host follows canary.json; an altered one, or one that is over, is none."""

    def tell(**changes: Any) -> None:
        path = world.work / "environments/production/canary.json"
        path.write_text(json.dumps(first | about | changes))
        world.git("add", "-A")
        world.git("commit", "-qm", "canary")
        world.git("push", "-q", str(world.bare), "ledger")

    def canary() -> dict[str, Any]:
        info = tiny.call(world.port, "/info")[1]
        return dict(info.get("canary") or {"answers": None})

    first = world.release("v1.0.0", 0.001)
    one, folder = first["manifest_sha256"], world.home / "published/v1.1.0"
    two = tiny.version(folder, 0.002)
    world.api.releases["flights@v1.1.0"] = folder
    about = {
        "version": "v1.1.0",
        "tag": "flights@v1.1.0",
        "manifest_sha256": two,
        "champion": one,
        "share": 0.5,
        "until": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
        "state": "running",
    }
    rows = [tiny.ROW | {"id": f"r{n}"} for n in range(100)]
    with world.agent("--canary"):
        world.until(lambda: world.settled(one))
        tell()
        world.until(lambda: canary()["answers"])
        answer = tiny.call(world.port, "/predict", {"rows": rows})[1]
        assert answer["manifest_sha256"] == world.serves() == one
        named = [row.get("manifest_sha256") for row in answer["predictions"]]
        assert 20 < named.count(two) < 80 and named.count(None) == 100 - named.count(
            two
        )
        tell(state="taken back")
        world.until(lambda: canary()["answers"] is None)
        answer = tiny.call(world.port, "/predict", {"rows": rows})[1]
        assert all("manifest_sha256" not in row for row in answer["predictions"])
        tell()
        world.until(lambda: canary()["answers"])
        tell(champion="0" * 64)  # it was begun beside another
        world.until(lambda: canary()["answers"] is None)
        tell(until="2020-01-01T00:00:00+00:00")
        world.until(lambda: canary()["answers"])  # until it is asked
        tiny.call(world.port, "/predict", {"rows": rows})
        assert canary()["reason"] == "its hours are over."
        tell(commit="f" * 40)
        world.until(lambda: "canary: the ledger names commit" in world.words())
        world.until(lambda: canary()["answers"] is None)
        assert world.serves() == one
    assert world.state()["failed"] is None
