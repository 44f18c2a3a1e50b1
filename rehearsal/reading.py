"""A server in front of another that passes on what reads, and refuses all else."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@contextmanager
def only_reading(port: int) -> Iterator[int]:
    """Run a server that passes on what reads, and refuses all else; yield its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _reader(port)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def _reader(port: int) -> type[BaseHTTPRequestHandler]:
    """Return what answers for the server at a port."""

    class Reader(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # whose clients ask before they send a body

        def do_GET(self) -> None:
            """Pass it on."""
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}{self.path}",
                method=self.command,
                headers={k: v for k, v in self.headers.items() if k != "Connection"},
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    self._send(answer.status, dict(answer.headers), answer.read())
            except urllib.error.HTTPError as error:
                self._send(error.code, dict(error.headers), error.read())

        do_HEAD = do_GET

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            """Answer as the server behind does."""
            self.send_response_only(status)
            own = {"connection", "transfer-encoding"}
            length = (
                {"content-length": str(len(body))} if self.command != "HEAD" else {}
            )
            lower = {k.lower(): v for k, v in headers.items()} | length
            for name, value in lower.items():
                if name not in own:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            """Refuse to write."""
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._send(403, {"content-type": "application/xml"}, DENIED)

        do_POST = do_DELETE = do_PATCH = do_PUT

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Reader
