"""Keeps this device on the newest version of its environment, and runs it.

    python3 update.py setup --environment production --source ADDRESS --key signing.pub
    python3 update.py                  # look once: from cron or a systemd timer
    python3 update.py run < rows.json  # the version that is installed
    python3 update.py status           # what runs here, and why

One file, standard library only. It stays beside the versions that it installs, in a
folder of its own, and never replaces itself. A source is a repository on GitHub
(github:OWNER/NAME; its ledger and releases), an address or a folder, such as a USB
stick, that `python -m mlgitops edge publish` wrote. The newest record by `seq`, the
order of the ledger, decides: no clock does. A version is switched to when signature,
checksums and golden rows hold; the one before it is kept and runs if the new one is
damaged later. Killed at any point, it leaves one of the two. See README.md.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import errno
import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import quote, urljoin, urlsplit

API = "https://api.github.com"
OPEN_SECONDS = 30.0  # until an address has answered with its headers
READ_SECONDS = 20.0  # of silence in the middle of an answer
DOWNLOAD_SECONDS = 3_600.0  # for a bundle, on a slow line
CHECK_SECONDS = 300.0  # for a new version to answer its golden rows, on a slow device
MAX_INDEX_BYTES = 1_000_000  # an index is one record
MAX_TEXT_BYTES = 4_000_000  # of a manifest, or a list of checksums
MAX_BUNDLE_BYTES = 2_000_000_000  # what GitHub allows for one asset
MAX_FILES = 500  # of a bundle, which has about 15
LISTED = 1000  # names of a folder, at most, that GitHub tells
MAX_MISSED = 50  # records of the ledger between two looks that are read one by one
RECORDS = 1_000  # of the ledger in a folder `blocks/00012`, from that record on
MAX_BLOCKS = 10  # such folders between two looks that are looked into
MAX_WAIT = 64  # looks until a version that failed here is tried again
ROOM_BYTES = 1_000_000  # left free beside what is unpacked
BLOCK = 1_000_000
HASH = re.compile(r"[0-9a-f]{64}")
RANGE = re.compile(r"bytes (\d{1,15})-")  # Content-Range: where a part begins
NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")  # of an environment
VERSION = re.compile(r"[\w.+-]{1,100}")
TAG = re.compile(r"[^\s-]\S{0,200}|")
DEVICE = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
FILE = re.compile(r"[\w.-]+(/[\w.-]+)*")  # in a bundle
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError)
STATES = ("state.json", "state.copy.json")  # what runs, and what was withdrawn
SCHEMES = ("http", "https")
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # as `build` packs a bundle
BACKWARDS = ("rollback", "revert")  # actions that take a version back
Record = dict[str, Any]


class Reader(Protocol):
    """What bytes are read from: a file, or an answer."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer only at the end."""

    def read1(self, size: int, /) -> bytes:
        """Return some bytes, as they arrive, at most `size`; nothing at the end."""

    def tell(self) -> int:
        """Return the position of the next byte in the file that is read."""


Opened = contextlib.AbstractContextManager[Reader]


class UpdateError(Exception):
    """Nothing was switched: one sentence says why. The version that runs stays."""


class RefusedError(UpdateError):
    """What a source offers must not run here."""


class LaterError(UpdateError):
    """This device or its network is at fault: it is tried again at the next look."""


class SilentError(LaterError):
    """A source does not answer."""

    status = 0  # of HTTP, where it answers with an error


class FailedError(RefusedError):
    """A version was whole and did not answer as reviewed on this device."""


@dataclass(frozen=True)
class Settings:
    """What `setup` wrote."""

    environment: str
    device: str
    sources: tuple[str, ...]
    signed: bool  # signing.pub beside this file has to fit
    report: str = ""  # an address or a folder to which each report goes
    api: str = API


@dataclass(frozen=True)
class Installed:
    """One version on this device: what a record said of it, and its folder's hash."""

    seq: int
    version: str
    manifest_sha256: str
    bundle_sha256: str
    sums_sha256: str  # of its SHA256SUMS
    deployment_id: int | None = None


@dataclass(frozen=True)
class State:
    """What runs: the one file that is replaced to switch."""

    seq: int = -1  # of the newest record that was followed
    current: Installed | None = None
    spare: Installed | None = None  # the one before
    withdrawn: tuple[str, ...] = ()  # manifests that a record took back
    ordered: bool = False  # an index with a signed order was seen: it stays demanded
    failed: str = ""  # the bundle, or manifest, that failed here
    tries: int = 0
    wait: int = 0  # the number of the look at which it is tried again


@dataclass(frozen=True)
class Offer:
    """What a source says should run, checked as far as it can be without the bundle."""

    source: Source
    seq: int
    version: str
    manifest_sha256: str
    action: str
    withdrawn: tuple[str, ...]
    bundle_sha256: str = ""  # GitHub names none before it is asked for the release
    size: int = 0
    signature: bytes = b""
    tag: str = ""
    deployment_id: int | None = None
    previous: str = ""  # the manifest that this record replaced, on GitHub
    statement: bytes = b""  # what the signature of the index's order is about
    order: str = ""  # that signature

    @property
    def key(self) -> str:
        """What is remembered of an offer that failed."""
        return self.bundle_sha256 or self.manifest_sha256


def say(message: str) -> None:
    """Print a message on standard error."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)


# Files


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes) -> None:
    """Replace a file completely or not at all, also in a power cut."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def make_room(home: Path, needed: int) -> None:
    """Raise LaterError when the disk has less room than a step needs."""
    usage = os.statvfs(home)
    free = usage.f_bavail * usage.f_frsize
    if free < needed + ROOM_BYTES:
        raise LaterError(
            f"the disk is full: {needed / 1e6:.1f} MB are needed, and "
            f"{free / 1e6:.1f} MB are free in {home}"
        )


def explain(error: OSError, home: Path) -> str:
    """Return what the system refused, in one sentence."""
    if error.errno in FULL:
        return f"the disk is full: free some space in {home}"
    if error.errno in READ_ONLY:
        return f"{home} cannot be written: {error.strerror}"
    return f"{error.filename or home}: {error.strerror or error}"


def sha256(path: Path) -> str:
    """Return the sha256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the lock of this folder; it goes with the process, however that ends.

    Raises:
        LaterError: another updater has it, or the folder cannot be written.
    """
    try:
        with (home / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LaterError("another update is running here") from None
            yield
    except OSError as error:
        raise LaterError(explain(error, home)) from None


def small(path: Path) -> bytes:
    """Return the bytes of a file that is text; ValueError if it is too long."""
    with path.open("rb") as file:
        data = file.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise ValueError(f"{path.name} is too long")
    return data


# What this device knows


def load(path: Path) -> Record:
    """Return a JSON object; ValueError if it is none."""
    with path.open("rb") as file:
        data = json.loads(file.read(MAX_INDEX_BYTES))
    if not isinstance(data, dict):
        raise ValueError(f"{path} is not a JSON object")
    return data


def settings_of(home: Path) -> Settings:
    """Return what `setup` wrote.

    Raises:
        RefusedError: it was not run, or its file is damaged.
    """
    try:
        data = load(home / "settings.json")
        return Settings(**{**data, "sources": tuple(data["sources"])})
    except FileNotFoundError:
        raise RefusedError(
            "this device is not set up: type `python3 update.py setup --help`"
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RefusedError(
            f"{home / 'settings.json'} cannot be read ({error}): type "
            "`python3 update.py setup --help`"
        ) from None


def installed_of(data: Record | None) -> Installed | None:
    """Return a version from its JSON; ValueError if it is not one."""
    if data is None:
        return None
    record = Installed(**data)
    hashes = (record.manifest_sha256, record.bundle_sha256, record.sums_sha256)
    if type(record.seq) is not int or not all(HASH.fullmatch(str(h)) for h in hashes):
        raise ValueError("it names no version")
    return record


def state_of(home: Path) -> State:
    """Return what runs here; found again from the versions if its files are damaged.

    Then the newest version alone is known to run: an older one may be withdrawn.
    """
    for name in STATES:
        try:
            return read_state(home / name)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError):
            say(f"{home / name} is damaged.")
    versions = []
    for path in (home / "versions").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            if record := installed_of(load(path)):
                versions.append(record)
    current = max(versions, key=lambda record: record.seq, default=None)
    return State(current.seq if current else -1, current)


def read_state(path: Path) -> State:
    """Return a state; ValueError, TypeError or KeyError if the file has none."""
    data = load(path)
    entries = {n: installed_of(data[n]) for n in ("current", "spare")}
    numbers = [data[name] for name in ("seq", "tries", "wait")]
    withdrawn = tuple(data["withdrawn"])
    if not all(type(n) is int for n in numbers) or type(data["failed"]) is not str:
        raise ValueError("it is malformed")
    return State(**{**data, **entries, "withdrawn": withdrawn})


def save(home: Path, state: State) -> None:
    """Switch: replace the one file that says what runs, its copy before it."""
    data = (json.dumps(asdict(state), indent=1) + "\n").encode()
    for name in reversed(STATES):
        write(home / name, data)


def folder_of(home: Path, version: Installed) -> Path:
    """Return where a version is."""
    return home / "versions" / version.bundle_sha256


def damage(home: Path, version: Installed) -> str:
    """Return which file of an installed version is not the one that was checked."""
    folder = folder_of(home, version)
    try:
        sums = small(folder / "SHA256SUMS")
        if hashlib.sha256(sums).hexdigest() != version.sums_sha256:
            return "SHA256SUMS is altered"
        listed = listing(sums)
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            valid = path.is_dir() or name in listed or name == "SHA256SUMS"
            if path.is_symlink() or not valid:
                return f"{name} does not belong to it"
        for name, digest in listed.items():
            if sha256(folder / name) != digest:
                return f"{name} is altered"
    except OSError as error:
        name = Path(str(error.filename)).name
        return f"{name} cannot be read: {error.strerror}"
    except ValueError as error:
        return str(error)
    return ""


def listing(sums: bytes) -> dict[str, str]:
    """Return the sha256 of each file that SHA256SUMS names; ValueError if malformed."""
    listed = {}
    for line in sums.decode("ascii", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if not HASH.fullmatch(digest) or not safe(name) or name in listed:
            raise ValueError("SHA256SUMS is malformed")
        listed[name] = digest
    return listed


def safe(name: str) -> bool:
    """Tell whether a name stays inside the folder into which it is unpacked."""
    inside = FILE.fullmatch(name) and len(name) < 200
    return bool(inside) and not {".", ".."} & set(PurePosixPath(name).parts)


# Sources


class Source:
    """Where records and bundles come from."""

    def __init__(self, address: str) -> None:
        """Keep the address as it was given."""
        self.address = address

    def offer(self, environment: str) -> Offer:
        """Return what should run.

        Raises:
            SilentError: it does not answer.
            RefusedError: it answers what is not a record of this environment.
        """
        file = f"{environment}.json"
        with self.open(file) as stream:
            data = stream.read(MAX_INDEX_BYTES + 1)
        return self.parse(data, environment)

    def parse(self, data: bytes, environment: str) -> Offer:
        """Return the offer of an index; RefusedError if it is malformed."""
        index: Any = {}
        try:
            index = json.loads(data) if len(data) <= MAX_INDEX_BYTES else {}
            withdrawn = tuple(index["withdrawn"])
            offer = Offer(
                source=self,
                **{n: index[n] for n in ("seq", "version", "manifest_sha256")},
                action=str(index["action"]),
                withdrawn=withdrawn,
                bundle_sha256=index["bundle_sha256"],
                size=index["bundle_bytes"],
                signature=base64.b64decode(index["signature"] or ""),
                tag=str(index.get("tag", "")),
            )
            hashes = (offer.manifest_sha256, offer.bundle_sha256, *withdrawn)
            valid = index["schema"] == 1 and type(offer.seq) is int
            valid = valid and all(HASH.fullmatch(h) for h in hashes)
            valid = valid and type(offer.size) is int and is_named(offer)
        except (ValueError, KeyError, TypeError, RecursionError):
            valid = False
        if not valid:
            raise RefusedError(f"{self.address} has no index of a version")
        if index["environment"] != environment:
            raise RefusedError(
                f"{self.address} offers a version for {index['environment']!r}, and "
                f"this device belongs to {environment!r}"
            )
        order = str(index.get("order_signature") or "")
        return replace(offer, statement=statement(index), order=order)

    def complete(self, offer: Offer) -> Offer:
        """Return an offer that names its bundle."""
        return offer

    def bundle(self, offer: Offer, start: int) -> Opened:
        """Open the bundle of an offer, from byte `start` on if the source can do that.

        Its name is its own sha256, never a path.
        """
        return self.open(f"{offer.bundle_sha256}.zip", start)

    def withdrawn(self, environment: str, state: State, offer: Offer) -> set[str]:
        """Return what records withdrew since the one that this device has followed."""
        return set(offer.withdrawn)

    def open(self, name: str, start: int = 0) -> Opened:
        """Open one file of the source; SilentError if it cannot be had."""
        raise NotImplementedError


def is_named(offer: Offer) -> bool:
    """Tell whether an offer's version and tag are names; TypeError if no texts."""
    return bool(VERSION.fullmatch(offer.version) and TAG.fullmatch(offer.tag))


def statement(index: Record) -> bytes:
    """Return the bytes that the signature of an index's order is about."""
    fields = {name: index[name] for name in index if name != "order_signature"}
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


class Folder(Source):
    """A folder: a USB stick, a share."""

    @contextlib.contextmanager
    def open(self, name: str, start: int = 0) -> Iterator[Reader]:
        """Open one file of the folder."""
        path = Path(self.address, name)
        try:
            if path.exists() and not path.is_file():  # a pipe would never answer
                raise SilentError(f"{path} is not a file")
            file = path.open("rb")
            file.seek(start)
        except OSError as error:
            raise SilentError(f"{error.filename}: {error.strerror}") from None
        with file:
            yield file


class Web(Source):
    """The same folder behind an address."""

    def open(self, name: str, start: int = 0) -> Opened:
        """Open one file of the address."""
        return fetch(f"{self.address.rstrip('/')}/{name}", same_origin, start=start)


class GitHub(Source):
    """The ledger and the releases of a repository."""

    def __init__(self, address: str, api: str, token: str) -> None:
        """`address` is github:OWNER/NAME."""
        super().__init__(address)
        self.api, self.token = api.rstrip("/"), token
        self.repository = f"{self.api}/repos/{address.removeprefix('github:')}"

    def offer(self, environment: str) -> Offer:
        """Return what the ledger says should run."""
        path = f"contents/environments/{environment}/release.json?ref=ledger"
        try:
            release = json.loads(self.get(path, "application/vnd.github.raw+json"))
            if release["state"] == "failed":
                raise RefusedError(f"{environment} has no version that works")
            offer = Offer(
                source=self,
                **{n: release[n] for n in ("seq", "version", "manifest_sha256", "tag")},
                action=release["action"],
                withdrawn=taken_back(release),
                deployment_id=release["deployment_id"],
                previous=str(release["previous"] or ""),
            )
            valid = type(offer.seq) is int and is_named(offer)
            valid = valid and HASH.fullmatch(offer.manifest_sha256) is not None
            valid = valid and release["environment"] == environment
        except (ValueError, KeyError, TypeError):
            valid = False
        if not valid:
            raise RefusedError(f"{self.address} has no record of {environment}")
        return offer

    def withdrawn(self, environment: str, state: State, offer: Offer) -> set[str]:
        """Return what records withdrew, also those that this device has not seen."""
        current, taken = state.current, set(offer.withdrawn)
        returned = {offer.manifest_sha256}
        if current is None or offer.previous == current.manifest_sha256:
            return taken
        try:
            missed = self._missed(environment, state.seq, offer.seq)
            if missed is None:
                return taken | {current.manifest_sha256}  # not known: it does not run
            for path in reversed(missed):
                record = json.loads(self.get(path, "application/vnd.github.raw+json"))
                taken |= {*taken_back(record)} - returned
                if record.get("state") != "failed":
                    returned.add(record["manifest_sha256"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RefusedError(f"{self.address}: no history ({error})") from None
        return taken

    def _missed(self, environment: str, seen: int, newest: int) -> list[str] | None:
        """Return the paths of the records between two; None where they are not known.

        From record `RECORDS` on, the ledger has them in blocks of so many, but for
        those that an earlier machinery wrote.
        """
        blocks = range(max(seen // RECORDS, 1), newest // RECORDS + 1)
        if len(blocks) > MAX_BLOCKS:
            return None
        paths = dict[int, str]()
        for home in ("", *(f"blocks/{number:05d}/" for number in blocks)):
            folder = f"contents/{home}environments/{environment}/history"
            seqs = self._numbers(folder)
            if len(seqs) >= LISTED:
                return None
            paths |= {seq: f"{folder}/{seq:08d}.json?ref=ledger" for seq in seqs}
        missed = [seq for seq in sorted(paths) if seen < seq < newest]
        if newest not in paths or len(missed) > MAX_MISSED:
            return None
        return [paths[seq] for seq in missed]

    def _numbers(self, folder: str) -> list[int]:
        """Return the numbers of the records in a folder of the ledger, if it has it."""
        try:
            listed = json.loads(self.get(f"{folder}?ref=ledger"))
        except SilentError as error:
            if error.status == http.client.NOT_FOUND:
                return []
            raise
        return [int(entry["name"].removesuffix(".json")) for entry in listed]

    def complete(self, offer: Offer) -> Offer:
        """Return the offer with the bundle of its release."""
        try:
            path = f"releases/tags/{quote(offer.tag, safe='@')}"
            assets = {a["name"]: a for a in json.loads(self.get(path))["assets"]}
            names = [name for name in assets if name.endswith("-edge.zip")]
            if len(names) != 1:
                raise LaterError(f"the release {offer.tag} has no edge bundle")
            asset, signed = assets[names[0]], assets.get(f"{names[0]}.sig")
            self.url = str(asset["url"])
            digest = str(asset.get("digest") or "").removeprefix("sha256:")
            signature = b""
            if signed:
                octets = "application/octet-stream"
                signature = self.get(str(signed["url"]), octets)
            return replace(
                offer,
                bundle_sha256=digest if HASH.fullmatch(digest) else "",
                size=int(asset["size"]),
                signature=signature,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedError(f"{self.address}: no release ({error})") from None

    def bundle(self, offer: Offer, start: int) -> Opened:
        """Open the bundle, which GitHub sends from another host."""
        return self.open(self.url, start)

    def get(self, path: str, accept: str = "application/vnd.github+json") -> bytes:
        """Return a small answer of the API."""
        with self.open(path, accept=accept) as stream:
            return stream.read(10 * MAX_INDEX_BYTES)

    def open(
        self, name: str, start: int = 0, accept: str = "application/octet-stream"
    ) -> Opened:
        """Open an address of the API; the token goes to its host only."""
        url = name if "://" in name else f"{self.repository}/{name}"
        headers = self.headers(url) | {"Accept": accept}
        return fetch(url, encrypted, headers, start=start)

    def headers(self, url: str) -> dict[str, str]:
        """Return the login, for the API's own host."""
        if not self.token or not same_origin(url, self.api):
            return {}
        return {"Authorization": f"Bearer {self.token}"}


def taken_back(release: Record) -> tuple[str, ...]:
    """Return the version that a record of the ledger withdrew."""
    previous = str(release.get("previous") or "")
    withdraws = release["action"] in BACKWARDS and release.get("fault") != "host"
    withdraws = withdraws and previous != release["manifest_sha256"]
    return (previous,) if withdraws and HASH.fullmatch(previous) else ()


def same_origin(source: str, target: str) -> bool:
    """Tell whether a redirect stays where the device was told to look."""
    return urlsplit(source)[:2] == urlsplit(target)[:2]


def encrypted(source: str, target: str) -> bool:
    """Tell whether a redirect is as well encrypted as what it replaces."""
    return same_origin(source, target) or urlsplit(target).scheme == "https"


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows the redirects that are allowed."""

    def __init__(self, allowed: Callable[[str, str], bool]) -> None:
        """`allowed` gets the old and the new address."""
        self.allowed = allowed

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Refuse a redirect to elsewhere."""
        url = urljoin(req.full_url, newurl)
        if not self.allowed(req.full_url, url):
            raise SilentError(
                f"{req.full_url} sends this device to {url}: give `setup` the address "
                "that is meant"
            )
        return super().redirect_request(req, fp, code, msg, headers, url)


class Stream:
    """An answer that is read within a time limit, whoever trickles it."""

    def __init__(self, response: http.client.HTTPResponse, url: str) -> None:
        """Count from now."""
        self.response, self.url, self.position = response, url, begins(response)
        self.left = -1 if response.length is None else response.length
        self.deadline = time.monotonic() + DOWNLOAD_SECONDS

    def tell(self) -> int:
        """Return the position of the next byte in the file that is read."""
        return self.position

    def read(self, size: int = BLOCK) -> bytes:
        """Return up to `size` bytes, fewer only at the end; SilentError if cut off."""
        data = b""
        while len(data) < size and (block := self.read1(size - len(data))):
            data += block
        return data

    def read1(self, size: int = BLOCK) -> bytes:
        """Return what has arrived, up to `size` bytes; SilentError if cut off."""
        if not self.left:
            return b""
        if time.monotonic() > self.deadline:
            raise SilentError(f"{self.url} took over {DOWNLOAD_SECONDS:g} s")
        try:
            block = self.response.read1(min(size, BLOCK))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SilentError(f"{self.url} was cut off: {error}") from None
        if not block and self.left > 0:
            raise SilentError(f"{self.url} was cut off")
        self.left -= len(block) if self.left > 0 else 0
        self.position += len(block)
        return block


def begins(response: http.client.HTTPResponse) -> int:
    """Return at which byte of a file an answer begins; -1 where it does not say."""
    if response.status != http.client.PARTIAL_CONTENT:
        return 0
    match = RANGE.match(response.headers.get("Content-Range") or "")
    return int(match[1]) if match else -1


@contextlib.contextmanager
def fetch(
    url: str,
    allowed: Callable[[str, str], bool],
    headers: dict[str, str] | None = None,
    data: bytes | None = None,
    start: int = 0,
) -> Iterator[Any]:
    """Open an address; SilentError when it does not answer as it should in time.

    It is asked for the bytes from `start` on (RFC 9110, 14.2), or for all of them where
    it does not send these.
    """
    if urlsplit(url).scheme not in SCHEMES:
        raise SilentError(f"{url} is not an address of the web")
    request = urllib.request.Request(url, data)  # noqa: S310 (checked above)
    for name, value in (headers or {}).items():
        request.add_unredirected_header(name, value)
    if start:  # also of the host to which it is sent
        request.add_header("Range", f"bytes={start}-")
    opener = urllib.request.build_opener(Redirects(allowed))

    def call() -> Any:
        return opener.open(request, timeout=READ_SECONDS)

    try:
        response = within(OPEN_SECONDS, call)
    except HTTPError as error:
        error.close()
        if not start or error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            silent = SilentError(f"{url} answers {error.code} {error.reason}")
            silent.status = error.code
            raise silent from None
        response = None
    except TimeoutError:
        raise SilentError(f"{url} did not answer within {OPEN_SECONDS:g} s") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        clock = "; is the clock right?" if "certificate" in str(reason) else ""
        raise SilentError(f"{url} does not answer: {reason}{clock}") from None
    if response is None or not 0 <= begins(response) <= start:
        if response is not None:
            response.close()
        with fetch(url, allowed, headers, data) as stream:
            yield stream
        return
    with response:
        yield Stream(response, url)


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """Return what a call returns; TimeoutError when it takes too long.

    A socket's own limit starts again with each byte that trickles in.
    """
    outcome: list[tuple[Any, BaseException | None]] = []

    def work() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def source_of(address: str, settings: Settings, home: Path) -> Source:
    """Return the source of an address."""
    if address.startswith("github:"):
        return GitHub(address, settings.api, token(home))
    if address.startswith(("http://", "https://")):
        return Web(address)
    return Folder(address)


def token(home: Path) -> str:
    """Return the read token of EDGE_TOKEN, or of the file `token`."""
    with contextlib.suppress(OSError):
        return os.environ.get("EDGE_TOKEN") or (home / "token").read_text().strip()
    return ""


# Checks


def signed(key: Path, signature: bytes, data: bytes | Path) -> bool:
    """Tell whether a signature of some bytes, or of a file, is a key's.

    Raises:
        LaterError: openssl, which checks it, is not here.
    """
    if not shutil.which("openssl"):
        raise LaterError(
            "openssl, which checks signatures, is not on this device: install it"
        )
    with tempfile.TemporaryFile() as file:
        file.write(signature)
        file.flush()
        path = f"/dev/fd/{file.fileno()}"
        command = ["openssl", "dgst", "-sha256", "-verify", str(key)]
        command += ["-signature", path]
        try:
            done = subprocess.run(
                [*command, str(data)] if isinstance(data, Path) else command,
                input=b"" if isinstance(data, Path) else data,
                capture_output=True,
                pass_fds=[file.fileno()],
                timeout=CHECK_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise LaterError(f"openssl took over {CHECK_SECONDS:g} s") from None
    return done.returncode == 0


def check_order(home: Path, settings: Settings, state: State, offer: Offer) -> None:
    """Refuse an offer whose order has a wrong signature, or none where there was one.

    Raises:
        RefusedError: it has.
    """
    if not settings.signed:
        return
    if offer.order:
        try:
            signature = base64.b64decode(offer.order)
        except ValueError:
            signature = b""
        if not signed(home / "signing.pub", signature, offer.statement):
            raise RefusedError(f"the index of {offer.source.address} is altered")
    elif state.ordered and not isinstance(offer.source, GitHub):
        raise RefusedError(
            f"the index of {offer.source.address} is not signed, and earlier ones were"
        )


def download(home: Path, settings: Settings, offer: Offer) -> tuple[Path, str]:
    """Return the bundle of an offer, verified, and its sha256.

    Raises:
        RefusedError: its bytes are not the ones that were released.
        LaterError: it did not arrive, or the disk is full.
    """
    if not 0 < offer.size <= MAX_BUNDLE_BYTES:
        raise RefusedError(f"the bundle has {offer.size} bytes")
    if settings.signed and not offer.signature:
        raise RefusedError(f"{offer.version} is not signed, and this device has a key")
    path = part_of(home, offer)
    forget_parts(home, path)
    try:
        resumed = receive(home, offer, path)
        if resumed and sha256(path) != offer.bundle_sha256:  # then the part is at fault
            remove(path)
            receive(home, offer, path)
        return path, verified(home, settings, offer, path)
    except RefusedError:
        remove(path)
        raise
    except OSError as error:
        if error.errno in FULL:  # others need the disk, too
            remove(path)
        raise


def part_of(home: Path, offer: Offer) -> Path:
    """Return where the bundle of an offer arrives; the name says which bundle it is."""
    return home / f"bundle-{offer.bundle_sha256 or 'unknown'}.part"


def forget_parts(home: Path, kept: Path | None = None) -> None:
    """Remove what arrived of bundles, but for one that can go on."""
    for path in home.glob("bundle*.part"):
        if path != kept or path.name == "bundle-unknown.part":
            remove(path)


def receive(home: Path, offer: Offer, path: Path) -> bool:
    """Bring the bytes of a bundle that are not here yet; return whether some were.

    A download that was cut off leaves them here. Whether they are the right ones, the
    sha256 of the whole says.

    Raises:
        RefusedError: there are more bytes than the record says.
        LaterError: not all arrived, or the disk is full.
    """
    present = path.stat().st_size if path.exists() else 0
    if present > offer.size:
        remove(path)
        present = 0
    make_room(home, offer.size - present)
    if present == offer.size:
        return True
    with offer.source.bundle(offer, present) as stream, path.open("ab") as file:
        begin = size = stream.tell()  # 0 where the source sends all of it
        file.truncate(begin)
        while block := stream.read1(BLOCK):
            size += file.write(block)
            if size > offer.size:
                raise RefusedError(f"the bundle is longer than {offer.size} bytes")
        file.flush()
        os.fsync(file.fileno())
    if size != offer.size:
        raise LaterError(f"the bundle was cut off after {size} of {offer.size} bytes")
    return begin > 0


def verified(home: Path, settings: Settings, offer: Offer, path: Path) -> str:
    """Return the sha256 of a bundle that is whole.

    Raises:
        RefusedError: its bytes are not the ones that were released.
    """
    actual = sha256(path)
    if offer.bundle_sha256 and actual != offer.bundle_sha256:
        raise RefusedError(
            f"the bundle of {offer.version} is altered: its sha256 is {actual}, "
            f"expected {offer.bundle_sha256}"
        )
    if settings.signed and not signed(home / "signing.pub", offer.signature, path):
        raise RefusedError(f"{offer.version} is signed with another key than this one")
    return actual


def unpack(home: Path, bundle: Path, folder: Path) -> None:
    """Unpack a bundle into an empty folder, and make it survive a power cut.

    Raises:
        RefusedError: a name leaves the folder, an entry is no file, or it is too big.
    """
    folder.mkdir()
    try:
        with zipfile.ZipFile(bundle) as archive:
            entries = archive.infolist()
            names = {entry.filename for entry in entries}
            total = sum(entry.file_size for entry in entries)
            if len(entries) > MAX_FILES or total > 2 * MAX_BUNDLE_BYTES:
                raise RefusedError(f"the bundle has {len(entries)} files")
            if len(names) != len(entries) or not all(map(safe, names)):
                raise RefusedError("the bundle has a file that leaves its folder")
            kinds = {entry.external_attr >> 28 for entry in entries}
            if {entry.compress_type for entry in entries} - {*PACKED}:
                raise RefusedError("the bundle is not packed as a bundle is")
            if kinds - {0o0, 0o10}:  # regular files only: no links, no devices
                raise RefusedError("the bundle has an entry that is not a file")
            make_room(home, total)
            for entry in entries:
                _extract(archive, entry, folder / entry.filename)
    except ZIP_ERRORS as error:
        raise RefusedError(f"the bundle is not a zip file: {error}") from None
    except (FileExistsError, NotADirectoryError):
        raise RefusedError("the bundle has a file where another has a folder") from None
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    """Write one file of a bundle, which may not be longer than it says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    with archive.open(entry) as source, path.open("xb") as file:
        while block := source.read(BLOCK):
            left -= file.write(block)
            if left < 0:
                raise RefusedError(f"{entry.filename} is longer than the bundle says")
        file.flush()
        os.fsync(file.fileno())


def environment() -> dict[str, str]:
    """Return the environment of a version: no token, one thread."""
    hidden = {"EDGE_TOKEN"}
    return {n: v for n, v in os.environ.items() if n not in hidden} | {
        "OMP_NUM_THREADS": "1"
    }


def start(folder: Path, rows: bytes, **options: Any) -> Any:
    """Run a version on some rows; it writes no bytecode beside its files."""
    command = (sys.executable, "-B", "run.py")
    return subprocess.run(command, cwd=folder, env=environment(), input=rows, **options)


def check(folder: Path, manifest_sha256: str) -> None:
    """Run a version on a golden row; it checks all of them before it answers.

    Raises:
        RefusedError: it is another version.
        FailedError: it does not answer as reviewed on this device.
    """
    manifest = folder / "model/manifest.json"
    if not manifest.is_file() or sha256(manifest) != manifest_sha256:
        raise RefusedError("the bundle has another version than its record names")
    try:
        row = json.loads(small(manifest))["golden"][0]["row"]
        rows = json.dumps({"rows": [row]}).encode()
        done = start(folder, rows, capture_output=True, timeout=CHECK_SECONDS)
        output = json.loads(done.stdout) if done.returncode == 0 else {}
    except subprocess.TimeoutExpired:
        raise FailedError(f"it did not answer within {CHECK_SECONDS:g} s") from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise FailedError("it does not answer its golden rows") from None
    if not isinstance(output, dict) or output.get("manifest_sha256") != manifest_sha256:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1][:300] if lines else "it does not answer"
        raise FailedError(f"its golden rows do not hold on this device: {reason}")


# The update


def newest(home: Path, settings: Settings, state: State) -> tuple[Offer, list[str]]:
    """Return the newest offer of all sources, and what those without one say.

    Raises:
        SilentError: no source answers.
        UpdateError: those that answer offer nothing that may run.
    """
    offers, problems, errors = [], [], []
    for address in settings.sources:
        try:
            offer = source_of(address, settings, home).offer(settings.environment)
            check_order(home, settings, state, offer)
            offers.append(offer)
        except UpdateError as error:
            problems.append(str(error))
            errors.append(error)
    if offers:
        return max(offers, key=lambda offer: offer.seq), problems
    kinds = [RefusedError, LaterError, SilentError]
    kind = next(k for k in kinds if any(type(e) is k for e in errors))
    raise kind("; ".join(problems))


def choose(state: State, offer: Offer) -> None:
    """Refuse an offer that is older than what was followed, or withdrawn.

    Raises:
        RefusedError: it is.
    """
    current = state.current
    if offer.seq < state.seq:
        raise RefusedError(
            f"{offer.version} is older than what runs: record {offer.seq}, and this "
            f"device has followed {state.seq}. If the ledger was made anew, type "
            "`python3 update.py forget`"
        )
    if offer.manifest_sha256 in offer.withdrawn:
        raise RefusedError(f"{offer.version} was withdrawn")
    if current and offer.seq == state.seq and not is_offered(current, offer):
        raise RefusedError(
            f"record {offer.seq} names another version than it did: what runs stays. "
            "Find out who changed the source"
        )


def followed(state: State, offer: Offer) -> State:
    """Return the state after a record's order and withdrawals are known."""
    withdrawn = {*state.withdrawn, *offer.withdrawn} - {offer.manifest_sha256}
    ordered = state.ordered or bool(offer.order)
    return replace(
        state, seq=offer.seq, withdrawn=tuple(sorted(withdrawn)), ordered=ordered
    )


def is_offered(version: Installed | None, offer: Offer) -> bool:
    """Tell whether an installed version is what an offer names."""
    return (
        version is not None
        and version.manifest_sha256 == offer.manifest_sha256
        and offer.bundle_sha256 in ("", version.bundle_sha256)
    )


def install(home: Path, settings: Settings, state: State, offer: Offer) -> None:
    """Bring an offer to this device and switch to it.

    Raises:
        UpdateError: it is refused, or failed; nothing has changed.
    """
    spare = state.spare
    if spare and is_offered(spare, offer) and not damage(home, spare):
        version = replace(spare, seq=offer.seq, deployment_id=offer.deployment_id)
        check(folder_of(home, version), version.manifest_sha256)
    else:
        version = bring(home, settings, offer)
    describe(home, version)
    before = state.current
    if before and (before.bundle_sha256 == version.bundle_sha256):
        before = spare  # the current one was damaged and is here again
    switched = replace(followed(state, offer), current=version, spare=before)
    switched = replace(switched, failed="", tries=0, wait=0)
    save(home, switched)
    forget_parts(home)
    clean(home, switched)


def bring(home: Path, settings: Settings, offer: Offer) -> Installed:
    """Download, verify and unpack a bundle, check its golden rows; return it."""
    offer = offer.source.complete(offer)
    bundle, digest = download(home, settings, offer)
    try:
        return unpacked(home, offer, bundle, digest)
    except RefusedError:  # else it would go on where nothing is missing
        remove(bundle)
        raise


def unpacked(home: Path, offer: Offer, bundle: Path, digest: str) -> Installed:
    """Unpack a verified bundle, check its files and golden rows; return it."""
    part = home / "versions" / "part"
    remove(part)
    unpack(home, bundle, part)
    try:
        sums = small(part / "SHA256SUMS")
        listed = listing(sums)
    except (OSError, ValueError):
        raise RefusedError("the bundle has no list of its files") from None
    version = Installed(
        offer.seq,
        offer.version,
        offer.manifest_sha256,
        digest,
        hashlib.sha256(sums).hexdigest(),
        offer.deployment_id,
    )
    present = {p.relative_to(part).as_posix() for p in part.rglob("*") if p.is_file()}
    if present != {*listed, "SHA256SUMS"}:
        raise RefusedError("the bundle's files are not the ones that it lists")
    for name in listed:
        if sha256(part / name) != listed[name]:
            raise RefusedError(f"{name} of the bundle is altered")
    check(part, version.manifest_sha256)
    folder = folder_of(home, version)
    remove(folder)  # a damaged copy of the same
    os.rename(part, folder)
    return version


def describe(home: Path, version: Installed) -> None:
    """Write beside a version what it is; this makes its folder's name last, too."""
    path = home / "versions" / f"{version.bundle_sha256}.json"
    write(path, (json.dumps(asdict(version)) + "\n").encode())


def clean(home: Path, state: State) -> None:
    """Remove what killed updates left, and versions that are neither of the two."""
    (home / "versions").mkdir(exist_ok=True)
    kept = {v.bundle_sha256 for v in (state.current, state.spare) if v}
    for path in (home / "versions").iterdir():
        if path.name.removesuffix(".json") not in kept:
            remove(path)


def runnable(home: Path, state: State) -> tuple[Installed | None, str]:
    """Return the version that runs, and why it is not the current one."""
    problem = ""
    for version in (state.current, state.spare):
        if version is None:
            continue
        if version is state.spare and version.manifest_sha256 in state.withdrawn:
            problem += f"; {version.version} before it was withdrawn"
            continue
        if not (reason := damage(home, version)):
            return version, problem
        problem += f"; {version.version}: {reason}" if problem else reason
    return None, problem or "no version was installed yet"


def step(home: Path, settings: Settings, looks: int) -> tuple[str, str]:
    """Look once, with the lock held; return the state to report and why."""
    state = state_of(home)
    clean(home, state)
    offer, problems = newest(home, settings, state)
    choose(state, offer)
    broken = damage(home, state.current) if state.current else ""
    if is_offered(state.current, offer) and not broken:
        if (following := followed(state, offer)) != state:
            save(home, following)
        forget_parts(home)
        return "current", "; ".join(problems)
    if state.failed == offer.key and looks < state.wait:
        raise FailedError(f"{offer.version} failed here {state.tries} times")
    try:
        taken = offer.source.withdrawn(settings.environment, state, offer)
        install(home, settings, state, replace(offer, withdrawn=tuple(taken)))
    except FailedError as error:
        tries = state.tries + 1 if state.failed == offer.key else 1
        wait = looks + min(2**tries, MAX_WAIT)
        save(home, replace(state, failed=offer.key, tries=tries, wait=wait))
        raise FailedError(f"{offer.version}: {error}") from None
    return "current", "; ".join(problems)


def look(home: Path) -> Record:
    """Look for a newer version once and return the report, which is also sent.

    Raises:
        UpdateError: this device is not set up, or another update is running.
    """
    settings = settings_of(home)
    before = last_report(home)
    looks = before.get("looks") if type(before.get("looks")) is int else 0
    looks = int(looks or 0) + 1
    try:
        with only_one(home):
            try:
                outcome, reason = step(home, settings, looks)
            except SilentError as error:
                outcome, reason = "offline", str(error)
            except RefusedError as error:
                outcome, reason = "refused", str(error)
            except LaterError as error:
                outcome, reason = "behind", str(error)
            except OSError as error:
                outcome, reason = "behind", explain(error, home)
            except Exception as error:  # whatever a source sent: the report says so
                outcome, reason = "behind", f"{type(error).__name__}: {error}"
            report = report_of(home, settings, outcome, reason, looks)
            deliver(home, settings, report, before)
            return report
    except LaterError as error:
        if "another update" in str(error):
            raise
        report = report_of(home, settings, "behind", str(error), looks)
        deliver(home, settings, report, before)
        return report


# Reports


def last_report(home: Path) -> Record:
    """Return the report of the look before, or nothing."""
    with contextlib.suppress(OSError, ValueError):
        return load(home / "report.json")
    return {}


def report_of(
    home: Path, settings: Settings, outcome: str, reason: str, looks: int
) -> Record:
    """Return what runs here, as a report: small, without anything personal."""
    state = state_of(home)
    version, problem = runnable(home, state)
    if version is None:
        outcome = outcome if outcome != "current" else "damaged"
    elif problem:
        outcome = "damaged"
    return {
        "schema": 1,
        "device": settings.device,
        "environment": settings.environment,
        "state": outcome if version or outcome != "offline" else "none",
        "reason": "; ".join(text for text in (reason, problem) if text)[:1000],
        "version": version.version if version else None,
        "manifest_sha256": version.manifest_sha256 if version else None,
        "seq": version.seq if version else None,
        "spare": state.spare.version if state.spare else None,
        "looks": looks,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),  # by this clock
    }


def deliver(home: Path, settings: Settings, report: Record, before: Record) -> None:
    """Keep a report here and send it; what cannot be done is said and not fatal."""
    data = (json.dumps(report, indent=1) + "\n").encode()
    try:
        write(home / "report.json", data)
    except OSError as error:
        say(f"the report is not kept: {explain(error, home)}.")
    target = settings.report
    try:
        if target.startswith("github:"):
            deployment_status(home, settings, report, before)
        elif target.startswith(("http://", "https://")):
            kind = {"Content-Type": "application/json"}
            with fetch(target, same_origin, kind, data) as stream:
                stream.read(1000)
        elif target:
            write(Path(target, f"{settings.device}.json"), data)
    except (UpdateError, OSError) as error:
        say(f"the report is not sent: {error}.")


def deployment_status(
    home: Path, settings: Settings, report: Record, before: Record
) -> None:
    """Tell GitHub, when something changed, how a deployment goes on this device."""
    changed = ("state", "manifest_sha256", "seq")
    current = state_of(home).current
    number = current.deployment_id if current else None
    if number is None or all(report[n] == before.get(n) for n in changed):
        return
    source = GitHub(settings.report, settings.api, token(home))
    good = report["state"] == "current"
    text = f"{settings.device}: {report['reason'] or report['version']}"
    body = {"state": "success" if good else "failure", "description": text[:140]}
    url = f"{source.repository}/deployments/{number}/statuses"
    head = source.headers(url) | {"Content-Type": "application/json"}
    with fetch(url, same_origin, head, json.dumps(body).encode()) as stream:
        stream.read(1000)


# Commands


def run(home: Path, rows: bytes) -> int:
    """Predict rows with the version that is installed; return its exit status.

    It writes nothing, so that a read-only or full disk does not matter.

    Raises:
        RefusedError: no version is whole.
    """
    version, problem = runnable(home, state_of(home))
    if version is None:
        raise RefusedError(f"no version can run here: {problem}")
    if problem:
        say(f"{version.version} runs, the one before: {problem}.")
    return int(start(folder_of(home, version), rows).returncode)


def setup(home: Path, options: argparse.Namespace) -> None:
    """Write the settings of this device.

    Raises:
        RefusedError: one of them cannot be used.
    """
    if not NAME.fullmatch(options.environment):
        raise RefusedError(f"{options.environment!r} is not an environment's name")
    device = options.device or os.uname().nodename
    if not DEVICE.fullmatch(device):
        raise RefusedError(f"{device!r} is not a device's name: give --device")
    if bool(options.key) == options.no_key:
        raise RefusedError(
            "give --key signing.pub, the file of main, or --no-key if its releases "
            "are not signed"
        )
    if options.key and not shutil.which("openssl"):
        raise RefusedError(
            "openssl, which checks signatures, is not on this device: install it, or "
            "give --no-key and trust the source"
        )
    for address in (*options.source, options.report):
        url = urlsplit(address)
        if url.scheme == "http" and options.no_key and url.hostname not in LOOPBACK:
            raise RefusedError(
                f"whoever is between this device and {address} could replace the "
                "model: give an address that begins with https://, or --key"
            )
    url = urlsplit(options.api)
    if url.scheme != "https" and url.hostname not in LOOPBACK:
        raise RefusedError(f"--api {options.api} would get the token unencrypted")
    if options.key:
        key = Path(options.key).read_bytes()
        if not key.startswith(b"-----BEGIN PUBLIC KEY-----"):
            raise RefusedError(f"{options.key} is not a public key")
        write(home / "signing.pub", key)
    settings = Settings(
        options.environment,
        device,
        tuple(options.source),
        bool(options.key),
        options.report,
        options.api,
    )
    data = json.dumps(asdict(settings), indent=1)
    write(home / "settings.json", f"{data}\n".encode())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--home", default=str(Path(__file__).resolve().parent))
    commands = top.add_subparsers(dest="command")
    make = commands.add_parser("setup", help="say what this device follows")
    make.add_argument("--environment", required=True)
    make.add_argument("--source", action="append", required=True)
    make.add_argument("--key", default="", help="signing.pub of the repository")
    make.add_argument("--no-key", action="store_true", help="releases are not signed")
    make.add_argument("--device", default="", help="its name in reports")
    make.add_argument("--report", default="", help="an address or a folder")
    make.add_argument("--api", default=API, help="of GitHub Enterprise")
    commands.add_parser("look", help="look for a newer version once (the default)")
    commands.add_parser("run", help="predict rows from standard input")
    commands.add_parser("status", help="print the last report")
    commands.add_parser("forget", help="follow a ledger that was made anew")
    return top


def main() -> None:
    """Do what the command line says; an error is one sentence."""
    options = parser().parse_args()
    home = Path(options.home)
    try:
        if options.command == "setup":
            setup(home, options)
        elif options.command == "run":
            raise SystemExit(run(home, sys.stdin.buffer.read()))
        elif options.command == "status":
            print(json.dumps(last_report(home), indent=1))
        elif options.command == "forget":
            with only_one(home):
                save(home, replace(state_of(home), seq=-1))
        else:
            report = look(home)
            print(json.dumps(report, indent=1))
            if report["state"] not in ("current", "offline"):
                raise SystemExit(1)
    except (UpdateError, OSError) as error:
        raise SystemExit(f"refused: {error}.") from None


if __name__ == "__main__":
    main()
