"""The host agent: this machine runs what the ledger says, and nothing else.

    AGENT_TOKEN=... python3 agent.py --git https://github.com/OWNER/REPOSITORY.git \
        --environment production --home /var/lib/model --port 8080

One file, standard library only, so that it can be copied to any Linux machine. It
follows the branch `ledger`, fetches the release named there (code from Git, the model
from the GitHub Release), verifies every byte, starts the new server beside the old one,
checks its health and golden rows on a private port, and only then moves the public
port, which the agent owns and the servers inherit. It never switches to a release that
fails. Killed at any point, it resumes the release that it last ran. See README.md.

What can hang (git, GitHub, a download, an installation, the check of a new server) is a
`Task` in a process of its own with a time limit, so that nothing stops the supervision
of the server that runs. A release is refused only for what it is itself; whatever this
host or its network does wrong is tried again.
"""

import argparse
import base64
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import http.client
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
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator
from datetime import UTC, datetime
from http.client import HTTPResponse
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn
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
MAX_WORKERS = 999  # of a server
USED = 100  # names of releases and environments kept in the order of their use
KEEP = 2  # older releases kept on disk, ready for a rollback
TRIES = 4  # of a release that this host cannot deploy, before GitHub is told
MAX_RETRY_SECONDS = 600.0  # between two such tries
MAX_RESPONSE_BYTES = 10_000_000  # of a server's response to golden rows
START_SECONDS = 60.0  # for a new server to be ready
ASK_SECONDS = 20.0  # for one response of its check
ACCEPT_SECONDS = 15.0  # for it to listen on the public port
CHECK_SECONDS = 150.0  # for all of its check
GIT_SECONDS = 120.0  # for one git command
RUN_SECONDS = 600.0  # for an installation or a pull
DOWNLOAD_SECONDS = 1_800.0  # for the files of a release
LOOK_SECONDS = 600.0  # for a look at the ledger, and for a report to GitHub
FETCH_SECONDS = 3_600.0  # for all that comes before a release starts
KILL_SECONDS = 10.0  # for the engine to end a container
REAP_SECONDS = 2.0  # for a killed process to be gone
BIND_SECONDS = 10.0  # for the servers of a killed agent to release the port
TEND_SECONDS = 0.5  # between two looks at the server that runs
STABLE_SECONDS = 60.0  # a server that ran so long is restarted without delay
DRAIN_SECONDS = 30.0  # for an old server to finish before it is killed
MAX_BACKOFF_SECONDS = 60  # between two attempts to resume
LATE_PERIODS = 2  # a monitor without a run for as many of its periods is reported
DAY_SECONDS = 86_400
TOLERANCE = 1e-5  # the same as the server's own check of the golden rows
LABEL = "model.agent"  # on containers: the home of the agent that started them
RELEASES = Path("/releases")  # in a container: the agent's folder of challengers
HARDENING = (
    *("--network=none", "--read-only", "--cap-drop=ALL", "--pids-limit=512"),
    "--security-opt=no-new-privileges",
)
FILES = ("tokens", "certificate", "key", "client_ca")  # that say who may ask a server
LEDGER, FETCHED, MAIN = "refs/heads/ledger", "refs/fetched/ledger", "refs/heads/main"
DEFAULT = re.compile(r"ref: (refs/heads/\S+)\tHEAD\n")  # as `git ls-remote` has it
KEY = "signing.pub"  # on main: whose signature a release has to carry
SIGNED = ("version", "tag", "manifest_sha256", "commit", "server", "image")
COMMIT = r"[0-9a-f]{40}([0-9a-f]{24})?"
PATTERNS = {  # of a release's fields
    "manifest_sha256": r"[0-9a-f]{64}",
    "commit": COMMIT,
    "version": r"[\w.+-]{1,100}",
    "tag": r"[^\s-]\S{0,200}",
    "image": r"([a-z0-9][\w./:-]{0,300}@sha256:[0-9a-f]{64})?",
}
LIBC = ctypes.CDLL(None)  # loaded before any fork
HIDDEN = {"AGENT_TOKEN", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}
HIDDEN |= {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"}
FULL = re.compile("no space left on device|disk quota exceeded", re.IGNORECASE)
LEAST_BYTES = 1_000_000  # a disk with less free space is full
Release = dict[str, Any]


class TransientError(Exception):
    """A failure of this host, its network or GitHub, not of the release.

    It is tried again.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        """`status` is the HTTP status, where there is one."""
        super().__init__(message)
        self.status = status


class RefusedError(Exception):
    """This release must not run here; the message says why."""


class CheckError(RefusedError):
    """A server failed its check, which may be this machine's fault."""


def say(message: str) -> None:
    """Print a message on standard error; journald adds the time."""
    with contextlib.suppress(OSError):  # it may be a file on a full disk
        print(message, file=sys.stderr, flush=True)


def _die_with_parent() -> None:
    """Ask Linux to end this child when the agent ends, however it ends."""
    LIBC.prctl(1, signal.SIGTERM)


def _environment() -> dict[str, str]:
    """Return the environment of children: everything but the token."""
    return {name: os.environ[name] for name in os.environ if name not in HIDDEN}


def run(command: list[str], seconds: float = RUN_SECONDS, **env: str) -> bytes:
    """Run a program and return its output.

    Raises:
        RefusedError: it failed, with the last line of its errors, or took too long.
        OSError: it cannot be started, or the disk is full.
    """
    try:
        process = subprocess.run(
            command,
            env=_environment() | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            preexec_fn=_die_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise RefusedError(f"{command[0]} took over {seconds:g} s.") from None
    if process.returncode:
        errors = process.stderr.decode(errors="replace").strip()
        if FULL.search(errors):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        message = errors.splitlines()[-1] if errors else "failed"
        raise RefusedError(message[:300].removeprefix("refused: "))
    return process.stdout


def write(path: Path, data: bytes) -> None:
    """Write a file completely or not at all."""
    part = path.with_name(path.name + ".part")
    remove(part)
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if path.is_dir():
        remove(path)
    part.replace(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, whatever it is, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def discard(path: Path) -> None:
    """Remove a path; a kill in the middle leaves no incomplete one under its name."""
    part = path.with_name(path.name + ".part")
    remove(part)
    with contextlib.suppress(OSError):
        path.rename(part)
    remove(part)


def make_folder(path: Path) -> None:
    """Make a folder; what else has its name is removed."""
    if not path.is_dir():
        remove(path)
    path.mkdir(parents=True, exist_ok=True)


def full_disks(paths: Iterable[Path]) -> str:
    """Return which disks of some folders are full, in one sentence."""
    disks = {}
    for path in paths:
        disk = path.resolve()
        while not disk.is_mount():
            disk = disk.parent
        usage = os.statvfs(disk)
        free = usage.f_bavail * usage.f_frsize
        disks[disk] = (free, usage.f_blocks * usage.f_frsize)
        if usage.f_files and not usage.f_favail:
            disks[disk] = (0, disks[disk][1])
    full = [disk for disk in disks if disks[disk][0] < LEAST_BYTES] or [*disks][:1]
    sizes = [
        f"{disk} ({disks[disk][0] / 1e6:.1f} of {disks[disk][1] / 1e6:.0f} MB free)"
        for disk in full
    ]
    return f"the disk is full: {', '.join(sizes)}; free some space there."


class Task:
    """Slow work in a process of its own: however it hangs, its time is limited."""

    def __init__(
        self,
        name: str,
        seconds: float,
        work: Callable[[], Any],
        describe: Callable[[Exception], str] = str,
    ) -> None:
        """Start the work, which returns what JSON can hold.

        `describe` turns an error of it into a sentence.
        """
        self.name, self.seconds = name, seconds
        self.deadline = time.monotonic() + seconds
        self.result: Any = None
        self.error: Exception | None = None
        self._data = b""
        self.reader, writer = os.pipe()
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _work(work, describe, writer)
        except OSError:
            os.close(self.reader)
            raise
        finally:
            os.close(writer)
        os.set_blocking(self.reader, False)
        with contextlib.suppress(OSError):  # the child may have done so already
            os.setpgid(self.pid, self.pid)

    def ended(self) -> bool:
        """Return whether it has ended, with `result` or `error`, or has been ended."""
        with contextlib.suppress(BlockingIOError):
            while block := os.read(self.reader, 100_000):
                self._data += block
            self.end()
            self._read()
            return True
        if time.monotonic() < self.deadline:
            return False
        self.end()
        self.error = TransientError(f"{self.name} took over {self.seconds:g} s.")
        return True

    def _read(self) -> None:
        try:
            outcome, value = json.loads(self._data)
        except ValueError:
            self.error = TransientError(f"{self.name} was killed.")
            return
        if outcome == "result":
            self.result = value
        else:
            error = RefusedError if outcome == "refused" else TransientError
            self.error = error(value)

    def end(self) -> None:
        """End its process and all that this has started."""
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        os.close(self.reader)
        deadline = time.monotonic() + REAP_SECONDS
        with contextlib.suppress(ChildProcessError):
            while not os.waitpid(self.pid, os.WNOHANG)[0]:
                if time.monotonic() > deadline:  # a disk that does not answer holds it
                    return
                time.sleep(0.001)


def _work(
    work: Callable[[], Any], describe: Callable[[Exception], str], writer: int
) -> NoReturn:
    """Do the work of a task, in its process, and send what came of it."""
    try:
        os.setpgid(0, 0)
        LIBC.prctl(1, signal.SIGKILL)  # when the agent ends, however it ends
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        outcome: tuple[str, Any]
        try:
            outcome = ("result", work())
        except RefusedError as error:
            outcome = ("refused", str(error))
        except Exception as error:
            outcome = ("failed", describe(error))
        with open(writer, "wb", closefd=False) as pipe:
            pipe.write(json.dumps(outcome).encode())
    finally:
        os._exit(0)


Steps = Generator[Task, Any, Any]


class Job:
    """Steps that wait for tasks, while the agent does other things."""

    def __init__(self, steps: Steps) -> None:
        """`steps` yields tasks, and gets the result or the error of each."""
        self.steps = steps
        self.task: Task | None = None
        self.result: Any = None

    def ended(self) -> bool:
        """Go on as far as possible without waiting; return whether all is done."""
        try:
            if self.task is None:
                self.task = next(self.steps)
            while self.task.ended():
                if self.task.error is not None:
                    self.task = self.steps.throw(self.task.error)
                else:
                    self.task = self.steps.send(self.task.result)
        except StopIteration as stop:
            self.task, self.result = None, stop.value
            return True
        return False

    def cancel(self) -> None:
        """End the task that runs, and undo what the steps have not finished."""
        if self.task is not None:
            self.task.end()
        self.steps.close()


class Source:
    """Where releases come from: the Git repository and its GitHub Releases."""

    def __init__(self, git: str, api: str, repository: str | None, token: str) -> None:
        """`repository` is OWNER/NAME; by default it is read from the Git address."""
        self.git, self.api, self.token = git, api.rstrip("/"), token
        self.cache: tuple[str, Release | None] = ("", None)  # the remote's tips first
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
        try:
            options = (f"--git-dir={home / 'git'}", "-c", "gc.autoDetach=false")
            return run(["git", *options, *arguments], GIT_SECONDS, **env)
        except RefusedError as error:
            raise TransientError(f"git {arguments[0]}: {error}") from None

    def _in_clone(self, home: Path, work: Callable[[], bytes]) -> bytes:
        """Do some work in the clone, which is only a cache: if it fails, in a new one.

        So a stale lock, a broken HEAD or a damaged object lasts for one look.
        """
        try:
            return work()
        except TransientError:
            discard(home / "git")
            make_folder(home)
            self._git(home, "init", "--quiet", "--bare")
            return work()

    def _fetch(self, home: Path, reference: str) -> None:
        """Fetch a branch or a commit into the clone."""
        self._git(home, "fetch", "--quiet", "--depth=1", self.git, reference)

    def _show(self, home: Path, ref: str, path: str) -> bytes:
        """Return a file at a ref, or nothing if it is not there."""
        if not self._git(home, "ls-tree", ref, path):
            return b""
        return self._git(home, "show", f"{ref}:{path}")

    def latest(self, home: Path, environment: str) -> tuple[str, Release | None]:
        """Return the remote's tips, and its release or None if there is none yet."""
        none = Path(os.devnull)  # no clone is needed, so a damaged one does not matter
        ask = ("ls-remote", "--symref", self.git, "HEAD", LEDGER)
        tips = self._git(none, *ask).decode(errors="replace")
        if tips == self.cache[0]:
            return self.cache
        default = DEFAULT.search(tips)
        main = default[1] if default else MAIN
        name = f"{environment}/release.json"
        return tips, self._read(home, name, main) if LEDGER in tips else None

    def also(self, home: Path, path: str) -> Release | None:
        """Return another release of the ledger, by the tips seen last."""
        default = DEFAULT.search(self.cache[0])
        return self._read(home, path, default[1] if default else MAIN)

    def _read(self, home: Path, name: str, main: str) -> Release | None:
        """Fetch the ledger and return one of its releases."""
        path = f"environments/{name}"

        def show() -> bytes:
            self._fetch_ledger(home)
            return self._show(home, LEDGER, path)

        data = self._in_clone(home, show)
        if not data:
            return None
        try:
            release = json.loads(data)
            check_fields(release)
        except ValueError as error:
            raise TransientError(f"{path} on the ledger is broken: {error}") from None
        for commit in {release["commit"], server_code(release)[0]}:
            self._check_merged(home, main, commit)
        self._check_signed(home, main, release)
        return dict(release)

    def _fetch_ledger(self, home: Path) -> None:
        """Bring the ledger up to date; it only grows, so it must contain what it had.

        The first fetch takes its newest commit alone, later ones all since then. The
        newest commit is kept beside the clone, which may have to be made again.
        """
        seen = home / "ledger"
        last = seen.read_text(errors="replace").strip() if seen.is_file() else ""
        last = last if re.fullmatch(COMMIT, last) else ""  # damaged: it starts afresh
        depth = () if last else ("--depth=1",)
        self._git(home, "fetch", "--quiet", *depth, self.git, f"+{LEDGER}:{FETCHED}")
        if last and not self._contains(home, FETCHED, last):
            raise TransientError(
                "the ledger went back in time, or was rewritten: what runs stays. Find "
                f"out who pushed to it; if that was right, remove {seen}"
            )
        self._git(home, "update-ref", LEDGER, FETCHED)
        write(seen, self._git(home, "rev-parse", FETCHED))

    def _check_merged(self, home: Path, main: str, commit: str) -> None:
        """Raise TransientError for a commit that is not on main, the default branch.

        A clone of its own holds main's commits without their files: the other one has
        single commits, without those before them.
        """
        history = home / "main"
        fetch = ("fetch", "--quiet", "--filter=tree:0", self.git, f"+{main}:{main}")

        def check() -> bytes:
            if not self._contains(history, main, commit):
                self._git(history, *fetch)
            if self._contains(history, main, commit):
                return b""
            self._git(history, "rev-list", "--count", main)  # fails in a damaged clone
            return b"absent"

        if self._in_clone(history, check) and not self._adds_lock(home, main, commit):
            raise TransientError(
                f"the ledger names commit {commit}, which is not on "
                f"{main.removeprefix('refs/heads/')}: what runs stays. Find out who "
                "pushed to the ledger"
            )

    def _adds_lock(self, home: Path, main: str, commit: str) -> bool:
        """Tell whether a commit only adds dvc.lock to one of main, as a version's does.

        No branch has it: its tag stands on it, and what runs is as main has it.
        """

        def check() -> bytes:
            self._git(home, "fetch", "--quiet", "--depth=2", self.git, commit)
            parents = self._git(home, "rev-list", "--parents", "-1", commit).split()
            if len(parents) != 2:
                return b""
            ends = [parent.decode() for parent in reversed(parents)]
            changed = self._git(home, "diff-tree", "-r", "--name-only", *ends)
            return ends[0].encode() if changed.split() == [b"dvc.lock"] else b""

        try:
            parent = self._in_clone(home, check).decode()
        except TransientError:
            return False
        return bool(parent) and self._contains(home / "main", main, parent)

    def _check_signed(self, home: Path, main: str, release: Release) -> None:
        """Raise TransientError for a release without the signature of main's key."""

        def show() -> bytes:
            self._fetch(home, main)
            if not self._git(home, "ls-tree", "FETCH_HEAD", KEY):
                return b""
            return self._git(home, "show", f"FETCH_HEAD:{KEY}") or b"\n"  # no key fits

        if key := self._in_clone(home, show):
            if not shutil.which("openssl"):
                raise TransientError(
                    f"main has {KEY}, and openssl, which checks signatures, is not on "
                    "this machine: what runs stays. Install openssl"
                )
            try:
                check_signature(home / "signature", key, release)
            except RefusedError:
                raise TransientError(
                    f"the release that the ledger names is not signed with {KEY} of "
                    "main: what runs stays. Find out who pushed to the ledger, or run "
                    "`deploy` again if the key is new"
                ) from None

    def _contains(self, home: Path, ref: str, commit: str) -> bool:
        """Tell whether a ref's history has a commit."""
        try:
            self._git(home, "merge-base", "--is-ancestor", commit, ref)
        except TransientError:
            return False
        return True

    def monitor_warning(self, home: Path) -> str:
        """Return a warning if the monitor's newest record is too old, else ""."""
        try:
            newest = max(self._monitored(home), key=lambda name: name.split("/")[-1])
            record = json.loads(self._git(home, "show", f"{LEDGER}:{newest}"))
            age = datetime.now(UTC) - datetime.fromisoformat(record["time"])
            days, period = age.total_seconds() / DAY_SECONDS, record["every_days"]
        except (TransientError, ValueError, TypeError, KeyError):
            return ""  # it has never run, or does not say how often it should
        if days <= LATE_PERIODS * period:
            return ""
        return (
            f"the monitor last ran {days:.0f} days ago by this host's clock and should "
            f"run every {period:g} days: see `make doctor` in the repository"
        )

    def _monitored(self, home: Path) -> list[str]:
        """Return the paths of the monitor's newest records, and of some before them.

        From some record on, the ledger has them in `blocks/`, each with its own, but
        for those that an earlier machinery wrote.
        """
        listing = ("ls-tree", "--name-only", LEDGER)

        def listed(folder: str) -> list[str]:
            return self._git(home, *listing, folder).decode().split()

        blocks = (listed(f"{b}/monitoring/") for b in sorted(listed("blocks/"))[::-1])
        names = [*listed("monitoring/"), *next(filter(None, blocks), [])]
        return [name for name in names if name.endswith(".json")]

    def fetch_code(self, home: Path, commit: str, target: Path) -> None:
        """Put the server's code and its requirements at a commit into a folder."""
        paths = [f"mlgitops/{name}" for name in (*SERVER, *STATED)]

        def export() -> bytes:
            try:
                self._git(home, "cat-file", "-e", f"{commit}^{{commit}}")
            except TransientError:
                self._fetch(home, commit)
            listing = self._git(home, "ls-tree", "--name-only", commit, *paths)
            names = listing.decode().split()
            if "mlgitops/serving" not in names:
                raise RefusedError(f"commit {commit} has no serving code.")
            return self._git(home, "archive", "--format=tar", commit, *names)

        data = self._in_clone(home, export)
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
        deadline = time.monotonic() + DOWNLOAD_SECONDS
        for name, path in paths.items():
            if name not in urls:
                raise TransientError(f"the GitHub Release {tag} has no {name}.")
            size = 0
            with (
                self.request(urls[name], "application/octet-stream") as response,
                path.open("wb") as file,
            ):
                for block in blocks(response, name, deadline):
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


def blocks(response: HTTPResponse, name: str, deadline: float) -> Iterator[bytes]:
    """Yield what arrives of a download; TransientError when it takes too long."""
    while True:
        try:
            block = response.read1(1_000_000)  # what is there, however little
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"{name}: {error}") from None
        if not block:
            return
        yield block
        if time.monotonic() > deadline:
            raise TransientError(f"{name} took over {DOWNLOAD_SECONDS:g} s to download")


def check_fields(release: Any) -> None:
    """Raise ValueError when a release does not have what the agent needs."""
    try:
        fields = {name: str(release[name]) for name in PATTERNS if name != "image"}
        fields["image"] = str(release.get("image") or "")
        fields["server"], _ = server_code(release)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"it is not a release: {error!r}") from None
    for name, pattern in (*PATTERNS.items(), ("server", COMMIT)):
        if not re.fullmatch(pattern, fields[name]):
            raise ValueError(f"'{name}' is {fields[name][:80]!r}")


def check_signature(folder: Path, key: bytes, release: Release) -> None:
    """Raise RefusedError when a release does not carry a key's signature.

    What is compared stays in the folder.
    """
    try:
        signature = base64.b64decode(str(release.get("signature") or ""))
    except ValueError:
        signature = b""
    fields = {name: release.get(name) for name in SIGNED}
    statement = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    make_folder(folder)
    names = (KEY, "release.json.sig", "release.json")
    for name, data in zip(names, (key, signature, statement), strict=True):
        (folder / name).write_bytes(data)
    public, signed, file = (str(folder / name) for name in names)
    verify = ("dgst", "-sha256", "-verify", public, "-signature", signed)
    run(["openssl", *verify, file], GIT_SECONDS)


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
    (name,) = entry.keys() - {"row", "interval", "set"}
    predicted, expected = prediction[name], entry[name]
    pairs: list[tuple[float, float]] = []
    if "interval" in entry:
        pairs += zip(prediction["interval"], entry["interval"], strict=True)
    if "set" in entry and prediction["set"] != entry["set"]:
        raise RefusedError(
            f"the server says {prediction['set']} where {entry['set']} was reviewed."
        )
    if not isinstance(expected, dict):
        return [(predicted, expected), *pairs]
    return [(predicted[key], expected[key]) for key in expected]


class Server:
    """One model server, first on a private port, then on the public one."""

    def __init__(
        self,
        release: Release,
        environment: str,
        command: list[str],
        log: Path | None,
        code: Path | None = None,
        sockets: tuple[int, ...] = (),
    ) -> None:
        """Start a command in the folder `code`; `log` is the prediction log's."""
        self.release, self.environment = release, environment
        self.used: list[Path] = []  # the folders that it runs from
        self.challengers: dict[str, Release | None] = {}  # beside it, by their role
        command = [*command, "--version", release["version"]]
        command += ["--expect", release["manifest_sha256"]]
        command += ["--log", str(log)] if log else []
        self.process = subprocess.Popen(
            command,
            cwd=code,
            env=_environment()
            | {"OMP_NUM_THREADS": "1", "SERVER_SHA256": server_code(release)[1]}
            | {"MODEL_ENVIRONMENT": environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=sockets,
            preexec_fn=_die_with_parent,
        )
        self.started_at = time.monotonic()
        self.kill_at = 0.0

    def read_line(self, seconds: float) -> str:
        """Return the server's next line.

        Raises:
            RefusedError: it ended.
            TransientError: it stays silent, which a slow machine can cause as well.
        """
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise TransientError(f"the server did not start within {seconds:g} s.")
        line = self.process.stdout.readline().decode().strip()
        if not line:
            raise RefusedError("the server ended at its start; see the log above.")
        return line

    def check(self, folder: Path) -> None:
        """Check its health, its identity and its golden rows on the private port."""
        match = re.search(r"http://[\w.]+:(\d+)$", self.read_line(START_SECONDS))
        if match is None:
            raise RefusedError("the server did not say where it listens.")
        port = int(match[1])
        ask(port, "/health/ready")
        info = ask(port, "/info")
        environment = info.get("environment") or self.environment  # an older server
        for name, expected, actual in (
            ("manifest", self.release["manifest_sha256"], info.get("manifest_sha256")),
            ("code", server_code(self.release)[1], info.get("server_sha256")),
            ("environment", self.environment, environment),
        ):
            if actual != expected:
                raise RefusedError(
                    f"the server's {name} is {actual}, expected {expected}."
                )
        golden = json.loads((folder / "model/manifest.json").read_bytes())["golden"]
        # the ids tell readers of the prediction log that these are no requests
        key = id_name({name for entry in golden for name in entry["row"]})
        rows = [{key: f"golden-{n}", **e["row"]} for n, e in enumerate(golden)]
        predictions = ask(port, "/predict", json.dumps({"rows": rows}).encode())
        try:
            compare(golden, predictions["predictions"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise RefusedError(
                f"/predict: the response is {str(predictions)[:80]}, which has not one "
                "prediction for each golden row."
            ) from None

    def accept(self) -> None:
        """Move the server to the public port and wait until it is there."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(b"accept\n")
            self.process.stdin.flush()
            accepting = self.read_line(ACCEPT_SECONDS) == "accepting"
        except (OSError, RefusedError, TransientError):
            accepting = False
        if not accepting:
            raise TransientError(
                "the checked server did not take the public port: does another program "
                "use it?"
            )

    def challenge(self, role: str, release: Release | None, folder: Path) -> None:
        """Name the version that predicts or answers beside this one."""
        fields: Release = {}
        if release is not None:
            names = ("version", "manifest_sha256", "share")
            fields = {name: release[name] for name in names if name in release}
            fields["folder"] = self.path(folder / "model")
        if release is not None and role == "canary":
            fields["until"] = datetime.fromisoformat(release["until"]).timestamp()
        assert self.process.stdin is not None
        line = f"{role} {json.dumps(fields)}\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        self.challengers[role] = release

    def path(self, folder: Path) -> str:
        """Return the path of a release's model, as the server sees it."""
        return str(folder)

    def stop(self) -> None:
        """Ask the server to drain and end; it may be killed from `kill_at` on."""
        self.process.terminate()
        self.kill_at = time.monotonic() + DRAIN_SECONDS

    def kill(self) -> None:
        """End the server now, with its workers: one may hang, and nobody else knows."""
        started = children(self.process.pid)
        self.process.kill()
        for pid in started:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(REAP_SECONDS)


def ask(port: int, path: str, body: bytes | None = None) -> Release:
    """Ask a server on this machine, without any proxy.

    A variable such as `http_proxy` is for the network, not for 127.0.0.1.

    Raises:
        RefusedError: it gave another response than it should, or none.
        TransientError: it was too slow, as it may be because of this machine.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_SECONDS)
    try:
        connection.request("GET" if body is None else "POST", path, body)
        response = connection.getresponse()
        fields = dict(json.loads(response.read(MAX_RESPONSE_BYTES) or b"{}"))
    except TimeoutError:
        raise TransientError(f"{path}: no response in {ASK_SECONDS:g} s.") from None
    except (OSError, ValueError, TypeError, http.client.HTTPException) as error:
        raise RefusedError(f"{path}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if response.status != 200:
        message = fields.get("error") or fields.get("reason") or response.status
        raise RefusedError(f"{path}: {message}")
    return fields


def id_name(columns: set[str]) -> str:
    """Return what a row calls its id: `id`, or `row_id` beside a column of that name.

    As `mlgitops.prediction_log` `metadata` does, which a host may have in any version.
    """
    name = "id"
    while name in columns:
        name = f"row_{name}"
    return name


def compare(golden: list[Release], predictions: list[Release]) -> None:
    """Raise RefusedError for the first prediction that is not as it was reviewed."""
    scale = max(abs(entry.get("value", 1.0)) for entry in golden) or 1.0
    for index, pair in enumerate(zip(golden, predictions, strict=True)):
        for predicted, expected in golden_pairs(*pair):
            if not abs(predicted - expected) <= TOLERANCE * scale:
                raise RefusedError(
                    f"the server predicts {predicted:.6g} for golden row {index}, "
                    f"expected {expected:.6g}."
                )


def start_process(
    python: Path, folder: Path, release: Release, options: argparse.Namespace
) -> Server:
    """Start the server of a release as a process that inherits the public socket."""
    public = options.listen.fileno()
    command = [str(python), "-m", "mlgitops.serving", "--model", str(folder / "model")]
    command += ["--host", "127.0.0.1", "--port", "0", "--fd", str(public)]
    command += access(options) + workers(options)
    log, code = options.log, folder / "code"
    return Server(release, options.environment, command, log, code, (public,))


def access(options: argparse.Namespace, mounted: Path | None = None) -> list[str]:
    """Return the options that say to a server who may ask.

    In a container the folder of each file is below ``mounted``.
    """
    given = list[str]()
    for name in FILES:
        if path := getattr(options, name):
            seen = mounted / name / path.name if mounted else path.absolute()
            given += [f"--{name.replace('_', '-')}", str(seen)]
    return given + ["--open-to-anyone"] * options.open_to_anyone


def workers(options: argparse.Namespace) -> list[str]:
    """Return the option for several processes; an old server knows none."""
    return ["--workers", str(options.workers)] if options.workers > 1 else []


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, such as its workers."""
    with contextlib.suppress(OSError, ValueError):
        path = Path(f"/proc/{pid}/task/{pid}/children")
        return [int(number) for number in path.read_text().split()]
    return []


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
        names = ("MODEL_ENVIRONMENT", "LOG_SAMPLE", "LOG_MAX_BYTES")
        command += [f"--env={name}" for name in names]  # as here, where they are set
        command += [f"--user={user}:{group}"]
        command += [f"--mount=type=bind,src={self.folder},dst=/run/agent"]
        if options.log:
            options.log.mkdir(parents=True, exist_ok=True)
            command += [f"--mount=type=bind,src={options.log},dst=/log"]
        if options.shadow or options.canary:  # named later, by its folder in there
            releases = f"src={options.home / 'releases'},dst={RELEASES}"
            command += [f"--mount=type=bind,{releases},readonly"]
        self._listen(user, group)
        mounted = Path("/access")
        for name in FILES:
            if path := getattr(options, name):  # its folder: a file may be replaced
                folder = path.absolute().parent
                target = mounted / name
                command += [f"--mount=type=bind,src={folder},dst={target},readonly"]
        command += [release["image"], "--sockets", "/run/agent/sockets"]
        command += access(options, mounted) + workers(options)
        log = options.log and Path("/log")
        super().__init__(release, options.environment, command, log)

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

    def path(self, folder: Path) -> str:
        """Return the path of a release's model in the container, readable there."""
        if not os.getuid():  # the image's own user reads what root has fetched
            way = folder.parent.parent, folder.parent, folder
            for path in (*way, *folder.iterdir()):
                path.chmod(0o755 if path.is_dir() else 0o644)
        return str(RELEASES / folder.relative_to(self.options.home / "releases"))

    def check(self, folder: Path) -> None:
        """Hand the sockets over, then check the server as any other."""
        output = self.process.stdout  # at its end the container has ended
        assert output is not None
        sources: list[Any] = [self.channel, output]
        ready = select.select(sources, [], [], START_SECONDS)[0]
        if not ready:
            raise TransientError(
                f"the container did not start within {START_SECONDS:g} s."
            )
        if self.channel not in ready:
            raise RefusedError("the container ended at its start; see above.")
        with socket.socket() as private, self.channel.accept()[0] as connection:
            private.bind(("127.0.0.1", 0))
            sockets = [private.fileno(), self.options.listen.fileno()]
            socket.send_fds(connection, [b"2"], sockets)
        super().check(folder)

    def stop(self) -> None:
        """Ask the container to drain and end."""
        self.channel.close()
        super().stop()

    def kill(self) -> None:
        """End the container now, not only the program that watches it."""
        self.channel.close()
        with contextlib.suppress(OSError, RefusedError):
            run(["docker", "rm", "--force", self.name], KILL_SECONDS)
        super().kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_containers(home: Path) -> None:
    """Remove the containers that a killed agent of this home has left."""
    listing = run(["docker", "ps", "-aq", f"--filter=label={LABEL}={home}"])
    if containers := listing.decode().split():
        run(["docker", "rm", "--force", *containers])
    shutil.rmtree(home / "run", ignore_errors=True)


def usable(venv: Path) -> bool:
    """Return whether an environment is complete and its interpreter runs."""
    try:
        run([str(venv / "bin/python"), "-c", ""])
    except (OSError, RefusedError):
        return False
    return (venv / "complete").exists()


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


def backoff(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row."""
    return float(min(MAX_BACKOFF_SECONDS, 2 ** min(failures, 20) - 1))


def is_release(value: Any) -> bool:
    """Return whether a value has what the agent needs of a release."""
    try:
        check_fields(value)
    except ValueError:
        return False
    return True


def is_failure(value: Any) -> bool:
    """Return whether a value is the record of a release that failed."""
    return isinstance(value, dict) and type(value.get("tries", 0)) is int


def is_report(value: Any) -> bool:
    """Return whether a value is a deployment status: release, state, description."""
    if not (isinstance(value, list) and len(value) == 3):
        return False
    release, *texts = value
    known = isinstance(release, dict) and "deployment_id" in release
    return known and all(isinstance(text, str) for text in texts)


def are_names(value: Any) -> bool:
    """Return whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


STATE: dict[str, tuple[Any, Callable[[Any], bool]]] = {  # of state.json
    "running": (None, is_release),
    "failed": (None, is_failure),
    "report": (None, is_report),
    "used": ([], are_names),
}


def read_state(path: Path) -> dict[str, Any]:
    """Return what an agent recorded; what is damaged is said, and left out."""
    state = {name: default for name, (default, _) in STATE.items()}
    try:
        stored = json.loads(path.read_bytes())
        if not isinstance(stored, dict):
            raise ValueError("it is not a JSON object")
    except FileNotFoundError:
        say("no earlier state: starting from the ledger")
        return state
    except (OSError, ValueError, RecursionError) as error:
        say(f"{path} is damaged, starting from the ledger: {error}")
        remove(path)
        return state
    for name, (default, fits) in STATE.items():
        value = stored.get(name, default)
        if value == default or fits(value):
            state[name] = value
        else:
            say(f"'{name}' in {path} is damaged, going on without it")
    return state


class Agent:
    """Follows one environment of one repository on this machine."""

    def __init__(self, options: argparse.Namespace, source: Source) -> None:
        """Read what ran before; nothing is started yet."""
        self.options, self.source = options, source
        self.home: Path = options.home
        self.server: Server | None = None
        self.draining: list[Server] = []
        self.following: Job | None = None
        self.resuming: Job | None = None
        self.failures, self.resume_at = 0, 0.0
        self.poll_at, self.retry_at, self.warn_at = 0.0, 0.0, 0.0
        self.succeeded, self.saved, self.pruned = True, True, True
        self.challenged: dict[str, tuple[str, Server]] = {}  # by role, with which tips
        self.challenge_at: dict[str, float] = {}  # when it is tried again
        self.ended_with: set[str] = set()  # canaries with which a server ended
        self.heard_at = time.monotonic()  # when the ledger was read last
        self.state = read_state(self.home / "state.json")

    def run(self, stop: Callable[[float, list[int]], bool]) -> bool:
        """Watch the server all the time and the ledger every `poll` seconds.

        `stop` waits for some seconds, or for one of some files to be readable, and
        returns True when it is time to leave. Returns whether the last look at the
        ledger went well.
        """
        while True:
            if not self.options.once:
                self.supervise()
            if self.following is None and time.monotonic() >= self.poll_at:
                self.following = Job(self.poll())
            if self.following is not None and self.following.ended():
                self.succeeded = self.following.result
                self.following = None
                self.poll_at = time.monotonic() + self.options.poll
                if self.options.once:
                    return self.succeeded
            readers = [job.task.reader for job in self.jobs() if job.task]
            seconds = TEND_SECONDS
            if self.following is None:
                seconds = min(seconds, max(0.0, self.poll_at - time.monotonic()))
            if stop(seconds, readers):
                return self.succeeded

    def jobs(self) -> list[Job]:
        """Return what is under way."""
        return [job for job in (self.following, self.resuming) if job]

    def task(self, name: str, seconds: float, work: Callable[[], Any]) -> Task:
        """Start something slow in a process of its own."""
        return Task(name, seconds, work, self.describe)

    def describe(self, error: Exception) -> str:
        """Return an error as a sentence; a full disk is named."""
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            temporary = Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108
            return full_disks((self.home, temporary))
        return str(error) or type(error).__name__

    def poll(self) -> Steps:
        """Look at the ledger once, act on it, and report; True when that went well."""
        try:
            if not self.saved:
                self.save()
            unread: Exception | None = None
            try:
                succeeded = yield from self.follow()
            except Exception as error:  # what was done before is reported all the same
                unread = error
            yield from self.report()
            if unread:
                self.unheard()
                raise unread
            yield from self.warn()
            if self.options.shadow:
                path = f"{self.options.shadow}/release.json"
                yield from self.challenge("shadow", path)
            if self.options.canary:
                path = f"{self.options.environment}/canary.json"
                yield from self.challenge("canary", path)
            if not self.pruned:
                yield self.task("removing old releases", RUN_SECONDS, self.prune)
                self.pruned = True
        except Exception as error:  # the server that runs goes on running
            succeeded = False
            reason = self.describe(error)
            say(f"trying again in {self.options.poll:g} s: {reason}")
        return succeeded

    def save(self, **changes: Release | list[Any] | None) -> None:
        """Record what runs and what failed, completely or not at all."""
        self.state |= changes
        text = json.dumps(self.state, indent=2, sort_keys=True) + "\n"
        try:
            write(self.home / "state.json", text.encode())
            self.saved = True
        except OSError as error:  # what runs is right; the next poll tries again
            self.saved = False
            say(f"state.json cannot be written: {self.describe(error)}")

    def supervise(self) -> None:
        """Reap servers that have ended, and restart the one that should run."""
        for server in list(self.draining):
            if server.process.poll() is not None:
                self.draining.remove(server)
            elif time.monotonic() > server.kill_at:
                server.kill()
        if self.server is not None and self.server.process.poll() is not None:
            say(f"the server ended ({self.server.process.returncode})")
            if canary := self.server.challengers.get("canary"):  # in its process
                self.ended_with.add(canary["manifest_sha256"])
                say(f"{canary['version']} is no canary here any more: it may be why")
            stable = time.monotonic() - self.server.started_at > STABLE_SECONDS
            self.server, self.failures = None, 0 if stable else self.failures + 1
            self.resume_at = time.monotonic() + backoff(self.failures)
        if self.server is None and self.resuming is None:
            if self.state["running"] and time.monotonic() >= self.resume_at:
                self.resuming = Job(self.resume(self.state["running"]))
        if self.resuming is not None and self.resuming.ended():
            self.resuming = None

    def resume(self, release: Release) -> Steps:
        """Start what ran before; after each failure in a row wait twice as long."""
        try:
            yield from self.bring(release)
            say(f"{release['version']}: serving again {release['manifest_sha256']}")
        except Exception as error:  # whatever it is, the next attempt may succeed
            self.failures += 1
            self.resume_at = time.monotonic() + backoff(self.failures)
            say(f"{release['version']} cannot be resumed: {self.describe(error)}")

    def follow(self) -> Steps:
        """Bring this machine to what the ledger names; False when that failed."""
        environment = self.options.environment
        look = lambda: self.source.latest(self.home, environment)  # noqa: E731
        _, release = newest = yield self.task("reading the ledger", LOOK_SECONDS, look)
        self.source.cache, self.heard_at = newest, time.monotonic()
        running, failed = self.state["running"], self.state["failed"]
        if release is None:
            return True
        if failed and failed.get("seq") == release.get("seq"):
            refused = failed.get("fault") == "release"
            if refused or time.monotonic() < self.retry_at:
                return False
        unchanged = running is not None and identity(release) == identity(running)
        if unchanged and release.get("seq") == running.get("seq"):
            return True
        try:
            if not unchanged or self.options.once:
                say(f"{release['version']}: deploying {release['manifest_sha256']}")
                yield from self.switch(release)
            elif self.server is None:
                return False  # it is being resumed
        except RefusedError as error:
            return self.fail(release, "release", str(error))
        except Exception as error:  # out of reach, disk full, a malformed response
            return self.fail(release, "other", self.describe(error))
        return self.settle(release)

    def settle(self, release: Release) -> bool:
        """Record that a release serves, for GitHub as well."""
        version = release["version"]
        if self.options.once:
            say(f"{version}: checked, it would serve")
            return True
        say(f"{version}: serving {release['manifest_sha256']}")
        used = [] if self.server is None else self.server.used
        names = [path.relative_to(self.home).as_posix() for path in used]
        names += [name for name in self.state["used"] if name not in names]
        description = f"{version} serves {release['manifest_sha256']}"
        self.pruned = False
        self.save(
            running=release,
            failed=None,
            report=self.status(release, "success", description),
            used=names[:USED],
        )
        return True

    def fail(self, release: Release, fault: str, reason: str) -> bool:
        """Record why a release does not serve here.

        Only a fault of the release itself is final; GitHub hears of another one after
        some tries, which go on, further and further apart.
        """
        version, failed = release["version"], self.state["failed"] or {}
        if self.options.once:
            say(f"{version}: {reason}")
            return False
        known = failed.get("seq") == release.get("seq")
        tries = (failed.get("tries", 0) if known else 0) + 1
        report = self.state["report"]
        if fault == "release":
            say(f"{version}: refused: {reason}")
            report = self.status(release, "failure", reason)
        else:
            seconds = self.options.poll * 2 ** min(tries - 1, 20)
            seconds = min(seconds, MAX_RETRY_SECONDS)
            self.retry_at = time.monotonic() + seconds
            say(
                f"{version} is not deployed yet: {reason} (the release is not refused; "
                f"try {tries}, trying again in {seconds:g} s)"
            )
            if tries == TRIES:
                report = self.status(release, "error", reason)
        about = {"reason": reason, "fault": fault, "tries": tries}
        self.save(failed=release | about, report=report)
        return False

    def status(
        self, release: Release, state: str, description: str
    ) -> list[Any] | None:
        """Return the deployment status that GitHub is to get, if it waits for one."""
        if self.source.token and release.get("deployment_id"):
            return [release, state, description]
        return None

    def report(self) -> Steps:
        """Send the deployment status that has not been sent yet."""
        if self.state["report"]:
            refusal = yield self.task("reporting to GitHub", LOOK_SECONDS, self.send)
            if refusal:
                say(f"GitHub does not accept the deployment status: {refusal}")
            self.save(report=None)

    def send(self) -> str:
        """Send a deployment status; return why GitHub will never accept it, or ""."""
        try:
            self.source.report(*self.state["report"])
        except TransientError as error:
            if error.status not in (403, 404, 422):
                raise
            return str(error)
        return ""

    def warn(self) -> Steps:
        """Print once a day that the monitor does not run."""
        if time.monotonic() >= self.warn_at:
            self.warn_at = time.monotonic() + DAY_SECONDS
            look = lambda: self.source.monitor_warning(self.home)  # noqa: E731
            if warning := (yield self.task("reading the ledger", LOOK_SECONDS, look)):
                say(warning)

    def challenge(self, role: str, path: str) -> Steps:
        """Let another release of the ledger predict, or answer, beside the server.

        Whatever goes wrong here is tried again after a while; what runs stays.
        """
        server, tips = self.server, self.source.cache[0]
        if server is None or self.options.once:
            return
        waits = time.monotonic() < self.challenge_at.get(role, 0.0)
        if self.challenged.get(role) == (tips, server) or waits:
            return
        try:
            look = lambda: self.source.also(self.home, path)  # noqa: E731
            release = yield self.task("reading the ledger", LOOK_SECONDS, look)
            running = server.release["manifest_sha256"]
            if release is not None and release["manifest_sha256"] == running:
                release = None  # it answers itself
            if release is not None and role == "canary":
                goes_on = release.get("state") == "running"  # beside this champion
                goes_on &= release.get("champion") == running
                goes_on &= release["manifest_sha256"] not in self.ended_with
                release = release if goes_on else None
            self.challenged[role] = (tips, server)
            if release == server.challengers.get(role):
                return
            folder = self.home
            if release is not None:
                bring = lambda: str(self.files(release))  # noqa: E731
                name = f"fetching {release['version']}"
                folder = Path((yield self.task(name, FETCH_SECONDS, bring)))
                used = folder.relative_to(self.home).as_posix()
                others = [name for name in self.state["used"] if name != used]
                self.save(used=[used, *others])
            server.challenge(role, release, folder)
            say(f"{role}: {release['version'] if release else 'none'}")
        except Exception as error:
            self.challenged.pop(role, None)
            self.challenge_at[role] = time.monotonic() + MAX_RETRY_SECONDS
            if role == "canary":  # rather none than one that was taken back
                server.challenge(role, None, self.home)
            say(f"{role}: {self.describe(error)}; what runs is not touched")

    def unheard(self) -> None:
        """End a canary where nobody could have taken it back for long."""
        server, silent = self.server, time.monotonic() - self.heard_at
        if server is None or silent < MAX_RETRY_SECONDS:
            return
        if server.challengers.get("canary"):
            self.challenged.pop("canary", None)
            server.challenge("canary", None, self.home)
            say(f"canary: none, as the ledger was out of reach for {silent:.0f} s")

    def switch(self, release: Release) -> Steps:
        """Bring a release; a check that it fails counts against it only with a control.

        The control is the release that runs: if it passes the same check now, beside
        itself, then this machine is not the cause.
        """
        try:
            yield from self.bring(release)
        except CheckError as error:
            running = self.state["running"]
            if running is None:
                raise TransientError(
                    f"{error} Nothing else runs here, so the cause may be this machine."
                ) from None
            try:
                yield from self.bring(running, serve=False)
            except Exception:
                raise TransientError(
                    f"{error} {running['version']}, which ran here, now fails the same "
                    "check: the cause is this machine."
                ) from None
            raise
        if self.resuming is not None:
            self.resuming.cancel()
            self.resuming = None

    def bring(self, release: Release, serve: bool = True) -> Steps:
        """Start a release and check it; then it takes the public port.

        The one before drains. With `serve=False`, or `--once`, it is only checked.
        """
        serve = serve and not self.options.once
        name = f"fetching {release['version']}"
        paths = yield self.task(name, FETCH_SECONDS, lambda: self.prepare(release))
        folder, python = (Path(path) for path in paths)
        server: Server
        if self.options.runtime == "docker":
            server = Container(release, self.options)
        else:
            server = start_process(python, folder, release, self.options)
        server.used = [p for p in (folder, python.parent.parent) if self.owns(p)]

        def check() -> None:
            server.check(folder)
            if serve:
                server.accept()

        try:
            yield self.task("the check of the new server", CHECK_SECONDS, check)
        except GeneratorExit:  # cancelled: it may have the public port already
            self.retire(server)
            raise
        except RefusedError as error:
            server.kill()
            raise CheckError(str(error)) from None
        except Exception:
            server.kill()
            raise
        if not serve:
            server.kill()
            return
        if self.server is not None:
            self.retire(self.server)
        self.server = server

    def retire(self, server: Server) -> None:
        """Let a server finish its requests and end."""
        server.stop()
        self.draining.append(server)

    def owns(self, path: Path) -> bool:
        """Return whether a folder is one that this agent removes in time."""
        return path.parent in (self.home / "releases", self.home / "venvs")

    def prepare(self, release: Release) -> tuple[str, str]:
        """Return the folder of a release and the interpreter for it, as texts."""
        folder = self.fetch(release)
        docker = self.options.runtime == "docker"
        return str(folder), "" if docker else str(self.python(folder))

    def fetch(self, release: Release) -> Path:
        """Return the folder of a release, as the runtime takes it."""
        if self.options.runtime == "docker":
            return self.pull(release)
        return self.files(release)

    def files(self, release: Release) -> Path:
        """Return the folder of a release's files, fetched when needed, verified always.

        A challenger is files with either runtime: an image holds one version.
        """
        commit = server_code(release)[0]
        name = f"{release['manifest_sha256'][:16]}-{commit[:12]}"
        folder = self.home / "releases" / name
        if folder.exists():
            try:
                self.verify(folder, release)
            except TransientError:
                discard(folder)  # altered on this disk: fetched again next time
                raise
        else:
            part = folder.with_name(name + ".part")
            remove(part)
            (part / "model").mkdir(parents=True)
            (part / "code").mkdir()
            self.source.fetch_code(self.home, commit, part / "code")
            paths = {name: part / "model" / name for name in ASSETS}
            self.source.fetch_assets(release["tag"], paths)
            self.verify(part, release)
            part.rename(folder)
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
            raise TransientError("manifest.json is not the expected version.")
        if not (folder / "image").is_file():
            write(folder / "image", image.encode())
        return folder

    def verify(self, folder: Path, release: Release) -> None:
        """Recompute the hashes of a release with its own standard-library verifier.

        What differs was altered on its way or on this disk, as the reviewed bytes are
        the only ones that can ever pass: TransientError.
        """
        script = folder / "code/mlgitops/serving/verify.py"
        command = [sys.executable, str(script), str(folder / "model")]
        try:
            run([*command, release["manifest_sha256"]])
        except RefusedError as error:
            raise TransientError(str(error)) from None

    def python(self, folder: Path) -> Path:
        """Return the interpreter for a release: one environment per lock file."""
        if self.options.python:
            return Path(self.options.python)
        lock = folder / "code/mlgitops/requirements/serving.txt"
        if not lock.exists():
            raise RefusedError("its commit has no mlgitops/requirements/serving.txt.")
        digest = hashlib.sha256(lock.read_bytes()).hexdigest()
        venv = self.home / "venvs" / f"{digest}-{sys.implementation.cache_tag}"
        if not usable(venv):
            say(f"installing {lock.name} into {venv}")
            discard(venv)
            try:
                install(venv, lock)
            except RefusedError as error:
                raise TransientError(f"installing {lock.name}: {error}") from None
            (venv / "complete").touch()
        return venv / "bin/python"

    def prune(self) -> None:
        """Remove all but the running and the last few releases and environments.

        Their order of use is recorded, as a clock can be set back; folders without a
        record come last.
        """
        order = {name: rank for rank, name in enumerate(self.state["used"])}
        for name in ("releases", "venvs"):
            folders = [*(self.home / name).glob("*")]
            complete = [folder for folder in folders if folder.suffix != ".part"]
            complete.sort(key=lambda path: -path.stat().st_mtime)
            complete.sort(key=lambda path: order.get(f"{name}/{path.name}", len(order)))
            for folder in {*folders} - {*complete[: KEEP + 1]}:
                with contextlib.suppress(OSError, RefusedError):
                    run(["docker", "image", "rm", (folder / "image").read_text()])
                discard(folder)

    def close(self) -> None:
        """End what is under way, then drain and end every server."""
        for job in self.jobs():
            job.cancel()
        servers = [*self.draining, *([self.server] if self.server else [])]
        for server in servers:
            server.stop()
        deadline = time.monotonic() + DRAIN_SECONDS
        for server in servers:
            try:
                server.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                server.kill()


def claim(host: str, port: int) -> None:
    """Mark a port as this agent's; OSError when another agent has it.

    Two sockets may be bound to one port until one of them listens. The mark is a name
    that the kernel forgets when this process ends.
    """
    with socket.socket(socket.AF_UNIX) as mark:
        try:
            mark.bind(f"\0model-agent {host} {port}")
        except OSError as error:
            raise OSError(error.errno, "another agent on this machine has it") from None
        mark.detach()


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
    claimed = False
    while True:
        try:
            if not claimed:
                claim(host, port)
            claimed = True
            public.bind((host, port))
            return public
        except OSError as error:
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"port {port} on {host} cannot be used: {error.strerror}; "
                    "stop the program that uses it or choose another with --port."
                ) from None
            time.sleep(0.2)


def guarded(options: argparse.Namespace) -> bool:
    """Return whether strangers cannot ask, or are meant to."""
    told = options.tokens or options.client_ca or options.open_to_anyone
    if told or options.listen.family == socket.AF_UNIX:
        return True
    host = str(options.listen.getsockname()[0]).partition("%")[0]
    return ip_address(host).is_loopback


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser("agent.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--git", required=True, help="address of the repository")
    add("--environment", default="production", help="which release.json to follow")
    add("--home", type=Path, required=True, help="folder for releases and state.json")
    add("--host", default="127.0.0.1", help="public address")
    add("--port", type=int, default=8080, help="public port")
    add("--log", type=Path, help="folder of the prediction log")
    add("--poll", type=float, default=15.0, help="seconds between looks at the ledger")
    add("--once", action="store_true", help="check the release, serve nothing, leave")
    add("--runtime", choices=("process", "docker"), default="process")
    text = "processes of a server that share the port and the log, to use more cores"
    add("--workers", type=int, default=1, metavar="N", help=text)
    add("--python", help="interpreter for the servers, in place of an own environment")
    text = "environment whose release predicts beside this one, for its own log"
    add("--shadow", metavar="ENVIRONMENT", help=text)
    text = "let the canary of this environment answer its share, as the ledger says"
    add("--canary", action="store_true", help=text)
    add("--api-url", default="https://api.github.com", help="GitHub's REST API")
    add("--repository", help="OWNER/NAME, when --git does not end with it")
    add("--tokens", type=Path, help="file with a token a line that servers ask for")
    add("--certificate", type=Path, help="PEM file, for TLS")
    add("--key", type=Path, help="PEM file with the certificate's key")
    add("--client-ca", type=Path, help="PEM file: clients need a certificate of these")
    text = "take requests from other machines without tokens or --client-ca"
    add("--open-to-anyone", action="store_true", help=text)
    options = parser.parse_args(arguments)
    challenger = options.shadow or options.canary
    if challenger and not options.log:
        parser.error("--shadow and --canary need --log: their predictions are compared")
    if not 1 <= options.workers <= MAX_WORKERS:
        parser.error(f"--workers must be 1 to {MAX_WORKERS}, got {options.workers}")
    if challenger and options.workers > 1:
        parser.error("--shadow and --canary need one process: leave --workers out")
    if options.shadow == options.environment:
        parser.error("--shadow names the environment that this agent follows")
    return options


def stopper() -> Callable[[float, list[int]], bool]:
    """Return a sleep that SIGTERM and Ctrl-C end: True when it is time to leave.

    It also ends when one of some files can be read.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(writer, b"."))
    return lambda seconds, readers: (
        reader in select.select([reader, *readers], [], [], seconds)[0]
    )


def lock(home: Path) -> None:
    """Take the home for this agent; SystemExit when another one has it."""
    deadline = time.monotonic() + REAP_SECONDS  # for what a killed agent has left
    try:
        number = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SystemExit(
            f"{home / 'lock'} cannot be used: {error.strerror}; remove it, or free "
            "some space."
        ) from None
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit(f"another agent already uses {home}.") from None
            time.sleep(0.1)


def main() -> None:
    """Follow the ledger until a signal ends it."""
    options = parse()
    options.home = options.home.resolve()
    try:
        for name in ("releases", "venvs"):
            make_folder(options.home / name)
    except OSError as error:
        raise SystemExit(
            f"{error.filename} cannot be made: {error.strerror}; choose another folder "
            "with --home."
        ) from None
    options.log = options.log and options.log.resolve()
    lock(options.home)
    if options.runtime == "docker":
        try:
            remove_containers(options.home)
        except (OSError, RefusedError) as error:
            raise SystemExit(
                f"docker does not answer: {error}; start it, let this user in, or "
                "use --runtime process."
            ) from None
    options.listen = listen(options.host, options.port)
    if not guarded(options):
        raise SystemExit(
            "other machines can reach this address and could send requests: choose who "
            "may with --tokens FILE or --client-ca FILE, say that anyone may with "
            "--open-to-anyone, or listen on this machine only with --host 127.0.0.1."
        )
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
