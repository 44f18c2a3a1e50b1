"""What a version's release carries: bills of materials, a signature, an edge bundle."""

import copy
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from machinery import tiny
from machinery.world import World, registered, world
from mlgitops.commands import register, release_page
from mlgitops.ledger import Ledger
from mlgitops.release import ReleaseError, assets, bom, manifests, package
from mlgitops.release.registry import Version
from mlgitops.release.server import Server
from mlgitops.serving import openapi

VERSION = Version("v1.2.0", "flights@v1.2.0", "c" * 40, "a" * 64)
SERVER = Server("d" * 40, "b" * 64)
METRICS = {
    "metrics": [
        {"label": "ROC AUC", "id": "roc_auc", "better": "higher", "challenger": 0.71}
    ]
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("SIGNING_KEY", "IMAGE_REGISTRY", "ATTEST"):
        monkeypatch.delenv(name, raising=False)
    with world(tmp_path, monkeypatch) as made:
        yield made


DATA = {"sha256": "e" * 64, "train_rows": 9}


@pytest.fixture
def manifest(tmp_path: Path) -> dict[str, Any]:
    tiny.version(tmp_path / "m", data=DATA, params={"estimator": "linear"})
    return dict(json.loads((tmp_path / "m/manifest.json").read_bytes()))


def lock() -> str:
    return (tiny.ROOT / "mlgitops/requirements/serving.txt").read_text()


def test_the_bills_fit_the_schema(manifest: dict[str, Any]) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    bills = (
        bom.model(VERSION, manifest, METRICS),
        bom.server(VERSION, manifest, SERVER, lock()),
    )
    for bill in bills:
        assert validator.validate_str(bill.decode()) is None
        wrong = json.loads(bill)
        wrong["components"][0]["type"] = "thing"
        assert validator.validate_str(json.dumps(wrong)) is not None
    wrong = json.loads(bills[1])
    wrong["components"][-1]["externalReferences"][0]["url"] = "no address"
    assert validator.validate_str(json.dumps(wrong)) is not None


def test_the_models_bill_says_what_it_is(manifest: dict[str, Any]) -> None:
    bill = json.loads(bom.model(VERSION, manifest, METRICS))
    model = bill["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"][0]["content"] == manifest["model"]["sha256"]
    assert {"name": "manifest_sha256", "value": "a" * 64} in model["properties"]
    measured = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert measured == [{"type": "ROC AUC", "value": "0.71"}]
    (data,) = bill["components"]
    assert (data["type"], data["hashes"][0]["content"]) == ("data", "e" * 64)


def test_the_servers_bill_has_what_is_installed(manifest: dict[str, Any]) -> None:
    first = bom.server(VERSION, manifest, SERVER, lock())
    assert first == bom.server(VERSION, manifest, SERVER, lock())
    parts = {part["name"]: part for part in json.loads(first)["components"]}
    assert {"flights", "numpy", "onnxruntime", "uvicorn", "uvloop"} <= set(parts)
    assert "colorama" not in parts, "it is installed on Windows only"
    assert not {"pandas", "scikit-learn", "dvc"} & set(parts)
    for name in set(parts) - {"flights"}:
        assert parts[name]["purl"] == f"pkg:pypi/{name}@{parts[name]['version']}"
        assert parts[name]["externalReferences"][0]["hashes"]


def released(here: World) -> dict[str, bytes]:
    """Register a model; return what its release carries."""
    here.judged("one")
    version = registered()
    found = assets.find(version.tag) or {}
    return {a["name"]: here.hub.data[a["id"]] for a in found["assets"]}


def test_a_release_is_whole_without_a_key(here: World) -> None:
    pins = here.clone / "mlgitops/requirements/serving.txt"
    pins.parent.mkdir(parents=True)
    shutil.copy(tiny.ROOT / "mlgitops/requirements/serving.txt", pins)
    found = released(here)
    wanted = {*assets.FILES, "verdict.json", "README.md", "model.cdx.json"}
    wanted.add(openapi.FILE)
    assert wanted <= set(found)
    assert [name for name in found if name.startswith("server-")]
    (release,) = here.hub.kept["releases"]
    assert tiny.sha256(found["manifest.json"]) in release["body"]
    assert package.EXPLAINED not in found, "its tables are not in storage"
    assert package.EXPLAINED not in release["body"] + found["README.md"].decode()
    assert not [name for name in found if name.endswith(".sig")]


def test_a_release_has_the_description_that_its_server_serves(
    here: World, tmp_path: Path
) -> None:
    """Byte for byte."""
    found = released(here)
    for name in assets.FILES:
        (tmp_path / name).write_bytes(found[name])
    served = openapi.text(openapi.from_folder(tmp_path, "v1.0.0"))  # test_openapi.py
    assert found[openapi.FILE] == served
    assert json.loads(served)["info"]["version"] == "v1.0.0"


def test_a_release_has_the_report_that_was_reviewed(here: World) -> None:
    found = released(here)
    manifest = tiny.sha256(found["manifest.json"])
    assert found[package.REPORT] == f"<p>{manifest}".encode()
    named = json.loads(found["verdict.json"])["report"]
    assert named["sha256"] == tiny.sha256(found[package.REPORT])
    assert Ledger().read_bytes(named["path"]) == found[package.REPORT]


def test_a_release_and_its_card_link_to_the_page_that_explains_it(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And to nothing that is not there."""
    monkeypatch.setattr(release_page, "files", lambda *_: {package.EXPLAINED: b"why"})
    found = released(here)
    (release,) = here.hub.kept["releases"]
    url = "https://github.com/o/r/releases/download/flights@v1.0.0"
    for name in package.DOCUMENTS:
        assert name in found and f"[{name}]({url}/{name})" in release["body"]
    assert found[package.EXPLAINED] == b"why"
    assert b"[explained.html](explained.html)" in found["README.md"]


@pytest.mark.parametrize("path", ["reports/none.html", "reports/other.html"])
def test_another_report_than_the_reviewed_one_is_refused(
    here: World, path: str
) -> None:
    Ledger().append({"reports/other.html": b"other"}, "other")
    manifest = here.model("one")
    here.verdict(manifest, report={"path": path, "sha256": "0" * 64})
    with pytest.raises(ReleaseError, match="is not the report that was reviewed"):
        register.register()
    assert not here.hub.kept.get("releases")


def openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(("openssl", *arguments), capture_output=True, text=True)


def pair(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a key as `signature.COMMANDS` says, and give it to the run."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl")
    secret, public = str(folder / "signing.pem"), str(folder / "signing.pub")
    curve = ("-name", "prime256v1", "-genkey", "-noout")
    assert openssl("ecparam", *curve, "-out", secret).returncode == 0
    assert openssl("ec", "-in", secret, "-pubout", "-out", public).returncode == 0
    monkeypatch.setenv("SIGNING_KEY", Path(secret).read_text())


def test_a_signature_is_checked_with_openssl_alone(
    here: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pair(tmp_path, monkeypatch)
    shutil.copy(tmp_path / "signing.pub", here.clone)
    found = released(here)
    for name in ("manifest.json", "manifest.json.sig"):
        (tmp_path / name).write_bytes(found[name])
    public = ("-sha256", "-verify", str(tmp_path / "signing.pub"), "-signature")
    files = (str(tmp_path / "manifest.json.sig"), str(tmp_path / "manifest.json"))
    assert openssl("dgst", *public, *files).returncode == 0
    (tmp_path / "manifest.json").write_bytes(found["manifest.json"] + b" ")
    assert openssl("dgst", *public, *files).returncode != 0


def test_a_key_that_is_not_ours_signs_nothing(
    here: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pair(tmp_path, monkeypatch)
    here.judged("one")
    with pytest.raises(
        ReleaseError, match=r"signing\.pub is not usable: type `openssl"
    ):
        register.register()
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(tmp_path / "signing.pub", here.clone)
    pair(other, monkeypatch)
    with pytest.raises(ReleaseError, match="does not belong to SIGNING_KEY"):
        register.register()


@pytest.mark.parametrize(
    ("setting", "visibility", "expected"),
    [
        ("", "public", True),
        ("", "private", False),
        ("true", "private", True),
        ("false", "public", False),
    ],
)
def test_provenance_where_github_has_it(
    monkeypatch: pytest.MonkeyPatch, setting: str, visibility: str, expected: bool
) -> None:
    event = {"repository": {"visibility": visibility}}
    monkeypatch.setattr(package.github, "event", lambda: copy.deepcopy(event))
    monkeypatch.setenv("ATTEST", setting)
    assert package.attestable() is expected


def test_provenance_is_about_the_reviewed_bytes(here: World) -> None:
    found = released(here)
    version = registered()
    image = f"ghcr.io/o/r@sha256:{'7' * 64}"
    assert package.subjects(version, image).splitlines() == [
        f"{version.manifest_sha256}  flights@v1.0.0/manifest.json",
        f"{tiny.sha256(found['model.onnx'])}  flights@v1.0.0/model.onnx",
        f"{'7' * 64}  ghcr.io/o/r",
    ]


def test_without_a_registry_there_is_no_image(here: World) -> None:
    here.judged("one")
    version = registered()
    assert package.image_of(version) is None


def test_an_image_that_is_asked_for_needs_an_engine(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.judged("one")
    version = registered()
    monkeypatch.setenv("IMAGE_REGISTRY", "ghcr.io")
    monkeypatch.setattr(package.image, "engine", lambda: "")
    with pytest.raises(ReleaseError, match=r"ghcr\.io/o/r needs an image"):
        package.image_of(version)


def test_a_cluster_gets_its_manifests_with_the_release(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlgitops.commands import deploy

    standin = here.clone / "mlgitops"  # found before the real one
    standin.mkdir()
    (standin / "__init__.py").touch()
    (standin / "__main__.py").write_text("import sys; print(sys.argv[1:])\n")
    overlay = here.clone / manifests.KUBERNETES / "overlays" / "production"
    overlay.mkdir(parents=True)
    (overlay / "kustomization.yaml").write_text("resources: [../../base]\n")
    here.judged("one")
    version = registered()
    monkeypatch.delenv("IMAGE", raising=False)
    with pytest.raises(ReleaseError, match="a cluster runs images"):
        deploy.deploy("production", version.version)
    assert Ledger().release("production") is None
    image = f"ghcr.io/o/r@sha256:{'7' * 64}"
    monkeypatch.setenv("IMAGE", image)
    assert deploy.deploy("production", version.version)["image"] == image
    path = "environments/production/kubernetes/manifests.yaml"
    assert image in (Ledger().read_bytes(path) or b"").decode()


def test_a_released_edge_bundle_is_signed_and_another_is_refused(
    here: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What deploy/edge/README.md tells its reader to type, on what a release holds."""
    (here.clone / package.EDGE).mkdir(parents=True)
    (here.clone / package.EDGE / "README.md").write_text("the target is a device\n")
    pair(tmp_path, monkeypatch)
    shutil.copy(tmp_path / "signing.pub", here.clone)
    found = released(here)
    (bundle,) = [name for name in found if name.endswith("-edge.zip")]
    for name in (bundle, f"{bundle}.sig"):
        (tmp_path / name).write_bytes(found[name])
    public = ("-sha256", "-verify", str(tmp_path / "signing.pub"), "-signature")
    files = (str(tmp_path / f"{bundle}.sig"), str(tmp_path / bundle))
    assert openssl("dgst", *public, *files).returncode == 0
    with zipfile.ZipFile(tmp_path / bundle, "a") as file:
        file.writestr("model/more.json", "{}")  # a whole zip, and another
    assert openssl("dgst", *public, *files).returncode != 0


def test_the_edge_bundle_is_of_these_bytes(tmp_path: Path) -> None:
    tiny.version(tmp_path / "m")
    (tmp_path / "edge.zip").write_bytes(package.edge(tmp_path / "m"))
    with zipfile.ZipFile(tmp_path / "edge.zip") as file:
        model = (tmp_path / "m/model.onnx").read_bytes()
        assert file.read("model/model.onnx") == model
    (tmp_path / "m/model.onnx").write_bytes(b"other")
    with pytest.raises(ReleaseError, match="not the reviewed file"):
        package.edge(tmp_path / "m")
