"""Builds the server's image with the model in build/ and tests it.

    python -m mlgitops image        (make image; the workflow train runs it too)

It prints the size of the image and the time to its first answer, where there is a
container engine. Nothing is pushed: `deploy` builds the image of a release, once.
"""

import gzip
import json
import re
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import github
from mlgitops.commands.expected import expected_errors
from mlgitops.release import ReleaseError, image
from mlgitops.release.image import docker
from mlgitops.serving.verify import load_manifest, sha256_file

FOLDER = Path("build")


def main() -> None:
    """Build, test and measure the image, or print why that is not possible."""
    if not image.DOCKERFILE.is_file():
        print("This deploy target has no image.")
        return
    version = image.engine()
    if not version:
        print("The image was not tested: no container engine answers here.")
        return
    try:
        base()
    except ReleaseError as error:  # a registry that is down does not fail a proposal
        sentence = f"The image was not tested: its base cannot be fetched ({error})."
        return github.tell(sentence)
    with expected_errors():
        github.tell(f"{trial_run(FOLDER)} (engine {version})")


def trial_run(folder: Path) -> str:
    """Build the image of a folder, test it, and return the result as one sentence.

    Raises:
        ReleaseError: it was not built, or does not answer as the manifest says.
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
    """Return the base image that the Dockerfile names, pulled if necessary."""
    text = image.DOCKERFILE.read_text(encoding="utf-8")
    match = re.search(r"^ARG BASE=(\S+)", text, re.MULTILINE)
    name = match[1] if match else ""
    try:
        docker("image", "inspect", name)
    except ReleaseError:
        docker("pull", "--quiet", name)
    return name


def megabytes(built: str, beneath: str) -> float:
    """Return the compressed size of what an image adds to its base, in MB."""
    command = ("image", "inspect", "--format", "{{len .RootFS.Layers}}")
    base_layers = int(docker(*command, beneath))
    with TemporaryDirectory() as folder:
        path = f"{folder}/image.tar"
        docker("save", "--output", path, built)
        with tarfile.open(path) as archive:
            layers = json.loads(_content(archive, "manifest.json"))[0]["Layers"]
            added = (_content(archive, layer) for layer in layers[base_layers:])
            return sum(len(gzip.compress(layer, 6)) for layer in added) / 1e6


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    """Return a file of an archive."""
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
