"""Answers most requests for predictions without ASGI: no task, one write per response.

A request is taken where its whole body came with its head and nothing else is to be
done with it than to check, predict, log and respond. All others go through the
application, and so do those that turn out to be refused: it has the sentence. One that
came too late is not asked for again there. What a request that is taken gets is the
same, byte for byte; a test holds both together.
"""

from __future__ import annotations

import sys
import traceback
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from mlgitops.serving.body import rows_of
from mlgitops.serving.routes import RefusalError
from mlgitops.serving.rows import all_metadata
from mlgitops.serving.turn import Request

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.flow_control import FlowControl
    from uvicorn.server import ServerState

    from mlgitops.serving.app import App

PATH, METHOD, VERSION = b"/predict", b"POST", "1.1"
MOST_BYTES = 65_536  # of a body; the connection stops reading at more


class Connection(Protocol):
    """The connection of a client, as far as it matters here (`connection.py`)."""

    transport: asyncio.Transport
    flow: FlowControl
    server_state: ServerState

    def apply(self, body: bytes, refusal: RefusalError | None) -> None:
        """Let the application answer a request with this body, or refuse it."""

    def on_response_complete(self) -> None:
        """Turn to what came meanwhile."""


class _Unheard:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Do nothing."""


class Direct:
    """Takes requests for an application."""

    def __init__(self, app: App) -> None:
        """Take those of `app` for which it has nothing else to do."""
        self.app = app
        self._headers: list[tuple[bytes, bytes]] | None = None  # of `_start`
        self._start = b""

    def takes(self, size: int) -> bool:
        """Return whether a request with a body of so many bytes is taken now."""
        app = self.app
        return (
            size <= MOST_BYTES
            and size <= app.limits.bytes
            and app.turn is not None
            and app.tokens is None
            and app.canary is None
            and app.shadow is None
            and not app.coerce
            and not app.draining
        )

    def cycle(self, connection: Connection) -> Cycle:
        """Begin a request."""
        return Cycle(self, connection)

    def head(self, state: ServerState) -> bytes:
        """Return a response up to its length; it is new when the date is."""
        if state.default_headers is not self._headers:
            self._headers = state.default_headers
            lines = [b"%s: %s\r\n" % header for header in self._headers]
            kind = b"content-type: application/json\r\ncontent-length: "
            self._start = b"HTTP/1.1 200 OK\r\n" + b"".join(lines) + kind
        return self._start


class Cycle:
    """A request until its response is sent; for uvicorn, and for who waits for it.

    Of a future it has what the turn and the log ask for.
    """

    __slots__ = (
        "body", "connection", "direct", "disconnected", "keep_alive", "more_body",
        "request", "response_complete", "response_started", "since",
    )  # fmt: skip
    message_event = _Unheard()
    request: Request | None

    def __init__(self, direct: Direct, connection: Connection) -> None:
        """Begin without the body."""
        self.direct, self.connection = direct, connection
        self.since = perf_counter()
        self.body, self.more_body, self.request = b"", True, None
        self.keep_alive, self.disconnected = True, False
        self.response_started = self.response_complete = False

    def ask(self) -> None:
        """Ask for the predictions of the rows, now that the body is here."""
        app = self.direct.app
        try:
            assert app.turn is not None and app.model is not None
            rows = rows_of(self.body, app.limits.rows)
            ids, times = all_metadata(rows, app.model.id, app.model.time)
            self.request = Request(rows, ids, times, self)
            app.turn.ask(self.request)
        except Exception as error:
            self.set_exception(error)

    def done(self) -> bool:
        """Return whether it has its response."""
        return self.response_complete

    def set_exception(self, error: BaseException) -> None:
        """Let the application say what is wrong."""
        self.response_complete = True
        if not self.disconnected:
            refusal = error if isinstance(error, RefusalError) else None
            self.connection.apply(self.body, refusal)

    def set_result(self, _: None) -> None:
        """Send the predictions: they are in the log."""
        try:
            self._respond()
        except Exception:  # whoever let it go has others to let go
            traceback.print_exc(file=sys.stderr)
            self.connection.transport.close()
        finally:  # an idle connection keeps this, and nobody counts its rows
            self.body, self.request = b"", None

    def _respond(self) -> None:
        """Write the response, and count it."""
        app, connection, request = self.direct.app, self.connection, self.request
        assert app.model is not None and request is not None
        app.counts.predicted(request.rows)
        body = app.content(app.model, request.predictions)
        app.counts.responded("/predict", perf_counter() - self.since)
        self.response_started = self.response_complete = True
        if self.disconnected:
            return
        keep = self.keep_alive and not app.draining
        start = self.direct.head(connection.server_state)
        end = b"\r\n\r\n" if keep else b"\r\nconnection: close\r\n\r\n"
        connection.transport.write(b"%s%d%s%s" % (start, len(body), end, body))
        if not keep:
            connection.transport.close()
        connection.on_response_complete()
