"""Two servers: a Unix socket for ``gh``, loopback HTTP for Git and the host agent."""

import base64
import json
import re
import socketserver
import sys
import threading
import traceback
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import unquote, urlsplit

from . import api_actions, events, routes, smart_http
from .routes import Response
from .runs import Queue
from .state import Refusal, State, Token

GIT = re.compile(
    r"/(?P<name>[\w.-]+/[\w.-]+?)(\.git)?/(?P<tail>info/refs|git-(upload|receive)-pack)"
)


class Handler(BaseHTTPRequestHandler):
    """Serves one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "forge"
    state: State
    queue: Queue

    def _respond(self) -> None:
        """Respond to Git, a short-lived download, or the API."""
        data = self._body()
        headers = {key.lower(): value for key, value in self.headers.items()}
        token = credentials(self.state, headers.get("authorization", ""))
        path = urlsplit(self.path)
        if match := GIT.fullmatch(path.path):
            self._git(match, path.query, token, headers, data)
        elif path.path.startswith("/_blobs/"):
            secret = unquote(path.path.removeprefix("/_blobs/"))
            self._send(api_actions.blob(self.state.blobs, secret, headers))
        else:
            request = (self.command, self.path, data, headers)
            self._send(routes.respond(self.state, self.queue, token, *request))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _respond

    def _git(
        self, match: re.Match[str], query: str, token: Token | None,
        headers: dict[str, str], data: bytes,
    ) -> None:  # fmt: skip
        """Respond to a Git client; then tell the forge which refs moved."""
        try:
            repository = self.state.repository(match["name"])
            status, fields, content, moved = smart_http.backend(
                self.state, repository, token, self.command, match["tail"], query,
                headers, data,
            )  # fmt: skip
        except Refusal as refusal:
            extra = [("WWW-Authenticate", 'Basic realm="GitHub"')]
            message = refusal.message.encode()
            extra = extra if refusal.status == 401 else []
            self._write(
                refusal.status, [("Content-Type", "text/plain"), *extra], message
            )
            return
        with self.state.changed:
            for update in moved:
                assert token  # nobody pushes without one
                refs = (update.ref, update.before, update.after)
                events.push(self.state, self.queue, repository, token, refs)
        self._write(status, fields, content)

    def _body(self) -> bytes:
        """Read the request's body, whole or in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def _send(self, response: Response) -> None:
        """Write a response of the API."""
        content = response.data
        if not isinstance(content, bytes):
            content = b"" if content is None else json.dumps(content).encode()
        fields = [("Content-Type", response.content_type)]
        fields += response.headers.items()
        if response.location:
            fields.append(("Location", response.location))
        self._write(response.status, fields, content)

    def _write(
        self, status: int, fields: list[tuple[str, str]], content: bytes
    ) -> None:
        """Write status, headers and body."""
        self.send_response(status)
        for key, value in fields:
            self.send_header(key, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(BrokenPipeError):  # the client did not wait
            self.wfile.write(content)

    def address_string(self) -> str:
        """A Unix socket has no address."""
        return "local"

    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log; the journal records what happened."""


def credentials(state: State, header: str) -> Token | None:
    """Return the live token of an Authorization header (Basic, token or Bearer)."""
    kind, _, value = header.partition(" ")
    if kind.lower() == "basic":
        try:
            value = base64.b64decode(value).decode().partition(":")[2]
        except ValueError:
            return None
    return state.tokens.get(value.strip())


class Tolerant:
    """Ignores clients that close their connection early."""

    # A deployment uploads several files at a time; 5, the default, would refuse some.
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of any error but a closed connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            traceback.print_exc()


class SocketServer(Tolerant, ThreadingMixIn, socketserver.UnixStreamServer):
    """The same handler on a Unix socket."""

    daemon_threads = True


class HttpServer(Tolerant, ThreadingHTTPServer):
    """Loopback HTTP; does not look its own name up."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]


class Servers:
    """Both servers, each in a thread."""

    def __init__(self, state: State, queue: Queue, socket: Path) -> None:
        """Start both servers; the loopback port is any free one."""
        kind = type("BoundHandler", (Handler,), {"state": state, "queue": queue})
        socket.unlink(missing_ok=True)
        self.servers = [
            HttpServer(("127.0.0.1", 0), kind),
            SocketServer(str(socket), kind),
        ]
        for server in self.servers:
            threading.Thread(
                target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
            ).start()

    @property
    def url(self) -> str:
        """Return the loopback address."""
        return f"http://127.0.0.1:{self.servers[0].server_address[1]}"

    def close(self) -> None:
        """Close both."""
        for server in self.servers:
            server.shutdown()
            server.server_close()
