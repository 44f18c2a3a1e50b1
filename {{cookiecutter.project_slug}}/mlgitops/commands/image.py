"""Builds the image of what lies in build/ and tries it, where an engine is at hand.

    python -m mlgitops image        (make image; `train` runs it, too)

It says how large the image is and how soon it answers. Nothing is pushed: `deploy`
builds the image of a release, once. The first question is whether there is an engine.
"""

import gzip
import json
import re
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import github
from mlgitops.release import ReleaseError, image
from mlgitops.release.image import docker
from mlgitops.serving.verify import load_manifest, sha256_file

FOLDER = Path("build")


def main() -> None:
    """Build, try, measure; say so where that is not possible."""
    if not image.DOCKERFILE.is_file():
        print("No image: this deploy target has none.")
        return
    version = image.engine()
    if not version:
        print("The image was not tried: no container engine answers here.")
        return
    try:
        base()
    except ReleaseError as error:  # what is not ours does not make a proposal red
        sentence = f"The image was not tried: its base cannot be fetched ({error})."
        return github.tell(sentence)
    try:
        sentence = tried(FOLDER)
    except ReleaseError as error:
        raise github.fail(str(error)) from error
    github.tell(f"{sentence} (engine {version})")


def tried(folder: Path) -> str:
    """Return how the image of a folder did, as one sentence.

    Raises:
        ReleaseError: it was not built, or did not do what the manifest says.
    """
    if not (folder / "manifest.json").is_file():
        raise ReleaseError(f"{folder}/ holds no version yet: type `make repro`")
    started = time.monotonic()
    built = image.build(folder, "v0.0.0")
    seconds = time.monotonic() - started
    manifest = load_manifest(folder / "manifest.json")
    sha256 = sha256_file(folder / "manifest.json")
    image.check(built, sha256)
    ready = image.smoke(built, manifest, sha256)
    return (
        f"the image of {sha256[:12]} is {megabytes(built, base()):.1f} MB beyond its "
        f"base, was built in {seconds:.0f} s and answered after {ready:.1f} s"
    )


def base() -> str:
    """Return the base that the Dockerfile names, pulled if it is not here."""
    text = image.DOCKERFILE.read_text(encoding="utf-8")
    found = re.search(r"^ARG BASE=(\S+)", text, re.MULTILINE)
    name = found[1] if found else ""
    try:
        docker("image", "inspect", name)
    except ReleaseError:
        docker("pull", "--quiet", name)
    return name


def megabytes(built: str, beneath: str) -> float:
    """Return the compressed size of what an image adds to its base, in MB."""
    command = ("image", "inspect", "--format", "{{len .RootFS.Layers}}")
    known = int(docker(*command, beneath))
    with TemporaryDirectory() as folder:
        place = f"{folder}/image.tar"
        docker("save", "--output", place, built)
        with tarfile.open(place) as archive:
            listed = archive.extractfile("manifest.json")
            assert listed is not None
            layers = json.loads(listed.read())[0]["Layers"][known:]
            return sum(_compressed(archive, layer) for layer in layers) / 1e6


def _compressed(archive: tarfile.TarFile, layer: str) -> int:
    """Return a layer's size as it travels."""
    file = archive.extractfile(layer)
    assert file is not None
    return len(gzip.compress(file.read(), 6))
