"""Prints the manifests of one release, or the entry point for Argo CD or Flux.

    python -m mlgitops kubernetes production --image NAME@sha256:... \
        --manifest SHA256 --version v1.0.0
    python -m mlgitops kubernetes argocd production --git URL
    python -m mlgitops kubernetes flux production --git URL

It needs kubectl (for `kubectl kustomize`), but no cluster. The manifests belong in the
ledger, in environments/<environment>/kubernetes/, which Argo CD or Flux follows.
"""

import argparse
import os
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parent
ENTRIES = {"argocd": "argocd/application.yaml", "flux": "flux/sync.yaml"}
OVERLAYS = Path("deploy/kubernetes/overlays")  # one folder per environment


def render(environment: str, image: str, manifest: str, version: str) -> str:
    """Return an environment's manifests with the image by digest, as YAML.

    Raises ValueError when the image has no digest or an argument is malformed.
    """
    name, separator, digest = image.partition("@")
    if not (name and separator and re.fullmatch(r"sha256:[0-9a-f]{64}", digest)):
        raise ValueError(f"the image '{image}' has no digest: give NAME@sha256:...")
    if not re.fullmatch(r"[0-9a-f]{64}", manifest):
        raise ValueError(f"'{manifest}' is not the sha256 of a manifest")
    if not re.fullmatch(r"v\d+\.\d+\.\d+", version):
        raise ValueError(f"'{version}' is not a version such as v1.0.0")
    with tempfile.TemporaryDirectory() as folder:
        overlay = OVERLAYS.resolve() / environment
        labels = {"app.kubernetes.io/version": version}
        top = {
            "resources": [os.path.relpath(overlay, Path(folder).resolve())],
            "images": [{"name": "model-server", "newName": name, "digest": digest}],
            "labels": [{"pairs": labels, "includeTemplates": True}],
            "commonAnnotations": {"model/manifest-sha256": manifest},
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(top))
        return kustomize(Path(folder))


def kustomize(folder: Path) -> str:
    """Return the output of `kubectl kustomize` for a folder."""
    try:
        command = ("kubectl", "kustomize", str(folder))
        process = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise ValueError("kubectl is missing: install it to render manifests") from None
    if process.returncode:
        raise ValueError(f"kubectl kustomize failed: {process.stderr.strip()}")
    return process.stdout


def entry(kind: str, environment: str, git: str) -> str:
    """Return the Argo CD or Flux entry point for an environment and a repository."""
    if not re.fullmatch(r"(https|ssh)://[^\s\"'@]+|ssh://git@[^\s\"']+", git):
        raise ValueError(f"'{git}' is not an https or ssh address of a repository")
    text = (FOLDER / ENTRIES[kind]).read_text()
    text = text.replace("https://github.com/OWNER/REPOSITORY.git", git)
    return text.replace("production", environment)


def main() -> None:
    """Print the manifests or the entry point; an error is one sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    environments = sorted(path.name for path in OVERLAYS.glob("*"))
    for name in environments:
        command = kinds.add_parser(name, help=f"the manifests of a release in {name}")
        for option in ("--image", "--manifest", "--version"):
            command.add_argument(option, required=True)
    for name in ENTRIES:
        command = kinds.add_parser(name, help="makes a cluster follow the ledger")
        command.add_argument("environment", choices=environments)
        command.add_argument("--git", required=True)
    options = parser.parse_args()
    try:
        if options.kind in ENTRIES:
            print(entry(options.kind, options.environment, options.git), end="")
        else:
            release = (options.image, options.manifest, options.version)
            print(render(options.kind, *release), end="")
    except ValueError as error:
        raise SystemExit(f"{error}.") from None
