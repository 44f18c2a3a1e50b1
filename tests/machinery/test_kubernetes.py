"""The Kubernetes files render, fit the schemas, and keep their promises."""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from machinery import tiny
from machinery.pod import FOLDER, options, specification

HERE = tiny.ROOT / "deploy/kubernetes"
IMAGE = "example.org/you/model@sha256:" + "a" * 64
MANIFEST = "b" * 64
DOCKERFILE = tiny.ROOT / "deploy/Dockerfile"
imaged = pytest.mark.skipif(not DOCKERFILE.exists(), reason="this target has no image")
Judge = Callable[[list[dict[str, Any]]], list[str]]
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
    if not HERE.is_dir():
        pytest.skip("another deploy target")
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is missing")
    done = release(request.param)
    assert done.returncode == 0, done.stderr
    return {doc["kind"]: doc for doc in yaml.safe_load_all(done.stdout)}


def versions() -> list[str]:
    """Return the three newest versions of Kubernetes whose schemas are here."""
    validator = pytest.importorskip("kubernetes_validate")
    folder = Path(validator.__file__).parent / "kubernetes-json-schema"
    numbers = {
        tuple(map(int, path.name.split("-")[0].removeprefix("v").split(".")[:2]))
        for path in folder.glob("v*-strict")
    }
    newest = sorted(numbers)[-3:]
    assert newest >= [(1, 35), (1, 36), (1, 37)]
    return [f"{major}.{minor}" for major, minor in newest]


def test_it_fits_the_schemas_of_the_three_newest_versions(
    rendered: dict[str, Any],
) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    for version in versions():
        for doc in rendered.values():
            validator.validate(doc, version, strict=True)


def planted(documents: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each document with an unknown field, and some with faults in the pod."""
    wrong = []
    for doc in documents.values():
        section = "spec" if "spec" in doc else "metadata"
        wrong.append({**doc, section: doc[section] | {"replikas": 3}})
    for path, value in (
        (("securityContext", "readOnlyRootFileSystem"), True),  # a wrong capital
        (("lifecycle", "preStop", "sleep", "secs"), 5),
        (("readinessProbe", "httpGet", "port"), [8080]),
    ):
        deployment = copy.deepcopy(documents["Deployment"])
        entry = deployment["spec"]["template"]["spec"]["containers"][0]
        for name in path[:-1]:
            entry = entry[name]
        entry[path[-1]] = value
        wrong.append(deployment)
    return wrong


def test_a_wrong_field_is_seen_by_the_newest_schemas(rendered: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    if rendered["Namespace"]["metadata"]["name"].endswith("staging"):
        return  # production's are the same, and the schemas are slow
    for doc in planted(rendered):
        with pytest.raises(validator.ValidationError):
            validator.validate(doc, versions()[-1], strict=True)


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


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("securityContext", {"supplementalGroups": [7]}),
        ("securityContext", {"seccompProfile": {"type": "Unconfined"}}),
        ("containers", {"securityContext": {"privileged": True}}),
        ("containers", {"resources": {"limits": {"memory": "1Mi", "cpu": "1"}}}),
    ],
)
def test_a_context_that_no_engine_tried_is_an_error(
    section: str, change: dict[str, Any]
) -> None:
    """What test_image.py runs is the pod of the manifest, all of it."""
    if not FOLDER.is_dir():
        return
    assert "--cap-drop=ALL" in options(specification())
    spec = specification()
    entry = spec[section][0] if section == "containers" else spec[section]
    for name, value in change.items():
        if isinstance(entry.get(name), dict) and "type" not in value:
            entry[name] = entry[name] | value
        else:
            entry[name] = value
    with pytest.raises(AssertionError):
        options(spec)


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


ENTRIES = (
    Path(__file__).resolve().parent / "entries"
)  # package-lock.json, checked by its hashes
FILES = ("mlgitops/kubernetes/argocd", "mlgitops/kubernetes/flux")


def entry_points() -> list[dict[str, Any]]:
    """Return the documents that make Argo CD and Flux follow the ledger."""
    files = [path for folder in FILES for path in (tiny.ROOT / folder).glob("*.yaml")]
    texts = [path.read_text() for path in sorted(files)]
    return [doc for text in texts for doc in yaml.safe_load_all(text)]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Return what names the first fault of each document, by the projects' types."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("there is no npm: apt-get install npm")
    folder = tmp_path_factory.mktemp("entries")
    for path in ENTRIES.iterdir():
        shutil.copy(path, folder)
    install = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def faults(documents: list[dict[str, Any]]) -> list[str]:
        done = subprocess.run(
            ("node", "check.mjs"),
            cwd=folder,
            input=json.dumps(documents),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    return faults


@chosen
@pytest.mark.slow
def test_the_entry_points_fit_argo_cds_and_fluxs_types(judge: Judge) -> None:
    """Of Argo CD 3 and Flux 2, as npm has them; a planted fault in each is named."""
    documents = entry_points()
    kinds = {"Application", "GitRepository", "Kustomization"}
    assert {doc["kind"] for doc in documents} == kinds
    assert judge(documents) == [""] * 3
    wrong, expected = [], []
    for doc in documents:
        for name in doc["spec"]:
            wrong.append({**doc, "spec": doc["spec"] | {name: [7]}})
            expected.append(f"spec/{name} must be")
        wrong.append({**doc, "spec": doc["spec"] | {"prunee": True}})
        expected.append("spec/prunee is not known")
    wrong.append(copy.deepcopy(documents[0]))
    wrong[-1]["spec"]["syncPolicy"]["automated"]["selfheal"] = True
    expected.append("spec/syncPolicy/automated/selfheal is not known")
    for fault, words in zip(judge(wrong), expected, strict=True):
        assert words in fault, (fault, words)


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
