"""Takes connections of TLS, with the bounds of any other.

The event loop's own server gives a client a minute for its handshake, and nobody counts
those under way. Here a client that has not finished yet is one of `Connections`, like
one that has not sent its request.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from mlgitops.serving.connection import Connection, Connections
from mlgitops.serving.reasons import Reason
from mlgitops.serving.stack import Config, ServerState

CLOSE_SECONDS = 2.0  # for a client to say that it closes as well
PAUSE_SECONDS = 1.0  # without a free file descriptor
ACCEPTED = 100  # connections taken before others have their turn

Make = Callable[..., Connection]  # of a loop: the protocol of a new connection


class Handshake:
    """A client until its handshake is done, as `Connections` counts it."""

    held = parsed = unsent = 0  # bytes
    is_closing = False

    def __init__(self, connections: Connections, own: socket.socket) -> None:
        """Wait for the client's part, if there is room."""
        self.all, self.socket, self.buffer = connections, own, bytearray()
        self.loop = asyncio.get_running_loop()
        self.task: asyncio.Task[None] | None = None
        self.refused = False
        self.all.admit(self)

    async def shake(self, context: ssl.SSLContext, make: Make) -> None:
        """Hand the connection to its protocol when it is encrypted, or close it."""
        try:
            await self.loop.connect_accepted_socket(
                lambda: _announced(make(self.loop), self),
                self.socket,
                ssl=context,
                ssl_handshake_timeout=self.all.bounds.seconds,
                ssl_shutdown_timeout=CLOSE_SECONDS,
            )
        except OSError:  # as are SSLError and TimeoutError
            self.socket.close()
        finally:
            self.all.forget(self)

    def check(self, now: float) -> None:
        """Nothing: the handshake has its own timer."""

    def refuse(self, _status: int, _reason: Reason) -> None:
        """Close: without TLS there is no status to be sent."""
        self.refused = True
        self.socket.close()

    def evict(self) -> None:
        """Leave."""
        self.all.forget(self)
        if self.task is not None:
            self.task.cancel()


def _announced(connection: Connection, handshake: Handshake) -> Connection:
    """Return a protocol that takes the place of its handshake when it is connected."""
    connected = connection.connection_made

    def connection_made(transport: asyncio.Transport) -> None:
        handshake.all.forget(handshake)
        connected(transport)

    connection.connection_made = connection_made  # type: ignore[method-assign]
    return connection


class Listener:
    """What uvicorn has a server of the event loop for: it accepts, and closes."""

    def __init__(
        self,
        listening: socket.socket,
        connections: Connections,
        context: Callable[[], ssl.SSLContext],
        make: Make,
    ) -> None:
        """Begin to accept; `make` returns the protocol of a new connection."""
        self.socket, self.connections = listening, connections
        self.context, self.make = context, make
        self.loop = asyncio.get_running_loop()
        self.closed = False
        listening.listen(2048)
        listening.setblocking(False)
        self.loop.add_reader(listening.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more, and leave those whose handshake is under way."""
        if not self.closed:
            self.closed = True
            self.loop.remove_reader(self.socket.fileno())
        for client in list(self.connections.open):
            if isinstance(client, Handshake):
                client.evict()

    async def wait_closed(self) -> None:
        """Nothing: who is connected has a protocol of its own."""

    def _accept(self) -> None:
        """Take who waits."""
        for _ in range(ACCEPTED):
            try:
                own, _address = self.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError:  # no more files may be opened
                self.loop.remove_reader(self.socket.fileno())
                self.loop.call_later(PAUSE_SECONDS, self._resume)
                return
            own.setblocking(False)
            handshake = Handshake(self.connections, own)
            if not handshake.refused:
                shake = handshake.shake(self.context(), self.make)
                handshake.task = self.loop.create_task(shake)

    def _resume(self) -> None:
        if not self.closed:
            self.loop.add_reader(self.socket.fileno(), self._accept)


def maker(
    connections: Connections, config: Config, state: ServerState, app: dict[str, Any]
) -> Make:
    """Return what makes protocols with uvicorn's arguments."""

    def make(loop: asyncio.AbstractEventLoop) -> Connection:
        return connections.connect(config, state, app, loop)

    return make
