"""A whole HTML file that loads nothing but `mermaid.js` from beside it."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from urllib.parse import quote

from rehearsal.page.comment import comment
from rehearsal.page.markup import Html, el, html

HERE = Path(__file__).parent
MERMAID = HERE / "vendor" / "mermaid.js"
ALERTS = {
    "info": ",.alert-note",
    "light-bulb": ",.alert-tip",
    "report": ",.alert-important",
    "alert": ",.alert-warning",
    "stop": ",.alert-caution",
}
POLICY = (
    "default-src 'none'; script-src 'self' file: 'sha256-{}'; "
    "style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)


@cache
def _style() -> Html:
    """Return the style sheet, with every vendored icon as a mask."""
    icons = "".join(
        f".i-{file.stem}{ALERTS.get(file.stem, '')}"
        f'{{--icon:url("data:image/svg+xml,{quote(file.read_text())}")}}'
        for file in sorted((HERE / "vendor" / "octicons").glob("*.svg"))
    )
    sheets = [(HERE / name).read_text() for name in ("markdown.css", "page.css")]
    return Html("".join(sheets) + icons)


@cache
def _script() -> tuple[Html, str]:
    """Return the script and its hash for the content security policy."""
    script = (HERE / "page.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Html(script), digest


def document(title: str, body: Html, look: str = "timeline") -> Html:
    """Return a whole page: style and script inside, locked by a policy."""
    script, digest = _script()
    head = html(
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY.format(digest)),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", title),
        el("style", _style()),
    )
    page = el("body", body, el("script", script), class_=look)
    return html(
        Html("<!doctype html>\n"), el("html", el("head", head), page, lang="en")
    )


def comment_page(markdown: str, author: str = "github-actions[bot]") -> Html:
    """Return a page with one comment as GitHub shows it; draws with `mermaid.js`."""
    return document("Comment", comment(author, markdown), look="alone")
