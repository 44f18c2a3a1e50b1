"""The host agent: this machine runs what the ledger says, and nothing else.

    AGENT_TOKEN=... python3 agent.py --git https://github.com/OWNER/REPOSITORY.git \
        --environment production --home /var/lib/model --port 8080

One file, standard library only, so that it can be copied to any Linux machine. It
follows the branch `ledger`, fetches the release named there (code from Git, the model
from the GitHub Release), verifies every byte, starts the new server beside the old one,
checks its health and golden rows on a private port, and only then moves the public
port, which the agent owns and the servers inherit. It never switches to a release that
fails. Killed at any point, it resumes the release that it last ran. See README.md.
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
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPResponse
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
TRIES = 5  # polls before a release that cannot be fetched is recorded as failed
START_SECONDS = 60.0  # for a new server to be ready
RUN_SECONDS = 600.0  # for git or an installation
BIND_SECONDS = 10.0  # for the servers of a killed agent to release the port
STABLE_SECONDS = 60.0  # a server that ran so long is restarted without delay
DRAIN_SECONDS = 30.0  # for an old server to finish before it is killed
MAX_BACKOFF_SECONDS = 60  # between two attempts to resume
LATE_PERIODS = 2  # a monitor without a run for as many of its periods is reported
DAY_SECONDS = 86_400
TOLERANCE = 1e-5  # the same as the server's own check of the golden rows
LABEL = "model.agent"  # on containers: the home of the agent that started them
HARDENING = (
    *("--network=none", "--read-only", "--cap-drop=ALL", "--pids-limit=512"),
    "--security-opt=no-new-privileges",
)
LEDGER, FETCHED, MAIN = "refs/heads/ledger", "refs/fetched/ledger", "refs/heads/main"
COMMIT = r"[0-9a-f]{40}([0-9a-f]{24})?"
PATTERNS = {  # of a release's fields
    "manifest_sha256": r"[0-9a-f]{64}",
    "commit": COMMIT,
    "version": r"[\w.+-]{1,100}",
    "tag": r"[^\s-]\S{0,200}",
    "image": r"([a-z0-9][\w./:-]{0,300}@sha256:[0-9a-f]{64})?",
}
LIBC = ctypes.CDLL(None)  # loaded before any fork
HIDDEN = ("AGENT_TOKEN", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
Release = dict[str, Any]


class TransientError(Exception):
    """Something is out of reach now; the next poll tries again."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """`status` is the HTTP status, where there is one."""
        super().__init__(message)
        self.status = status


class RefusedError(Exception):
    """This release must not run here; the message says why."""


def say(message: str) -> None:
    """Print a message on standard error; journald adds the time."""
    print(message, file=sys.stderr, flush=True)


def _die_with_parent() -> None:
    """Ask Linux to end this child when the agent ends, however it ends."""
    LIBC.prctl(1, signal.SIGTERM)


def _environment() -> dict[str, str]:
    """Return the environment of children: everything but the token."""
    return {name: os.environ[name] for name in os.environ if name not in HIDDEN}


def run(command: list[str], **env: str) -> bytes:
    """Run a program and return its output; RefusedError with its last line."""
    try:
        process = subprocess.run(
            command,
            env=_environment() | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=RUN_SECONDS,
            preexec_fn=_die_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise RefusedError(f"{command[0]} took over {RUN_SECONDS:g} s.") from None
    if process.returncode:
        errors = process.stderr.decode(errors="replace").strip().splitlines()
        message = errors[-1] if errors else "failed"
        raise RefusedError(message[:300].removeprefix("refused: "))
    return process.stdout


def write(path: Path, data: bytes) -> None:
    """Write a file completely or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def discard(folder: Path) -> None:
    """Remove a folder; a kill in the middle leaves no incomplete one under its name."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rename(part)
    shutil.rmtree(part, ignore_errors=True)


class Source:
    """Where releases come from: the Git repository and its GitHub Releases."""

    def __init__(self, git: str, api: str, repository: str | None, token: str) -> None:
        """`repository` is OWNER/NAME; by default it is read from the Git address."""
        self.git, self.api, self.token = git, api.rstrip("/"), token
        self.cache: tuple[bytes, Release | None] = (b"", None)  # the ledger's tip first
        parts = re.split(r"[/:]", git.removesuffix("/").removesuffix(".git"))
        self.repository = repository or "/".join(parts[-2:])

    def _git(self, home: Path, *arguments: str) -> bytes:
        env = {"GIT_TERMINAL_PROMPT": "0"}
        url = urlsplit(self.git)
        if self.token and url.scheme in ("http", "https"):
            login = base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
            env |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{url.scheme}://{url.netloc}/.extraheader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {login}",
            }
        folder = home / "git"
        try:
            if not (folder / "HEAD").exists():
                run(["git", "init", "--quiet", "--bare", str(folder)])
            return run(["git", "-C", str(folder), *arguments], **env)
        except RefusedError as error:
            raise TransientError(f"git {arguments[0]}: {error}") from None

    def latest(self, home: Path, environment: str) -> Release | None:
        """Return the release that the ledger names, or None if there is none yet."""
        tip = self._git(home, "ls-remote", self.git, "refs/heads/ledger")
        if tip != self.cache[0]:
            self.cache = (tip, self._read(home, environment) if tip else None)
        return self.cache[1]

    def _read(self, home: Path, environment: str) -> Release | None:
        """Fetch the ledger and return its release of an environment."""
        self._fetch_ledger(home)
        path = f"environments/{environment}/release.json"
        if not self._git(home, "ls-tree", "refs/heads/ledger", path):
            return None
        try:
            release = json.loads(self._git(home, "show", f"refs/heads/ledger:{path}"))
            check_fields(release)
        except (ValueError, TypeError, KeyError) as error:
            raise TransientError(f"{path} on the ledger is broken: {error}") from None
        for commit in (release["commit"], server_code(release)[0]):
            self._check_merged(home, commit)
        return dict(release)

    def _fetch_ledger(self, home: Path) -> None:
        """Bring the ledger up to date; it only grows, so it must contain what it had.

        The first fetch takes its newest commit alone, later ones all since then.
        """
        last = self._git(home, "for-each-ref", "--format=%(objectname)", LEDGER)
        depth = () if last else ("--depth=1",)
        self._git(home, "fetch", "--quiet", *depth, self.git, f"+{LEDGER}:{FETCHED}")
        if last and not self._contains(home, FETCHED, last.decode().strip()):
            raise TransientError(
                "the ledger went back in time, or was rewritten: what runs stays. Find "
                f"out who pushed to it; if that was right, remove {home / 'git'}"
            )
        self._git(home, "update-ref", LEDGER, FETCHED)

    def _check_merged(self, home: Path, commit: str) -> None:
        """Raise TransientError for a commit that is not on main.

        A clone of its own holds main's commits without their files: the other one has
        single commits, without those before them.
        """
        history = home / "main"
        if self._git(history, "for-each-ref", MAIN):
            if self._contains(history, MAIN, commit):
                return
        fetch = ("fetch", "--quiet", "--filter=tree:0", self.git, f"+{MAIN}:{MAIN}")
        self._git(history, *fetch)
        if not self._contains(history, MAIN, commit):
            raise TransientError(
                f"the ledger names commit {commit}, which is not on main: what runs "
                "stays. Find out who pushed to the ledger"
            )

    def _contains(self, home: Path, ref: str, commit: str) -> bool:
        """Tell whether a ref's history has a commit."""
        try:
            self._git(home, "merge-base", "--is-ancestor", commit, ref)
        except TransientError:
            return False
        return True

    def monitor_warning(self, home: Path) -> str:
        """Return a warning if the monitor's newest record is too old, else ""."""
        listing = ("ls-tree", "--name-only", "refs/heads/ledger", "monitoring/")
        try:
            names = self._git(home, *listing).decode().split()
            newest = max(name for name in names if name.endswith(".json"))
            record = json.loads(self._git(home, "show", f"refs/heads/ledger:{newest}"))
            age = datetime.now(UTC) - datetime.fromisoformat(record["time"])
            days, period = age.total_seconds() / DAY_SECONDS, record["every_days"]
        except (TransientError, ValueError, TypeError, KeyError):
            return ""  # it has never run, or does not say how often it should
        if days <= LATE_PERIODS * period:
            return ""
        return (
            f"the monitor last ran {days:.0f} days ago and should run every "
            f"{period:g} days: see `make doctor` in the repository"
        )

    def fetch_code(self, home: Path, commit: str, target: Path) -> None:
        """Put the server's code and its requirements at a commit into a folder."""
        try:
            self._git(home, "cat-file", "-e", f"{commit}^{{commit}}")
        except TransientError:
            self._git(home, "fetch", "--quiet", "--depth=1", self.git, commit)
        paths = [f"mlgitops/{name}" for name in (*SERVER, *STATED)]
        listing = self._git(home, "ls-tree", "--name-only", commit, *paths)
        names = listing.decode().split()
        if "mlgitops/serving" not in names:
            raise RefusedError(f"commit {commit} has no serving code.")
        data = self._git(home, "archive", "--format=tar", commit, *names)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            if hasattr(tarfile, "data_filter"):  # since 3.11.4
                archive.extraction_filter = tarfile.data_filter
            archive.extractall(target)  # noqa: S202 (our own commit, from git archive)

    def fetch_assets(self, tag: str, paths: dict[str, Path]) -> None:
        """Download files from the GitHub Release of a tag, each to its path."""
        endpoint = f"/repos/{self.repository}/releases/tags/{quote(tag, safe='')}"
        with self.request(endpoint) as response:
            assets = json.loads(response.read(10_000_000))["assets"]
        urls = {asset["name"]: asset["url"] for asset in assets}
        for name, path in paths.items():
            if name not in urls:
                raise RefusedError(f"the GitHub Release {tag} has no {name}.")
            size = 0
            with (
                self.request(urls[name], "application/octet-stream") as response,
                path.open("wb") as file,
            ):
                while block := response.read(1_000_000):
                    size += file.write(block)
                    if size > MAX_ASSET_BYTES:
                        raise RefusedError(f"{name} has over {MAX_ASSET_BYTES} bytes.")
            if size != int(response.headers.get("Content-Length", size)):
                raise TransientError(f"{name} was cut off after {size} bytes")

    def report(self, release: Release, state: str, description: str) -> None:
        """Send GitHub the status of a deployment."""
        path = f"/repos/{self.repository}/deployments/{release['deployment_id']}"
        body = {"state": state, "description": description[:140]}
        self.request(f"{path}/statuses", body=body).close()

    def request(
        self, path: str, accept: str = "", body: dict[str, str] | None = None
    ) -> HTTPResponse:
        """Call the API; the token goes to the API's host only, never to a redirect."""
        url = path if "://" in path else self.api + path
        request = urllib.request.Request(  # noqa: S310
            url,
            None if body is None else json.dumps(body).encode(),
            {"Accept": accept or "application/vnd.github+json"},
        )
        if self.token and urlsplit(url)[:2] == urlsplit(self.api)[:2]:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            response: HTTPResponse = urllib.request.urlopen(request, timeout=60)  # noqa: S310
            return response
        except OSError as error:  # urllib's errors are OSErrors
            status = getattr(error, "code", None)
            raise TransientError(f"{url}: {error}", status) from None


def check_fields(release: Release) -> None:
    """Raise ValueError when a release does not have what the agent needs."""
    for name, pattern in PATTERNS.items():
        field = str(release.get("image") or "" if name == "image" else release[name])
        if not re.fullmatch(pattern, field):
            raise ValueError(f"'{name}' is {field[:80]!r}")
    if not re.fullmatch(COMMIT, server_code(release)[0]):
        raise ValueError(f"'server' is {str(release['server'])[:80]!r}")


def identity(release: Release) -> tuple[str, ...]:
    """Return what makes two releases differ: model, code, version and image."""
    names = ("manifest_sha256", "commit", "version")
    image = str(release.get("image") or "")
    return (*(str(release[name]) for name in names), *server_code(release), image)


def server_code(release: Release) -> tuple[str, str]:
    """Return the commit that has the server's code, and the hash of that code."""
    return str(release["server"]["commit"]), str(release["server"]["sha256"])


def golden_pairs(entry: Release, prediction: Release) -> list[tuple[float, float]]:
    """Return (predicted, expected) for each number of a golden row."""
    (name,) = entry.keys() - {"row"}
    predicted, expected = prediction[name], entry[name]
    if not isinstance(expected, dict):
        return [(predicted, expected)]
    return [(predicted[key], expected[key]) for key in expected]


class Server:
    """One model server, first on a private port, then on the public one."""

    def __init__(
        self,
        release: Release,
        command: list[str],
        log: Path | None,
        code: Path | None = None,
        sockets: tuple[int, ...] = (),
    ) -> None:
        """Start a command in the folder `code`; `log` is the prediction log's."""
        self.release = release
        command = [*command, "--version", release["version"]]
        command += ["--expect", release["manifest_sha256"]]
        command += ["--log", str(log)] if log else []
        self.process = subprocess.Popen(
            command,
            cwd=code,
            env=_environment()
            | {"OMP_NUM_THREADS": "1", "SERVER_SHA256": server_code(release)[1]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=sockets,
            preexec_fn=_die_with_parent,
        )
        self.started_at = time.monotonic()
        self.kill_at = 0.0

    def read_line(self, seconds: float) -> str:
        """Return the server's next line; RefusedError when it stays silent or ends."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise RefusedError(f"the server did not start within {seconds:g} s.")
        line = self.process.stdout.readline().decode().strip()
        if not line:
            raise RefusedError("the server ended at its start; see the log above.")
        return line

    def check(self, folder: Path) -> None:
        """Check its health, its version and its golden rows on the private port."""
        match = re.search(r"http://[\w.]+:\d+$", self.read_line(START_SECONDS))
        if match is None:
            raise RefusedError("the server did not say where it listens.")
        self._get(match[0] + "/health/ready")
        info = self._get(match[0] + "/info")
        manifest, expected = info["manifest_sha256"], self.release["manifest_sha256"]
        if manifest != expected:
            raise RefusedError(f"the server serves {manifest}, expected {expected}.")
        code, expected = info.get("server_sha256"), server_code(self.release)[1]
        if code != expected:
            raise RefusedError(f"the server is {code}, expected {expected}.")
        golden = json.loads((folder / "model/manifest.json").read_bytes())["golden"]
        body = json.dumps({"rows": [entry["row"] for entry in golden]}).encode()
        predictions = self._get(match[0] + "/predict", body)["predictions"]
        scale = max(abs(entry.get("value", 1.0)) for entry in golden) or 1.0
        for index, pair in enumerate(zip(golden, predictions, strict=True)):
            for predicted, expected in golden_pairs(*pair):
                if not abs(predicted - expected) <= TOLERANCE * scale:
                    raise RefusedError(
                        f"the server predicts {predicted:.6g} for golden row {index}, "
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
        if self.read_line(START_SECONDS) != "accepting":
            raise RefusedError("the server did not take the public port.")

    def stop(self) -> None:
        """Ask the server to drain and end; it may be killed from `kill_at` on."""
        self.process.terminate()
        self.kill_at = time.monotonic() + DRAIN_SECONDS

    def kill(self) -> None:
        """End the server now."""
        self.process.kill()
        self.process.wait()

    def _get(self, url: str, body: bytes | None = None) -> Release:
        try:
            with urllib.request.urlopen(url, body, timeout=20) as response:  # noqa: S310
                return dict(json.loads(response.read()))
        except urllib.error.HTTPError as error:
            fields = json.loads(error.read() or b"{}")
            message = fields.get("error") or fields.get("reason") or error
        except (OSError, ValueError) as error:
            message = error
        raise RefusedError(f"{urlsplit(url).path}: {message}")


def start_process(
    python: Path, folder: Path, release: Release, options: argparse.Namespace
) -> Server:
    """Start the server of a release as a process that inherits the public socket."""
    public = options.listen.fileno()
    command = [str(python), "-m", "mlgitops.serving", "--model", str(folder / "model")]
    command += ["--host", "127.0.0.1", "--port", "0", "--fd", str(public)]
    return Server(release, command, options.log, folder / "code", (public,))


class Container(Server):
    """One server in a container that has no network: the agent gives it its sockets."""

    def __init__(self, release: Release, options: argparse.Namespace) -> None:
        """Start the image beside the server that runs."""
        self.options = options
        self.name = f"model-{os.getpid()}-{os.urandom(4).hex()}"
        self.folder = options.home / "run" / self.name
        self.folder.mkdir(parents=True)
        user = os.getuid() or 10001  # root's containers run as the image's own user
        group = os.getgid() or 10001
        command = ["docker", "run", "--rm", "--interactive", f"--name={self.name}"]
        command += [f"--label={LABEL}={options.home}", "--pull=never", *HARDENING]
        command += [f"--user={user}:{group}"]
        command += [f"--mount=type=bind,src={self.folder},dst=/run/agent"]
        if options.log:
            options.log.mkdir(parents=True, exist_ok=True)
            command += [f"--mount=type=bind,src={options.log},dst=/log"]
        self._listen(user, group)
        command += [release["image"], "--sockets", "/run/agent/sockets"]
        super().__init__(release, command, options.log and Path("/log"))

    def _listen(self, user: int, group: int) -> None:
        """Wait for the server on a Unix socket that only it can open."""
        self.channel = socket.socket(socket.AF_UNIX)
        folder = os.open(self.folder, os.O_RDONLY)
        try:  # by a short name: such a path has room for 107 characters
            self.channel.bind(f"/proc/self/fd/{folder}/sockets")
        finally:
            os.close(folder)
        if not os.getuid():
            for path in filter(None, (self.folder / "sockets", self.options.log)):
                os.chown(path, user, group)
        self.channel.listen(1)

    def check(self, folder: Path) -> None:
        """Hand the sockets over, then check the server as any other."""
        deadline = time.monotonic() + START_SECONDS
        while not select.select([self.channel], [], [], 0.1)[0]:
            if self.process.poll() is not None:
                raise RefusedError("the container ended at its start; see above.")
            if time.monotonic() > deadline:
                raise RefusedError(
                    f"the container did not start within {START_SECONDS:g} s."
                )
        with socket.socket() as private, self.channel.accept()[0] as connection:
            private.bind(("127.0.0.1", 0))
            sockets = [private.fileno(), self.options.listen.fileno()]
            socket.send_fds(connection, [b"2"], sockets)
        self.channel.close()
        super().check(folder)

    def kill(self) -> None:
        """End the container now, not only the program that watches it."""
        with contextlib.suppress(RefusedError):
            run(["docker", "rm", "--force", self.name])
        super().kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_containers(home: Path) -> None:
    """Remove the containers that a killed agent of this home has left."""
    listing = run(["docker", "ps", "-aq", f"--filter=label={LABEL}={home}"])
    if containers := listing.decode().split():
        run(["docker", "rm", "--force", *containers])
    shutil.rmtree(home / "run", ignore_errors=True)


def install(venv: Path, lock: Path) -> None:
    """Make an environment with exactly the pinned, hashed requirements."""
    python = str(venv / "bin/python")
    run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
    if uv := shutil.which("uv"):
        run([uv, "pip", "sync", "--python", python, "--require-hashes", str(lock)])
        return  # nothing is compiled: the first start compiles the part that it needs
    run([python, "-m", "ensurepip"])
    command = [python, "-m", "pip", "install", "--quiet", "--require-hashes"]
    run([*command, "-r", str(lock)])


class Agent:
    """Follows one environment of one repository on this machine."""

    def __init__(self, options: argparse.Namespace, source: Source) -> None:
        """Read what ran before; nothing is started yet."""
        self.options, self.source = options, source
        self.home: Path = options.home
        self.server: Server | None = None
        self.draining: list[Server] = []
        self.failures, self.failed_at, self.warn_at = 0, 0.0, 0.0
        self.tries = Counter[tuple[str, ...]]()
        self.state: dict[str, Any] = {"running": None, "failed": None, "report": None}
        try:
            self.state |= json.loads((self.home / "state.json").read_bytes())
        except (OSError, ValueError):
            say("no earlier state: starting from the ledger")

    def run(self, stop: Callable[[float], bool]) -> bool:
        """Watch the server twice a second and the ledger every `poll` seconds.

        `stop` waits for some seconds and returns True when it is time to leave. Returns
        whether the last look at the ledger went well.
        """
        succeeded, poll_at = True, 0.0
        while True:
            if not self.options.once:
                self.supervise()
            if time.monotonic() >= poll_at:
                try:
                    succeeded = self.follow()
                    self.report()
                    self.warn()
                except Exception as error:  # the server that runs goes on running
                    succeeded = False
                    say(f"trying again in {self.options.poll:g} s: {error}")
                poll_at = time.monotonic() + self.options.poll
            seconds = max(0.0, min(0.5, poll_at - time.monotonic()))
            if self.options.once or stop(seconds):
                return succeeded

    def save(self, **changes: Release | list[Any] | None) -> None:
        """Record what runs and what failed, completely or not at all."""
        self.state |= changes
        text = json.dumps(self.state, indent=2, sort_keys=True) + "\n"
        write(self.home / "state.json", text.encode())

    def supervise(self) -> None:
        """Reap servers that have ended, and restart the one that should run."""
        for server in list(self.draining):
            if server.process.poll() is not None:
                self.draining.remove(server)
            elif time.monotonic() > server.kill_at:
                server.kill()
        ended = self.server is None or self.server.process.poll() is not None
        if self.state["running"] is not None and ended:
            self.resume(self.state["running"])

    def resume(self, release: Release) -> None:
        """Start what ran before; after each failure in a row wait twice as long."""
        if self.server is not None:
            say(f"the server ended ({self.server.process.returncode})")
            stable = time.monotonic() - self.server.started_at > STABLE_SECONDS
            self.failures = 0 if stable else self.failures + 1
            self.failed_at, self.server = time.monotonic(), None
        wait = min(MAX_BACKOFF_SECONDS, 2**self.failures - 1)
        if time.monotonic() < self.failed_at + wait:
            return
        try:
            self.switch(release)
            say(f"{release['version']}: serving again {release['manifest_sha256']}")
        except Exception as error:  # whatever it is, the next attempt may succeed
            self.failures, self.failed_at = self.failures + 1, time.monotonic()
            say(f"{release['version']} cannot be resumed: {error}")

    def follow(self) -> bool:
        """Bring this machine to what the ledger names; False when that failed."""
        release = self.source.latest(self.home, self.options.environment)
        running, failed = self.state["running"], self.state["failed"]
        if release is None or (failed and failed.get("seq") == release.get("seq")):
            return release is None
        unchanged = running is not None and identity(release) == identity(running)
        if unchanged and release.get("seq") == running.get("seq"):
            return True
        try:
            if not (unchanged and self.server is not None):
                say(f"{release['version']}: deploying {release['manifest_sha256']}")
                self.switch(release)
        except RefusedError as error:
            return self.settle(release, str(error))
        except Exception as error:  # out of reach, disk full, a malformed response
            self.tries[identity(release)] += 1
            if self.tries[identity(release)] < TRIES:
                raise
            return self.settle(release, str(error))
        return self.settle(release, None)

    def settle(self, release: Release, reason: str | None) -> bool:
        """Record how a release went, with the status that GitHub is to receive.

        `reason` says why it failed. Returns whether it serves.
        """
        version = release["version"]
        if self.options.once:
            say(f"{version}: {reason or 'checked, it would serve'}")
            return reason is None
        report = None
        if self.source.token and release.get("deployment_id"):
            description = reason or f"{version} serves {release['manifest_sha256']}"
            report = [release, "failure" if reason else "success", description]
        if reason is None:
            say(f"{version}: serving {release['manifest_sha256']}")
            self.save(running=release, failed=None, report=report)
            self.prune()
            return True
        say(f"{version}: refused: {reason}")
        self.save(failed=release | {"reason": reason}, report=report)
        return False

    def report(self) -> None:
        """Send the deployment status that has not been sent yet."""
        if self.state["report"]:
            try:
                self.source.report(*self.state["report"])
            except TransientError as error:
                if error.status not in (403, 404, 422):
                    raise
                say(f"GitHub does not accept the deployment status: {error}")
            self.save(report=None)

    def warn(self) -> None:
        """Print once a day that the monitor does not run."""
        if time.monotonic() >= self.warn_at:
            self.warn_at = time.monotonic() + DAY_SECONDS
            if warning := self.source.monitor_warning(self.home):
                say(warning)

    def switch(self, release: Release) -> None:
        """Start a release, check it, move the public port to it, stop the old one."""
        folder = self.fetch(release)
        server: Server
        if self.options.runtime == "docker":
            server = Container(release, self.options)
        else:
            server = start_process(self.python(folder), folder, release, self.options)
        try:
            server.check(folder)
            if self.options.once:
                server.stop()
                return
            server.accept()
        except BaseException:
            server.kill()
            raise
        if self.server is not None:
            self.server.stop()
            self.draining.append(self.server)
        self.server = server

    def fetch(self, release: Release) -> Path:
        """Return the folder of a release, fetched when needed, verified always."""
        if self.options.runtime == "docker":
            return self.pull(release)
        commit = server_code(release)[0]
        name = f"{release['manifest_sha256'][:16]}-{commit[:12]}"
        folder = self.home / "releases" / name
        if folder.exists():
            try:
                self.verify(folder, release)
            except RefusedError:
                discard(folder)  # altered on this disk: fetched again next time
                raise
        else:
            part = folder.with_name(name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            (part / "model").mkdir(parents=True)
            (part / "code").mkdir()
            self.source.fetch_code(self.home, commit, part / "code")
            paths = {name: part / "model" / name for name in ASSETS}
            self.source.fetch_assets(release["tag"], paths)
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
        folder = self.home / "releases" / f"{manifest[:16]}-{image[-12:]}"
        inspect = ["docker", "image", "inspect", "--format", "{{json .Config.Labels}}"]
        try:
            try:
                run([*inspect, image])
            except RefusedError:
                run(["docker", "pull", "--quiet", image])
            labels = json.loads(run([*inspect, image])) or {}
        except RefusedError as error:
            raise TransientError(f"{image}: {error}") from None
        label = labels.get("model.manifest.sha256")
        if label != manifest:
            raise RefusedError(f"the image is labelled {label}, expected {manifest}.")
        path = folder / "model/manifest.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            self.source.fetch_assets(release["tag"], {path.name: part})
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
        command = [sys.executable, str(script), str(folder / "model")]
        run([*command, release["manifest_sha256"]])

    def python(self, folder: Path) -> Path:
        """Return the interpreter for a release: one environment per lock file."""
        if self.options.python:
            return Path(self.options.python)
        lock = folder / "code/mlgitops/requirements/serving.txt"
        if not lock.exists():
            raise RefusedError("its commit has no mlgitops/requirements/serving.txt.")
        venv = self.home / "venvs" / hashlib.sha256(lock.read_bytes()).hexdigest()
        if not (venv / "complete").exists():
            say(f"installing {lock.name} into {venv}")
            discard(venv)
            try:
                install(venv, lock)
            except RefusedError as error:
                raise TransientError(f"installing {lock.name}: {error}") from None
            (venv / "complete").touch()
        os.utime(venv)
        return venv / "bin/python"

    def prune(self) -> None:
        """Remove all but the running and the last few releases and environments."""
        for name in ("releases", "venvs"):
            folders = sorted(
                (self.home / name).glob("*"), key=lambda path: -path.stat().st_mtime
            )
            complete = [folder for folder in folders if folder.suffix != ".part"]
            for folder in {*folders} - {*complete[: KEEP + 1]}:
                with contextlib.suppress(OSError, RefusedError):
                    run(["docker", "image", "rm", (folder / "image").read_text()])
                discard(folder)

    def close(self) -> None:
        """Drain and end every server."""
        servers = [*self.draining, *([self.server] if self.server else [])]
        for server in servers:
            server.stop()
        for server in servers:
            try:
                server.process.wait(DRAIN_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


def listen(host: str, port: int) -> socket.socket:
    """Return the public socket: systemd's when it passes one, else our own.

    It is bound here and listened on by the servers: until one is ready, a caller is
    refused at once instead of waiting.
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return socket.socket(fileno=3)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    public = socket.socket(family, socket.SOCK_STREAM)
    public.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    deadline = time.monotonic() + BIND_SECONDS
    while True:
        try:
            public.bind((host, port))
            return public
        except OSError as error:
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"port {port} on {host} cannot be used: {error.strerror}; "
                    "stop the program that uses it or choose another with --port."
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
    add("--python", help="interpreter for the servers, in place of an own environment")
    add("--api-url", default="https://api.github.com", help="GitHub's REST API")
    add("--repository", help="OWNER/NAME, when --git does not end with it")
    return parser.parse_args(arguments)


def stopper() -> Callable[[float], bool]:
    """Return a sleep that SIGTERM and Ctrl-C end: True when it is time to leave."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(writer, b"."))
    return lambda seconds: bool(select.select([reader], [], [], seconds)[0])


def main() -> None:
    """Follow the ledger until a signal ends it."""
    options = parse()
    options.home = options.home.resolve()
    for name in ("releases", "venvs"):
        (options.home / name).mkdir(parents=True, exist_ok=True)
    options.log = options.log and options.log.resolve()
    lock = (options.home / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise SystemExit(f"another agent already uses {options.home}.") from None
    if options.runtime == "docker":
        try:
            remove_containers(options.home)
        except (OSError, RefusedError) as error:
            raise SystemExit(
                f"docker does not answer: {error}; start it, let this user in, or "
                "use --runtime process."
            ) from None
    options.listen = listen(options.host, options.port)
    token = os.environ.get("AGENT_TOKEN", "")
    source = Source(options.git, options.api_url, options.repository, token)
    agent = Agent(options, source)
    try:
        succeeded = agent.run(stopper())
    finally:
        agent.close()
    raise SystemExit(0 if succeeded else 1)


if __name__ == "__main__":
    main()
