"""Who may ask: bearer tokens of a file, certificates of clients; else this machine.

A server that other machines reach wants one of these, or to be told in words that it is
open to anyone (`check_address`). Files are read again when they change, so that tokens
and certificates are replaced without a restart; one that cannot be used then is
reported, and what was read before stays. No sentence holds a token.
"""

import argparse
import hashlib
import hmac
import os
import re
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from mlgitops.serving.reasons import Reason
from mlgitops.serving.routes import Header, RefusalError

T = TypeVar("T")
UNGUARDED = {  # for probes, which say up or down; the page asks by itself
    *("/", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
}
LOOK_SECONDS = 1.0  # between two looks at a file
MAX_BYTES = 1_000_000  # of a file of tokens
HASHED = re.compile(r"sha256:([0-9a-f]{64})")
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,}=*")  # b64token of RFC 6750, long enough
CHALLENGE = (b"www-authenticate", b'Bearer realm="model"')
HOW = "send it as the header `Authorization: Bearer TOKEN`."


class AccessError(Exception):
    """The settings of access cannot be used: one sentence."""


class Watched(Generic[T]):
    """What is made of files, made again when one of them has changed."""

    def __init__(self, paths: Sequence[Path], make: Callable[[], T]) -> None:
        """Read now; AccessError where that fails."""
        self.paths, self._make = paths, make
        self._state, self._look_at = self._stat(), time.monotonic() + LOOK_SECONDS
        self._value, self._problem = make(), ""

    def get(self) -> T:
        """Return the value, of the files as they are, or as they could last be used."""
        if (moment := time.monotonic()) >= self._look_at:
            self._look_at = moment + LOOK_SECONDS
            state = self._stat()
            if state != self._state or self._problem:  # which may end without a change
                changed, self._state = state != self._state, state
                self._make_again(changed)
        return self._value

    def _make_again(self, changed: bool) -> None:
        """Make the value again; where that fails, keep the old one and say so once."""
        before, self._problem = self._problem, ""
        try:
            self._value = self._make()
        except AccessError as error:
            self._problem = str(error)
            if changed or self._problem != before:
                print(f"access: {error} What was read before stays.", file=sys.stderr)

    def _stat(self) -> list[tuple[int, ...]]:
        """Return what changes when a file does; nothing where there is none."""
        states = list[tuple[int, ...]]()
        for path in self.paths:
            try:
                stat = os.stat(path)
                times = (
                    stat.st_mtime_ns,
                    stat.st_ctime_ns,
                )  # the latter is of chmod, too
                states.append((*times, stat.st_size, stat.st_ino))
            except OSError:
                states.append(())
        return states


class Tokens:
    """The tokens of a file: a line each, itself or as `sha256:` and its hash in hex."""

    def __init__(self, path: Path) -> None:
        """Read them; AccessError where there are none."""
        self._hashes = Watched([path], lambda: read_tokens(path))

    def check(self, headers: Sequence[Header]) -> None:
        """Raise RefusalError, 401, unless one of the tokens was sent."""
        sent = [value for name, value in headers if name == b"authorization"]
        if not sent:
            sentence = f"this server requires a token: {HOW}"
            raise RefusalError(401, Reason.UNAUTHORIZED, sentence, CHALLENGE)
        kind, _, token = sent[0].strip().partition(b" ")
        digest = hashlib.sha256(token.strip()).digest()
        # Each is compared, in constant time: how long it takes says nothing.
        equal = [hmac.compare_digest(digest, allowed) for allowed in self._hashes.get()]
        if len(sent) > 1 or kind.lower() != b"bearer" or not any(equal):
            name, value = CHALLENGE
            header = (name, value + b', error="invalid_token"')
            sentence = f"this is not a token of this server: {HOW}"
            raise RefusalError(401, Reason.UNAUTHORIZED, sentence, header)


def read_tokens(path: Path) -> list[bytes]:
    """Return the sha256 of each token of a file; AccessError where one is none."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise AccessError(f"the tokens of {path} cannot be read: {reason}.") from None
    if len(data) > MAX_BYTES:  # the rest would be left out, and a token cut in two
        raise AccessError(
            f"{path} has more than {MAX_BYTES:,} bytes: name fewer tokens."
        )
    hashes = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if match := HASHED.fullmatch(entry):
            hashes.append(bytes.fromhex(match[1]))
        elif TOKEN.fullmatch(entry) and not entry.startswith("sha256"):
            hashes.append(hashlib.sha256(entry.encode()).digest())
        elif entry:
            raise AccessError(
                f"{path}, line {number}, is not a token: it has 16 or more letters, "
                "digits and ._~+/-, or is `sha256:` and 64 hexadecimal digits."
            )
    if not hashes:
        raise AccessError(f"{path} has no token: write one a line.")
    return hashes


class Access(NamedTuple):
    """What lets a client in; without any, only clients of this machine reach it."""

    tokens: Tokens | None = None
    context: Callable[[], ssl.SSLContext] | None = None  # of TLS, as its files are now
    clients: bool = False  # only those with a certificate
    anyone: bool = False  # told so in words


def add_options(add: Callable[..., object]) -> None:
    """Add the options to a parser's `add_argument`."""
    text = (
        "file with one token, or sha256: and its hash, per line; each request needs one"
    )
    add("--tokens", type=Path, help=text)
    add("--certificate", type=Path, help="PEM file, for TLS")
    add("--key", type=Path, help="PEM file with the certificate's key, not encrypted")
    add("--client-ca", type=Path, help="PEM file: clients need a certificate of these")
    text = "listen on other addresses than 127.0.0.1 without tokens or --client-ca"
    add("--open-to-anyone", action="store_true", help=text)


def of(options: argparse.Namespace) -> Access:
    """Return what the options ask for; AccessError where it cannot be had."""
    certificate, key, ca = options.certificate, options.key, options.client_ca
    if (certificate is None) != (key is None) or (ca and not key):
        raise AccessError(
            "TLS needs --certificate and --key, and --client-ca needs both: name them."
        )
    tokens = Tokens(options.tokens) if options.tokens else None
    if key is None:
        return Access(tokens, anyone=options.open_to_anyone)
    files = [certificate, key, *([ca] if ca else [])]
    context = Watched(files, lambda: tls(certificate, key, ca))
    return Access(tokens, context.get, ca is not None, options.open_to_anyone)


def tls(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """Return TLS as a server speaks it; AccessError where a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:  # an encrypted key would be asked for at the terminal
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise AccessError(
            f"{certificate} and {key} are not a certificate and its unencrypted key in "
            f"PEM: {error}."
        ) from None
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError) as error:
            raise AccessError(f"{client_ca} has no certificates: {error}.") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def check_address(listener: socket.socket, access: Access) -> None:
    """Raise AccessError where other machines reach a socket, and anyone may ask."""
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return
    host = str(listener.getsockname()[0])
    guarded = access.tokens is not None or access.clients or access.anyone
    if guarded or ip_address(host.partition("%")[0]).is_loopback:
        return
    raise AccessError(
        f"other machines can reach {host}, and all of them could send requests: limit "
        "that with --tokens FILE or --client-ca FILE, allow it with --open-to-anyone, "
        "or listen on this machine only with --host 127.0.0.1."
    )
