"""GET /: a page that says what answers here and how it is, and tries a row.

One file without a template language, and nothing loaded from elsewhere: its style and
its script are in it, and the policy allows these two by their hashes and requests to
this server, nothing else. A row is tried with /explain, so it is never logged and never
counted as traffic. Whatever a contract or a manifest says is escaped.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
from base64 import b64encode
from collections.abc import Iterable
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from mlgitops.serving.form import form
from mlgitops.serving.health import health
from mlgitops.serving.routes import Header, Message, Receive, RefusalError, Response

if TYPE_CHECKING:
    from mlgitops.serving.app import App
    from mlgitops.serving.model import Model

TYPE = b"text/html; charset=utf-8"
NOT_LOGGED = (
    "A row that is tried here is not logged and not counted as traffic: the monitor "
    "does not see it. For real decisions, send the row to <code>/predict</code>."
)
GATE = """<h1>Model server</h1>
<form novalidate id="gate"><div class="field"><label for="token">Access token</label>
<input id="token" type="password" autocomplete="off" aria-describedby="token-hint">
<p class="hint" id="token-hint">It is kept until this page is closed.</p></div>
<p><button type="submit">Open</button></p>
<p class="error" id="problem" role="alert"></p></form>"""
Facts = Iterable[tuple[str, object]]


class Page:
    """Answers / for an application."""

    def __init__(self, app: App) -> None:
        """The server's time starts now."""
        self.app, self._start = app, monotonic()
        self._form = lru_cache(maxsize=1)(_form)

    async def respond(self, scope: Message, _receive: Receive) -> Response:
        """Return the page; without the token that the server wants, a field for it."""
        tokens = self.app.tokens
        try:
            if tokens is not None:
                tokens.check(scope["headers"])
            page = await asyncio.to_thread(self._page)
        except RefusalError:
            page = _document("Model server", GATE)
        return Response(page.encode("utf-8", "replace"), TYPE, _headers())

    def _page(self) -> str:
        app, seconds = self.app, monotonic() - self._start
        name = escape(app.model.name if app.model else "No model")
        version = f" <small>{escape(app.version)}</small>" if app.version else ""
        body = (
            f'<h1 tabindex="-1">{name}{version}</h1>\n'
            f"{self._form(app.model, app.reason)}\n"
            f"{health(app.counted()[0], app.info(), seconds)}\n{versions(app)}"
        )
        return _document(name, body)


def _document(title: str, body: str) -> str:
    """Return the whole file; title and body are escaped already."""
    style, script = _files()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{title}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def is_private(listening: socket.socket) -> bool:
    """Return whether only this machine can reach a listening socket."""
    if listening.family not in (socket.AF_INET, socket.AF_INET6):
        return True
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def _form(model: Model | None, reason: str) -> str:
    """Return what the model is and the form; without a model, the reason."""
    if model is None:
        return f'<p class="alarm"><b>Not ready:</b> {escape(reason)}</p>'
    return (
        f"<p>{_purpose(model)}</p>\n"
        '<section aria-labelledby="try"><h2 id="try">Try a row</h2>\n'
        f'<p class="hint">{NOT_LOGGED} The form starts with typical values.</p>\n'
        "<noscript><p>The form needs JavaScript; <code>curl</code> does not.</p>"
        '</noscript>\n<div class="sides"><form novalidate id="form">\n'
        f"{form(model)}\n"
        '<p><button type="submit">Predict and explain</button></p>\n'
        '<p class="error" id="problem" role="alert"></p></form>\n'
        '<p class="unseen" id="status" role="status"></p>'
        '<div id="result"></div></div></section>'
    )


def _purpose(model: Model) -> str:
    """Say in a sentence what is predicted and decided."""
    target = f"<code>{escape(str(model.contract.get('target')))}</code>"
    if model.threshold is not None:
        return (
            f"Predicts the probability that {target} is 1, and decides 1 from "
            f"{model.threshold:g} on."
        )
    if model.classes:
        names = ", ".join(f"<code>{escape(name)}</code>" for name in model.classes)
        return f"Predicts the probability of each {target}: {names}."
    return f"Predicts a number: {target}."


def versions(app: App) -> str:
    """Return which bytes answer here, and where older versions are."""
    info, model = app.info(), app.model
    facts = [
        ("Version", info["version"] or "unnamed"),
        ("Environment", info["environment"] or "none"),
        ("Manifest", info["manifest_sha256"] or "none"),
        *(_origin(model) if model else ()),
        ("Machinery", info["machinery"]),
        ("Server", info["server_sha256"] or "started from a folder"),
    ]
    return (
        '<section aria-labelledby="versions"><h2 id="versions">What runs here</h2>\n'
        f"{listed(facts)}\n"
        '<p class="hint">The model card in the version\'s release has its owner, its '
        "intended use and its metrics; <code>make audit</code> lists what ran when. "
        "<code>/docs</code> has what a client needs.</p></section>"
    )


def _origin(model: Model) -> Facts:
    """Yield what a manifest says of a model's origin."""
    manifest = model.manifest
    data = manifest.get("data") or {}
    rows, first, last = (data.get(f"train_{n}") for n in ("rows", "from", "until"))
    trained = f"{rows:,} rows" if isinstance(rows, int) else "not stated"
    if first and last:
        trained += f", from {str(first)[:10]} until {str(last)[:10]}"
    params = manifest.get("params") or {}
    yield "Task", model.task
    yield "Estimator", params.get("estimator", "not stated")
    yield "Trained on", trained
    yield "Model file", f"{manifest['model']['bytes'] / 1e3:,.0f} kB"
    yield "Columns", ", ".join(model.inputs)


def listed(facts: Facts) -> str:
    """Return facts as a list of names and values."""
    items = (
        f"<div><dt>{name}</dt><dd>{escape(str(v))}</dd></div>" for name, v in facts
    )
    return f"<dl>{''.join(items)}</dl>"


@cache
def _files() -> tuple[str, str]:
    """Return the style and the script."""
    texts = [
        Path(__file__).with_name(name).read_text(encoding="utf-8")
        for name in ("page.css", "page.js")
    ]
    return texts[0], texts[1]


@cache
def _headers() -> tuple[Header, ...]:
    """Return what keeps a browser from anything but this page and this server."""
    style, script = (_hash(text) for text in _files())
    policy = (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return (
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    )


def _hash(text: str) -> str:
    """Return how a policy names an inline style or script."""
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
