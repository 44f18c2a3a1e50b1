"""The HTTP application: bare ASGI, so that a request costs little more than its model.

What is absent: routing, middleware, templates, an access log. A body is capped before
it is read to its end and parsed strictly; whoever is refused gets one sentence.
"""

import asyncio
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from mlgitops import prediction_log
from mlgitops.machinery import machinery
from mlgitops.serving.answers import Answer
from mlgitops.serving.log import PredictionLog
from mlgitops.serving.model import Model
from mlgitops.serving.rows import RowError

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_ID = 200  # characters of a row's id
JSON = (b"content-type", b"application/json")


class Limits(NamedTuple):
    """What one request may ask for."""

    rows: int = 1_000  # one call stays in the low milliseconds
    bytes: int = 1_000_000  # about 1 kB per row
    seconds: float = 10.0  # for the body to arrive


class RefusalError(Exception):
    """An answer that is not 200: its status and one sentence."""

    def __init__(self, status: int, sentence: str, *headers: tuple[bytes, bytes]):
        """`headers` are sent beside the sentence."""
        super().__init__(sentence)
        self.status, self.headers = status, headers


Value = str | int | float | bool | None


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /predict."""

    rows: list[dict[str, Value]]


class App:
    """Answers /predict, /health/live, /health/ready and /info."""

    def __init__(
        self,
        model: Model | None,
        reason: str = "",
        version: str | None = None,
        log: PredictionLog | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`reason` says why there is no model; without `log` nothing is recorded."""
        self.model, self.reason, self.version = model, reason, version
        self.log, self.limits = log, limits or Limits()
        self.server: str | None = None  # the hash of this code, if it was told
        self.machinery = str(machinery(part=True))
        self.draining = False
        self._decode = msgspec.json.Decoder(Request).decode
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; never raises."""
        if scope["type"] != "http":
            return
        status, headers = 200, [JSON]
        try:
            body = await self._answer(scope, receive)
        except RefusalError as refusal:
            status = refusal.status
            word = "reason" if scope["path"] == "/health/ready" else "error"
            body = self._encode({word: str(refusal)})
            headers.extend(refusal.headers)
        except ConnectionError:
            return
        except Exception:
            traceback.print_exc(file=sys.stderr)
            status, body = 500, b'{"error":"the server failed to answer this."}'
        headers.append((b"content-length", b"%d" % len(body)))
        if self.draining or status == 413:
            headers.append((b"connection", b"close"))
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message, receive: Receive) -> bytes:
        path, method = scope["path"], scope["method"]
        allowed = ["POST"] if path == "/predict" else ["GET", "HEAD"]
        if path not in ("/predict", "/health/live", "/health/ready", "/info"):
            raise RefusalError(
                404, "there are /predict, /health/live, /health/ready and /info."
            )
        if method not in allowed:
            header = (b"allow", ", ".join(allowed).encode())
            words = " and ".join(allowed)
            raise RefusalError(405, f"{path} takes {words} only.", header)
        if path == "/predict":
            return await self._predict(scope, receive)
        if path == "/health/ready" and (self.model is None or self.draining):
            reason = self.reason or "the server is stopping."
            raise RefusalError(503, reason, (b"retry-after", b"1"))
        return self._encode(self.info() if path == "/info" else {"status": "ok"})

    def info(self) -> Message:
        """Return which version answers here."""
        model = self.model
        return {
            "manifest_sha256": model and model.manifest_sha256,
            "name": model and model.name,
            "version": self.version,
            "server_sha256": self.server,
            "machinery": self.machinery,
            "task": model and model.task,
            "threshold": model and model.threshold,
            "classes": model and model.classes,
            "ready": model is not None and not self.draining,
            "log": self.log and self.log.state(),
        }

    async def _predict(self, scope: Message, receive: Receive) -> bytes:
        if self.model is None:
            raise RefusalError(503, self.reason, (b"retry-after", b"1"))
        body = await self._body(scope, receive)
        try:
            rows = self._decode(body).rows
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise RefusalError(
                400, f'the body is not {{"rows": [{{...}}, ...]}}: {error}.'
            ) from None
        if not 0 < len(rows) <= self.limits.rows:
            raise RefusalError(
                413 if rows else 422,
                f"the body has {len(rows)} rows; 1 to {self.limits.rows} are allowed.",
            )
        try:
            beside = [_beside(at, row) for at, row in enumerate(rows)]
            answers = self.model.answers(rows, [key for key, _ in beside])
        except RowError as error:
            raise RefusalError(422, str(error)) from None
        if self.log is not None:
            self._record(self.log, rows, [time for _, time in beside], answers)
        return self._encode(
            {"manifest_sha256": self.model.manifest_sha256, "predictions": answers}
        )

    async def _body(self, scope: Message, receive: Receive) -> bytes:
        """Read the body up to the cap; what is beyond is neither kept nor parsed."""
        limit = self.limits.bytes
        too_large = f"the body has more than {limit} bytes; send fewer rows."
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > limit:
                raise RefusalError(413, too_large)
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionError
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise RefusalError(413, too_large)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise RefusalError(
                408,
                f"the body did not arrive within {self.limits.seconds:g} seconds.",
                (b"connection", b"close"),
            ) from None
        return b"".join(parts)

    def _record(
        self,
        log: PredictionLog,
        rows: list[dict[str, Value]],
        times: list[datetime | None],
        answers: list[Answer],
    ) -> None:
        """Queue one line per answered row, under the day of its event."""
        model = self.model
        assert model is not None
        now = datetime.now(UTC)
        hidden = {"id", "time", *model.contract.get("sensitive", [])}
        days: dict[str, list[bytes]] = {}
        for row, time, answer in zip(rows, times, answers, strict=True):
            line = prediction_log.line(
                answer,
                time,
                model.manifest_sha256,
                self.version,
                now.isoformat(),
                {key: row[key] for key in row if key not in hidden},
            )
            day = (time or now).date().isoformat()
            days.setdefault(day, []).append(self._encode(line) + b"\n")
        for day, lines in days.items():
            log.put(day, lines)


def _beside(at: int, row: dict[str, Value]) -> tuple[str | int, datetime | None]:
    """Return a row's id (a new one if it has none) and its event time in UTC."""
    key, time = row.get("id"), row.get("time")
    if key is None:
        key = uuid.uuid4().hex
    elif type(key) not in (str, int) or not 0 < len(str(key)) <= MAX_ID:
        raise RowError(f"row {at}: 'id' must be text of 1 to {MAX_ID} characters.")
    if time is None:
        return key, None  # type: ignore[return-value]
    try:
        moment = datetime.fromisoformat(time)  # type: ignore[arg-type]
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        raise RowError(
            f"row {at}: 'time' must be an ISO 8601 time such as 2013-04-01T12:00:00Z."
        ) from None
    return key, moment  # type: ignore[return-value]
