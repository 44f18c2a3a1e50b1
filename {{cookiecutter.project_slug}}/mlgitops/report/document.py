"""An HTML page of ours: its head, and the policy that allows it nothing but itself.

Every page is made here. What a person, a log or a data set wrote is escaped by
`html.escape` where it enters a page; the policy is the second lock: a script that got
in all the same does not run, and nothing is loaded or sent.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from pathlib import Path

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


def document(
    title: str, body: str, styles: Iterable[Path] = (), script: Path | None = None
) -> str:
    """Return a page; ``body`` is markup, whose foreign text is escaped already.

    A script of ours stands at its end, and the policy allows it by its hash alone.
    """
    style = "".join(path.read_text(encoding="utf-8") for path in styles)
    policy = POLICY
    if script is not None:
        code = script.read_text(encoding="utf-8")
        policy += f"; script-src '{_source(code)}'"
        body += f"<script>{code}</script>"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"{meta(policy)}\n"
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>{body}</body>\n</html>\n"
    )


def meta(policy: str) -> str:
    """Return the tag that sets a policy; it must come before what it is about."""
    return f'<meta http-equiv="Content-Security-Policy" content="{policy}">'


def _source(code: str) -> str:
    """Return a script as a policy names it."""
    return f"sha256-{b64encode(hashlib.sha256(code.encode()).digest()).decode()}"
