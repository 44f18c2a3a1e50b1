"""The GitHub Release of a version: the files that targets download."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NotRequired, TypedDict
from urllib.parse import quote

from mlgitops import github
from mlgitops.release import Record, ReleaseError
from mlgitops.release.registry import Version
from mlgitops.serving.verify import VerifyError, verify

FILES = ("manifest.json", "model.onnx", "contract.yaml")
AT_ONCE = 8  # files on their way at a time


class Asset(TypedDict):
    """A file of a release, as GitHub describes it."""

    id: int
    name: str
    state: NotRequired[str]
    digest: NotRequired[str | None]


class Release(TypedDict):
    """A GitHub Release, as GitHub describes it."""

    id: int
    html_url: str
    assets: list[Asset]


def put(version: Version, files: dict[str, bytes], notes: str) -> str:
    """Make the release complete and return its address; what is there is kept.

    Raises:
        ReleaseError: the release holds other bytes under one of the names.
    """
    release = find(version.tag) or _create(version, notes)
    present = {asset["name"]: asset for asset in release["assets"]}

    def put_file(name: str) -> None:
        data, asset = files[name], present.get(name)
        if asset and asset.get("state", "uploaded") != "uploaded":
            github.api(f"releases/assets/{asset['id']}", "DELETE", raw=True)
            asset = None  # an upload that broke off
        asset = asset or _upload(version, release["id"], name, data)
        if not asset or name not in FILES:
            return
        if _sha256(asset) != hashlib.sha256(data).hexdigest():
            raise ReleaseError(
                f"the release {version.tag} holds another {name}: a version never "
                "changes; find out who replaced that file before anything is deployed"
            )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(put_file, files))
    return release["html_url"]


def find(tag: str) -> Release | None:
    """Return the release of a tag, or None."""
    try:
        release: Release = github.api(f"releases/tags/{quote(tag, safe='@')}")
    except github.GitHubError as error:
        if error.status == 404:
            return None
        raise
    return release


def bring(version: Version, folder: Path) -> Record:
    """Download a version from its release, verify it, and return its manifest.

    Raises:
        ReleaseError: a file is missing, or is not the one that was registered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    release = find(version.tag)
    present = {asset["name"]: asset for asset in (release["assets"] if release else [])}
    for name in FILES:
        if name not in present:
            raise ReleaseError(
                f"the release {version.tag} has no {name}: bring it back with "
                f"`gh release upload {version.tag} {name}`"
            )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        contents = pool.map(_download, [present[name] for name in FILES])
        for name, data in zip(FILES, contents, strict=True):
            (folder / name).write_bytes(data)
    try:
        return verify(folder, version.manifest_sha256)
    except VerifyError as error:
        raise ReleaseError(f"the release {version.tag} is altered: {error}") from error


def _create(version: Version, notes: str) -> Release:
    """Open the release of a tag that origin has."""
    fields = {"tag_name": version.tag, "name": version.tag, "body": notes}
    try:
        release: Release = github.api("releases", "POST", fields)
    except github.GitHubError:
        if existing := find(version.tag):  # another run was faster
            return existing
        raise
    return release


def _upload(version: Version, release: int, name: str, data: bytes) -> Asset | None:
    """Add one file to a release; return the one that is there if another was faster."""
    url = f"https://uploads.github.com/repos/{github.repo()}/releases/{release}/assets"
    try:
        github.api(f"{url}?name={quote(name)}", "POST", data=data)
    except github.GitHubError as error:
        existing = find(version.tag) if error.status == 422 else None
        for asset in existing["assets"] if existing else []:
            if asset["name"] == name:
                return asset
        raise
    return None


def _sha256(asset: Asset) -> str:
    """Return an asset's sha256, from GitHub or from its bytes."""
    digest = asset.get("digest") or ""
    if digest.startswith("sha256:"):
        return digest.removeprefix("sha256:")
    return hashlib.sha256(_download(asset)).hexdigest()


def _download(asset: Asset) -> bytes:
    """Download one file of a release."""
    path = f"releases/assets/{asset['id']}"
    return bytes(github.api(path, raw=True, accept="application/octet-stream"))
