"""uvicorn's protocol with a cap on a request's head, which has none of its own.

Without it a header of any length is collected in memory, and copied for each packet.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ANSWER = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class CappedHead(HttpToolsProtocol):
    """Refuse a head that is too long with 431, and leave one that is too slow."""

    most = 65_536  # bytes of request line and headers together
    seconds = 10.0  # from a head's first byte to its last
    within = True  # a head, or before one; not a body
    size = 0  # bytes of the head that is arriving
    late: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Parse, then look whether a head is still incomplete."""
        if self.within:
            self.size += len(data)
        super().data_received(data)
        if not self.within or self.transport.is_closing():
            return
        if self.size > self.most:
            self.transport.write(ANSWER)
            self.transport.close()
        elif self.size and self.late is None:
            self.late = self.loop.call_later(self.seconds, self.transport.close)

    def on_headers_complete(self) -> None:
        """What follows is the body, which the application caps."""
        self._whole()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next byte begins a head again."""
        super().on_message_complete()
        self.within, self.size = True, 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._whole()
        super().connection_lost(exc)

    def _whole(self) -> None:
        """Stop counting and timing."""
        self.within, self.size = False, 0
        if self.late is not None:
            self.late.cancel()
            self.late = None
