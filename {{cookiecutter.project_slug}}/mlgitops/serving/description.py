"""Answers /openapi.json and /docs; who asks for one loads what makes both."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

from mlgitops.serving.routes import Message, Receive, Response

if TYPE_CHECKING:
    from mlgitops.serving.app import App

HTML = b"text/html; charset=utf-8"


class Description:
    """Answers /openapi.json and /docs; made when it is first asked for."""

    def __init__(self, app: "App") -> None:
        """Describe what this application serves."""
        self._app = app
        self._made: tuple[bytes, bytes] | None = None

    async def document(self, _scope: Message, _receive: Receive) -> Response:
        """Return the description."""
        return Response((await self._contents())[0])

    async def page(self, _scope: Message, _receive: Receive) -> Response:
        """Return the description as a page."""
        text = (await self._contents())[1]
        from mlgitops.serving.docs import HEADERS

        return Response(text, HTML, HEADERS)

    async def _contents(self) -> tuple[bytes, bytes]:
        app, model = self._app, self._app.model
        if model is None:
            raise app.without_model()
        if self._made is None:
            facts = (model.contract, model.manifest, model.manifest_sha256)
            self._made = await asyncio.to_thread(make, *facts, app.version, app.limits)
        return self._made


def make(*facts: Any) -> tuple[bytes, bytes]:
    """Return the description of `schemas.Version(*facts)`, and its page."""
    from mlgitops.serving import docs, openapi
    from mlgitops.serving.schemas import Version

    text = openapi.text(Version(*facts))
    return text, docs.page(json.loads(text)).encode()
