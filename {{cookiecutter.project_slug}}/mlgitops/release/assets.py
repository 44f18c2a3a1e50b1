"""The GitHub Release of a version: the files that targets download."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlgitops import github
from mlgitops.release import ReleaseError
from mlgitops.release.registry import Version
from mlgitops.serving.verify import VerifyError, verify

FILES = ("manifest.json", "model.onnx", "contract.yaml")
AT_ONCE = 8  # files on their way at a time
Asset = dict[str, Any]


def put(version: Version, files: dict[str, bytes], notes: str) -> str:
    """Make the release complete and return its address; what is there is kept.

    Raises:
        ReleaseError: the release holds other bytes under one of the names.
    """
    release = find(version.tag) or _create(version, notes)
    present = {str(asset["name"]): asset for asset in release.get("assets") or []}

    def one(name: str) -> None:
        _put(version, release["id"], present.get(name), name, files[name])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(one, files))
    return str(release.get("html_url", ""))


def _put(
    version: Version, release: int, asset: Asset | None, name: str, data: bytes
) -> None:
    """Make one file of a release complete."""
    if asset and asset.get("state", "uploaded") != "uploaded":
        github.api(f"releases/assets/{asset['id']}", "DELETE", raw=True)
        asset = None  # an upload that broke off
    asset = asset or _upload(version, release, name, data)
    if asset and name in FILES and _sha256(asset) != hashlib.sha256(data).hexdigest():
        raise ReleaseError(
            f"the release {version.tag} holds another {name}: a version never "
            "changes; find out who replaced that file before anything is deployed"
        )


def find(tag: str) -> dict[str, Any] | None:
    """Return the release of a tag, or None."""
    try:
        return dict(github.api(f"releases/tags/{quote(tag, safe='@')}"))
    except github.GitHubError as error:
        if error.status == 404:
            return None
        raise


def bring(version: Version, folder: Path) -> dict[str, Any]:
    """Download a version from its release, verify it, and return its manifest.

    Raises:
        ReleaseError: a file is missing, or is not the one that was registered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed = {a["name"]: a for a in (find(version.tag) or {}).get("assets") or []}
    found = [_listed(version, listed, name) for name in FILES]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, data in zip(FILES, pool.map(_bytes, found), strict=True):
            (folder / name).write_bytes(data)
    try:
        return verify(folder, version.manifest_sha256)
    except VerifyError as error:
        raise ReleaseError(f"the release {version.tag} is altered: {error}") from error


def _listed(version: Version, listed: dict[str, Asset], name: str) -> Asset:
    """Return a file that a release has to have."""
    if name in listed:
        return listed[name]
    raise ReleaseError(
        f"the release {version.tag} has no {name}: bring it back with "
        f"`gh release upload {version.tag} {name}`"
    )


def _create(version: Version, notes: str) -> dict[str, Any]:
    """Open the release of a tag that origin has."""
    fields = {"tag_name": version.tag, "name": version.tag, "body": notes}
    try:
        return dict(github.api("releases", "POST", fields))
    except github.GitHubError:
        if found := find(version.tag):  # somebody else was faster
            return found
        raise


def _upload(
    version: Version, release: int, name: str, data: bytes
) -> dict[str, Any] | None:
    """Add one file to a release; return the one that is there if another was faster."""
    place = f"https://uploads.github.com/repos/{github.repo()}/releases/{release}"
    try:
        github.api(f"{place}/assets?name={quote(name)}", "POST", data=data)
    except github.GitHubError as error:
        there = (find(version.tag) or {}).get("assets") or []
        for asset in there if error.status == 422 else []:
            if asset["name"] == name:
                return dict(asset)
        raise
    return None


def _sha256(asset: dict[str, Any]) -> str:
    """Return an asset's sha256, from GitHub or from its bytes."""
    digest = str(asset.get("digest") or "")
    if digest.startswith("sha256:"):
        return digest.removeprefix("sha256:")
    return hashlib.sha256(_bytes(asset)).hexdigest()


def _bytes(asset: dict[str, Any]) -> bytes:
    """Download one file of a release."""
    path = f"releases/assets/{asset['id']}"
    return bytes(github.api(path, raw=True, accept="application/octet-stream"))
