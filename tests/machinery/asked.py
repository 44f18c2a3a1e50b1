"""Requests to the application itself, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from mlgitops.serving.app import App
from mlgitops.serving.log import PredictionLog


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def send(
    app: App,
    path: str,
    body: object = b"",
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
) -> Answer:
    """Send one request; what is not bytes goes as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-length": str(len(data)), **(headers or {})}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def keep(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path}
    scope["headers"] = [(k.encode(), v.encode()) for k, v in given.items()]
    await app(scope, receive, keep)
    found = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, sent[1]["body"])


def ask(app: App, *request: Any, **more: Any) -> Answer:
    """Send one request, with a loop of its own."""
    return asyncio.run(send(app, *request, **more))


def logged(app: App, folder: Any, *request: Any, **more: Any) -> Answer:
    """Send one request to an application that logs into a folder."""

    async def run() -> Answer:
        app.log = PredictionLog(folder)
        try:
            return await send(app, *request, **more)
        finally:
            app.log.close()
            app.log = None

    return asyncio.run(run())
