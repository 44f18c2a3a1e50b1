"""The HTTP application: bare ASGI, so that a request costs little more than its model.

What is absent: middleware, templates, an access log. A body is capped before
it is read to its end and parsed strictly; a refusal is one sentence. A prediction is in
the log before its response is sent.
"""

import asyncio
import os
import sys
import traceback
from functools import cached_property
from time import perf_counter

import msgspec

from mlgitops.machinery import machinery
from mlgitops.prediction_log import Value
from mlgitops.serving import bulk, coercion, explain, metrics, open_inference
from mlgitops.serving.access import UNGUARDED, Tokens
from mlgitops.serving.body import rows_of
from mlgitops.serving.canary import Canary
from mlgitops.serving.description import Description
from mlgitops.serving.log import PredictionLog
from mlgitops.serving.metrics import Counts
from mlgitops.serving.model import Model
from mlgitops.serving.page import Page
from mlgitops.serving.predictions import Prediction
from mlgitops.serving.reasons import Reason
from mlgitops.serving.routes import (
    JSON,
    LIMITS,
    Limits,
    Message,
    Receive,
    RefusalError,
    Response,
    Route,
    Send,
    read_body,
    unavailable,
)
from mlgitops.serving.rows import RowError, all_metadata
from mlgitops.serving.shadow import Shadow
from mlgitops.serving.team import AGAIN, Team
from mlgitops.serving.turn import Turn


class App:
    """Answers the paths of `routes`."""

    def __init__(
        self,
        model: Model | None,
        reason: str = "",
        version: str | None = None,
        limits: Limits = LIMITS,
        server_sha256: str | None = None,
        reasons: explain.Limits = explain.LIMITS,
        coerce: bool = False,
        bulk_size: bulk.Size = bulk.SIZE,
    ) -> None:
        """`reason` says why there is no model; `server_sha256` identifies this code.

        With `coerce`, texts of numbers and the like are read as the contract's types.
        """
        self.coerce = coerce
        self.model, self.reason, self.version = model, reason, version
        self.limits, self.server_sha256 = limits, server_sha256
        self.log: PredictionLog | None = None  # without it nothing is recorded
        self.turn = Turn(model, version, lambda: self.log) if model else None
        self.team: Team | None = None  # of workers that count together
        self.tokens: Tokens | None = None  # without them nobody is asked for one
        self.canary: Canary | None = None  # answers a share of the rows
        self.shadow: Shadow | None = None  # gets what was answered and logged
        self.draining = False
        self.refused = 0  # requests for predictions
        self.counts = Counts(model.contract["columns"] if model else {})
        reasoned = explain.Explainer(self, reasons).respond
        description = Description(self)
        self.routes = {  # each path is described in openapi.py too
            "/predict": Route(self._predict, ("POST",)),
            "/explain": Route(reasoned, ("POST",)),
            "/": Route(Page(self).respond),
            "/health/live": Route(self._live),
            "/health/ready": Route(self._ready, refusal="reason"),
            "/info": Route(self._info),
            "/metrics": Route(self._metrics),
            "/openapi.json": Route(description.document),
            "/docs": Route(description.page),
        }
        self.routes |= open_inference.routes(self)
        self.bulk = bulk.Bulk(self, bulk_size)
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; never raises."""
        if scope["type"] != "http":
            return
        status, path, reason = 200, scope["path"], None
        route = self.routes.get(path)
        began = perf_counter()
        try:
            body, kind, headers = await self._respond(route, scope, receive)
        except RefusalError as refusal:
            self.refused += path in self.counts.timed
            status, kind, headers = refusal.status, JSON, refusal.headers
            reason = refusal.reason
            field = route.refusal if route else "error"
            body = self._encode({field: str(refusal)})
        except ConnectionError:
            return
        except Exception:
            traceback.print_exc(file=sys.stderr)
            status, kind, headers, reason = 500, JSON, (), Reason.FAILED
            body = b'{"error":"the server failed; see its log."}'
        label = path if route else "other"
        if reason is None:
            self.counts.responded(label, perf_counter() - began)
        else:
            self.counts.refused(label, status, reason)
        sent = [
            (b"content-type", kind),
            *headers,
            (b"content-length", b"%d" % len(body)),
        ]
        if self.draining or status == 413:
            sent.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": body})
        if self.shadow is not None and "logged" in scope:
            self.shadow.offer(*scope["logged"])

    async def _respond(
        self, route: Route | None, scope: Message, receive: Receive
    ) -> Response:
        guarded = route is None or scope["path"] not in UNGUARDED
        if self.tokens is not None and guarded:
            self.tokens.check(scope["headers"])
        if route is None:
            sentence = f"the paths are {', '.join(self.routes)}."
            raise RefusalError(404, Reason.NOT_FOUND, sentence)
        if scope["method"] not in route.methods:
            header = (b"allow", ", ".join(route.methods).encode())
            methods = " and ".join(route.methods)
            sentence = f"{scope['path']} takes {methods} only."
            raise RefusalError(405, Reason.METHOD, sentence, header)
        return await route.answer(scope, receive)

    async def _live(self, _scope: Message, _receive: Receive) -> Response:
        return Response(b'{"status":"ok"}')

    async def _ready(self, _scope: Message, _receive: Receive) -> Response:
        self.demand_ready()
        return Response(b'{"status":"ok"}')

    def demand_ready(self) -> None:
        """Raise RefusalError, 503, where there is no model, or the server stops."""
        if self.model is None:
            raise self.without_model()
        if self.draining:
            raise unavailable(Reason.STOPPING, "the server is stopping.")

    def without_model(self) -> RefusalError:
        """Return what is said where no version can predict."""
        return unavailable(Reason.NO_MODEL, self.reason)

    @cached_property
    def machinery(self) -> str:
        """Which machinery this is; told by a hash of each file, for who asks first."""
        return str(machinery(part=True))

    async def identify(self) -> None:
        """See to it that `machinery` is known, while others are answered."""
        if "machinery" not in self.__dict__:
            await asyncio.to_thread(getattr, self, "machinery")

    async def _info(self, _scope: Message, _receive: Receive) -> Response:
        await self.identify()
        return Response(self._encode(self.info()))

    async def _metrics(self, _scope: Message, _receive: Receive) -> Response:
        await asyncio.to_thread(metrics.load)  # while others are answered
        await self.identify()
        return Response(metrics.text(self.counted()[0], self.info()), metrics.TYPE)

    def counted(self) -> tuple[Counts, int, dict[str, int] | None]:
        """Return what was counted, refused and logged, by all workers together."""
        log = None if self.log is None else self.log.state()
        if self.team is None:
            return self.counts, self.refused, log
        return self.team.all(self.counts, self.refused, log)

    def publish(self) -> None:
        """Tell the other workers what was counted here, where there are any."""
        if self.team is not None:
            log = None
            if self.log is not None:
                log = self.log.state() | {AGAIN: self.log.unrecorded}
            self.team.publish(self.counts, self.refused, log)

    def info(self) -> Message:
        """Return which version answers here."""
        model = self.model
        _, refused, log = self.counted()
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
            "refused": refused,
            "log": log,
            **({"canary": self.canary.state()} if self.canary else {}),
            **({"shadow": self.shadow.state()} if self.shadow else {}),
        }

    async def _predict(self, scope: Message, receive: Receive) -> Response:
        if (refusal := scope.get("refusal")) is not None:  # of `direct.py`
            raise refusal
        if (read := bulk.reader(scope)) is not None:
            return await self.bulk.predict(read, scope, receive)
        if self.model is None or self.turn is None:
            raise self.without_model()
        body = await read_body(scope, receive, self.limits)
        rows = rows_of(body, self.limits.rows)
        roles = (self.model.id, self.model.time)
        changed = self.coerced(self.model, rows)
        try:
            ids, times = all_metadata(rows, *roles)
            predictions = await self.turn.predict(rows, ids, times, self.canary)
        except RowError as error:
            raise RefusalError(422, error.reason, str(error)) from None
        self.counts.predicted(rows)
        for prediction, names in zip(predictions, changed, strict=False):
            prediction["coerced"] = names
        if self.log is not None and self.shadow is not None:
            if self.coerce:
                body = self._encode({"rows": rows})
            scope["logged"] = (ids, body)  # for the shadow, after the response
        return Response(self.content(self.model, predictions))

    def content(self, model: Model, predictions: list[Prediction]) -> bytes:
        """Return the body of a response."""
        return self._encode({**self.identity(model), "predictions": predictions})

    def identity(self, model: Model) -> dict[str, str]:
        """Return what every response says of the version: its manifest and its name."""
        named = {"version": self.version} if self.version else {}
        return {"manifest_sha256": model.manifest_sha256, **named}

    def coerced(self, model: Model, rows: list[dict[str, Value]]) -> list[list[str]]:
        """Return the columns of each row that were changed, if that was asked for."""
        if not self.coerce:
            return []
        return [coercion.coerced(row, model.columns) for row in rows]
