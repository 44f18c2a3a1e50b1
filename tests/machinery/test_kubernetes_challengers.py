"""A shadow and a canary in a cluster: what production's manifests say of them."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from machinery.pod import FOLDER
from machinery.test_canary_taken_back import SHA, TRIED, release, rules
from machinery.world import World, world
from mlgitops.ledger import Ledger
from mlgitops.release import Record, ReleaseError, canary, challengers
from mlgitops.serving.__main__ import parse

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="there is no folder of Kubernetes"
)
IMAGE = "example.org/you/model@sha256:" + "b" * 64
UNTIL = "2031-01-01T00:00:00+00:00"
OTHER: Record = release() | {"image": IMAGE}
CANARY: Record = OTHER | {"share": 0.1, "until": UNTIL}
BOTH = {"shadow": OTHER, "canary": CANARY}


def manifests() -> bytes:
    """Return what a cluster follows, as `kubectl kustomize` would, but for labels."""
    return (FOLDER / "base/server.yaml").read_bytes()


def documents(text: bytes) -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def specification(text: bytes) -> dict[str, Any]:
    return dict(documents(text)["Deployment"]["spec"]["template"]["spec"])


def test_the_server_gets_what_it_takes() -> None:
    """Its arguments are the server's own, and each challenger has its files there."""
    spec = specification(challengers.place(manifests(), BOTH))
    (server,) = spec["containers"]
    options = parse(["--model", "m", *server["args"]])
    for role in BOTH:
        assert getattr(options, role) == Path(f"/challengers/{role}")
        assert getattr(options, f"{role}_expect") == TRIED
        assert getattr(options, f"{role}_version") == "v1.1.0"
    assert options.canary_share == 0.1 and options.canary_until == 1924992000
    assert [c["image"] for c in spec["initContainers"]] == [IMAGE, IMAGE]
    assert server["image"] == "model-server" and server["args"][:2] == [
        "--port",
        "8080",
    ]
    (mount,) = [m for m in server["volumeMounts"] if m["name"] == "challengers"]
    assert mount["readOnly"] and mount["mountPath"] == "/challengers"
    assert server["resources"]["requests"]["cpu"] == "500m"
    for container in spec["initContainers"]:
        assert container["securityContext"] == server["securityContext"]


@pytest.mark.parametrize("roles", [(), ("shadow",), ("canary",), ("shadow", "canary")])
def test_what_is_placed_is_removed_again(roles: tuple[str, ...]) -> None:
    """Whatever was there before, the same challengers give the same bytes."""
    chosen = {role: BOTH[role] for role in roles}
    fresh = challengers.place(manifests(), chosen)
    for before in ({}, BOTH, {"canary": CANARY}):
        placed = challengers.place(manifests(), before)
        assert challengers.place(placed, chosen) == fresh
    bare = challengers.place(fresh, {})
    assert documents(bare) == documents(manifests())


def test_what_a_team_has_in_its_pod_stays() -> None:
    own = list(yaml.safe_load_all(manifests()))
    (deployment,) = [each for each in own if each["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    spec["initContainers"] = [{"name": "wait", "image": "x"}]
    spec["containers"].append({"name": "proxy", "image": "y"})
    spec["containers"][0]["resources"]["requests"]["cpu"] = "1"
    text = yaml.safe_dump_all(own).encode()
    placed = specification(challengers.place(text, BOTH))
    names = [container["name"] for container in placed["initContainers"]]
    assert names == ["wait", "shadow", "canary"]
    assert placed["containers"][0]["resources"]["requests"]["cpu"] == "1250m"
    removed = specification(challengers.place(challengers.place(text, BOTH), {}))
    assert removed["initContainers"] == [{"name": "wait", "image": "x"}]
    assert removed["containers"][1] == {"name": "proxy", "image": "y"}


def test_what_a_pod_asks_for_stays_within_its_limits() -> None:
    """A cluster refuses a request above the limit, and production with it."""
    own = list(yaml.safe_load_all(manifests()))
    (deployment,) = [each for each in own if each["kind"] == "Deployment"]
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    server["resources"] = {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}
    text = yaml.safe_dump_all(own).encode()
    (placed,) = specification(challengers.place(text, BOTH))["containers"]
    assert {a["cpu"] for a in placed["resources"].values()} == {"1250m"}
    server["resources"]["claims"] = [{"name": "gpu"}]
    (bare,) = specification(challengers.place(yaml.safe_dump_all(own).encode(), BOTH))[
        "containers"
    ]
    assert bare["resources"]["claims"] == [{"name": "gpu"}]


def test_what_cannot_be_placed_is_refused() -> None:
    with pytest.raises(ReleaseError, match="image"):
        challengers.place(manifests(), {"shadow": OTHER | {"image": None}})
    with pytest.raises(ReleaseError, match="Deployment"):
        challengers.place(b"kind: Namespace\n", BOTH)
    drain = b'"--drain", "5"'
    assert drain in manifests() and b'"--log", "/log", ' in manifests()
    for text, why in (
        (manifests().replace(drain, b'"--workers", "2"'), "--workers"),
        (manifests().replace(b'"--log", "/log", ', b""), "no --log"),
    ):
        challengers.place(text, {})
        with pytest.raises(ReleaseError, match=why):
            challengers.place(text, BOTH)


def test_it_fits_the_schemas_of_the_newest_version() -> None:
    """Strictly; a field that is none is seen."""
    validator = pytest.importorskip("kubernetes_validate")
    version = "1.37"
    found = documents(challengers.place(manifests(), BOTH))["Deployment"]
    found["spec"]["selector"] = {"matchLabels": {"a": "b"}}  # as kustomize adds them
    found["spec"]["template"]["metadata"] = {"labels": {"a": "b"}}
    validator.validate(found, version, strict=True)
    wrong = copy.deepcopy(found)
    wrong["spec"]["template"]["spec"]["initContainers"][0]["comand"] = []
    with pytest.raises(validator.ValidationError):
        validator.validate(wrong, version, strict=True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Stand in a repository whose production is a cluster and waits for a person."""
    monkeypatch.setenv("PRODUCTION_BY_DISPATCH", "true")
    with world(tmp_path, monkeypatch) as made:
        made.through("staging", "production")
        monkeypatch.setattr(challengers, "KUBERNETES", FOLDER)
        champion = release(environment="production") | {"manifest_sha256": SHA}
        ledger = Ledger()
        ledger.append(
            {
                "environments/production/release.json": champion,
                "environments/staging/release.json": OTHER,
                challengers.PATH: manifests(),
            },
            "champion",
        )
        yield made


def roles() -> list[str]:
    """Return which challengers the cluster runs now."""
    spec = specification(Ledger().read_bytes(challengers.PATH) or b"")
    return [container["name"] for container in spec.get("initContainers", [])]


def shadowed(name: str | None) -> None:
    """Set or remove the one setting of a shadow, in the working tree."""
    path = Path("params.yaml")
    params = yaml.safe_load(path.read_text())
    params["deploy"].pop("shadow", None)
    if name:
        params["deploy"]["shadow"] = name
    path.write_text(yaml.safe_dump(params))


def test_a_canary_is_in_the_cluster_until_it_is_taken_back(here: World) -> None:
    """In the commit that records it; what takes it back needs no kubectl."""
    rules()
    ledger, seq = Ledger(), Ledger().seq
    canary.follow(ledger, OTHER)
    assert roles() == ["canary"] and Ledger().seq == seq + 1
    challengers.follow(ledger, canary.running)
    assert Ledger().seq == seq + 1, "nothing is left to do"
    canary.end(ledger, "taken back", "worse")
    assert roles() == [] and Ledger().seq == seq + 2


def test_a_shadow_follows_the_environment_that_is_set(here: World) -> None:
    ledger, seq = Ledger(), Ledger().seq
    challengers.follow(ledger, canary.running)
    assert roles() == [] and Ledger().seq == seq, "off by default"
    shadowed("staging")
    challengers.follow(ledger, canary.running)
    assert roles() == ["shadow"]
    rules()
    shadowed("staging")
    canary.follow(ledger, OTHER)
    assert roles() == ["shadow", "canary"]
    same = OTHER | {"manifest_sha256": SHA}
    ledger.append({"environments/staging/release.json": same}, "a rollback")
    challengers.follow(ledger, canary.running)
    assert roles() == ["canary"], "the same version has nothing to compare"
    for wrong in ("production", "nowhere"):
        shadowed(wrong)
        with pytest.raises(ReleaseError, match=wrong):
            challengers.follow(ledger, canary.running)


def test_a_shadow_that_cannot_be_keeps_no_canary(
    here: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever params.yaml says by then, what was taken back leaves the cluster."""
    rules()
    shadowed("staging")
    ledger = Ledger()
    canary.follow(ledger, OTHER)
    assert roles() == ["shadow", "canary"]
    shadowed("nowhere")
    canary.end(ledger, "taken back", "worse")
    assert roles() == [] and "nowhere" in capsys.readouterr().out
    assert (ledger.read(canary.FILE) or {})["state"] == "taken back"


def test_on_hosts_nothing_is_written(
    here: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The agent has an option for it, and `deploy` says so."""
    monkeypatch.setattr(challengers, "KUBERNETES", tmp_path / "none")
    assert challengers.unused() == ""
    shadowed("staging")
    assert "--shadow staging" in challengers.unused()
    ledger, seq = Ledger(), Ledger().seq
    challengers.follow(ledger, canary.running)
    assert Ledger().seq == seq
