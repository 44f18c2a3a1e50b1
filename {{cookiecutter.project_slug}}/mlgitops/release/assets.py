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
Files = dict[str, bytes]


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
    upload_url: str  # a template, on a host of its own
    draft: NotRequired[bool]
    immutable: NotRequired[bool]  # published, where the repository wants it so
    assets: list[Asset]


@github.repeated
def put(version: Version, files: Files, notes: str) -> str:
    """Make the release complete and return its address; what is there is kept.

    It is published when it has its files: where releases are immutable, nothing can be
    added later.

    Raises:
        ReleaseError: the release holds other bytes under one of the names, or lacks one
            and is immutable.
    """
    release = find(version.tag) or _draft(version, notes)
    if release.get("immutable"):
        _complete(version, release, files)
        return release["html_url"]
    present = {asset["name"]: asset for asset in release["assets"]}

    def put_file(name: str) -> None:
        data, asset = files[name], present.get(name)
        if asset and asset.get("state", "uploaded") != "uploaded":
            github.remove(f"releases/assets/{asset['id']}")
            asset = None  # an upload that broke off
        asset = asset or _upload(release, name, data)
        if asset and name in FILES:
            _same(version, asset, data)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(put_file, files))
    return _publish(version, release, files)["html_url"]


def _same(version: Version, asset: Asset, data: bytes) -> None:
    """Refuse a file of a release that has other bytes."""
    if _sha256(asset) != hashlib.sha256(data).hexdigest():
        raise ReleaseError(
            f"the release {version.tag} holds another {asset['name']}: a version never "
            "changes; find out who replaced that file before anything is deployed"
        )


def _complete(version: Version, release: Release, files: Files) -> None:
    """Check a release to which nothing can be added; say which documents it lacks.

    Raises:
        ReleaseError: it lacks a file that targets need, or holds another one.
    """
    present = {asset["name"]: asset for asset in release["assets"]}
    missing = sorted(files.keys() - present.keys())
    if needed := sorted(set(FILES) & set(missing)):
        raise ReleaseError(
            f"the release {version.tag} is immutable and has no {', '.join(needed)}: "
            "no file can be added; change the model and propose it as a new version"
        )
    if missing:
        print(f"the release {version.tag} is immutable: without {', '.join(missing)}")
    for name in FILES:
        _same(version, present[name], files[name])


def find(tag: str) -> Release | None:
    """Return the published release of a tag, or None."""
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
        contents = pool.map(download, [present[name] for name in FILES])
        for name, data in zip(FILES, contents, strict=True):
            (folder / name).write_bytes(data)
    try:
        return verify(folder, version.manifest_sha256)
    except VerifyError as error:
        raise ReleaseError(f"the release {version.tag} is altered: {error}") from error


def _draft(version: Version, notes: str) -> Release:
    """Return the draft of a version's release: an unfinished one, or a new one."""
    for release in github.pages("releases"):
        if release["tag_name"] == version.tag and release.get("draft"):
            unfinished: Release = release
            return unfinished
    fields = {"tag_name": version.tag, "name": version.tag, "body": notes}
    draft: Release = github.api("releases", "POST", {**fields, "draft": True})
    return draft


def _publish(version: Version, release: Release, files: Files) -> Release:
    """Publish a draft; if another run was faster, take its release, without the draft.

    Raises:
        ReleaseError: the other run's release is not complete.
    """
    if not release.get("draft"):
        return release
    path = f"releases/{release['id']}"
    try:
        published: Release = github.api(path, "PATCH", {"draft": False})
    except github.GitHubError as error:
        existing = find(version.tag) if error.status in (404, 422) else None
        if existing is None:
            raise
        _complete(version, existing, files)
        if existing["id"] != release["id"]:
            github.remove(path)
        return existing
    return published


def _upload(release: Release, name: str, data: bytes) -> Asset | None:
    """Add one file to a release; return the one that is there if another was faster."""
    url = release["upload_url"].partition("{")[0]
    try:
        github.api(f"{url}?name={quote(name)}", "POST", data=data)
    except github.GitHubError as error:
        if error.status != 422:
            raise
        for asset in github.pages(f"releases/{release['id']}/assets"):
            if asset["name"] == name:
                existing: Asset = asset
                return existing
        raise
    return None


def _sha256(asset: Asset) -> str:
    """Return an asset's sha256, from GitHub or from its bytes."""
    digest = asset.get("digest") or ""
    if digest.startswith("sha256:"):
        return digest.removeprefix("sha256:")
    return hashlib.sha256(download(asset)).hexdigest()


def download(asset: Asset) -> bytes:
    """Download one file of a release."""
    path = f"releases/assets/{asset['id']}"
    return bytes(github.api(path, raw=True, accept="application/octet-stream"))
