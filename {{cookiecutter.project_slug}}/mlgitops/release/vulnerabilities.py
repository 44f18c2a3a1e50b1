"""Known vulnerabilities of locked packages and of what an image holds.

Asked of OSV (https://osv.dev), which gathers the advisories of PyPI, GitHub and Debian:
its public interface takes names and versions, and needs no account.
"""

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from packaging.version import InvalidVersion, Version

from mlgitops.release import Record, bom, image

OSV = "https://api.osv.dev"
BATCH = 1000  # packages in one question, the most that OSV takes
MOST = 2000  # advisories that are read; more are counted as found and not described
TRIES, PAUSE, PATIENCE = 3, 2.0, 30.0  # requests, and seconds
BROKEN = (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError)
# What a server's image holds, by the files of Debian and the packages of its Python.
LIST = """
import importlib.metadata as m, json, pathlib as p
read = lambda name: p.Path(name).read_text() if p.Path(name).is_file() else ""
print(json.dumps({"release": read("/etc/os-release"),
    "dpkg": read("/var/lib/dpkg/status"),
    "python": sorted({(d.metadata["Name"], d.version) for d in m.distributions()})}))
"""


class ScanError(Exception):
    """OSV gave no answer: nothing is known, and why."""


class Package(NamedTuple):
    """A package of one version, as OSV names it."""

    ecosystem: str
    name: str
    version: str


class Finding(NamedTuple):
    """A known vulnerability of a package; ``fixed`` is the version to take, or ""."""

    package: Package
    where: str
    id: str
    summary: str
    fixed: str


def locked(files: Iterable[Path]) -> dict[Package, str]:
    """Return the packages of locks, each with the files that name it."""
    sources: dict[Package, list[str]] = {}
    for file in files:
        for pin in bom.pinned(file.read_text(encoding="utf-8")):
            package = Package("PyPI", str(pin["name"]), str(pin["version"]))
            sources.setdefault(package, []).append(file.as_posix())
    return {package: ", ".join(names) for package, names in sources.items()}


def inside(name: str) -> dict[Package, str]:
    """Return the packages of an image, each with the image's name.

    Raises:
        ReleaseError: the image cannot be pulled or read.
    """
    image.login(name.split("/")[0])
    image.docker("pull", "--quiet", name)
    options = ("run", "--rm", "--network=none", *image.HARD, "--entrypoint=python")
    listed = json.loads(image.docker(*options, name, "-c", LIST))
    packages = [Package("PyPI", *pair) for pair in listed["python"]]
    packages += debian(listed["release"], listed["dpkg"])
    return dict.fromkeys(packages, name)


def debian(release: str, status: str) -> list[Package]:
    """Return the source packages that dpkg says are installed."""
    system = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', release, re.M))
    if system.get("ID") != "debian":
        return []
    ecosystem = f"Debian:{system.get('VERSION_ID', '')}"
    field, installed = r"^(Package|Source|Version|Status): (.*)$", set()
    for block in status.split("\n\n"):
        fields = dict(re.findall(field, block, re.M))
        if fields.get("Status", "").endswith(" installed"):
            source = re.fullmatch(r"(\S+)(?: \((.+)\))?", fields.get("Source", ""))
            name, version = source.groups() if source else (fields["Package"], None)
            installed.add(Package(ecosystem, name, version or fields["Version"]))
    return sorted(installed)


def known(packages: dict[Package, str]) -> list[Finding]:
    """Return what is known of packages, one entry for each vulnerability.

    Raises:
        ScanError: OSV cannot be reached, or answers something else.
    """
    ids: dict[str, list[Package]] = {}
    try:
        for package, names in _ask(list(packages)):
            for name in names:
                ids.setdefault(name, []).append(package)
        with ThreadPoolExecutor(8) as pool:
            details = dict(zip(ids, pool.map(_detail, list(ids)[:MOST]), strict=False))
    except BROKEN as error:
        raise ScanError(f"{OSV} gave no answer ({error})") from error
    findings = [
        _finding(details.get(name, {}), name, package, packages[package])
        for name, several in ids.items()
        if not details.get(name, {}).get("withdrawn")
        for package in several
    ]
    return sorted(_once(findings, details))


def _ask(packages: list[Package]) -> Iterator[tuple[Package, list[str]]]:
    """Yield each package with the ids of its vulnerabilities."""
    pages = {package: "" for package in packages}
    while pages:
        batch = list(pages)[:BATCH]
        queries = [_query(package, pages.pop(package)) for package in batch]
        results = _get("/v1/querybatch", {"queries": queries})["results"]
        for package, result in zip(batch, results, strict=True):
            yield package, [str(each["id"]) for each in result.get("vulns") or []]
            if token := result.get("next_page_token"):
                pages[package] = str(token)


def _query(package: Package, page: str) -> Record:
    """Return a question about a package, or about the next page of its answer."""
    name = {"ecosystem": package.ecosystem, "name": package.name}
    query: Record = {"package": name, "version": package.version}
    return query | ({"page_token": page} if page else {})


def _detail(name: str) -> Record:
    """Return what OSV knows of one vulnerability."""
    return _get(f"/v1/vulns/{urllib.parse.quote(name, safe='')}")


def _finding(detail: Record, name: str, package: Package, where: str) -> Finding:
    """Return a vulnerability of a package, with the version that mends it."""
    fixed = []
    for affected in detail.get("affected") or []:
        about = affected.get("package") or {}
        if (about.get("ecosystem"), _plain(about.get("name"))) != (
            package.ecosystem,
            _plain(package.name),
        ):
            continue
        for part in affected.get("ranges") or []:
            events = part.get("events") or [] if part.get("type") == "ECOSYSTEM" else []
            fixed += [str(event["fixed"]) for event in events if "fixed" in event]
    summary = str(detail.get("summary") or "")
    return Finding(package, where, name, summary, _next(package, fixed))


def _plain(name: object) -> str:
    """Return a package's name as it is compared: my_pkg and My.Pkg are my-pkg."""
    return re.sub(r"[-_.]+", "-", str(name)).lower()


def _next(package: Package, fixed: list[str]) -> str:
    """Return the first fixed version after a package's own; "" if there is none."""
    if package.ecosystem != "PyPI":  # Debian has one fixed version, ordered its own way
        return fixed[0] if fixed else ""
    try:
        own = Version(package.version)
        return min((f for f in fixed if Version(f) > own), key=Version, default="")
    except InvalidVersion:
        return fixed[-1] if fixed else ""


def _once(findings: list[Finding], details: dict[str, Record]) -> Iterator[Finding]:
    """Yield one finding where several ids are names of the same vulnerability."""
    seen: set[tuple[Package, str]] = set()
    for finding in sorted(findings, key=lambda each: (not each.fixed, each.id)):
        aliases = details.get(finding.id, {}).get("aliases") or []
        names = {(finding.package, str(each)) for each in (finding.id, *aliases)}
        if not names & seen:
            yield finding
        seen |= names


def _get(path: str, body: object = None) -> Record:
    """Return OSV's JSON; what is the network's fault is tried again."""
    data = None if body is None else json.dumps(body).encode()
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(OSV + path, data, head)  # noqa: S310 (https)
    for attempt in range(TRIES):
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310
                return dict(json.loads(response.read()))
        except (OSError, HTTPException) as error:
            status = error.code if isinstance(error, urllib.error.HTTPError) else 500
            if status < 500 or attempt == TRIES - 1:
                raise
        time.sleep(PAUSE * (attempt + 1))
    raise ScanError(f"{OSV} gave no answer")


def images(releases: Iterable[Record | None]) -> list[str]:
    """Return the images that environments run, each once."""
    return sorted({str(r["image"]) for r in releases if r and r.get("image")})
