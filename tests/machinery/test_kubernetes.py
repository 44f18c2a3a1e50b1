"""The Kubernetes files render, fit the schemas, and keep their promises."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from machinery import tiny

HERE = tiny.ROOT / "deploy/kubernetes"
IMAGE = "example.org/you/model@sha256:" + "a" * 64
MANIFEST = "b" * 64
DOCKERFILE = tiny.ROOT / "deploy/Dockerfile"
imaged = pytest.mark.skipif(not DOCKERFILE.exists(), reason="this target has no image")
kubectl = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is missing")
chosen = pytest.mark.skipif(not HERE.is_dir(), reason="another deploy target")


def render(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlgitops", "kubernetes", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=tiny.ROOT)


def release(environment: str, image: str = IMAGE, manifest: str = MANIFEST) -> Any:
    options = ("--image", image, "--manifest", manifest, "--version", "v1.2.3")
    return render(environment, *options)


@pytest.fixture(scope="module", params=["staging", "production"])
def rendered(request: pytest.FixtureRequest) -> dict[str, Any]:
    if not (HERE.is_dir() and shutil.which("kubectl")):
        pytest.skip("another deploy target, or kubectl is missing")
    done = release(request.param)
    assert done.returncode == 0, done.stderr
    return {doc["kind"]: doc for doc in yaml.safe_load_all(done.stdout)}


def test_it_fits_the_schemas(rendered: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    for doc in rendered.values():
        validator.validate(doc, "1.33", strict=True)
    wrong = copy.deepcopy(rendered["Deployment"])
    wrong["spec"]["replikas"] = 3
    with pytest.raises(validator.ValidationError):
        validator.validate(wrong, "1.33", strict=True)


def test_the_image_is_a_digest_and_nothing_else_is_run(
    rendered: dict[str, Any],
) -> None:
    pod = rendered["Deployment"]["spec"]["template"]
    images = [container["image"] for container in pod["spec"]["containers"]]
    assert images == [IMAGE] and "initContainers" not in pod["spec"]
    assert pod["metadata"]["annotations"]["model/manifest-sha256"] == MANIFEST
    assert pod["metadata"]["labels"]["app.kubernetes.io/version"] == "v1.2.3"
    selector = rendered["Deployment"]["spec"]["selector"]["matchLabels"]
    assert selector == {"app.kubernetes.io/name": "model-server"}


def test_the_pod_is_restricted(rendered: dict[str, Any]) -> None:
    pod = rendered["Deployment"]["spec"]["template"]["spec"]
    security = pod["containers"][0]["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False
    labels = rendered["Namespace"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    spaces = {doc["metadata"].get("namespace") for doc in rendered.values()} - {None}
    assert spaces == {rendered["Namespace"]["metadata"]["name"]}
    assert rendered["NetworkPolicy"]["spec"].get("egress") is None


def test_it_drains_before_it_is_killed(rendered: dict[str, Any]) -> None:
    deployment = rendered["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    server = pod["containers"][0]
    pause = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = float(server["args"][server["args"].index("--drain") + 1])
    assert pause + drain + 10 < pod["terminationGracePeriodSeconds"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert server["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert server["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert "replicas" not in deployment  # the autoscaler's


@chosen
def test_the_arguments_are_the_servers() -> None:
    from mlgitops.serving.__main__ import parse

    base = yaml.safe_load_all((HERE / "base/server.yaml").read_text())
    (deployment,) = [doc for doc in base if doc["kind"] == "Deployment"]
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert parse(["--model", "model", *arguments]).drain == 5


@kubectl
@chosen
@pytest.mark.parametrize(
    ("image", "manifest", "words"),
    [
        ("example.org/you/model:v1", MANIFEST, "has no digest"),
        ("example.org/you/model:latest@sha256:abc", MANIFEST, "has no digest"),
        (IMAGE, "latest", "not the sha256 of a manifest"),
    ],
)
def test_a_tag_is_refused(image: str, manifest: str, words: str) -> None:
    done = release("production", image, manifest)
    assert done.returncode == 1 and words in done.stderr
    assert "Traceback" not in done.stderr


@chosen
@pytest.mark.parametrize("kind", ["argocd", "flux"])
@pytest.mark.parametrize("environment", ["staging", "production"])
def test_the_entry_points_follow_the_ledger(kind: str, environment: str) -> None:
    git = "https://github.com/you/model.git"
    done = render(kind, environment, "--git", git)
    docs = list(yaml.safe_load_all(done.stdout))
    text = json.dumps(docs)
    assert git in text and "OWNER" not in done.stdout and '"ledger"' in text
    path = docs[-1]["spec"].get("path") or docs[-1]["spec"]["source"]["path"]
    assert path.removeprefix("./") == f"environments/{environment}/kubernetes"
    bad = render(kind, environment, "--git", 'x"\n  evil: true')
    assert bad.returncode == 1 and "not an https or ssh address" in bad.stderr


@imaged
@pytest.mark.skipif(not shutil.which("hadolint"), reason="hadolint is missing")
def test_the_dockerfile_is_clean(tmp_path: Path) -> None:
    done = subprocess.run(["hadolint", str(DOCKERFILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE.read_text() + "\nUSER root\nRUN cd /tmp\n")
    assert subprocess.run(["hadolint", str(bad)], capture_output=True).returncode


@imaged
def test_the_dockerfile_pins_its_base_and_leaves_root() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    (base,) = [line for line in lines if line.startswith("ARG BASE=")]
    assert len(base.partition("@sha256:")[2]) == 64
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"]
    assert {line for line in lines if line.startswith("FROM")} == {
        "FROM ${BASE} AS build",
        "FROM ${BASE}",
    }
