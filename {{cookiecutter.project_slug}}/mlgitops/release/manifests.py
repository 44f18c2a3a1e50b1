"""What a cluster follows: Kubernetes manifests of a release, beside its record."""

import subprocess
import sys
from pathlib import Path

from mlgitops.release import Record, ReleaseError

KUBERNETES = Path("deploy/kubernetes")


def files(record: Record) -> dict[str, bytes]:
    """Return the rendered manifests by their path on the ledger; none for hosts.

    Raises:
        ReleaseError: the release has no image, the environment no overlay, or kubectl
            refuses to render.
    """
    if not KUBERNETES.is_dir() or record["state"] == "failed":
        return {}
    if not record["image"]:
        raise ReleaseError(
            f"a cluster runs images, and {record['tag']} has none: type `gh variable "
            "set IMAGE_REGISTRY --body ghcr.io`, then `gh workflow run deploy.yml`"
        )
    overlay = KUBERNETES / "overlays" / record["environment"] / "kustomization.yaml"
    if not overlay.is_file():
        raise ReleaseError(
            f"{overlay} is missing: copy that of another environment and change its "
            "namespace"
        )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mlgitops", "kubernetes"),
            record["environment"],
            *("--image", record["image"], "--manifest", record["manifest_sha256"]),
            *("--version", record["version"]),
        ],
        capture_output=True,
    )
    if done.returncode:
        error = done.stderr.decode(errors="replace").strip() or "no message"
        raise ReleaseError(f"the manifests were not rendered: {error}")
    path = f"environments/{record['environment']}/kubernetes/manifests.yaml"
    return {path: done.stdout}
