"""What the application's parts share: a request's body, a response, a refusal."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from mlgitops.serving.reasons import Reason, RefusedError

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]
JSON = b"application/json"
ARROW = b"application/vnd.apache.arrow.stream"
PARQUET = b"application/vnd.apache.parquet"
BULK = (ARROW, PARQUET)  # bodies with a limit of their own


class Limits(NamedTuple):
    """What one request may ask for."""

    rows: int = 1_000  # one call stays in the low milliseconds
    bytes: int = 1_000_000  # about 1 kB per row
    seconds: float = 10.0  # for the body to arrive

    @property
    def request(self) -> int:
        """Bytes of a whole request: beyond a too large body, which has its sentence."""
        return self.bytes + 500_000


LIMITS = Limits()


class RefusalError(RefusedError):
    """A response that is not 200: its status, its reason and one sentence."""

    def __init__(
        self, status: int, reason: Reason, sentence: str, *headers: Header
    ) -> None:
        """`headers` are sent beside the sentence, the reason is counted."""
        super().__init__(reason, sentence)
        self.status, self.headers = status, headers


def unavailable(reason: Reason, sentence: str) -> RefusalError:
    """Return what is said while there is no prediction to be had: come again."""
    return RefusalError(503, reason, sentence, (b"retry-after", b"1"))


class Response(NamedTuple):
    """A response with status 200."""

    body: bytes
    type: bytes = JSON
    headers: tuple[Header, ...] = ()


class Route(NamedTuple):
    """What answers a path, and which methods it takes."""

    answer: Callable[[Message, Receive], Awaitable[Response]]
    methods: tuple[str, ...] = ("GET", "HEAD")
    refusal: str = "error"  # the field of a refusal that has the sentence


def media_type(value: bytes) -> bytes:
    """Return the type that the header content-type names."""
    if value == JSON:  # as most are
        return JSON
    return value.partition(b";")[0].strip().lower()


async def read_body(scope: Message, receive: Receive, limits: Limits) -> bytes:
    """Read the body up to the cap; the rest is neither kept nor parsed."""
    limit = limits.bytes
    too_large = f"the body has more than {limit} bytes; send fewer rows."
    for name, value in scope["headers"]:
        if name == b"content-length" and _exceeds(value, limit):
            raise RefusalError(413, Reason.TOO_LARGE, too_large)
        if name == b"content-encoding":
            _check_encoding(value)
    if is_whole(receive):  # as most are: nothing to wait for, and no timer to set
        message = await receive()
        if len(body := message.get("body", b"")) > limit:
            raise RefusalError(413, Reason.TOO_LARGE, too_large)
        if message["type"] == "http.disconnect":
            raise ConnectionError
        return bytes(body)
    body, more = bytearray(), True
    try:
        async with asyncio.timeout(limits.seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError
                body += message.get("body", b"")
                if len(body) > limit:
                    raise RefusalError(413, Reason.TOO_LARGE, too_large)
                more = message.get("more_body", False)
    except TimeoutError:
        late = f"the body did not arrive within {limits.seconds:g} seconds."
        header = (b"connection", b"close")
        raise RefusalError(408, Reason.TOO_SLOW, late, header) from None
    return bytes(body)


def is_whole(receive: Receive) -> bool:
    """Return whether uvicorn has the whole body already."""
    cycle = getattr(receive, "__self__", None)
    return getattr(cycle, "more_body", True) is False


def _check_encoding(value: bytes) -> None:
    """Refuse a body that is packed: it could be of any size."""
    name = value.strip().lower()
    if name not in (b"", b"identity"):
        sentence = f"the body is {name[:20].decode('latin1')}: send it as it is."
        raise RefusalError(415, Reason.MEDIA_TYPE, sentence)


def _exceeds(digits: bytes, limit: int) -> bool:
    """Return whether a length in the digits of a header is above a limit."""
    digits = digits.strip().lstrip(b"0")
    return len(digits) > len(str(limit)) or int(digits or b"0") > limit
