"""The host agent: this machine runs what the ledger says, and nothing else.

    AGENT_TOKEN=... python3 agent.py --git https://github.com/OWNER/REPOSITORY.git \
        --environment production --home /var/lib/model --port 8080

One file, standard library only, so that it can be copied to any Linux machine. It
follows the branch `ledger`, fetches the release named there (code from Git, the model
from the GitHub Release), verifies every byte, starts the new server beside the old one,
checks its health and golden rows on a private port, and only then moves the public
port, which the agent owns and the servers inherit. What fails is never switched to.
Killed at any point, it resumes the release that it last ran. See README.md.
"""

import argparse
import base64
import contextlib
import ctypes
import fcntl
import hashlib
import io
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

ASSETS = ("manifest.json", "contract.yaml", "model.onnx")
MAX_ASSET_BYTES = 2_000_000_000  # what GitHub allows for one asset
SERVER = (  # of mlgitops/: what answers requests
    "__init__.py",
    "machinery.py",
    "prediction_log.py",
    "serving",
    "requirements/serving.txt",
)
STATED = ("VERSION", "SHA256SUMS")  # with them /info names the machinery
KEEP = 2  # older releases kept on disk, ready for a rollback
TRIES = 5  # a release whose parts cannot be fetched is given up after as many polls
START_SECONDS = 60.0  # for a new server to be ready
RUN_SECONDS = 600.0  # for git or an installation
BIND_SECONDS = 10.0  # for the servers of a killed agent to let go of the port
STABLE_SECONDS = 60.0  # a server that ran so long is started again at once
DRAIN_SECONDS = 30.0  # for an old server to finish, then it is killed
LATE_PERIODS = 2  # of the monitor without a run, before its silence is said, once a day
TOLERANCE = 1e-5  # the same as the server's own check of the golden rows
LABEL = "model.agent"  # on containers: the home of the agent that started them
HARD = (
    *("--network=none", "--read-only", "--cap-drop=ALL", "--pids-limit=512"),
    "--security-opt=no-new-privileges",
)
IMAGE = r"([a-z0-9][\w./:-]{0,300}@sha256:[0-9a-f]{64})?"
LIBC = ctypes.CDLL(None)  # loaded before any fork
HIDDEN = ("AGENT_TOKEN", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
Release = dict[str, Any]


class TransientError(Exception):
    """Something is out of reach now; the next poll tries again."""

    status: int | None = None


class RefusedError(Exception):
    """This release must not run here: one sentence that says why."""


def say(text: str) -> None:
    """Tell on standard error what happens; journald adds the time."""
    print(text, file=sys.stderr, flush=True)


def _die_with_parent() -> None:
    """Ask Linux to end this child when the agent ends, however it ends."""
    LIBC.prctl(1, signal.SIGTERM)


def run(command: list[str], **env: str) -> bytes:
    """Run a program to its end and return its output; RefusedError with its words."""
    try:
        done = subprocess.run(
            command,
            env=_environment() | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=RUN_SECONDS,
            preexec_fn=_die_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise RefusedError(f"{command[0]} took over {RUN_SECONDS:g} s.") from None
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or ["failed"]
        raise RefusedError(words[-1][:300].removeprefix("refused: "))
    return done.stdout


def _environment() -> dict[str, str]:
    """Return the environment of children: everything but the token."""
    return {name: os.environ[name] for name in os.environ if name not in HIDDEN}


def write(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def discard(place: Path) -> None:
    """Remove a folder; a kill in the middle leaves nothing half under its name."""
    part = place.with_name(place.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with contextlib.suppress(OSError):
        place.rename(part)
    shutil.rmtree(part, ignore_errors=True)


def save(answer: Any, path: Path) -> int:
    """Write an answer's body to a file, up to the cap; return how many bytes."""
    size = 0
    with path.open("wb") as file:
        while block := answer.read(1_000_000):
            size += file.write(block)
            if size > MAX_ASSET_BYTES:
                raise RefusedError(f"{path.name} has over {MAX_ASSET_BYTES} bytes.")
    return size


class Source:
    """Where releases come from: the Git repository and its GitHub Releases."""

    def __init__(self, git: str, api: str, repository: str | None, token: str) -> None:
        """`repository` is OWNER/NAME; by default it is read from the Git address."""
        self.git, self.api, self.token = git, api.rstrip("/"), token
        self.seen: tuple[bytes, Release | None] = (b"", None)
        parts = re.split(r"[/:]", git.removesuffix("/").removesuffix(".git"))
        self.repository = repository or "/".join(parts[-2:])

    def _git(self, home: Path, *arguments: str) -> bytes:
        env = {"GIT_TERMINAL_PROMPT": "0"}
        where = urlsplit(self.git)
        if self.token and where.scheme in ("http", "https"):
            login = base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
            env |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{where.scheme}://{where.netloc}/.extraheader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {login}",
            }
        folder = home / "git"
        try:
            if not (folder / "HEAD").exists():
                run(["git", "init", "--quiet", "--bare", str(folder)])
            return run(["git", "-C", str(folder), *arguments], **env)
        except RefusedError as error:
            raise TransientError(f"git {arguments[0]}: {error}") from None

    def wanted(self, home: Path, environment: str) -> Release | None:
        """Return the release that the ledger names, or None if there is none yet."""
        tip = self._git(home, "ls-remote", self.git, "refs/heads/ledger")
        if tip == self.seen[0]:
            return self.seen[1]
        release = self._read(home, environment) if tip else None
        self.seen = (tip, release)
        return release

    def _read(self, home: Path, environment: str) -> Release | None:
        """Fetch the ledger and return its release of an environment."""
        fetch = ("fetch", "--quiet", "--depth=1", self.git)
        self._git(home, *fetch, "+refs/heads/ledger:refs/heads/ledger")
        path = f"environments/{environment}/release.json"
        if not self._git(home, "ls-tree", "refs/heads/ledger", path):
            return None
        try:
            release = json.loads(self._git(home, "show", f"refs/heads/ledger:{path}"))
            _check(release)
        except (ValueError, TypeError, KeyError) as error:
            raise TransientError(f"{path} on the ledger is broken: {error}") from None
        return dict(release)

    def silence(self, home: Path) -> str:
        """Say that the monitor has stopped to run, by its newest record, or nothing."""
        listed = ("ls-tree", "--name-only", "refs/heads/ledger", "monitoring/")
        try:
            names = self._git(home, *listed).decode().split()
            newest = max(name for name in names if name.endswith(".json"))
            record = json.loads(self._git(home, "show", f"refs/heads/ledger:{newest}"))
            ran, every = datetime.fromisoformat(record["time"]), record["every_days"]
            age = (datetime.now(UTC) - ran).total_seconds() / 86_400
        except (TransientError, ValueError, TypeError, KeyError):
            return ""  # it has never run, or does not say how often it should
        if age <= LATE_PERIODS * every:
            return ""
        return f"the monitor last ran {age:.0f} days ago and should every {every:g}"

    def code(self, home: Path, commit: str, into: Path) -> None:
        """Put the server's code and its requirements at a commit into a folder."""
        try:
            self._git(home, "cat-file", "-e", f"{commit}^{{commit}}")
        except TransientError:
            self._git(home, "fetch", "--quiet", "--depth=1", self.git, commit)
        paths = [f"mlgitops/{name}" for name in (*SERVER, *STATED)]
        names = self._git(home, "ls-tree", "--name-only", commit, *paths).decode()
        if "mlgitops/serving" not in names.split():
            raise RefusedError(f"commit {commit} has no serving code.")
        data = self._git(home, "archive", "--format=tar", commit, *names.split())
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            if hasattr(tarfile, "data_filter"):  # since 3.11.4
                archive.extraction_filter = tarfile.data_filter
            archive.extractall(into)  # noqa: S202 (our own commit, from git archive)

    def assets(self, tag: str, places: dict[str, Path]) -> None:
        """Download files from the GitHub Release of a tag, each to its place."""
        path = f"/repos/{self.repository}/releases/tags/{quote(tag, safe='')}"
        with self.request(path) as answer:
            listed = json.loads(answer.read(10_000_000))["assets"]
        addresses = {item["name"]: item["url"] for item in listed}
        for name, into in places.items():
            if name not in addresses:
                raise RefusedError(f"the GitHub Release {tag} has no {name}.")
            with self.request(addresses[name], "application/octet-stream") as answer:
                size = save(answer, into)
                if size != int(answer.headers.get("Content-Length", size)):
                    raise TransientError(f"{name} was cut off after {size} bytes")

    def report(self, release: Release, state: str, description: str) -> None:
        """Tell GitHub how a deployment went."""
        path = f"/repos/{self.repository}/deployments/{release['deployment_id']}"
        body = {"state": state, "description": description[:140]}
        self.request(f"{path}/statuses", body=body).close()

    def request(self, path: str, accept: str = "", body: Any = None) -> Any:
        """Call the API; the token goes to the API's host only, never to a redirect."""
        address = path if "://" in path else self.api + path
        request = urllib.request.Request(  # noqa: S310
            address,
            None if body is None else json.dumps(body).encode(),
            {"Accept": accept or "application/vnd.github+json"},
        )
        same = urlsplit(address)[:2] == urlsplit(self.api)[:2]
        if self.token and same:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            return urllib.request.urlopen(request, timeout=60)  # noqa: S310
        except OSError as error:  # urllib's errors are OSErrors
            trouble = TransientError(f"{address}: {error}")
            trouble.status = getattr(error, "code", None)
            raise trouble from None


def _check(release: Release) -> None:
    """Raise ValueError when a release does not have what the agent needs."""
    for key, pattern in (
        ("manifest_sha256", r"[0-9a-f]{64}"),
        ("commit", r"[0-9a-f]{40}([0-9a-f]{24})?"),
        ("version", r"[\w.+-]{1,100}"),
        ("tag", r"[^\s-]\S{0,200}"),
    ):
        if not re.fullmatch(pattern, str(release[key])):
            raise ValueError(f"'{key}' is {str(release[key])[:80]!r}")
    if not re.fullmatch(IMAGE, str(release.get("image") or "")):
        raise ValueError(f"'image' is {str(release['image'])[:80]!r}")
    if not re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", server(release)[0]):
        raise ValueError(f"'server' is {str(release['server'])[:80]!r}")


def key(release: Release | None) -> tuple[str, ...] | None:
    """Return what makes a release another one: model, code, and its name."""
    if release is None:
        return None
    names = ("manifest_sha256", "commit", "version")
    image = str(release.get("image") or "")
    return (*(str(release[name]) for name in names), *server(release), image)


def server(release: Release) -> tuple[str, str]:
    """Return the commit that has the server's code, and the hash of that code."""
    said = release.get("server") or {"commit": release["commit"], "sha256": ""}
    return str(said["commit"]), str(said["sha256"])


def _pairs(item: Release, answer: Release) -> list[tuple[float, float]]:
    """Return (given, expected) of all numbers of a golden row's answer."""
    (name,) = item.keys() - {"row"}
    expected, given = item[name], answer[name]
    if not isinstance(expected, dict):
        return [(given, expected)]
    return [(given[key], expected[key]) for key in expected]


class Child:
    """One server process, first on a private port, then on the public one."""

    def __init__(self, python: Path, folder: Path, release: Release, given: Any):
        """Start the server beside whatever runs; `given` are the agent's options."""
        self.release = release
        public = given.listen.fileno()
        command = [str(python), "-m", "mlgitops.serving"]
        command += ["--model", str(folder / "model")]
        command += ["--host", "127.0.0.1", "--port", "0", "--fd", str(public)]
        command += ["--version", release["version"]]
        command += ["--expect", release["manifest_sha256"]]
        command += ["--log", str(given.log)] if given.log else []
        self.process = subprocess.Popen(
            command,
            cwd=folder / "code",
            env=_environment()
            | {"OMP_NUM_THREADS": "1", "SERVER_SHA256": server(release)[1]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[public],
            preexec_fn=_die_with_parent,
        )
        self.since = time.monotonic()
        self.kill_at = 0.0

    def line(self, seconds: float) -> str:
        """Return the server's next line; RefusedError when it stays silent or ends."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise RefusedError(f"the server did not start within {seconds:g} s.")
        line = self.process.stdout.readline().decode().strip()
        if not line:
            raise RefusedError("the server ended at its start; see the log above.")
        return line

    def check(self, folder: Path) -> None:
        """Ask for its health, its version and its golden rows on the private port."""
        found = re.search(r"http://[\w.]+:\d+$", self.line(START_SECONDS))
        if found is None:
            raise RefusedError("the server did not say where it listens.")
        self._get(found[0] + "/health/ready")
        wanted = self.release["manifest_sha256"]
        info = self._get(found[0] + "/info")
        if info["manifest_sha256"] != wanted:
            raise RefusedError(
                f"the server serves {info['manifest_sha256']}, expected {wanted}."
            )
        code, said = server(self.release)[1], info.get("server_sha256")
        if code and said and said != code:  # an older one does not say
            raise RefusedError(f"the server is {said}, expected {code}.")
        golden = json.loads((folder / "model/manifest.json").read_bytes())["golden"]
        body = json.dumps({"rows": [item["row"] for item in golden]}).encode()
        answers = self._get(found[0] + "/predict", body)["predictions"]
        scale = max(abs(item.get("value", 1.0)) for item in golden) or 1.0
        for at, (item, answer) in enumerate(zip(golden, answers, strict=True)):
            for given, expected in _pairs(item, answer):
                if not abs(given - expected) <= TOLERANCE * scale:
                    raise RefusedError(
                        f"golden row {at} is answered {given:.6g}, "
                        f"expected {expected:.6g}."
                    )

    def accept(self) -> None:
        """Move the server to the public port and wait until it is there."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(b"accept\n")
            self.process.stdin.flush()
        except OSError:
            raise RefusedError("the server ended before the switch.") from None
        if self.line(START_SECONDS) != "accepting":
            raise RefusedError("the server did not take the public port.")

    def stop(self) -> None:
        """Ask the server to drain and end; `kill_at` is when patience ends."""
        self.process.terminate()
        self.kill_at = time.monotonic() + DRAIN_SECONDS

    def kill(self) -> None:
        """End the server now."""
        self.process.kill()
        self.process.wait()

    def _get(self, address: str, body: bytes | None = None) -> Any:
        try:
            with urllib.request.urlopen(address, body, timeout=20) as answer:  # noqa: S310
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            said = json.loads(error.read() or b"{}")
            words = said.get("error") or said.get("reason")
            raise RefusedError(f"{urlsplit(address).path}: {words or error}") from None
        except (OSError, ValueError) as error:
            raise RefusedError(f"{urlsplit(address).path}: {error}") from None


class Container(Child):
    """One server in a container that has no network: the agent gives it its sockets."""

    def __init__(self, folder: Path, release: Release, given: Any):
        """Start the image beside whatever runs; `given` are the agent's options."""
        self.release, self.given = release, given
        self.name = f"model-{os.getpid()}-{os.urandom(4).hex()}"
        self.place = given.home / "run" / self.name
        self.place.mkdir(parents=True)
        user = os.getuid() or 10001  # root's containers run as the image's own user
        group = os.getgid() or 10001
        command = ["docker", "run", "--rm", "--interactive", f"--name={self.name}"]
        command += [f"--label={LABEL}={given.home}", "--pull=never", *HARD]
        command += [f"--user={user}:{group}"]
        command += [f"--mount=type=bind,src={self.place},dst=/run/agent"]
        if given.log:
            given.log.mkdir(parents=True, exist_ok=True)
            command += [f"--mount=type=bind,src={given.log},dst=/log"]
        self._listen(user, group)
        command += [release["image"], "--sockets", "/run/agent/sockets"]
        command += ["--version", release["version"]]
        command += ["--expect", release["manifest_sha256"]]
        command += ["--log", "/log"] if given.log else []
        self.process = subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=_die_with_parent,
        )
        self.since = time.monotonic()
        self.kill_at = 0.0

    def _listen(self, user: int, group: int) -> None:
        """Wait for the server on a Unix socket that only it can open."""
        self.channel = socket.socket(socket.AF_UNIX)
        folder = os.open(self.place, os.O_RDONLY)
        try:  # by a short name: such a path has room for 107 letters
            self.channel.bind(f"/proc/self/fd/{folder}/sockets")
        finally:
            os.close(folder)
        if not os.getuid():
            for path in filter(None, (self.place / "sockets", self.given.log)):
                os.chown(path, user, group)
        self.channel.listen(1)

    def check(self, folder: Path) -> None:
        """Hand the sockets over, then check the server as any other."""
        end = time.monotonic() + START_SECONDS
        while not select.select([self.channel], [], [], 0.1)[0]:
            if self.process.poll() is not None:
                raise RefusedError("the container ended at its start; see above.")
            if time.monotonic() > end:
                raise RefusedError(f"no container within {START_SECONDS:g} s.")
        with socket.socket() as own, self.channel.accept()[0] as server:
            own.bind(("127.0.0.1", 0))
            public = self.given.listen.fileno()
            socket.send_fds(server, [b"2"], [own.fileno(), public])
        self.channel.close()
        super().check(folder)

    def kill(self) -> None:
        """End the container now, not only the program that watches it."""
        with contextlib.suppress(RefusedError):
            run(["docker", "rm", "--force", self.name])
        super().kill()
        shutil.rmtree(self.place, ignore_errors=True)


def sweep(home: Path) -> None:
    """Remove the containers that a killed agent of this home has left."""
    found = run(["docker", "ps", "-aq", f"--filter=label={LABEL}={home}"]).decode()
    if found.split():
        run(["docker", "rm", "--force", *found.split()])
    shutil.rmtree(home / "run", ignore_errors=True)


def install(venv: Path, pins: Path) -> None:
    """Make an environment with exactly the pinned, hashed requirements."""
    python = str(venv / "bin/python")
    run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
    uv = shutil.which("uv")
    if uv:
        run([uv, "pip", "sync", "--python", python, "--require-hashes", str(pins)])
        return  # nothing is compiled: the first start compiles the part that it needs
    run([python, "-m", "ensurepip"])
    command = [python, "-m", "pip", "install", "--quiet", "--require-hashes"]
    run([*command, "-r", str(pins)])


class Agent:
    """Follows one environment of one repository on this machine."""

    def __init__(self, given: argparse.Namespace, source: Source) -> None:
        """Read what ran before; nothing is started yet."""
        self.given, self.source, self.home = given, source, given.home
        self.child: Child | None = None
        self.leaving: list[Child] = []
        self.falls, self.resume_at, self.remind_at = 0, 0.0, 0.0
        self.tries: dict[tuple[str, ...] | None, int] = {}
        self.state: dict[str, Any] = {"running": None, "failed": None, "report": None}
        try:
            self.state |= json.loads((self.home / "state.json").read_bytes())
        except (OSError, ValueError):
            say("no earlier state: starting from the ledger")

    def save(self, **changes: Any) -> None:
        """Record what runs and what failed, whole or not at all."""
        self.state |= changes
        text = json.dumps(self.state, indent=2, sort_keys=True) + "\n"
        write(self.home / "state.json", text.encode())

    def tend(self) -> None:
        """Reap what has ended, and start again what should run and does not."""
        for child in list(self.leaving):
            if child.process.poll() is not None:
                self.leaving.remove(child)
            elif time.monotonic() > child.kill_at:
                child.kill()
        running = self.state["running"]
        ended = self.child is None or self.child.process.poll() is not None
        if running is not None and ended:
            self.resume(running)

    def resume(self, running: Release) -> None:
        """Start what ran before; after each fall in a row wait twice as long."""
        if self.child is not None:
            say(f"the server ended ({self.child.process.returncode})")
            lasted = time.monotonic() - self.child.since > STABLE_SECONDS
            self.falls = 0 if lasted else self.falls + 1
            self.resume_at = time.monotonic() + min(60, 2**self.falls - 1)
            self.child = None
        if time.monotonic() < self.resume_at:
            return
        try:
            self.switch(running)
            say(f"{running['version']}: serving again {running['manifest_sha256']}")
        except Exception as error:  # whatever it is, the next look tries again
            self.falls += 1
            self.resume_at = time.monotonic() + min(60, 2**self.falls - 1)
            say(f"{running['version']} cannot be resumed: {error}")

    def follow(self) -> bool:
        """Bring this machine to what the ledger names; False when that failed."""
        wanted = self.source.wanted(self.home, self.given.environment)
        failed = self.state["failed"]
        if wanted is None or (failed and failed.get("seq") == wanted.get("seq")):
            return wanted is None
        same = key(wanted) == key(self.state["running"])
        if same and wanted.get("seq") == self.state["running"].get("seq"):
            return True
        try:
            if not (same and self.child is not None):
                say(f"{wanted['version']}: deploying {wanted['manifest_sha256']}")
                self.switch(wanted)
        except RefusedError as error:
            return self.settle(wanted, str(error))
        except Exception as error:  # out of reach, disk full, an odd answer
            self.tries[key(wanted)] = self.tries.get(key(wanted), 0) + 1
            if self.tries[key(wanted)] < TRIES:
                raise
            return self.settle(wanted, str(error))
        return self.settle(wanted, None)

    def settle(self, release: Release, reason: str | None) -> bool:
        """Record how a release went, and owe GitHub the news."""
        version = release["version"]
        if self.given.once:
            say(f"{version}: {reason or 'checked, it would serve'}")
            return reason is None
        report = None
        if self.source.token and release.get("deployment_id"):
            words = reason or f"{version} serves {release['manifest_sha256']}"
            report = [release, "failure" if reason else "success", words]
        if reason is None:
            say(f"{version}: serving {release['manifest_sha256']}")
            self.save(running=release, failed=None, report=report)
            self.prune()
            return True
        say(f"{version}: refused: {reason}")
        self.save(failed=release | {"reason": reason}, report=report)
        return False

    def tell(self) -> None:
        """Send the deployment status that is still owed."""
        if self.state["report"]:
            try:
                self.source.report(*self.state["report"])
            except TransientError as error:
                if error.status not in (403, 404, 422):
                    raise
                say(f"GitHub does not take the deployment status: {error}")
            self.save(report=None)

    def remind(self) -> None:
        """Say once a day that nobody watches what is served here."""
        if time.monotonic() >= self.remind_at:
            self.remind_at = time.monotonic() + 86_400
            if words := self.source.silence(self.home):
                say(f"{words}: see `make doctor` in the repository")

    def switch(self, release: Release) -> None:
        """Start a release, check it, move the public port to it, let the old one go."""
        folder = self.fetch(release)
        child: Child
        if self.given.runtime == "docker":
            child = Container(folder, release, self.given)
        else:
            child = Child(self.python(folder), folder, release, self.given)
        try:
            child.check(folder)
            if self.given.once:
                child.stop()
                return
            child.accept()
        except BaseException:
            child.kill()
            raise
        old, self.child = self.child, child
        if old is not None:
            old.stop()
            self.leaving.append(old)

    def fetch(self, release: Release) -> Path:
        """Return the folder of a release, fetched when needed, verified always."""
        if self.given.runtime == "docker":
            return self.pull(release)
        name = f"{release['manifest_sha256'][:16]}-{server(release)[0][:12]}"
        folder: Path = self.home / "releases" / name
        if folder.exists():
            try:
                self.verify(folder, release)
            except RefusedError:
                discard(folder)  # altered on this disk: fetched anew next time
                raise
        else:
            part = folder.with_name(name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            (part / "model").mkdir(parents=True)
            (part / "code").mkdir()
            self.source.code(self.home, server(release)[0], part / "code")
            places = {name: part / "model" / name for name in ASSETS}
            self.source.assets(release["tag"], places)
            self.verify(part, release)
            part.rename(folder)
        os.utime(folder)
        return folder

    def pull(self, release: Release) -> Path:
        """Return the folder of a release with an image, pulled when it is not here.

        The engine checks the digest, the label is the manifest's, and the image checks
        its model at every start.
        """
        image, manifest = release.get("image"), release["manifest_sha256"]
        if not image:
            raise RefusedError(
                "this release has no image: set IMAGE_REGISTRY on GitHub and deploy "
                "again, or use --runtime process."
            )
        folder: Path = self.home / "releases" / f"{manifest[:16]}-{image[-12:]}"
        inspect = ["docker", "image", "inspect", "--format", "{{json .Config.Labels}}"]
        try:
            try:
                run([*inspect, image])
            except RefusedError:
                run(["docker", "pull", "--quiet", image])
            labels = json.loads(run([*inspect, image])) or {}
        except RefusedError as error:
            raise TransientError(f"{image}: {error}") from None
        if labels.get("model.manifest.sha256") != manifest:
            said = labels.get("model.manifest.sha256")
            raise RefusedError(f"the image is labelled {said}, expected {manifest}.")
        path = folder / "model/manifest.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            self.source.assets(release["tag"], {path.name: part})
            part.rename(path)
        if hashlib.sha256(path.read_bytes()).hexdigest() != manifest:
            discard(folder)
            raise RefusedError("manifest.json is not the expected version.")
        write(folder / "image", image.encode())
        os.utime(folder)
        return folder

    def verify(self, folder: Path, release: Release) -> None:
        """Recompute the hashes of a release with its own standard-library verifier."""
        script = folder / "code/mlgitops/serving/verify.py"
        if not script.exists():
            commit = server(release)[0]
            raise RefusedError(f"commit {commit} has no mlgitops/serving/verify.py.")
        command = [sys.executable, str(script), str(folder / "model")]
        run([*command, release["manifest_sha256"]])

    def python(self, folder: Path) -> Path:
        """Return the interpreter for a release: one environment per set of pins."""
        if self.given.python:
            return Path(self.given.python)
        pins = folder / "code/mlgitops/requirements/serving.txt"
        if not pins.exists():
            raise RefusedError("its commit has no mlgitops/requirements/serving.txt.")
        name = hashlib.sha256(pins.read_bytes()).hexdigest()
        venv: Path = self.home / "venvs" / name
        python = venv / "bin/python"
        if not (venv / "complete").exists():
            say(f"installing {pins.name} into {venv}")
            discard(venv)
            try:
                install(venv, pins)
            except RefusedError as error:
                raise TransientError(f"installing {pins.name}: {error}") from None
            (venv / "complete").touch()
        os.utime(venv)
        return python

    def prune(self) -> None:
        """Remove all but the running and the last few releases and environments."""
        for name in ("releases", "venvs"):
            places = sorted(
                (self.home / name).glob("*"), key=lambda path: -path.stat().st_mtime
            )
            whole = [place for place in places if place.suffix != ".part"]
            for place in {*places} - {*whole[: KEEP + 1]}:
                with contextlib.suppress(OSError, RefusedError):
                    run(["docker", "image", "rm", (place / "image").read_text()])
                discard(place)

    def close(self) -> None:
        """Drain and end every child."""
        children = [*self.leaving, *([self.child] if self.child else [])]
        for child in children:
            child.stop()
        for child in children:
            try:
                child.process.wait(DRAIN_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()


def listen(host: str, port: int) -> socket.socket:
    """Return the public socket: systemd's when it hands one over, else our own.

    It is bound here and listened on by the servers: until one is ready, a caller is
    refused at once instead of waiting.
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return socket.socket(fileno=3)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    public = socket.socket(family, socket.SOCK_STREAM)
    public.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    end = time.monotonic() + BIND_SECONDS
    while True:
        try:
            public.bind((host, port))
            return public
        except OSError as error:
            if time.monotonic() > end:
                raise SystemExit(
                    f"port {port} on {host} cannot be used: {error.strerror}; "
                    "stop what holds it or choose another with --port."
                ) from None
            time.sleep(0.2)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser("agent.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--git", required=True, help="address of the repository")
    add("--environment", default="production", help="which release.json to follow")
    add("--home", type=Path, required=True, help="folder for releases and state.json")
    add("--host", default="0.0.0.0", help="public address")  # noqa: S104
    add("--port", type=int, default=8080, help="public port")
    add("--log", type=Path, help="folder of the prediction log")
    add("--poll", type=float, default=15.0, help="seconds between looks at the ledger")
    add("--once", action="store_true", help="check the release, serve nothing, leave")
    add("--runtime", choices=("process", "docker"), default="process")
    add("--python", help="run servers with this interpreter instead of an own one")
    add("--api-url", default="https://api.github.com", help="GitHub's REST API")
    add("--repository", help="OWNER/NAME, when --git does not end with it")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Follow the ledger until told to stop."""
    given = parse(arguments)
    given.home = given.home.resolve()
    for name in ("releases", "venvs"):
        (given.home / name).mkdir(parents=True, exist_ok=True)
    given.log = given.log and given.log.resolve()
    lock = (given.home / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise SystemExit(f"another agent already uses {given.home}.") from None
    if given.runtime == "docker":
        try:
            sweep(given.home)
        except (OSError, RefusedError) as error:
            raise SystemExit(
                f"docker does not answer: {error}; start it, let this user in, or "
                "use --runtime process."
            ) from None
    given.listen = listen(given.host, given.port)
    token = os.environ.get("AGENT_TOKEN", "")
    source = Source(given.git, given.api_url, given.repository, token)
    agent = Agent(given, source)
    stop = _stopper()
    try:
        good = _loop(agent, given, stop)
    finally:
        agent.close()
    raise SystemExit(0 if good else 1)


def _stopper() -> Callable[[float], bool]:
    """Return a sleep that SIGTERM and Ctrl-C end: True when it is time to leave."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(writer, b"."))
    return lambda seconds: bool(select.select([reader], [], [], seconds)[0])


def _loop(
    agent: Agent, given: argparse.Namespace, stop: Callable[[float], bool]
) -> bool:
    """Tend the server twice a second, look at the ledger every `poll` seconds."""
    good, look_at = True, 0.0
    while True:
        if not given.once:
            agent.tend()
        if time.monotonic() >= look_at:
            try:
                good = agent.follow()
                agent.tell()
                agent.remind()
            except Exception as error:  # the server that runs goes on running
                good = False
                say(f"trying again in {given.poll:g} s: {error}")
            look_at = time.monotonic() + given.poll
        if given.once or stop(max(0.0, min(0.5, look_at - time.monotonic()))):
            return good


if __name__ == "__main__":
    main()
