"""uvicorn's protocol with a cap on a request's head, which has none of its own.

Without it a header of any length is collected in memory, and copied for each packet.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

RESPONSE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class CappedHead(HttpToolsProtocol):
    """Refuse a head that is too long with 431, and leave one that is too slow."""

    max_bytes = 65_536  # of request line and headers together
    seconds = 10.0  # from a head's first byte to its last
    in_head = True  # or before one; not in a body
    size = 0  # bytes of the head that is arriving
    timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Parse, then check whether a head is still incomplete."""
        if self.in_head:
            self.size += len(data)
        super().data_received(data)
        if not self.in_head or self.transport.is_closing():
            return
        if self.size > self.max_bytes:
            self.transport.write(RESPONSE)
            self.transport.close()
        elif self.size and self.timer is None:
            self.timer = self.loop.call_later(self.seconds, self.transport.close)

    def on_headers_complete(self) -> None:
        """End the head; the application caps the body that follows."""
        self._end_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Begin a head again with the next byte."""
        super().on_message_complete()
        self.in_head, self.size = True, 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
        self._end_head()
        super().connection_lost(exc)

    def _end_head(self) -> None:
        """Stop counting and timing."""
        self.in_head, self.size = False, 0
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
