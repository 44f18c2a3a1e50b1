"""What a version's GitHub Release carries, and the image of a release."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from mlgitops import github
from mlgitops.ledger import Ledger
from mlgitops.release import (
    Record,
    ReleaseError,
    assets,
    bom,
    card,
    image,
    server,
    signature,
)
from mlgitops.release.eligibility import Candidate
from mlgitops.release.registry import Version
from mlgitops.serving import openapi

EDGE = Path("deploy/edge")
REPORT = "report.html"
EXPLAINED = "explained.html"  # for all who see the release: it has no single row
DOCUMENTS = {  # that the notes link to
    "README.md": "the model card",
    REPORT: "what the reviewer saw",
    EXPLAINED: "where it fails, whom it treats differently, what it learnt from",
}


def publish(
    version: Version,
    candidate: Candidate,
    ledger: Ledger,
    path: str,
    page: assets.Files,
) -> str:
    """Put everything that belongs to a version on its GitHub Release; its address.

    ``path`` is where the ledger holds the verdict that allows it, ``page`` what
    explains it, if there is one.
    """
    files = {name: (candidate.folder / name).read_bytes() for name in assets.FILES}
    signed = ["manifest.json"]
    files["verdict.json"] = ledger.read_bytes(path) or b"{}"
    verdict = json.loads(files["verdict.json"])
    files |= described(version, candidate, verdict, files["contract.yaml"], bool(page))
    files |= {REPORT: reviewed(ledger, verdict), **page}
    if EDGE.is_dir():
        name = f"{candidate.manifest['name']}-{version.version}-edge.zip"
        files[name] = edge(candidate.folder)
        signed.append(name)
    files |= signature.of_files(files, signed)
    notes = (
        f"`{version.tag}` is the manifest with sha256\n\n"
        f"`{version.manifest_sha256}`\n\n"
        f"built from {version.commit}. Check a download with "
        "`python -m mlgitops verify FOLDER SHA256`."
    )
    for name, title in DOCUMENTS.items():
        if name in files:
            tag = quote(version.tag, safe="@")
            url = github.page_url(f"releases/download/{tag}/{name}")
            notes += f"\n\n[{name}]({url}): {title}"
    return assets.put(version, files, notes)


def described(
    version: Version,
    candidate: Candidate,
    verdict: Record,
    contract: bytes,
    explained: bool,
) -> dict[str, bytes]:
    """Return the model card, the server's description and the bills of materials.

    The card links to the page that explains the version, if it is `explained`.
    """
    manifest, code = candidate.manifest, server.at("HEAD")
    served = openapi.of(contract, manifest, version.manifest_sha256, version.version)
    page = EXPLAINED if explained else ""
    files = {
        openapi.FILE: openapi.text(served),
        card.FILE: card.card(version, manifest, verdict, contract, page).encode(),
        "model.cdx.json": bom.model(version, manifest, verdict),
    }
    pins = Path("mlgitops/requirements/serving.txt")
    if pins.is_file():  # one bill for each server that a version has had
        name = f"server-{code.sha256[:12]}.cdx.json"
        text = pins.read_text(encoding="utf-8")
        files[name] = bom.server(version, manifest, code, text)
    return files


def reviewed(ledger: Ledger, verdict: Record) -> bytes:
    """Return the report that was reviewed with a verdict, byte for byte.

    Raises:
        ReleaseError: the ledger's report is not the one that the verdict names.
    """
    path, sha256 = verdict["report"]["path"], verdict["report"]["sha256"]
    html = ledger.read_bytes(path)
    if html is None or hashlib.sha256(html).hexdigest() != sha256:
        raise ReleaseError(
            f"{path} on the ledger is not the report that was reviewed: find out who "
            "changed it before anything is deployed"
        )
    return html


def edge(folder: Path) -> bytes:
    """Return the edge bundle of a folder with a whole version.

    Raises:
        ReleaseError: it was not built; why.
    """
    with TemporaryDirectory() as name:
        target = Path(name, "edge.zip")
        command = (sys.executable, "-m", "mlgitops", "edge", str(folder), str(target))
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ReleaseError(f"no edge bundle: {done.stderr.strip()}")
        return target.read_bytes()


def image_of(version: Version) -> str | None:
    """Return the image of a version with this commit's server, by digest, or None.

    Built once: the one that an environment has had is taken again.

    Raises:
        ReleaseError: an image is asked for, and it was not built, tried or pushed.
    """
    registry, code = image.registry(), server.at("HEAD")
    if not registry:
        return None
    release = (version.manifest_sha256, code.sha256)
    for record in Ledger().releases():
        digest = str(record.get("image") or "")
        same = server.identity(record) == release and signature.trusted(record)
        if same and digest.startswith(f"{registry}@"):
            return digest
    if not image.engine():
        raise ReleaseError(
            f"no container engine answers here, and {registry} needs an image: run "
            "`deploy` where docker is, or delete the variable IMAGE_REGISTRY"
        )
    with TemporaryDirectory() as name:
        manifest = assets.bring(version, Path(name))
        built = image.build(Path(name), version.version, code.sha256)
        image.check(built, version.manifest_sha256)
        image.smoke(built, manifest, version.manifest_sha256, code.sha256)
        return image.push(built, registry, f"{version.version}-{code.sha256[:12]}")


def attestable() -> bool:
    """Tell whether GitHub attests here: public repositories, and plans that pay."""
    setting = os.environ.get("ATTEST", "").strip().lower()
    repository = github.event().get("repository") or {}
    return (setting or str(repository.get("visibility") == "public").lower()) == "true"


def subjects(version: Version, digest: str | None) -> str:
    """Return what a build provenance is about, as checksums with names."""
    with TemporaryDirectory() as folder:
        manifest = assets.bring(version, Path(folder))
    lines = [
        f"{version.manifest_sha256}  {version.tag}/manifest.json",
        f"{manifest['model']['sha256']}  {version.tag}/model.onnx",
    ]
    if digest:
        name, _, sha256 = digest.partition("@sha256:")
        lines.append(f"{sha256}  {name}")
    return "\n".join(lines)
