"""uvicorn's protocol with a bound on what one client, and all together, may hold.

uvicorn itself collects heads and trailers of any length, reads on while responses wait
to be sent, has no timer before the first byte, and takes the body of a request with
`Upgrade` for the next request. Here its parser gets one request at a time: a whole
head, then the body; what follows waits until the response is complete. The parser alone
decides what bytes mean; this module decides when it gets them, and who has to leave.
"""

import asyncio
import re
from itertools import chain
from typing import Any, NamedTuple, Protocol

import httptools

from mlgitops.serving import direct
from mlgitops.serving.reasons import Reason
from mlgitops.serving.routes import BULK, RefusalError, media_type
from mlgitops.serving.stack import (
    STATUS_LINE,
    Config,
    HttpToolsProtocol,
    ServerState,
)

# A server may ignore it (RFC 9110, 7.8); the parser would skip the body that follows.
UPGRADE = re.compile(rb"(?im)^upgrade(?=[ \t]*:)")
ENCODED = frozenset({b"transfer-encoding", b"content-encoding"})  # what has to be read
UNSENT = 16_384  # bytes of responses that wait for a client before it counts as slow


class Bounds(NamedTuple):
    """What clients may hold; beyond it a connection is closed."""

    connections: int = 2_048  # beyond, the one that has been silent longest leaves
    head: int = 65_536  # bytes of request line and headers
    fields: int = 100  # headers of one request
    request: int = 1_500_000  # bytes of one request with its framing and trailers
    bulk: int = 1_500_000  # the same, where the body is Arrow or Parquet
    total: int = 128_000_000  # bytes of all requests and responses under way
    seconds: float = 10.0  # for a head to arrive, from the connection or its first byte
    send_seconds: float = 20.0  # for a client to take a response


class Client(Protocol):
    """Who is counted: a connection, or a handshake of TLS (`tls.py`)."""

    loop: asyncio.AbstractEventLoop
    buffer: bytearray
    parsed: int
    unsent: int

    @property
    def held(self) -> int:
        """Bytes that it keeps in memory."""

    @property
    def is_closing(self) -> bool:
        """Whether it leaves."""

    def check(self, now: float) -> None:
        """Leave if it is too slow."""

    def refuse(self, status: int, reason: Reason) -> None:
        """Respond with a status, and close; the reason is counted."""

    def evict(self) -> None:
        """Leave, and release at once what is held."""


class Dropped(list[tuple[bytes, bytes]]):
    """Keeps nothing."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Drop it."""


DROPPED = Dropped()


class PipelinedError(Exception):
    """A request begins in the packet that ends a chunked one."""


class Connections:
    """All connections of a server: what they hold, and which of them has to leave."""

    def __init__(self, bounds: Bounds, taker: direct.Direct | None = None) -> None:
        """Begin with none; `taker` takes requests before the application."""
        self.bounds, self.taker = bounds, taker
        self.open: set[Client] = set()
        # Of whom a request is due, and who had a response: since when, oldest first.
        self.arriving: dict[Client, float] = {}
        self.idle: dict[Client, float] = {}
        self.held = 0  # bytes of requests and responses
        self._timer: asyncio.TimerHandle | None = None

    def connect(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> "Connection":
        """Return the protocol of a new connection, as uvicorn asks for it."""
        return Connection(self, config, server_state, app_state, _loop)

    def admit(self, connection: Client) -> None:
        """Take a connection; if there are too many, the longest silent one leaves."""
        if len(self.open) >= self.bounds.connections:
            slow = (c for c in self.open if c.unsent or c.is_closing)
            silent = next(chain(self.arriving, self.idle, slow), None)
            if silent is None:  # all others have a response coming
                connection.refuse(503, Reason.OVERLOADED)
                return
            silent.evict()
        self.open.add(connection)
        self.expect(connection)
        self._watch(connection.loop)

    def expect(self, connection: Client) -> None:
        """Note that a request is due, unless that is known."""
        if connection not in self.arriving:
            self.idle.pop(connection, None)
            self.arriving[connection] = connection.loop.time()

    def rest(self, connection: Client) -> None:
        """Note that nothing is due."""
        self.idle[connection] = connection.loop.time()

    def hold(self, size: int) -> None:
        """Count bytes; beyond the bound the connection with most of them leaves."""
        self.held += size
        if self.held > self.bounds.total:
            slow = [c for c in self.open if c in self.arriving or c.unsent]
            if slow:
                max(slow, key=lambda connection: connection.held).evict()

    def refused(self, status: int, reason: Reason) -> None:
        """Count a response that the application knows nothing of."""
        if self.taker is not None:
            self.taker.app.counts.refused("other", status, reason)

    def forget(self, connection: Client) -> None:
        """Release what a connection holds."""
        self.open.discard(connection)
        self.arriving.pop(connection, None)
        self.idle.pop(connection, None)
        self.held -= connection.held
        connection.parsed = connection.unsent = 0
        connection.buffer.clear()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look for connections that are too slow, as long as there are any."""
        if self._timer is None and self.open:
            self._timer = loop.call_later(self.bounds.seconds / 10, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, now = None, loop.time()
        for connection in list(self.open):
            connection.check(now)
        self._watch(loop)


class Connection(HttpToolsProtocol):
    """One connection; its parser has one request at a time."""

    in_head = False  # what the parser gets is a head
    in_body = False  # the parser has a head, and not yet all of what follows it
    left = 0  # bytes of the body to come; 0 also if it is chunked
    parsed = 0  # bytes of this request that the parser got
    scanned = 0  # bytes of the buffer in which no head ends
    unsent = 0  # bytes of responses that the client does not take
    ended = False  # no further request is read
    half_closed = False  # the client sends no more, and waits for responses
    slow_since = 0.0  # when the client stopped taking responses

    def __init__(self, connections: Connections, *arguments: Any) -> None:
        """Belong to all connections of a server; the rest is uvicorn's."""
        super().__init__(*arguments)
        self.all, self.bounds = connections, connections.bounds
        self.most = self.bounds.request  # bytes of this request
        self.buffer = bytearray()  # not parsed yet

    @property
    def held(self) -> int:
        """Bytes that this connection keeps in memory."""
        return self.parsed + len(self.buffer) + self.unsent

    @property
    def is_closing(self) -> bool:
        """Whether it leaves."""
        return self.transport.is_closing()

    @property
    def responding(self) -> bool:
        """Whether a response is due or not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=UNSENT)
        self.all.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release what this connection holds."""
        self.all.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Keep what came, and parse what has its turn."""
        if self.ended or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self.buffer += data
        if not self.responding:
            self.all.expect(self)
        self.all.hold(len(data))
        self._parse()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Stay for the responses that are due: they are in the log, or will be.

        Returns whether to stay. TLS cannot be closed on one side.
        """
        self.half_closed = self.scheme == "http" and self.responding
        return self.half_closed and not self.in_body

    def pause_writing(self) -> None:
        """Count the response that the client does not take."""
        super().pause_writing()
        if self in self.all.open:
            self.unsent = self.transport.get_write_buffer_size()
            self.all.hold(self.unsent)

    def resume_writing(self) -> None:
        """Release the response that was taken."""
        self.all.held -= self.unsent
        self.unsent = 0
        super().resume_writing()

    def check(self, now: float) -> None:
        """Leave a client that sends its request, or takes its response, too slowly."""
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.slow_since = self.slow_since or now
            if now - self.slow_since > self.bounds.send_seconds:
                self.transport.abort()
            return
        self.slow_since = 0.0
        waited = now - self.all.arriving.get(self, now)
        idle = now - self.all.idle.get(self, now)
        if not self.responding and (
            waited > self.bounds.seconds or idle > self.timeout_keep_alive
        ):
            self.transport.close()

    def refuse(self, status: int, reason: Reason) -> None:
        """Respond with a status, unless a response has begun, and close."""
        retry = b"retry-after: 1\r\n" if status == 503 else b""
        headers = retry + b"content-length: 0\r\nconnection: close\r\n\r\n"
        if not self.responding or not self.cycle.response_started:
            self.transport.write(STATUS_LINE[status] + headers)
            self.all.refused(status, reason)
        if self.responding:  # the application stops waiting for the body
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def evict(self) -> None:
        """Leave, and release at once what is held."""
        encrypted = self.scheme == "https"  # a close waits for the client's
        if (
            encrypted
            or self.transport.get_write_buffer_size()
            or self.transport.is_closing()
        ):
            self.transport.abort()
        elif self in self.all.idle:
            self.transport.close()
        else:
            self.refuse(503, Reason.OVERLOADED)
            if self.transport.get_write_buffer_size():
                self.transport.abort()  # nobody would wait for it to be read
        self.connections.discard(self)
        self.all.forget(self)

    def _parse(self) -> None:
        """Give the parser the rest of a body, or a whole head when it has its turn."""
        while self.buffer and not self.ended and not self.transport.is_closing():
            if self.in_body:
                size = min(self.left or len(self.buffer), len(self.buffer))
            elif self.responding:
                self.flow.pause_reading()
                return
            elif not (size := self._head()):
                return
            self._feed(size)

    def _head(self) -> int:
        """Return the size of the head in the buffer; 0 if it is not complete."""
        size = self.buffer.find(b"\r\n\r\n", self.scanned) + 4
        if size < 4:
            self.scanned = max(len(self.buffer) - 3, 0)
            if len(self.buffer) > self.bounds.head:
                self.refuse(431, Reason.TOO_LARGE)
            elif not re.match(rb"[A-Za-z\r\n]", self.buffer):
                self.refuse(400, Reason.MALFORMED)  # another protocol, such as TLS
            return 0
        self.scanned = 0
        fields = self.buffer.count(b"\r\n", 0, size) - 2
        if size > self.bounds.head or fields > self.bounds.fields:
            self.refuse(431, Reason.TOO_LARGE)
            return 0
        return size

    def _feed(self, size: int) -> None:
        """Parse so many bytes of the buffer."""
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        self.parsed += size
        if self.parsed > self.most:
            self.refuse(413, Reason.TOO_LARGE)
            return
        self.in_head = not self.in_body
        if self.in_body:
            self.left = max(self.left - size, 0)
        elif b"upgrade" in data.lower():
            data = UPGRADE.sub(b"ignored", data)
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.ended and not self.transport.is_closing():
                self.refuse(400, Reason.MALFORMED)

    def on_message_begin(self) -> None:
        """Begin a request; one whose head was not looked at is not read."""
        if not self.in_head:
            self.ended = True
            if self.responding:
                self.cycle.keep_alive = False  # closes after the response
            else:
                self.transport.close()
            raise PipelinedError
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the application, which caps the body that follows."""
        self.in_head = False
        if self.parser.should_upgrade():  # the method CONNECT
            self.refuse(400, Reason.MALFORMED)
            return
        self._unset_keepalive_if_required()
        self.in_body = True
        plain = not self.expect_100_continue
        for name, value in self.headers:
            if name == b"content-length":
                self.left = int(value.strip().lstrip(b"0")[:20] or b"0")
            elif name == b"content-type" and media_type(value) in BULK:
                self.most, plain = self.bounds.bulk, False
            elif name in ENCODED:
                plain = False
        taker = self.all.taker
        if plain and taker is not None and self._is_direct(taker):
            self.cycle = taker.cycle(self)  # type: ignore[assignment]
        else:
            super().on_headers_complete()
        self.headers = DROPPED  # of trailers

    def _is_direct(self, taker: direct.Direct) -> bool:
        """Return whether this request is one for `direct.py`."""
        return (
            self.url == direct.PATH
            and 0 < self.left <= len(self.buffer)
            and self.parser.get_method() == direct.METHOD
            and self.parser.get_http_version() == direct.VERSION
            and self.parser.should_keep_alive()
            and not self.flow.write_paused
            and not self.responding
            and taker.takes(self.left)
        )

    def apply(self, body: bytes, refusal: RefusalError | None) -> None:
        """Let the application answer a request with this body, which is whole.

        A `refusal` that is known already is its answer.
        """
        keep_alive = self.cycle.keep_alive
        self.scope["refusal"] = refusal  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()
        self.cycle.keep_alive, self.cycle.more_body = keep_alive, False
        self.cycle.body += body
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """End a request; its bytes stay counted until it has its response."""
        if self.transport.is_closing():
            return
        super().on_message_complete()
        self.in_body, self.left = False, 0
        self.all.arriving.pop(self, None)
        if not self.responding:  # which did not wait for the body
            self._release()
            self.all.rest(self)
        elif isinstance(self.cycle, direct.Cycle):
            self.cycle.ask()

    def on_response_complete(self) -> None:
        """Turn to what came meanwhile.

        uvicorn's own sets a timer for the next request; `check` looks instead.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.in_body:
            self.all.expect(self)
            return
        self._release()
        self.all.rest(self)
        if self.buffer:
            self.all.expect(self)
            self._parse()
        if self.half_closed and (self.in_body or not self.responding):
            self.transport.close()

    def _release(self) -> None:
        """Stop counting the bytes of a request."""
        self.all.held -= self.parsed
        self.parsed, self.most = 0, self.bounds.request
