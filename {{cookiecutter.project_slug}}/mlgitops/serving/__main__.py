"""Serve one version over HTTP.

    python -m mlgitops.serving --model FOLDER --port 8080 --log DIR

Starts even when the model is missing or corrupt: alive, not ready, and /health/ready
says why. With `--fd N` it first listens on its own port only, unlogged, so that its
parent can check it. On standard input the line `accept` then moves it to the shared
listening socket N (it prints the line `accepting`), and lines `shadow {...}` and
`canary {...}` name challengers. The end of standard input, like SIGTERM, stops it.
Before it stops it answers the requests in flight, tells clients to reconnect, and
writes the rest of the log.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import re
import resource
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from math import inf
from pathlib import Path
from typing import NoReturn

from mlgitops.serving import access, explain, stack
from mlgitops.serving.access import Access, AccessError
from mlgitops.serving.app import App
from mlgitops.serving.bulk import SIZE, Size
from mlgitops.serving.canary import Canary
from mlgitops.serving.connection import Bounds, Connections
from mlgitops.serving.direct import Direct
from mlgitops.serving.log import WAIT_SECONDS, PredictionLog
from mlgitops.serving.model import Model, ModelError
from mlgitops.serving.page import is_private
from mlgitops.serving.routes import LIMITS, Limits
from mlgitops.serving.shadow import SHARE, Challenger, Shadow
from mlgitops.serving.team import Team
from mlgitops.serving.tls import Listener, maker
from mlgitops.serving.verify import VerifyError
from mlgitops.serving.workers import LOADED, WorkerError, Workers, announce

DESCRIPTORS = 256  # of open files beside those of connections
KEEP_ALIVE_SECONDS = 75  # longer than load balancers keep an idle connection
PUBLISH_SECONDS = 0.5  # between two times that a worker tells what it counted
OPEN = Access()


class Server(stack.Server):
    """uvicorn with a drain before its shutdown and a move to a shared socket."""

    def __init__(
        self,
        app: App,
        drain: float,
        shared: socket.socket | None,
        log: Callable[[], PredictionLog] | None,
        allowed: Access = OPEN,
        folder: Path | None = None,
    ) -> None:
        """`drain` is in seconds, `folder` that of the log.

        With `shared`, `log` is opened from then. So are tokens and TLS: until then its
        parent asks, on a port of this machine.
        """
        request, large = app.limits.request, app.bulk.limits.request
        total = max(Bounds().total, 4 * request, 4 * large)
        bounds = Bounds(max_connections(), request=request, bulk=large, total=total)
        self.connections = Connections(bounds, Direct(app))
        config = stack.Config(
            app,
            http=self.connections.connect,  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        super().__init__(config)
        self.app, self.drain, self.shared, self.log = app, drain, shared, log
        self.folder = folder
        self.leaves = shared is not None and app.team is None  # its queue to another
        self.allowed = allowed
        self.context: Callable[[], ssl.SSLContext] | None = None
        if shared is None:
            self._guard()

    def _guard(self) -> None:
        """From now on want what lets a client in."""
        self.app.tokens = self.allowed.tokens
        self.context = self.allowed.context

    async def _listen(self, sockets: list[socket.socket]) -> None:
        """Accept connections, encrypted where that is asked for."""
        if self.context is None:
            await super().startup(sockets)
            return
        await super().startup([])
        arguments = (self.config, self.server_state, self.lifespan.state)
        make = maker(self.connections, *arguments)
        listeners = [
            Listener(each, self.connections, self.context, make) for each in sockets
        ]
        self.servers = listeners  # type: ignore[assignment]

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and Ctrl-C; with a shared socket also obey standard input."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        if self.shared is not None:
            loop.add_reader(sys.stdin.fileno(), self._obey)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then print the address: from that line on a signal is a drain."""
        assert sockets is not None
        await self._listen(sockets)
        if not sockets:  # a worker, which is told when to listen
            announce(LOADED)
            return
        host, port = sockets[0].getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        secure = self.context is not None
        announce(f"serving on http{'s' * secure}://{host}:{port}")

    def _stop(self, number: int = signal.SIGTERM) -> None:
        if number == signal.SIGINT:
            self.drain = 0.0  # a person at a keyboard, not a load balancer
        self.app.draining = self.should_exit = True

    def _obey(self) -> None:
        data = os.read(sys.stdin.fileno(), 4096)
        for line in data.splitlines():
            command, _, rest = line.strip().partition(b" ")
            if command == b"accept":
                self._moving = asyncio.create_task(self._accept())
            elif command == b"shadow" and self.folder is not None:
                self.challenge(rest, self.folder)
            elif command == b"canary" and self.app.model is not None:
                self._trying = asyncio.create_task(
                    self.let_answer(rest, self.app.model)
                )
        if not data:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._stop()

    def challenge(self, fields: bytes, log: Path) -> None:
        """Let another challenger predict from now on; none where none is named."""
        before = self.app.shadow
        challenger = named(fields, log)
        self.app.shadow = challenger and Shadow(challenger)
        if before is not None:  # it ends while requests are answered
            threading.Thread(target=before.close).start()

    async def let_answer(self, line: bytes, champion: Model) -> None:
        """Let another canary answer its share from now on; none where none is named."""
        self.app.canary, self._named = None, line
        try:
            fields = dict(json.loads(line))
            names = ("version", "manifest_sha256")
            version, sha256 = (str(fields[name]) for name in names)
            share, until = float(fields["share"]), float(fields["until"])
            folder = Path(str(fields["folder"]))
        except (KeyError, TypeError, ValueError):
            return
        load = partial(Canary, folder, share, champion, version, sha256, until)
        canary = await asyncio.to_thread(load)
        if self._named is line:  # nothing else was named meanwhile
            self.app.canary = canary

    async def _accept(self) -> None:
        """Leave the private port and take requests from the shared socket."""
        if self.log is not None:
            self.app.log = self.log()
        self._guard()
        if self.app.team is not None:
            self._publishing = asyncio.create_task(self._publish())
        for server in self.servers:
            server.close()
        assert self.shared is not None
        await self._listen([self.shared])
        announce("accepting")

    async def _publish(self) -> None:
        """Tell the other workers now and then what was counted here."""
        while True:
            self.app.publish()
            await asyncio.sleep(PUBLISH_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let busy clients leave with their next response, then close idle ones.

        A shared socket is left at once, its queue is the successor's; an own one, and
        that of workers alone, stays open while balancers learn that it stops.
        """
        if self.leaves and self.shared is not None:
            for server in self.servers:
                server.close()
            self.shared.close()
        deadline = time.monotonic() + self.drain
        while time.monotonic() < deadline:
            if self.leaves and not self.server_state.connections:
                break
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def max_connections() -> int:
    """Return how many connections there may be, with as many open files as allowed."""
    most = Bounds().connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        most = min(most, soft - DESCRIPTORS)
    return most


def load(folder: Path, expected: str | None, threads: int) -> tuple[Model | None, str]:
    """Return the verified model, or None and the reason why it cannot serve."""
    try:
        model = Model(folder, expected, threads=threads)
        model.check_golden()
    except (VerifyError, ModelError) as error:
        print(f"not ready: {error}", file=sys.stderr)
        return None, str(error)
    return model, ""


def receive(path: str) -> tuple[socket.socket, socket.socket]:
    """Take two sockets from the agent: a container needs no network then."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(path)
        numbers = socket.recv_fds(channel, 1, 2)[1]
    own, shared = (socket.socket(fileno=number) for number in numbers)
    return own, shared


class _Parser(argparse.ArgumentParser):
    """Reports an error of the command line in one sentence, without its usage."""

    def error(self, message: str) -> NoReturn:
        """Exit with the sentence."""
        raise SystemExit(f"nothing was started: {message.removeprefix('argument ')}")


def _port(text: str) -> int:
    """Parse a port."""
    if not (text.isascii() and text.isdecimal() and int(text) < 65_536):
        raise argparse.ArgumentTypeError(
            f"the port must be between 0 and 65535, got '{text}'; choose another with "
            "--port (make serve PORT=8080)"
        )
    return int(text)


def _amount(text: str) -> float:
    """Parse a number that is not negative."""
    try:
        number = float(text)
    except ValueError:
        number = inf
    if not 0 <= number < inf:
        raise argparse.ArgumentTypeError(
            f"the number must be at least 0, got '{text}', such as 2"
        )
    return number


def _count(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not re.fullmatch(r"[1-9]\d{0,14}", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"a whole number of at least 1 is expected, got '{text}'"
        )
    return int(text)


def _few(text: str) -> int:
    """Parse the number of workers, or of threads."""
    if not re.fullmatch(r"[1-9]\d{0,2}", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"the number must be 1 to 999, got '{text}', such as 2"
        )
    return int(text)


def _sha256(text: str) -> str:
    """Parse the sha256 of a manifest."""
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError(
            f"a sha256 of 64 hexadecimal digits is expected, got '{text}'; "
            "sha256sum of the version's manifest.json prints it"
        )
    return text


def _bytes(text: str) -> int:
    """Parse a number of bytes; 0 is any number."""
    if not re.fullmatch(r"\d{1,15}", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"a number of bytes is expected, got '{text}'; 1000000000 is a gigabyte"
        )
    return int(text)


def _folder(text: str) -> Path:
    """Parse a folder, which may be made later; a file is a mistake, not an outage."""
    if os.path.exists(text) and not os.path.isdir(text):
        raise argparse.ArgumentTypeError(
            f"a folder is expected, and {text} is a file: name another one"
        )
    return Path(text)


def _moment(text: str) -> float:
    """Parse a time; returns seconds since 1970."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(
            f"a time with its zone is expected, got '{text}', such as "
            "2026-11-29T18:00:00+00:00"
        )
    return moment.timestamp()


def _share(text: str) -> float:
    """Parse a share of a core, or of the rows."""
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(
            f"the share must be above 0 and at most 1, got '{text}', such as {SHARE}"
        )
    return share


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = _Parser("python -m mlgitops.serving", description="Serve a model.")
    add = parser.add_argument
    add(
        "--model",
        type=Path,
        required=True,
        help="folder with model.onnx and manifest.json",
    )
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=_port, default=8080, help="0 takes a free one")
    add("--fd", type=int, help="a listening socket, used after the line `accept`")
    text = "processes that share the port and the log"
    add("--workers", type=_few, default=1, help=text)
    add("--team", help=argparse.SUPPRESS)  # of a worker: its numbers' file, its own
    add("--private", type=int, help=argparse.SUPPRESS)  # where it is checked first
    add("--followed", action="store_true", help=argparse.SUPPRESS)  # by another server
    add("--sockets", help="Unix socket that passes a private and the shared one")
    add("--log", type=_folder, help="folder of the prediction log")
    env = os.environ.get  # an image carries its version and its identity
    text = "largest size of the log's folder; beyond it lines are dropped and counted"
    limit = env("LOG_MAX_BYTES", "0")
    add("--log-max-bytes", type=_bytes, default=limit, help=text)
    text = "share of rows that are logged, by the hash of their ids"
    add("--log-sample", type=_share, default=env("LOG_SAMPLE", "1"), help=text)
    text = "seconds that a response waits until its line is in the log"
    add("--log-wait", type=_amount, default=WAIT_SECONDS, help=text)
    add("--version", default=env("MODEL_VERSION"), help="name, for /info and the log")
    text, identity = "expected sha256 of the manifest", env("MODEL_SHA256") or None
    add("--expect", type=_sha256, default=identity, help=text)
    add("--max-rows", type=_count, default=LIMITS.rows, help="rows in one request")
    add("--max-bytes", type=_count, default=LIMITS.bytes, help="bytes of one body")
    text = 'read "12" as a number, 1 as true, and say so in the response'
    coerce = env("MODEL_COERCE", "") not in ("", "0", "false")
    add("--coerce", action="store_true", default=coerce, help=text)
    text = "rows in one Arrow or Parquet body"
    add("--max-bulk-rows", type=_count, default=SIZE.rows, help=text)
    text = "bytes of one Arrow or Parquet body"
    add("--max-bulk-bytes", type=_count, default=SIZE.bytes, help=text)
    add(
        "--drain",
        type=_amount,
        default=2.0,
        help="seconds for clients to finish, after SIGTERM",
    )
    text = "folder of a challenger that predicts the same rows for its own log"
    add("--shadow", type=Path, help=text)
    add("--shadow-version", help="its name, for /info and its log")
    text = "expected sha256 of its manifest"
    add("--shadow-expect", type=_sha256, help=text)
    add(
        "--shadow-share",
        type=_share,
        default=SHARE,
        help="largest share of one core that it takes",
    )
    add("--canary", type=Path, help="folder of a challenger that answers a share")
    add("--canary-version", help="its name, for /info, answers and the log")
    add("--canary-expect", type=_sha256, help="expected sha256 of its manifest")
    add("--canary-until", type=_moment, help="when it ends by itself, in ISO 8601")
    add(
        "--canary-share",
        type=_share,
        default=0.1,
        help="share of the rows that it answers, by the hash of their ids",
    )
    add("--threads", type=_few, default=1, help="threads for one prediction")
    text = "the page at /; default: on if only this machine can reach the server"
    page, switch = env("MODEL_PAGE") or None, argparse.BooleanOptionalAction
    if page not in (None, "on", "off"):
        parser.error(f"MODEL_PAGE must be on or off, got '{page}'.")
    add("--page", action=switch, default=page and page == "on", help=text)
    text = "rows explained in a second by /explain; 0 turns it off"
    add("--explain-rate", type=_amount, default=explain.LIMITS.rate, help=text)
    text = "rows that the model predicts to explain one row"
    evaluations = explain.LIMITS.evaluations
    add("--explain-evaluations", type=_count, default=evaluations, help=text)
    access.add_options(add)
    options = parser.parse_args(arguments)
    if options.shadow and not options.log:
        parser.error(
            "--shadow needs --log: its predictions are written to a folder in the log's"
        )
    for key, value in vars(options).items():
        role, _, part = key.partition("_")  # one alone would do nothing
        alone = role in ("shadow", "canary") and part and not getattr(options, role)
        if alone and value != parser.get_default(key):
            parser.error(f"--{role}-{part} needs --{role}, the challenger's folder")
    for name in ("shadow", "canary") if options.workers > 1 else ():
        if getattr(options, name):
            parser.error(f"--{name} needs one process: leave --workers out")
    if options.canary and not options.log:
        parser.error(
            "--canary needs --log: the monitor compares both versions from the log"
        )
    return options


def named(line: bytes, log: Path) -> Challenger | None:
    """Return the challenger that a line of the agent names; None where it has none."""
    try:
        fields = dict(json.loads(line))
        names = ("version", "manifest_sha256")
        version, sha256 = (str(fields[name]) for name in names)
        most = _bytes(os.environ.get("LOG_MAX_BYTES", "0"))  # as the agent has it
        folder = Path(str(fields["folder"]))
        return Challenger(folder, log, version, sha256, max_bytes=most)
    except (KeyError, TypeError, ValueError):
        return None


def shadow(options: argparse.Namespace) -> Shadow | None:
    """Start the challenger that the command line names."""
    if options.shadow is None:
        return None
    settings = (options.shadow_version, options.shadow_expect, options.shadow_share)
    most = options.log_max_bytes
    return Shadow(Challenger(options.shadow, options.log, *settings, max_bytes=most))


def canary_of(options: argparse.Namespace, champion: Model) -> Canary | None:
    """Load the canary that the command line names, and say why it does not answer."""
    if options.canary is None:
        return None
    identity = (options.canary_version, options.canary_expect, options.canary_until)
    canary = Canary(options.canary, options.canary_share, champion, *identity)
    if canary.reason:
        print(f"the canary does not answer: {canary.reason}", file=sys.stderr)
    return canary


def bind(host: str, port: int) -> socket.socket:
    """Return a socket of this address, on which nobody listens yet; OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    own = socket.socket(family)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        own.bind((host, port))
    except OSError:
        own.close()
        raise
    return own


def main() -> None:
    """Run the server until it is told to stop."""
    options = parse()
    shared = None if options.fd is None else socket.socket(fileno=options.fd)
    try:
        allowed = access.of(options)
        if options.sockets:
            own, shared = receive(options.sockets)
        elif shared and options.team:  # others listen there already: none can bind it
            own = shared
            if options.private is not None:
                own = socket.socket(fileno=options.private)
        else:
            own = bind(options.host, options.port)
        access.check_address(shared or own, allowed)
        if shared:  # a private port asks for nothing
            access.check_address(own, allowed if own is shared else OPEN)
    except AccessError as error:
        raise SystemExit(f"nothing was started: {error}") from None
    except OSError as error:
        address = options.sockets or f"port {options.port} on {options.host}"
        why = error.strerror or error
        raise SystemExit(
            f"{address} cannot be used: {why}; choose another with --port "
            "(make serve PORT=8080)."
        ) from None
    if options.workers > 1:
        try:
            return manage(options, own, shared, allowed)
        except WorkerError as error:
            raise SystemExit(f"stopped: {error}") from None
    guarded = allowed.tokens is not None or allowed.clients
    app = application(options, guarded or is_private(shared or own))
    if options.followed and app.model is None:  # or it would refuse its share for ever
        raise SystemExit(f"a worker cannot serve: {app.reason}")
    if options.team:
        app.team = Team(*map(int, options.team.split(":")))
    keep = {"max_bytes": options.log_max_bytes, "sample": options.log_sample}
    keep["writers"] = app.team.workers if app.team else 1
    log = options.log and partial(PredictionLog, options.log, options.log_wait, **keep)
    if shared is None and log is not None:
        app.log = log()
    if app.model is not None:
        app.canary = canary_of(options, app.model)
    app.shadow = shadow(options)
    server = Server(app, options.drain, shared, log, allowed, options.log)
    server.leaves |= options.followed
    gc.freeze()  # what is loaded stays: no collection looks at it while it answers
    server.run(sockets=[] if own is shared else [own])
    if app.log is not None:
        app.log.close()
    if app.shadow is not None:
        app.shadow.close()
    app.publish()
    if app.canary is not None and app.canary.hangs:
        os._exit(0)  # nothing else ends its thread


def application(options: argparse.Namespace, private: bool) -> App:
    """Return what answers; `private` is where not everybody can ask."""
    model, reason = load(options.model, options.expect, options.threads)
    evaluations = max(1, options.explain_evaluations)
    app = App(
        model,
        reason,
        options.version,
        limits=Limits(options.max_rows, options.max_bytes),
        server_sha256=os.environ.get("SERVER_SHA256") or None,
        reasons=explain.Limits(options.explain_rate, evaluations=evaluations),
        coerce=options.coerce,
        bulk_size=Size(options.max_bulk_rows, options.max_bulk_bytes),
    )
    if not (private if options.page is None else options.page):
        del app.routes["/"]
    return app


def manage(
    options: argparse.Namespace,
    own: socket.socket,
    shared: socket.socket | None,
    allowed: Access,
) -> None:
    """Run workers until a signal; WorkerError where they do not stay."""
    host, port = own.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    scheme = "http" if shared or allowed.context is None else "https"
    private = own if shared else None
    workers = Workers(sys.argv[1:], shared or own, options.workers, private)
    workers.run(f"{scheme}://{host}:{port}", options.drain)


if __name__ == "__main__":
    main()
