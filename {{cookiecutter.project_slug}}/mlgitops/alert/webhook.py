"""Sends one alert. Its address is a secret: no message of ours holds any of it."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit

from mlgitops.alert.message import Body

SECRET = "ALERT_WEBHOOK"  # noqa: S105 (the secret's name)
PATIENCE = 10.0  # seconds for one answer
PAUSES = (1.0, 3.0)  # before the next try, where the receiver took nothing
HERE = ("127.0.0.1", "::1", "localhost")


class WebhookError(Exception):
    """An alert was not sent: why, without the address; `passing` may work soon."""

    def __init__(self, sentence: str, passing: bool = False) -> None:
        """Keep whether another try is worth it."""
        super().__init__(sentence)
        self.passing = passing


class Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would hand the alert to another address."""

    def redirect_request(self, *_: object) -> None:
        """Return no other request, so that the answer itself is an error."""


def send(address: str, body: Body) -> None:
    """Send an alert; again, a few times, where the receiver took nothing.

    Raises:
        WebhookError: it was not taken, or nobody knows whether it was.
    """
    check(address)
    for pause in PAUSES:
        try:
            return _post(address, body)
        except WebhookError as error:
            if not error.passing:
                raise
            time.sleep(pause)
    return _post(address, body)


def check(address: str) -> None:
    """Refuse what is no address, or would be read on its way.

    Raises:
        WebhookError: which of them.
    """
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if not host or not address.isascii() or any(c <= " " for c in address):
        raise WebhookError(f"{SECRET} is not an address that begins with https://")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in HERE):
        raise WebhookError(f"{SECRET} has to begin with https://")


def _post(address: str, body: Body) -> None:
    """Post once.

    Raises:
        WebhookError: it was not taken.
    """
    data, head = json.dumps(body).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(address, data, head)  # noqa: S310 (checked above)
    opener = urllib.request.build_opener(Stay)
    try:
        opener.open(request, timeout=PATIENCE).close()  # what it says is not read
    except (OSError, ValueError, HTTPException) as error:
        raise _wrong(error) from None  # its cause may name the address


def _wrong(error: Exception) -> WebhookError:
    """Return an error as a sentence of our own."""
    if isinstance(error, urllib.error.HTTPError):
        status = error.code
        error.close()
        if 300 <= status < 400:
            sentence = "it redirects to another address, and alerts follow none"
            return WebhookError(f"{sentence}: set {SECRET} to the final one")
        if status in (401, 403, 404, 410):
            sentence = f"it answers {status}: the webhook was removed, or {SECRET}"
            return WebhookError(f"{sentence} is not its whole address")
        return WebhookError(f"it answers {status}", status == 429 or status >= 500)
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLError):
        return WebhookError("its certificate is not trusted, or its TLS is broken")
    if isinstance(reason, TimeoutError):
        sentence = f"it did not answer within {PATIENCE:g} seconds"
        return WebhookError(f"{sentence}, so it may have come or not")
    if isinstance(reason, ConnectionRefusedError):
        return WebhookError("nothing listens there", passing=True)
    return WebhookError(f"the connection failed ({type(reason).__name__})")
