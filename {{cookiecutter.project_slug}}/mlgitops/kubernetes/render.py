"""Print the manifests of one release, or the entry point that makes a cluster follow.

    python -m mlgitops kubernetes production --image NAME@sha256:... \
        --manifest SHA256 --version v1.0.0
    python -m mlgitops kubernetes argocd production --git URL
    python -m mlgitops kubernetes flux production --git URL

Needs kubectl (for `kubectl kustomize`, no cluster). What is printed first belongs in
the ledger, in environments/<environment>/kubernetes/, which Argo CD or Flux follows.
"""

import argparse
import os
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ENTRIES = {"argocd": "argocd/application.yaml", "flux": "flux/sync.yaml"}
OVERLAYS = Path("deploy/kubernetes/overlays")  # one folder per environment


def render(environment: str, image: str, manifest: str, version: str) -> str:
    """Return an environment's manifests with the image by digest, as YAML.

    Raises ValueError when the image has no digest or the identity is no sha256.
    """
    name, at, digest = image.partition("@")
    if not (name and at and re.fullmatch(r"sha256:[0-9a-f]{64}", digest)):
        raise ValueError(f"the image '{image}' has no digest: give NAME@sha256:...")
    if not re.fullmatch(r"[0-9a-f]{64}", manifest):
        raise ValueError(f"'{manifest}' is not the sha256 of a manifest")
    if not re.fullmatch(r"v\d+\.\d+\.\d+", version):
        raise ValueError(f"'{version}' is not a version such as v1.0.0")
    with tempfile.TemporaryDirectory() as folder:
        overlay = OVERLAYS.resolve() / environment
        top = {
            "resources": [os.path.relpath(overlay, Path(folder).resolve())],
            "images": [{"name": "model-server", "newName": name, "digest": digest}],
            "labels": [
                {
                    "pairs": {"app.kubernetes.io/version": version},
                    "includeTemplates": True,
                }
            ],
            "commonAnnotations": {"model/manifest-sha256": manifest},
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(top))
        return kustomize(Path(folder))


def kustomize(folder: Path) -> str:
    """Return what `kubectl kustomize` makes of a folder."""
    try:
        done = subprocess.run(
            ["kubectl", "kustomize", str(folder)], capture_output=True, text=True
        )
    except FileNotFoundError:
        raise ValueError("kubectl is not installed; it renders the files") from None
    if done.returncode:
        raise ValueError(f"kubectl kustomize failed: {done.stderr.strip()}")
    return done.stdout


def entry(kind: str, environment: str, git: str) -> str:
    """Return the Argo CD or Flux entry point for an environment and a repository."""
    if not re.fullmatch(r"(https|ssh)://[^\s\"'@]+|ssh://git@[^\s\"']+", git):
        raise ValueError(f"'{git}' is not an https or ssh address of a repository")
    text = (HERE / ENTRIES[kind]).read_text()
    text = text.replace("https://github.com/OWNER/REPOSITORY.git", git)
    return text.replace("production", environment)


def main() -> None:
    """Print what was asked for; exit 1 with a sentence when it cannot be."""
    parser = argparse.ArgumentParser(description="Kubernetes manifests.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    environments = sorted(path.name for path in OVERLAYS.glob("*"))
    for name in environments:
        given = kinds.add_parser(name, help=f"the manifests of a release in {name}")
        for option in ("--image", "--manifest", "--version"):
            given.add_argument(option, required=True)
    for name in ENTRIES:
        given = kinds.add_parser(name, help="makes a cluster follow the ledger")
        given.add_argument("environment", choices=environments)
        given.add_argument("--git", required=True)
    asked = parser.parse_args()
    try:
        if asked.kind in ENTRIES:
            print(entry(asked.kind, asked.environment, asked.git), end="")
        else:
            wanted = (asked.image, asked.manifest, asked.version)
            print(render(asked.kind, *wanted), end="")
    except ValueError as error:
        raise SystemExit(f"{error}.") from None
