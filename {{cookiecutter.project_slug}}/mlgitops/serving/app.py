"""The HTTP application: bare ASGI, so that a request costs little more than its model.

What is absent: routing, middleware, templates, an access log. A body is capped before
it is read to its end and parsed strictly; a refusal is one sentence. A prediction is in
the log before its response is sent.
"""

import asyncio
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, NamedTuple

import msgspec

from mlgitops import prediction_log
from mlgitops.machinery import machinery
from mlgitops.prediction_log import Value
from mlgitops.serving import metrics
from mlgitops.serving.log import PredictionLog
from mlgitops.serving.metrics import Counts
from mlgitops.serving.model import Model
from mlgitops.serving.predictions import Prediction
from mlgitops.serving.rows import RowError, metadata

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PATHS = ("/predict", "/health/live", "/health/ready", "/info", "/metrics")
JSON = (b"content-type", b"application/json")


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


class RefusalError(Exception):
    """A response that is not 200: its status and one sentence."""

    def __init__(self, status: int, sentence: str, *headers: tuple[bytes, bytes]):
        """`headers` are sent beside the sentence."""
        super().__init__(sentence)
        self.status, self.headers = status, headers


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /predict."""

    rows: list[dict[str, Value]]


class App:
    """Answers /predict, /health/live, /health/ready, /info and /metrics."""

    def __init__(
        self,
        model: Model | None,
        reason: str = "",
        version: str | None = None,
        limits: Limits = LIMITS,
        server_sha256: str | None = None,
    ) -> None:
        """`reason` says why there is no model; `server_sha256` identifies this code."""
        self.model, self.reason, self.version = model, reason, version
        self.limits, self.server_sha256 = limits, server_sha256
        self.log: PredictionLog | None = None  # without it nothing is recorded
        self.machinery = str(machinery(part=True))
        self.draining = False
        self.refused = 0  # requests for predictions
        self.counts = Counts(model.contract["columns"] if model else {})
        self._decode = msgspec.json.Decoder(Request).decode
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; never raises."""
        if scope["type"] != "http":
            return
        status, headers, path = 200, [JSON], scope["path"]
        began = perf_counter()
        try:
            body = await self._respond(scope, receive)
            if path == "/metrics":
                headers = [(b"content-type", metrics.TYPE)]
        except RefusalError as refusal:
            self.refused += path == "/predict"
            status = refusal.status
            field = "reason" if path == "/health/ready" else "error"
            body = self._encode({field: str(refusal)})
            headers.extend(refusal.headers)
        except ConnectionError:
            return
        except Exception:
            traceback.print_exc(file=sys.stderr)
            status, body = 500, b'{"error":"the server failed; see its log."}'
        self.counts.responded(
            path if path in PATHS else "other", status, perf_counter() - began
        )
        headers.append((b"content-length", b"%d" % len(body)))
        if self.draining or status == 413:
            headers.append((b"connection", b"close"))
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": body})

    async def _respond(self, scope: Message, receive: Receive) -> bytes:
        path, method = scope["path"], scope["method"]
        allowed = ["POST"] if path == "/predict" else ["GET", "HEAD"]
        if path not in PATHS:
            raise RefusalError(404, f"the paths are {', '.join(PATHS)}.")
        if method not in allowed:
            header = (b"allow", ", ".join(allowed).encode())
            methods = " and ".join(allowed)
            raise RefusalError(405, f"{path} takes {methods} only.", header)
        if path == "/predict":
            return await self._predict(scope, receive)
        if path == "/health/ready" and (self.model is None or self.draining):
            reason = self.reason or "the server is stopping."
            raise RefusalError(503, reason, (b"retry-after", b"1"))
        if path == "/metrics":
            await asyncio.to_thread(metrics.load)  # while others are answered
            return metrics.text(self.counts, self.info())
        return self._encode(self.info() if path == "/info" else {"status": "ok"})

    def info(self) -> Message:
        """Return which version answers here."""
        model = self.model
        return {
            "manifest_sha256": model and model.manifest_sha256,
            "name": model and model.name,
            "version": self.version,
            "server_sha256": self.server_sha256,
            "environment": os.environ.get("MODEL_ENVIRONMENT"),  # from the host agent
            "machinery": self.machinery,
            "task": model and model.task,
            "threshold": model and model.threshold,
            "classes": model and model.classes,
            "intervals": model and model.manifest.get("intervals"),
            "pretrained": model and model.manifest.get("pretrained"),
            "ready": model is not None and not self.draining,
            "refused": self.refused,
            "log": self.log and self.log.state(),
        }

    async def _predict(self, scope: Message, receive: Receive) -> bytes:
        if self.model is None:
            raise RefusalError(503, self.reason, (b"retry-after", b"1"))
        body = await self._body(scope, receive)
        try:
            rows = self._decode(body).rows
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            message = f'the body is not {{"rows": [{{...}}, ...]}}: {error}.'
            raise RefusalError(400, message) from None
        count, limit = len(rows), self.limits.rows
        if not 0 < count <= limit:
            message = f"the body has {count} rows; 1 to {limit} are allowed."
            raise RefusalError(413 if rows else 422, message)
        try:
            names = (self.model.id, self.model.time)
            named = [metadata(n, row, *names) for n, row in enumerate(rows)]
            ids, times = zip(*named, strict=True)
            predictions = self.model.predictions(rows, ids)
            self.counts.predicted(rows)
        except RowError as error:
            raise RefusalError(422, str(error)) from None
        if self.log is not None:
            entries = zip(rows, times, predictions, strict=True)
            await self.log.write(self._lines(self.model, entries))
        manifest = self.model.manifest_sha256
        return self._encode({"manifest_sha256": manifest, "predictions": predictions})

    async def _body(self, scope: Message, receive: Receive) -> bytes:
        """Read the body up to the cap; the rest is neither kept nor parsed."""
        limit = self.limits.bytes
        too_large = f"the body has more than {limit} bytes; send fewer rows."
        for name, value in scope["headers"]:
            if name == b"content-length" and _exceeds(value, limit):
                raise RefusalError(413, too_large)
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self.limits.seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ConnectionError
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise RefusalError(413, too_large)
                    more = message.get("more_body", False)
        except TimeoutError:
            late = f"the body did not arrive within {self.limits.seconds:g} seconds."
            raise RefusalError(408, late, (b"connection", b"close")) from None
        return bytes(body)

    def _lines(
        self,
        model: Model,
        entries: Iterable[tuple[dict[str, Value], datetime | None, Prediction]],
    ) -> list[bytes]:
        """Return one line of the log per predicted row."""
        logged_at = datetime.now(UTC).isoformat()
        hidden = {model.id, model.time, *model.contract.get("sensitive", [])}
        lines = []
        for row, time, prediction in entries:
            visible = {name: row[name] for name in row if name not in hidden}
            names = (model.manifest_sha256, self.version, logged_at)
            line = prediction_log.line(prediction, time, *names, visible)
            lines.append(self._encode(line) + b"\n")
        return lines


def _exceeds(digits: bytes, limit: int) -> bool:
    """Return whether a length in the digits of a header is above a limit."""
    digits = digits.strip().lstrip(b"0")
    return len(digits) > len(str(limit)) or int(digits or b"0") > limit
